//! The released binary, as its users meet it.

mod clients;
mod process;
mod servers;
