//! The join of a key's collections with one cell: each element is joined as a key's string is, and goes with whatever
//! newer was written to the key itself.

use crate::base::mutant::{Mutant, Mutants};
use crate::base::stamp::Stamp;
use crate::base::unit::{Kind, Part, SeenContribution};

use super::super::elements::Collection;
use super::super::state::{Base, Side};
use super::{Draft, Merged};

impl<'v> Draft<'_, 'v> {
    pub(super) fn merge_kind(&mut self, kind: Kind, stamp: Stamp, mutants: Mutants) -> bool {
        let stays = mutants.has(Mutant::KindKeepsHeld) && self.is_string();
        let collection = self.collection_mut(kind);
        if collection.elements().born() >= stamp || stays {
            self.drop_nothing();
            return false;
        }
        collection.set_born(stamp);
        true
    }

    /// One element's join with one cell. What the key's base removes does not come in.
    pub(super) fn merge_element(
        &mut self,
        kind: Kind,
        name: &[u8],
        part: &Part,
        stamp: Stamp,
        mutants: Mutants,
    ) -> Merged {
        let removed = self.base.is_some_and(|base| stamp < base.stamp);
        if removed && !self.spares_elements {
            return Merged::default();
        }
        let hasher = self.hasher;
        let mut merged = Merged::default();
        self.collection_mut(kind).edit(name, hasher, |draft| {
            merged = draft.merge_part(part, stamp, mutants);
            merged.changed
        });
        self.drop_nothing();
        merged
    }

    fn merge_part(&mut self, part: &'v Part, stamp: Stamp, mutants: Mutants) -> Merged {
        let foreign = self.base.is_some_and(|base| base.stamp.origin != stamp.origin);
        match part {
            Part::Register { .. } if foreign && mutants.has(Mutant::FieldKeepsHeld) => {
                Merged::default()
            }
            Part::Register { value, seen } => {
                let base = Base { stamp, live: true, resets: false, horizon: seen.horizon };
                self.merge_base(base, value, seen, mutants)
            }
            Part::Tombstone { seen } => {
                let base = Base { stamp, live: false, resets: false, horizon: seen.horizon };
                self.merge_base(base, &[], seen, mutants)
            }
            Part::Contribution { generation, sum } => {
                let (origin, last) = (stamp.origin, stamp.time);
                let (generation, sum) = (*generation, *sum);
                let incoming = SeenContribution { origin, generation, last, sum };
                if mutants.has(Mutant::FieldCounterTakesLast) {
                    self.side_mut().contributions.retain(|c| c.origin == origin);
                }
                let changed = self.merge_contribution(incoming, mutants);
                Merged { changed, ..Merged::default() }
            }
        }
    }

    fn is_string(&self) -> bool {
        let view = self.view();
        view.kind().is_none() && view.exists()
    }

    /// The collection of a kind, made if there is none.
    pub fn collection_mut(&mut self, kind: Kind) -> &mut Collection {
        let at = self.collections.iter().position(|c| c.elements().kind() >= kind);
        let at = at.unwrap_or(self.collections.len());
        if self.collections.get(at).is_none_or(|c| c.elements().kind() != kind) {
            self.collections.insert(at, Collection::new(kind));
        }
        &mut self.collections[at]
    }

    pub fn drop_nothing(&mut self) {
        self.collections.retain(|collection| !collection.is_nothing());
    }

    /// Key cells go at `bound` and below, elements also where the base is newer.
    pub(super) fn prune_collections(&mut self, bound: Option<Stamp>) -> bool {
        let based = self.base.filter(|_| !self.spares_elements).map(|base| base.stamp);
        let mut removed = false;
        for collection in &mut self.collections {
            let born = collection.elements().born();
            if born != Stamp::ZERO && Some(born) < bound {
                collection.set_born(Stamp::ZERO);
                removed = true;
            }
            if let Some(bound) = bound.max(based) {
                removed |= collection.prune(bound, self.hasher, &|stamp| stamp < bound);
            }
        }
        self.drop_nothing();
        removed
    }

    /// Removes the cells of an element that `removes` names. True if that was anything.
    pub fn remove_cells(&mut self, removes: &dyn Fn(Stamp) -> bool) -> bool {
        let mut removed = false;
        if self.base.is_some_and(|base| removes(base.stamp)) {
            self.remove_base();
            removed = true;
        }
        if let Some(side) = &mut self.side {
            let before = side.contributions.len();
            side.contributions.retain(|c| !removes(Stamp::new(c.last, c.origin)));
            removed |= side.contributions.len() != before;
        }
        removed
    }

    /// Whether a base is all there is, without a list.
    pub fn fits_a_record(&self) -> bool {
        let is_bare = self.side.as_ref().is_none_or(|side| {
            side.seen.is_empty() && side.contributions.is_empty() && side.floor.is_none()
        });
        self.base.is_some() && is_bare
    }

    /// Takes over an element's state as it was elsewhere.
    pub fn restore(&mut self, base: Option<Base>, side: Option<Box<Side>>) {
        self.base = base;
        self.side = side;
    }

    /// The value of what was restored.
    pub fn edit_value(&mut self, value: &'v [u8]) -> bool {
        self.new = Some(value);
        true
    }
}
