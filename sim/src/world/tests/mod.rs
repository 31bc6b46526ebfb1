//! What worlds do, with a machine simple enough to be no suspect.

mod kit;
mod network;
