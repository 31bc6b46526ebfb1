//! What a host's clocks show: monotonic and wall clock separately, each with drift, steps and freezes.

use std::cell::Cell;

use quorate::base::time::{Mono, Now, Wall};

use super::time::Time;

/// The wall clock of a world at its beginning, in nanoseconds since 1970.
pub const WALL_AT_START_NS: u64 = 1_700_000_000 * 1_000_000_000;

/// Largest drift either way: a clock never stands still or runs backwards by drift.
pub const DRIFT_PPM_MAX: i32 = 500_000;

/// One clock, in nanoseconds, as a line through an anchor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clock {
    anchor: Time,
    value: u64,
    drift_ppm: i32,
    frozen: bool,
}

impl Clock {
    pub const fn new(value: u64) -> Clock {
        Clock { anchor: Time::ZERO, value, drift_ppm: 0, frozen: false }
    }

    #[inline]
    pub fn read(&self, at: Time) -> u64 {
        if self.frozen { self.value } else { self.value + self.elapsed(at.since(self.anchor).0) }
    }

    /// When the clock shows `value`, if it goes on as it does; `None` while it is frozen.
    pub fn when(&self, value: u64) -> Option<Time> {
        if value <= self.value {
            return Some(self.anchor);
        }
        if self.frozen {
            return None;
        }
        let needed = value - self.value;
        if self.drift_ppm == 0 {
            return Some(Time(self.anchor.0.saturating_add(needed)));
        }
        let rate = (1_000_000 + i64::from(self.drift_ppm)) as u64;
        let mut span = match needed.checked_mul(1_000_000) {
            Some(product) => product.div_ceil(rate),
            None => (u128::from(needed) * 1_000_000).div_ceil(u128::from(rate)) as u64,
        };
        while self.elapsed(span) < needed {
            span += 1;
        }
        Some(Time(self.anchor.0.saturating_add(span)))
    }

    /// Runs faster (positive) or slower from now on.
    ///
    /// # Panics
    /// Beyond [`DRIFT_PPM_MAX`].
    pub fn set_drift(&mut self, at: Time, drift_ppm: i32) {
        assert!(drift_ppm.abs() <= DRIFT_PPM_MAX, "drift of {drift_ppm} ppm");
        self.rebase(at);
        self.drift_ppm = drift_ppm;
    }

    /// Jumps by so many nanoseconds.
    pub fn step(&mut self, at: Time, delta_ns: i64) {
        self.rebase(at);
        self.value = self.value.saturating_add_signed(delta_ns);
    }

    /// Stands still from now on, or goes on from where it stood.
    pub fn freeze(&mut self, at: Time, frozen: bool) {
        self.rebase(at);
        self.frozen = frozen;
    }

    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    pub fn drift_ppm(&self) -> i32 {
        self.drift_ppm
    }

    /// What a clock that had always gone as this one does now would show at any time, also before.
    pub fn line_at(&self, at: Time) -> i128 {
        let span = i128::from(at.0) - i128::from(self.anchor.0);
        let drift = (span * i128::from(self.drift_ppm)).div_euclid(1_000_000);
        i128::from(self.value) + span + drift
    }

    fn rebase(&mut self, at: Time) {
        self.value = self.read(at);
        self.anchor = at;
    }

    /// How far the clock moves in a span of true time.
    #[inline]
    fn elapsed(&self, span: u64) -> u64 {
        if self.drift_ppm == 0 {
            return span;
        }
        let shift = match (span as i64).checked_mul(i64::from(self.drift_ppm)) {
            Some(product) => product.div_euclid(1_000_000),
            None => (i128::from(span) * i128::from(self.drift_ppm)).div_euclid(1_000_000) as i64,
        };
        span.saturating_add_signed(shift)
    }
}

/// Both clocks of a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostClock {
    mono: Clock,
    wall: Clock,
    /// What they showed when they were looked at last, since they were last changed.
    seen: Cell<Option<(Time, Now)>>,
}

impl HostClock {
    /// Clocks that are right; the monotonic one begins anywhere.
    pub const fn new(mono_start_ns: u64) -> HostClock {
        let (mono, wall) = (Clock::new(mono_start_ns), Clock::new(WALL_AT_START_NS));
        HostClock { mono, wall, seen: Cell::new(None) }
    }

    #[inline]
    pub fn now(&self, at: Time) -> Now {
        if let Some((seen_at, now)) = self.seen.get()
            && seen_at == at
        {
            return now;
        }
        let now = Now { mono: Mono(self.mono.read(at)), wall: Wall(self.wall.read(at) / 1000) };
        self.seen.set(Some((at, now)));
        now
    }

