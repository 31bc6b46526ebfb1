//! Strong mode at a node: its mesh and protocol beside the sessions, its records in the log, its copies in the store.

pub mod client;
pub mod cluster;
mod copies;
pub mod directives;
pub mod execute;
mod flush;
mod forward;
pub mod operator;
mod revive;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::active::Core;
use crate::base::checksum::partition_of;
use crate::base::clock::HybridClock;
use crate::base::ids::{ConnId, DialId, Lsn, Partition};
use crate::base::io::{Effect, Effects};
use crate::base::mutant::StrongMutant;
use crate::base::rng::Rng;
use crate::base::time::{Mono, Now, Span};
use crate::store::Store;
use crate::store::txn::Partitions;
use crate::strong::frame::BadFrame;
use crate::strong::image::Image;
use crate::strong::mesh::{Env, Mesh, MeshConfig};
use crate::strong::message::Durable;
use crate::strong::regime::VoterId;
use crate::strong::tail::KeyChange;
use crate::strong::{NodeName, Outcome, Roster, RosterNode, Strong, StrongConfig, Ticket};
use crate::wal::snapshot::Piece;
use crate::wal::{Record, SyncPolicy};
use crate::wire::reply::{Protocol, Reply};

use self::copies::StoreCopies;
use self::flush::Flushing;
use self::forward::Passed;
use super::Node;
use super::config::Config;
use super::replies::SlotId;

/// A write whose fate is not known: no client library sends it again by itself.
const IN_DOUBT: &str = "INDOUBT The write may or may not take effect: it was not confirmed in time";
const NOT_SERVED: &str = "CLUSTERDOWN Hash slot not served";

/// What a node in strong mode has beside all else.
#[derive(Debug)]
pub struct StrongNode {
    pub mesh: Mesh,
    /// Replies that wait for an outcome.
    pending: BTreeMap<Ticket, Pending>,
    next_ticket: u64,
    /// Sessions whose next command waits for a change of regime.
    parked: BTreeSet<ConnId>,
    /// The first of them has waited long enough then.
    parked_until: Option<Mono>,
    /// Commands that other nodes have, by number.
    passed: BTreeMap<u64, Passed>,
    next_passed: u64,
    /// Sessions whose next command waits for those.
    behind_passed: BTreeSet<ConnId>,
    flushes: BTreeMap<ConnId, Flushing>,
    /// Expired keys are not looked for before.
    sweep_from: Mono,
    /// The roster that RECLUSTER would propose.
    staged: Vec<RosterNode>,
    /// What was read from the log: the last life ended in order, or kept nothing back.
    complete: bool,
    /// The record read last.
    read: Lsn,
    /// A snapshot's end has not been read.
    torn: bool,
    /// What is written is told only when it is durable.
    always: bool,
    /// Records of the log that are not on the device, and how many of the protocol's stand up to there.
    unsynced: VecDeque<(Lsn, u64)>,
}

/// A reply that is complete and may not leave yet.
#[derive(Debug)]
struct Pending {
    asker: Asker,
    reply: BytesMut,
    protocol: Protocol,
    partition: Partition,
}

/// Who waits.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Asker {
    /// With the number of its write, or 0.
    Client { conn: ConnId, slot: SlotId, wrote: u64 },
    /// A client of another node, which has numbered it.
    Node { name: NodeName, id: u64, writes: bool },
    /// A part of a client's FLUSHALL.
    Flush { conn: ConnId },
}

impl Pending {
    fn of(asker: Asker, partition: Partition, reply: BytesMut) -> Pending {
        Pending { asker, reply, protocol: Protocol::Resp2, partition }
    }

    fn is_of(&self, conn: ConnId) -> bool {
        match self.asker {
            Asker::Client { conn: of, .. } | Asker::Flush { conn: of } => of == conn,
            Asker::Node { .. } => false,
        }
    }
}

