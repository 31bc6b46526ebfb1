//! Floor 1: RESP and the frames between peers.

pub mod args;
mod body;
pub mod frame;
pub mod inline;
pub mod news;
pub mod packed;
pub mod reply;
pub mod resp;
pub mod sane;
