//! Floor 0: identifiers, time, stamps, vectors, units, facts, limits, checksums, randomness.

pub mod checksum;
pub mod clock;
pub mod content;
pub mod fact;
pub mod ids;
pub mod io;
pub mod limits;
pub mod mutant;
pub mod rng;
pub mod stamp;
pub mod time;
pub mod unit;
pub mod vector;
