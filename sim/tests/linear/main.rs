//! The linearizability checker against recorded histories, a brute-force judge and its own writings.

mod brute;
mod command;
mod generate;
mod random;
mod reading;
mod recorded;
