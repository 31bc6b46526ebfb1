//! Floor 1: RESP and the frames between peers.

pub mod frame;
pub mod reply;
pub mod resp;
