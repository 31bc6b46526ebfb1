//! Floor 2: active mode. Every node takes writes; units flow over links from masters to replicas; vectors
//! say who has what; the newest stamp wins everywhere.

mod adopt;
mod check;
mod config;
mod dial;
mod durable;
mod floors;
mod greet;
mod inbound;
mod log;
mod member;
mod moving;
mod others;
mod outbound;
mod paused;
mod peer;
mod replace;
mod replay;
mod report;
mod skew;
mod strays;
mod timers;

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;

use crate::base::fact::{Fact, LogLevel};
use crate::base::ids::{ConnId, DialId, Epoch, NodeId, Origin, RunId};
use crate::base::io::{CloseReason, Effect, Past};
use crate::base::mutant::{Mutant, Mutants};
use crate::base::rng::Rng;
use crate::base::stamp::Stamp;
use crate::base::time::{Mono, Now, Span, UnixMs, Wall};
use crate::base::unit::Unit;
use crate::base::vector::Vector;
use crate::wire::frame::{Frame, Heartbeat, Record};
use crate::wire::news::{News, Telling};

use self::dial::Master;
use self::durable::Durable;
use self::log::{Log, is_append};
use self::member::Members;
use self::peer::{Peer, Peers, Side};
use self::skew::SkewedClock;

pub use self::config::{ActiveConfig, ActiveSetting, Core, Life, ReplicaOf, ReplicaOfError};
pub use self::greet::PeerError;
pub use self::replay::{NoSnapshot, Replay};
pub use self::report::RoleReport;

/// The state of replication.
#[derive(Debug)]
pub struct Active {
    config: ActiveConfig,
    mutants: Mutants,
    life: Life,
    rng: Rng,
    /// What this node has of every origin; the own entry is the clock's.
    vector: Vector,
    log: Log,
    members: Members,
    skew: SkewedClock,
    masters: Vec<Master>,
    peers: Peers,
    next_master: u64,
    next_dial: u64,
    next_heartbeat: Mono,
    next_sweep: Mono,
    /// A state transfer has more to look at as soon as possible.
    busy: bool,
    /// Some horizon work is left over.
    collecting: bool,
    /// Newest stamp time met of each origin that was found too far ahead.
    far_ahead: BTreeMap<Origin, u64>,
    /// Origins let in by QUORATE CLOCK ACCEPT.
    accepted: BTreeSet<Origin>,
    /// A plain replica that has to take its master's whole data at the next handshake.
    needs_whole: bool,
    /// Nobody else has, or is about to get, anything: nothing is logged.
    alone: bool,
    /// Nobody has ever had anything of this life.
    met_nobody: bool,
    /// The origins this life has gone by before its present one.
    past_origins: Vec<Origin>,
    /// What this life had of whom when it learned that others may have collected: they may refuse it.
    brought: Vector,
    /// Of whom cells may be held that the vector does not cover.
    strays: BTreeSet<Origin>,
    units_taken: u64,
    /// Cells merged from transfers.
    cells_taken: u64,
    resyncs_complete: u64,
    /// As many as there were at the last sweep.
    resyncs_seen: u64,
    transfers_begun: u64,
    telling: Telling,
    /// A connection has ended since [`Active::take_loss`].
    lost: bool,
    /// Something has happened since the end of the last batch that may give links something to say.
    stirred: bool,
    /// A link has something to say that its window had no room for.
    waits_for_room: bool,
    /// What may be announced of a log that is not on the device as a whole.
    durable: Durable,
    /// The lives before were not alone, by what the log says.
    has_met: bool,
    /// What the log that this life has read covered; none if nothing was read, or it is known to be older than what was
    /// announced: then everything held has to be confirmed by a transfer of everything.
    read: Option<Vector>,
    is_log_older: bool,
    /// The last lives in the log, of which it says that they met nobody.
    unmet: Vec<(Epoch, Origin)>,
    /// The origins of the lives in the log, oldest first, if nobody has met any of them.
    unseen: Vec<Origin>,
    /// The log holds everything since the node's first life, and nobody has met it.
    is_unbroken: bool,
    /// The life in which the log began, and the own origins since, oldest first.
    first_epoch: Epoch,
    lives: Vec<Origin>,
}

