//! A world: hosts, their processes and clients, the network between them, moved by one event queue.
//!
//! ```text
//! let mut world: World<Node> = World::new(WorldConfig::default(), Decisions::from_seed(1));
//! let a = world.add_host("node1", "172.18.0.2".parse().unwrap());
//! world.start(a, config);
//! let conn = world.client_connect(a, world.host(a).ip, 6379);
//! while let Some(notice) = world.next(Time::from_secs(5), &mut observer) { … }
//! ```

mod client;
mod control;
mod disks;
mod lifecycle;
mod net;
mod process;
mod stats;
mod storage;
mod taping;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use quorate::base::fact::Fact;
use quorate::base::ids::NodeId;
use quorate::base::io::{CloseReason, DialError, Past};
use quorate::base::time::{Now, Span};

use super::decide::{Decisions, Kind};
use super::digest::Digest;
use super::host::Host;
use super::link::{LinkConfig, Links};
use super::machine::Machine;
use super::queue::Queue;
use super::tcp::{Segment, SockRef, Socks, TcpConfig};
use super::time::Time;
use super::trace::Recorder;

pub use super::host::{Exit, ProcessState};
pub use super::ids::{ClientConn, HostId};
pub use client::ClientState;
pub use process::OUT_OF_MEMORY;
pub use stats::Stats;
pub use storage::Backup;
pub use waiting::{Awaited, Delivery, Sender, Stream, Waiting};

use client::Client;

/// What holds for a whole world.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// Every link between two hosts, until it is changed.
    pub link: LinkConfig,
    /// The kernel settings of every host, until they are changed.
    pub tcp: TcpConfig,
    /// Nodes push facts.
    pub facts: bool,
    /// Invariants are checked after every input, all of them after every 1,000.
    pub check_invariants: bool,
    /// One batch in so many ends later than its first input. Zero: none.
    pub late_flush_one_in: u64,
    /// One read in so many comes later than the bytes. Zero: none.
    pub late_read_one_in: u64,
    /// One timer in so many fires early, one in so many twice. Zero: none.
    pub odd_timer_one_in: u64,
    /// A process cannot be woken more often.
    pub timer_gap: Span,
}

/// Gets what happens inside the nodes.
pub trait Observer {
    fn on_fact(&mut self, host: HostId, at: Time, fact: Fact);
}

/// An observer that looks away.
#[derive(Copy, Clone, Debug)]
pub struct Blind;

/// What concerns whoever drives a world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    Client {
        conn: ClientConn,
        event: ClientEvent,
    },
    /// The time given to [`World::alarm`] has come.
    Alarm {
        token: u64,
    },
    /// A process stopped by itself.
    Exited {
        host: HostId,
        exit: Exit,
    },
}

/// What a client learns of its connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ClientEvent {
    Connected,
    Failed(DialError),
    /// There is something new in [`World::client_buf`].
    Readable,
    Closed(CloseReason),
}

#[derive(Debug)]
enum Event {
    Segment(Segment),
    /// An endpoint's timer.
    SockTimer(SockRef),
    Keepalive(SockRef),
    /// A process's timer.
    Wake {
        host: HostId,
        boot: u32,
        early: bool,
    },
    /// A process's batch ends.
    Flush {
        host: HostId,
        boot: u32,
    },
    /// A process reads.
    Offer {
        sock: SockRef,
        again: bool,
    },
    /// A name did not resolve.
    NameUnknown {
        host: HostId,
        boot: u32,
        dial: quorate::base::ids::DialId,
    },
    /// What a process wanted to be written down is.
    PastStored {
        host: HostId,
        boot: u32,
        past: Box<Past>,
    },
    /// A process's disk has something to tell.
    Disk {
        host: HostId,
        boot: u32,
    },
    Alarm(u64),
}

pub struct World<M: Machine> {
    now: Time,
    config: WorldConfig,
    queue: Queue<Event>,
    decisions: Decisions,
    digest: Digest,
    stats: Stats,
    hosts: Vec<Host<M>>,
    links: Links,
    socks: Socks,
    clients: Vec<Client>,
    names: BTreeMap<String, Ipv4Addr>,
    by_ip: BTreeMap<Ipv4Addr, HostId>,
    notices: VecDeque<Notice>,
    facts: Vec<(HostId, Fact)>,
    /// Segments that endpoints want to send; empty between calls.
    outbox: Vec<Segment>,
    /// Somebody wants to look at the run.
    tape: Option<Recorder>,
}

impl<M: Machine> World<M> {
    pub fn new(config: WorldConfig, decisions: Decisions) -> World<M> {
        World {
            now: Time::ZERO,
            queue: Queue::new(),
            decisions,
            digest: Digest::new(),
            stats: Stats::default(),
            hosts: Vec::new(),
            links: Links::new(config.link),
            socks: Socks::new(),
            clients: Vec::new(),
            names: BTreeMap::new(),
            by_ip: BTreeMap::new(),
            notices: VecDeque::new(),
            facts: Vec::new(),
            outbox: Vec::new(),
            tape: None,
            config,
        }
    }

