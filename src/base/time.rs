//! Time as the node sees it. Monotonic and wall clock are types of their own: a lease can never be
//! judged by a clock that steps.

use core::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// Monotonic time of this process in nanoseconds; only differences mean anything.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Mono(pub u64);

/// A span of time in nanoseconds.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Span(pub u64);

/// Wall clock in microseconds since 1970; may step in both directions.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Wall(pub u64);

/// A point in time in milliseconds since 1970, as expiry deadlines are given.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct UnixMs(pub u64);

/// What the driver reads off its clocks for one call of the node.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Now {
    /// Nanoseconds, this process: timeouts.
    pub mono: Mono,
    /// Microseconds since 1970, may step: stamps and deadlines.
    pub wall: Wall,
}

impl Span {
    /// A span too long for 64 bits of nanoseconds is cut to 584 years.
    pub const fn from_ms(ms: u64) -> Span {
        Span(ms.saturating_mul(1_000_000))
    }
    pub const fn from_secs(secs: u64) -> Span {
        Span(secs.saturating_mul(1_000_000_000))
    }
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Wall {
    pub const fn ms(self) -> UnixMs {
        UnixMs(self.0 / 1000)
    }
}

impl Mono {
    /// The span since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Mono) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Span> for Mono {
    type Output = Mono;
    fn add(self, span: Span) -> Mono {
        Mono(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Mono {
    type Output = Mono;
    fn sub(self, span: Span) -> Mono {
        Mono(self.0.saturating_sub(span.0))
    }
}
