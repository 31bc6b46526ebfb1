//! The reference model: what the data must be, from what clients sent and from the facts that nodes
//! report. It shares no code with the store or the replication it judges: of the library it imports
//! floor 0 only.

pub mod key;
pub mod ledger;
pub mod merge;
mod moved;
mod state;
pub mod whole;

#[cfg(test)]
mod tests;
