//! The released binary, as its users meet it.

mod clients;
mod dumps;
mod durability;
mod process;
mod servers;
mod strong;
