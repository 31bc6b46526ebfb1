//! A small world of nodes that speak over queues: cuts, pauses, kills with lost tails, clients; no store, no sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::super::message::{Durable, Item};
use super::super::tail::{History, KeyState, Place};
use super::super::*;
use super::checks::Checks;
use crate::base::content::Content;
use crate::base::fact::Fact;
use crate::base::mutant::{Mutants, StrongMutant};

pub const MS: u64 = 1_000_000;

/// What happens to disks, besides losing what was not synced.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Disks {
    Stay,
    /// Some are wiped, and come back with other voter ids.
    Wiped,
    /// One is put back to an older state, or changed for a copy of it.
    Older,
}

/// What a world is like.
#[derive(Copy, Clone, Debug)]
pub struct Shape {
    pub hosts: usize,
    pub copies: u8,
    pub partitions: u16,
    /// Everything is synced before anything is said.
    pub always: bool,
    /// Many writes in flight.
    pub heavy: bool,
    pub disks: Disks,
    /// Faults follow each other within so much time.
    pub pause: u64,
    /// Only some nodes are there in the end.
    pub heals_some: bool,
    /// Nodes come and go for good, and wiped ones are admitted again.
    pub changes: bool,
    pub mutants: Mutants,
}

impl Shape {
    pub fn of(seed: u64, mutants: Mutants) -> Shape {
        let mut rng = Rng::fork(seed, "shape");
        let hosts = 2 + rng.below(5) as usize;
        let copies = 1 + rng.below(3.min(hosts as u64)) as u8;
        let heavy = rng.below(4) == 0;
        let disks = match rng.below(6) {
            0 => Disks::Wiped,
            1 => Disks::Older,
            _ => Disks::Stay,
        };
        let partitions = if heavy { 1 } else { 4 };
        let (always, heals_some) = (rng.below(2) == 0, rng.below(2) == 0);
        let pause = [60, 200, 600][rng.below(3) as usize] * MS;
        // (The only node of a roster is not told by others that its disk is an older one.)
        let changes = disks != Disks::Older && Rng::fork(seed, "changes").below(3) == 0;
        Shape {
            hosts,
            copies,
            partitions,
            always,
            heavy,
            disks,
            pause,
            heals_some,
            changes,
            mutants,
        }
    }
}

#[derive(Default)]
pub struct Held {
    pub keys: BTreeMap<(Partition, Bytes), KeyState>,
}

impl Copies for Held {
    fn apply(&mut self, of: Partition, changes: &[KeyChange]) {
        for change in changes {
            let place = (of, change.key.clone());
            match &change.state {
                Some(state) => drop(self.keys.insert(place, state.clone())),
                None => drop(self.keys.remove(&place)),
            }
        }
    }

    fn read(&self, of: Partition) -> Vec<KeyChange> {
        let of_it = self.keys.iter().filter(|((part, _), _)| *part == of);
        of_it
            .map(|((_, key), state)| KeyChange { key: key.clone(), state: Some(state.clone()) })
            .collect()
    }

    fn clear(&mut self, of: Partition) {
        self.keys.retain(|(part, _), _| *part != of);
    }
}

pub struct Host {
    pub strong: Option<Strong>,
    pub held: Held,
    pub voter: VoterId,
    pub disk: Vec<Durable>,
    /// How many of its records are of earlier lives.
    earlier: usize,
    pub synced: usize,
    /// Said, and not to leave before so many records are synced.
    pub held_back: VecDeque<(usize, NodeName, Vec<Item>)>,
    /// Told to clients once those records are synced of these that have to come first.
    pub outcomes: VecDeque<(usize, Outcome)>,
    pub sync_at: Option<u64>,
    /// So many records have to be synced before anything is said.
    pub wanted: usize,
    /// And so many before a client is told.
    pub barrier: usize,
    /// A disk it had before.
    pub spare: Option<Vec<Durable>>,
    pub paused_until: u64,
    pub life: u64,
}

pub struct Client {
    pub of: Partition,
    pub began: u64,
    pub write: bool,
    pub place: Place,
    pub history: History,
    pub host: usize,
}

/// On its way: when it arrives, between which lives, what.
type Message = (u64, (u64, u64), Vec<Item>);

