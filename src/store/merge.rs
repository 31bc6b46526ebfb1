//! The join of a key's state with one cell. Every slot takes the larger of two by a total order,
//! and what a floor or a database tombstone removes is a lower part of that order: so merging is
//! commutative, associative, idempotent and total whatever arrives.

mod elements;

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};

use bytes::Bytes;

use crate::base::mutant::{Mutant, Mutants};
use crate::base::stamp::Stamp;
use crate::base::unit::{Cell, Kind, PartSlot, Seen, SeenContribution};

use super::Slot;
use super::elements::Collection;
use super::elements::packed::Packed;
use super::entry::needs_wide_horizon;
use super::state::{Base, Collections, ExpiryCell, Floor, Side, View, implied_expiry, list_key};
use super::table::KeyHasher;

/// One key while it is changed. `'h` is the held value, `'v` the one that takes its place.
pub struct Draft<'h, 'v> {
    pub base: Option<Base>,
    held: &'h [u8],
    new: Option<&'v [u8]>,
    /// With what the base implies.
    pub expiry: Option<ExpiryCell>,
    side: Option<Box<Side>>,
    /// Of each kind at most one, in the order of kinds.
    pub collections: Vec<Collection>,
    /// The entry holds a small collection in the value's place.
    was_packed: bool,
    pub hasher: &'h KeyHasher,
    /// Elements that got tombstones because the key was written over.
    pub buried: Vec<(Kind, Bytes)>,
    /// (A deliberate fault.)
    pub spares_elements: bool,
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
    /// In place of base and value.
    pub packed: Option<Collection>,
}

impl<'h, 'v> Draft<'h, 'v> {
    pub fn new(
        base: Option<Base>,
        held: &'h [u8],
        mut side: Option<Box<Side>>,
        packed: Option<Packed<'_>>,
        hasher: &'h KeyHasher,
    ) -> Draft<'h, 'v> {
        let stored = side.as_ref().and_then(|side| side.expiry);
        let expiry = stored.or_else(|| implied_expiry(base.as_ref()));
        let collections = match (packed, &mut side) {
            (Some(packed), _) => vec![Collection::of(packed)],
            (None, Some(side)) => std::mem::take(&mut side.collections).into_vec(),
            (None, None) => Vec::new(),
        };
        Draft {
            base,
            held,
            new: None,
            expiry,
            side,
            collections,
            was_packed: packed.is_some(),
            hasher,
            buried: Vec::new(),
            spares_elements: false,
            deferred: false,
        }
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
                if mutants.has(Mutant::KeyTombstoneTakesNewer) {
                    self.collections.clear();
                }
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
            Cell::Kind { kind } => {
                Merged { changed: self.merge_kind(*kind, stamp, mutants), ..Merged::default() }
            }
            Cell::Element { kind, name, part } => {
                self.merge_element(*kind, name, part, stamp, mutants)
            }
        }
    }

    /// Removes this very state of a cell. True if it was held.
    pub fn forget(&mut self, slot: &Slot, stamp: Stamp) -> bool {
        match slot {
            Slot::Register | Slot::Tombstone => {
                let live = *slot == Slot::Register;
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
                    (c.origin, c.generation, c.last) != (stamp.origin, *generation, stamp.time)
                });
                side.contributions.len() != before
            }
            Slot::Kind { kind } => {
                let collection = self.collection_mut(*kind);
                let held = collection.elements().born() == stamp;
                if held {
                    collection.set_born(Stamp::ZERO);
                }
                self.drop_nothing();
                held
            }
            Slot::Element { kind, name, slot } => {
                let slot = match slot {
                    PartSlot::Register => Slot::Register,
                    PartSlot::Tombstone => Slot::Tombstone,
                    PartSlot::Contribution { generation } => {
                        Slot::Contribution { generation: *generation }
                    }
                };
                let hasher = self.hasher;
                let mut gone = false;
                self.collection_mut(*kind).edit(name, hasher, |draft| {
                    gone = draft.forget(&slot, stamp);
                    gone
                });
                self.drop_nothing();
                gone
            }
        }
    }

    /// Removes what the floor and the database tombstone say. True if that was anything.
    #[inline]
    pub fn prune(&mut self, cut: Option<Cut>) -> bool {
        let floor = self.side.as_ref().and_then(|side| side.floor);
        if floor.is_none() && cut.is_none() && (self.base.is_none() || self.collections.is_empty())
        {
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
        if !self.collections.is_empty() {
            // The first stamp that stays.
            let behind = |time: u64| Stamp::new(time.saturating_add(1), Stamp::ZERO.origin);
            let above = floor.map(|floor| behind(floor.time));
            let cut = cut.map(|cut| match cut.inclusive {
                true => behind(cut.stamp.time),
                false => cut.stamp,
            });
            removed |= self.prune_collections(above.max(cut));
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
        let collections = match &self.collections[..] {
            [] => Collections::None,
            list => Collections::List(list),
        };
        let side = self.side.as_deref();
        View { base: self.base, value, expiry: self.expiry, side, collections }
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
        self.collections = Vec::new();
    }

    /// A live register that resets, and nothing else: nothing of it is implied elsewhere or waits.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.side.is_none()
            && self.collections.is_empty()
            && self.base.is_some_and(|base| base.live && base.resets)
            && self.expiry == implied_expiry(self.base.as_ref())
    }

    /// Whether no cell at all is left.
    pub fn is_empty(&self) -> bool {
        self.base.is_none()
            && self.expiry.is_none()
            && self.collections.is_empty()
            && self
                .side
                .as_ref()
                .is_none_or(|side| side.contributions.is_empty() && side.floor.is_none())
    }

    /// Gives the side record back, if nothing was changed.
    pub fn into_side(mut self) -> Option<Box<Side>> {
        if let Some(side) = self.side.as_mut().filter(|_| !self.was_packed) {
            side.collections = self.collections.into_boxed_slice();
        }
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
        let mut packed = None;
        if !self.collections.is_empty() {
            match &self.collections[..] {
                [one] if self.base.is_none() && one.packed().is_some() => {
                    packed = self.collections.pop();
                }
                _ => {
                    let list = std::mem::take(&mut self.collections);
                    self.side_mut().collections = list.into_boxed_slice();
                }
            }
        }
        Parts {
            base: self.base,
            value: if live { self.new } else { Some(&[]) },
            side: self.side.filter(|side| !side.is_empty()),
            packed,
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
