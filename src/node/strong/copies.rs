//! The committed state of partitions, in the store. Nothing there expires or goes by itself: what is past its deadline is
//! deleted by an entry of the master's.

use bytes::Bytes;

use crate::base::clock::HybridClock;
use crate::base::fact::Facts;
use crate::base::ids::{DbIndex, PARTITION_COUNT, Partition};
use crate::base::time::UnixMs;
use crate::store::txn::{SetExpiry, Txn};
use crate::store::{LiveKey, Store};
use crate::strong::Copies;
use crate::strong::tail::{KeyChange, KeyState};

const DB: DbIndex = DbIndex(0);

/// By how many bits the store's partitions are more than the protocol's.
pub fn shift(partitions: u16) -> u32 {
    (PARTITION_COUNT / partitions).trailing_zeros()
}

/// The store as the protocol sees it.
pub struct StoreCopies<'a> {
    pub store: &'a mut Store,
    /// The store's stamps mean nothing here; they only have to rise.
    pub clock: &'a mut HybridClock,
    pub shift: u32,
}

impl Copies for StoreCopies<'_> {
    fn apply(&mut self, _: Partition, changes: &[KeyChange]) {
        for change in changes {
            put(self.store, self.clock, &change.key, change.state.as_ref());
        }
    }

    fn read(&self, of: Partition) -> Vec<KeyChange> {
        let mut all = Vec::new();
        for each in of.0 << self.shift..(of.0 + 1) << self.shift {
            self.store.visit_partition(Partition(each), &mut |live: LiveKey<'_>| {
                let state =
                    Some(KeyState { value: live.value.to_content(), deadline: live.deadline });
                all.push(KeyChange { key: Bytes::copy_from_slice(live.key), state });
            });
        }
        all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        all
    }

    fn clear(&mut self, of: Partition) {
        let keys: Vec<Bytes> = self.read(of).into_iter().map(|change| change.key).collect();
        for key in keys {
            put(self.store, self.clock, &key, None);
        }
    }
}

/// What a key holds, expired or not.
pub fn state(store: &Store, key: &[u8]) -> Option<KeyState> {
    let value = store.get(DB, key, UnixMs(0))?.to_content();
    let deadline = match store.ttl(DB, key, UnixMs(0)) {
        crate::store::txn::Ttl::At(deadline) => Some(deadline),
        crate::store::txn::Ttl::NoKey | crate::store::txn::Ttl::NoExpiry => None,
    };
    Some(KeyState { value, deadline })
}

/// Sets a key to exactly this.
pub fn put(store: &mut Store, clock: &mut HybridClock, key: &[u8], state: Option<&KeyState>) {
    let mut facts = Facts::new(false);
    let mut txn = Txn {
        store,
        clock,
        wall: UnixMs(0),
        expiry_clock: UnixMs(0),
        sight: UnixMs(0),
        shown: None,
        facts: &mut facts,
        gather: false,
    };
    match state {
        Some(state) => {
            let expiry = state.deadline.map_or(SetExpiry::Clear, SetExpiry::At);
            txn.put(DB, key, &state.value, expiry);
        }
        None => drop(txn.delete(DB, key)),
    }
    txn.finish();
}
