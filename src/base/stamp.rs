//! Stamps: who wrote a cell and when, in an order that is total and the same everywhere.

use serde::{Deserialize, Serialize};

use super::ids::Origin;
use super::time::UnixMs;

/// Bits of a stamp's time that count within one millisecond.
pub const COUNTER_BITS: u32 = 16;

/// Time (hybrid logical clock: 48 bits unix ms, 16 bits counter), then origin. Unique; strictly
/// increasing per origin. In active mode also the unit's sequence number at its origin (a *dot*).
///
/// Source: design, data model.
#[derive(
    Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Stamp {
    pub time: u64,
    pub origin: Origin,
}

impl Stamp {
    /// Older than every stamp a clock can give.
    pub const ZERO: Stamp = Stamp { time: 0, origin: Origin(0) };

    pub const fn new(time: u64, origin: Origin) -> Stamp {
        Stamp { time, origin }
    }

    /// The millisecond part of the time.
    pub const fn ms(self) -> UnixMs {
        UnixMs(self.time >> COUNTER_BITS)
    }
}

/// The first stamp time within millisecond `ms`.
pub const fn time_of_ms(ms: UnixMs) -> u64 {
    ms.0 << COUNTER_BITS
}
