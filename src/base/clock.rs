//! The hybrid logical clock: stamps that follow the wall clock where they can and causality always.

use super::ids::Origin;
use super::mutant::{Mutant, Mutants};
use super::stamp::{Stamp, time_of_ms};
use super::time::UnixMs;

/// Gives the stamps of one origin, strictly increasing; moved past every stamp that is received.
///
/// Source: Kulkarni et al., Logical Physical Clocks (2014); design, data model.
#[derive(Clone, Debug)]
pub struct HybridClock {
    origin: Origin,
    /// Time of the newest stamp given, announced or seen.
    last: u64,
    mutants: Mutants,
}

impl HybridClock {
    pub fn new(origin: Origin, mutants: Mutants) -> HybridClock {
        HybridClock { origin, last: 0, mutants }
    }

    /// The next stamp: `max(wall, last + 1)`.
    pub fn tick(&mut self, wall: UnixMs) -> Stamp {
        let next = self.last.saturating_add(1);
        // Within a millisecond the counter goes on: also with the fault most stamps are unique.
        let steps_back = self.mutants.has(Mutant::ClockFollowsWall)
            && next >= time_of_ms(UnixMs(wall.0.saturating_add(1)));
        self.last = if steps_back { time_of_ms(wall) } else { time_of_ms(wall).max(next) };
        Stamp::new(self.last, self.origin)
    }

    /// Moves the clock past a stamp time that was received, so that a causally later write wins.
    pub fn observe(&mut self, time: u64) {
        if self.mutants.has(Mutant::ClockIgnoresReceived) {
            return;
        }
        self.last = self.last.max(time);
    }

    /// Moves the clock to `time` if it is behind: the next stamp is later.
    pub fn advance(&mut self, time: u64) {
        self.last = self.last.max(time);
    }

    /// Promises that no stamp at or below the returned time will be given from now on.
    pub fn promise(&mut self, wall: UnixMs) -> u64 {
        self.last = time_of_ms(wall).max(self.last);
        self.last
    }

    /// Goes on under another origin; times keep rising.
    pub fn become_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    pub fn origin(&self) -> Origin {
        self.origin
    }

    pub fn last(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_stamp_is_passed_and_stepping_back_is_not_followed() {
        let mut clock = HybridClock::new(Origin(1), Mutants::NONE);
        let first = clock.tick(UnixMs(1000));
        clock.observe(time_of_ms(UnixMs(5000)));
        let second = clock.tick(UnixMs(900));
        assert!(second > first);
        assert_eq!(second.time, time_of_ms(UnixMs(5000)) + 1);
    }
}
