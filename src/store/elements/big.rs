//! Large collections, and those with counters: an entry per element, in a table of their own.

use std::collections::BTreeSet;

use crate::base::checksum::fixed_hash;
use crate::base::stamp::Stamp;

use super::super::commit::view_of;
use super::super::entry::{Entry, malloc_bytes};
use super::super::merge::Draft;
use super::super::state::View;
use super::super::table::{KeyHasher, Table, tag_of};
use super::Figures;

/// An element that waits for the horizon takes about so much in the index.
const WAITING_BYTES: usize = 96;

/// A large collection.
pub struct Big {
    pub table: Table,
    hasher: KeyHasher,
    pub live: usize,
    pub digest: u64,
    pub contributions: u64,
    /// No cell is older.
    low: Stamp,
    /// No cell is newer.
    pub newest: u64,
    /// Of entries.
    entry_bytes: usize,
    /// Elements with something to drop, by the stamp time the horizon has to reach.
    waiting: BTreeSet<(u64, Box<[u8]>)>,
}

impl Big {
    pub fn new(hasher: &KeyHasher) -> Big {
        Big {
            table: Table::default(),
            hasher: hasher.clone(),
            live: 0,
            digest: 0,
            contributions: 0,
            low: Stamp::new(u64::MAX, crate::base::ids::Origin(u32::MAX)),
            newest: 0,
            entry_bytes: 0,
            waiting: BTreeSet::new(),
        }
    }

    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    pub fn held(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub fn view(&self, name: &[u8]) -> Option<View<'_>> {
        let at = self.table.find(self.hasher.hash(name), name)?;
        self.table.get(at).map(view_of)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], View<'_>)> {
        self.table.iter_from(0).map(|entry| (entry.key(), view_of(entry)))
    }

    /// Changes one element, held or not. `change` says whether it changed anything, and so does this.
    pub fn edit<'v>(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&mut Draft<'_, 'v>) -> bool,
    ) -> bool {
        let hash = self.hasher.hash(name);
        let Some(at) = self.table.find(hash, name) else {
            let hasher = self.hasher.clone();
            let mut draft = Draft::new(None, &[], None, None, &hasher);
            if !change(&mut draft) || draft.is_empty() {
                return false;
            }
            let parts = draft.into_parts();
            let value = parts.value.unwrap_or(&[]);
            let entry = Entry::new(tag_of(hash), name, parts.base.as_ref(), value, parts.side);
            self.count(name, Weight::of(&entry), true);
            self.table.insert(hash, entry, &self.hasher);
            return true;
        };
        let entry = self.table.get_mut(at).expect("it was found");
        let before = Weight::of(entry);
        let base = entry.base();
        let side = entry.take_side();
        let mut draft = Draft::new(base, entry.value(), side, None, &self.hasher);
        if !change(&mut draft) {
            if let Some(side) = draft.into_side() {
                entry.put_side(side);
            }
            return false;
        }
        if draft.is_empty() {
            drop(draft);
            drop(self.table.remove(at));
            self.table.shrink();
            self.count(name, before, false);
            return true;
        }
        let parts = draft.into_parts();
        entry.rewrite(parts.base.as_ref(), parts.value, parts.side);
        let after = Weight::of(entry);
        self.count(name, before, false);
        self.count(name, after, true);
        true
    }

    /// The elements whose cells may be older than `bound`: none if it is known that there are none.
    pub fn older(&mut self, bound: Stamp) -> Vec<Box<[u8]>> {
        if bound <= self.low {
            return Vec::new();
        }
        let mut low = Stamp::new(self.newest, crate::base::ids::Origin(u32::MAX));
        let mut names = Vec::new();
        for entry in self.table.iter_from(0) {
            let oldest = Figures::of(entry.key(), &view_of(entry)).oldest;
            if oldest < bound {
                names.push(entry.key().into());
            } else {
                low = low.min(oldest);
            }
        }
        // (They are about to go.)
        self.low = low.min(bound).max(self.low);
        names
    }

    /// The elements with something to drop at this horizon.
    pub fn droppable(&self, horizon: u64) -> Vec<Box<[u8]>> {
        let due = self.waiting.iter().take_while(|(time, _)| *time <= horizon);
        due.map(|(_, name)| name.clone()).collect()
    }

    pub fn waits(&self) -> Option<u64> {
        self.waiting.first().map(|&(time, _)| time)
    }

    pub fn used_bytes(&self) -> usize {
        malloc_bytes(size_of::<Big>())
            + self.table.used_bytes()
            + self.entry_bytes
            + self.waiting.len() * WAITING_BYTES
    }

    /// Counts an element in, or out.
    fn count(&mut self, name: &[u8], weight: Weight, add: bool) {
        let Weight { figures, bytes } = weight;
        self.digest ^= figures.digest;
        let one = |total: u64, part: u64| if add { total + part } else { total - part };
        self.live = one(self.live as u64, u64::from(figures.live)) as usize;
        self.contributions = one(self.contributions, figures.contributions);
        self.entry_bytes = one(self.entry_bytes as u64, bytes) as usize;
        if add {
            self.low = self.low.min(figures.oldest);
            self.newest = self.newest.max(figures.newest);
        }
        if let Some(time) = figures.waits {
            let place = (time, name.into());
            if add {
                self.waiting.insert(place);
            } else {
                self.waiting.remove(&place);
            }
        }
    }
}

/// What an element comes to in the totals.
#[derive(Copy, Clone)]
struct Weight {
    figures: Figures,
    bytes: u64,
}

impl Weight {
    fn of(entry: &Entry) -> Weight {
        let figures = Figures::of(entry.key(), &view_of(entry));
        Weight { figures, bytes: entry.used_bytes() as u64 }
    }
}

/// A copy for checks and for the reader of a large collection's present state.
impl Clone for Big {
    fn clone(&self) -> Big {
        let mut copy = Big::new(&self.hasher);
        for entry in self.table.iter_from(0) {
            let side = entry.side().cloned().map(Box::new);
            let hash = self.hasher.hash(entry.key());
            let again =
                Entry::new(entry.tag(), entry.key(), entry.base().as_ref(), entry.value(), side);
            copy.count(again.key(), Weight::of(&again), true);
            copy.table.insert(hash, again, &self.hasher);
        }
        (copy.low, copy.newest) = (self.low, self.newest);
        copy
    }
}

/// The element's part of the digest; not 0 while it is live.
pub fn element_digest(name: &[u8], view: &View<'_>) -> u64 {
    if view.exists() { view.digest(fixed_hash(name)) } else { 0 }
}
