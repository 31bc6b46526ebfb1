//! Commands on data in strong mode: they run where their partition's master is, on its open state, and what they change
//! becomes an entry; the reply waits until that is committed, or until a round has confirmed that nothing newer can exist.

use bytes::Bytes;

use crate::base::checksum::slot_of;
use crate::base::ids::{DbIndex, PARTITION_COUNT, Partition};
use crate::base::mutant::StrongMutant;
use crate::base::time::{Span, UnixMs};
use crate::base::unit::Unit;
use crate::command::{Command, Flags, Handler, SessionCommand};
use crate::store::txn::Txn;
use crate::strong::tail::{KeyChange, KeyState, Place};
use crate::strong::{NodeName, Reason, Route};
use crate::wire::resp::Args;

use super::super::dispatch::{Turn, run_data};
use super::super::session::Transaction;
use super::copies;
use super::directives::{ReadConsistency, Redirect};
use super::{Asker, Pending, not_served};

/// Slots of the cluster protocol in a partition of the store.
pub(super) const SLOTS_EACH: u16 = 4;
pub(super) const SLOTS: u16 = PARTITION_COUNT * SLOTS_EACH;
pub(in crate::node) const CROSS_SLOT: &str =
    "CROSSSLOT Keys in request don't hash to the same slot";

/// Where a command is to go.
pub(in crate::node) enum Way {
    /// Here, on this slot.
    Slot(u16),
    /// Here, from this node's copy: the client has asked for that.
    Copy(u16),
    /// To be passed on to this node.
    Elsewhere(u16, NodeName),
    /// It has no keys.
    Anywhere,
    /// It was answered, or waits.
    Done,
}

impl Way {
    pub fn slot(&self) -> Option<u16> {
        match *self {
            Way::Slot(slot) | Way::Copy(slot) | Way::Elsewhere(slot, _) => Some(slot),
            Way::Anywhere | Way::Done => None,
        }
    }
}

