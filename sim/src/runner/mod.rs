//! Runs: one seed, many seeds in parallel, and what they add up to.

pub mod campaign;
pub mod labels;
pub mod outcome;
pub mod summary;
