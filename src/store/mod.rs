//! Floor 1: cells, their merge, expiry, digests, memory accounting. State is indexed by (database,
//! partition).

mod apply;
mod books;
mod check;
mod collect;
mod commit;
mod db;
mod elements;
mod entry;
mod expiry;
mod local;
mod merge;
mod moves;
mod show;
mod state;
mod table;
#[cfg(test)]
mod tests;
pub mod txn;
mod walk;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::content::Content;
use crate::base::fact::Facts;
use crate::base::ids::DbIndex;
use crate::base::mutant::Mutants;
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;

use self::books::Books;
use self::commit::{Eager, Terms, view_of};
use self::db::{Db, Place};
use self::state::{Shape, View, clamp};
use self::table::KeyHasher;
use self::txn::{OpenUnit, Ttl};

pub use self::elements::Elements;
pub use self::state::parse_integer;
pub use crate::base::unit::Slot;

/// What a store is made with.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Number of databases, 1..=u16::MAX.
    pub databases: u16,
    /// Seed of the hash tables; differs from node to node.
    pub hash_seed: u64,
    pub mutants: Mutants,
}

/// A value as a client sees it.
#[derive(Copy, Clone)]
pub enum Value<'a> {
    Bytes(&'a [u8]),
    /// A counter with live contributions, clamped to 64 bits.
    Int(i64),
    /// A key that is no string.
    Elements(Elements<'a>),
}

impl Value<'_> {
    /// A copy of all of it. Elements are in the order of their names.
    pub fn to_content(self) -> Content {
        match self {
            Value::Bytes(bytes) => Content::String(Bytes::copy_from_slice(bytes)),
            Value::Int(number) => Content::String(number.to_string().into()),
            Value::Elements(elements) => {
                let mut list = Vec::with_capacity(elements.live());
                for (name, value) in elements.shown() {
                    list.push((Bytes::copy_from_slice(name), value.to_bytes()));
                }
                list.sort_unstable();
                Content::Elements { kind: elements.kind(), list }
            }
        }
    }
}

/// An element's value.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Scalar<'a> {
    Bytes(&'a [u8]),
    /// A counter, clamped to 64 bits.
    Int(i64),
}

impl Scalar<'_> {
    pub fn to_bytes(self) -> Bytes {
        match self {
            Scalar::Bytes(bytes) => Bytes::copy_from_slice(bytes),
            Scalar::Int(number) => number.to_string().into(),
        }
    }

    /// Bytes of its text.
    pub fn len(self) -> usize {
        match self {
            Scalar::Bytes(bytes) => bytes.len(),
            Scalar::Int(number) => itoa::Buffer::new().format(number).len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Whether a cell that arrives with a stamp of its own may be merged.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Admission {
    Merge,
    /// It was seen here once, and has been deleted or superseded, and collected, since.
    Ignore,
    /// Never seen here, and at or below what has been collected: it might bring back what a newer delete had removed, so
    /// it does not come in.
    BelowHorizon,
}

/// One live key.
#[derive(Copy, Clone)]
pub struct LiveKey<'a> {
    pub db: DbIndex,
    pub key: &'a [u8],
    pub value: Value<'a>,
    pub deadline: Option<UnixMs>,
}

/// Where a walk over all cells stands.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct WalkPosition {
    pub db: u16,
    pub partition: u16,
    pub hash: u64,
}

/// Figures for INFO and for the checkers.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreStats {
    /// Keys that are not hidden, per [`Store::len`], summed over all databases.
    pub keys: u64,
    /// Entries without a live cell (key tombstones and what else waits for the horizon) and
    /// database tombstones.
    pub tombstones: u64,
    /// Expired keys still held.
    pub hidden: u64,
    pub contributions: u64,
    /// Bytes held by entries, tables and side records, counted here and not asked of the allocator.
    pub used_bytes: u64,
    /// Merges in which an older cell gave way to, or lost against, one written without having seen
    /// it.
    pub conflicts: u64,
    pub expired: u64,
}

/// All data of a node.
pub struct Store {
    config: StoreConfig,
    hasher: KeyHasher,
    /// By index; those beyond the configured number exist only if a peer has them.
    dbs: Vec<Option<Box<Db>>>,
    /// Database tombstones.
    flushed: BTreeMap<u16, Stamp>,
    books: Books,
    open: OpenUnit,
    /// Nobody else has a copy.
    alone: bool,
    /// H.
    collected: u64,
    /// What the cluster this node joined may have collected before: see [`Store::inherit`].
    inherited: u64,
    /// The newest expiry clock seen.
    clock: UnixMs,
}

impl Store {
    pub fn new(config: StoreConfig) -> Store {
        Store {
            hasher: KeyHasher::new(config.hash_seed),
            config,
            dbs: Vec::new(),
            flushed: BTreeMap::new(),
            books: Books::default(),
            open: OpenUnit::default(),
            alone: false,
            collected: 0,
            inherited: 0,
            clock: UnixMs(0),
        }
    }

    /// Nobody else has ever held, or will hold, a copy of this data: deletes leave nothing behind.
    /// Turning it off sets the collected horizon back to 0 (what was collected concerned only cells
    /// nobody else has seen).
    pub fn set_alone(&mut self, alone: bool) {
        let leaves = self.alone && !alone;
        self.alone = alone;
        if leaves {
            self.collected = 0;
            self.restore_resets();
        }
    }

