//! The join of a key's state with one cell. Every slot takes the larger of two by a total order,
//! and what a floor or a database tombstone removes is a lower part of that order: so merging is
//! commutative, associative, idempotent and total whatever arrives.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};

use crate::base::mutant::{Mutant, Mutants};
use crate::base::stamp::Stamp;
use crate::base::unit::{Cell, Seen, SeenContribution};

use super::Slot;
use super::entry::needs_wide_horizon;
use super::state::{Base, ExpiryCell, Floor, Side, View, implied_expiry, list_key};

/// One key while it is changed. `'h` is the held value, `'v` the one that takes its place.
pub struct Draft<'h, 'v> {
    pub base: Option<Base>,
    held: &'h [u8],
    new: Option<&'v [u8]>,
    /// With what the base implies.
    pub expiry: Option<ExpiryCell>,
    side: Option<Box<Side>>,
    /// A hidden key that waits for the horizon, its deadline being settled.
    pub deferred: bool,
}

/// The stamps a database tombstone removes: those below it, or also its own for a local flush,
/// which undoes what the same unit has written before.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    pub stamp: Stamp,
    pub inclusive: bool,
}

impl Cut {
    pub fn below(stamp: Stamp) -> Cut {
        Cut { stamp, inclusive: false }
    }

    fn removes(self, stamp: Stamp) -> bool {
        stamp < self.stamp || (self.inclusive && stamp == self.stamp)
    }
}

/// What a merge did.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Merged {
    pub changed: bool,
    /// Two base writes of different origins met: the older and the newer.
    pub met: Option<(Stamp, Stamp)>,
    /// Of those two the one that arrived was the older.
    pub late: bool,
}

/// A key's state in the form in which an entry keeps it.
pub struct Parts<'v> {
    pub base: Option<Base>,
    /// `None`: the value held stays.
    pub value: Option<&'v [u8]>,
    pub side: Option<Box<Side>>,
}

impl<'h, 'v> Draft<'h, 'v> {
    pub fn new(base: Option<Base>, held: &'h [u8], side: Option<Box<Side>>) -> Draft<'h, 'v> {
        let stored = side.as_ref().and_then(|side| side.expiry);
        let expiry = stored.or_else(|| implied_expiry(base.as_ref()));
        Draft { base, held, new: None, expiry, side, deferred: false }
    }

    /// The join with one cell.
    pub fn merge(&mut self, cell: &'v Cell, stamp: Stamp, mutants: Mutants) -> Merged {
        let floor = self.side.as_ref().and_then(|side| side.floor);
        let is_floor = matches!(cell, Cell::KeyCell { .. });
        if !is_floor && floor.is_some_and(|floor| stamp.time <= floor.time) {
            return Merged::default();
        }
        match cell {
            Cell::Register { value, resets, seen } => {
                let base = Base { stamp, live: true, resets: *resets, horizon: seen.horizon };
                self.merge_base(base, value, seen, mutants)
            }
            Cell::Tombstone { seen } => {
                let base = Base { stamp, live: false, resets: true, horizon: seen.horizon };
                self.merge_base(base, &[], seen, mutants)
            }
            Cell::Contribution { generation, sum } => Merged {
                changed: self.merge_contribution(
                    SeenContribution {
                        origin: stamp.origin,
                        generation: *generation,
                        last: stamp.time,
                        sum: *sum,
                    },
                    mutants,
                ),
                ..Merged::default()
            },
            Cell::Expiry { deadline } => Merged {
                changed: self.merge_expiry(ExpiryCell { stamp, deadline: *deadline }, mutants),
                ..Merged::default()
            },
            Cell::KeyCell { floor } => Merged {
                changed: self.merge_floor(Floor { time: *floor, stamp }),
                ..Merged::default()
            },
            // Not a cell of a key; see `Store::apply`.
            Cell::DatabaseTombstone => Merged::default(),
        }
    }

