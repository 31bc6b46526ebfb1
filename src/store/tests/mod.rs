//! Tests of the store as a whole. Times of stamps are milliseconds shifted, as the clock makes
//! them.

mod collecting;
#[cfg(feature = "mutants")]
mod faults;
mod hashes;
mod laws;
mod tables;
mod units;
mod writes;

use bytes::Bytes;

use crate::base::clock::HybridClock;
use crate::base::fact::Facts;
use crate::base::ids::{DbIndex, Origin};
use crate::base::mutant::Mutants;
use crate::base::stamp::{Stamp, time_of_ms};
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Change, Seen, Unit};

use super::txn::Txn;
use super::{Store, StoreConfig, Value, WalkPosition};

pub const DB: DbIndex = DbIndex(0);

pub fn store(hash_seed: u64) -> Store {
    Store::new(StoreConfig { databases: 16, hash_seed, mutants: Mutants::NONE })
}

/// A node's store, its clock, and the time.
pub struct Side {
    pub store: Store,
    pub clock: HybridClock,
    pub facts: Facts,
    pub now: UnixMs,
    pub gather: bool,
    /// Whether invariants are checked after every unit.
    pub checks: bool,
}

impl Side {
    pub fn new(origin: u32) -> Side {
        Side {
            store: store(u64::from(origin)),
            clock: HybridClock::new(Origin(origin), Mutants::NONE),
            facts: Facts::new(true),
            now: UnixMs(1_000),
            gather: true,
            checks: true,
        }
    }

    /// Runs one unit a millisecond later.
    pub fn run<R>(&mut self, work: impl FnOnce(&mut Txn<'_>) -> R) -> (R, Option<Unit>) {
        self.now.0 += 1;
        let mut txn = Txn {
            store: &mut self.store,
            clock: &mut self.clock,
            wall: self.now,
            expiry_clock: self.now,
            sight: self.now,
            shown: None,
            facts: &mut self.facts,
            gather: self.gather,
        };
        let result = work(&mut txn);
        let unit = txn.finish();
        if self.checks {
            self.store.check_invariants();
        }
        (result, unit)
    }

    pub fn unit(&mut self, work: impl FnOnce(&mut Txn<'_>)) -> Unit {
        self.run(work).1.expect("something was written")
    }

    pub fn take(&mut self, unit: &Unit) {
        self.clock.observe(unit.newest_time());
        for change in &unit.changes {
            let stamp = change.stamp_in(unit.dot);
            self.store.apply(change, stamp, self.now, &mut self.facts);
        }
        self.store.check_invariants();
    }

    pub fn text(&self, key: &str) -> Option<String> {
        text(&self.store, key, self.now)
    }

    /// Collects up to `ms`, everything that is due.
    pub fn collect(&mut self, ms: u64) {
        while self.store.collect(time_of_ms(UnixMs(ms)), UnixMs(ms), 3, &mut self.facts) {
            self.store.check_invariants();
        }
        self.store.check_invariants();
    }
}

pub fn text(store: &Store, key: &str, clock: UnixMs) -> Option<String> {
    store.get(DB, key.as_bytes(), clock).map(|value| match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Int(number) => number.to_string(),
        Value::Elements(_) => format!("{:?}", value.to_content()),
    })
}

/// All cells, in an order that does not depend on the hash seed.
pub fn cells(store: &Store) -> Vec<String> {
    let mut out = Vec::new();
    assert_eq!(store.walk(WalkPosition::default(), usize::MAX, &mut out), None);
    let mut cells: Vec<String> = out.iter().map(|change| format!("{change:?}")).collect();
    cells.sort();
    cells
}

/// Everything a client can see of database 0 and 1.
pub fn visible(store: &Store, clock: UnixMs) -> Vec<String> {
    let mut seen = Vec::new();
    for db in [DbIndex(0), DbIndex(1)] {
        store.keys(db, clock, &mut |key| {
            let value = store.get(db, key, clock).map(Value::to_content);
            let ttl = store.ttl(db, key, clock);
            seen.push(format!("{db:?} {} {value:?} {ttl:?}", key.escape_ascii()));
        });
    }
    seen.sort();
    seen
}

pub fn stamp(ms: u64, origin: u32) -> Stamp {
    Stamp::new(time_of_ms(UnixMs(ms)), Origin(origin))
}

pub fn change(key: &str, cell: Cell) -> Change {
    Change { db: DB, key: Bytes::copy_from_slice(key.as_bytes()), stamp: None, cell }
}

pub fn register(value: &str) -> Cell {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Cell::Register { value, resets: true, seen: Seen::default() }
}

pub fn tombstone() -> Cell {
    Cell::Tombstone { seen: Seen::default() }
}