pub struct World {
    pub seed: u64,
    pub shape: Shape,
    pub rng: Rng,
    pub now: u64,
    pub hosts: Vec<Host>,
    /// By sender and receiver.
    links: Vec<VecDeque<Message>>,
    pub cut: BTreeSet<(usize, usize)>,
    /// Links that take so much longer.
    pub slow: BTreeMap<(usize, usize), u64>,
    up: BTreeSet<(usize, usize)>,
    connect_at: u64,
    pub clients: BTreeMap<u64, Client>,
    next_ticket: u64,
    pub checks: Checks,
    pub sometimes: BTreeSet<&'static str>,
    pub writes_done: u64,
    pub reads_done: u64,
}

pub fn name(host: usize) -> NodeName {
    NodeName(0xa1 + host as u32)
}

impl World {
    pub fn new(seed: u64, shape: Shape) -> World {
        let mut world = World {
            seed,
            shape,
            now: 1000 * MS,
            hosts: Vec::new(),
            links: (0..shape.hosts * shape.hosts).map(|_| VecDeque::new()).collect(),
            cut: BTreeSet::new(),
            slow: BTreeMap::new(),
            up: BTreeSet::new(),
            connect_at: 0,
            clients: BTreeMap::new(),
            next_ticket: 1,
            checks: Checks::default(),
            sometimes: BTreeSet::new(),
            writes_done: 0,
            reads_done: 0,
            rng: Rng::fork(seed, "world"),
        };
        for at in 0..shape.hosts {
            let voter = VoterId(world.rng.next_u64());
            world.hosts.push(Host {
                strong: None,
                held: Held::default(),
                voter,
                disk: Vec::new(),
                earlier: 0,
                synced: 0,
                held_back: VecDeque::new(),
                outcomes: VecDeque::new(),
                sync_at: None,
                wanted: 0,
                barrier: 0,
                spare: None,
                paused_until: 0,
                life: 0,
            });
            world.begin(at, false);
        }
        world.run(world.now + 100 * MS);
        let mut rng = Rng::fork(seed, "first roster");
        let first = if shape.changes { rng.next_u64() | 1 } else { u64::MAX };
        let roster = world.roster(first, shape.copies);
        let now = Mono(world.now);
        let strong = world.hosts[0].strong.as_mut().expect("it runs");
        strong.found(roster, now).expect("all are heard");
        world.after(0);
        world.run(world.now + 300 * MS);
        world
    }

    /// The roster of the hosts in a set of bits.
    pub fn roster(&self, set: u64, copies: u8) -> Roster {
        let nodes = (0..self.shape.hosts)
            .filter(|at| set >> at & 1 == 1)
            .map(|at| RosterNode { name: name(at), rack: RackId(at as u16 % 2) })
            .collect();
        Roster::new(nodes, copies).expect("a roster")
    }

    pub fn begin(&mut self, at: usize, lost: bool) {
        let config = StrongConfig {
            name: name(at),
            partitions: self.shape.partitions,
            heartbeat_interval: Span(20 * MS),
            heartbeat_timeout: Span(200 * MS),
            write_timeout: Span(600 * MS),
            mutants: self.shape.mutants,
        };
        let rng = Rng::new(self.rng.next_u64());
        let host = &mut self.hosts[at];
        host.life += 1;
        host.held = Held::default();
        let mut strong = Strong::new(config, host.voter, rng);
        for (lsn, record) in (1..).map(Lsn).zip(host.disk.clone()) {
            strong.recover(record, lsn, &mut host.held);
        }
        host.earlier = host.disk.len();
        strong.begin(lost, self.shape.always, Mono(self.now));
        host.strong = Some(strong);
        self.checks.new_life(at);
        self.after(at);
    }

    /// Ends a process; what was not synced may be lost.
    pub fn kill(&mut self, at: usize) {
        let keep = self.hosts[at].synced
            + self.rng.below((self.hosts[at].disk.len() - self.hosts[at].synced + 1) as u64)
                as usize;
        self.stop(at);
        let host = &mut self.hosts[at];
        host.disk.truncate(keep);
        host.synced = keep;
    }

    /// Ends a process: nobody hears of what it held back.
    pub fn stop(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        host.strong = None;
        host.held_back.clear();
        host.outcomes.clear();
        host.sync_at = None;
        host.wanted = 0;
        host.barrier = 0;
        self.clients.retain(|_, client| client.host != at);
        for other in 0..self.hosts.len() {
            self.unlink(at, other);
        }
    }

    fn link(&mut self, from: usize, to: usize) -> &mut VecDeque<Message> {
        &mut self.links[from * self.shape.hosts + to]
    }

