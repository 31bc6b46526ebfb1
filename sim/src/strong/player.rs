//! Plays a plan of a strong cluster in a world, to its verdict.

use std::collections::BTreeSet;

use quorate::base::fact::Fact;
use quorate::base::io::HostPort;
use quorate::base::mutant::{Mutant, Mutants};
use quorate::base::time::Span;
use quorate::node::Node;
use quorate::node::config::Config;
use quorate::node::strong::directives::{Redirect, StrongSettings};
use quorate::strong::{NodeName, RackId, Strong};
use quorate::wal::SyncPolicy;

use super::client::{Action, Book, Client};
use super::faults::Backups;
use super::looks::Looks;
use super::revive::GivenUp;
use super::{faults, judge};
use crate::check::{Property, Verdict, Violation};
use crate::clock::ClockChange;
use crate::decide::Decisions;
use crate::ids::{ClientConn, HostId};
use crate::linear::history::History;
use crate::link::LinkConfig;
use crate::plan::strong::{BEGIN_MS, StrongClient, StrongOp, StrongPlan, StrongStep};
use crate::plan::{FaultClass, LogPlan, Plan};
use crate::runner::book::Line;
use crate::runner::labels::LabelSet;
use crate::runner::outcome::{Counts, Outcome};
use crate::runner::player::{CLIENTS_IP, PORT, ip_of, link_of, name_of};
use crate::time::Time;
use crate::world::{ClientEvent, Notice, Observer, World, WorldConfig};

/// Events after which a run is given up as undecided.
const EVENTS_MAX: u64 = 30_000_000;
/// How often the operator tries to begin the cluster, ms.
const FOUND_EVERY_MS: u64 = 200;
/// What is under way when the load ends has so long, ms: longer than clients wait.
const LAST_MS: u64 = 6000;

/// A run's outcome, its trace if one was asked for, and what clients saw.
#[derive(Debug)]
pub struct Played {
    pub outcome: Outcome,
    pub trace: Vec<Line>,
    pub history: History,
}

/// Takes in what nodes say of themselves.
#[derive(Default)]
struct Watch {
    labels: LabelSet,
    trace: Option<Vec<Line>>,
}

impl Observer for Watch {
    fn on_fact(&mut self, host: HostId, at: Time, fact: Fact) {
        if let Some(trace) = &mut self.trace {
            let what = format!("{fact:?}");
            trace.push(Line { at: at.0, who: name_of(host.0), what });
        }
        if let Fact::Sometimes(label) = fact {
            self.labels.note(label);
        }
    }
}

/// A run under way.
pub(super) struct Player<'p> {
    pub(super) plan: &'p Plan,
    pub(super) strong: &'p StrongPlan,
    pub(super) world: World<Node>,
    watch: Watch,
    book: Book,
    clients_host: HostId,
    clients: Vec<Client>,
    /// By connection: whose it is.
    opened: Vec<usize>,
    alarms: Vec<u64>,
    pub(super) broken: Option<Violation>,
    pub(super) crashes: u64,
    pub(super) backups: Backups,
    pub(super) looks: Looks,
    pub(super) given_up: GivenUp,
}

#[derive(Copy, Clone)]
pub(super) enum Token {
    Begin(usize),
    End(usize),
    Client(usize),
    Found,
    Change(usize),
    Look,
    Spring(usize),
    Unspring(usize),
}

impl Token {
    pub(super) fn encode(self) -> u64 {
        match self {
            Token::Begin(n) => 1 << 32 | n as u64,
            Token::End(n) => 2 << 32 | n as u64,
            Token::Client(n) => 3 << 32 | n as u64,
            Token::Found => 4 << 32,
            Token::Change(n) => 5 << 32 | n as u64,
            Token::Look => 6 << 32,
            Token::Spring(n) => 7 << 32 | n as u64,
            Token::Unspring(n) => 8 << 32 | n as u64,
        }
    }

