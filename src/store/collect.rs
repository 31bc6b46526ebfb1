//! What goes once the horizon has passed it. No step looks at more than the keys that wait for it.

use crate::base::fact::Facts;
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;

use super::Store;
use super::commit::{Eager, Terms};
use super::db::Place;
use super::elements::Elements;
use super::merge::Draft;
use super::state::View;

/// How many contributions of a key wait for the horizon to pass their base.
const WAITING_MAX: usize = 32;

impl View<'_> {
    /// The smallest horizon at which something of a visible key can be dropped.
    pub fn next_droppable(&self) -> Option<u64> {
        let base_time = self.base.map_or(0, |base| base.stamp.time);
        let covered = self
            .contributions()
            .iter()
            .enumerate()
            .filter(|(_, c)| self.live_part(c).is_none())
            .map(|(at, c)| if self.is_needless(at) { c.last } else { c.last.max(base_time) })
            .min();
        let dead = self.base.filter(|base| !base.live && !self.affects_any()).map(|_| base_time);
        let implied = super::state::implied_expiry(self.base.as_ref());
        let persisted = self
            .expiry
            .filter(|cell| cell.deadline.is_none() && Some(*cell) != implied)
            .map(|cell| cell.stamp.time);
        let elements = self.collections.iter().filter_map(Elements::waits).min();
        let hidden = self.has_hidden().then(|| self.newest_time());
        [covered, dead, persisted, elements, hidden].into_iter().flatten().min()
    }

    /// Whether a covered contribution does not wait for the base's horizon: where there are many, and it will never grow again,
    /// since its origin has begun a newer generation. (One that has not may not have seen the base yet, and go on with a sum that
    /// includes what the base has taken away.)
    fn is_needless(&self, at: usize) -> bool {
        let list = self.contributions();
        list.len() > WAITING_MAX
            && list.get(at + 1).is_some_and(|next| next.origin == list[at].origin)
    }

    /// Whether the base takes anything away from a contribution held.
    fn affects_any(&self) -> bool {
        self.contributions().iter().any(|contribution| self.is_affected(contribution))
    }
}

impl Draft<'_, '_> {
    /// Drops what is at or below `horizon` and means nothing any more. A hidden key goes if its
    /// deadline lies before `expired_before`, too.
    pub fn collect(&mut self, horizon: u64, expired_before: UnixMs, clock: UnixMs) {
        let view = self.view();
        let settled = view.newest_time() <= horizon;
        if !view.exists() {
            if settled {
                self.remove_all();
            }
            return;
        }
        if view.is_expired(clock) {
            let past = view.deadline().is_some_and(|deadline| deadline < expired_before);
            if settled && past {
                self.remove_all();
            } else {
                self.deferred = !settled;
            }
            return;
        }
        if !self.collections.is_empty() {
            if settled && view.has_hidden() {
                self.drop_hidden();
            }
            for collection in &mut self.collections {
                collection.collect(horizon, self.hasher);
            }
            self.drop_nothing();
        }
        self.drop_covered(horizon);
        self.drop_dead_base(horizon);
        let implied = super::state::implied_expiry(self.base.as_ref());
        if self.expiry != implied
            && self.expiry.is_some_and(|cell| cell.deadline.is_none() && cell.stamp.time <= horizon)
        {
            self.expiry = None;
        }
    }

    /// Drops what an element of a collection no longer needs.
    pub fn collect_element(&mut self, horizon: u64) {
        let view = self.view();
        if !view.exists() {
            if view.newest_time() <= horizon {
                self.remove_all();
            }
            return;
        }
        self.drop_covered(horizon);
        self.drop_dead_base(horizon);
    }

    /// Drops the cells of other types than the key's.
    fn drop_hidden(&mut self) {
        let kind = self.view().kind();
        self.collections.retain(|collection| Some(collection.elements().kind()) == kind);
        if kind.is_none() {
            return;
        }
        if let Some(base) = self.base {
            if self.expiry == super::state::implied_expiry(Some(&base)) {
                self.expiry = None;
            }
            self.remove_base();
        }
        if let Some(side) = self.side_if_any() {
            side.contributions = Vec::new();
        }
    }

