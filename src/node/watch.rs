//! WATCH: which clients look at which keys, and for whom EXEC must fail.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::base::ids::{ConnId, DbIndex};
use crate::store::Store;

/// A key that one client watches.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Watched {
    pub db: DbIndex,
    pub key: Bytes,
}

/// Who watches what, over all clients.
#[derive(Debug, Default)]
pub struct WatchTable {
    keys: BTreeMap<(DbIndex, Bytes), BTreeSet<ConnId>>,
    dirty: BTreeSet<ConnId>,
}

impl WatchTable {
    /// Adds one key to those a client watches. Watching it twice changes nothing.
    pub fn watch(
        &mut self,
        conn: ConnId,
        watched: &mut Vec<Watched>,
        new: Watched,
        store: &mut Store,
    ) {
        let at = match watched.binary_search_by(|w| (w.db, &w.key).cmp(&(new.db, &new.key))) {
            Ok(_) => return,
            Err(at) => at,
        };
        store.watch(new.db, &new.key);
        self.keys.entry((new.db, new.key.clone())).or_default().insert(conn);
        watched.insert(at, new);
    }

    /// The client watches nothing any more.
    pub fn unwatch(&mut self, conn: ConnId, watched: &mut Vec<Watched>, store: &mut Store) {
        if watched.is_empty() {
            return;
        }
        for Watched { db, key, .. } in watched.drain(..) {
            store.unwatch(db, &key);
            let at = (db, key);
            if let Some(conns) = self.keys.get_mut(&at) {
                conns.remove(&conn);
                if conns.is_empty() {
                    self.keys.remove(&at);
                }
            }
        }
        self.dirty.remove(&conn);
    }

    /// Takes in which watched keys have changed. Called after everything that may write.
    #[inline]
    pub fn on_changes(&mut self, store: &mut Store) {
        if self.keys.is_empty() {
            return;
        }
        for touched in store.take_touched() {
            if let Some(conns) = self.keys.get(&touched) {
                self.dirty.extend(conns);
            }
        }
    }

    /// Whether a key that the client watches has changed since.
    pub fn is_dirty(&self, conn: ConnId) -> bool {
        self.dirty.contains(&conn)
    }

    /// Clients that watch something.
    pub fn clients(&self) -> usize {
        let all: BTreeSet<ConnId> = self.keys.values().flatten().copied().collect();
        all.len()
    }

    /// Only clients that watch are dirty, and no key is kept that nobody watches.
    pub fn dirty_clients_watch(&self) {
        if self.keys.is_empty() && self.dirty.is_empty() {
            return;
        }
        for conn in &self.dirty {
            let watches = self.keys.values().any(|conns| conns.contains(conn));
            assert!(watches, "{conn:?} is dirty and watches nothing");
        }
        assert!(self.keys.values().all(|conns| !conns.is_empty()), "a key nobody watches");
    }
}