    fn decode(token: u64) -> Token {
        let n = (token & 0xffff_ffff) as usize;
        match token >> 32 {
            1 => Token::Begin(n),
            2 => Token::End(n),
            3 => Token::Client(n),
            5 => Token::Change(n),
            6 => Token::Look,
            7 => Token::Spring(n),
            8 => Token::Unspring(n),
            _ => Token::Found,
        }
    }
}

/// Plays a plan to its end and judges it: a pure function of plan and decisions.
///
/// # Panics
/// If the plan is none of a strong cluster.
pub fn play(plan: &Plan, traced: bool, until: Option<Time>, decisions: Decisions) -> Played {
    let strong = plan.strong.as_ref().expect("a plan of a strong cluster");
    let mut player = Player::new(plan, strong, traced, decisions);
    let verdict = player.decide(until.unwrap_or(Time::NEVER));
    let outcome = Outcome {
        seed: plan.seed,
        verdict,
        digest: player.world.digest(),
        counts: player.counts(),
        labels: player.watch.labels,
    };
    let history = History { events: core::mem::take(&mut player.book.events) };
    Played { outcome, trace: player.watch.trace.take().unwrap_or_default(), history }
}

impl<'p> Player<'p> {
    fn new(
        plan: &'p Plan,
        strong: &'p StrongPlan,
        traced: bool,
        decisions: Decisions,
    ) -> Player<'p> {
        let config = WorldConfig { link: link_of(plan), ..WorldConfig::default() };
        let mut world = World::new(config, decisions);
        let hosts: Vec<HostId> =
            (0..plan.nodes.len() as u16).map(|n| world.add_host(&name_of(n), ip_of(n))).collect();
        let clients_host = world.add_host("clients", CLIENTS_IP);
        for &host in &hosts {
            world.link(host, clients_host).config = LinkConfig::lan();
            world.link(clients_host, host).config = LinkConfig::lan();
        }
        for (index, (node, &host)) in plan.nodes.iter().zip(&hosts).enumerate() {
            world.clock(host, ClockChange::SetWallOffset(node.offset_ms * 1_000_000));
            world.clock(host, ClockChange::DriftWall(node.drift_ppm));
            world.clock(host, ClockChange::DriftMono(node.drift_ppm));
            world.start(host, config_of(plan, index as u16));
        }
        world.alarm(Time::from_ms(FOUND_EVERY_MS), Token::Found.encode());
        for (index, fault) in plan.faults.iter().enumerate() {
            world.alarm(Time::from_ms(fault.at_ms), Token::Begin(index).encode());
            if fault.until_ms < plan.load_ms {
                world.alarm(Time::from_ms(fault.until_ms), Token::End(index).encode());
            }
        }
        for (index, change) in strong.changes.iter().enumerate() {
            world.alarm(Time::from_ms(change.at_ms), Token::Change(index).encode());
        }
        world.alarm(Time::from_ms(BEGIN_MS), Token::Look.encode());
        let watch = Watch { labels: LabelSet::default(), trace: traced.then(Vec::new) };
        let mut player = Player {
            plan,
            strong,
            world,
            watch,
            book: Book::default(),
            clients_host,
            clients: Vec::new(),
            opened: Vec::new(),
            alarms: Vec::new(),
            broken: None,
            crashes: 0,
            backups: Backups::new(),
            given_up: GivenUp::default(),
            looks: Looks::new(plan, strong),
        };
        for client in &strong.clients {
            player.add_client(client.clone(), BEGIN_MS);
        }
        player
    }

    fn add_client(&mut self, client: StrongClient, begin_ms: u64) {
        let hosts = self.plan.nodes.len() as u16;
        let password = self.plan.password.clone();
        let begin = Time::from_ms(begin_ms).0;
        self.clients.push(Client::new(client, password, hosts, begin));
        self.alarms.push(u64::MAX);
        self.arm(self.clients.len() - 1);
    }

    // ----- the run ---------------------------------------------------------------------------

    fn decide(&mut self, until: Time) -> Verdict {
        let load = Time::from_ms(self.plan.load_ms).min(until);
        self.run(load);
        if let Some(verdict) = self.early(until) {
            return verdict;
        }
        faults::heal(&mut self.world, self.plan);
        self.clients.iter_mut().for_each(Client::stop);
        let last = (load + Span::from_ms(LAST_MS)).min(until);
        self.run_until(last, |clients| clients.iter().all(Client::is_quiet));
        let deadline = self.world.now() + Span::from_ms(self.plan.bound_ms);
        loop {
            if let Some(verdict) = self.early(until) {
                return verdict;
            }
            if judge::lacks_a_disk(self.plan) {
                // What is left of it need not be enough for everything: it has some time.
                let last = (self.world.now() + Span::from_ms(LAST_MS)).min(until);
                self.run(last);
                break;
            }
            let found = judge::available(&self.world, self.plan);
            match found {
                Ok(()) => break,
                Err(evidence) if self.world.now() >= deadline => {
                    let property = Property::Availability;
                    return Verdict::Violated(Violation { property, evidence });
                }
                Err(_) => {}
            }
            let next = (self.world.now() + Span::from_ms(250)).min(until);
            self.run(next);
        }
        if let Some(verdict) = self.revive(until) {
            return verdict;
        }
        self.last_reads(until);
        if let Some(verdict) = self.early(until) {
            return verdict;
        }
        let mut history = History { events: self.book.events.clone() };
        self.given_up.leave_out(&mut history);
        judge::linearizable(&history)
    }

    /// Every key is read once more.
    fn last_reads(&mut self, until: Time) {
        let keys = self.strong.clients.iter().flat_map(|client| &client.steps).map(|step| step.key);
        let Some(most) = keys.max() else { return };
        let step = |key| StrongStep { wait_ms: 1, key, what: StrongOp::Get };
        let steps = (0..=most).map(step).collect();
        let begin = self.world.now().as_ms() + 1;
        let client = StrongClient {
            host: 0,
            resends: false,
            steps,
            reads_copies: false,
            waits_every: 0,
            patience_ms: 0,
            in_hashes: self.strong.clients.iter().any(|client| client.in_hashes),
        };
        self.add_client(client, begin);
        let last = (self.world.now() + Span::from_ms(LAST_MS)).min(until);
        self.run_until(last, |clients| clients.last().is_some_and(Client::is_finished));
    }

    fn run_until(&mut self, until: Time, ends: impl Fn(&[Client]) -> bool) {
        while self.broken.is_none() && self.world.now() < until && !ends(&self.clients) {
            self.run((self.world.now() + Span::from_ms(20)).min(until));
        }
    }

    /// A verdict that need not wait for the end.
    pub(super) fn early(&mut self, until: Time) -> Option<Verdict> {
        if let Some(violation) = self.broken.take() {
            return Some(Verdict::Violated(violation));
        }
        if self.world.now() >= until {
            let budget = format!("stopped at {until} as asked");
            return Some(Verdict::Undecided { budget });
        }
        let events = self.world.stats().events;
        (events > EVENTS_MAX)
            .then(|| Verdict::Undecided { budget: format!("{events} events without a verdict") })
    }

    pub(super) fn run(&mut self, until: Time) {
        while self.broken.is_none()
            && let Some(notice) = self.world.next(until, &mut self.watch)
        {
            self.on_notice(notice);
        }
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Alarm { token } => match Token::decode(token) {
                Token::Begin(n) => self.fault(n, true),
                Token::End(n) => self.fault(n, false),
                Token::Client(n) => {
                    if self.alarms[n] <= self.world.now().0 {
                        self.alarms[n] = u64::MAX;
                    }
                    let mut actions = Vec::new();
                    let now = self.world.now().0;
                    self.clients[n].act(now, &mut self.book, &mut actions);
                    self.carry_out(n, actions);
                }
                Token::Found => self.found(),
                Token::Change(n) => self.change(n),
                Token::Look => self.look(),
                Token::Spring(n) => self.spring(n),
                Token::Unspring(n) => self.unspring(n),
            },
            Notice::Client { conn, event } => self.on_client(conn, event),
            Notice::Exited { host, exit } => {
                let evidence = format!("{} stopped by itself: {exit:?}", name_of(host.0));
                self.broken = Some(Violation { property: Property::NodeInvariant, evidence });
            }
        }
    }

    fn fault(&mut self, n: usize, begins: bool) {
        let kind = &self.plan.faults[n].kind;
        self.say(|| format!("{kind:?} {}", if begins { "begins" } else { "ends" }));
        if begins && kind.class() == FaultClass::Crash {
            self.crashes += 1;
        }
        faults::fault(&mut self.world, self.plan, &mut self.backups, kind, begins);
    }

    /// The operator begins the cluster once all nodes are there.
    fn found(&mut self) {
        let first = HostId(0);
        let stands = |world: &World<Node>| {
            let strong = world.machine(first).and_then(Node::strong);
            strong.is_some_and(|strong| strong.cluster().is_some())
        };
        if stands(&self.world) {
            return;
        }
        let all: Vec<u16> = (0..self.plan.nodes.len() as u16).collect();
        let nodes = if self.strong.first.is_empty() { all } else { self.strong.first.clone() };
        self.recluster(first, &nodes);
        let again = self.world.now() + Span::from_ms(FOUND_EVERY_MS);
        self.world.alarm(again, Token::Found.encode());
    }

    /// The operator wants another roster, or the same with what is new in it.
    fn change(&mut self, n: usize) {
        let change = &self.strong.changes[n];
        let at = HostId(change.host);
        // (One that has no roster yet would begin another cluster.)
        let strong = self.world.machine(at).and_then(Node::strong);
        let Some(standing) = strong.and_then(Strong::standing) else { return };
        let in_force = standing.now.roster.nodes().iter().map(|node| host_of(node.name));
        let nodes = if change.nodes.is_empty() { in_force.collect() } else { change.nodes.clone() };
        self.say(|| format!("an operator wants {nodes:?} of {}", name_of(at.0)));
        self.recluster(at, &nodes);
    }

    fn recluster(&mut self, at: HostId, nodes: &[u16]) {
        let names: Vec<String> = nodes
            .iter()
            .map(|&at| format!("{}@{}", node_name(at), self.strong.racks[usize::from(at)]))
            .collect();
        let mut stage: Vec<&[u8]> = vec![b"QUORATE", b"ROSTER", b"STAGE", b"NODES"];
        stage.extend(names.iter().map(String::as_bytes));
        self.command(at, &[&stage, &[b"QUORATE", b"RECLUSTER", b"FORCE"]]);
    }

    /// Commands at a node's console.
    pub(super) fn command(&mut self, at: HostId, words: &[&[&[u8]]]) {
        let auth = self.plan.password.clone().unwrap_or_default();
        let login: &[&[u8]] = &[b"AUTH", auth.as_bytes()];
        let login = self.plan.password.is_some().then_some(login);
        let all: Vec<&[&[u8]]> = login.into_iter().chain(words.iter().copied()).collect();
        self.world.operate(at, &all);
    }

    fn on_client(&mut self, conn: ClientConn, event: ClientEvent) {
        let Some(&n) = self.opened.get(conn.0 as usize) else { return };
        let now = self.world.now().0;
        let mut actions = Vec::new();
        let client = &mut self.clients[n];
        match event {
            ClientEvent::Connected => client.on_connected(conn, now, &mut self.book, &mut actions),
            ClientEvent::Failed(_) | ClientEvent::Closed(_) => {
                client.on_closed(conn, now, &mut self.book, &mut actions);
            }
            ClientEvent::Readable => {
                let bytes = self.world.client_buf(conn).split().freeze();
                let read = client.on_bytes(conn, &bytes, now, &mut self.book, &mut actions);
                if let Err(why) = read {
                    let evidence = format!("client {n}: {why}");
                    self.broken = Some(Violation { property: Property::Sessions, evidence });
                }
            }
        }
        self.carry_out(n, actions);
    }

    fn carry_out(&mut self, n: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Connect { host } => {
                    let conn = self.world.client_connect(self.clients_host, ip_of(host), PORT);
                    debug_assert_eq!(conn.0 as usize, self.opened.len());
                    self.opened.push(n);
                    self.world.client_is(conn, &format_args!("client{n}"));
                    self.clients[n].on_connecting(conn);
                }
                Action::Send { conn, bytes } => {
                    let text = String::from_utf8_lossy(&bytes).replace("\r\n", " ");
                    self.say(|| format!("client{n} sends {text}"));
                    self.world.client_send(conn, bytes);
                }
                Action::Close { conn } => self.world.client_close(conn),
            }
        }
        self.arm(n);
    }

    fn arm(&mut self, n: usize) {
        let Some(wake) = self.clients[n].wake() else { return };
        let wake = wake.max(self.world.now().0);
        if wake < self.alarms[n] {
            self.alarms[n] = wake;
            self.world.alarm(Time(wake), Token::Client(n).encode());
        }
    }

    pub(super) fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.watch.trace {
            let at = self.world.now().0;
            trace.push(Line { at, who: "plan".to_owned(), what: what() });
        }
    }

    fn counts(&self) -> Counts {
        let stats = self.world.stats();
        let mut counts = Counts {
            deliveries: stats.deliveries,
            simulated_ms: self.world.now().as_ms(),
            commands: self.plan.commands() as u64,
            sendings: self.book.sent,
            answered: self.book.answered,
            refused: self.book.refused,
            in_doubt: self.book.in_doubt,
            units: self.book.answered,
            crashes: self.crashes,
            peer_bytes_hit: u64::from(stats.peer_bytes_lost + stats.peer_bytes_delayed > 0),
            whole_healed: 1,
            ..Counts::default()
        };
        let keys = self.strong.clients.iter().flat_map(|client| &client.steps).map(|step| step.key);
        let keys: BTreeSet<u16> = keys.collect();
        counts.per_key = counts.commands / (keys.len() as u64).max(1);
        counts.concurrent_writes = u64::from(judge::overlaps(&self.book.events));
        for (class, seen) in FaultClass::ALL.iter().zip(&mut counts.faults) {
            *seen = u64::from(self.plan.has_fault(*class));
        }
        counts
    }
}

