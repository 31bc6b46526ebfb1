//! Floor 1: cells, their merge, expiry, digests, memory accounting. State is indexed by (database,
//! partition).

pub mod txn;

use crate::base::fact::Facts;
use crate::base::ids::DbIndex;
use crate::base::mutant::Mutants;
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;
use crate::base::unit::Change;

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
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    Bytes(&'a [u8]),
    /// A counter with live contributions, clamped to 64 bits.
    Int(i64),
}

/// Whether a cell that arrives with a stamp of its own may be merged.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Admission {
    Merge,
    /// It was deleted or superseded here, and collected.
    Ignore,
    /// Never seen, and at or below the horizon up to which this store has collected.
    BelowHorizon,
}

/// One live key.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
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
    /// Entries without a live cell: key tombstones and what else waits for the horizon.
    pub tombstones: u64,
    /// Expired keys still held.
    pub hidden: u64,
    pub contributions: u64,
    /// Bytes held by entries, tables and side records, counted here and not asked of the allocator.
    pub used_bytes: u64,
    /// Merges in which an older cell gave way to, or lost against, one written without having seen it.
    pub conflicts: u64,
    pub expired: u64,
}

/// All data of a node.
pub struct Store {
    _config: StoreConfig,
}

impl Store {
    pub fn new(config: StoreConfig) -> Store {
        Store { _config: config }
    }

    /// Merges one cell: commutative, associative, idempotent, total. True if anything changed.
    /// `clock` is the expiry clock.
    pub fn apply(
        &mut self,
        _change: &Change,
        _stamp: Stamp,
        _clock: UnixMs,
        _facts: &mut Facts,
    ) -> bool {
        unimplemented!()
    }

    /// Whether the node still holds this very cell, or a newer state of it.
    pub fn holds(&self, _change: &Change, _stamp: Stamp) -> bool {
        unimplemented!()
    }

    /// What to do with a cell that arrives with a stamp of its own; `covered`: the node's vector covers the stamp.
    pub fn admits(&self, _change: &Change, _stamp: Stamp, _covered: bool) -> Admission {
        unimplemented!()
    }

    /// Puts all cells of whole keys into `out`, each with its own stamp, until about `budget_bytes`
    /// are gathered. Database tombstones come first; dead and hidden cells are included. Cells of one key stay
    /// together. Returns where to go on, or `None` at the end.
    pub fn walk(
        &self,
        _from: WalkPosition,
        _budget_bytes: usize,
        _out: &mut Vec<Change>,
    ) -> Option<WalkPosition> {
        unimplemented!()
    }

    /// Tombstones, stamp detail and covered contributions at or below `horizon` may go; expired keys
    /// whose deadline lies before `expired_before` and whose cells are all at or below `horizon` too. Looks at no more than `keys_max`
    /// keys that wait for it; the horizon reached is [`Store::collected`]. True if more is due now.
    pub fn collect(
        &mut self,
        _horizon: u64,
        _expired_before: UnixMs,
        _keys_max: usize,
        _facts: &mut Facts,
    ) -> bool {
        unimplemented!()
    }

    /// The stamp time up to which anything has been collected (H); 0 if nothing ever was.
    pub fn collected(&self) -> u64 {
        unimplemented!()
    }

    /// Nobody else has ever held, or will hold, a copy of this data: deletes leave nothing behind. Turning it off
    /// sets the collected horizon back to 0 (what was collected concerned only cells nobody else has seen).
    pub fn set_alone(&mut self, _alone: bool) {
        unimplemented!()
    }

    /// Hides the keys whose deadline has passed; at most `keys_max`. Returns when the next is due.
    pub fn expire(
        &mut self,
        _clock: UnixMs,
        _keys_max: usize,
        _facts: &mut Facts,
    ) -> Option<UnixMs> {
        unimplemented!()
    }

    /// The deadline of the key that [`Store::expire`] will hide next.
    pub fn next_due(&self) -> Option<UnixMs> {
        unimplemented!()
    }

    /// Calls `each` with every key that is live at `clock`, in no order.
    pub fn visit(&self, _clock: UnixMs, _each: &mut dyn FnMut(LiveKey<'_>)) {
        unimplemented!()
    }

    /// Replaces stamp times: every stamp of origin `from` gets origin `to` and the time given for it (pairs in rising
    /// order of the first); other stamps stay. Used when an epoch's writes, seen by nobody else yet, are moved.
    pub fn move_stamps(
        &mut self,
        _from: crate::base::ids::Origin,
        _to: crate::base::ids::Origin,
        _times: &[(u64, u64)],
    ) {
        unimplemented!()
    }

    /// All distinct stamp times of one origin that occur in any cell, rising.
    pub fn stamp_times(&self, _origin: crate::base::ids::Origin) -> Vec<u64> {
        unimplemented!()
    }

    /// Forgets everything, also what was collected.
    pub fn clear(&mut self, _facts: &mut Facts) {
        unimplemented!()
    }

    /// Digest of the live cells of all databases: equal on two nodes exactly if they show the same data
    /// (up to hash collisions).
    pub fn digest(&self) -> u64 {
        unimplemented!()
    }

    /// Live keys of a database.
    pub fn len(&self, _db: DbIndex) -> u64 {
        unimplemented!()
    }

    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }

    pub fn stats(&self) -> StoreStats {
        unimplemented!()
    }

    /// From now on keys of `db` named here are reported by [`Store::take_touched`] whenever they change; counted.
    pub fn watch(&mut self, _db: DbIndex, _key: &[u8]) {
        unimplemented!()
    }

    pub fn unwatch(&mut self, _db: DbIndex, _key: &[u8]) {
        unimplemented!()
    }

    /// The watched keys that have changed since the last call, sorted, without repetition.
    pub fn take_touched(&mut self) -> Vec<(DbIndex, bytes::Bytes)> {
        unimplemented!()
    }

    /// Named invariants, checked after each input in simulation.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check_invariants(&self) {
        unimplemented!()
    }
}