impl Active {
    /// `past` is what the lives before have left.
    pub fn new(
        config: ActiveConfig,
        life: Life,
        past: &Past,
        rng: Rng,
        core: &mut Core<'_>,
    ) -> Active {
        let mutants = config.mutants;
        // What is written from now on lies above whatever anybody may have collected counting on an earlier life.
        core.clock.advance(past.horizon);
        if !mutants.has(Mutant::HorizonNotInherited) {
            core.store.inherit(past.horizon);
        }
        let mut active = Active {
            mutants,
            life,
            rng,
            vector: Vector::new(),
            log: Log::new(config.backlog_bytes, config.limits.replica_bytes_max as u64),
            members: Members::new(
                Record {
                    node: life.node,
                    run: life.run,
                    epoch: life.epoch,
                    origin: life.origin,
                    seq: 1,
                    brings: true,
                    met_all: false,
                    vector: Vector::new(),
                    clock: UnixMs(0),
                    announced_to: Vec::new(),
                    joined: false,
                    collected: 0,
                    lists: vec![(life.node, life.origin)],
                },
                past,
            ),
            skew: SkewedClock::new(config.max_clock_skew_ms),
            masters: Vec::new(),
            peers: Peers::default(),
            next_master: 0,
            next_dial: 0,
            next_heartbeat: core.now.mono + config.limits.ping_period,
            next_sweep: core.now.mono + config.limits.sweep_period,
            busy: false,
            collecting: false,
            far_ahead: BTreeMap::new(),
            accepted: BTreeSet::new(),
            needs_whole: true,
            alone: true,
            met_nobody: true,
            past_origins: Vec::new(),
            brought: Vector::new(),
            strays: BTreeSet::new(),
            units_taken: 0,
            cells_taken: 0,
            resyncs_complete: 0,
            resyncs_seen: 0,
            transfers_begun: 0,
            telling: Telling::default(),
            lost: false,
            stirred: false,
            waits_for_room: false,
            durable: Durable::default(),
            has_met: false,
            read: None,
            is_log_older: false,
            unmet: Vec::new(),
            unseen: Vec::new(),
            is_unbroken: false,
            first_epoch: life.epoch,
            lives: vec![life.origin],
            config,
        };
        for to in core::mem::take(&mut active.config.replicaof) {
            active.add_master(to, core);
        }
        active.members.set_brings(!active.is_plain());
        active.alone = active.is_alone();
        core.store.set_alone(active.alone);
        active
    }

    // ----- what the node tells ---------------------------------------------------------------

    /// A local client's command made a unit: it enters the log. `conn` is the client's.
    pub fn on_local_unit(&mut self, unit: Unit, conn: Option<ConnId>, core: &mut Core<'_>) {
        let dot = unit.dot;
        let before = &self.vector;
        core.out.fact(|| Fact::UnitIssued { conn, unit: unit.clone(), vector: before.clone() });
        self.vector.raise(dot.origin, dot.time);
        core.journal.unit(&unit);
        if self.is_alone() {
            return;
        }
        let lost = self.mutants.has(Mutant::AppendNotReplicated) && is_append(&unit);
        if !lost {
            self.log.append_unit(&unit);
        }
    }

    /// A connection that was opened at this node's request. False if nobody asked for it (any more).
    pub fn on_dialed(&mut self, conn: ConnId, dial: DialId, core: &mut Core<'_>) -> bool {
        self.on_dial_answered(conn, dial, core)
    }

    /// Bytes arrived on a connection that [`Active::owns`].
    pub fn on_bytes(&mut self, conn: ConnId, buf: &mut BytesMut, core: &mut Core<'_>) {
        let Some(mut peer) = self.peers.remove(conn) else {
            buf.clear();
            return;
        };
        peer.last_heard = core.now.mono;
        while !peer.closing {
            let more = match peer.side {
                Side::Greeting { stage: peer::Greeting::Greeted, .. }
                | Side::Guest
                | Side::Replica(_)
                | Side::Master { .. } => self.on_frame_bytes(&mut peer, buf, core),
                Side::Greeting { .. } => self.on_greeting_bytes(&mut peer, buf, core),
            };
            if !more {
                break;
            }
        }
        self.put_back(peer, core);
    }

