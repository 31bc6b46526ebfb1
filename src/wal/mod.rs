//! Floor 1: the durability log: its frames and records, reading them back, and what may be said to others when.
//!
//! A log is a row of segment files. A segment is a header and frames, each frame one record; a record's place is its
//! [`crate::base::ids::Lsn`], which counts up over all segments. See `frame` for the bytes and `record` for what they say.

pub mod dump;
pub mod frame;
pub mod journal;
pub mod record;
pub mod scan;
pub mod snapshot;
#[cfg(test)]
mod tests;

pub use self::journal::{Journal, SyncPolicy};
pub use self::record::Record;
