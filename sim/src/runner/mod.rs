//! Runs: one seed, many seeds in parallel, and what they add up to.

pub mod book;
pub mod campaign;
pub mod deeds;
pub mod faults;
pub mod group;
pub(crate) mod judge;
pub(crate) mod labels;
mod links;
mod members;
pub mod ordered;
pub mod outcome;
pub mod parallel;
mod place;
pub(crate) mod player;
pub mod record;
pub mod recording;
pub mod run;
pub mod seed_set;
pub mod shard;
mod storage;
pub mod summary;
pub mod task;
mod waits;
pub(crate) mod watched;
