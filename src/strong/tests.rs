//! Small worlds of nodes that speak over queues: cuts, pauses, kills with lost tails, clients; no store, no sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::message::{Durable, Item};
use super::regime::Regime;
use super::tail::{History, KeyState, Place};
use super::*;

const PARTITIONS: u16 = 4;
const MS: u64 = 1_000_000;

#[derive(Default)]
struct Held {
    keys: BTreeMap<(Partition, Bytes), KeyState>,
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

struct Host {
    strong: Option<Strong>,
    held: Held,
    voter: VoterId,
    disk: Vec<Durable>,
    synced: usize,
    /// Said, and not to leave before so many records are synced.
    held_back: VecDeque<(usize, NodeName, Vec<Item>)>,
    /// Told to clients under the same condition.
    outcomes: VecDeque<(usize, Outcome)>,
    sync_at: Option<u64>,
    paused_until: u64,
    life: u64,
}

struct Client {
    of: Partition,
    began: u64,
    write: bool,
    place: Place,
    history: History,
    host: usize,
}

/// On its way: when it arrives, between which lives, what.
type Message = (u64, (u64, u64), Vec<Item>);

struct World {
    seed: u64,
    rng: Rng,
    now: u64,
    always: bool,
    hosts: Vec<Host>,
    /// By sender and receiver.
    links: BTreeMap<(usize, usize), VecDeque<Message>>,
    cut: BTreeSet<(usize, usize)>,
    up: BTreeSet<(usize, usize)>,
    clients: BTreeMap<u64, Client>,
    next_ticket: u64,
    /// Places told as done: when.
    done: Vec<(Partition, Place, u64)>,
    chosen: BTreeMap<(Partition, Regime), Configuration>,
    sometimes: BTreeSet<&'static str>,
    writes_done: u64,
    reads_done: u64,
}

impl Strong {
    /// What a node thinks of a partition.
    fn told(&self, of: Partition) -> String {
        let part = self.at(of);
        format!(
            "\n  {:?} {:?}: promised {:?} to {:?}, chosen {:?}, accepted {:?}, intact {:?}, {:?} committed {}, serving {:?}, \
             reign {:?}, bid {:?}, vacant {:?}, busy {}, heard {:?}",
            self.config.name,
            self.start,
            part.promised,
            part.promised_to,
            part.chosen.regime,
            part.accepted.iter().map(|p| p.config.regime).collect::<Vec<_>>(),
            part.intact,
            part.tail.last(),
            part.tail.committed(),
            part.serving,
            part.reign.as_ref().map(|r| (r.config.regime, r.serves, &r.followers)),
            part.bid,
            part.vacant_since,
            self.busy.contains(&of),
            self.heard,
        )
    }
}

fn name(host: usize) -> NodeName {
    NodeName(0xa1 + host as u32)
}

impl World {
    fn new(seed: u64, hosts: usize, copies: u8) -> World {
        let mut rng = Rng::fork(seed, "world");
        let always = rng.below(2) == 0;
        let mut world = World {
            seed,
            now: 1000 * MS,
            always,
            hosts: Vec::new(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            up: BTreeSet::new(),
            clients: BTreeMap::new(),
            next_ticket: 1,
            done: Vec::new(),
            chosen: BTreeMap::new(),
            sometimes: BTreeSet::new(),
            writes_done: 0,
            reads_done: 0,
            rng,
        };
        for at in 0..hosts {
            let voter = VoterId(world.rng.next_u64());
            world.hosts.push(Host {
                strong: None,
                held: Held::default(),
                voter,
                disk: Vec::new(),
                synced: 0,
                held_back: VecDeque::new(),
                outcomes: VecDeque::new(),
                sync_at: None,
                paused_until: 0,
                life: 0,
            });
            world.begin(at, false);
        }
        world.run(world.now + 500 * MS);
        let nodes = (0..hosts)
            .map(|at| RosterNode { name: name(at), rack: RackId(at as u16 % 2) })
            .collect();
        let roster = Roster::new(nodes, copies).expect("a roster");
        let now = Mono(world.now);
        let first = world.hosts[0].strong.as_mut().expect("it runs");
        first.found(roster, now).expect("all are heard");
        world.after(0);
        world.run(world.now + 2000 * MS);
        world
    }

    fn begin(&mut self, at: usize, lost: bool) {
        let config = StrongConfig {
            name: name(at),
            partitions: PARTITIONS,
            heartbeat_interval: Span(20 * MS),
            heartbeat_timeout: Span(200 * MS),
            write_timeout: Span(600 * MS),
        };
        let rng = Rng::new(self.rng.next_u64());
        let host = &mut self.hosts[at];
        host.life += 1;
        host.held = Held::default();
        let mut strong = Strong::new(config, host.voter, rng);
        for record in host.disk.clone() {
            strong.recover(record, &mut host.held);
        }
        strong.begin(lost, self.always, Mono(self.now));
        host.strong = Some(strong);
        self.after(at);
    }

    /// Ends a process; what was not synced may be lost.
    fn kill(&mut self, at: usize) {
        let keep = self.hosts[at].synced
            + self.rng.below((self.hosts[at].disk.len() - self.hosts[at].synced + 1) as u64)
                as usize;
        let host = &mut self.hosts[at];
        host.strong = None;
        host.disk.truncate(keep);
        host.synced = keep;
        host.held_back.clear();
        host.outcomes.clear();
        host.sync_at = None;
        self.clients.retain(|_, client| client.host != at);
        for other in 0..self.hosts.len() {
            self.unlink(at, other);
        }
    }

    fn unlink(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            self.links.remove(&(from, to));
            if self.up.remove(&(from, to))
                && let Some(strong) = &mut self.hosts[to].strong
            {
                strong.on_peer_down(name(from));
            }
        }
    }

