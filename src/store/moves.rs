//! Giving the writes of one origin new stamps, where nobody else has seen them yet.

use std::collections::BTreeSet;

use crate::base::fact::Facts;
use crate::base::ids::Origin;
use crate::base::stamp::Stamp;
use crate::base::unit::SeenContribution;

use super::Store;
use super::commit::{Eager, Terms, view_of};
use super::merge::Draft;
use super::state::{ExpiryCell, View, list_key};

/// Which stamps become which.
#[derive(Copy, Clone)]
struct Moves<'t> {
    from: Origin,
    to: Origin,
    /// Rising.
    times: &'t [(u64, u64)],
    /// Moved bases count contributions up to here as seen.
    horizon: u64,
}

impl Moves<'_> {
    fn time(self, time: u64) -> u64 {
        match self.times.binary_search_by_key(&time, |pair| pair.0) {
            Ok(at) => self.times[at].1,
            Err(_) => time,
        }
    }

    fn stamp(self, stamp: Stamp) -> Stamp {
        if stamp.origin != self.from {
            return stamp;
        }
        Stamp::new(self.time(stamp.time), self.to)
    }

    /// Within one origin its generation keeps its name: a copy of it from before the move (from a log that has lost the move's
    /// record) is the same contribution, and does not count beside it.
    fn contribution(self, held: SeenContribution) -> SeenContribution {
        if held.origin != self.from {
            return held;
        }
        let renamed = self.from != self.to;
        SeenContribution {
            origin: self.to,
            generation: if renamed { self.time(held.generation) } else { held.generation },
            last: self.time(held.last),
            sum: held.sum,
        }
    }

    fn list(self, list: &mut Vec<SeenContribution>) {
        for item in list.iter_mut() {
            *item = self.contribution(*item);
        }
        // The new stamps are new, unless somebody made the log up.
        list.sort_by_key(|item| (list_key(item), core::cmp::Reverse(item.last)));
        list.dedup_by_key(|item| list_key(item));
    }

    fn draft(self, draft: &mut Draft<'_, '_>) {
        if let Some(base) = &mut draft.base {
            if base.stamp.origin == self.from {
                base.horizon = base.horizon.max(self.horizon);
            }
            base.stamp = self.stamp(base.stamp);
        }
        if let Some(expiry) = &mut draft.expiry {
            expiry.stamp = self.stamp(expiry.stamp);
        }
        if let Some(side) = draft.side_if_any() {
            self.list(&mut side.seen);
            self.list(&mut side.contributions);
            if let Some(floor) = &mut side.floor {
                floor.stamp = self.stamp(floor.stamp);
            }
        }
        for collection in &mut draft.collections {
            let born = collection.elements().born();
            collection.set_born(self.stamp(born));
            collection.edit_all(draft.hasher, |element| {
                self.draft(element);
                true
            });
        }
    }
}

impl Store {
    /// A store that stood alone keeps no trace of a SET that an APPEND has overwritten, nor that it has
    /// taken away every expiry there was. Others may have one: each such key says so itself from now on.
    pub fn restore_resets(&mut self) {
        let clock = self.clock;
        let terms = Terms { clock, cut: None, cause: Stamp::ZERO, eager: Eager::No };
        let mut facts = Facts::default();
        for db in 0..self.dbs.len() {
            self.edit_all(db as u16, terms, &mut facts, |draft| {
                let Some(base) = draft.base.filter(|base| base.live && !base.resets) else {
                    return false;
                };
                let lacks = draft.expiry.is_none();
                if lacks {
                    draft.expiry = Some(ExpiryCell { stamp: base.stamp, deadline: None });
                }
                lacks
            });
        }
    }

    /// Replaces stamp times: every stamp of origin `from` gets origin `to` and the time given for
    /// it (pairs in rising order of the first); other stamps stay. Used when an epoch's writes,
    /// seen by nobody else yet, are moved. Contributions up to `horizon` count as seen by the moved
    /// bases: some may have been collected where they go. Looks at every key.
    pub fn move_stamps(&mut self, from: Origin, to: Origin, times: &[(u64, u64)], horizon: u64) {
        let moves = Moves { from, to, times, horizon };
        for stamp in self.flushed.values_mut() {
            *stamp = moves.stamp(*stamp);
        }
        let cause = Stamp::new(times.last().map_or(0, |pair| pair.1), to);
        let terms = Terms { clock: self.clock, cut: None, cause, eager: Eager::No };
        let mut facts = Facts::default();
        for db in 0..self.dbs.len() {
            self.edit_all(db as u16, terms, &mut facts, |draft| {
                moves.draft(draft);
                true
            });
        }
    }

    /// All distinct stamp times of one origin that occur in any cell, rising.
    pub fn stamp_times(&self, origin: Origin) -> Vec<u64> {
        let mut times = BTreeSet::new();
        let mut add = |stamp: Stamp| {
            if stamp.origin == origin {
                times.insert(stamp.time);
            }
        };
        self.flushed.values().copied().for_each(&mut add);
        for entry in self.dbs.iter().flatten().flat_map(|db| db.entries()).map(|(_, e)| e) {
            let view = view_of(entry);
            view.expiry.iter().for_each(|cell| add(cell.stamp));
            view.side.and_then(|side| side.floor).iter().for_each(|floor| add(floor.stamp));
            add_stamps(&view, &mut add);
            for elements in view.collections.iter() {
                add(elements.born());
                elements.iter().for_each(|(_, element)| add_stamps(&element, &mut add));
            }
        }
        times.into_iter().collect()
    }
}

/// Every stamp of a base and of contributions.
fn add_stamps(view: &View<'_>, add: &mut impl FnMut(Stamp)) {
    view.base.iter().for_each(|base| add(base.stamp));
    for listed in view.seen().iter().chain(view.contributions()) {
        add(Stamp::new(listed.generation, listed.origin));
        add(Stamp::new(listed.last, listed.origin));
    }
}