    /// Everything that a horizon in infinity would let go, and seen lists: nobody else holds a
    /// contribution that they could cover.
    pub fn collect_alone(&mut self, clock: UnixMs) {
        self.collect(u64::MAX, UnixMs(u64::MAX), clock);
        let view = self.view();
        let needless =
            !view.contributions().iter().any(|contribution| view.is_affected(contribution));
        if !needless {
            return;
        }
        if let Some(base) = &mut self.base {
            base.horizon = 0;
        }
        if let Some(side) = self.side_if_any() {
            side.seen = Vec::new();
            side.floor = None;
        }
    }

    /// The deliberate fault that a delete leaves no tombstone.
    pub fn collect_dead(&mut self, clock: UnixMs) {
        if self.base.is_some_and(|base| !base.live) {
            self.collect(u64::MAX, UnixMs(u64::MAX), clock);
        }
    }

    /// The deliberate fault that a deleted element leaves no tombstone.
    pub fn collect_dead_elements(&mut self) {
        for collection in &mut self.collections {
            collection.collect(u64::MAX, self.hasher);
        }
    }

    /// Contributions at or below `horizon` that the base covers, if it lies there too. Where the base is renewed faster than the
    /// horizon moves, they would pile up: of many those that are closed do not wait for that. Whoever writes a base from now on
    /// has them, and lists them or counts them as seen by its horizon, unless it goes back to an older log.
    fn drop_covered(&mut self, horizon: u64) {
        let view = self.view();
        let Some(base) = view.base else { return };
        let settled = base.stamp.time <= horizon;
        let goes: Vec<bool> = view
            .contributions()
            .iter()
            .enumerate()
            .map(|(at, c)| {
                c.last <= horizon
                    && (settled || view.is_needless(at))
                    && view.live_part(c).is_none()
            })
            .collect();
        if let Some(side) = self.side_if_any() {
            let mut goes = goes.into_iter();
            side.contributions.retain(|_| !goes.next().unwrap_or(false));
        }
    }

    /// A dead base of which no contribution held depends.
    fn drop_dead_base(&mut self, horizon: u64) {
        let view = self.view();
        let Some(base) = view.base else { return };
        if base.live || base.stamp.time > horizon || view.affects_any() {
            return;
        }
        if self.expiry == super::state::implied_expiry(Some(&base)) {
            self.expiry = None;
        }
        self.remove_base();
    }
}

impl Store {
    /// Tombstones, stamp detail and covered contributions at or below `horizon` may go; expired
    /// keys whose deadline lies before `expired_before` and whose cells are all at or below
    /// `horizon` too. Looks at no more than `keys_max` keys that wait for it; the horizon reached
    /// is [`Store::collected`]. True if more is due now.
    pub fn collect(
        &mut self,
        horizon: u64,
        expired_before: UnixMs,
        keys_max: usize,
        facts: &mut Facts,
    ) -> bool {
        self.collected = self.collected.max(horizon);
        self.flushed.retain(|_, stamp| stamp.time > horizon);
        let mut left = keys_max;
        while let Some(place) = self.next_collectable(horizon, expired_before) {
            if left == 0 {
                return true;
            }
            left -= 1;
            self.collect_place(place, horizon, expired_before, facts);
        }
        self.release_empty();
        false
    }

    fn next_collectable(&self, horizon: u64, expired_before: UnixMs) -> Option<Place> {
        let waiting = self.books.waiting.first().filter(|&&(time, _)| time <= horizon);
        let buried = || self.books.buried.first().filter(|&&(at, _)| at < expired_before.0);
        waiting.or_else(buried).map(|&(_, place)| place)
    }

    fn collect_place(
        &mut self,
        place: Place,
        horizon: u64,
        expired_before: UnixMs,
        facts: &mut Facts,
    ) {
        let clock = self.clock;
        let terms = Terms { clock, cut: None, cause: Stamp::ZERO, eager: Eager::No };
        self.edit_indexed(place, terms, true, facts, |draft, clock| {
            draft.collect(horizon, expired_before, clock);
            true
        });
    }

    /// Gives back the tables of databases without a key.
    fn release_empty(&mut self) {
        for held in &mut self.dbs {
            if let Some(empty) = held.take_if(|db| db.is_empty()) {
                self.books.memory_bytes -= empty.own_bytes() as u64;
            }
        }
    }
}