impl StrongNode {
    pub fn new(config: &Config, seed: u64, now: Now) -> StrongNode {
        let settings = &config.strong;
        let name = settings.node.expect("a configuration of strong mode names its node");
        let interval = Span::from_ms(settings.heartbeat_interval_ms);
        let strong = StrongConfig {
            name,
            partitions: settings.partitions,
            heartbeat_interval: interval,
            heartbeat_timeout: Span(interval.0 * settings.heartbeat_timeout_intervals),
            write_timeout: Span::from_ms(settings.write_timeout_ms),
            mutants: config.mutants,
        };
        let voter = VoterId::of(config.identity.node_id);
        let strong = Strong::new(strong, voter, Rng::fork(seed, "strong"));
        let announce_port =
            if settings.announce_port == 0 { config.port } else { settings.announce_port };
        let mesh = MeshConfig {
            cluster_name: settings.cluster_name.clone(),
            rack: settings.rack,
            seeds: settings.seeds.clone(),
            announce_host: settings.announce_ip.clone(),
            announce_port,
            masteruser: config.masteruser.clone(),
            masterauth: config.masterauth.clone(),
        };
        StrongNode {
            mesh: Mesh::new(strong, mesh, now.mono),
            pending: BTreeMap::new(),
            next_ticket: 1,
            parked: BTreeSet::new(),
            parked_until: None,
            passed: BTreeMap::new(),
            // (No answer to an earlier life is taken for one to this.)
            next_passed: Rng::fork(seed, "passed").next_u64() >> 1,
            behind_passed: BTreeSet::new(),
            flushes: BTreeMap::new(),
            sweep_from: now.mono,
            staged: Vec::new(),
            complete: true,
            read: Lsn(0),
            torn: false,
            always: false,
            unsynced: VecDeque::new(),
        }
    }

    /// Partition of the protocol for one of the store's.
    pub fn partition(&self, of: Partition) -> Partition {
        let each = crate::base::ids::PARTITION_COUNT / self.mesh.strong.partition_count();
        Partition(of.0 / each)
    }

    /// The store's partitions that this node serves.
    pub fn served(&self) -> Partitions {
        Partitions::of(|of| self.mesh.strong.serves(self.partition(of)))
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }

    fn park(&mut self, conn: ConnId, until: Mono) {
        self.parked.insert(conn);
        self.parked_until = Some(self.parked_until.map_or(until, |first| first.min(until)));
    }

    /// The session is gone: nobody waits for its replies.
    pub fn forget(&mut self, conn: ConnId) {
        self.parked.remove(&conn);
        self.behind_passed.remove(&conn);
        self.flushes.remove(&conn);
        self.passed.retain(|_, passed| !passed.is_of(conn));
        self.pending.retain(|_, pending| !pending.is_of(conn));
    }

    /// What a start finds in the log.
    ///
    /// # Errors
    /// The record is none that this version knows.
    pub fn recover(&mut self, contents: &Bytes, core: &mut Core<'_>) -> Result<(), BadFrame> {
        let record = Durable::from_bytes(contents)?;
        let lsn = self.read;
        self.complete = match record {
            Durable::Start { always, .. } => always,
            Durable::Stopped => true,
            Durable::Roster { .. }
            | Durable::RosterHeld
            | Durable::Decided { .. }
            | Durable::CouncilPromise { .. }
            | Durable::CouncilAccept { .. }
            | Durable::Amnesiac
            | Durable::Seen { .. }
            | Durable::SeenMore { .. }
            | Durable::Promise { .. }
            | Durable::Accept { .. }
            | Durable::Chosen { .. }
            | Durable::Entry { .. }
            | Durable::Committed { .. }
            | Durable::Truncate { .. }
            | Durable::Whole { .. }
            | Durable::Intact { .. }
            | Durable::Dropped { .. }
            | Durable::NewVoter { .. } => self.complete,
        };
        let shift = copies::shift(self.mesh.strong.partition_count());
        let mut copies = StoreCopies { store: core.store, clock: core.clock, shift };
        self.mesh.strong.recover(record, lsn, &mut copies);
        Ok(())
    }

