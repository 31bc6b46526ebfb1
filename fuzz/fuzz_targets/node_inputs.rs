//! Bytes become decisions: two masters, their clients, a network that delivers in pieces, cuts and heals,
//! clocks that run and step. Invariants hold after every input; once everything is healed both nodes
//! show the same data.

#![no_main]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use quorate::base::ids::{ConnId, DialId, Epoch, NodeId};
use quorate::base::limits::Limits;
use quorate::base::time::{Mono, Now, Wall};
use quorate::node::config::{Config, Identity};
use quorate::node::io::{
    CloseReason, ConnOrigin, DialError, Effect, Effects, HostPort, Input, Past,
};
use quorate::node::{Node, Scope};

/// How far a clock is off at most.
const SKEW_MAX_US: i64 = 25_000_000;
const COMMANDS: [&str; 16] = [
    "SET a 1",
    "SET a x",
    "GET a",
    "DEL a",
    "INCRBY a 5",
    "DECR a",
    "APPEND a 0",
    "PEXPIRE a 900",
    "PERSIST a",
    "SET b y PX 700",
    "INCR b",
    "DEL a b",
    "FLUSHALL",
    "MULTI",
    "EXEC",
    "MSET a 3 b 4",
];

/// The other end of a connection: which host, which connection there, and what is on its way.
struct Pipe {
    to: usize,
    conn: ConnId,
    bytes: BytesMut,
    closed: bool,
}

struct Host {
    node: Node,
    out: Effects,
    /// Bytes received and not yet taken, per connection.
    unread: BTreeMap<ConnId, BytesMut>,
    /// Microseconds that this host's wall clock is off.
    skew: i64,
}

struct World {
    hosts: Vec<Host>,
    pipes: BTreeMap<(usize, ConnId), Pipe>,
    dials: Vec<(usize, DialId)>,
    ms: u64,
    cut: bool,
    next_conn: u64,
}

const CLIENT: ConnId = ConnId(1);

impl World {
    fn new() -> World {
        let hosts = (0..2)
            .map(|index: usize| {
                let config = Config {
                    identity: Identity {
                        node_id: NodeId(index as u128 + 1),
                        epoch: Epoch(1),
                        past: Past::default(),
                    },
                    limits: Limits::tiny(),
                    active_replica: true,
                    multi_master: true,
                    repl_backlog_bytes: 600,
                    replicaof: vec![HostPort { host: "other".to_owned(), port: 6379 }],
                    appendonly: false,
                    ..Config::default()
                };
                let now = Now { mono: Mono(0), wall: Wall(1_700_000_000_000_000) };
                let node = Node::new(config, index as u64, now);
                Host { node, out: Effects::new(false), unread: BTreeMap::new(), skew: 0 }
            })
            .collect();
        let mut world = World {
            hosts,
            pipes: BTreeMap::new(),
            dials: Vec::new(),
            ms: 0,
            cut: false,
            next_conn: 10,
        };
        for at in 0..2 {
            let origin = ConnOrigin::Accepted { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 9 };
            world.input(at, Input::Opened { conn: CLIENT, origin });
        }
        world
    }

    fn now(&self, at: usize) -> Now {
        let wall = 1_700_000_000_000_000 + self.ms * 1000;
        Now {
            mono: Mono(self.ms * 1_000_000),
            wall: Wall(wall.saturating_add_signed(self.hosts[at].skew)),
        }
    }

    fn input(&mut self, at: usize, input: Input<'_>) {
        let now = self.now(at);
        let host = &mut self.hosts[at];
        host.node.handle(now, input, &mut host.out);
        host.node.check_invariants(Scope::Touched);
    }

    fn bytes(&mut self, at: usize, conn: ConnId, bytes: &[u8]) {
        let mut buf = self.hosts[at].unread.remove(&conn).unwrap_or_default();
        buf.extend_from_slice(bytes);
        self.input(at, Input::Bytes { conn, buf: &mut buf });
        self.hosts[at].unread.insert(conn, buf);
    }

    fn flush(&mut self, at: usize) {
        let now = self.now(at);
        let host = &mut self.hosts[at];
        host.node.flush(now, &mut host.out);
        self.carry_out(at);
    }

    fn carry_out(&mut self, at: usize) {
        while let Some(effect) = self.hosts[at].out.pop() {
            match effect {
                Effect::Send { conn, bytes } => {
                    let count = bytes.len() as u64;
                    if let Some(pipe) = self.pipes.get_mut(&(at, conn)) {
                        pipe.bytes.extend_from_slice(&bytes);
                    }
                    self.input(at, Input::Drained { conn, bytes: count });
                }
                Effect::Close { conn } | Effect::Abort { conn } => {
                    self.hosts[at].unread.remove(&conn);
                    if let Some(pipe) = self.pipes.get_mut(&(at, conn)) {
                        pipe.closed = true;
                    }
                }
                Effect::Dial { dial, .. } => self.dials.push((at, dial)),
                Effect::CancelDial { dial } => self.dials.retain(|d| *d != (at, dial)),
                Effect::PauseReads { .. }
                | Effect::Setting(_)
                | Effect::StoreEpoch { .. }
                | Effect::StorePast(_)
                | Effect::Append { .. }
                | Effect::Sync { .. }
                | Effect::SnapBegin { .. }
                | Effect::SnapChunk { .. }
                | Effect::SnapCommit
                | Effect::Dump(_)
                | Effect::Halt { .. } => {}
            }
        }
        self.hosts[at].out.facts.drain();
    }

