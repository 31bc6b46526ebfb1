//! Verdicts and the checkers that reach them. Every checker works from what clients saw and from
//! facts; what it compares them with is the reference model.

pub mod fit;
pub mod loss;
pub mod sessions;
pub mod verdict;

pub use verdict::{Property, Verdict, Violation};

#[cfg(test)]
mod tests;
