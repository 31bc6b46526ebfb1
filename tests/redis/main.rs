//! A node beside redis-server: the same requests get the same replies, each reads what the other dumps.

mod hashes;
mod random;
mod rdb;
mod record;
mod reply;
mod serialized;
mod servers;
