//! Runs: one seed, many seeds in parallel, and what they add up to.

pub mod book;
pub mod campaign;
pub mod deeds;
pub mod faults;
pub(crate) mod judge;
mod labels;
pub mod outcome;
mod player;
pub mod run;
pub mod summary;
pub(crate) mod watched;