    /// Puts a connection back into the table, or closes it.
    fn put_back(&mut self, mut peer: Box<Peer>, core: &mut Core<'_>) {
        if peer.closing {
            peer.flush(core.out);
            core.out.push(Effect::Close { conn: peer.conn });
            self.on_peer_gone(peer, core);
        } else {
            self.peers.insert(peer);
        }
    }

    fn on_frame_bytes(&mut self, peer: &mut Peer, buf: &mut BytesMut, core: &mut Core<'_>) -> bool {
        if buf.is_empty() {
            return false;
        }
        let limits = &self.config.limits;
        let known = peer.node.is_some();
        let bytes_max = if known { limits.frame_bytes_max } else { limits.hello_bytes_max };
        match Frame::decode(buf, bytes_max, &mut peer.heard) {
            Ok(Some(frame)) => {
                self.on_frame(peer, frame, core);
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.on_frame_error(peer, error, core);
                buf.clear();
                false
            }
        }
    }

    fn on_frame(&mut self, peer: &mut Peer, frame: Frame, core: &mut Core<'_>) {
        let greets = matches!(frame, Frame::Refuse(_) | Frame::Hello(_));
        if !greets && !peer.is_established() {
            let text = format!("{} sent frames before its hello", self.name_of(peer));
            core.out.facts.log(LogLevel::Warning, text);
            peer.closing = true;
            return;
        }
        match frame {
            // A stranger has nothing to refuse: this side has not said hello.
            Frame::Refuse(_) if !peer.has_said_hello() => peer.closing = true,
            Frame::Refuse(why) => self.on_refused(peer, &why, core),
            Frame::Hello(hello) => self.on_hello(peer, &hello, core),
            Frame::Ack(vector) => self.on_ack(peer, vector, core),
            Frame::ResyncRequest { presented, whole } => {
                self.on_resync_request(peer, presented, whole, core);
            }
            Frame::Heartbeat(heartbeat) => self.on_heartbeat(peer, heartbeat, core),
            Frame::Unit(_)
            | Frame::Barrier(_)
            | Frame::StateBegin { .. }
            | Frame::StateChunk(_)
            | Frame::StateEnd => self.on_stream_frame(peer, frame, core),
        }
    }

    fn on_heartbeat(&mut self, peer: &mut Peer, heartbeat: Heartbeat, core: &mut Core<'_>) {
        let Some(node) = peer.node else { return };
        let Heartbeat { pulse, news } = heartbeat;
        let News { vector: theirs, members } = &*news;
        peer.echo = Some((pulse.sent, core.now.mono));
        if let Some((sent, held)) = pulse.echo {
            // Sent there, held there, sent back: what was long on its way says little of the clock.
            let trip = Span(core.now.mono.since(sent).0.saturating_sub(held.0));
            if trip <= self.config.limits.ping_period {
                let wall = Wall(pulse.wall.0.saturating_add(trip.0 / 2000));
                self.on_peer_wall(node.node, wall, core);
            } else {
                core.out.facts.sometimes("a heartbeat was too long on its way to tell the time");
            }
        }
        match &mut peer.side {
            Side::Replica(outbound) => outbound.on_ack(theirs, node.origin, &self.log),
            Side::Master { .. } => {
                if pulse.caught_up || self.mutants.has(Mutant::HeartbeatVectorTrusted) {
                    self.on_stream_caught_up(peer, theirs, core);
                }
                self.resume_paused(peer, core);
            }
            Side::Guest | Side::Greeting { .. } => {}
        }
        // First what the stream brought, then the announcements that may be covered by it.
        self.members.settle(&self.vector);
        for record in members {
            self.learn(record, core);
        }
        self.members.settle(&self.vector);
        if let Side::Master { .. } = &peer.side
            && self.is_plain()
        {
            self.compare_with_master(peer, theirs, core);
        }
    }