/// A node's name in the roster.
pub fn node_name(host: u16) -> NodeName {
    NodeName(0xa1 + u32::from(host))
}

/// The host of a node.
pub fn host_of(name: NodeName) -> u16 {
    (name.0 - 0xa1) as u16
}

/// What a node is told at its start.
pub fn config_of(plan: &Plan, host: u16) -> Config {
    let strong = plan.strong.as_ref().expect("a plan of a strong cluster");
    let node = &plan.nodes[usize::from(host)];
    let mutants = match plan.mutant.as_deref().and_then(Mutant::from_name) {
        Some(mutant) => Mutants::only(mutant),
        None => Mutants::NONE,
    };
    let seeds = [0, 1].into_iter().filter(|&seed| seed != host);
    Config {
        limits: plan.limits.limits(),
        mutants,
        port: PORT,
        protected_mode: false,
        requirepass: plan.password.clone(),
        masterauth: plan.password.clone(),
        appendonly: true,
        appendfsync: match node.log {
            Some(LogPlan::Always) => SyncPolicy::Always,
            Some(LogPlan::EverySec) | None => SyncPolicy::EverySec,
            Some(LogPlan::No) => SyncPolicy::No,
        },
        strong: StrongSettings {
            on: true,
            cluster_name: "sim".to_owned(),
            node: Some(node_name(host)),
            rack: RackId(strong.racks[usize::from(host)]),
            seeds: seeds.map(|n| HostPort { host: name_of(n), port: PORT }).collect(),
            heartbeat_interval_ms: strong.interval_ms,
            heartbeat_timeout_intervals: strong.timeout_intervals,
            replication_factor: strong.copies,
            partitions: strong.partitions,
            redirect: match strong.proxies.contains(&host) {
                true => Redirect::Proxy,
                false => Redirect::Moved,
            },
            ..StrongSettings::default()
        },
        ..Config::default()
    }
}
