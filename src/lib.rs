//! Quorate: a key-value server that speaks the Redis protocol and keeps its promises when the network
//! splits. The node is a state machine without I/O; see [`node`] for its boundary.

pub mod active;
pub mod base;
pub mod command;
pub mod node;
pub mod rdb;
#[cfg(feature = "shell")]
pub mod shell;
pub mod store;
pub mod strong;
pub mod wal;
pub mod wire;
