//! What local commands do to one key: computed from its state, written under the unit's stamp. A
//! local stamp is newer than all that is held, so writes take the place of what is there; what the
//! same unit wrote before is overwritten, which makes the unit's changes net.

use bytes::Bytes;

use crate::base::mutant::{Mutant, Mutants};
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;
use crate::base::unit::{Kind, SeenContribution};

use super::merge::Draft;
use super::state::{Base, ExpiryCell, Floor, View, list_key};
use super::txn::SetExpiry;

/// What a local write is made under.
#[derive(Copy, Clone)]
pub struct Writer {
    pub stamp: Stamp,
    pub clock: UnixMs,
    /// Up to where contributions that are not held count as seen; 0 if nobody else has ever held a
    /// copy.
    pub horizon: u64,
    /// Up to where a key that is not held has been collected.
    pub floor: u64,
    pub mutants: Mutants,
}

impl<'v> Draft<'_, 'v> {
    /// A register; the key's expiry as said.
    pub fn write_value(&mut self, value: &'v [u8], expiry: SetExpiry, by: Writer) -> bool {
        let visible = self.view().is_visible(by.clock);
        // What this unit has reset already stays so.
        let again = self.base.is_some_and(|base| base.stamp == by.stamp && base.resets);
        let resets = match expiry {
            SetExpiry::Clear | SetExpiry::At(_) => true,
            // A new key does not inherit an expiry.
            SetExpiry::Keep => !visible || again,
        };
        if !self.write_base(true, resets, value, by) {
            return false;
        }
        match expiry {
            SetExpiry::Clear => self.write_expiry(None, by),
            SetExpiry::At(deadline) => self.write_expiry(Some(deadline), by),
            SetExpiry::Keep if visible => {
                // A persisted expiry that everybody has needs no trace.
                if let Some(cell) = self.expiry
                    && cell.deadline.is_none()
                    && cell.stamp.time <= by.floor
                {
                    self.expiry = None;
                }
                true
            }
            SetExpiry::Keep => self.write_expiry(None, by),
        }
    }

    /// A tombstone, which also takes the expiry away.
    pub fn write_tombstone(&mut self, by: Writer) -> bool {
        self.write_base(false, true, &[], by) && self.write_expiry(None, by)
    }

    pub fn write_expiry(&mut self, deadline: Option<UnixMs>, by: Writer) -> bool {
        if self.expiry.is_some_and(|cell| cell.stamp > by.stamp) {
            return false;
        }
        self.expiry = Some(ExpiryCell { stamp: by.stamp, deadline });
        true
    }

    /// Adds to the own contribution, or begins a new generation of it.
    pub fn write_increment(&mut self, delta: i64, by: Writer) -> bool {
        let view = self.view();
        if self.is_empty() && by.floor > 0 && !by.mutants.has(Mutant::FloorIgnored) {
            let floor = Floor { time: by.floor, stamp: by.stamp };
            self.side_mut().floor = Some(floor);
        } else if !view.is_visible(by.clock) && (view.deadline().is_some() || view.has_hidden()) {
            // The new key has neither the old one's cells nor its expiry, nor what an emptied collection hides of a string.
            if !self.write_tombstone(by) {
                return false;
            }
        }
        let extended = self.view().own_generation(by);
        let list = &mut self.side_mut().contributions;
        match extended {
            Some(at) => {
                let own = &mut list[at];
                own.last = own.last.max(by.stamp.time);
                own.sum = own.sum.saturating_add(i128::from(delta));
            }
            None => {
                let own = SeenContribution {
                    origin: by.stamp.origin,
                    generation: by.stamp.time,
                    last: by.stamp.time,
                    sum: i128::from(delta),
                };
                match list.binary_search_by_key(&list_key(&own), list_key) {
                    Ok(at) => list[at] = own,
                    Err(at) => list.insert(at, own),
                }
            }
        }
        true
    }

    /// Changes one element of a collection, which is begun if the key does not exist.
    pub fn write_element(
        &mut self,
        kind: Kind,
        name: &[u8],
        by: Writer,
        change: impl FnOnce(&mut Draft<'_, 'v>, Writer) -> bool,
    ) -> bool {
        let view = self.view();
        if !view.is_visible(by.clock) {
            if self.is_empty() && by.floor > 0 && !by.mutants.has(Mutant::FloorIgnored) {
                let floor = Floor { time: by.floor, stamp: by.stamp };
                self.side_mut().floor = Some(floor);
            } else if view.deadline().is_some() && !self.write_tombstone(by) {
                return false;
            }
            let collection = self.collection_mut(kind);
            if collection.elements().born() < by.stamp {
                collection.set_born(by.stamp);
            }
        }
        let hasher = self.hasher;
        // What a key that nobody may hold begins with is the key's business.
        let by = Writer { floor: 0, ..by };
        self.collection_mut(kind).edit(name, hasher, |draft| change(draft, by));
        true
    }

    /// A register that stays beside an expiry: an element's.
    pub fn write_register(&mut self, value: &'v [u8], by: Writer) -> bool {
        self.write_base(true, false, value, by)
    }

    /// An element's tombstone.
    pub fn write_removal(&mut self, by: Writer) -> bool {
        self.write_base(false, false, &[], by)
    }

    /// The key's elements go with what takes its place, but for tombstones of those that have been counted up: they list
    /// what of that was seen here. Key cells stay: one of this very unit loses against a string of the same stamp.
    fn write_over_elements(&mut self, by: Writer) {
        if self.collections.is_empty() {
            return;
        }
        for collection in &mut self.collections {
            let kind = collection.elements().kind();
            let counted = collection.elements().iter();
            let counted = counted.filter(|(_, held)| !held.contributions().is_empty());
            let counted = counted.map(|(name, _)| (kind, Bytes::copy_from_slice(name)));
            self.buried.extend(counted);
            collection.edit_all(self.hasher, |draft| {
                if draft.view().contributions().is_empty() {
                    draft.remove_all();
                } else {
                    draft.write_base(false, false, &[], by);
                }
                true
            });
        }
        self.drop_nothing();
    }

    /// Takes the place of the base. What this unit has added to the counter before is undone.
    fn write_base(&mut self, live: bool, resets: bool, value: &'v [u8], by: Writer) -> bool {
        if self.base.is_some_and(|base| base.stamp > by.stamp) {
            return false;
        }
        self.write_over_elements(by);
        let mut seen = Vec::new();
        if let Some(side) = self.side_if_any() {
            let born_now =
                |c: &SeenContribution| c.origin == by.stamp.origin && c.generation == by.stamp.time;
            side.contributions.retain(|c| !born_now(c));
            if !by.mutants.has(Mutant::SeenListIgnored) {
                seen.clone_from(&side.contributions);
            }
        }
        let base = Base { stamp: by.stamp, live, resets, horizon: by.horizon };
        self.set_base(base, value, seen);
        true
    }
}

impl View<'_> {
    /// Which contribution an increment goes on with: the writer's own live one that was begun after
    /// the base, or by this very unit.
    fn own_generation(&self, by: Writer) -> Option<usize> {
        let base_time = self.base.map(|base| base.stamp.time);
        self.contributions().iter().rposition(|c| {
            let begun_after = base_time.is_none_or(|time| c.generation > time);
            c.origin == by.stamp.origin
                && (by.mutants.has(Mutant::GenerationKept)
                    || c.generation == by.stamp.time
                    || (begun_after && self.live_part(c).is_some()))
        })
    }
}
