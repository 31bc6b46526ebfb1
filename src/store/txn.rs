//! Local execution: reads and writes of one command, one EXEC or one script. Writes are computed
//! from the current state, merged at once and gathered as one unit of net changes under one stamp.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::base::checksum::partition_of;
use crate::base::clock::HybridClock;
use crate::base::content::Content;
use crate::base::fact::Facts;
use crate::base::ids::{DbIndex, PARTITION_COUNT, Partition};
use crate::base::mutant::Mutant;
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Change, Kind, Unit};

use super::commit::Terms;
use super::db::Place;
use super::elements::Elements;
use super::local::Writer;
use super::merge::Draft;
use super::state::{Shape, clamp, parse_integer};
use super::{Store, Value};

/// What a write does to the key's expiry.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum SetExpiry {
    /// No expiry from now on (plain SET).
    Clear,
    /// Stays as it is (KEEPTTL, APPEND, SETRANGE).
    Keep,
    /// A deadline that has passed deletes the key.
    At(UnixMs),
}

/// Why an increment was refused; the state is unchanged.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum AddError {
    /// The key is of another type.
    WrongType,
    NotAnInteger,
    Overflow,
}

/// The key is of another type; the state is unchanged.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct WrongType;

/// What EXPIRE and its like found.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Ttl {
    NoKey,
    NoExpiry,
    At(UnixMs),
}

/// Some of the partitions.
#[derive(Clone, Debug)]
pub struct Partitions([u64; PARTITION_COUNT as usize / 64]);

impl Partitions {
    pub fn of(which: impl Fn(Partition) -> bool) -> Partitions {
        let mut set = [0; PARTITION_COUNT as usize / 64];
        for at in (0..PARTITION_COUNT).filter(|&at| which(Partition(at))) {
            set[usize::from(at) / 64] |= 1 << (at % 64);
        }
        Partitions(set)
    }

    pub fn has(&self, partition: Partition) -> bool {
        self.0[usize::from(partition.0) / 64] >> (partition.0 % 64) & 1 == 1
    }
}

/// What the store remembers of the unit in the making.
#[derive(Debug, Default)]
pub struct OpenUnit {
    /// Given with the first write.
    stamp: Option<Stamp>,
    gathers: bool,
    noted: Vec<(DbIndex, Bytes)>,
    /// Of those, elements.
    elements: BTreeMap<(DbIndex, Bytes), BTreeSet<(Kind, Bytes)>>,
    flushed: Vec<DbIndex>,
}

impl OpenUnit {
    pub fn is_open(&self) -> bool {
        self.stamp.is_some()
    }

    pub fn gathers(&self) -> bool {
        self.stamp.is_some() && self.gathers
    }
}

/// One unit in the making. Reading sees what was written before in the same unit. Whoever has
/// written has to call [`Txn::finish`].
pub struct Txn<'a> {
    pub store: &'a mut Store,
    pub clock: &'a mut HybridClock,
    /// Corrected wall clock, for stamps.
    pub wall: UnixMs,
    /// Expiry clock: never steps back. What commands count from, and by what a deadline has passed when it is set.
    pub expiry_clock: UnixMs,
    /// Keys whose deadline is past by this are hidden: the expiry clock, or 0 where nothing is hidden.
    pub sight: UnixMs,
    /// Whoever asks for all keys is shown these partitions' only; `None`: all.
    pub shown: Option<&'a Partitions>,
    pub facts: &'a mut Facts,
    /// Whether anybody will take the unit: off, no changes are gathered.
    pub gather: bool,
}