    fn connect(&mut self, choice: u8) {
        if self.dials.is_empty() || self.cut {
            return;
        }
        let (at, dial) = self.dials.remove(usize::from(choice) % self.dials.len());
        let (here, there) = (ConnId(self.next_conn), ConnId(self.next_conn + 1));
        self.next_conn += 2;
        let other = 1 - at;
        let pipe = |to, conn| Pipe { to, conn, bytes: BytesMut::new(), closed: false };
        self.pipes.insert((at, here), pipe(other, there));
        self.pipes.insert((other, there), pipe(at, here));
        let origin = ConnOrigin::Accepted { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 9 };
        self.input(other, Input::Opened { conn: there, origin });
        self.input(at, Input::Opened { conn: here, origin: ConnOrigin::Dialed { dial } });
        self.flush(at);
        self.flush(other);
    }

    /// Delivers up to `count` bytes of one pipe, or its end.
    fn deliver(&mut self, choice: u8, count: usize) {
        let ready: Vec<(usize, ConnId)> = self
            .pipes
            .iter()
            .filter(|(_, pipe)| !pipe.bytes.is_empty() || pipe.closed)
            .map(|(key, _)| *key)
            .collect();
        if ready.is_empty() || self.cut {
            return;
        }
        let key = ready[usize::from(choice) % ready.len()];
        let Some(pipe) = self.pipes.get_mut(&key) else { return };
        let (to, conn) = (pipe.to, pipe.conn);
        let bytes = pipe.bytes.split_to(count.min(pipe.bytes.len()));
        let ended = pipe.closed && pipe.bytes.is_empty();
        let open = self.pipes.get(&(to, conn)).is_some_and(|back| !back.closed);
        if open && !bytes.is_empty() {
            self.bytes(to, conn, &bytes);
        }
        if ended {
            self.pipes.remove(&key);
            if self.pipes.remove(&(to, conn)).is_some_and(|back| !back.closed) {
                self.hosts[to].unread.remove(&conn);
                self.input(to, Input::Closed { conn, why: CloseReason::EndOfStream });
            }
        }
        self.flush(to);
    }

    fn reset_all(&mut self) {
        let keys: Vec<(usize, ConnId)> = self.pipes.keys().copied().collect();
        for (at, conn) in keys {
            if self.pipes.remove(&(at, conn)).is_some_and(|pipe| !pipe.closed) {
                self.hosts[at].unread.remove(&conn);
                self.input(at, Input::Closed { conn, why: CloseReason::Reset });
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.ms += ms;
        for at in 0..2 {
            self.input(at, Input::Timeout);
            self.flush(at);
        }
    }

    fn step(&mut self, what: u8, how: u8) {
        let at = usize::from(what >> 7);
        match what & 15 {
            0..=4 => {
                let line = format!("{}\r\n", COMMANDS[usize::from(how & 15)]);
                self.bytes(at, CLIENT, line.as_bytes());
                if how & 16 == 0 {
                    self.flush(at);
                }
            }
            5..=9 => self.deliver(how, usize::from(what >> 4) * 40 + 1),
            10 => self.connect(how),
            11 => self.pass(u64::from(how) * 10),
            12 => self.cut = how & 1 == 1,
            13 if how & 7 == 0 => self.reset_all(),
            14 => {
                // What is written under a clock far ahead waits for the time it was written at: not longer than the end lasts.
                let skew = self.hosts[at].skew + (i64::from(how) - 128) * 20_000;
                self.hosts[at].skew = skew.clamp(-SKEW_MAX_US, SKEW_MAX_US);
            }
            15 => match self.dials.pop() {
                Some((at, dial)) => {
                    self.input(at, Input::DialFailed { dial, why: DialError::Refused });
                    self.flush(at);
                }
                None => self.flush(at),
            },
            _ => self.pass(50),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    world.pass(1);
    for pair in data.chunks_exact(2).take(600) {
        world.step(pair[0], pair[1]);
    }
    // Everything is healed: clocks agree, nothing is cut.
    world.cut = false;
    for host in &mut world.hosts {
        host.skew = 0;
    }
    for _ in 0..120 {
        world.pass(500);
        while !world.dials.is_empty() {
            world.connect(0);
        }
        for _ in 0..64 {
            world.deliver(0, 4096);
            world.deliver(1, 4096);
        }
    }
    for at in 0..2 {
        world.hosts[at].node.check_invariants(Scope::All);
    }
    let (a, b) = (world.now(0), world.now(1));
    let (left, right) = (world.hosts[0].node.visible(a), world.hosts[1].node.visible(b));
    assert_eq!(left, right, "the nodes differ after everything was healed");
});
