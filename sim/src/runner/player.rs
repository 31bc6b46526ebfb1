//! Plays a plan in a world: starts nodes and clients, lets faults begin and end, heals, waits for the
//! core to converge.

use std::net::Ipv4Addr;

use quorate::base::ids::NodeId;
use quorate::base::io::{HostPort, Past};
use quorate::base::mutant::{Mutant, Mutants};
use quorate::base::stamp::time_of_ms;
use quorate::base::time::{Span, UnixMs};
use quorate::node::config::{Config, Identity};
use quorate::wal::SyncPolicy;

use super::book::Book;
use super::deeds::{Deed, Deeds};
use super::storage::DiskNotes;
use super::watched::Watched;
use crate::clock::{ClockChange, WALL_AT_START_NS};
use crate::decide::Decisions;
use crate::ids::{ClientConn, HostId};
use crate::link::{Latency, LinkConfig};
use crate::model::ledger::BootId;
use crate::plan::{FaultKind, Heal, LogPlan, Plan, Rest};
use crate::proxy::{Balance, ProxyConfig};
use crate::time::Time;
use crate::trace::Recorder;
use crate::workload::client::{Action, Client};
use crate::workload::history::{History, SessionId};
use crate::world::{ClientEvent, Notice, OUT_OF_MEMORY, ProcessState, World, WorldConfig};

pub(crate) const PORT: u16 = 6379;
/// Clients keep out of the way of the servers' firewalls: they have a host of their own.
pub(crate) const CLIENTS_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
/// The host of the proxy, if there is one.
const PROXY: &str = "proxy";
const PROXY_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
/// A node of another cluster.
pub(super) const ELSEWHERE: NodeId = NodeId(u128::MAX);
/// Whose a connection is that is no client's of the plan.
pub(super) const STRANGER: usize = usize::MAX;

/// What waits before a line between regions at most; more is lost.
const REGIONS_QUEUE_BYTES: u64 = 64 << 10;

/// What an alarm is for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    Begin(usize),
    End(usize),
    Client(usize),
}

/// A world with a plan under way.
pub struct Player<'p> {
    pub plan: &'p Plan,
    pub world: World<Watched>,
    pub book: Book,
    pub history: History,
    pub hosts: Vec<HostId>,
    pub(super) clients_host: HostId,
    pub(super) clients: Vec<Client>,
    /// Per client: the connection it uses.
    pub(super) conns: Vec<Option<ClientConn>>,
    /// By connection: whose it is, which session it became, its local port.
    pub(super) opened: Vec<(usize, Option<SessionId>, u16)>,
    /// Per client: when its next alarm is due.
    alarms: Vec<Time>,
    /// Something that must not happen has happened.
    pub broken: Option<String>,
    pub(super) healed: bool,
    /// Whom each host follows at present.
    pub(super) following: Vec<Vec<u16>>,
    /// Hosts that run as somebody else's twin: who they are themselves.
    pub(super) twins: Vec<Option<Option<Identity>>>,
    pub(super) disks: Vec<DiskNotes>,
    /// What was done to the world, if somebody wants to know.
    pub deeds: Option<Deeds>,
    /// How choices were made over time, if somebody wants to know.
    pub pace: Option<Vec<Pace>>,
}

/// Up to a time so many choices had been made.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Pace {
    pub made: usize,
    pub at: Time,
}

impl Token {
    fn encode(self) -> u64 {
        match self {
            Token::Begin(n) => 1 << 32 | n as u64,
            Token::End(n) => 2 << 32 | n as u64,
            Token::Client(n) => 3 << 32 | n as u64,
        }
    }

    pub(super) fn decode(token: u64) -> Token {
        let n = (token & 0xffff_ffff) as usize;
        match token >> 32 {
            1 => Token::Begin(n),
            2 => Token::End(n),
            _ => Token::Client(n),
        }
    }
}

