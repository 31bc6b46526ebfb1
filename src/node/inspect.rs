//! What checkers and tests see of a node's inside.

use bytes::Bytes;

use crate::base::content::Content;
use crate::base::ids::{DbIndex, Origin};
use crate::base::time::{Now, UnixMs};
use crate::base::unit::Change;
use crate::base::vector::Vector;
use crate::store::{LiveKey, StoreStats};
use crate::strong::Strong;

use super::session::State;
use super::{Node, Scope};

/// What a checker or a test may see of a node's inside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspection {
    /// Digest of the live data: equal exactly if two nodes show the same.
    pub digest: u64,
    pub vector: Vector,
    pub origin: Origin,
    /// The stamp time up to which tombstones have been collected.
    pub collected: u64,
    pub backlog_bytes: u64,
    pub stats: StoreStats,
    /// Masters configured and masters whose link is up and not in a resync.
    pub masters: usize,
    pub masters_up: usize,
    /// Not everything that the cluster joined may have collected has arrived.
    pub joins: bool,
    /// Cells are held that neither the vector covers nor the log has.
    pub unlogged: bool,
    /// Origins paused for stamps too far ahead.
    pub paused: Vec<Origin>,
}

/// One key as a client would see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VisibleKey {
    pub db: DbIndex,
    pub key: Bytes,
    pub value: Content,
    pub deadline: Option<UnixMs>,
}

impl Node {
    /// # Panics
    /// If a named invariant does not hold.
    pub fn check_invariants(&self, scope: Scope) {
        self.sessions_are_where_their_state_says();
        self.server.watch.dirty_clients_watch();
        self.server.active.check_invariants(&self.data.store, &self.data.clock);
        match scope {
            Scope::Touched => {}
            Scope::All => self.data.store.check_invariants(),
        }
    }

    /// For checkers and tests.
    pub fn inspect(&self, _now: Now) -> Inspection {
        let active = &self.server.active;
        Inspection {
            digest: self.data.store.digest(),
            vector: active.vector().clone(),
            origin: self.data.clock.origin(),
            collected: self.data.store.collected(),
            backlog_bytes: active.backlog_bytes(),
            stats: self.data.store.stats(),
            masters: active.masters(),
            masters_up: active.masters_up(),
            joins: self.data.store.inherited().is_some(),
            unlogged: active.holds_unlogged(),
            paused: active.paused(),
        }
    }

    /// Strong mode's protocol, if that is on.
    pub fn strong(&self) -> Option<&Strong> {
        self.server.strong.as_ref().map(|strong| &strong.mesh.strong)
    }

    /// What the data and the backlog take, as INFO's `used_memory` counts it.
    pub fn memory_bytes(&self) -> u64 {
        self.data.store.stats().used_bytes + self.server.active.backlog_bytes()
    }

    /// All live keys in the order of (database, key), as clients would see them at `now`.
    pub fn visible(&self, now: Now) -> Vec<VisibleKey> {
        let clock = self.server.active.expiry_clock_at(now);
        let mut keys = Vec::new();
        self.data.store.visit(clock, &mut |LiveKey { db, key, value, deadline }| {
            let value = value.to_content();
            keys.push(VisibleKey { db, key: Bytes::copy_from_slice(key), value, deadline });
        });
        keys.sort_unstable_by(|a, b| (a.db, &a.key).cmp(&(b.db, &b.key)));
        keys
    }

    /// All cells that are held, dead and hidden ones included, with their stamps.
    pub fn cells(&self) -> Vec<Change> {
        self.data.store.cells()
    }

    fn sessions_are_where_their_state_says(&self) {
        // Links and sessions are in the order of their connections.
        let (mut blocked, mut links) = (0, self.links.iter());
        for session in self.sessions.iter() {
            let conn = session.conn;
            session.blocked_exactly_while_a_reply_waits(self.server.strong.is_some());
            match session.state() {
                State::Blocked(_) => {
                    blocked += 1;
                    assert!(self.blocked.contains(&conn), "{conn:?} is blocked and not listed");
                }
                State::Peer => {
                    assert!(links.next() == Some(&conn), "{conn:?} is a link and not listed");
                }
                State::Command | State::Transaction(_) | State::Closing { .. } => {}
            }
        }
        assert_eq!(blocked, self.blocked.len(), "a session is listed as blocked and is not");
        assert!(links.next().is_none(), "a session is listed as a link and is none");
        assert_eq!(self.server.stats.clients, self.sessions.len() as u64, "clients counted");
    }
}
