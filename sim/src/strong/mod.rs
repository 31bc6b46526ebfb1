//! Runs of strong clusters: real nodes, clients that know the cluster protocol, and what they saw judged.

mod client;
mod faults;
mod judge;
mod player;
mod revive;

pub use player::{Played, play};