impl<'p> Player<'p> {
    /// Sets everything up; nothing has happened yet.
    pub fn new(
        plan: &'p Plan,
        traced: bool,
        tape: Option<&Recorder>,
        decisions: Decisions,
    ) -> Player<'p> {
        Player::with(plan, traced, tape, decisions, WorldConfig::default())
    }

    /// The same in a world that is configured otherwise, its links aside.
    pub fn with(
        plan: &'p Plan,
        traced: bool,
        tape: Option<&Recorder>,
        decisions: Decisions,
        config: WorldConfig,
    ) -> Player<'p> {
        let config = WorldConfig { link: link_of(plan), ..config };
        let mut world = World::new(config, decisions);
        if let Some(tape) = tape {
            world.record(tape);
        }
        let hosts: Vec<HostId> =
            (0..plan.nodes.len() as u16).map(|n| world.add_host(&name_of(n), ip_of(n))).collect();
        let clients_host = world.add_host("clients", CLIENTS_IP);
        for &host in &hosts {
            world.link(host, clients_host).config = LinkConfig::lan();
            world.link(clients_host, host).config = LinkConfig::lan();
        }
        let numbers = 0..plan.nodes.len() as u16;
        for (a, b) in numbers.clone().flat_map(|a| numbers.clone().map(move |b| (a, b))) {
            if plan.network.apart(a, b).is_some() {
                let link = world.link(hosts[a as usize], hosts[b as usize]);
                link.config = link_between(plan, a, b);
            }
        }
        for (node, &host) in plan.nodes.iter().zip(&hosts) {
            world.clock(host, ClockChange::SetWallOffset(node.offset_ms * 1_000_000));
            world.clock(host, ClockChange::DriftWall(node.drift_ppm));
            world.clock(host, ClockChange::DriftMono(node.drift_ppm));
        }
        let mut following: Vec<Vec<u16>> = plan.nodes.iter().map(|n| n.masters.clone()).collect();
        // Those that come at one time have been a cluster of their own before.
        let mut comes: Vec<Option<u64>> = vec![None; plan.nodes.len()];
        for fault in &plan.faults {
            if let FaultKind::Newcomer { host, past_ms } = fault.kind {
                comes[host as usize] = Some(fault.until_ms);
                if let Some(past_ms) = past_ms {
                    let at = hosts[host as usize];
                    let identity = Identity { past: past_elsewhere(past_ms), ..world.identity(at) };
                    world.set_identity(at, identity);
                }
            }
        }
        for (host, masters) in following.iter_mut().enumerate() {
            masters.retain(|&master| comes[master as usize] == comes[host]);
        }
        let mut book = Book::new(hosts.len(), traced);
        for (index, &host) in hosts.iter().enumerate() {
            let index = index as u16;
            let remembers = !world.identity(host).past.members.is_empty();
            book.booted(index, following[index as usize].is_empty() && !remembers);
            world.start(host, config_of(plan, index, &following[index as usize]));
        }
        if let Some(node) = plan.nodes.iter().find(|node| node.proxied) {
            start_proxy(&mut world, &node.masters);
        }
        let begin = Time::from_ms(1);
        let clients: Vec<Client> = plan
            .clients
            .iter()
            .enumerate()
            .map(|(index, client)| Client::new(index, client, plan.password.clone(), begin.0))
            .collect();
        for (index, fault) in plan.faults.iter().enumerate() {
            world.alarm(Time::from_ms(fault.at_ms), Token::Begin(index).encode());
            if fault.until_ms < plan.load_ms {
                world.alarm(Time::from_ms(fault.until_ms), Token::End(index).encode());
            }
        }
        let count = clients.len();
        let twins = vec![None; hosts.len()];
        let mut player = Player {
            plan,
            following,
            twins,
            world,
            book,
            history: History::default(),
            hosts,
            clients_host,
            clients,
            conns: vec![None; count],
            opened: Vec::new(),
            alarms: vec![Time::NEVER; count],
            broken: None,
            healed: false,
            disks: vec![DiskNotes::default(); plan.nodes.len()],
            deeds: None,
            pace: None,
        };
        for index in 0..count {
            player.arm(index);
        }
        player
    }

    /// Faults and load, until the plan's load ends or `until`.
    pub fn play_load(&mut self, until: Time) {
        self.run(until.min(Time::from_ms(self.plan.load_ms)));
    }

    /// Goes on until `until`, or until something that must not happen.
    pub fn run(&mut self, until: Time) {
        while self.broken.is_none() {
            let Some(notice) = self.world.next(until, &mut self.book) else { break };
            self.keep_pace();
            self.on_notice(notice);
        }
        self.keep_pace();
    }

    /// Notes how many choices have been made by now.
    pub(super) fn keep_pace(&mut self) {
        let Some(pace) = &mut self.pace else { return };
        let (made, at) = (self.world.decisions().kept(), self.world.now());
        if pace.last().is_none_or(|last| last.made < made) {
            pace.push(Pace { made, at });
        }
    }

    pub(super) fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Client { conn, event } => self.on_client(conn, event),
            Notice::Alarm { token } => self.on_alarm(Token::decode(token)),
            Notice::Exited { host, exit } if exit.reason == OUT_OF_MEMORY => {
                self.ran_out_of_memory(host.0);
            }
            Notice::Exited { host, exit } => self.on_exit(host.0, &exit),
        }
    }

    /// Ends the load and heals what the plan says.
    pub fn heal(&mut self) {
        self.healed = true;
        self.world.all_end();
        self.cause(None);
        let core = self.plan.core();
        self.say(|| format!("the load ends; healed: {core:?}"));
        let rest = match self.plan.heal {
            Heal::All => None,
            Heal::Core { rest, .. } => Some(rest),
        };
        // Before anything is cut off from them: that would be undone.
        for &host in &core {
            self.iptables(host, "-F".to_owned());
        }
        for index in 0..self.hosts.len() {
            let host = index as u16;
            self.heal_disk(host);
            if core.contains(&host) {
                for &other in &core {
                    if other != host {
                        let link = self.world.link(self.hosts[index], self.hosts[other as usize]);
                        link.config = link_between(self.plan, host, other);
                    }
                }
                self.did(Deed::LinksHeal { host });
                self.following[index].clone_from(&self.plan.nodes[index].masters);
                self.world.limit_memory(self.hosts[index], None);
                self.resume(host);
                self.become_oneself(host);
                self.start(host);
                self.follow(host);
            } else {
                match rest {
                    Some(Rest::Crashed) => self.stop(host, true),
                    Some(Rest::Paused) => self.pause(host),
                    Some(Rest::Cut) => {
                        for &other in &core {
                            self.drop_between(other, host, "-A");
                        }
                        if self.plan.nodes.iter().any(|node| node.proxied) {
                            // Nor does the proxy lead anybody there.
                            self.iptables(host, format!("-A INPUT -s {PROXY_IP} -j DROP"));
                        }
                    }
                    None => {}
                }
            }
        }
        for index in 0..self.clients.len() {
            self.clients[index].stop(&self.plan.clients[index]);
            self.carry_out(index);
        }
        // What is still unanswered soon after is given up.
        let patience = self.world.now() + self.plan.limits.last_replies();
        self.run(patience);
        for index in 0..self.clients.len() {
            if let Some(conn) = self.conns[index].take() {
                self.world.client_abort(conn);
            }
        }
    }

    /// Matches sessions with the connections the nodes accepted. Called before a process is ended, too, and after it has ended
    /// by itself.
    pub fn learn_accepted(&mut self, host: u16) {
        let at = self.hosts[host as usize];
        let (Some(machine), Some(boot)) = (
            self.world.machine(at).or_else(|| self.world.fallen(at)),
            self.book.boots[host as usize],
        ) else {
            return;
        };
        for (_, session, port) in &self.opened {
            let Some(session) = session.map(|s| &mut self.history.sessions[s.0]) else { continue };
            if session.host != host || session.accepted.is_some() {
                continue;
            }
            let found = machine
                .accepted
                .iter()
                .find(|(ip, from, _)| *ip == CLIENTS_IP && from == port)
                .map(|&(_, _, conn)| (boot, conn));
            session.accepted = found;
        }
    }

    pub fn boot(&self, host: u16) -> Option<BootId> {
        let running = match self.world.host(self.hosts[host as usize]).state() {
            ProcessState::Running | ProcessState::Paused => true,
            ProcessState::Down | ProcessState::Exited(_) => false,
        };
        self.book.boots[host as usize].filter(|_| running)
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        let now = self.world.now();
        self.book.say(now, || "plan".to_owned(), what);
    }

    fn on_alarm(&mut self, token: Token) {
        match token {
            Token::Client(index) => {
                if self.alarms[index] <= self.world.now() {
                    self.alarms[index] = Time::NEVER;
                    let now = self.world.now().0;
                    self.clients[index].act(now, &self.plan.clients[index], &mut self.history);
                    self.carry_out(index);
                }
            }
            Token::Begin(_) | Token::End(_) if self.healed => {}
            Token::Begin(index) => {
                let plan = self.plan;
                self.say(|| format!("begins: {:?}", plan.faults[index].kind));
                self.world.begins(index as u64, &plan.faults[index].kind);
                self.cause(Some(index));
                self.fault(&plan.faults[index].kind, true);
            }
            Token::End(index) => {
                let plan = self.plan;
                self.say(|| format!("ends: {:?}", plan.faults[index].kind));
                self.world.ends(index as u64);
                self.cause(Some(index));
                self.fault(&plan.faults[index].kind, false);
            }
        }
    }

    fn on_client(&mut self, conn: ClientConn, event: ClientEvent) {
        let (index, _, _) = self.opened[conn.0 as usize];
        if index == STRANGER || self.conns[index] != Some(conn) {
            return;
        }
        let now = self.world.now().0;
        let plan = &self.plan.clients[index];
        let client = &mut self.clients[index];
        match event {
            ClientEvent::Connected => {
                let session = self.history.open(index, plan.host);
                let port = self.world.client_port(conn).unwrap_or(0);
                self.opened[conn.0 as usize] = (index, Some(session), port);
                client.on_connected(now, session);
            }
            ClientEvent::Failed(_) => {
                self.conns[index] = None;
                client.on_refused(now, plan);
            }
            ClientEvent::Readable => {
                let answered = self.history.attempts.len();
                let buf = self.world.client_buf(conn);
                let read = client.on_bytes(now, buf, plan, &mut self.history);
                buf.clear();
                if let Err(why) = read {
                    self.broken = Some(format!("client {index} got {why}"));
                }
                debug_assert!(answered <= self.history.attempts.len());
                self.say_replies(index);
            }
            ClientEvent::Closed(_) => {
                self.conns[index] = None;
                client.on_closed(now, plan);
            }
        }
        self.carry_out(index);
    }

    fn say_replies(&mut self, client: usize) {
        if self.book.trace.is_none() {
            return;
        }
        let now = self.world.now();
        let plan = &self.plan.clients[client];
        for attempt in self.history.attempts.iter().rev().take(16).rev() {
            if attempt.client == client && attempt.done == now.0 && attempt.sent < attempt.done {
                let command = &plan.steps[attempt.command].command;
                let outcome = &attempt.outcome;
                self.book.say(
                    now,
                    || format!("client{client}"),
                    || format!("{} {command} -> {outcome:?}", name_of(plan.host)),
                );
            }
        }
    }

    fn carry_out(&mut self, index: usize) {
        while let Some(action) = self.clients[index].actions.pop_front() {
            match action {
                Action::Connect => {
                    let to = ip_of(self.plan.clients[index].host);
                    let conn = self.world.client_connect(self.clients_host, to, PORT);
                    debug_assert_eq!(conn.0 as usize, self.opened.len());
                    self.opened.push((index, None, 0));
                    self.world.client_is(conn, &format_args!("client{index}"));
                    self.conns[index] = Some(conn);
                }
                Action::Send(bytes) => {
                    if let Some(conn) = self.conns[index] {
                        self.world.client_send(conn, bytes);
                    }
                }
                Action::Close => {
                    if let Some(conn) = self.conns[index].take() {
                        self.world.client_close(conn);
                    }
                }
            }
        }
        self.arm(index);
    }

    fn arm(&mut self, index: usize) {
        let Some(wake) = self.clients[index].wake(&self.plan.clients[index]) else { return };
        let wake = Time(wake).max(self.world.now());
        if wake < self.alarms[index] {
            self.alarms[index] = wake;
            self.world.alarm(wake, Token::Client(index).encode());
        }
    }
}

