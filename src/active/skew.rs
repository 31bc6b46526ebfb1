//! Clock skew: whose wall clock to follow, and the expiry clock that never steps back.

use std::collections::BTreeMap;

use crate::base::ids::NodeId;
use crate::base::time::{Now, UnixMs, Wall};

/// The own wall clock as corrected by what the peers' heartbeats say.
#[derive(Debug)]
pub struct SkewedClock {
    max_skew_ms: u64,
    /// Per peer: its wall clock minus this process's monotonic clock, in microseconds.
    offsets: BTreeMap<NodeId, i128>,
    /// The same offsets in order.
    sorted: Vec<i128>,
    /// What the offsets come to; kept while no peer is linked.
    peers: Option<PeerTime>,
    /// Whether the correction was on when it was last looked at.
    corrected: bool,
    /// The latest expiry time ever answered.
    expiry: UnixMs,
}

impl SkewedClock {
    pub fn new(max_skew_ms: u64) -> SkewedClock {
        SkewedClock {
            max_skew_ms,
            offsets: BTreeMap::new(),
            sorted: Vec::new(),
            peers: None,
            corrected: false,
            expiry: UnixMs(0),
        }
    }

    pub fn set_max_skew_ms(&mut self, max_skew_ms: u64) {
        self.max_skew_ms = max_skew_ms;
    }

    pub fn max_skew_ms(&self) -> u64 {
        self.max_skew_ms
    }

    /// A peer said what time it is. True if the correction has begun or ended since the last call.
    pub fn heard(&mut self, now: Now, peer: NodeId, wall: Wall) -> bool {
        self.offsets.insert(peer, i128::from(wall.0) - mono_us(now));
        self.weigh();
        let corrected = self.correction(now).is_some();
        core::mem::replace(&mut self.corrected, corrected) != corrected
    }

    /// Whether the peer's clock has been told.
    pub fn knows(&self, peer: NodeId) -> bool {
        self.offsets.contains_key(&peer)
    }

    /// The peer is gone: its clock no longer counts, unless it is the last one known.
    pub fn forget(&mut self, peer: NodeId) {
        if self.offsets.len() > 1 {
            self.offsets.remove(&peer);
            self.weigh();
        }
    }

    fn weigh(&mut self) {
        self.sorted.clear();
        self.sorted.extend(self.offsets.values());
        self.sorted.sort_unstable();
        let count = self.sorted.len();
        let middle = |index: usize| self.sorted.get(index).copied();
        self.peers = middle(count / 2)
            .zip(middle(count.saturating_sub(1) / 2))
            .map(|(majority, median)| PeerTime { majority, median });
    }

    /// The offset that stamps follow while the own wall clock is ahead of most peers' by too much. Judged anew
    /// at every look: a step of the wall clock shows at once.
    fn correction(&self, now: Now) -> Option<i128> {
        let peers = self.peers?;
        let own = i128::from(now.wall.0) - mono_us(now);
        (own - peers.majority > i128::from(self.max_skew_ms) * 1000).then_some(peers.median)
    }

    /// The wall clock that stamps follow.
    pub fn wall(&self, now: Now) -> Wall {
        match self.correction(now) {
            Some(offset) => Wall(u64::try_from(mono_us(now) + offset).unwrap_or(0)),
            None => now.wall,
        }
    }

    /// The expiry clock: [`SkewedClock::wall`], never stepping back.
    pub fn expiry(&mut self, now: Now) -> UnixMs {
        self.expiry = self.expiry.max(self.wall(now).ms());
        self.expiry
    }

    /// The expiry clock without moving it.
    pub fn expiry_at(&self, now: Now) -> UnixMs {
        self.expiry.max(self.wall(now).ms())
    }

    /// How far the own wall clock is ahead of the one stamps follow, in ms; 0 without a correction.
    pub fn correction_ms(&self, now: Now) -> i64 {
        let ahead = i128::from(now.wall.0) - i128::from(self.wall(now).0);
        i64::try_from(ahead / 1000).unwrap_or(i64::MAX)
    }