    /// Takes out what a node has said and done.
    fn after(&mut self, at: usize) {
        let now = self.now;
        let delay = MS / 10 + self.rng.below(5 * MS);
        let host = &mut self.hosts[at];
        let Some(strong) = &mut host.strong else { return };
        let mut facts = Facts::new(true);
        let mut desk = Desk { now: Mono(now), copies: &mut host.held, facts: &mut facts };
        strong.flush(&mut desk);
        for fact in facts.drain() {
            if let crate::base::fact::Fact::Sometimes(label) = fact {
                self.sometimes.insert(label);
            }
        }
        for record in strong.take_records() {
            if let Durable::Chosen { of, config } = &record {
                let key = (*of, config.regime);
                let known = self.chosen.entry(key).or_insert_with(|| config.clone());
                assert_eq!(known, config, "seed {}: one configuration per number", self.seed);
            }
            host.disk.push(record);
        }
        let must = |record: &Durable| self.always || record.comes_first();
        let wanted = host.disk.iter().rposition(must).map_or(0, |place| place + 1);
        if wanted > host.synced && host.sync_at.is_none() {
            host.sync_at = Some(now + delay);
        }
        for (to, items) in strong.take_items() {
            host.held_back.push_back((wanted, to, items));
        }
        for outcome in strong.take_outcomes() {
            host.outcomes.push_back((wanted, outcome));
        }
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
                let delay = MS / 10 + self.rng.below(2 * MS);
                let queue = self.links.entry((at, to)).or_default();
                let when = queue.back().map_or(0, |last| last.0).max(self.now + delay);
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
        for (of, place, when) in &self.done {
            if *of == client.of && *when < client.began {
                let sees = client.history.has(*place) && client.place.index >= place.index;
                assert!(
                    sees,
                    "seed {}: what began at {} on {:?} at {:?} does not see {place:?}, done at {when}",
                    self.seed, client.began, client.of, client.place
                );
            }
        }
        if client.write {
            self.writes_done += 1;
        } else {
            self.reads_done += 1;
        }
        if client.place.index > 0 {
            self.done.push((client.of, client.place, self.now));
        }
    }