    /// Removes this very state of a cell. True if it was held.
    pub fn forget(&mut self, slot: Slot, stamp: Stamp) -> bool {
        match slot {
            Slot::Register | Slot::Tombstone => {
                let live = slot == Slot::Register;
                let held = self.base.is_some_and(|base| base.live == live && base.stamp == stamp);
                if held {
                    if self.expiry == implied_expiry(self.base.as_ref()) {
                        self.expiry = None;
                    }
                    self.remove_base();
                }
                held
            }
            Slot::Expiry => {
                let held = self.expiry.is_some_and(|held| held.stamp == stamp);
                if held {
                    self.expiry = implied_expiry(self.base.as_ref());
                }
                held
            }
            Slot::Contribution { generation } => {
                let Some(side) = &mut self.side else { return false };
                let before = side.contributions.len();
                side.contributions.retain(|c| {
                    (c.origin, c.generation, c.last) != (stamp.origin, generation, stamp.time)
                });
                side.contributions.len() != before
            }
        }
    }

    /// Removes what the floor and the database tombstone say. True if that was anything.
    #[inline]
    pub fn prune(&mut self, cut: Option<Cut>) -> bool {
        let floor = self.side.as_ref().and_then(|side| side.floor);
        if floor.is_none() && cut.is_none() {
            return false;
        }
        let removes = |stamp: Stamp| {
            floor.is_some_and(|floor| stamp.time <= floor.time)
                || cut.is_some_and(|cut| cut.removes(stamp))
        };
        let mut removed = false;
        if self.base.is_some_and(|base| removes(base.stamp)) {
            self.remove_base();
            removed = true;
        }
        if self.expiry.is_some_and(|cell| removes(cell.stamp)) {
            self.expiry = None;
            removed = true;
        }
        let Some(side) = &mut self.side else { return removed };
        let before = side.contributions.len();
        side.contributions.retain(|c| !removes(Stamp::new(c.last, c.origin)));
        removed |= side.contributions.len() != before;
        if let (Some(floor), Some(cut)) = (floor, cut) {
            // The database tombstone removes all that this floor does.
            if floor.time < cut.stamp.time {
                side.floor = None;
                removed = true;
            }
        }
        removed
    }

