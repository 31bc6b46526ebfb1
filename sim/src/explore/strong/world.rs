//! The state of a small strong cluster, and what may happen next in it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use quorate::base::content::Content;
use quorate::base::fact::{Fact, Facts};
use quorate::base::ids::Partition;
use quorate::base::mutant::Mutants;
use quorate::base::rng::Rng;
use quorate::base::time::{Mono, Span};
use quorate::strong::message::{Durable, Item};
use quorate::strong::regime::{Start, VoterId};
use quorate::strong::tail::{KeyChange, KeyState};
use quorate::strong::{
    Copies, Desk, NodeName, Outcome, RackId, Roster, RosterNode, Route, Strong, StrongConfig,
    Ticket,
};

use super::checks::{Asked, Checks};
use crate::digest::fingerprint;

/// The partition.
pub const OF: Partition = Partition(0);
/// A tick of a node's clock; the protocol makes three of a heartbeat interval.
const INTERVAL: Span = Span(3);
const TIMEOUT: Span = Span(9);
/// After so many ticks in which a node did nothing it does nothing at all.
const TICKS_MAX: u32 = 48;
/// Nobody waits so long.
const FOREVER: Span = Span(1 << 40);
/// Steps that bring a new cluster to rest.
const STEPS_TO_REST_MAX: u32 = 10_000;

/// How much may happen.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Size {
    pub nodes: u16,
    /// Copies of the partition.
    pub copies: u8,
    pub writes: u8,
    pub reads: u8,
    /// How often time may pass at a node, in all.
    pub times: u8,
    /// How often it may although something is on its way that can arrive.
    pub delays: u8,
    /// The place in the succession of the node that the split cuts off.
    pub cuts_off: u16,
}

/// One thing that may happen next. Nodes are told by their places in the partition's succession, from 0.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// What a node said first of all that is on its way to another arrives.
    Arrives {
        from: u16,
        to: u16,
    },
    /// Time passes at a node, up to the next moment at which its clock makes it say or decide something. Heartbeats of the
    /// nodes that it is not cut off from come in time.
    Time {
        at: u16,
    },
    Write {
        at: u16,
    },
    Read {
        at: u16,
    },
    Split,
    /// The connections have survived: what was on its way across arrives yet.
    Heal,
    /// The connections across are replaced by new ones: what was on its way is lost.
    HealAnew,
}

/// How far the split is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Split {
    Before,
    During,
    After,
}

/// What a node has said to another in one step.
#[derive(Debug)]
struct Message {
    items: Vec<Item>,
    print: u128,
}

/// A node with its copy.
#[derive(Clone, Debug)]
struct Host {
    strong: Strong,
    held: Held,
    /// Its own clock, which stands still but for [`Step::Time`].
    now: Mono,
    voter: VoterId,
    /// All nodes have the roster: that need not be told any more.
    founded: bool,
    print: u128,
}

#[derive(Clone, Debug, Default)]
struct Held {
    keys: BTreeMap<Bytes, KeyState>,
}

/// A state. What did not change in a step is shared with the state before.
#[derive(Clone, Debug)]
pub struct World {
    size: Size,
    hosts: Vec<Arc<Host>>,
    /// Names by place in the succession, and back.
    names: Arc<Vec<NodeName>>,
    links: Vec<VecDeque<Arc<Message>>>,
    split: Split,
    writes: u8,
    reads: u8,
    times: u8,
    delays: u8,
    checks: Arc<Checks>,
    /// Rare paths that the last step has taken.
    pub labels: Vec<&'static str>,
}

/// What a node has said and done.
#[derive(Debug, Default)]
struct Done {
    items: Vec<(NodeName, Vec<Item>)>,
    records: Vec<Durable>,
    outcomes: Vec<Outcome>,
    labels: Vec<&'static str>,
}

impl Done {
    fn is_nothing(&self) -> bool {
        self.items.is_empty() && self.outcomes.is_empty() && self.labels.is_empty()
    }
}