impl Turn<'_> {
    /// Where a command with these keys runs; answers it if not here.
    pub(in crate::node) fn way_of(&mut self, command: &Command, args: Args<'_>) -> Way {
        match command.handler {
            Handler::Data(_) => {}
            Handler::Session(what) if is_of_active(what) => {
                let text = format!("ERR {} is not available in strong mode", command.name);
                self.fail(command, &text);
                return Way::Done;
            }
            Handler::Session(_) => return Way::Anywhere,
        }
        let mut slot = None;
        for place in command.key_places(args.len()) {
            let this = slot_of(args.get(place));
            if slot.is_some_and(|slot| slot != this) {
                self.fail(command, CROSS_SLOT);
                return Way::Done;
            }
            slot = Some(this);
        }
        let Some(slot) = slot else {
            let flushes = matches!(command.name, "flushall" | "flushdb");
            if flushes && self.session.transaction().is_none() {
                self.flush_partitions(args);
                return Way::Done;
            }
            if command.flags.has(Flags::WRITE) {
                let text = "ERR a command that changes keys of several partitions at once is not \
                            available in strong mode";
                self.fail(command, text);
                return Way::Done;
            }
            return Way::Anywhere;
        };
        self.way_of_slot(command, slot, command.flags.has(Flags::WRITE))
    }

    /// Where something on this slot runs, that may write or does not; answers it if it cannot.
    pub(in crate::node) fn way_of_slot(
        &mut self,
        command: &Command,
        slot: u16,
        writes: bool,
    ) -> Way {
        let now = self.now.mono;
        let queues = self.session.transaction().is_some();
        let Some(strong) = self.server.strong.as_deref_mut() else { return Way::Anywhere };
        let of = strong.partition(Partition(slot / SLOTS_EACH));
        let proxies = self.server.config.strong.redirect == Redirect::Proxy;
        let route = match strong.mesh.strong.route(of, now) {
            // It may be about to be served. (A command is passed on to who serves only; a client may wait there.)
            Route::Down(Reason::NoMaster) => match strong.mesh.strong.next_master(of, now) {
                Some(_) if proxies => Route::Wait,
                Some(next) => Route::Moved(next),
                None => Route::Down(Reason::NoMaster),
            },
            route @ (Route::Here | Route::Wait | Route::Moved(_) | Route::Down(_)) => route,
        };
        let may_be_old = !writes && self.session.cluster.reads_copies && route != Route::Here;
        if may_be_old && strong.mesh.strong.is_in_sync(of) {
            self.session.parked_since = None;
            return Way::Copy(slot);
        }
        // What a client asks in a row is done in that order.
        let cluster = &self.session.cluster;
        let parts = cluster.passed.get(&of).is_some_and(|&(to, _)| route != Route::Moved(to));
        let is_full = cluster.is_full() && matches!(route, Route::Moved(_));
        if (parts || is_full) && !queues {
            self.wait_for_passed();
            return Way::Done;
        }
        match route {
            Route::Here => {
                self.session.parked_since = None;
                return Way::Slot(slot);
            }
            Route::Wait => {
                let since = *self.session.parked_since.get_or_insert(now);
                let until = since + Span(strong.mesh.strong.write_timeout().0 / 2);
                if now < until {
                    strong.park(self.session.conn, until);
                    self.postpone();
                    return Way::Done;
                }
                let text = not_served(strong, of, now);
                self.fail(command, &text);
            }
            Route::Moved(name) if proxies => {
                self.session.parked_since = None;
                return Way::Elsewhere(slot, name);
            }
            Route::Moved(name) => {
                let contact = strong.mesh.contact(name);
                let text = match contact {
                    Some(to) => format!("MOVED {slot} {}:{}", to.host, to.port),
                    None => not_served(strong, of, now),
                };
                self.fail(command, &text);
            }
            Route::Down(_) => {
                let text = not_served(strong, of, now);
                self.fail(command, &text);
            }
        }
        self.session.parked_since = None;
        Way::Done
    }

    /// EXEC gets the error as it is, as in Redis: its first word says what may be done.
    fn fail(&mut self, command: &Command, text: &str) {
        if command.is_exec() {
            self.end_transaction();
            return self.session.reply().error(text);
        }
        self.refuse(command, text);
    }

    /// Runs something on keys of one slot that is served here. What it writes to the session's replies waits.
    pub(in crate::node) fn run_at_master(
        &mut self,
        slot: u16,
        keys: &[&[u8]],
        writes: bool,
        run: impl FnOnce(&mut Turn<'_>) -> Vec<Bytes>,
    ) {
        let Some(strong) = self.server.strong.as_deref() else { return };
        let of = strong.partition(Partition(slot / SLOTS_EACH));
        let committed = self.show_open(of, keys, writes);
        let mark = self.session.replies.mark();
        let mut changed = run(self);
        changed.sort_unstable();
        changed.dedup();
        let reply = self.session.replies.take_since(mark);
        let changes: Vec<KeyChange> = changed
            .into_iter()
            .map(|key| KeyChange { state: copies::state(&self.data.store, &key), key })
            .collect();
        for (key, state) in &committed {
            copies::put(&mut self.data.store, &mut self.data.clock, key, state.as_ref());
        }
        let protocol = self.session.protocol;
        let asker = match self.for_node {
            Some((name, id)) => Asker::Node { name, id, writes: !changes.is_empty() },
            None => {
                let (conn, slot) = (self.session.conn, self.session.replies.defer());
                let wrote =
                    if changes.is_empty() { 0 } else { self.session.cluster.writes.begin() };
                Asker::Client { conn, slot, wrote }
            }
        };
        let now = self.now.mono;
        let session_reads = self.server.config.strong.read_consistency == ReadConsistency::Session;
        let Some(strong) = self.server.strong.as_deref_mut() else { return };
        let ticket = strong.ticket();
        strong.pending.insert(ticket, Pending { asker, reply, protocol, partition: of });
        let protocol = &mut strong.mesh.strong;
        if changes.is_empty() {
            protocol.read(of, ticket, !session_reads, now);
        } else {
            protocol.write(of, changes, Some(ticket), now);
            self.server.stats.units += 1;
        }
    }

    /// Puts the open state of keys into the store for the time of a command, and deletes those that are past their
    /// deadline by an entry. Returns what is committed of those that differ, or may be changed.
    fn show_open(
        &mut self,
        of: Partition,
        keys: &[&[u8]],
        writes: bool,
    ) -> Vec<(Bytes, Option<KeyState>)> {
        let clock = self.expiry_clock;
        let mut committed: Vec<(Bytes, Option<KeyState>)> = Vec::new();
        let mut expired = Vec::new();
        for &key in keys {
            if committed.iter().any(|(seen, _)| seen == key) {
                continue;
            }
            let Some(strong) = self.server.strong.as_deref() else { return committed };
            let open = strong.mesh.strong.open_state(of, key).cloned();
            let is_late = |deadline: Option<UnixMs>| deadline.is_some_and(|at| at <= clock);
            let stored = || copies::state(&self.data.store, key);
            if open.is_none() && !writes {
                // Most reads: nothing differs, unless its time is over.
                let due = match self.data.store.ttl(DbIndex(0), key, UnixMs(0)) {
                    crate::store::txn::Ttl::At(deadline) => is_late(Some(deadline)),
                    crate::store::txn::Ttl::NoKey | crate::store::txn::Ttl::NoExpiry => false,
                };
                if !due {
                    continue;
                }
            }
            let before = stored();
            let differs = open.is_some();
            let mut shown = open.unwrap_or_else(|| before.clone());
            let late = shown.as_ref().is_some_and(|state| is_late(state.deadline));
            let key = Bytes::copy_from_slice(key);
            if late {
                shown = None;
                expired.push(KeyChange { key: key.clone(), state: None });
            }
            if differs || late {
                copies::put(&mut self.data.store, &mut self.data.clock, &key, shown.as_ref());
            }
            committed.push((key, before));
        }
        if !expired.is_empty()
            && let Some(strong) = self.server.strong.as_deref_mut()
        {
            strong.mesh.strong.write(of, expired, None, self.now.mono);
        }
        committed
    }

    /// A command outside of a transaction.
    pub(in crate::node) fn run_alone_at_master(
        &mut self,
        command: (&'static Command, crate::command::DataHandler),
        args: Args<'_>,
        slot: u16,
    ) {
        let keys: Vec<&[u8]> =
            command.0.key_places(args.len()).map(|place| args.get(place)).collect();
        let writes = command.0.flags.has(Flags::WRITE);
        self.run_at_master(slot, &keys, writes, |turn| keys_of(turn.run_one(command, args)));
    }

    /// Runs a command on the store as it is; its reply goes to the session.
    fn run_one(
        &mut self,
        command: (&'static Command, crate::command::DataHandler),
        args: Args<'_>,
    ) -> Option<Unit> {
        let mut txn = Txn {
            gather: true,
            store: &mut self.data.store,
            clock: &mut self.data.clock,
            wall: self.wall,
            expiry_clock: self.expiry_clock,
            sight: UnixMs(0),
            shown: None,
            facts: &mut self.out.facts,
        };
        let with = (&self.server.config, &mut self.server.rng);
        run_data(command, args, DbIndex(0), with, &mut txn, self.session.reply());
        txn.finish()
    }

    /// A read that may be answered from what this node's copy has committed, possibly long ago: at once.
    pub(in crate::node) fn run_on_copy(
        &mut self,
        command: (&'static Command, crate::command::DataHandler),
        args: Args<'_>,
        slot: u16,
    ) {
        self.out.facts.sometimes("a read was answered from a copy");
        let mut committed = Vec::new();
        if self.server.config.mutants.has_strong(StrongMutant::CopyShowsOpen)
            && let Some(strong) = self.server.strong.as_deref()
        {
            let of = strong.partition(Partition(slot / SLOTS_EACH));
            for place in command.0.key_places(args.len()) {
                let key = args.get(place);
                let Some(open) = strong.mesh.strong.open_state(of, key) else { continue };
                committed.push((key, copies::state(&self.data.store, key)));
                copies::put(&mut self.data.store, &mut self.data.clock, key, open.as_ref());
            }
        }
        let unit = self.run_one(command, args);
        assert!(unit.is_none(), "a read changes nothing");
        for (key, state) in committed {
            copies::put(&mut self.data.store, &mut self.data.clock, key, state.as_ref());
        }
    }

    /// EXEC, whose commands have keys of this slot, unless a watched key has changed since.
    pub(in crate::node) fn execute_at_master(
        &mut self,
        transaction: &Transaction,
        slot: u16,
        watched: Option<(Place, Vec<Bytes>)>,
    ) {
        let Some(strong) = self.server.strong.as_deref() else { return };
        let of = strong.partition(Partition(slot / SLOTS_EACH));
        let unchanged =
            |(place, keys): &(Place, Vec<Bytes>)| strong.mesh.strong.is_unchanged(of, *place, keys);
        if !watched.as_ref().is_none_or(unchanged) {
            // What has changed it may be open: the answer waits for that.
            return self.run_at_master(slot, &[], false, |turn| {
                turn.session.reply().null_array();
                Vec::new()
            });
        }
        let mut keys: Vec<&[u8]> = Vec::new();
        for (command, args) in &transaction.queued {
            let args = args.args();
            keys.extend(command.key_places(args.len()).map(|place| args.get(place)));
        }
        self.run_at_master(slot, &keys, transaction.writes, |turn| {
            keys_of(turn.run_queued(transaction))
        });
    }
}

/// Whether a command belongs to active mode, or to what strong mode does not do yet.
fn is_of_active(what: SessionCommand) -> bool {
    matches!(
        what,
        SessionCommand::ReplicaOf
            | SessionCommand::Save
            | SessionCommand::BackgroundSave
            | SessionCommand::LastSave
            | SessionCommand::QuoratePeer
            | SessionCommand::QuorateClock
    )
}

/// The keys that a unit has changed.
fn keys_of(unit: Option<Unit>) -> Vec<Bytes> {
    unit.map_or_else(Vec::new, |unit| unit.changes.into_iter().map(|change| change.key).collect())
}