    /// Adds a host that is switched on and runs nothing. Its name resolves everywhere.
    ///
    /// # Panics
    /// If the address is taken.
    pub fn add_host(&mut self, name: &str, ip: Ipv4Addr) -> HostId {
        let id = HostId(u16::try_from(self.hosts.len()).expect("fewer than 65,536 hosts"));
        assert!(self.by_ip.insert(ip, id).is_none(), "two hosts with address {ip}");
        self.names.insert(name.to_owned(), ip);
        let high = self.decisions.decide(Kind::Seed, u64::MAX);
        let low = self.decisions.decide(Kind::Seed, u64::MAX);
        let node_id = NodeId(u128::from(high) << 64 | u128::from(low));
        self.hosts.push(Host::new(name.to_owned(), ip, node_id, self.config.tcp.clone()));
        self.links.grow(self.hosts.len());
        self.tape(|tape, _| tape.add_host(name, ip.to_string()));
        id
    }

    /// Goes on until something concerns the outside, or until `until` if nothing does.
    pub fn next(&mut self, until: Time, observer: &mut dyn Observer) -> Option<Notice> {
        loop {
            if let Some(notice) = self.notice(observer) {
                return Some(notice);
            }
            if !self.step_until(until) {
                if until != Time::NEVER {
                    self.now = self.now.max(until);
                }
                return None;
            }
        }
    }

    /// What concerns the outside already, without anything further happening.
    pub fn notice(&mut self, observer: &mut dyn Observer) -> Option<Notice> {
        self.report_facts(observer);
        self.notices.pop_front()
    }

    /// Goes on until `until`; notices on the way are dropped (clients' states and buffers tell as much).
    pub fn run_until(&mut self, until: Time, observer: &mut dyn Observer) {
        while self.next(until, observer).is_some() {}
    }

    /// Carries out one event. False if there is none. Notices wait for [`World::next`].
    pub fn step(&mut self, observer: &mut dyn Observer) -> bool {
        let stepped = self.step_until(Time::NEVER);
        self.report_facts(observer);
        stepped
    }

    /// Gives [`Notice::Alarm`] at this time, or at once if it has passed.
    pub fn alarm(&mut self, at: Time, token: u64) {
        self.queue.push(at.max(self.now), Event::Alarm(token));
    }

    pub fn now(&self) -> Time {
        self.now
    }

    /// What the host's clocks show.
    pub fn now_at(&self, host: HostId) -> Now {
        self.hosts[host.index()].clock.now(self.now)
    }

    pub fn host(&self, host: HostId) -> &Host<M> {
        &self.hosts[host.index()]
    }

    /// All hosts, in the order they were added.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<M> {
        (0..self.hosts.len() as u16).map(HostId)
    }

    /// The machine of the process on the host, if it runs.
    pub fn machine(&self, host: HostId) -> Option<&M> {
        self.hosts[host.index()].machine()
    }

    /// The machine of the process that has ended by itself there, until another is started.
    pub fn fallen(&self, host: HostId) -> Option<&M> {
        self.hosts[host.index()].fallen.as_ref()
    }

    /// Of everything that has happened so far.
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// What holds for the whole world, to be changed. Links that are there keep what they have.
    pub fn config_mut(&mut self) -> &mut WorldConfig {
        &mut self.config
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Connection endpoints that some kernel still keeps.
    pub fn endpoints(&self) -> usize {
        self.socks.iter().count()
    }

    /// For recording, and for drivers that draw from the same source.
    pub fn decisions(&mut self) -> &mut Decisions {
        &mut self.decisions
    }

    /// Tells the observer what has been reported since it was last told.
    pub fn report_facts(&mut self, observer: &mut dyn Observer) {
        if self.facts.is_empty() {
            return;
        }
        if self.tape.is_some() {
            self.tape_facts();
        }
        for (host, fact) in self.facts.drain(..) {
            observer.on_fact(host, self.now, fact);
        }
    }

    fn step_until(&mut self, until: Time) -> bool {
        let Some((at, event)) = self.queue.pop_until(until) else {
            return false;
        };
        self.now = at;
        self.carry_out_event(event);
        true
    }

    #[inline]
    fn carry_out_event(&mut self, event: Event) {
        self.stats.events += 1;
        self.digest.word(self.now.0);
        match event {
            Event::Segment(segment) => self.arrive(segment),
            Event::SockTimer(sock) => self.on_sock_timer(sock),
            Event::Keepalive(sock) => self.on_keepalive(sock),
            Event::Wake { host, boot, early } => self.on_wake(host, boot, early),
            Event::Flush { host, boot } => self.on_flush(host, boot),
            Event::Offer { sock, again } => self.on_offer(sock, again),
            Event::NameUnknown { host, boot, dial } => self.on_name_unknown(host, boot, dial),
            Event::PastStored { host, boot, past } => self.on_past_stored(host, boot, *past),
            Event::Disk { host, boot } => self.on_disk(host, boot),
            Event::Alarm(token) => {
                self.digest.word(token);
                self.notices.push_back(Notice::Alarm { token });
            }
        }
    }
}

impl Default for WorldConfig {
    fn default() -> WorldConfig {
        WorldConfig {
            link: LinkConfig::lan(),
            tcp: TcpConfig::linux(),
            facts: true,
            check_invariants: true,
            late_flush_one_in: 8,
            late_read_one_in: 16,
            odd_timer_one_in: 32,
            timer_gap: Span(10_000),
        }
    }
}

impl Observer for Blind {
    fn on_fact(&mut self, _host: HostId, _at: Time, _fact: Fact) {}
}

#[cfg(test)]
mod tests;
