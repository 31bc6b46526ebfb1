//! An open-addressing table whose slots are in hash order: linear probing that keeps the sort, so
//! that iteration, cursors and growth need no second structure. One table per database and
//! partition.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher as _};

use foldhash::quality::FixedState;

use super::entry::{Entry, TAG_BITS, malloc_bytes};

/// Hashes keys, seeded per node.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    state: FixedState,
}

impl KeyHasher {
    pub fn new(seed: u64) -> KeyHasher {
        KeyHasher { state: FixedState::with_seed(seed) }
    }

    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(key);
        hasher.finish()
    }
}

/// The bits of a hash that go into an entry's pointer: the upper ones, by which slots are ordered
/// too.
#[inline]
pub fn tag_of(hash: u64) -> u32 {
    (hash >> (64 - TAG_BITS)) as u32
}

/// Entries in the order of their keys' hashes, with gaps. An entry stands at its ideal slot or
/// after it, with no gap between.
#[derive(Default)]
pub struct Table {
    slots: Box<[Option<Entry>]>,
    /// Number of ideal slots; behind them there is room for what is pushed out at the end.
    capacity: u32,
    len: u32,
}

const CAPACITY_MIN: u32 = 4;

impl Table {
    /// Puts an entry in that is not there yet.
    pub fn insert(&mut self, hash: u64, entry: Entry, hasher: &KeyHasher) {
        let needed = self.len as usize + 1;
        if needed * 8 > self.capacity as usize * 7 {
            let capacity = next_capacity(self.capacity);
            self.rebuild(capacity, 0);
        }
        loop {
            let mut at = self.ideal(entry.tag());
            while at < self.slots.len()
                && let Some(held) = &self.slots[at]
                && order(held, entry.tag(), hash, hasher) == Ordering::Less
            {
                at += 1;
            }
            let gap = (at..self.slots.len()).find(|&i| self.slots[i].is_none());
            if let Some(gap) = gap {
                self.slots[at..=gap].rotate_right(1);
                self.slots[at] = Some(entry);
                self.len += 1;
                return;
            }
            // Pushed out at the end: more room there, the ideal slots stay.
            let room = self.slots.len() - self.capacity as usize;
            self.rebuild(self.capacity, room * 2);
        }
    }

    /// Takes the entry at `at` out; the slots behind close up.
    pub fn remove(&mut self, at: usize) -> Option<Entry> {
        let entry = self.slots[at].take()?;
        let mut end = at + 1;
        while end < self.slots.len()
            && let Some(next) = &self.slots[end]
            && self.ideal(next.tag()) < end
        {
            end += 1;
        }
        self.slots[at..end].rotate_left(1);
        self.len -= 1;
        Some(entry)
    }

    /// Gives memory back if most of it is unused. Slots move.
    pub fn shrink(&mut self) {
        if self.len == 0 {
            *self = Table::default();
        } else if self.capacity > 2 * CAPACITY_MIN && self.len * 4 < self.capacity {
            let mut capacity = CAPACITY_MIN;
            while (self.len as usize + 1) * 8 > capacity as usize * 6 {
                capacity = next_capacity(capacity);
            }
            self.rebuild(capacity, 0);
        }
    }

    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let tag = tag_of(hash);
        let start = self.ideal(tag);
        for (i, slot) in self.slots.get(start..)?.iter().enumerate() {
            let held = slot.as_ref()?;
            match held.tag().cmp(&tag) {
                Ordering::Less => {}
                Ordering::Equal if held.key() == key => return Some(start + i),
                Ordering::Equal => {}
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The first slot in use at or after `hash`.
    pub fn seek(&self, hash: u64, hasher: &KeyHasher) -> Option<usize> {
        let tag = tag_of(hash);
        let start = self.ideal(tag);
        let slots = self.slots.get(start..)?;
        let found = slots.iter().position(|slot| {
            slot.as_ref().is_some_and(|held| order(held, tag, hash, hasher) != Ordering::Less)
        })?;
        Some(start + found)
    }

    #[inline]
    pub fn get(&self, at: usize) -> Option<&Entry> {
        self.slots.get(at)?.as_ref()
    }

    #[inline]
    pub fn get_mut(&mut self, at: usize) -> Option<&mut Entry> {
        self.slots.get_mut(at)?.as_mut()
    }

    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Number of slots, gaps included.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Entries from slot `from` on, in hash order.
    pub fn iter_from(&self, from: usize) -> impl Iterator<Item = &Entry> + '_ {
        self.slots.get(from..).unwrap_or(&[]).iter().flatten()
    }

    pub fn used_bytes(&self) -> usize {
        malloc_bytes(self.slots.len() * size_of::<Option<Entry>>())
    }

    /// # Panics
    /// If an entry stands before its ideal slot, behind a gap, or out of order.
    pub fn hash_order_has_no_gaps(&self, hasher: &KeyHasher) {
        let mut last = None;
        let mut gap_after = 0;
        let mut count = 0;
        for (at, slot) in self.slots.iter().enumerate() {
            let Some(entry) = slot else {
                gap_after = at + 1;
                continue;
            };
            count += 1;
            let hash = hasher.hash(entry.key());
            assert_eq!(entry.tag(), tag_of(hash), "the tag is not of this key");
            assert!(last <= Some(hash), "slots are not in hash order");
            last = Some(hash);
            let ideal = self.ideal(entry.tag());
            assert!((gap_after..=at).contains(&ideal.max(gap_after)), "before its slot");
            assert!(ideal >= gap_after, "a gap before an entry that was pushed on");
        }
        assert_eq!(count, self.len, "entries were miscounted");
    }

    #[inline]
    fn ideal(&self, tag: u32) -> usize {
        ((u64::from(tag) * u64::from(self.capacity)) >> TAG_BITS) as usize
    }

    /// Moves all entries to fresh slots: `capacity` ideal ones and at least `room` behind them.
    fn rebuild(&mut self, capacity: u32, room: usize) {
        let old = std::mem::take(&mut self.slots);
        self.capacity = capacity;
        let capacity = capacity as usize;
        let room = room.max(capacity.min(8 + capacity / 64));
        let mut slots = Vec::with_capacity(capacity + room);
        for entry in old.into_iter().flatten() {
            let at = self.ideal(entry.tag()).max(slots.len());
            slots.resize_with(at, || None);
            slots.push(Some(entry));
        }
        let count = slots.len().max(capacity + room);
        slots.resize_with(count, || None);
        self.slots = slots.into_boxed_slice();
    }
}

/// Capacities grow in steps of 4:3 and 3:2 alternately.
fn next_capacity(capacity: u32) -> u32 {
    if capacity < CAPACITY_MIN {
        CAPACITY_MIN
    } else if capacity.is_power_of_two() {
        capacity / 2 * 3
    } else {
        capacity / 3 * 4
    }
}

/// How an entry held stands to a hash with this tag. The hash proper is computed only where the tag
/// does not tell.
fn order(held: &Entry, tag: u32, hash: u64, hasher: &KeyHasher) -> Ordering {
    held.tag().cmp(&tag).then_with(|| hasher.hash(held.key()).cmp(&hash))
}
