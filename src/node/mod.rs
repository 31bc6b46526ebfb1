//! Floor 3: the node: sessions, dispatch, timers, INFO.

pub mod config;
mod config_command;
mod connection;
pub mod directive;
mod dispatch;
mod dump;
mod encodings;
mod hold;
mod info;
mod inspect;
pub mod io;
mod output;
mod recovery;
mod replication;
mod replies;
pub mod save_points;
mod server;
mod session;
mod sessions;
mod shutdown;
mod snapshot;
pub mod strong;
#[cfg(test)]
mod tests;
mod timers;
mod transaction;
mod watch;

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::BytesMut;

use crate::active::{Active, ActiveConfig, Core, Life};
use crate::base::clock::HybridClock;
use crate::base::ids::{ConnId, Origin, RunId};
use crate::base::io::{CloseReason, ConnOrigin, Effect, Effects, HostStats, Input};
use crate::base::rng::Rng;
use crate::base::stamp::Stamp;
use crate::base::time::{Mono, Now, Span, UnixMs};
use crate::store::{Store, StoreConfig};
use crate::wal::Journal;

use self::config::Config;
use self::hold::Hold;
use self::server::{Server, Stats};
use self::session::{Session, State};
use self::sessions::Sessions;
use self::snapshot::{Snapshots, Target};
use self::strong::StrongNode;
use self::strong::directives::ReadConsistency;
use self::watch::WatchTable;

pub use self::inspect::{Inspection, VisibleKey};

/// The version of Redis whose replies and errors are given.
pub const REDIS_VERSION: &str = "7.2.4";

const MAX_CLIENTS_REACHED: &[u8] = b"-ERR max number of clients reached\r\n";
const DENIED: &[u8] = b"-DENIED Quorate is running in protected mode because protected mode is \
    enabled and no password is set for the default user. In this mode connections are only \
    accepted from the loopback interface. If you want to connect from external computers to \
    Quorate you may adopt one of the following solutions: 1) Just disable protected mode sending \
    the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to \
    Quorate from the same host the server is running, however MAKE SURE Quorate is not publicly \
    accessible from internet if you do so. 2) Alternatively you can just disable the protected \
    mode by editing the configuration file, and setting the protected mode option to 'no', and \
    then restarting the server. 3) If you started the server manually just for testing, restart \
    it with the '--protected-mode no' option. 4) Set up an authentication password for the default \
    user. NOTE: You only need to do one of the above things in order for the server to start \
    accepting connections from the outside.\r\n";

/// How much [`Node::check_invariants`] looks at.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    Touched,
    All,
}

/// A server without I/O. Two with one configuration and seed and the same [`Debug`] form do the same from then on:
/// it shows everything.
#[derive(Debug)]
pub struct Node {
    server: Server,
    data: Data,
    sessions: Sessions,
    /// Sessions that have something to send, or to be closed, at the end of the batch.
    listed: Vec<ConnId>,
    /// Sessions blocked by WAIT.
    blocked: BTreeSet<ConnId>,
    /// Sessions that have become links of peers, accepted here: few, in order.
    links: Vec<ConnId>,
    timers: Timers,
    /// The origin of the clients' last writes.
    origin: Origin,
    /// What waits for the log.
    hold: Hold,
    /// Nothing more is taken in: [`Effect::Halt`] is out, or waits for the log.
    halted: bool,
}

/// The data and the clock that stamps writes to it.
#[derive(Debug)]
struct Data {
    store: Store,
    clock: HybridClock,
    journal: Journal,
}

impl Data {
    fn core<'a>(&'a mut self, now: Now, out: &'a mut Effects) -> Core<'a> {
        let Data { store, clock, journal } = self;
        Core { now, store, clock, journal, out }
    }
}

/// When the node's own work is due.
#[derive(Clone, Debug, Default)]
struct Timers {
    /// What the clocks showed when they were looked at last.
    clock_seen: (Mono, UnixMs),
    /// Expired keys are not looked for before.
    expire_from: Mono,
    /// No client is idle for too long before that.
    idle: Option<Mono>,
    /// No client has been beyond the soft limit of unread output for too long before that.
    soft_limit: Option<Mono>,
}

