//! A node beside redis-server: the same requests get the same replies.

mod random;
mod record;
mod reply;
mod servers;