    /// A record of the log comes next, whatever it is.
    pub fn reads_record(&mut self) {
        self.read = self.read.next();
    }

    /// What a start finds in the snapshot.
    ///
    /// # Errors
    /// It is no piece of a snapshot, or of another cluster's shape.
    pub fn restore(
        &mut self,
        lsn: Lsn,
        contents: &[u8],
        core: &mut Core<'_>,
    ) -> Result<(), BadFrame> {
        let image = Image::from_bytes(contents)?;
        match &image {
            Image::Node(node) => {
                self.complete = node.always;
                // The next record is the first that it does not stand for.
                self.read = Lsn(lsn.0 - 1);
                self.torn = true;
            }
            Image::Part(_) => {}
            Image::End => self.torn = false,
        }
        let shift = copies::shift(self.mesh.strong.partition_count());
        let mut copies = StoreCopies { store: core.store, clock: core.clock, shift };
        self.mesh.strong.restore(image, lsn, &mut copies)
    }

    /// Whether a snapshot was begun and has no end.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// The first piece of a snapshot that stands for all records before `lsn`.
    pub fn snapshot_begins(&self, lsn: Lsn) -> Piece {
        let contents = self.mesh.strong.node_image(self.always).to_bytes();
        Piece::Strong { lsn, contents }
    }

    /// Partitions from `from` on, as they are now that the record `lsn` was written: about so many bytes of them. And where
    /// to go on; with the last the end.
    pub fn snapshot_parts(
        &mut self,
        from: u16,
        budget_bytes: usize,
        lsn: Lsn,
        store: &mut Store,
        clock: &mut HybridClock,
    ) -> (Vec<Piece>, Option<u16>) {
        let count = self.mesh.strong.partition_count();
        let copies = StoreCopies { store, clock, shift: copies::shift(count) };
        let (mut pieces, mut bytes, mut at) = (Vec::new(), 0, from);
        while at < count && bytes < budget_bytes {
            let contents = self.mesh.strong.part_image(Partition(at), &copies).to_bytes();
            bytes += contents.len();
            pieces.push(Piece::Strong { lsn, contents });
            at += 1;
        }
        if at < count {
            return (pieces, Some(at));
        }
        pieces.push(Piece::Strong { lsn, contents: Image::End.to_bytes() });
        (pieces, None)
    }

    /// The log is read.
    pub fn begin(&mut self, policy: SyncPolicy, now: Mono) {
        self.always = policy == SyncPolicy::Always;
        self.mesh.begin(!self.complete, self.always, now);
    }

    /// All that the protocol has made so far stands in the log, up to `last`.
    fn note_written(&mut self, last: Lsn) {
        let made = self.mesh.strong.made();
        if self.unsynced.back().is_none_or(|back| back.1 < made) {
            self.unsynced.push_back((last, made));
        }
    }

    /// Up to `through` the log is on the device.
    pub fn on_synced(&mut self, through: Lsn) {
        let mut made = None;
        while let Some(front) = self.unsynced.front().filter(|front| front.0 <= through) {
            made = Some(front.1);
            self.unsynced.pop_front();
        }
        if let Some(made) = made {
            self.mesh.strong.on_durable(made);
        }
    }

    /// Makes a roster of what is staged, with this node's replication factor; or the one in force, if nothing is staged.
    fn proposal(&self, config: &Config) -> Result<Roster, String> {
        if self.staged.is_empty() {
            // Of the roster in force: new disks of its nodes are admitted.
            let in_force = self.mesh.strong.standing().map(|standing| standing.now.roster.clone());
            let none = || "no roster is staged: see QUORATE ROSTER STAGE".to_owned();
            return in_force.ok_or_else(none);
        }
        Roster::new(self.staged.clone(), config.strong.replication_factor)
            .map_err(|error| error.to_string())
    }
}

