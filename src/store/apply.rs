//! Cells that come from elsewhere: merged, or first judged where they arrive with stamps of their
//! own.

use crate::base::fact::{Fact, Facts};
use crate::base::ids::DbIndex;
use crate::base::mutant::Mutant;
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Change, Part, PartSlot, SeenContribution};

use super::commit::{Eager, Terms};
use super::db::Place;
use super::merge::{Cut, Merged};
use super::state::{ExpiryCell, View, list_key};
use super::{Admission, Slot, Store};

impl Store {
    /// Merges one cell: commutative, associative, idempotent, total. True if anything changed.
    /// `clock` is the expiry clock.
    pub fn apply(
        &mut self,
        change: &Change,
        stamp: Stamp,
        clock: UnixMs,
        facts: &mut Facts,
    ) -> bool {
        let flushed = self.flushed.get(&change.db.0).copied();
        if change.cell == Cell::DatabaseTombstone {
            if flushed >= Some(stamp) {
                return false;
            }
            self.flushed.insert(change.db.0, stamp);
            let terms = self.terms(change.db.0, clock, stamp, Eager::No);
            let removes_newer = self.config.mutants.has(Mutant::FlushRemovesNewer);
            self.edit_all(change.db.0, terms, facts, |draft| {
                if removes_newer {
                    draft.remove_all();
                }
                draft.prune(terms.cut) || removes_newer
            });
            return true;
        }
        let is_removed = match &change.cell {
            Cell::KeyCell { floor } => flushed.is_some_and(|flushed| *floor < flushed.time),
            Cell::Kind { .. }
            | Cell::Element { .. }
            | Cell::Register { .. }
            | Cell::Tombstone { .. }
            | Cell::Contribution { .. }
            | Cell::Expiry { .. }
            | Cell::DatabaseTombstone => flushed.is_some_and(|flushed| stamp < flushed),
        };
        if is_removed {
            return false;
        }
        let mutants = self.config.mutants;
        let forgets =
            matches!(change.cell, Cell::Tombstone { .. }) && mutants.has(Mutant::TombstoneDropped);
        let forgets_element =
            matches!(change.cell, Cell::Element { part: Part::Tombstone { .. }, .. })
                && mutants.has(Mutant::FieldTombstoneDropped);
        let eager = match (forgets, forgets_element) {
            (true, _) => Eager::Dead,
            (false, true) => Eager::DeadElements,
            (false, false) => Eager::No,
        };
        let terms = self.terms(change.db.0, clock, stamp, eager);
        let place = Place::of(change.db, &change.key, &self.hasher);
        let mut merged = Merged::default();
        let changed = self.edit(place, &change.key, terms, facts, |draft| {
            draft.spares_elements = mutants.has(Mutant::KeyTombstoneSparesFields);
            merged = draft.merge(&change.cell, stamp, mutants);
            merged.changed
        });
        self.note_conflict(change, merged, facts);
        changed
    }

    /// Whether the node still holds this very cell, or a newer state of it.
    pub fn holds(&self, change: &Change, stamp: Stamp) -> bool {
        if change.cell == Cell::DatabaseTombstone {
            return self.flushed.get(&change.db.0) >= Some(&stamp);
        }
        let place = Place::of(change.db, &change.key, &self.hasher);
        self.view(place, &change.key).is_some_and(|view| view.holds(&change.cell, stamp))
    }

    /// Whether a cell is part of what its key shows, unless it is a contribution that the base has seen.
    pub fn counts(&self, db: DbIndex, key: &[u8], slot: &Slot, stamp: Stamp) -> bool {
        let (generation, element) = match slot {
            Slot::Contribution { generation } => (*generation, None),
            Slot::Element { kind, name, slot: PartSlot::Contribution { generation } } => {
                (*generation, Some((*kind, name)))
            }
            Slot::Element { slot: PartSlot::Register | PartSlot::Tombstone, .. }
            | Slot::Register
            | Slot::Tombstone
            | Slot::Expiry
            | Slot::Kind { .. } => return true,
        };
        let view = self.view(Place::of(db, key, &self.hasher), key);
        let view = match element {
            Some((kind, name)) => view.and_then(|v| v.collections.of(kind)?.view(name)),
            None => view,
        };
        let Some(view) = view else { return false };
        let is_it = |c: &&SeenContribution| {
            (c.origin, c.generation, c.last) == (stamp.origin, generation, stamp.time)
        };
        view.contributions().iter().find(is_it).is_some_and(|c| view.live_part(c).is_some())
    }

    /// Removes this very state of a cell, without a trace: everybody else has already. True if it was held.
    pub fn forget(
        &mut self,
        db: DbIndex,
        key: &[u8],
        slot: &Slot,
        stamp: Stamp,
        clock: UnixMs,
        facts: &mut Facts,
    ) -> bool {
        // A key whose value is forgotten has not been removed by whatever has written that.
        let cause = match slot {
            Slot::Register
            | Slot::Contribution { .. }
            | Slot::Element { .. }
            | Slot::Kind { .. } => Stamp::ZERO,
            Slot::Expiry | Slot::Tombstone => stamp,
        };
        let terms = self.terms(db.0, clock, cause, Eager::No);
        let place = Place::of(db, key, &self.hasher);
        self.edit(place, key, terms, facts, |draft| draft.forget(slot, stamp))
    }

