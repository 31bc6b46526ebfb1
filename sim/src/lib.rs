//! The simulator: worlds, faults, plans, clients, checkers.

pub mod check;
pub mod model;
pub mod plan;
pub mod workload;