    /// Whether deletes leave nothing behind.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Forgets everything, also what was collected.
    pub fn clear(&mut self, facts: &mut Facts) {
        let clock = self.clock;
        let terms = Terms { clock, cut: None, cause: Stamp::ZERO, eager: Eager::No };
        for db in 0..self.dbs.len() {
            self.edit_all(db as u16, terms, facts, |draft| {
                draft.remove_all();
                true
            });
        }
        self.dbs = Vec::new();
        self.books.memory_bytes = 0;
        self.flushed.clear();
        self.collected = 0;
    }

    /// From now on keys of `db` named here are reported by [`Store::take_touched`] whenever they
    /// change; counted.
    pub fn watch(&mut self, db: DbIndex, key: &[u8]) {
        self.books.watch(db, key);
    }

    pub fn unwatch(&mut self, db: DbIndex, key: &[u8]) {
        self.books.unwatch(db, key);
    }

    /// The watched keys that have changed since the last call, sorted, without repetition.
    pub fn take_touched(&mut self) -> Vec<(DbIndex, Bytes)> {
        self.books.take_touched()
    }

    /// What a client sees of a key at `clock`.
    #[inline]
    pub fn get(&self, db: DbIndex, key: &[u8], clock: UnixMs) -> Option<Value<'_>> {
        let view = self.view(Place::of(db, key, &self.hasher), key)?;
        view.content(clock).map(value_of)
    }

    /// Whether everything of a key is at or below the horizon, or nobody else has a copy.
    fn is_stable(&self, db: DbIndex, key: &[u8]) -> bool {
        let view = self.view(Place::of(db, key, &self.hasher), key);
        self.alone || view.is_none_or(|view| view.newest_time() <= self.collected)
    }

    pub fn exists(&self, db: DbIndex, key: &[u8], clock: UnixMs) -> bool {
        let view = self.view(Place::of(db, key, &self.hasher), key);
        view.is_some_and(|view| view.is_visible(clock))
    }

    pub fn ttl(&self, db: DbIndex, key: &[u8], clock: UnixMs) -> Ttl {
        let view = self.view(Place::of(db, key, &self.hasher), key);
        match view.filter(|view| view.is_visible(clock)) {
            None => Ttl::NoKey,
            Some(view) => view.deadline().map_or(Ttl::NoExpiry, Ttl::At),
        }
    }

    /// Digest of the live cells of all databases: equal on two nodes exactly if they show the same
    /// data (up to hash collisions).
    pub fn digest(&self) -> u64 {
        self.books.digest
    }

    /// Live keys of a database.
    pub fn len(&self, db: DbIndex) -> u64 {
        self.books.live(db)
    }

    /// Live keys of a database that have a deadline.
    pub fn expiring(&self, db: DbIndex) -> u64 {
        self.books.expiring(db)
    }

    /// Whether nothing at all is held, not even a tombstone.
    pub fn is_empty(&self) -> bool {
        self.flushed.is_empty() && self.dbs.iter().flatten().all(|db| db.is_empty())
    }

    /// This node joins a cluster that may have collected up to `horizon`. Contributions that are gone
    /// there count as seen by what is written here from now on; once the cluster's data has arrived,
    /// [`Store::take_over`] makes the horizon this store's own.
    pub fn inherit(&mut self, horizon: u64) {
        self.inherited = self.inherited.max(horizon);
    }

    /// The inherited horizon, while this store does not have all that lies below it.
    pub fn inherited(&self) -> Option<u64> {
        (self.inherited > self.collected).then_some(self.inherited)
    }

    /// Everything up to the inherited horizon has arrived: what is missing has been collected.
    pub fn take_over(&mut self) {
        self.collected = self.collected.max(self.inherited);
    }

    /// An earlier life has collected up to here.
    pub fn resume_collected(&mut self, horizon: u64) {
        self.collected = self.collected.max(horizon);
    }

    /// The stamp time up to which anything has been collected (H); 0 if nothing ever was.
    pub fn collected(&self) -> u64 {
        self.collected
    }

    pub fn stats(&self) -> StoreStats {
        StoreStats {
            keys: self.books.live.iter().sum(),
            tombstones: self.books.dead + self.flushed.len() as u64,
            hidden: self.books.hidden,
            contributions: self.books.contributions,
            used_bytes: self.books.memory_bytes + self.books.index_bytes(),
            conflicts: self.books.conflicts,
            expired: self.books.expired,
        }
    }

    /// What the allocator has given for a key and its cells, with its place in the table. `None` if there is no such key.
    pub fn used_bytes(&self, db: DbIndex, key: &[u8], clock: UnixMs) -> Option<usize> {
        let place = Place::of(db, key, &self.hasher);
        let table = self.db(place.db)?.table(place.partition);
        let entry = table.get(table.find(place.hash, key)?)?;
        let bytes = entry.used_bytes() + size_of::<Option<entry::Entry>>();
        view_of(entry).is_visible(clock).then_some(bytes)
    }

    /// Number of databases, those included that only a peer has.
    pub(super) fn databases(&self) -> u16 {
        let held = u16::try_from(self.dbs.len()).unwrap_or(u16::MAX);
        self.config.databases.max(held)
    }

    fn db(&self, db: u16) -> Option<&Db> {
        self.dbs.get(usize::from(db))?.as_deref()
    }

    #[inline]
    fn view(&self, place: Place, key: &[u8]) -> Option<View<'_>> {
        let table = self.db(place.db)?.table(place.partition);
        let at = table.find(place.hash, key)?;
        table.get(at).map(view_of)
    }
}

fn value_of(content: Shape<'_>) -> Value<'_> {
    match content {
        Shape::Bytes(bytes) => Value::Bytes(bytes),
        Shape::Number(number) => Value::Int(clamp(number)),
        Shape::Elements(elements) => Value::Elements(elements),
    }
}