    fn learn(&mut self, record: &Record, core: &mut Core<'_>) {
        if record.node == self.life.node && record.run != self.life.run {
            if record.epoch >= self.life.epoch {
                core.out.facts.sometimes("another life of this node is about");
                if record.epoch > self.life.epoch {
                    core.out.facts.log(
                        LogLevel::Warning,
                        "another process goes by this node's id (copied data directory?)",
                    );
                }
            }
            return;
        }
        let &Record { node, run, epoch, origin, .. } = record;
        match self.members.learn(record) {
            member::Learned::NewOrigin => {
                core.out.fact(|| Fact::MemberSeen { node, origin, epoch });
                self.durable.forget();
                self.close_past_lives(node, run, core);
                self.note_company(core);
            }
            member::Learned::Newer | member::Learned::Nothing => {}
        }
    }

    /// A node's newer life is known: nothing more is taken from an earlier one. What it has brought
    /// anywhere is then in what the members announce from now on.
    fn close_past_lives(&mut self, node: NodeId, run: RunId, core: &mut Core<'_>) {
        let past = |peer: &&Peer| peer.node.is_some_and(|n| n.node == node && n.run != run);
        let conns: Vec<ConnId> = self.peers.iter().filter(past).map(|peer| peer.conn).collect();
        for conn in conns {
            core.out.facts.sometimes("links of a node's past life were closed");
            self.close_peer(conn, core);
        }
    }

    fn on_peer_wall(&mut self, node: NodeId, wall: Wall, core: &mut Core<'_>) {
        if self.skew.heard(core.now, node, wall) {
            let offset_ms = self.skew.correction_ms(core.now);
            core.out.facts.sometimes("the own clock was found ahead of the peers'");
            core.out.fact(|| Fact::ClockCorrected { offset_ms });
            let text = if offset_ms > 0 {
                format!("the clock is {offset_ms} ms ahead of the peers': stamps follow theirs")
            } else {
                "the clock agrees with the peers' again: stamps follow it".to_owned()
            };
            core.out.facts.log(LogLevel::Warning, text);
        }
    }

