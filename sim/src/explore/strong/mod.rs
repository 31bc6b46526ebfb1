//! Every order of a small strong cluster: three nodes with the real protocol, one partition, two writes, a read, one split
//! and its end. There is no store and no socket, so that a state can be kept and gone on from in each way there is.

pub mod checks;
pub mod cli;
pub mod search;
pub mod world;

#[cfg(test)]
mod tests;
