//! The world's own time: nanoseconds since its beginning. Hosts see it through their clocks only.

use std::fmt;
use std::ops::{Add, Sub};

use quorate::base::time::Span;

/// A point in simulated time, in nanoseconds since the world began.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    pub const ZERO: Time = Time(0);
    /// Later than everything that can happen.
    pub const NEVER: Time = Time(u64::MAX);

    pub const fn from_ms(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    pub const fn from_secs(secs: u64) -> Time {
        Time(secs * 1_000_000_000)
    }

    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The span since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1000 % 1_000_000)
    }
}
