//! The lab: a live cluster of real nodes in a simulated world, driven from a page in the browser. The world
//! stays what it is, a function of its inputs and their simulated times; only [`driver`] looks at a clock,
//! to pace it.

pub mod action;
mod board;
mod driver;
mod file;
pub mod server;
pub mod session;
pub mod setup;

#[cfg(test)]
mod tests;
