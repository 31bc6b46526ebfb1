//! Reading many keys: SCAN and KEYS in hash order, all cells for a state transfer, and the cells
//! one unit has written.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::base::ids::{DbIndex, PARTITION_COUNT, Partition};
use crate::base::mutant::Mutant;
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Change, Kind, Part, Seen};

use super::commit::view_of;
use super::db::Place;
use super::entry::Entry;
use super::state::View;
use super::txn::Partitions;
use super::{LiveKey, Store, WalkPosition, value_of};

/// Bits of a hash in a SCAN cursor: with the partition that makes 53, which clients that read
/// cursors as floating-point numbers keep exactly.
const CURSOR_HASH_BITS: u32 = 41;

/// What a change takes in a frame besides key and value, about.
const CHANGE_BYTES: usize = 24;
const SEEN_BYTES: usize = 32;

impl Store {
    /// Calls `each` with every visible key of `db`.
    pub fn keys(&self, db: DbIndex, clock: UnixMs, each: &mut dyn FnMut(&[u8])) {
        let Some(tables) = self.db(db.0) else { return };
        for (_, entry) in tables.entries() {
            if view_of(entry).is_visible(clock) {
                each(entry.key());
            }
        }
    }

    /// Calls `each` with every key that is live at `clock`, in no order that means anything.
    pub fn visit(&self, clock: UnixMs, each: &mut dyn FnMut(LiveKey<'_>)) {
        for (number, tables) in self.dbs.iter().enumerate() {
            for (_, entry) in tables.iter().flat_map(|tables| tables.entries()) {
                let view = view_of(entry);
                let Some(content) = view.content(clock) else { continue };
                each(LiveKey {
                    db: DbIndex(number as u16),
                    key: entry.key(),
                    value: value_of(content),
                    deadline: view.deadline(),
                });
            }
        }
    }

    /// Keys of these partitions, expired ones included: of a store that nobody else has a copy of.
    pub fn len_of(&self, db: DbIndex, of: &Partitions) -> u64 {
        let Some(tables) = self.db(db.0) else { return 0 };
        let shown = (0..PARTITION_COUNT).filter(|&at| of.has(Partition(at)));
        shown.map(|at| tables.table(at).len() as u64).sum()
    }

    /// Calls `each` with every key of a partition of database 0, expired ones included.
    pub fn visit_partition(&self, partition: Partition, each: &mut dyn FnMut(LiveKey<'_>)) {
        let Some(tables) = self.db(0) else { return };
        for entry in tables.table(partition.0).iter_from(0) {
            let view = view_of(entry);
            let Some(content) = view.content(UnixMs(0)) else { continue };
            each(LiveKey {
                db: DbIndex(0),
                key: entry.key(),
                value: value_of(content),
                deadline: view.deadline(),
            });
        }
    }

    /// Every cell, in the order of [`Store::walk`].
    pub fn cells(&self) -> Vec<Change> {
        let mut cells = Vec::new();
        let mut position = Some(WalkPosition::default());
        while let Some(from) = position {
            position = self.walk(from, usize::MAX, &mut cells);
        }
        cells
    }

    /// One SCAN step, see [`super::txn::Txn::scan`].
    pub fn scan(
        &self,
        db: DbIndex,
        cursor: u64,
        count: usize,
        clock: UnixMs,
        each: &mut dyn FnMut(&[u8]),
    ) -> u64 {
        const SHIFT: u32 = 64 - CURSOR_HASH_BITS;
        let Some(tables) = self.db(db.0) else { return 0 };
        let Ok(first) = u16::try_from(cursor >> CURSOR_HASH_BITS) else { return 0 };
        let mut hash = cursor << SHIFT;
        let mut looked_at = 0;
        let mut next = (first < PARTITION_COUNT).then_some(first);
        while let Some(partition) = next.and_then(|from| tables.next_occupied(from)) {
            if partition != first {
                hash = 0;
            }
            let table = tables.table(partition);
            let from = table.seek(hash, &self.hasher).unwrap_or(table.slot_count());
            let mut last = None;
            for entry in table.iter_from(from) {
                // What a cursor cannot tell apart is met in one step.
                let group = self.hasher.hash(entry.key()) >> SHIFT;
                if looked_at >= count.max(1) && last != Some(group) {
                    return (u64::from(partition) << CURSOR_HASH_BITS) | group;
                }
                last = Some(group);
                looked_at += 1;
                if view_of(entry).is_visible(clock) {
                    each(entry.key());
                }
            }
            next = (partition + 1 < PARTITION_COUNT).then_some(partition + 1);
        }
        0
    }

    /// Puts all cells of whole keys into `out`, each with its own stamp, until about `budget_bytes`
    /// are gathered. Database tombstones come first; dead and hidden cells are included. Cells of
    /// one key stay together. Returns where to go on, or `None` at the end.
    pub fn walk(
        &self,
        from: WalkPosition,
        budget_bytes: usize,
        out: &mut Vec<Change>,
    ) -> Option<WalkPosition> {
        let leaves_out_dead = self.config.mutants.has(Mutant::ResyncWithoutTombstones);
        let mut gathered = 0;
        let leaves_out_flushes =
            leaves_out_dead || self.config.mutants.has(Mutant::ResyncWithoutFlush);
        if from == WalkPosition::default() && !leaves_out_flushes {
            for (&db, &stamp) in &self.flushed {
                let (key, cell) = (Bytes::new(), Cell::DatabaseTombstone);
                out.push(Change { db: DbIndex(db), key, stamp: Some(stamp), cell });
                gathered += CHANGE_BYTES;
            }
        }
        let mut met_key = false;
        let mut position = from;
        while usize::from(position.db) < self.dbs.len() {
            let Some(partition) = self
                .db(position.db)
                .filter(|_| position.partition < PARTITION_COUNT)
                .and_then(|tables| tables.next_occupied(position.partition))
            else {
                position = WalkPosition { db: position.db + 1, partition: 0, hash: 0 };
                continue;
            };
            if partition != position.partition {
                position = WalkPosition { partition, hash: 0, ..position };
            }
            let table = self.db(position.db)?.table(partition);
            let first = table.seek(position.hash, &self.hasher).unwrap_or(table.slot_count());
            let mut last = None;
            for entry in table.iter_from(first) {
                let hash = self.hasher.hash(entry.key());
                if met_key && gathered >= budget_bytes && last != Some(hash) {
                    return Some(WalkPosition { hash, ..position });
                }
                last = Some(hash);
                met_key = true;
                gathered += cells_of(entry, position.db, leaves_out_dead, out);
            }
            position = WalkPosition { partition: partition + 1, hash: 0, ..position };
        }
        None
    }

    /// Puts all cells of whole partitions into `out`, from `from` (of a database and a partition) on, until about
    /// `budget_bytes` are gathered; at the beginning also the database tombstones. Returns where to go on, or `None` at the
    /// end.
    pub fn walk_partitions(
        &self,
        from: (u16, u16),
        budget_bytes: usize,
        out: &mut Vec<Change>,
    ) -> Option<(u16, u16)> {
        let mut gathered = 0;
        if from == (0, 0) {
            for (&db, &stamp) in &self.flushed {
                let (key, cell) = (Bytes::new(), Cell::DatabaseTombstone);
                out.push(Change { db: DbIndex(db), key, stamp: Some(stamp), cell });
                gathered += CHANGE_BYTES;
            }
        }
        let (mut db, mut next) = from;
        while usize::from(db) < self.dbs.len() {
            let tables = self.db(db);
            while let Some((tables, partition)) =
                tables.and_then(|t| Some((t, t.next_occupied(next)?)))
            {
                if gathered >= budget_bytes {
                    return Some((db, partition));
                }
                for entry in tables.table(partition).iter_from(0) {
                    gathered += cells_of(entry, db, false, out);
                }
                next = partition + 1;
                if next == PARTITION_COUNT {
                    break;
                }
            }
            (db, next) = (db + 1, 0);
        }
        None
    }

    /// The cells of a key that carry this stamp, as changes without one of their own; of its elements those named, by
    /// their kinds.
    pub(super) fn cells_with_stamp(
        &self,
        db: DbIndex,
        key: &Bytes,
        elements: &BTreeSet<(Kind, Bytes)>,
        dot: Stamp,
        out: &mut Vec<Change>,
    ) {
        let Some(view) = self.view(Place::of(db, key, &self.hasher), key) else { return };
        let mut add = |stamp: Stamp, cell: &dyn Fn() -> Cell| {
            if stamp == dot {
                out.push(Change { db, key: key.clone(), stamp: None, cell: cell() });
            }
        };
        each_cell(&view, &mut add);
        for (kind, name) in elements {
            let held = view.collections.of(*kind).and_then(|elements| elements.view(name));
            if let Some(element) = held {
                each_part(*kind, name, &element, &mut add);
            }
        }
    }
}

/// Appends all cells of an entry; returns about how many bytes they are.
fn cells_of(entry: &Entry, db: u16, leaves_out_dead: bool, out: &mut Vec<Change>) -> usize {
    let view = view_of(entry);
    let key = Bytes::copy_from_slice(entry.key());
    let mut bytes = view.value.len() + view.seen().len() * SEEN_BYTES;
    let mut add = |stamp: Stamp, cell: &dyn Fn() -> Cell| {
        let cell = cell();
        let is_dead = match &cell {
            Cell::Tombstone { .. } | Cell::Element { part: Part::Tombstone { .. }, .. } => true,
            Cell::Element { part: Part::Register { .. } | Part::Contribution { .. }, .. }
            | Cell::Register { .. }
            | Cell::Contribution { .. }
            | Cell::Expiry { .. }
            | Cell::KeyCell { .. }
            | Cell::DatabaseTombstone
            | Cell::Kind { .. } => false,
        };
        if leaves_out_dead && is_dead {
            return;
        }
        bytes += key.len() + CHANGE_BYTES;
        if let Cell::Element { name, part, .. } = &cell {
            let (value, listed) = part.sizes();
            bytes += name.len() + value + listed * SEEN_BYTES;
        }
        out.push(Change { db: DbIndex(db), key: key.clone(), stamp: Some(stamp), cell });
    };
    each_cell(&view, &mut add);
    each_element(&view, &mut add);
    bytes
}

/// Calls `each` with every cell of a key that is not implied by another, and its stamp. The expiry comes first: who merges
/// the cells one after the other must not show for a moment what it hides.
fn each_cell(view: &View<'_>, each: &mut dyn FnMut(Stamp, &dyn Fn() -> Cell)) {
    if let Some(expiry) = view.side.and_then(|side| side.expiry) {
        each(expiry.stamp, &|| Cell::Expiry { deadline: expiry.deadline });
    }
    if let Some(base) = view.base {
        each(base.stamp, &|| {
            let seen = Seen { list: view.seen().to_vec(), horizon: base.horizon };
            if base.live {
                let value = Bytes::copy_from_slice(view.value);
                Cell::Register { value, resets: base.resets, seen }
            } else {
                Cell::Tombstone { seen }
            }
        });
    }
    if let Some(side) = view.side {
        for contribution in &side.contributions {
            let stamp = Stamp::new(contribution.last, contribution.origin);
            let (generation, sum) = (contribution.generation, contribution.sum);
            each(stamp, &|| Cell::Contribution { generation, sum });
        }
        if let Some(floor) = side.floor {
            each(floor.stamp, &|| Cell::KeyCell { floor: floor.time });
        }
    }
    for elements in view.collections.iter() {
        let kind = elements.kind();
        if elements.born() != Stamp::ZERO {
            each(elements.born(), &|| Cell::Kind { kind });
        }
    }
}

/// Calls `each` with every cell of every element of a key, and its stamp.
fn each_element(view: &View<'_>, each: &mut dyn FnMut(Stamp, &dyn Fn() -> Cell)) {
    for elements in view.collections.iter() {
        for (name, element) in elements.iter() {
            each_part(elements.kind(), name, &element, each);
        }
    }
}

fn each_part(
    kind: Kind,
    name: &[u8],
    element: &View<'_>,
    each: &mut dyn FnMut(Stamp, &dyn Fn() -> Cell),
) {
    let name = || Bytes::copy_from_slice(name);
    if let Some(base) = element.base {
        each(base.stamp, &|| {
            let seen = Seen { list: element.seen().to_vec(), horizon: base.horizon };
            let part = if base.live {
                Part::Register { value: Bytes::copy_from_slice(element.value), seen }
            } else {
                Part::Tombstone { seen }
            };
            Cell::Element { kind, name: name(), part }
        });
    }
    for contribution in element.contributions() {
        let stamp = Stamp::new(contribution.last, contribution.origin);
        let (generation, sum) = (contribution.generation, contribution.sum);
        let part = Part::Contribution { generation, sum };
        each(stamp, &|| Cell::Element { kind, name: name(), part: part.clone() });
    }
}