pub fn name_of(host: u16) -> String {
    format!("node{}", host + 1)
}

pub(crate) fn ip_of(host: u16) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host as u8 + 1)
}

/// The link between two hosts, in either direction.
pub(super) fn link_between(plan: &Plan, a: u16, b: u16) -> LinkConfig {
    let mut link = link_of(plan);
    if let Some(regions) = plan.network.apart(a, b) {
        link.latency.base = Span(plan.network.latency_us(a, b) * 1000);
        link.bandwidth_bytes_per_sec = regions.bytes_per_sec;
        link.queue_bytes = REGIONS_QUEUE_BYTES;
    }
    link
}

/// A link within a region.
pub(crate) fn link_of(plan: &Plan) -> LinkConfig {
    let network = &plan.network;
    let base = Span(network.latency_min_us * 1000);
    let tail = Span(20 * (network.latency_mean_us - network.latency_min_us) * 1000);
    LinkConfig {
        latency: Latency { base, jitter: Span(base.0 / 4), tail_ppm: 50_000, tail },
        loss_ppm: network.loss_permille * 1000,
        reorder_ppm: network.reorder_permille * 1000,
        reorder_by: base,
        ..LinkConfig::lan()
    }
}

/// What a host calls those it follows.
pub(super) fn names_followed(plan: &Plan, host: u16, following: &[u16]) -> Vec<String> {
    if plan.nodes[host as usize].proxied && following.len() > 1 {
        return vec![PROXY.to_owned()];
    }
    following.iter().map(|&master| name_of(master)).collect()
}