impl Node {
    /// A node at its start. `seed` feeds everything random in it.
    pub fn new(config: Config, seed: u64, now: Now) -> Node {
        let mut rng = Rng::fork(seed, "node");
        let identity = config.identity.clone();
        let life = Life {
            node: identity.node_id,
            run: RunId(rng.next_u128()),
            epoch: identity.epoch,
            origin: Origin(1 + rng.below(u64::from(u32::MAX)) as u32),
        };
        let store = Store::new(StoreConfig {
            databases: config.databases,
            hash_seed: rng.next_u64(),
            mutants: config.mutants,
        });
        let clock = HybridClock::new(life.origin, config.mutants);
        let mut data = Data { store, clock, journal: Journal::off() };
        // Configured masters are dialed from the first timeout on; nothing leaves before.
        let mut out = Effects::new(false);
        let mut core = data.core(now, &mut out);
        let active = Active::new(
            active_config(&config),
            life,
            &identity.past,
            Rng::fork(seed, "active"),
            &mut core,
        );
        assert!(out.is_empty(), "a start asks nothing of the driver");
        let loads = config.appendonly || config.loads_dump;
        if config.strong.on {
            // Copies are equal by their logs: nothing deleted leaves a trace.
            data.store.set_alone(true);
        } else if loads {
            // Until the log, or the dump, has been read it is not known.
            data.store.set_alone(false);
        }
        let strong = config.strong.on.then(|| Box::new(StrongNode::new(&config, seed, now)));
        let server = Server {
            config,
            rng: Rng::fork(seed, "commands"),
            config_before: None,
            active,
            strong,
            watch: WatchTable::default(),
            run_id: life.run,
            started: now.mono,
            started_wall: now.wall,
            host: HostStats::default(),
            stats: Stats::default(),
            attack_said: None,
            stopping: None,
            loading: loads.then(Default::default),
            snapshots: Snapshots::new(now.mono),
        };
        Node {
            server,
            data,
            sessions: Sessions::default(),
            listed: Vec::new(),
            blocked: BTreeSet::new(),
            links: Vec::new(),
            timers: Timers { clock_seen: (now.mono, now.wall.ms()), ..Timers::default() },
            origin: life.origin,
            hold: Hold::default(),
            halted: false,
        }
    }

