//! MULTI, EXEC, DISCARD, WATCH, UNWATCH. One EXEC is one unit.

use bytes::Bytes;

use crate::base::ids::DbIndex;
use crate::base::time::UnixMs;
use crate::base::unit::Unit;
use crate::command::Handler;
use crate::store::txn::Txn;
use crate::wire::resp::Args;

use super::dispatch::{READONLY, Turn, run_data, run_quiet};
use super::server::Cx;
use super::session::Transaction;
use super::watch::Watched;

impl Turn<'_> {
    pub(super) fn multi(&mut self) {
        if self.session.transaction().is_some() {
            return self.session.reply().error("ERR MULTI calls can not be nested");
        }
        self.session.become_transaction();
        self.session.reply().ok();
    }

    pub(super) fn discard(&mut self) {
        if self.session.become_command().is_none() {
            return self.session.reply().error("ERR DISCARD without MULTI");
        }
        self.let_go_of_keys();
        self.session.reply().ok();
    }

    /// Drops the transaction, if there is one, and every watched key.
    pub(super) fn end_transaction(&mut self) {
        self.session.become_command();
        self.let_go_of_keys();
    }

    pub(super) fn watch(&mut self, args: Args<'_>) {
        if self.session.transaction().is_some() {
            return self.session.reply().error("ERR WATCH inside MULTI is not allowed");
        }
        if self.server.strong.is_some() {
            return self.watch_in_cluster(args);
        }
        let (conn, db) = (self.session.conn, self.session.db);
        for key in args.from(1).iter() {
            // What has expired before is no change later.
            self.notice_expiry(db, key);
            let new = Watched { db, key: Bytes::copy_from_slice(key) };
            let watched = &mut self.session.watched;
            self.server.watch.watch(conn, watched, new, &mut self.data.store);
        }
        self.session.reply().ok();
    }

    pub(super) fn unwatch(&mut self) {
        self.let_go_of_keys();
        self.session.reply().ok();
    }

    pub(super) fn exec(&mut self) {
        let Some(transaction) = self.session.become_command() else {
            return self.session.reply().error("ERR EXEC without MULTI");
        };
        if self.server.strong.is_some() {
            return self.exec_in_cluster(transaction);
        }
        let stale = self.watched_key_has_changed();
        self.let_go_of_keys();
        if transaction.refused {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return self.session.reply().error(text);
        }
        if stale {
            return self.session.reply().null_array();
        }
        if transaction.writes && self.server.active.is_read_only_replica() {
            let text = format!("EXECABORT Transaction discarded because of: {READONLY}");
            return self.session.reply().error(&text);
        }
        self.execute_queued(transaction);
    }

    /// All queued commands against one state, as one unit.
    pub(super) fn execute_queued(&mut self, transaction: Transaction) {
        if let Some(unit) = self.run_queued(&transaction) {
            self.issue(unit);
        }
    }

    /// Runs all queued commands.
    pub(super) fn run_queued(&mut self, transaction: &Transaction) -> Option<Unit> {
        self.session.reply().array(transaction.queued.len());
        let shown = self.server.strong.as_ref().map(|strong| strong.served());
        let strong = shown.is_some();
        let mut txn = Txn {
            gather: strong || self.gathers(),
            store: &mut self.data.store,
            clock: &mut self.data.clock,
            wall: self.wall,
            expiry_clock: self.expiry_clock,
            sight: if strong { UnixMs(0) } else { self.expiry_clock },
            shown: shown.as_ref(),
            facts: &mut self.out.facts,
        };
        for (command, args) in &transaction.queued {
            let args = args.args();
            let session = &mut *self.session;
            match command.handler {
                Handler::Data(handler) => {
                    let (db, reply) = (session.db, session.reply());
                    let with = (&self.server.config, &mut self.server.rng);
                    run_data((command, handler), args, db, with, &mut txn, reply);
                }
                Handler::Session(what) => {
                    let (store, now) = (&*txn.store, self.now);
                    run_quiet(&mut Cx { server: self.server, session, store, now }, what, args);
                }
            }
        }
        txn.finish()
    }

    /// A key changed, was created, deleted, or has expired since it was put under WATCH.
    fn watched_key_has_changed(&mut self) -> bool {
        let watched = std::mem::take(&mut self.session.watched);
        for Watched { db, key } in &watched {
            self.notice_expiry(*db, key);
        }
        self.session.watched = watched;
        self.server.watch.is_dirty(self.session.conn)
    }

    /// Hides a key whose time is over, before the sweep comes to it.
    fn notice_expiry(&mut self, db: DbIndex, key: &[u8]) {
        let store = &mut self.data.store;
        store.expire_key(db, key, self.expiry_clock, &mut self.out.facts);
        self.server.watch.on_changes(store);
    }

    pub(super) fn let_go_of_keys(&mut self) {
        let session = &mut *self.session;
        session.cluster.watching = None;
        self.server.watch.unwatch(session.conn, &mut session.watched, &mut self.data.store);
    }
}