    /// What to do with a cell that arrives outside its origin's stream: in a state transfer, or
    /// adopted by somebody. `covered`: the own vector covers the stamp, so this node has seen the
    /// write, or the outcome of it: what it does not hold of it is gone for good.
    pub fn admits(&self, change: &Change, stamp: Stamp, covered: bool) -> Admission {
        let removes = match change.cell {
            Cell::Tombstone { .. }
            | Cell::KeyCell { .. }
            | Cell::DatabaseTombstone
            | Cell::Element { part: Part::Tombstone { .. }, .. } => true,
            Cell::Register { .. }
            | Cell::Contribution { .. }
            | Cell::Expiry { .. }
            | Cell::Kind { .. }
            | Cell::Element { part: Part::Register { .. } | Part::Contribution { .. }, .. } => {
                false
            }
        };
        if self.holds(change, stamp) {
            Admission::Merge
        } else if covered {
            Admission::Ignore
        } else if stamp.time > self.collected || removes {
            // What only removes brings nothing back, however old it is.
            Admission::Merge
        } else {
            Admission::BelowHorizon
        }
    }

    /// FLUSHDB by a local command: also what the same unit has written before goes.
    pub(super) fn flush_local(
        &mut self,
        db: DbIndex,
        stamp: Stamp,
        clock: UnixMs,
        facts: &mut Facts,
    ) {
        let eager = self.eager_now();
        if eager != Eager::Alone {
            let held = self.flushed.entry(db.0).or_default();
            *held = stamp.max(*held);
        }
        let cut = Some(Cut { stamp, inclusive: true });
        let terms = self.terms(db.0, clock, stamp, eager);
        self.edit_all(db.0, terms, facts, |draft| draft.prune(cut));
    }

    /// After a unit whose changes were gathered: what goes at once goes now.
    pub(super) fn settle_unit(
        &mut self,
        noted: &[(DbIndex, bytes::Bytes)],
        flushed: &[DbIndex],
        dot: Stamp,
        clock: UnixMs,
        facts: &mut Facts,
    ) {
        let eager = self.eager_now();
        if eager == Eager::No {
            return;
        }
        if eager == Eager::Alone {
            self.flushed.retain(|db, _| !flushed.contains(&DbIndex(*db)));
        }
        for (db, key) in noted {
            let terms: Terms = self.terms(db.0, clock, dot, eager);
            let place = Place::of(*db, key, &self.hasher);
            self.edit(place, key, terms, facts, |_| true);
        }
    }

    /// What goes at once in a local write.
    pub(super) fn eager_now(&self) -> Eager {
        if self.open.gathers() {
            // Not before the changes have been gathered from the state.
            Eager::No
        } else if self.alone {
            Eager::Alone
        } else if self.config.mutants.has(Mutant::TombstoneDropped) {
            Eager::Dead
        } else if self.config.mutants.has(Mutant::FieldTombstoneDropped) {
            Eager::DeadElements
        } else {
            Eager::No
        }
    }

    fn note_conflict(&mut self, change: &Change, merged: Merged, facts: &mut Facts) {
        let Some((stamp, kept)) = merged.met else { return };
        // A newer write may have seen the one held; an older one cannot have seen what it lost
        // against.
        self.books.conflicts += u64::from(merged.late);
        facts.fact(|| Fact::StaleDropped { db: change.db, key: change.key.clone(), stamp, kept });
    }
}

impl View<'_> {
    /// Whether the slot of this cell has this state of it or a newer one.
    fn holds(&self, cell: &Cell, stamp: Stamp) -> bool {
        match cell {
            Cell::Register { .. } | Cell::Tombstone { .. } => {
                self.base.is_some_and(|base| base.stamp >= stamp)
            }
            Cell::Contribution { generation, .. } => self.holds_contribution(*generation, stamp),
            Cell::Expiry { deadline } => {
                self.expiry >= Some(ExpiryCell { stamp, deadline: *deadline })
            }
            Cell::KeyCell { floor } => {
                self.side.and_then(|side| side.floor).is_some_and(|held| held.time >= *floor)
            }
            Cell::DatabaseTombstone => false,
            Cell::Kind { kind } => {
                self.collections.of(*kind).is_some_and(|elements| elements.born() >= stamp)
            }
            Cell::Element { kind, name, part } => {
                let held = self.collections.of(*kind).and_then(|elements| elements.view(name));
                held.is_some_and(|element| element.holds_part(part, stamp))
            }
        }
    }

    fn holds_part(&self, part: &Part, stamp: Stamp) -> bool {
        match part {
            Part::Register { .. } | Part::Tombstone { .. } => {
                self.base.is_some_and(|base| base.stamp >= stamp)
            }
            Part::Contribution { generation, .. } => self.holds_contribution(*generation, stamp),
        }
    }

    fn holds_contribution(&self, generation: u64, stamp: Stamp) -> bool {
        let named = |c: &SeenContribution| list_key(c) == (stamp.origin.0, generation);
        self.contributions().iter().any(|c| named(c) && c.last >= stamp.time)
    }
}