    /// Takes one input and says what the driver has to do. Never fails.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        if self.halted {
            return self.on_input_after_halt(&input, out);
        }
        let before = out.len();
        self.on_input(now, input, out);
        self.hold_back(before, out);
    }

    fn on_input(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        if !matches!(input, Input::Drained { .. }) {
            self.server.active.stir();
        }
        match input {
            Input::Opened { conn, origin } => self.on_opened(now, conn, origin, out),
            Input::DialFailed { dial, why } => {
                if let Some(strong) = &mut self.server.strong {
                    strong.mesh.on_dial_failed(dial, now.mono);
                    return;
                }
                let (server, mut core) = self.core(now, out);
                server.active.on_dial_failed(dial, why, &mut core);
            }
            Input::Refused => self.server.stats.connections_rejected += 1,
            Input::Bytes { conn, buf } => self.on_bytes(now, conn, buf, out),
            Input::Drained { conn, bytes } => self.on_drained(now, conn, bytes, out),
            Input::Closed { conn, why } => self.on_closed(now, conn, why, out),
            Input::Host(host) => self.server.host = host,
            Input::Shutdown { save } => self.on_shutdown(now, save, out),
            Input::PastStored { durable } => self.server.active.on_past_stored(durable),
            Input::Synced { through } => self.on_synced(through),
            Input::DiskFailed { why } => self.on_disk_failed(why, out),
            Input::DiskRoom => self.on_disk_room(out),
            Input::Snap(snap) => self.on_snap(now, Target::Log, snap, out),
            Input::Dump(snap) => self.on_snap(now, Target::Dump, snap, out),
            Input::Recover(recover) => self.on_recover(now, recover, out),
            Input::Timeout => self.on_timeout(now, out),
        }
    }

    /// End of a batch of inputs: replies and frames gathered meanwhile leave.
    pub fn flush(&mut self, now: Now, out: &mut Effects) {
        if self.halted {
            return self.flush_journal(now, out);
        }
        let before = out.len();
        self.flush_batch(now, out);
        self.end_if_ready(now, out);
        self.hold_back(before, out);
        self.sync_if_awaited(now, out);
    }

    fn flush_batch(&mut self, now: Now, out: &mut Effects) {
        self.flush_strong(now, out);
        self.flush_journal(now, out);
        let mut listed = std::mem::take(&mut self.listed);
        for conn in listed.drain(..) {
            self.flush_session(now, conn, out);
        }
        self.listed = listed;
        let (server, mut core) = self.core(now, out);
        server.active.flush(&mut core);
        self.drop_closed_links();
        self.flush_journal(now, out);
        self.flush_snapshot(now, out);
    }

    fn core<'a>(&'a mut self, now: Now, out: &'a mut Effects) -> (&'a mut Server, Core<'a>) {
        (&mut self.server, self.data.core(now, out))
    }

    fn on_opened(&mut self, now: Now, conn: ConnId, origin: ConnOrigin, out: &mut Effects) {
        let (ip, port) = match origin {
            ConnOrigin::Accepted { ip, port } => (ip, port),
            ConnOrigin::Dialed { dial } => {
                if self.mesh_dialed(now, conn, dial, out) {
                    return;
                }
                let (server, mut core) = self.core(now, out);
                if !server.active.on_dialed(conn, dial, &mut core) {
                    out.push(Effect::Close { conn });
                }
                return;
            }
        };
        let stats = &mut self.server.stats;
        let config = &self.server.config;
        if stats.clients >= u64::from(config.maxclients) {
            stats.connections_rejected += 1;
            return refuse(conn, MAX_CLIENTS_REACHED, out);
        }
        let protects = config.protected_mode && !config.wants_password();
        if protects && !is_loopback(ip) {
            stats.connections_rejected += 1;
            return refuse(conn, DENIED, out);
        }
        stats.connections_received += 1;
        stats.clients += 1;
        stats.next_client_id += 1;
        let id = stats.next_client_id;
        let mut session = Session::new(conn, id, (ip, port), now.mono);
        session.authenticated = !config.wants_password();
        session.cluster.reads_copies = config.strong.read_consistency == ReadConsistency::Replica;
        self.sessions.insert(Box::new(session));
        self.expect_idle(now);
    }

    fn on_bytes(&mut self, now: Now, conn: ConnId, buf: &mut BytesMut, out: &mut Effects) {
        if !self.execute_all(now, conn, buf, out) {
            self.on_bytes_of_peer(now, conn, buf, out);
        }
    }

    fn on_bytes_of_peer(&mut self, now: Now, conn: ConnId, buf: &mut BytesMut, out: &mut Effects) {
        if self.mesh_owns(conn) {
            self.with_mesh(now, out, |mesh, env| mesh.on_bytes(conn, buf, env));
        } else if self.server.active.owns(conn) {
            let (server, mut core) = self.core(now, out);
            server.active.on_bytes(conn, buf, &mut core);
            self.after_merges(now, out);
        } else {
            // Of a connection whose close is under way.
            buf.clear();
        }
    }

    fn on_drained(&mut self, now: Now, conn: ConnId, bytes: u64, out: &mut Effects) {
        if let Some(session) = self.sessions.get_mut(conn) {
            // A link's first bytes went out before it was one.
            let own = session.undrained_bytes.min(bytes);
            session.undrained_bytes -= own;
            if session.undrained_bytes <= self.server.config.client_output_soft_bytes {
                session.soft_limit_since = None;
            }
            if !matches!(session.state(), State::Peer) || own == bytes {
                return;
            }
            let (server, mut core) = self.core(now, out);
            server.active.on_drained(conn, bytes - own, &mut core);
        } else {
            let (server, mut core) = self.core(now, out);
            server.active.on_drained(conn, bytes, &mut core);
        }
    }

    fn on_closed(&mut self, now: Now, conn: ConnId, why: CloseReason, out: &mut Effects) {
        self.hold.forget(conn);
        self.forget_session(conn);
        if let Some(strong) = &mut self.server.strong {
            strong.mesh.on_closed(conn, now.mono);
        }
        self.on_requests(now, out);
        if self.server.active.owns(conn) {
            let (server, mut core) = self.core(now, out);
            server.active.on_closed(conn, why, &mut core);
            self.after_merges(now, out);
        }
    }

    /// After anything that may have merged cells from elsewhere, or moved what others have.
    fn after_merges(&mut self, now: Now, out: &mut Effects) {
        self.server.watch.on_changes(&mut self.data.store);
        if self.origin != self.data.clock.origin() {
            self.follow_origin();
        }
        self.wake_waiting(now, out);
    }

    /// The node has gone on under another origin, and its writes may have been moved there: none of them is
    /// newer than the clock, so an acknowledgement of that covers each client's last one.
    fn follow_origin(&mut self) {
        let from = std::mem::replace(&mut self.origin, self.data.clock.origin());
        let newest = Stamp::new(self.data.clock.last(), self.origin);
        for session in self.sessions.iter_mut() {
            session.follow_origin(from, newest);
        }
        self.follow_origin_to_the_end();
    }

    /// Marks a session to be looked at when the batch ends.
    fn list(listed: &mut Vec<ConnId>, session: &mut Session) {
        if !session.is_listed {
            session.is_listed = true;
            listed.push(session.conn);
        }
    }

    /// A session is gone, whoever ended it.
    fn forget_session(&mut self, conn: ConnId) {
        let Some(mut session) = self.sessions.remove(conn) else { return };
        self.server.watch.unwatch(conn, &mut session.watched, &mut self.data.store);
        self.server.stats.clients -= 1;
        if let Some(strong) = &mut self.server.strong {
            strong.forget(conn);
        }
        self.blocked.remove(&conn);
        self.links.retain(|&link| link != conn);
        self.server.stats.clients_blocked = self.blocked.len() as u64;
    }

    /// Links that active mode has closed: no [`Input::Closed`] comes for them.
    fn drop_closed_links(&mut self) {
        let lost = self.server.active.take_loss() || self.server.strong.is_some();
        if !lost || self.links.is_empty() {
            return;
        }
        let gone: Vec<ConnId> = self
            .links
            .iter()
            .copied()
            .filter(|&conn| !self.server.active.owns(conn) && !self.mesh_owns(conn))
            .collect();
        for conn in gone {
            self.forget_session(conn);
        }
    }
}

/// What active mode is told of the configuration.
fn active_config(config: &Config) -> ActiveConfig {
    ActiveConfig {
        active_replica: config.active_replica,
        multi_master: config.multi_master,
        replica_read_only: config.replica_read_only,
        masteruser: config.masteruser.clone(),
        masterauth: config.masterauth.clone(),
        replicaof: config.replicaof.clone(),
        backlog_bytes: config.repl_backlog_bytes,
        repl_timeout: Span::from_secs(config.repl_timeout_secs),
        max_clock_skew_ms: config.max_clock_skew_ms,
        port: config.port,
        limits: config.limits.clone(),
        mutants: config.mutants,
    }
}

/// Answers one line and closes.
fn refuse(conn: ConnId, text: &'static [u8], out: &mut Effects) {
    out.push(Effect::Send { conn, bytes: bytes::Bytes::from_static(text) });
    out.push(Effect::Close { conn });
}

/// Loopback in either family, also an IPv4 address within IPv6.
fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
    }
}
