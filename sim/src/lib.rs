//! The simulator: worlds of hosts that run the real node, moved by one event queue; faults, plans,
//! clients, checkers.

pub mod check;
pub mod cli;
pub mod clock;
pub mod decide;
pub mod digest;
pub mod firewall;
pub mod host;
pub mod ids;
pub mod linear;
pub mod link;
pub mod look;
pub mod machine;
pub mod model;
pub mod page;
pub mod plan;
pub mod queue;
pub mod resp_client;
pub mod runner;
pub mod scenario;
pub mod shrink;
pub mod tcp;
pub mod time;
pub mod trace;
pub mod workload;
pub mod world;