/// What the protocol works with: the core's, and its copies in the store.
fn with_env<T>(
    strong: &mut StrongNode,
    core: &mut Core<'_>,
    call: impl FnOnce(&mut Mesh, &mut Env<'_>) -> T,
) -> T {
    let shift = copies::shift(strong.mesh.strong.partition_count());
    let mut copies = StoreCopies { store: core.store, clock: core.clock, shift };
    let mut env = Env { now: core.now.mono, copies: &mut copies, out: core.out };
    call(&mut strong.mesh, &mut env)
}

impl Node {
    /// Calls the mesh, if there is one.
    pub(super) fn with_mesh<T>(
        &mut self,
        now: Now,
        out: &mut Effects,
        call: impl FnOnce(&mut Mesh, &mut Env<'_>) -> T,
    ) -> Option<T> {
        let (server, mut core) = self.core(now, out);
        let strong = server.strong.as_deref_mut()?;
        let result = with_env(strong, &mut core, call);
        self.on_requests(now, out);
        Some(result)
    }

    pub(super) fn mesh_owns(&self, conn: ConnId) -> bool {
        self.server.strong.as_ref().is_some_and(|strong| strong.mesh.owns(conn))
    }

    pub(super) fn mesh_dialed(
        &mut self,
        now: Now,
        conn: ConnId,
        dial: DialId,
        out: &mut Effects,
    ) -> bool {
        self.with_mesh(now, out, |mesh, env| mesh.on_dialed(conn, dial, env)).unwrap_or(false)
    }

    /// End of a batch: what was decided is written down, what was said leaves, and clients get what they wait for.
    pub(super) fn flush_strong(&mut self, now: Now, out: &mut Effects) {
        if self.server.strong.is_none() {
            return;
        }
        // What comes of outcomes, an answer to another node or the rest of a FLUSHALL, leaves with the same batch.
        while self.flush_strong_once(now, out) {}
        self.unpark(now.mono, out);
        self.wake_waiting(now, out);
    }

    /// True if something is to follow.
    fn flush_strong_once(&mut self, now: Now, out: &mut Effects) -> bool {
        self.flush_on(now, out);
        self.with_mesh(now, out, |mesh, env| mesh.work(env));
        let Some(strong) = self.server.strong.as_deref_mut() else { return false };
        for record in strong.mesh.strong.take_records() {
            let forgets = self.server.config.mutants.has_strong(StrongMutant::PromiseNotDurable)
                && matches!(record, Durable::Promise { .. });
            let first = record.comes_first() && !forgets;
            self.data.journal.put(&Record::Strong(record.to_bytes()));
            if first {
                self.data.journal.barrier();
            }
        }
        self.flush_journal(now, out);
        let Some(strong) = self.server.strong.as_deref_mut() else { return false };
        if strong.always {
            strong.note_written(self.data.journal.last());
        }
        strong.mesh.send(out);
        let outcomes = strong.mesh.strong.take_outcomes();
        let mut follows = false;
        for outcome in outcomes {
            follows |= self.on_outcome(now, outcome);
        }
        follows
    }

    /// Deletes keys of partitions that this node serves once their time is over, a bounded number at once.
    pub(super) fn delete_expired(&mut self, now: Now) {
        let clock = self.server.active.expiry_clock(now);
        let Some(strong) = self.server.strong.as_deref_mut() else { return };
        if now.mono < strong.sweep_from {
            return;
        }
        strong.sweep_from = now.mono + self.server.config.limits.sweep_period;
        for key in self.data.store.due_keys(clock, self.server.config.limits.sweep_keys_max) {
            let of = strong.partition(partition_of(&key));
            let protocol = &mut strong.mesh.strong;
            if self.server.config.mutants.has_strong(StrongMutant::ExpiredByReplica)
                && !protocol.serves(of)
            {
                copies::put(&mut self.data.store, &mut self.data.clock, &key, None);
            }
            // (What an open entry has made of it is looked at when that is committed.)
            if protocol.serves(of) && protocol.open_state(of, &key).is_none() {
                protocol.write(of, vec![KeyChange { key, state: None }], None, now.mono);
            }
        }
    }

    /// True if something is to leave, or to be done, because of it, other than a client's reply.
    fn on_outcome(&mut self, now: Now, outcome: Outcome) -> bool {
        let Some(strong) = self.server.strong.as_deref_mut() else { return false };
        let (Outcome::Done(ticket) | Outcome::Refused(ticket) | Outcome::InDoubt(ticket)) = outcome;
        let Some(pending) = strong.pending.remove(&ticket) else { return false };
        let Pending { asker, mut reply, protocol, partition } = pending;
        let copies = match outcome {
            Outcome::Done(_) => Some(strong.mesh.strong.copies(partition) as u64),
            Outcome::Refused(_) | Outcome::InDoubt(_) => None,
        };
        let (conn, slot, wrote) = match asker {
            Asker::Client { conn, slot, wrote } => (conn, slot, wrote),
            Asker::Node { name, id, writes } => {
                let copies = copies.unwrap_or_default();
                strong.answer_node((name, id), outcome, reply.freeze(), copies, writes);
                return true;
            }
            Asker::Flush { conn } => {
                if let Some(flush) = strong.flushes.get_mut(&conn) {
                    flush.on_entry(copies.is_some());
                }
                return true;
            }
        };
        let error = match outcome {
            Outcome::Done(_) => None,
            Outcome::Refused(_) => Some(not_served(strong, partition, now.mono)),
            Outcome::InDoubt(_) => Some(IN_DOUBT.to_owned()),
        };
        if let Some(error) = error {
            reply.clear();
            Reply::new(&mut reply, protocol).error(&error);
        }
        let Some(session) = self.sessions.get_mut(conn) else { return false };
        session.cluster.writes.end(wrote, partition, copies);
        session.replies.fill(slot, reply);
        Node::list(&mut self.listed, session);
        false
    }

    /// The process ends: whoever waits for a write is told that its fate is not known, and gets no closed connection in
    /// place of an answer, after which client libraries would send it again.
    pub(super) fn doubt_all(&mut self, now: Now, out: &mut Effects) {
        self.give_up_all_passed(out);
        let Some(strong) = self.server.strong.as_deref_mut() else { return };
        strong.flushes.values_mut().for_each(|flush| flush.doubt = true);
        let tickets: Vec<Ticket> = strong.pending.keys().copied().collect();
        for ticket in tickets {
            self.on_outcome(now, Outcome::InDoubt(ticket));
        }
    }

    /// Sessions whose command waited for a change of regime try again; one that has waited too long is told so then.
    fn unpark(&mut self, now: Mono, out: &mut Effects) {
        let Some(strong) = self.server.strong.as_deref_mut() else { return };
        let is_over = strong.parked_until.is_some_and(|until| until <= now);
        if strong.parked.is_empty() || !(strong.mesh.strong.take_news() || is_over) {
            return;
        }
        strong.parked_until = None;
        for conn in core::mem::take(&mut strong.parked) {
            if let Some(session) = self.sessions.get_mut(conn) {
                session.is_postponed = false;
                out.push(Effect::PauseReads { conn, paused: false });
            }
        }
    }
}

/// What a client is told of a partition that nobody is known to serve: certainly no effect.
fn not_served(strong: &StrongNode, of: Partition, now: Mono) -> String {
    use crate::strong::{Reason, Route};
    let reason = match strong.mesh.strong.route(of, now) {
        Route::Here | Route::Wait | Route::Moved(_) => "its master has changed",
        Route::Down(Reason::NoRoster) => "no roster is set",
        Route::Down(Reason::NoQuorum) => "this node hears no quorum for it",
        Route::Down(Reason::NoMaster) => "no node serves it",
        Route::Down(Reason::Blocked) => {
            "too few of its voters have their disks: an operator can revive it"
        }
        Route::Down(Reason::Dead) => "dead: no intact copy is left; an operator can revive it",
    };
    format!("{NOT_SERVED}: partition {}, {reason}", of.0)
}
