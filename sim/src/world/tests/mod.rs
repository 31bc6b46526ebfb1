//! What worlds do, with a machine simple enough to be no suspect.

mod disks;
mod faults;
mod kit;
mod network;
mod node;
mod turns;
