//! Local execution: reads and writes of one command, one EXEC or one script. Writes are computed from
//! the current state, merged at once and gathered as one unit of net changes under one stamp.

use crate::base::clock::HybridClock;
use crate::base::fact::Facts;
use crate::base::ids::DbIndex;
use crate::base::time::UnixMs;
use crate::base::unit::Unit;

use super::{Store, Value};

/// What a write does to the key's expiry.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum SetExpiry {
    /// No expiry from now on (plain SET).
    Clear,
    /// Stays as it is (KEEPTTL, APPEND, SETRANGE).
    Keep,
    At(UnixMs),
}

/// Why an increment was refused; the state is unchanged.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum AddError {
    NotAnInteger,
    Overflow,
}

/// What EXPIRE and its like found.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Ttl {
    NoKey,
    NoExpiry,
    At(UnixMs),
}

/// One unit in the making. Reading sees what was written before in the same unit.
pub struct Txn<'a> {
    pub store: &'a mut Store,
    pub clock: &'a mut HybridClock,
    /// Corrected wall clock, for stamps.
    pub wall: UnixMs,
    /// Expiry clock: never steps back.
    pub expiry_clock: UnixMs,
    pub facts: &'a mut Facts,
    /// Whether anybody will take the unit: off, no changes are gathered.
    pub gather: bool,
}

impl<'a> Txn<'a> {
    pub fn get(&self, _db: DbIndex, _key: &[u8]) -> Option<Value<'_>> {
        unimplemented!()
    }

    pub fn exists(&self, _db: DbIndex, _key: &[u8]) -> bool {
        unimplemented!()
    }

    pub fn ttl(&self, _db: DbIndex, _key: &[u8]) -> Ttl {
        unimplemented!()
    }

    /// SET and everything that replaces or edits a string. On a hidden key a key tombstone of the same stamp goes first.
    pub fn set(&mut self, _db: DbIndex, _key: &[u8], _value: &[u8], _expiry: SetExpiry) {
        unimplemented!()
    }

    /// True if there was a live key.
    pub fn delete(&mut self, _db: DbIndex, _key: &[u8]) -> bool {
        unimplemented!()
    }

    /// The new value. A key that does not exist counts as 0.
    pub fn add(&mut self, _db: DbIndex, _key: &[u8], _delta: i64) -> Result<i64, AddError> {
        unimplemented!()
    }

    /// `None` takes the expiry away. A deadline that has passed deletes. False if there is no key
    /// (or, for `None`, no expiry): nothing was written.
    pub fn expire(&mut self, _db: DbIndex, _key: &[u8], _deadline: Option<UnixMs>) -> bool {
        unimplemented!()
    }

    /// FLUSHDB, or FLUSHALL with `None`: one tombstone a database, constant work to replicate.
    pub fn flush(&mut self, _db: Option<DbIndex>) {
        unimplemented!()
    }

    pub fn len(&self, _db: DbIndex) -> u64 {
        unimplemented!()
    }

    /// Calls `each` with every live key of `db`.
    pub fn keys(&self, _db: DbIndex, _each: &mut dyn FnMut(&[u8])) {
        unimplemented!()
    }

    /// One SCAN step: at least `count` keys looked at (fewer only at the end), live ones handed to `each`; returns the next cursor, 0 at the
    /// end. Keys present from the first to the last step are met at least once.
    pub fn scan(
        &self,
        _db: DbIndex,
        _cursor: u64,
        _count: usize,
        _each: &mut dyn FnMut(&[u8]),
    ) -> u64 {
        unimplemented!()
    }

    /// Ends the unit. `None` if nothing was written. With `gather` off the unit has a dot but no changes.
    pub fn finish(self) -> Option<Unit> {
        unimplemented!()
    }
}