    pub fn unlink(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            self.link(from, to).clear();
            if self.up.remove(&(from, to))
                && let Some(strong) = &mut self.hosts[to].strong
            {
                strong.on_peer_down(name(from));
            }
        }
    }

    /// What nobody waits for, deliberately.
    fn is_forgotten(&self, record: &Durable) -> bool {
        let forgets = self.shape.mutants.has_strong(StrongMutant::PromiseNotDurable);
        forgets && matches!(record, Durable::Promise { .. })
    }

    /// Takes out what a node has said and done.
    pub fn after(&mut self, at: usize) {
        let now = self.now;
        let delay = MS / 10 + self.rng.below(5 * MS);
        let host = &mut self.hosts[at];
        let Some(strong) = &mut host.strong else { return };
        let mut facts = Facts::new(true);
        let mut desk = Desk { now: Mono(now), copies: &mut host.held, facts: &mut facts };
        strong.flush(&mut desk);
        note_facts(&mut facts, &mut self.sometimes);
        let records = strong.take_records();
        let items = strong.take_items();
        let outcomes = strong.take_outcomes();
        let from = host.disk.len();
        host.disk.extend(records);
        let new = &self.hosts[at].disk[from..];
        let first = |record: &Durable| record.comes_first() && !self.is_forgotten(record);
        let every = |record: &Durable| self.shape.always && !self.is_forgotten(record);
        let barrier = new.iter().rposition(first).map(|place| from + place + 1);
        let wanted = new.iter().rposition(every).map(|place| from + place + 1);
        let host = &mut self.hosts[at];
        host.barrier = barrier.unwrap_or(host.barrier);
        host.wanted = wanted.unwrap_or(host.wanted).max(host.barrier);
        let (wanted, barrier) = (host.wanted, host.barrier);
        if wanted > host.synced && host.sync_at.is_none() {
            host.sync_at = Some(now + delay);
        }
        for (to, items) in items {
            host.held_back.push_back((wanted, to, items));
        }
        for outcome in outcomes {
            host.outcomes.push_back((barrier, outcome));
        }
        self.check_step(at, from);
        self.release(at);
    }

    fn release(&mut self, at: usize) {
        while let Some((wanted, _, _)) = self.hosts[at].held_back.front() {
            if *wanted > self.hosts[at].synced {
                break;
            }
            let Some((_, to, items)) = self.hosts[at].held_back.pop_front() else { break };
            let to = (to.0 - 0xa1) as usize;
            if self.up.contains(&(at, to)) {
                let lives = (self.hosts[at].life, self.hosts[to].life);
                let slow = self.slow.get(&(at, to)).copied().unwrap_or(0);
                let delay = MS / 10 + slow + self.rng.below(2 * MS);
                let now = self.now;
                let queue = self.link(at, to);
                let when = queue.back().map_or(0, |last| last.0).max(now + delay);
                queue.push_back((when, lives, items));
            }
        }
        while let Some((wanted, _)) = self.hosts[at].outcomes.front() {
            if *wanted > self.hosts[at].synced {
                break;
            }
            let Some((_, outcome)) = self.hosts[at].outcomes.pop_front() else { break };
            self.on_outcome(outcome);
        }
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        let (Outcome::Done(ticket) | Outcome::Refused(ticket) | Outcome::InDoubt(ticket)) = outcome;
        let Some(client) = self.clients.remove(&ticket.0) else { return };
        if !matches!(outcome, Outcome::Done(_)) {
            return;
        }
        if client.write {
            self.writes_done += 1;
        } else {
            self.reads_done += 1;
        }
        let oldest = self.clients.values().map(|client| client.began).min();
        self.checks.done(self.seed, self.now, client, oldest.unwrap_or(self.now));
    }

    pub fn request(&mut self, write: bool) {
        let at = self.rng.below(self.hosts.len() as u64) as usize;
        let of = Partition(self.rng.below(u64::from(self.shape.partitions)) as u16);
        self.request_at(at, of, write);
    }

    /// Whoever believes to be a master is asked.
    pub fn ask_all(&mut self, writes: impl Fn(usize) -> bool) {
        for at in 0..self.hosts.len() {
            for of in (0..self.shape.partitions).map(Partition) {
                self.request_at(at, of, writes(at));
            }
        }
    }

    fn request_at(&mut self, at: usize, of: Partition, write: bool) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let now = Mono(self.now);
        let host = &mut self.hosts[at];
        if host.paused_until > self.now {
            return;
        }
        let Some(strong) = &mut host.strong else { return };
        if strong.route(of, now) != Route::Here {
            return;
        }
        if write {
            let key = Bytes::from(format!("k{}", ticket % 3));
            let state = Some(KeyState {
                value: Content::String(ticket.to_string().into()),
                deadline: None,
            });
            strong.write(of, vec![KeyChange { key, state }], Some(Ticket(ticket)), now);
        } else {
            strong.read(of, Ticket(ticket), true, now);
        }
        let history = strong.at(of).tail.history().clone();
        let place = history.last();
        let client = Client { of, began: self.now, write, place, history, host: at };
        self.clients.insert(ticket, client);
        self.after(at);
    }

    /// Links that can come up do.
    fn connect(&mut self) {
        for a in 0..self.hosts.len() {
            for b in 0..a {
                let runs = [a, b].iter().all(|&at| {
                    self.hosts[at].strong.is_some() && self.hosts[at].paused_until <= self.now
                });
                let open = !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a));
                if runs && open && !self.up.contains(&(a, b)) {
                    self.up.insert((a, b));
                    self.up.insert((b, a));
                    for (from, to) in [(a, b), (b, a)] {
                        let voter = self.hosts[from].voter;
                        let start = self.hosts[from].strong.as_ref().map_or(Start(0), |s| s.start);
                        self.with(to, |strong, desk| {
                            strong.on_peer_up(name(from), voter, start, desk)
                        });
                    }
                }
            }
        }
    }

    pub fn with(&mut self, at: usize, call: impl FnOnce(&mut Strong, &mut Desk<'_>)) {
        let now = Mono(self.now);
        let host = &mut self.hosts[at];
        let Some(strong) = &mut host.strong else { return };
        let mut facts = Facts::new(true);
        let mut desk = Desk { now, copies: &mut host.held, facts: &mut facts };
        call(strong, &mut desk);
        note_facts(&mut facts, &mut self.sometimes);
        self.after(at);
    }

    /// When the next thing happens by itself.
    fn next_event(&self) -> u64 {
        let mut next = self.connect_at;
        for host in &self.hosts {
            let wakes = |when: u64| when.max(host.paused_until);
            if let Some(strong) = &host.strong {
                next = next.min(wakes(strong.poll_timeout().0));
            }
            next = host.sync_at.map_or(next, |when| next.min(wakes(when)));
        }
        for (place, queue) in self.links.iter().enumerate() {
            let (from, to) = (place / self.hosts.len(), place % self.hosts.len());
            if let Some((when, _, _)) = queue.front()
                && *when < next
                && !self.cut.contains(&(from, to))
            {
                next = next.min((*when).max(self.hosts[to].paused_until));
            }
        }
        next
    }

    pub fn run(&mut self, until: u64) {
        while self.now < until {
            let next = self.next_event();
            self.now = next.max(self.now + MS / 10).min(until);
            if self.now >= self.connect_at {
                self.connect_at = self.now + 10 * MS;
                self.connect();
            }
            for at in 0..self.hosts.len() {
                if self.hosts[at].paused_until > self.now {
                    continue;
                }
                if self.hosts[at].sync_at.is_some_and(|when| when <= self.now) {
                    let host = &mut self.hosts[at];
                    host.sync_at = None;
                    host.synced = host.disk.len();
                    self.check_told(at);
                    let made = (self.hosts[at].synced - self.hosts[at].earlier) as u64;
                    self.release(at);
                    self.with(at, |strong, _| strong.on_durable(made));
                }
                let due =
                    self.hosts[at].strong.as_ref().is_some_and(|s| s.poll_timeout().0 <= self.now);
                if due {
                    self.with(at, |strong, desk| strong.on_timeout(desk));
                }
                for from in 0..self.hosts.len() {
                    self.deliver(from, at);
                }
            }
        }
    }

    fn deliver(&mut self, from: usize, to: usize) {
        loop {
            let now = self.now;
            if self.link(from, to).front().is_none_or(|(when, _, _)| *when > now)
                || self.cut.contains(&(from, to))
            {
                return;
            }
            let Some((_, lives, items)) = self.link(from, to).pop_front() else { return };
            if lives == (self.hosts[from].life, self.hosts[to].life) {
                self.with(to, |strong, desk| strong.on_items(name(from), items, desk));
            }
        }
    }
}

fn note_facts(facts: &mut Facts, sometimes: &mut BTreeSet<&'static str>) {
    for fact in facts.drain() {
        if let Fact::Sometimes(label) = fact {
            sometimes.insert(label);
        }
    }
}