    /// Whether the monotonic clock, if it goes on as it does, shows `deadline` before `at`, which is
    /// ahead. Tells less than [`HostClock::when_mono`], much sooner.
    #[inline]
    pub fn is_mono_due(&self, deadline: Mono, at: Time) -> bool {
        at == Time::NEVER || self.mono.read(Time(at.0 - 1)) >= deadline.0
    }

    /// When the monotonic clock shows `deadline`.
    pub fn when_mono(&self, deadline: Mono) -> Option<Time> {
        self.mono.when(deadline.0)
    }
}

/// A fault of a clock, or its end. Offsets in nanoseconds.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ClockChange {
    /// The wall clock jumps.
    StepWall(i64),
    /// The wall clock shows true time plus this.
    SetWallOffset(i64),
    DriftWall(i32),
    FreezeWall(bool),
    /// The monotonic clock jumps ahead, as after the suspension of a virtual machine.
    JumpMono(u64),
    DriftMono(i32),
    FreezeMono(bool),
}

impl HostClock {
    pub fn change(&mut self, at: Time, change: ClockChange) {
        self.seen.set(None);
        match change {
            ClockChange::StepWall(delta) => self.wall.step(at, delta),
            ClockChange::SetWallOffset(offset) => {
                let aim = (WALL_AT_START_NS + at.0).saturating_add_signed(offset);
                self.wall.rebase(at);
                self.wall.value = aim;
            }
            ClockChange::DriftWall(ppm) => self.wall.set_drift(at, ppm),
            ClockChange::FreezeWall(frozen) => self.wall.freeze(at, frozen),
            ClockChange::JumpMono(delta) => {
                self.mono.step(at, i64::try_from(delta).unwrap_or(i64::MAX));
            }
            ClockChange::DriftMono(ppm) => self.mono.set_drift(at, ppm),
            ClockChange::FreezeMono(frozen) => self.mono.freeze(at, frozen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_moves_the_wall_clock_and_not_the_monotonic_one() {
        let mut clock = HostClock::new(77);
        let before = clock.now(Time::from_secs(1));
        clock.change(Time::from_secs(1), ClockChange::StepWall(-2_000_000_000));
        let after = clock.now(Time::from_secs(2));
        assert_eq!(after.wall.0, before.wall.0 - 1_000_000);
        assert_eq!(after.mono.0, before.mono.0 + 1_000_000_000);
        clock.change(Time::from_secs(3), ClockChange::SetWallOffset(0));
        assert_eq!(clock.wall.read(Time::from_secs(4)), WALL_AT_START_NS + 4_000_000_000);
    }

    #[test]
    fn drift_is_so_many_parts_in_a_million_and_never_runs_backwards() {
        for ppm in [200, -200, 100_000, -499_999, 1] {
            let mut clock = Clock::new(1000);
            clock.set_drift(Time(500), ppm);
            let at = Time(500 + 10_000_000_000);
            let expected = 1500 + 10_000_000_000 + 10_000 * i64::from(ppm);
            assert_eq!(clock.read(at), expected as u64);
            let mut last = 0;
            for t in 500..5000 {
                let now = clock.read(Time(t));
                assert!(now >= last);
                last = now;
            }
        }
    }

    #[test]
    fn when_is_the_first_time_the_clock_shows_a_value() {
        for ppm in [0, 37, -37, 250_000, -250_000] {
            let mut clock = Clock::new(0);
            clock.set_drift(Time(10), ppm);
            for value in [11, 1_000, 123_456_789, 98_765_432_123] {
                let at = clock.when(value).expect("the clock goes");
                assert!(clock.read(at) >= value, "{ppm} {value}");
                assert!(clock.read(Time(at.0 - 2)) < value, "{ppm} {value}");
            }
        }
    }

    #[test]
    fn deadline_is_due_before_a_time_exactly_if_it_comes_before_it() {
        for ppm in [0, 37, -37, 250_000, -250_000] {
            let mut clock = HostClock::new(0);
            clock.change(Time(10), ClockChange::DriftMono(ppm));
            for deadline in [11, 1_000, 123_456_789, 98_765_432_123].map(Mono) {
                let when = clock.when_mono(deadline).expect("the clock goes");
                for at in when.0 - 2..when.0 + 3 {
                    let due = clock.is_mono_due(deadline, Time(at));
                    assert_eq!(due, when < Time(at), "{ppm} {deadline:?} {at}");
                }
                assert!(clock.is_mono_due(deadline, Time::NEVER));
            }
        }
    }

    #[test]
    fn frozen_clock_stands_and_goes_on_where_it_stood() {
        let mut clock = Clock::new(0);
        clock.freeze(Time(100), true);
        assert_eq!(clock.read(Time(500)), 100);
        assert_eq!(clock.when(101), None);
        clock.freeze(Time(600), false);
        assert_eq!(clock.read(Time(650)), 150);
    }
}
