//! What clients do: commands, how real client libraries send and send again, and the record of what
//! they saw.

pub mod client;
pub mod command;
pub mod history;
pub mod resp;
