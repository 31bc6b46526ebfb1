//! FLUSHALL and FLUSHDB: the keys of all partitions that this node is master of go, by entries like any write's. Those of a
//! partition go at once or in few steps, and the client is answered when all are committed.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};

use crate::base::ids::{ConnId, Partition};
use crate::base::io::{Effect, Effects};
use crate::base::time::{Mono, Now};
use crate::store::{LiveKey, Store};
use crate::strong::tail::KeyChange;
use crate::wire::args::Args;
use crate::wire::reply::Reply;

use super::super::Node;
use super::super::dispatch::Turn;
use super::super::session::Block;
use super::{Asker, IN_DOUBT, NOT_SERVED, Pending, StrongNode, copies};

/// Keys of one entry.
const ENTRY_KEYS: usize = 512;
/// Keys of the entries that are under way at once, about.
const WAVE_KEYS: usize = 8192;

/// A FLUSHALL under way.
#[derive(Debug, Default)]
pub(super) struct Flushing {
    /// The partition it has not come to.
    next: u16,
    /// What this node was master of at the beginning.
    served: BTreeSet<Partition>,
    /// Entries that are not committed.
    open: usize,
    /// The fate of one of them is not known: no more are made.
    pub doubt: bool,
}

impl Flushing {
    pub fn on_entry(&mut self, committed: bool) {
        self.open -= 1;
        self.doubt |= !committed;
    }
}

impl Turn<'_> {
    /// `FLUSHALL [ASYNC|SYNC]`, `FLUSHDB [ASYNC|SYNC]`: there is one database.
    pub(in crate::node) fn flush_partitions(&mut self, args: Args<'_>) {
        let known =
            |word: &[u8]| word.eq_ignore_ascii_case(b"ASYNC") || word.eq_ignore_ascii_case(b"SYNC");
        if args.len() > 2 || (args.len() == 2 && !known(args.get(1))) {
            return self.session.reply().error("ERR syntax error");
        }
        let Some(strong) = self.server.strong.as_deref_mut() else { return };
        let protocol = &strong.mesh.strong;
        let all = (0..protocol.partition_count()).map(Partition);
        let served: BTreeSet<Partition> = all.filter(|&of| protocol.serves(of)).collect();
        if served.is_empty() {
            let text = format!("{NOT_SERVED}: this node is master of no partition");
            return self.session.reply().error(&text);
        }
        let conn = self.session.conn;
        strong.flushes.insert(conn, Flushing { served, ..Flushing::default() });
        let slot = self.session.replies.defer();
        self.session.become_blocked(Block::Flush(slot));
        self.out.push(Effect::PauseReads { conn, paused: true });
    }
}

impl StrongNode {
    /// Makes the next entries of a flush. True if it is at its end.
    fn flush_on(&mut self, conn: ConnId, store: &Store, now: Mono) -> bool {
        let Some(mut flush) = self.flushes.remove(&conn) else { return false };
        let count = self.mesh.strong.partition_count();
        let mut keys_left = WAVE_KEYS;
        while flush.open == 0 && !flush.doubt && flush.next < count {
            while keys_left > 0 && flush.next < count {
                let of = Partition(flush.next);
                flush.next += 1;
                // (Handed over meanwhile: its keys stay.)
                flush.doubt |= flush.served.contains(&of) && !self.mesh.strong.serves(of);
                let keys = self.keys_of(of, store);
                for some in keys.chunks(ENTRY_KEYS) {
                    let change = |key: &Bytes| KeyChange { key: key.clone(), state: None };
                    let ticket = self.ticket();
                    let asker = Asker::Flush { conn };
                    self.pending.insert(ticket, Pending::of(asker, of, BytesMut::new()));
                    let changes = some.iter().map(change).collect();
                    self.mesh.strong.write(of, changes, Some(ticket), now);
                    flush.open += 1;
                }
                keys_left = keys_left.saturating_sub(keys.len());
            }
        }
        let ends = flush.open == 0;
        self.flushes.insert(conn, flush);
        ends
    }

    /// The keys that a partition holds, what is open included, if this node is its master.
    fn keys_of(&self, of: Partition, store: &Store) -> Vec<Bytes> {
        let protocol = &self.mesh.strong;
        if !protocol.serves(of) {
            return Vec::new();
        }
        let shift = copies::shift(protocol.partition_count());
        let mut keys = Vec::new();
        for each in of.0 << shift..(of.0 + 1) << shift {
            store.visit_partition(Partition(each), &mut |live: LiveKey<'_>| {
                keys.push(Bytes::copy_from_slice(live.key));
            });
        }
        keys.extend(protocol.open_keys(of).cloned());
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| protocol.open_state(of, key).is_none_or(|state| state.is_some()));
        keys
    }
}

impl Node {
    /// Goes on with what is flushed, and answers what is done.
    pub(super) fn flush_on(&mut self, now: Now, out: &mut Effects) {
        let Some(strong) = self.server.strong.as_deref_mut() else { return };
        let conns: Vec<ConnId> = strong.flushes.keys().copied().collect();
        for conn in conns {
            let Some(strong) = self.server.strong.as_deref_mut() else { return };
            if !strong.flush_on(conn, &self.data.store, now.mono) {
                continue;
            }
            let Some(flush) = strong.flushes.remove(&conn) else { continue };
            let Some(session) = self.sessions.get_mut(conn) else { continue };
            let Some(slot) = session.become_unblocked() else { continue };
            let mut bytes = BytesMut::new();
            let mut reply = Reply::new(&mut bytes, session.protocol);
            if flush.doubt {
                reply.error(IN_DOUBT)
            } else {
                reply.ok()
            }
            session.replies.fill(slot, bytes);
            session.last_seen = now.mono;
            Node::list(&mut self.listed, session);
            out.push(Effect::PauseReads { conn, paused: false });
            self.blocked.remove(&conn);
            self.server.stats.clients_blocked = self.blocked.len() as u64;
            self.expect_idle(now);
        }
    }
}