    pub fn view(&self) -> View<'_> {
        let live = self.base.is_some_and(|base| base.live);
        let value = if live { self.new.unwrap_or(self.held) } else { &[] };
        View { base: self.base, value, expiry: self.expiry, side: self.side.as_deref() }
    }

    /// The side record, made if there is none.
    pub fn side_mut(&mut self) -> &mut Side {
        self.side.get_or_insert_default()
    }

    pub fn side_if_any(&mut self) -> Option<&mut Side> {
        self.side.as_deref_mut()
    }

    /// Takes the place of the base, whatever there is.
    pub fn set_base(&mut self, base: Base, value: &'v [u8], seen: Vec<SeenContribution>) {
        self.base = Some(base);
        self.new = Some(value);
        if !seen.is_empty() || self.side.is_some() {
            self.side_mut().seen = seen;
        }
    }

    pub fn remove_base(&mut self) {
        self.base = None;
        if let Some(side) = &mut self.side {
            side.seen = Vec::new();
        }
    }

    pub fn remove_all(&mut self) {
        self.base = None;
        self.expiry = None;
        self.side = None;
    }

    /// A live register that resets, and nothing else: nothing of it is implied elsewhere or waits.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.side.is_none()
            && self.base.is_some_and(|base| base.live && base.resets)
            && self.expiry == implied_expiry(self.base.as_ref())
    }

    /// Whether no cell at all is left.
    pub fn is_empty(&self) -> bool {
        self.base.is_none()
            && self.expiry.is_none()
            && self
                .side
                .as_ref()
                .is_none_or(|side| side.contributions.is_empty() && side.floor.is_none())
    }

    /// Gives the side record back, if nothing was changed.
    pub fn into_side(self) -> Option<Box<Side>> {
        self.side
    }

    #[inline]
    pub fn into_parts(mut self) -> Parts<'v> {
        let stored = self.expiry.filter(|_| self.expiry != implied_expiry(self.base.as_ref()));
        let wide_horizon = self.base.filter(needs_wide_horizon).map_or(0, |base| base.horizon);
        if stored.is_some() || wide_horizon != 0 || self.side.is_some() {
            let side = self.side_mut();
            side.expiry = stored;
            side.wide_horizon = wide_horizon;
        }
        let live = self.base.is_some_and(|base| base.live);
        Parts {
            base: self.base,
            value: if live { self.new } else { Some(&[]) },
            side: self.side.filter(|side| !side.is_empty()),
        }
    }

    fn merge_base(
        &mut self,
        base: Base,
        value: &'v [u8],
        seen: &'v Seen,
        mutants: Mutants,
    ) -> Merged {
        let list = in_order(&seen.list);
        let mut merged = Merged::default();
        let wins = match self.base {
            None => true,
            Some(held) => {
                if held.stamp.origin != base.stamp.origin {
                    merged.late = base.stamp < held.stamp;
                    merged.met = Some((held.stamp.min(base.stamp), held.stamp.max(base.stamp)));
                }
                if held.stamp.time == base.stamp.time && mutants.has(Mutant::TieKeepsHeld) {
                    false
                } else {
                    let view = self.view();
                    base_order((&held, view.value, view.seen()), (&base, value, &list)).is_lt()
                }
            }
        };
        if wins {
            self.set_base(base, value, list.into_owned());
            merged.changed = true;
        }
        if base.resets {
            let reset = ExpiryCell { stamp: base.stamp, deadline: None };
            merged.changed |= self.merge_expiry(reset, mutants);
        }
        merged
    }

    fn merge_expiry(&mut self, cell: ExpiryCell, mutants: Mutants) -> bool {
        let held = self.expiry;
        let tied = held.is_some_and(|held| {
            held.stamp.time == cell.stamp.time && held.stamp.origin != cell.stamp.origin
        });
        let later = mutants.has(Mutant::LaterDeadlineWins)
            && held.is_some_and(|held| held.deadline > cell.deadline && cell.deadline.is_some());
        if (tied && mutants.has(Mutant::TieKeepsHeld)) || later || held >= Some(cell) {
            return false;
        }
        self.expiry = Some(cell);
        true
    }

    fn merge_contribution(&mut self, incoming: SeenContribution, mutants: Mutants) -> bool {
        let list = &mut self.side_mut().contributions;
        match list.binary_search_by_key(&list_key(&incoming), list_key) {
            Err(at) => {
                list.insert(at, incoming);
                true
            }
            Ok(at)
                if list[at].last == incoming.last && mutants.has(Mutant::IncrementAppliedTwice) =>
            {
                list[at].sum = list[at].sum.saturating_add(incoming.sum);
                true
            }
            Ok(at) if mutants.has(Mutant::LargerSumWins) => {
                let wins = list[at].sum < incoming.sum;
                if wins {
                    list[at] = incoming;
                }
                wins
            }
            // One last has one sum; the larger is taken if somebody says otherwise.
            Ok(at) if (list[at].last, list[at].sum) < (incoming.last, incoming.sum) => {
                list[at] = incoming;
                true
            }
            Ok(_) => false,
        }
    }

    fn merge_floor(&mut self, floor: Floor) -> bool {
        let held = &mut self.side_mut().floor;
        if *held >= Some(floor) {
            return false;
        }
        *held = Some(floor);
        true
    }
}

/// Which of two base writes is newer: by stamp, and at equal stamps the dead one. The rest only
/// makes the order total.
fn base_order(
    one: (&Base, &[u8], &[SeenContribution]),
    other: (&Base, &[u8], &[SeenContribution]),
) -> Ordering {
    let head = |base: &Base| (base.stamp, !base.live);
    let items = |list: &[SeenContribution]| -> Vec<(u32, u64, u64, i128)> {
        list.iter().map(|c| (c.origin.0, c.generation, c.last, c.sum)).collect()
    };
    head(one.0)
        .cmp(&head(other.0))
        .then_with(|| one.1.cmp(other.1))
        .then_with(|| (one.0.resets, one.0.horizon).cmp(&(other.0.resets, other.0.horizon)))
        .then_with(|| items(one.2).cmp(&items(other.2)))
}

/// The list in the order of (origin, generation), each once; lists are written like that.
fn in_order(list: &[SeenContribution]) -> Cow<'_, [SeenContribution]> {
    if list.is_sorted_by(|a, b| list_key(a) < list_key(b)) {
        return Cow::Borrowed(list);
    }
    let mut list = list.to_vec();
    // Of several with one key the largest comes first and stays.
    list.sort_by_key(|c| (list_key(c), Reverse((c.last, c.sum))));
    list.dedup_by_key(|c| list_key(c));
    Cow::Owned(list)
}
