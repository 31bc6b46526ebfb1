//! Runs of strong clusters: real nodes, clients that know the cluster protocol, and what they saw judged.

mod ambush;
mod client;
mod eye;
mod faults;
mod judge;
mod looks;
mod player;
mod revive;

pub use player::{Played, play};
