//! A machine that echoes, and helpers.

use std::net::Ipv4Addr;

use bytes::Bytes;
use quorate::base::ids::{ConnId, DialId, NodeId};
use quorate::base::io::{
    CloseReason, ConnOrigin, DialError, Effect, Effects, HostPort, Input, Past, ShellSetting,
};
use quorate::base::time::{Mono, Now, Span};
use quorate::node::config::Identity;

use crate::decide::Decisions;
use crate::machine::Machine;
use crate::time::Time;
use crate::world::{Blind, ClientConn, ClientState, HostId, World, WorldConfig};

pub const PORT: u16 = 7000;

/// What a process was told.
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    Opened(ConnId, ConnOrigin),
    Failed(DialError),
    Bytes(ConnId, Vec<u8>),
    Closed(ConnId, CloseReason),
    Timeout,
    Shutdown,
}

/// How an [`Echo`] behaves.
#[derive(Clone, Default)]
pub struct EchoConfig {
    /// Where to connect to at the start.
    pub dial: Option<HostPort>,
    /// Sends this every so often on the connection it dialled.
    pub every: Option<Span>,
    /// Sends received bytes back on accepted connections.
    pub echo: bool,
    /// Does not read accepted connections until its first timer.
    pub paused_until: Option<Span>,
}

/// Writes down what it is told; echoes at the flush.
pub struct Echo {
    config: EchoConfig,
    pub identity: Identity,
    pub told: Vec<(Now, Told)>,
    pub link: Option<ConnId>,
    pub sent: u64,
    pub drained: u64,
    accepted: Vec<ConnId>,
    pending: Vec<(ConnId, Bytes)>,
    next: Option<Mono>,
    dialled: bool,
    pub flushes: u64,
    pub inputs: u64,
    heard: Vec<u8>,
}

impl Machine for Echo {
    type Config = EchoConfig;

    fn boot(config: &EchoConfig, identity: Identity, _seed: u64, now: Now) -> Echo {
        let first = config.paused_until.or(config.every);
        Echo {
            config: config.clone(),
            identity,
            told: Vec::new(),
            link: None,
            sent: 0,
            drained: 0,
            accepted: Vec::new(),
            pending: Vec::new(),
            next: first.map(|span| now.mono + span),
            dialled: false,
            flushes: 0,
            inputs: 0,
            heard: Vec::new(),
        }
    }

    fn port(_config: &EchoConfig) -> u16 {
        PORT
    }

    fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        self.inputs += 1;
        if !self.dialled {
            self.dialled = true;
            if let Some(to) = self.config.dial.clone() {
                out.push(Effect::Dial { dial: DialId(1), to });
            }
        }
        let told = match input {
            Input::Opened { conn, origin } => {
                match origin {
                    ConnOrigin::Accepted { .. } => {
                        self.accepted.push(conn);
                        if self.config.paused_until.is_some() && self.next.is_some() {
                            out.push(Effect::PauseReads { conn, paused: true });
                        }
                    }
                    ConnOrigin::Dialed { .. } => self.link = Some(conn),
                }
                Told::Opened(conn, origin)
            }
            Input::DialFailed { why, .. } => Told::Failed(why),
            Input::Bytes { conn, buf } => {
                let bytes = buf.split().freeze();
                if self.config.echo && self.link != Some(conn) {
                    self.pending.push((conn, bytes.clone()));
                }
                // A command may come in pieces.
                self.heard.extend_from_slice(&bytes);
                let heard = std::mem::take(&mut self.heard);
                let is = |word: &str| heard.ends_with(word.as_bytes());
                if is("halt") {
                    out.push(Effect::Halt { code: 3, reason: "told to".into() });
                }
                if is("past") {
                    out.push(Effect::StorePast(Past {
                        horizon: 77,
                        needs: Vec::new(),
                        members: vec![NodeId(5)],
                    }));
                }
                if is("epoch") {
                    out.push(Effect::StoreEpoch { epoch: 50 });
                    out.push(Effect::Setting(ShellSetting::TcpKeepalive { secs: 9 }));
                }
                if is("close") {
                    out.push(Effect::Send { conn, bytes: Bytes::from_static(b"bye") });
                    out.push(Effect::Close { conn });
                }
                self.heard = heard;
                Told::Bytes(conn, bytes.to_vec())
            }
            Input::Drained { bytes, .. } => {
                self.drained += bytes;
                return;
            }
            Input::Closed { conn, why } => {
                if self.link == Some(conn) {
                    self.link = None;
                }
                Told::Closed(conn, why)
            }
            Input::Host(_)
            | Input::Refused
            | Input::PastStored { .. }
            | Input::Synced { .. }
            | Input::DiskFailed { .. }
            | Input::DiskRoom
            | Input::Snap(_)
            | Input::Dump(_)
            | Input::Recover(_) => return,
            Input::Shutdown { .. } => Told::Shutdown,
            Input::Timeout => {
                self.on_timeout(now, out);
                Told::Timeout
            }
        };
        self.told.push((now, told));
    }

    fn flush(&mut self, _now: Now, out: &mut Effects) {
        self.flushes += 1;
        for (conn, bytes) in self.pending.drain(..) {
            self.sent += bytes.len() as u64;
            out.push(Effect::Send { conn, bytes });
        }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.next
    }
}

