//! Frames between peers.
