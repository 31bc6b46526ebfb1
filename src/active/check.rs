//! Named invariants of active mode.

use crate::base::clock::HybridClock;
use crate::store::Store;

use super::Active;

impl Active {
    /// # Panics
    /// If a named invariant does not hold.
    pub fn check_invariants(&self, store: &Store, clock: &HybridClock) {
        self.backlog_stays_within_its_bound();
        self.own_entry_never_passes_the_clock(clock);
        self.log_start_is_covered();
        let collected = store.collected();
        assert!(
            collected <= clock.last() || collected <= self.newest_known(),
            "collected beyond what this node has given or seen"
        );
    }

    fn backlog_stays_within_its_bound(&self) {
        assert!(self.log.bytes() <= self.log.bytes_max(), "the backlog outgrew its bound");
    }

    fn own_entry_never_passes_the_clock(&self, clock: &HybridClock) {
        let own = self.vector.get(clock.origin());
        assert!(own <= clock.last(), "the vector's own entry passed the clock");
    }

    fn log_start_is_covered(&self) {
        assert!(self.vector.covers_all(self.log.start()), "the log begins beyond the vector");
    }

    /// The newest stamp time that the vector covers.
    fn newest_known(&self) -> u64 {
        self.vector.iter().map(|e| e.1).fold(0, u64::max)
    }
}