impl Echo {
    fn on_timeout(&mut self, now: Now, out: &mut Effects) {
        if self.next.is_none_or(|next| next > now.mono) {
            return;
        }
        self.next = self.config.every.map(|span| now.mono + span);
        if self.config.paused_until.take().is_some() {
            for &conn in &self.accepted {
                out.push(Effect::PauseReads { conn, paused: false });
            }
        }
        if let Some(conn) = self.link {
            self.sent += 1;
            let text = format!("{};", self.sent);
            out.push(Effect::Send { conn, bytes: Bytes::from(text) });
        }
    }

    /// Everything received on the first connection.
    pub fn received(&self) -> Vec<u8> {
        self.received_on(ConnId(1))
    }

    pub fn received_on(&self, conn: ConnId) -> Vec<u8> {
        let mut all = Vec::new();
        for (_, told) in &self.told {
            match told {
                Told::Bytes(on, bytes) if *on == conn => all.extend_from_slice(bytes),
                Told::Bytes(..)
                | Told::Opened(..)
                | Told::Failed(_)
                | Told::Closed(..)
                | Told::Timeout
                | Told::Shutdown => {}
            }
        }
        all
    }

    pub fn was_told(&self, what: &Told) -> bool {
        self.told.iter().any(|(_, told)| told == what)
    }
}

pub fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 18, 0, last)
}

pub fn echo() -> EchoConfig {
    EchoConfig { echo: true, ..EchoConfig::default() }
}

/// Dials a host by name and sends a number every so often.
pub fn talker(to: &str, every: Span) -> EchoConfig {
    EchoConfig {
        dial: Some(HostPort { host: to.to_owned(), port: PORT }),
        every: Some(every),
        ..EchoConfig::default()
    }
}

/// `node1` at .2, `node2` at .3 and so on, nothing started.
pub fn world(seed: u64, hosts: u8) -> (World<Echo>, Vec<HostId>) {
    let mut world = World::new(WorldConfig::default(), Decisions::from_seed(seed));
    let hosts = (1..=hosts).map(|n| world.add_host(&format!("node{n}"), ip(n + 1))).collect();
    (world, hosts)
}

pub fn run(world: &mut World<Echo>, span: Span) {
    let until = world.now() + span;
    world.run_until(until, &mut Blind);
}

/// Runs until `holds`, at most so long; returns the time, or fails.
pub fn run_until(
    world: &mut World<Echo>,
    most: Span,
    mut holds: impl FnMut(&World<Echo>) -> bool,
) -> Time {
    let end = world.now() + most;
    while !holds(world) {
        assert!(world.now() < end, "not within {} ms", most.as_ms());
        let next = world.now() + Span::from_ms(1);
        world.run_until(next, &mut Blind);
    }
    world.now()
}

pub fn machine(world: &World<Echo>, host: HostId) -> &Echo {
    world.machine(host).expect("it runs")
}

/// Connects and waits until it is known how that went.
pub fn connect(world: &mut World<Echo>, from: HostId, to: Ipv4Addr) -> ClientConn {
    let conn = world.client_connect(from, to, PORT);
    let end = world.now() + Span::from_secs(200);
    while world.client_state(conn) == ClientState::Connecting && world.now() < end {
        run(world, Span::from_ms(1));
    }
    conn
}