impl Host {
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Strong, &mut Desk<'_>) -> T,
        done: &mut Done,
    ) -> T {
        let mut facts = Facts::new(true);
        let mut desk = Desk { now: self.now, copies: &mut self.held, facts: &mut facts };
        let result = call(&mut self.strong, &mut desk);
        self.strong.flush(&mut desk);
        done.records.append(&mut self.strong.take_records());
        // (Whatever is written down is on the device at once.)
        self.strong.on_durable(self.strong.made());
        self.strong.flush(&mut desk);
        done.records.append(&mut self.strong.take_records());
        done.outcomes.append(&mut self.strong.take_outcomes());
        let said = self.strong.take_items().into_iter();
        let heartbeat = |item: &Item| is_heartbeat(item, self.founded);
        done.items.extend(said.filter(|(_, items)| !items.iter().all(heartbeat)));
        for fact in facts.drain() {
            if let Fact::Sometimes(label) = fact {
                done.labels.push(label);
            }
        }
        result
    }

    /// The next moment at which the node's clock wakes it; heartbeats have come just before.
    fn tick(&mut self, beats: &[(NodeName, Vec<NodeName>)], done: &mut Done) {
        self.now = self.strong.poll_timeout();
        self.call(
            |strong, desk| {
                for (name, hears) in beats {
                    strong.on_items(*name, vec![Item::Beat { hears: hears.clone() }], desk);
                }
                strong.on_timeout(desk);
            },
            done,
        );
    }
}

impl Copies for Held {
    fn apply(&mut self, _: Partition, changes: &[KeyChange]) {
        for change in changes {
            match &change.state {
                Some(state) => drop(self.keys.insert(change.key.clone(), state.clone())),
                None => drop(self.keys.remove(&change.key)),
            }
        }
    }

    fn read(&self, _: Partition) -> Vec<KeyChange> {
        let all = self.keys.iter();
        all.map(|(key, state)| KeyChange { key: key.clone(), state: Some(state.clone()) }).collect()
    }

    fn clear(&mut self, _: Partition) {
        self.keys.clear();
    }
}

impl World {
    /// A cluster that has been founded and is at rest: its first master serves, and all have said what they had to.
    ///
    /// # Errors
    /// What did not hold on the way.
    pub fn at_rest(size: Size, mutants: Mutants) -> Result<World, String> {
        let names: Vec<NodeName> =
            (0..size.nodes).map(|at| NodeName(0xa1 + u32::from(at))).collect();
        let nodes =
            names.iter().zip(0..).map(|(&name, rack)| RosterNode { name, rack: RackId(rack) });
        let roster =
            Roster::new(nodes.collect(), size.copies).map_err(|error| error.to_string())?;
        let hosts = names.iter().zip(0..).map(|(&name, at)| host(name, at, mutants)).collect();
        let mut world = World {
            size,
            hosts,
            names: Arc::new(names),
            links: vec![VecDeque::new(); usize::from(size.nodes) * usize::from(size.nodes)],
            split: Split::Before,
            writes: 0,
            reads: 0,
            times: 0,
            delays: 0,
            checks: Arc::new(Checks::default()),
            labels: Vec::new(),
        };
        for at in 0..size.nodes {
            for other in (0..size.nodes).filter(|other| *other != at) {
                world.link_up(at, other)?;
            }
        }
        world.settle()?;
        world.with(0, |strong, desk| {
            strong.found(roster, desk.now).map_err(|error| format!("{error:?}"))
        })??;
        world.settle()?;
        world.sort_by_succession()?;
        let serves = world.hosts[0].strong.serves(OF);
        if serves { Ok(world) } else { Err("the first node does not come to serve".to_owned()) }
    }

