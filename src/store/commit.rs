//! The one place where a cell changes: every change of a key, local or merged, collected or moved,
//! passes through here, and totals, digest, indexes, memory, watches and facts follow from it.

use crate::base::fact::Facts;
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;

use super::Store;
use super::books::{Books, Summary};
use super::db::{Db, Place};
use super::entry::Entry;
use super::merge::{Cut, Draft, Parts};
use super::state::{Filing, View, key_hash};
use super::table::{KeyHasher, tag_of};

/// What goes at once, without waiting for the horizon.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Eager {
    No,
    /// Whatever the horizon would let go: nobody else has a copy.
    Alone,
    /// Dead bases (a deliberate fault).
    Dead,
    /// Dead elements (another).
    DeadElements,
}

/// What a change of a key is made under.
#[derive(Copy, Clone)]
pub struct Terms {
    pub clock: UnixMs,
    pub cut: Option<Cut>,
    /// Stamp of the cell that changes the key.
    pub cause: Stamp,
    pub eager: Eager,
}

impl Store {
    /// Changes one key, held or not. `change` says whether it changed anything, and so does this.
    pub(super) fn edit<'v>(
        &mut self,
        place: Place,
        key: &[u8],
        terms: Terms,
        facts: &mut Facts,
        change: impl FnOnce(&mut Draft<'_, 'v>) -> bool,
    ) -> bool {
        let mut desk = self.desk(place.db);
        match desk.db.table(place.partition).find(place.hash, key) {
            Some(at) => {
                let done = desk.edit_held(place, at, terms, facts, change);
                if done == Done::Removed {
                    desk.close_up(place.partition);
                }
                done != Done::Nothing
            }
            None => desk.create(place, key, terms, facts, change),
        }
    }

    /// Changes the key an index names: any of that hash. With `keeps_hidden` an expired key that is
    /// not hidden yet stays so.
    pub(super) fn edit_indexed<'v>(
        &mut self,
        place: Place,
        terms: Terms,
        keeps_hidden: bool,
        facts: &mut Facts,
        mut change: impl FnMut(&mut Draft<'_, 'v>, UnixMs) -> bool,
    ) {
        let mut desk = self.desk(place.db);
        let table = desk.db.table(place.partition);
        let Some(first) = table.seek(place.hash, desk.hasher) else { return };
        let same = |entry: &&Entry| desk.hasher.hash(entry.key()) == place.hash;
        let count = table.iter_from(first).take_while(same).count();
        // Entries of one hash have one ideal slot, so there is no gap between them.
        for at in (first..first + count).rev() {
            let Some(entry) = desk.db.table(place.partition).get(at) else { continue };
            let is_hidden = entry.side().is_some_and(|side| side.hidden);
            let clock = if keeps_hidden && !is_hidden { UnixMs(0) } else { terms.clock };
            let terms = Terms { clock, ..terms };
            desk.edit_held(place, at, terms, facts, |draft| change(draft, clock));
        }
        desk.close_up(place.partition);
    }

    /// Changes every key of a database.
    pub(super) fn edit_all<'v>(
        &mut self,
        db: u16,
        terms: Terms,
        facts: &mut Facts,
        mut change: impl FnMut(&mut Draft<'_, 'v>) -> bool,
    ) {
        if self.dbs.get(usize::from(db)).is_none_or(Option::is_none) {
            return;
        }
        let mut desk = self.desk(db);
        let mut next = desk.db.next_occupied(0);
        while let Some(partition) = next {
            // Downwards: what closes up behind a removed entry has been dealt with.
            for at in (0..desk.db.table(partition).slot_count()).rev() {
                let Some(entry) = desk.db.table(partition).get(at) else { continue };
                let place = Place { db, partition, hash: desk.hasher.hash(entry.key()) };
                desk.edit_held(place, at, terms, facts, &mut change);
            }
            desk.close_up(partition);
            next = desk.db.next_occupied(partition + 1);
        }
    }

    /// The terms under which cells are merged or written with stamp `cause`.
    pub(super) fn terms(&mut self, db: u16, clock: UnixMs, cause: Stamp, eager: Eager) -> Terms {
        self.clock = self.clock.max(clock);
        let cut = self.flushed.get(&db).map(|&stamp| Cut::below(stamp));
        Terms { clock: self.clock, cut, cause, eager }
    }
}

/// What became of an entry.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Done {
    Nothing,
    Changed,
    Removed,
}

/// What one change needs of the store.
struct Desk<'s> {
    db: &'s mut Db,
    books: &'s mut Books,
    hasher: &'s KeyHasher,
}

impl Store {
    /// The tables of a database, made if it has none.
    fn desk(&mut self, db: u16) -> Desk<'_> {
        let at = usize::from(db);
        if self.dbs.len() <= at {
            self.dbs.resize_with(at + 1, || None);
        }
        let db = self.dbs[at].get_or_insert_with(|| {
            let db = Box::new(Db::new());
            self.books.memory_bytes += db.own_bytes() as u64;
            db
        });
        Desk { db, books: &mut self.books, hasher: &self.hasher }
    }
}

