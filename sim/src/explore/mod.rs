//! Every order of a small plan: which interleavings of deliveries, timers and faults there are, and
//! whether each of them holds. What counts as an order: [`crate::runner::ordered`].

pub mod cli;
pub mod search;
pub mod small;
pub mod strong;

#[cfg(test)]
mod tests;