    /// Everything that may happen next. Some may turn out to change nothing.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let nodes = 0..self.size.nodes;
        for from in nodes.clone() {
            for to in nodes.clone() {
                if !self.links[self.link(from, to)].is_empty() && !self.is_cut(from, to) {
                    steps.push(Step::Arrives { from, to });
                }
            }
        }
        let is_quiet = steps.is_empty();
        if self.times < self.size.times && (is_quiet || self.delays < self.size.delays) {
            steps.extend(nodes.clone().map(|at| Step::Time { at }));
        }
        let here = |at: &u16| {
            let host = &self.hosts[usize::from(*at)];
            host.strong.route(OF, host.now) == Route::Here
        };
        if self.writes < self.size.writes {
            steps.extend(nodes.clone().filter(here).map(|at| Step::Write { at }));
        }
        if self.reads < self.size.reads {
            steps.extend(nodes.filter(here).map(|at| Step::Read { at }));
        }
        match self.split {
            Split::Before => steps.push(Step::Split),
            Split::During => steps.extend([Step::Heal, Step::HealAnew]),
            Split::After => {}
        }
        steps
    }

    /// The state after a step; `None` if it changes nothing.
    ///
    /// # Errors
    /// What does not hold then.
    pub fn after(&self, step: Step) -> Result<Option<World>, String> {
        let mut world = self.clone();
        world.labels.clear();
        match step {
            Step::Arrives { from, to } => world.arrive(from, to)?,
            Step::Time { at } => {
                world.times += 1;
                world.delays += u8::from(!self.is_quiet());
                if !world.time_passes(at)? {
                    return Ok(None);
                }
            }
            Step::Write { at } => world.request(at, true)?,
            Step::Read { at } => world.request(at, false)?,
            Step::Split => world.split = Split::During,
            Step::Heal => world.split = Split::After,
            Step::HealAnew => {
                world.split = Split::After;
                let nodes = 0..self.size.nodes;
                for (a, b) in nodes.clone().flat_map(|a| (0..a).map(move |b| (a, b))) {
                    if self.is_cut(a, b) {
                        world.replace_link(a, b)?;
                    }
                }
            }
        }
        Ok(Some(world))
    }

    /// 128 bits that are the same for states that go on in the same ways.
    pub fn print(&self, text: &mut String) -> u128 {
        text.clear();
        for host in &self.hosts {
            let _ = write!(text, "{:x}.", host.print);
        }
        for link in &self.links {
            for message in link {
                let _ = write!(text, "{:x}.", message.print);
            }
            text.push('|');
        }
        let (split, writes, reads, times) = (self.split, self.writes, self.reads, self.times);
        let _ = write!(text, "{split:?}{writes}.{reads}.{times}.{}{:?}", self.delays, self.checks);
        fingerprint(text)
    }

    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// How many regimes have begun to serve.
    pub fn regimes(&self) -> usize {
        self.checks.began.len()
    }

    // ----- steps -----------------------------------------------------------------------------

    fn arrive(&mut self, from: u16, to: u16) -> Result<(), String> {
        let link = self.link(from, to);
        let Some(message) = self.links[link].pop_front() else { return Ok(()) };
        let name = self.names[usize::from(from)];
        self.with(to, |strong, desk| strong.on_items(name, message.items.clone(), desk))
    }

    /// True if the node said or decided something.
    fn time_passes(&mut self, at: u16) -> Result<bool, String> {
        let beats: Vec<(NodeName, Vec<NodeName>)> = (0..self.size.nodes)
            .filter(|from| *from != at && !self.is_cut(*from, at))
            .map(usize::from)
            .map(|from| (self.names[from], self.hosts[from].strong.stance(OF).heard))
            .collect();
        let host = Arc::make_mut(&mut self.hosts[usize::from(at)]);
        let before = host.strong.stance(OF);
        let mut done = Done::default();
        for _ in 0..TICKS_MAX {
            host.tick(&beats, &mut done);
            if !done.is_nothing() || host.strong.stance(OF) != before {
                self.take_out(at, done)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn request(&mut self, at: u16, write: bool) -> Result<(), String> {
        let number = if write {
            self.writes += 1;
            self.writes
        } else {
            self.reads += 1;
            100 + self.reads
        };
        let ticket = Ticket(u64::from(number));
        let asked = |strong: &Strong, checks: &Checks| {
            let history = strong.history(OF).clone();
            Asked { write, history, before: checks.acked.clone() }
        };
        // (The request is entered first: its outcome may be there at once.)
        let host = Arc::make_mut(&mut self.hosts[usize::from(at)]);
        if write {
            let state = Some(KeyState {
                value: Content::String(number.to_string().into()),
                deadline: None,
            });
            let change = KeyChange { key: Bytes::from_static(b"k"), state };
            host.strong.write(OF, vec![change], Some(ticket), host.now);
        } else {
            host.strong.read(OF, ticket, true, host.now);
        }
        let asked = asked(&host.strong, &self.checks);
        Arc::make_mut(&mut self.checks).asked.insert(ticket.0, asked);
        self.with(at, |_, _| ())
    }

    fn link_up(&mut self, at: u16, other: u16) -> Result<(), String> {
        let name = self.names[usize::from(other)];
        let voter = self.hosts[usize::from(other)].voter;
        self.with(at, |strong, desk| strong.on_peer_up(name, voter, Start(1), desk))
    }

    fn replace_link(&mut self, a: u16, b: u16) -> Result<(), String> {
        for (from, to) in [(a, b), (b, a)] {
            let link = self.link(from, to);
            self.links[link].clear();
            let name = self.names[usize::from(from)];
            self.with(to, |strong, _| strong.on_peer_down(name))?;
        }
        self.link_up(a, b)?;
        self.link_up(b, a)
    }

    /// Calls a node, and takes out what it has said and done.
    fn with<T>(
        &mut self,
        at: u16,
        call: impl FnOnce(&mut Strong, &mut Desk<'_>) -> T,
    ) -> Result<T, String> {
        let mut done = Done::default();
        let result = Arc::make_mut(&mut self.hosts[usize::from(at)]).call(call, &mut done);
        self.take_out(at, done)?;
        Ok(result)
    }

    /// What a node has said is on its way; what it has done has to hold.
    fn take_out(&mut self, at: u16, done: Done) -> Result<(), String> {
        for (name, items) in done.items {
            let print = fingerprint(&told(&items));
            let to = self.names.iter().position(|known| *known == name).unwrap_or_default();
            let link = self.link(at, to as u16);
            self.links[link].push_back(Arc::new(Message { items, print }));
        }
        self.labels.extend(done.labels);
        let host = Arc::make_mut(&mut self.hosts[usize::from(at)]);
        let mut text = String::new();
        host.strong.write_state(host.now, &mut text);
        let _ = write!(text, "{:?}", host.held);
        host.print = fingerprint(&text);
        self.check(at, &done.records, &done.outcomes)
    }

    fn check(&mut self, at: u16, records: &[Durable], outcomes: &[Outcome]) -> Result<(), String> {
        let nodes: Vec<&Strong> = self.hosts.iter().map(|host| &host.strong).collect();
        let mut checks = (*self.checks).clone();
        checks.look(usize::from(at), &nodes, records, outcomes)?;
        if checks != *self.checks {
            self.checks = Arc::new(checks);
        }
        Ok(())
    }

    // ----- the beginning ---------------------------------------------------------------------

    /// Everything arrives, and time passes everywhere, until nothing happens any more.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..STEPS_TO_REST_MAX {
            let founded = self.hosts.iter().all(|host| host.strong.standing().is_some());
            for host in &mut self.hosts {
                Arc::make_mut(host).founded = founded;
            }
            let on_way = self.steps().into_iter().find(|step| matches!(step, Step::Arrives { .. }));
            if let Some(Step::Arrives { from, to }) = on_way {
                self.arrive(from, to)?;
                continue;
            }
            let mut moved = false;
            for at in 0..self.size.nodes {
                moved |= self.time_passes(at)?;
            }
            if !moved {
                return Ok(());
            }
        }
        Err("a new cluster does not come to rest".to_owned())
    }

    /// From here on nodes are told by their places in the succession: the first is the roster-master.
    fn sort_by_succession(&mut self) -> Result<(), String> {
        let succession = self.hosts[0].strong.succession().ok_or("there is no roster")?;
        let order: Vec<usize> =
            succession.order(OF).iter().map(|&place| usize::from(place)).collect();
        let (hosts, names) = (self.hosts.clone(), self.names.clone());
        self.hosts = order.iter().map(|&at| hosts[at].clone()).collect();
        self.names = Arc::new(order.iter().map(|&at| names[at]).collect());
        Ok(())
    }

    // ----- small words -----------------------------------------------------------------------

    /// Whether nothing is on its way that can arrive.
    fn is_quiet(&self) -> bool {
        let nodes = 0..self.size.nodes;
        let mut pairs = nodes.clone().flat_map(|from| nodes.clone().map(move |to| (from, to)));
        pairs.all(|(from, to)| self.links[self.link(from, to)].is_empty() || self.is_cut(from, to))
    }

    fn link(&self, from: u16, to: u16) -> usize {
        usize::from(from * self.size.nodes + to)
    }

    fn is_cut(&self, a: u16, b: u16) -> bool {
        let off = self.size.cuts_off;
        self.split == Split::During && (a == off) != (b == off)
    }
}

fn host(name: NodeName, at: u64, mutants: Mutants) -> Arc<Host> {
    let config = StrongConfig {
        name,
        partitions: 1,
        heartbeat_interval: INTERVAL,
        heartbeat_timeout: TIMEOUT,
        write_timeout: FOREVER,
        mutants,
    };
    let (voter, now) = (VoterId(at + 1), Mono(1000));
    let mut strong = Strong::new(config, voter, Rng::fork(at, "explored"));
    strong.begin(false, true, now);
    Arc::new(Host { strong, held: Held::default(), now, voter, founded: false, print: 0 })
}

/// Heartbeats are not on their way: they come in time, or not at all. With them nodes tell how much they have written down,
/// which matters for older disks only, and that they have the roster, which is over once all have it.
fn is_heartbeat(item: &Item, founded: bool) -> bool {
    match item {
        Item::Beat { .. } | Item::Mark { .. } => true,
        Item::RosterHeld { .. } => founded,
        Item::Remembered { .. }
        | Item::Forgot { .. }
        | Item::Roster { .. }
        | Item::Decided { .. }
        | Item::CouncilPromise { .. }
        | Item::CouncilPromised { .. }
        | Item::CouncilAccept { .. }
        | Item::CouncilAccepted { .. }
        | Item::CouncilRefused { .. }
        | Item::Ask { .. }
        | Item::Answer { .. }
        | Item::Promise { .. }
        | Item::Promised { .. }
        | Item::Refused { .. }
        | Item::Nominate { .. }
        | Item::Accept { .. }
        | Item::Accepted { .. }
        | Item::Chosen { .. }
        | Item::Sync { .. }
        | Item::Synced { .. }
        | Item::Mismatch { .. }
        | Item::Whole { .. }
        | Item::Round { .. }
        | Item::RoundAnswer { .. }
        | Item::Serving { .. }
        | Item::Stopped { .. }
        | Item::Census { .. }
        | Item::Counted { .. }
        | Item::Admit { .. }
        | Item::Admitted { .. }
        | Item::Trust { .. }
        | Item::Trusted { .. } => false,
    }
}

/// What a message says, without how much its sender has written down.
fn told(items: &[Item]) -> String {
    let mut text = String::new();
    for item in items {
        let _ = match item {
            Item::Mark { .. } => write!(text, "mark"),
            Item::Remembered { .. } => write!(text, "remembered"),
            other => write!(text, "{other:?}"),
        };
    }
    text
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Arrives { from, to } => write!(f, "node{to} gets what node{from} said"),
            Step::Time { at } => write!(f, "time passes at node{at}"),
            Step::Write { at } => write!(f, "a client writes at node{at}"),
            Step::Read { at } => write!(f, "a client reads at node{at}"),
            Step::Split => write!(f, "the split begins"),
            Step::Heal => write!(f, "the split ends; connections have survived"),
            Step::HealAnew => write!(f, "the split ends; connections are new"),
        }
    }
}