    pub fn on_drained(&mut self, conn: ConnId, bytes: u64, _core: &mut Core<'_>) {
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.on_drained(bytes);
        }
    }

    pub fn on_closed(&mut self, conn: ConnId, _why: CloseReason, core: &mut Core<'_>) {
        if let Some(peer) = self.peers.remove(conn) {
            self.on_peer_gone(peer, core);
        }
    }

    /// A connection has ended, or is about to.
    fn on_peer_gone(&mut self, mut peer: Box<Peer>, core: &mut Core<'_>) {
        self.lost = true;
        self.on_stream_end(&mut peer, core);
        if let Some(node) = peer.node {
            let linked = self.peers.iter().any(|p| p.node.is_some_and(|n| n.node == node.node));
            if !linked {
                self.skew.forget(node.node);
            }
        }
        self.on_master_gone(&peer, core);
    }

    // ----- settings --------------------------------------------------------------------------

    pub fn replicaof(
        &mut self,
        change: ReplicaOf,
        core: &mut Core<'_>,
    ) -> Result<(), ReplicaOfError> {
        let plain_before = self.is_plain();
        match change {
            ReplicaOf::Add(to) => {
                if self.masters.iter().any(|master| master.to == to) {
                    return Err(ReplicaOfError::Already);
                }
                if !(self.config.multi_master && self.config.active_replica) {
                    self.remove_masters(|_| true, core);
                }
                self.add_master(to, core);
            }
            ReplicaOf::NoOne => {
                self.remove_masters(|_| true, core);
                if !plain_before {
                    // Whoever says so does not wait for members of an earlier life either.
                    self.members.forget_past();
                }
            }
            ReplicaOf::Remove(to) => {
                if !self.masters.iter().any(|master| master.to == to) {
                    return Err(ReplicaOfError::Unknown);
                }
                self.remove_masters(|master| master.to == to, core);
            }
        }
        if plain_before != self.is_plain() {
            // What a plain replica wrote of its own nobody else will get: the origin is closed.
            core.out.facts.sometimes("a plain replica became a master or the reverse");
            self.needs_whole = true;
            self.become_epoch(Epoch(self.life.epoch.0 + 1), core);
            self.members.set_brings(!self.is_plain());
        }
        self.note_company(core);
        Ok(())
    }

    pub fn set(&mut self, setting: ActiveSetting) {
        match setting {
            ActiveSetting::MasterUser(user) => self.config.masteruser = user,
            ActiveSetting::MasterAuth(password) => self.config.masterauth = password,
            ActiveSetting::BacklogBytes(bytes) => self.log.set_bytes_max(bytes),
            ActiveSetting::ReplTimeout(span) => self.config.repl_timeout = span,
            ActiveSetting::MaxClockSkewMs(ms) => self.skew.set_max_skew_ms(ms),
            ActiveSetting::ReplicaReadOnly(read_only) => self.config.replica_read_only = read_only,
        }
    }

    /// QUORATE CLOCK ACCEPT: what this origin stamps is let in, however far ahead. False if it is not paused.
    pub fn accept_origin(&mut self, origin: Origin, core: &mut Core<'_>) -> bool {
        if !self.far_ahead.contains_key(&origin) {
            return false;
        }
        self.accepted.insert(origin);
        self.next_sweep = core.now.mono;
        true
    }

    // ----- what the node asks ----------------------------------------------------------------

    /// The wall clock that stamps follow.
    pub fn wall(&self, now: Now) -> UnixMs {
        self.skew.wall(now).ms()
    }

    /// The expiry clock; never steps back.
    pub fn expiry_clock(&mut self, now: Now) -> UnixMs {
        self.skew.expiry(now)
    }

    /// The expiry clock, looked at only.
    pub fn expiry_clock_at(&self, now: Now) -> UnixMs {
        self.skew.expiry_at(now)
    }

    /// Whether anybody takes units: members, configured masters, listeners to facts.
    pub fn gathers(&self, core_facts_on: bool) -> bool {
        core_facts_on || !self.is_alone()
    }

    /// Nobody else has, or is about to get, anything of this node.
    fn is_alone(&self) -> bool {
        self.members.is_alone() && self.masters.is_empty() && !self.has_met
    }

    /// A replica that takes its masters' data and brings nothing.
    fn is_plain(&self) -> bool {
        !self.masters.is_empty() && !self.config.active_replica
    }

    /// Whether clients' writes are refused.
    pub fn is_read_only_replica(&self) -> bool {
        self.is_plain() && self.config.replica_read_only
    }

    /// How many nodes have acknowledged the unit with this dot.
    pub fn replicas_acked(&self, dot: Stamp) -> usize {
        let acked = |peer: &&Peer| match &peer.side {
            Side::Replica(outbound) => outbound.acked.covers(dot),
            Side::Guest | Side::Greeting { .. } | Side::Master { .. } => false,
        };
        let nodes: BTreeSet<NodeId> =
            self.peers.iter().filter(acked).filter_map(|p| p.node).map(|n| n.node).collect();
        nodes.len()
    }

    pub fn owns(&self, conn: ConnId) -> bool {
        self.peers.get(conn).is_some()
    }

    /// Something has happened: the end of the batch has to look at all links. Not to be called for bytes
    /// that have been written out.
    pub fn stir(&mut self) {
        self.stirred = true;
    }

    /// Whether any connection has ended since the last call.
    pub fn take_loss(&mut self) -> bool {
        core::mem::take(&mut self.lost)
    }

    /// Units of others, and cells of their state, applied in this life.
    pub fn changes_taken(&self) -> u64 {
        self.units_taken + self.cells_taken
    }

    pub fn vector(&self) -> &Vector {
        &self.vector
    }

    pub fn backlog_bytes(&self) -> u64 {
        self.log.bytes()
    }

    pub fn masters(&self) -> usize {
        self.masters.len()
    }

    /// Masters whose stream is up and not in a resync.
    pub fn masters_up(&self) -> usize {
        self.masters.iter().filter(|master| self.is_streaming(master)).count()
    }

    pub fn paused(&self) -> Vec<Origin> {
        let paused: BTreeSet<Origin> = self
            .peers
            .iter()
            .filter_map(|peer| match &peer.side {
                Side::Master { inbound, .. } => Some(inbound.paused_origins()),
                Side::Guest | Side::Replica(_) | Side::Greeting { .. } => None,
            })
            .flatten()
            .collect();
        paused.into_iter().collect()
    }
}