impl Desk<'_> {
    fn edit_held<'v>(
        &mut self,
        place: Place,
        at: usize,
        terms: Terms,
        facts: &mut Facts,
        change: impl FnOnce(&mut Draft<'_, 'v>) -> bool,
    ) -> Done {
        let table = self.db.table_mut(place.partition);
        let entry = table.get_mut(at).expect("the caller has found an entry here");
        let used_before = entry.used_bytes() as u64;
        let hash = key_hash(place.db, entry.key());
        let before = summary_of(entry, hash);
        let base = entry.base();
        let side = entry.take_side();
        let mut draft = Draft::new(base, entry.value(), side, entry.packed(), self.hasher);
        if !change(&mut draft) {
            if let Some(side) = draft.into_side() {
                entry.put_side(side);
            }
            return Done::Nothing;
        }
        let deadline = draft.view().expiry.map(|cell| cell.stamp);
        let (parts, after) = finish(draft, hash, terms);
        // A deadline that has passed is what hides, whatever else happens at that moment.
        let expires = after.hidden && !before.hidden;
        let cause = deadline.filter(|_| expires).unwrap_or(terms.cause);
        self.books.settle(place, entry.key(), &before, &after, cause, facts);
        let Some(parts) = parts else {
            drop(table.remove(at));
            self.books.memory_bytes -= used_before;
            return Done::Removed;
        };
        match &parts.packed {
            Some(collection) => {
                let packed = collection.packed().expect("a small collection");
                entry.rewrite_packed(packed, parts.side);
            }
            None => entry.rewrite(parts.base.as_ref(), parts.value, parts.side),
        }
        self.books.memory_bytes += entry.used_bytes() as u64;
        self.books.memory_bytes -= used_before;
        Done::Changed
    }

    fn create<'v>(
        &mut self,
        place: Place,
        key: &[u8],
        terms: Terms,
        facts: &mut Facts,
        change: impl FnOnce(&mut Draft<'_, 'v>) -> bool,
    ) -> bool {
        let mut draft = Draft::new(None, &[], None, None, self.hasher);
        if !change(&mut draft) {
            return false;
        }
        let (parts, after) = finish(draft, key_hash(place.db, key), terms);
        let Some(parts) = parts else { return false };
        let tag = tag_of(place.hash);
        let entry = match &parts.packed {
            Some(collection) => {
                let packed = collection.packed().expect("a small collection");
                Entry::new_packed(tag, key, packed, parts.side)
            }
            None => {
                let value = parts.value.unwrap_or(&[]);
                Entry::new(tag, key, parts.base.as_ref(), value, parts.side)
            }
        };
        self.books.memory_bytes += entry.used_bytes() as u64;
        let before = self.table_bytes(place.partition);
        self.db.table_mut(place.partition).insert(place.hash, entry, self.hasher);
        self.db.note_occupied(place.partition);
        self.books.memory_bytes += self.table_bytes(place.partition);
        self.books.memory_bytes -= before;
        self.books.settle(place, key, &Summary::default(), &after, terms.cause, facts);
        true
    }

    /// Gives back what a table no longer needs.
    fn close_up(&mut self, partition: u16) {
        let before = self.table_bytes(partition);
        self.db.table_mut(partition).shrink();
        self.db.note_occupied(partition);
        self.books.memory_bytes += self.table_bytes(partition);
        self.books.memory_bytes -= before;
    }

    /// Of the database's own structure and one table's slots.
    fn table_bytes(&self, partition: u16) -> u64 {
        (self.db.own_bytes() + self.db.table(partition).used_bytes()) as u64
    }
}

/// Normal form, and what the books hold of it; no parts if nothing is left.
#[inline]
fn finish<'v>(mut draft: Draft<'_, 'v>, hash: u64, terms: Terms) -> (Option<Parts<'v>>, Summary) {
    draft.prune(terms.cut);
    if !draft.is_plain() {
        match terms.eager {
            Eager::No => {}
            Eager::Alone => draft.collect_alone(terms.clock),
            Eager::Dead => draft.collect_dead(terms.clock),
            Eager::DeadElements => draft.collect_dead_elements(),
        }
        if draft.is_empty() {
            return (None, Summary::default());
        }
    }
    let view = draft.view();
    let exists = view.exists();
    let hidden = exists && view.is_expired(terms.clock);
    let filing = filing_of(&view, exists, hidden, draft.deferred);
    let after = Summary::of(&view, hidden, hash, filing);
    let mut parts = draft.into_parts();
    if let Some(side) = &mut parts.side {
        side.filing = filing;
        side.hidden = hidden;
    }
    (Some(parts), after)
}

/// One entry, for reading.
#[inline]
pub fn view_of(entry: &Entry) -> View<'_> {
    let packed = entry.is_packed().then_some(entry);
    View::new(entry.base(), entry.value(), entry.side(), packed)
}

/// What the books hold of an entry.
#[inline]
pub fn summary_of(entry: &Entry, hash: u64) -> Summary {
    let view = view_of(entry);
    let hidden = view.side.is_some_and(|side| side.hidden);
    let filing = view.side.map_or_else(|| plain_filing(&view), |side| side.filing);
    Summary::of(&view, hidden, hash, filing)
}

/// A tombstone without a side record waits for its own stamp; a plain register for nothing.
fn plain_filing(view: &View<'_>) -> Filing {
    if !view.collections.is_none() {
        return filing_of(view, view.exists(), false, false);
    }
    let dead = view.base.filter(|base| !base.live);
    Filing { due: None, waits: dead.map(|base| base.stamp.time) }
}

/// Where a key belongs in the indexes.
pub fn filing_of(view: &View<'_>, exists: bool, hidden: bool, deferred: bool) -> Filing {
    let due = view.deadline().map(|deadline| deadline.0);
    if !exists || (hidden && deferred) {
        Filing { due: None, waits: Some(view.newest_time()) }
    } else if hidden {
        Filing { due, waits: None }
    } else {
        Filing { due, waits: view.next_droppable() }
    }
}