    fn request(&mut self) {
        let at = self.rng.below(self.hosts.len() as u64) as usize;
        let of = Partition(self.rng.below(u64::from(PARTITIONS)) as u16);
        let write = self.rng.below(2) == 0;
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
            let state = Some(KeyState { value: ticket.to_string().into(), deadline: None });
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

    fn with(&mut self, at: usize, call: impl FnOnce(&mut Strong, &mut Desk<'_>)) {
        let now = Mono(self.now);
        let host = &mut self.hosts[at];
        let Some(strong) = &mut host.strong else { return };
        let mut facts = Facts::new(true);
        let mut desk = Desk { now, copies: &mut host.held, facts: &mut facts };
        call(strong, &mut desk);
        for fact in facts.drain() {
            if let crate::base::fact::Fact::Sometimes(label) = fact {
                self.sometimes.insert(label);
            }
        }
        self.after(at);
    }

    fn run(&mut self, until: u64) {
        while self.now < until {
            self.now += MS / 2;
            if self.now % (10 * MS) < MS / 2 {
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
                    self.release(at);
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
        while !self.cut.contains(&(from, to)) {
            let Some(queue) = self.links.get_mut(&(from, to)) else { return };
            if queue.front().is_none_or(|(when, _, _)| *when > self.now) {
                return;
            }
            let Some((_, lives, items)) = queue.pop_front() else { return };
            if lives == (self.hosts[from].life, self.hosts[to].life) {
                self.with(to, |strong, desk| strong.on_items(name(from), items, desk));
            }
        }
    }

    fn fault(&mut self) {
        let count = self.hosts.len() as u64;
        let at = self.rng.below(count) as usize;
        match self.rng.below(8) {
            0 | 1 => {
                self.cut.clear();
                let side = self.rng.next_u64();
                for a in 0..self.hosts.len() {
                    for b in 0..self.hosts.len() {
                        if (side >> a & 1) != (side >> b & 1) {
                            self.cut.insert((a, b));
                        }
                    }
                }
            }
            2 => {
                let other = self.rng.below(count) as usize;
                self.cut.insert((at, other));
            }
            3 => self.cut.clear(),
            4 | 5 => {
                if self.hosts[at].strong.is_some() {
                    self.kill(at);
                } else {
                    self.begin(at, !self.always);
                }
            }
            6 => {
                self.hosts[at].paused_until = self.now + self.rng.below(1000) * MS;
            }
            _ => {
                let other = self.rng.below(count) as usize;
                self.unlink(at, other);
            }
        }
    }

    fn heal(&mut self) {
        self.cut.clear();
        for at in 0..self.hosts.len() {
            self.hosts[at].paused_until = 0;
            if self.hosts[at].strong.is_none() {
                self.begin(at, !self.always);
            }
        }
    }

    /// All partitions are served by their roster-masters, with all roster-replicas in sync, or nobody has an intact copy
    /// that the newest configuration names.
    fn settled(&self) -> Result<(), String> {
        for of in (0..PARTITIONS).map(Partition) {
            let strongs: Vec<&Strong> =
                self.hosts.iter().filter_map(|host| host.strong.as_ref()).collect();
            let newest = strongs.iter().map(|s| s.at(of).newest()).max_by_key(|c| c.regime);
            let newest = newest.expect("hosts run");
            let any_intact = newest.isr.iter().any(|member| {
                let strong = strongs.iter().find(|s| s.config.name == member.name);
                strong.is_some_and(|s| s.at(of).intact.is_some_and(|i| i <= member.start))
            });
            let roster = strongs[0].roster.as_ref().ok_or("no roster")?;
            let first = roster.replicas(of).next().expect("a replica");
            let master = strongs.iter().find(|s| s.at(of).serves());
            let Some(master) = master else {
                if any_intact && !self.always {
                    // (Two configurations may lie above one another; whether a core is left is not judged here.)
                    continue;
                }
                let states: String = strongs.iter().map(|s| s.told(of)).collect();
                return Err(format!("{of:?} is not served, {newest:?}{states}"));
            };
            let config = &master.at(of).chosen;
            let names: Vec<NodeName> = config.isr.iter().map(|m| m.name).collect();
            let mut replicas: Vec<NodeName> = roster.replicas(of).collect();
            replicas.sort();
            if master.config.name != first || names != replicas {
                let states: String = strongs.iter().map(|s| s.told(of)).collect();
                return Err(format!(
                    "{of:?}: {:?} serves with {names:?}, {first:?} should with {replicas:?}{states}",
                    master.config.name
                ));
            }
        }
        Ok(())
    }
}

fn history_of_a_world(seed: u64) -> World {
    let mut rng = Rng::fork(seed, "shape");
    let hosts = 2 + rng.below(5) as usize;
    let copies = 1 + rng.below(3.min(hosts as u64)) as u8;
    let mut world = World::new(seed, hosts, copies);
    let faults = world.rng.below(30);
    for _ in 0..faults {
        for _ in 0..world.rng.below(40) {
            world.request();
            let pause = world.rng.below(5 * MS);
            world.run(world.now + pause);
        }
        world.fault();
        let pause = world.rng.below(600 * MS);
        world.run(world.now + pause);
    }
    world.heal();
    world.run(world.now + 3000 * MS);
    for _ in 0..20 {
        world.request();
        world.run(world.now + 5 * MS);
    }
    world.run(world.now + 1000 * MS);
    world
}

#[test]
fn random_histories_keep_what_was_acknowledged() {
    let from: u64 = std::env::var("STRONG_FROM").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let count: u64 = std::env::var("STRONG_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let (mut writes, mut reads) = (0, 0);
    let mut sometimes = BTreeMap::new();
    for seed in from..from + count {
        let world = history_of_a_world(seed);
        writes += world.writes_done;
        reads += world.reads_done;
        for label in &world.sometimes {
            *sometimes.entry(*label).or_insert(0) += 1;
        }
        if world.always
            && let Err(why) = world.settled()
        {
            panic!("seed {seed}: {why}");
        }
    }
    println!("{writes} writes, {reads} reads; {sometimes:#?}");
    assert!(count < 40 || writes.min(reads) > 10 * count, "{writes} writes, {reads} reads");
}