/// What a life in another cluster has left that may have collected up to so long after the start.
fn past_elsewhere(past_ms: u64) -> Past {
    let horizon = time_of_ms(UnixMs(WALL_AT_START_NS / 1_000_000 + past_ms));
    Past { horizon, needs: Vec::new(), members: vec![ELSEWHERE] }
}

/// The proxy before the masters of a plain replica.
fn start_proxy(world: &mut World<Watched>, masters: &[u16]) {
    let host = world.add_host(PROXY, PROXY_IP);
    let servers = masters.iter().map(|&m| HostPort { host: name_of(m), port: PORT }).collect();
    let inter = Span::from_ms(1000);
    let balance = Balance::RoundRobin;
    world.start_proxy(host, ProxyConfig { port: PORT, balance, servers, inter, rise: 1, fall: 2 });
}

pub(super) fn config_of(plan: &Plan, host: u16, following: &[u16]) -> Config {
    let node = &plan.nodes[host as usize];
    let mutants = match plan.mutant.as_deref().and_then(Mutant::from_name) {
        Some(mutant) => Mutants::only(mutant),
        None => Mutants::NONE,
    };
    Config {
        limits: plan.limits.limits(),
        mutants,
        port: PORT,
        protected_mode: false,
        requirepass: plan.password.clone(),
        masterauth: plan.password.clone(),
        replicaof: names_followed(plan, host, following)
            .into_iter()
            .map(|host| HostPort { host, port: PORT })
            .collect(),
        active_replica: !node.replica,
        multi_master: !node.replica,
        replica_read_only: node.replica,
        repl_backlog_bytes: plan.backlog_bytes,
        appendonly: node.log.is_some(),
        appendfsync: match node.log {
            Some(LogPlan::Always) => SyncPolicy::Always,
            Some(LogPlan::EverySec) | None => SyncPolicy::EverySec,
            Some(LogPlan::No) => SyncPolicy::No,
        },
        ..Config::default()
    }
}