impl<'a> Txn<'a> {
    pub fn get(&self, db: DbIndex, key: &[u8]) -> Option<Value<'_>> {
        let unstable = self.store.config.mutants.has(Mutant::ReadsStableOnly)
            && !self.store.is_stable(db, key);
        if unstable { None } else { self.store.get(db, key, self.sight) }
    }

    pub fn exists(&self, db: DbIndex, key: &[u8]) -> bool {
        self.store.exists(db, key, self.sight)
    }

    /// See [`Store::used_bytes`].
    pub fn used_bytes(&self, db: DbIndex, key: &[u8]) -> Option<usize> {
        self.store.used_bytes(db, key, self.sight)
    }

    pub fn ttl(&self, db: DbIndex, key: &[u8]) -> Ttl {
        self.store.ttl(db, key, self.sight)
    }

    /// SET and everything that replaces or edits a string. On a hidden key it counts as a key
    /// tombstone too.
    pub fn set(&mut self, db: DbIndex, key: &[u8], value: &[u8], expiry: SetExpiry) {
        if let SetExpiry::At(deadline) = expiry
            && deadline <= self.expiry_clock
        {
            self.delete(db, key);
            return;
        }
        let place = Place::of(db, key, &self.store.hasher);
        self.write(place, key, |draft, by| draft.write_value(value, expiry, by));
    }

    /// True if there was a live key.
    pub fn delete(&mut self, db: DbIndex, key: &[u8]) -> bool {
        let place = Place::of(db, key, &self.store.hasher);
        if !self.is_visible(place, key) {
            return false;
        }
        self.write(place, key, |draft, by| draft.write_tombstone(by));
        true
    }

    /// The new value. A key that does not exist counts as 0.
    pub fn add(&mut self, db: DbIndex, key: &[u8], delta: i64) -> Result<i64, AddError> {
        let place = Place::of(db, key, &self.store.hasher);
        let content = self.store.view(place, key).and_then(|view| view.content(self.sight));
        let held = number_in(content)?;
        clamp(held).checked_add(delta).ok_or(AddError::Overflow)?;
        self.write(place, key, |draft, by| draft.write_increment(delta, by));
        Ok(clamp(held.saturating_add(i128::from(delta))))
    }

    /// The elements of a collection; `None` if there is no key.
    pub fn elements(
        &self,
        db: DbIndex,
        key: &[u8],
        kind: Kind,
    ) -> Result<Option<Elements<'_>>, WrongType> {
        match self.get(db, key) {
            None => Ok(None),
            Some(Value::Elements(elements)) if elements.kind() == kind => Ok(Some(elements)),
            Some(Value::Elements(_) | Value::Bytes(_) | Value::Int(_)) => Err(WrongType),
        }
    }

    /// Gives an element a value; begins the collection if there is no key. True if there was no such element.
    pub fn set_element(
        &mut self,
        db: DbIndex,
        key: &[u8],
        kind: Kind,
        name: &[u8],
        value: &[u8],
    ) -> Result<bool, WrongType> {
        let elements = self.elements(db, key, kind)?;
        let is_new = elements.and_then(|all| all.view(name)).is_none_or(|held| !held.exists());
        let place = Place::of(db, key, &self.store.hasher);
        self.write_element(place, key, kind, name, |element, by| element.write_register(value, by));
        Ok(is_new)
    }

    /// Takes an element away, and the key's expiry with the last one. True if it was there.
    pub fn remove_element(
        &mut self,
        db: DbIndex,
        key: &[u8],
        kind: Kind,
        name: &[u8],
    ) -> Result<bool, WrongType> {
        let Some(elements) = self.elements(db, key, kind)? else { return Ok(false) };
        if elements.view(name).is_none_or(|held| !held.exists()) {
            return Ok(false);
        }
        let is_last = elements.live() == 1;
        let place = Place::of(db, key, &self.store.hasher);
        let ends = is_last && self.store.view(place, key).is_some_and(|v| v.deadline().is_some());
        self.write_element(place, key, kind, name, |element, by| element.write_removal(by));
        if ends {
            self.write(place, key, |draft, by| draft.write_expiry(None, by));
        }
        Ok(true)
    }

    /// Counts an element up, and gives its new value. One that does not exist counts as 0.
    pub fn add_to_element(
        &mut self,
        db: DbIndex,
        key: &[u8],
        kind: Kind,
        name: &[u8],
        delta: i64,
    ) -> Result<i64, AddError> {
        let elements = self.elements(db, key, kind).map_err(|WrongType| AddError::WrongType)?;
        let element = elements.and_then(|all| all.view(name));
        let held = number_in(element.and_then(|held| held.content(UnixMs(0))))?;
        clamp(held).checked_add(delta).ok_or(AddError::Overflow)?;
        let place = Place::of(db, key, &self.store.hasher);
        self.write_element(place, key, kind, name, |element, by| {
            element.write_increment(delta, by)
        });
        Ok(clamp(held.saturating_add(i128::from(delta))))
    }

    /// Gives a key a whole content, whatever it held before. A deadline that has passed deletes.
    pub fn put(&mut self, db: DbIndex, key: &[u8], content: &Content, expiry: SetExpiry) {
        let (kind, list) = match content {
            Content::String(value) => return self.set(db, key, value, expiry),
            Content::Elements { kind, list } => (*kind, list),
        };
        let place = Place::of(db, key, &self.store.hasher);
        let held = self.ttl(db, key);
        self.delete(db, key);
        let deadline = match expiry {
            SetExpiry::At(deadline) if deadline <= self.expiry_clock => return,
            SetExpiry::At(deadline) => Some(deadline),
            SetExpiry::Clear => None,
            SetExpiry::Keep => match held {
                Ttl::At(deadline) => Some(deadline),
                Ttl::NoKey | Ttl::NoExpiry => None,
            },
        };
        for (name, value) in list {
            self.write_element(place, key, kind, name, |element, by| {
                element.write_register(value, by)
            });
        }
        if deadline.is_some() {
            self.write(place, key, |draft, by| draft.write_expiry(deadline, by));
        }
    }

    /// `None` takes the expiry away. A deadline that has passed deletes. False if there is no key
    /// (or, for `None`, no expiry): nothing was written.
    pub fn expire(&mut self, db: DbIndex, key: &[u8], deadline: Option<UnixMs>) -> bool {
        let place = Place::of(db, key, &self.store.hasher);
        let Some(view) = self.store.view(place, key) else { return false };
        if !view.is_visible(self.sight) {
            return false;
        }
        match deadline {
            None if view.deadline().is_none() => return false,
            Some(deadline) if deadline <= self.expiry_clock => {
                self.write(place, key, |draft, by| draft.write_tombstone(by));
            }
            None | Some(_) => {
                self.write(place, key, |draft, by| draft.write_expiry(deadline, by));
            }
        }
        true
    }

    /// FLUSHDB, or FLUSHALL with `None`: one tombstone a database, constant work to replicate.
    pub fn flush(&mut self, db: Option<DbIndex>) {
        let stamp = self.open();
        let all = match db {
            Some(db) => db.0..db.0.saturating_add(1),
            None => 0..self.store.databases(),
        };
        for db in all.map(DbIndex) {
            self.store.flush_local(db, stamp, self.sight, self.facts);
            let open = &mut self.store.open;
            if self.gather && !open.flushed.contains(&db) {
                open.flushed.push(db);
            }
        }
    }

    pub fn len(&self, db: DbIndex) -> u64 {
        self.shown.map_or_else(|| self.store.len(db), |shown| self.store.len_of(db, shown))
    }

    pub fn is_empty(&self, db: DbIndex) -> bool {
        self.len(db) == 0
    }

    /// Calls `each` with every live key of `db`.
    pub fn keys(&self, db: DbIndex, each: &mut dyn FnMut(&[u8])) {
        self.store.keys(db, self.sight, &mut |key| {
            if self.shows(key) {
                each(key);
            }
        });
    }

    /// One SCAN step: at least `count` keys looked at (fewer only at the end), live ones handed to
    /// `each`; returns the next cursor, 0 at the end. Keys present from the first to the last step
    /// are met at least once.
    pub fn scan(&self, db: DbIndex, cursor: u64, count: usize, each: &mut dyn FnMut(&[u8])) -> u64 {
        self.store.scan(db, cursor, count, self.sight, &mut |key| {
            if self.shows(key) {
                each(key);
            }
        })
    }

    fn shows(&self, key: &[u8]) -> bool {
        self.shown.is_none_or(|shown| shown.has(partition_of(key)))
    }

    /// Ends the unit. `None` if nothing was written. With `gather` off the unit has a dot but no
    /// changes.
    pub fn finish(self) -> Option<Unit> {
        let open = std::mem::take(&mut self.store.open);
        let dot = open.stamp?;
        if !open.gathers {
            return Some(Unit { dot, changes: Vec::new() });
        }
        let mut changes = Vec::with_capacity(open.flushed.len() + open.noted.len());
        for &db in &open.flushed {
            let (key, cell) = (Bytes::new(), Cell::DatabaseTombstone);
            changes.push(Change { db, key, stamp: None, cell });
        }
        let mut noted = open.noted;
        noted.sort();
        noted.dedup();
        let none = BTreeSet::new();
        for noted in &noted {
            let elements = open.elements.get(noted).unwrap_or(&none);
            self.store.cells_with_stamp(noted.0, &noted.1, elements, dot, &mut changes);
        }
        self.store.settle_unit(&noted, &open.flushed, dot, self.sight, self.facts);
        Some(Unit { dot, changes })
    }

    fn is_visible(&self, place: Place, key: &[u8]) -> bool {
        self.store.view(place, key).is_some_and(|view| view.is_visible(self.sight))
    }

    /// The unit's stamp, given with its first write.
    fn open(&mut self) -> Stamp {
        let open = &mut self.store.open;
        match open.stamp {
            Some(stamp) => stamp,
            None => {
                let stamp = self.clock.tick(self.wall);
                open.stamp = Some(stamp);
                open.gathers = self.gather;
                stamp
            }
        }
    }

    fn write_element<'v>(
        &mut self,
        place: Place,
        key: &[u8],
        kind: Kind,
        name: &[u8],
        change: impl FnOnce(&mut Draft<'_, 'v>, Writer) -> bool,
    ) {
        if self.gather {
            self.note(place, key, [(kind, Bytes::copy_from_slice(name))]);
        }
        self.write(place, key, |draft, by| draft.write_element(kind, name, by, change));
    }

    fn note(&mut self, place: Place, key: &[u8], names: impl IntoIterator<Item = (Kind, Bytes)>) {
        let key = (DbIndex(place.db), Bytes::copy_from_slice(key));
        self.store.open.elements.entry(key).or_default().extend(names);
    }

    fn write<'v>(
        &mut self,
        place: Place,
        key: &[u8],
        change: impl FnOnce(&mut Draft<'_, 'v>, Writer) -> bool,
    ) {
        let stamp = self.open();
        let store = &mut *self.store;
        if self.gather {
            let db = DbIndex(place.db);
            let again = store.open.noted.last().is_some_and(|last| last.0 == db && last.1 == key);
            if !again {
                store.open.noted.push((db, Bytes::copy_from_slice(key)));
            }
        }
        let eager = store.eager_now();
        let terms: Terms = store.terms(place.db, self.sight, stamp, eager);
        let by = Writer {
            stamp,
            clock: terms.clock,
            // Everything of this unit is above what its node has collected.
            horizon: if store.alone {
                0
            } else {
                store.collected.max(store.inherited).min(stamp.time - 1)
            },
            floor: if store.alone { 0 } else { store.collected.min(stamp.time - 1) },
            mutants: store.config.mutants,
        };
        let mut buried = Vec::new();
        store.edit(place, key, terms, self.facts, |draft| {
            let changed = change(draft, by);
            buried = std::mem::take(&mut draft.buried);
            changed
        });
        if self.gather && !buried.is_empty() {
            self.note(place, key, buried);
        }
    }
}

/// The number that a value counts as.
fn number_in(content: Option<Shape<'_>>) -> Result<i128, AddError> {
    match content {
        None => Ok(0),
        Some(Shape::Number(number)) => Ok(number),
        Some(Shape::Bytes(text)) => {
            parse_integer(text).map(i128::from).ok_or(AddError::NotAnInteger)
        }
        Some(Shape::Elements(_)) => Err(AddError::WrongType),
    }
}