    /// Whether a stamp of millisecond `ms` lies too far ahead to be let in: of the own clock, and of
    /// the middle one among the own and the peers'. (A node that is behind everybody must not keep all others out for ever.)
    pub fn is_too_far_ahead(&self, now: Now, ms: UnixMs) -> bool {
        let own = i128::from(self.wall(now).0);
        // If the middle one is ahead of the own clock, then the own is among those before it, and it is
        // this one of the peers'; else this one is not ahead.
        let middle = (self.sorted.len() / 2).checked_sub(1).map(|place| self.sorted[place]);
        let reference = own.max(middle.map_or(own, |offset| offset + mono_us(now)));
        i128::from(ms.0) * 1000 > reference + i128::from(self.max_skew_ms) * 1000
    }
}

/// Two order statistics of the peers' offsets.
#[derive(Copy, Clone, Debug)]
struct PeerTime {
    /// Being ahead of this is being ahead of more than half of them.
    majority: i128,
    /// What to follow instead.
    median: i128,
}

fn mono_us(now: Now) -> i128 {
    i128::from(now.mono.0 / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Mono;

    fn at(mono_ms: u64, wall_ms: u64) -> Now {
        Now { mono: Mono(mono_ms * 1_000_000), wall: Wall(wall_ms * 1000) }
    }

    #[test]
    fn node_ahead_of_its_only_peer_follows_the_peer_and_expiry_never_steps_back() {
        let mut clock = SkewedClock::new(5000);
        assert_eq!(clock.expiry(at(0, 100_000)), UnixMs(100_000));
        assert!(clock.heard(at(0, 100_000), NodeId(1), Wall(90_000_000)));
        assert_eq!(clock.wall(at(1000, 101_000)).ms(), UnixMs(91_000));
        assert_eq!(clock.expiry(at(1000, 101_000)), UnixMs(100_000));
        assert!(!clock.is_too_far_ahead(at(1000, 101_000), UnixMs(96_000)));
        assert!(clock.is_too_far_ahead(at(1000, 101_000), UnixMs(96_001)));
    }

    #[test]
    fn stamps_are_judged_by_the_middle_clock_if_that_is_ahead() {
        for peers in [&[][..], &[7], &[-7, 7], &[7, 9], &[-7, 7, 9], &[0, 0, 9, 9], &[-9, 3, 3, 3]]
        {
            let mut clock = SkewedClock::new(0);
            for (node, ahead_s) in (1..).zip(peers) {
                let wall = 100_000_000 + ahead_s * 1_000_000;
                clock.heard(at(0, 1), NodeId(node), Wall(wall as u64));
            }
            let own = at(0, 100_000);
            let mut walls: Vec<i64> = peers.iter().map(|s| 100_000 + 1000 * s).collect();
            let follows = clock.wall(own).ms().0;
            walls.push(follows as i64);
            walls.sort_unstable();
            let reference = follows.max(walls[(walls.len() - 1) / 2] as u64);
            assert!(!clock.is_too_far_ahead(own, UnixMs(reference)), "{peers:?}");
            assert!(clock.is_too_far_ahead(own, UnixMs(reference + 1)), "{peers:?}");
        }
    }

    #[test]
    fn node_ahead_of_a_minority_keeps_its_clock() {
        let mut clock = SkewedClock::new(5000);
        clock.heard(at(0, 100_000), NodeId(1), Wall(100_000_000));
        assert!(!clock.heard(at(0, 100_000), NodeId(2), Wall(80_000_000)));
        assert_eq!(clock.correction_ms(at(0, 100_000)), 0);
    }

    #[test]
    fn step_of_the_wall_clock_is_not_followed_even_before_the_next_heartbeat() {
        let mut clock = SkewedClock::new(5000);
        assert!(!clock.heard(at(0, 100_000), NodeId(1), Wall(100_000_000)));
        assert_eq!(clock.wall(at(10, 160_010)).ms(), UnixMs(100_010));
        clock.forget(NodeId(1));
        assert_eq!(clock.wall(at(20, 160_020)).ms(), UnixMs(100_020));
        assert_eq!(clock.wall(at(30, 100_030)).ms(), UnixMs(100_030));
    }
}
