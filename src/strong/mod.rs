//! Strong mode's protocol: partitions, regimes, quorums; no I/O, and no knowledge of clients' commands or of links.
//!
//! The caller hands in what peers say and when time has passed, and takes out what is to be said ([`Strong::take_items`]),
//! what is to be written down ([`Strong::take_records`]) and what became of clients' requests
//! ([`Strong::take_outcomes`]). What was written down before something was said has to be durable before that leaves,
//! if [`Durable::comes_first`] says so of it. Under `appendfsync always` all of it has to be before anything leaves for a
//! peer, and the master's own copy has an entry once [`Strong::on_durable`] says so: clients are told of what is committed.

mod admission;
mod bid;
mod census;
pub mod council;
mod follow;
pub mod frame;
pub mod image;
pub mod inspect;
mod known;
pub mod mesh;
pub mod message;
mod part;
pub mod quorum;
pub mod regime;
mod reign;
pub mod revive;
pub mod roster;
mod round;
pub mod standing;
pub mod succession;
pub mod tail;
mod target;
#[cfg(test)]
mod tests;
pub mod trust;
mod view;
mod vote;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::fact::Facts;
use crate::base::ids::{Lsn, Partition};
use crate::base::mutant::{Mutants, StrongMutant};
use crate::base::rng::Rng;
use crate::base::time::{Mono, Span};

use self::census::Census;
use self::council::Council;
use self::message::{Durable, Item};
use self::part::{Part, Reign, Waiting};
use self::regime::{Configuration, Member, Regime, Start, VoterId};
use self::revive::Revival;
use self::round::Round;
use self::standing::{Rosters, Standing, Under, Voter};
use self::tail::{Entry, KeyChange, KeyState, Place, Tail};
use self::trust::{Known, Life, Written};
use self::view::Peer;

pub use self::census::Fate;
pub use self::council::{Change, ChangeError, FoundError};
pub use self::part::Ticket;
pub use self::quorum::{VoterSet, may_decide};
pub use self::roster::{NodeName, RackId, Roster, RosterError, RosterNode};
pub use self::succession::Succession;

/// What a node of a strong cluster is told about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StrongConfig {
    pub name: NodeName,
    /// How many partitions there are: 4096, a divisor of that in simulations.
    pub partitions: u16,
    pub heartbeat_interval: Span,
    pub heartbeat_timeout: Span,
    pub write_timeout: Span,
    pub mutants: Mutants,
}

/// The committed state of the partitions this node holds.
pub trait Copies {
    /// Sets keys to what committed entries say.
    fn apply(&mut self, of: Partition, changes: &[KeyChange]);
    /// Everything a partition holds, by key.
    fn read(&self, of: Partition) -> Vec<KeyChange>;
    /// Forgets everything of a partition.
    fn clear(&mut self, of: Partition);
}

/// What the protocol works with for the length of one call.
pub struct Desk<'a> {
    pub now: Mono,
    pub copies: &'a mut dyn Copies,
    pub facts: &'a mut Facts,
}

/// Where a request for a partition is to go.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Route {
    /// This node serves it.
    Here,
    /// This node is about to, or not to: to be asked again soon.
    Wait,
    Moved(NodeName),
    Down(Reason),
}

/// Why nobody is known to serve a partition.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    NoRoster,
    /// This node does not hear a quorum.
    NoQuorum,
    /// It hears one, and a master is being found; or a node that may have the only intact copy is away.
    NoMaster,
    /// All nodes are there, with intact copies, and too few of those who may vote for it: an operator can revive it.
    Blocked,
    /// All nodes are there, and none has an intact copy: an operator can revive it.
    Dead,
}

/// What became of a request.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// What it was computed from, and what it wrote, is committed; a read is confirmed.
    Done(Ticket),
    /// A read: this node does not serve any more. Nothing has been done.
    Refused(Ticket),
    /// A write whose fate is not known.
    InDoubt(Ticket),
}

/// A node's part in a strong cluster.
#[derive(Clone, Debug)]
pub struct Strong {
    config: StrongConfig,
    voter: VoterId,
    start: Start,
    /// Random, drawn with the start.
    nonce: u64,
    /// The last start after which the end of what had been written was missing.
    lost_at: Start,
    /// How much was written down before this start.
    begun: Written,
    written: Written,
    /// The lives before this one on the same disk.
    lives: BTreeMap<Start, Life>,
    /// The voters that the disk was before it was made another's.
    formers: Vec<VoterId>,
    /// What other voters' disks have shown.
    known: BTreeMap<VoterId, Known>,
    /// Up to which record a snapshot has shown each partition; empty without one.
    covered: Vec<Lsn>,
    /// This disk is older than what its voter has said.
    amnesiac: bool,
    /// That it is not was compared with all who can be reached, or until then.
    compared: bool,
    compare_until: Mono,
    /// Nodes that have answered since the start and had still to dial this one.
    shown: BTreeSet<NodeName>,
    rosters: Rosters,
    /// What is to become of the next.
    council: Council,
    /// The first one, accepted, and not yet known to be accepted by all of its nodes: who has.
    proposed: Option<(Standing, BTreeSet<NodeName>)>,
    /// What has become of partitions that nobody serves.
    census: Census,
    /// What an operator opens.
    revival: Option<Revival>,
    peers: BTreeMap<NodeName, Peer>,
    parts: Vec<Part>,
    /// Partitions that a tick has to look at.
    busy: BTreeSet<Partition>,
    /// Partitions whose followers are to be sent something.
    dirty: BTreeSet<Partition>,
    /// Partitions that clients wait for.
    awaited: BTreeSet<Partition>,
    wants_round: BTreeSet<Partition>,
    rounds: BTreeMap<u64, Round>,
    next_round: u64,
    /// Whole copies on their way, by receiver.
    wholes: BTreeMap<NodeName, BTreeSet<Partition>>,
    heard: Vec<Member>,
    next_beat: Mono,
    next_tick: Mono,
    items: BTreeMap<NodeName, Vec<Item>>,
    records: Vec<Durable>,
    /// How many were made in this life.
    made: u64,
    /// The master waits for its own device, too: entries it has made, behind so many records each.
    unsynced: Option<VecDeque<(u64, Partition, Place)>>,
    outcomes: Vec<Outcome>,
    /// Somebody may serve, or not any more, who did not, or did.
    news: bool,
    rng: Rng,
}

impl Strong {
    /// A node that has never been in a cluster, or whose records are about to be read.
    pub fn new(config: StrongConfig, voter: VoterId, rng: Rng) -> Strong {
        let under = Under::default();
        let nobody = Configuration { regime: Regime(0), under, master: None, isr: Vec::new() };
        let rosters = Rosters::new(config.partitions, config.mutants);
        let parts = (0..config.partitions).map(|_| Part::new(nobody.clone(), None)).collect();
        Strong {
            config,
            voter,
            start: Start(0),
            nonce: 0,
            lost_at: Start(0),
            begun: Written::default(),
            written: Written::default(),
            lives: BTreeMap::new(),
            formers: Vec::new(),
            known: BTreeMap::new(),
            covered: Vec::new(),
            amnesiac: false,
            compared: false,
            compare_until: Mono(0),
            shown: BTreeSet::new(),
            rosters,
            council: Council::default(),
            proposed: None,
            census: Census::default(),
            revival: None,
            peers: BTreeMap::new(),
            parts,
            busy: BTreeSet::new(),
            dirty: BTreeSet::new(),
            awaited: BTreeSet::new(),
            wants_round: BTreeSet::new(),
            rounds: BTreeMap::new(),
            next_round: 1,
            wholes: BTreeMap::new(),
            heard: Vec::new(),
            next_beat: Mono(0),
            next_tick: Mono(0),
            items: BTreeMap::new(),
            records: Vec::new(),
            made: 0,
            unsynced: None,
            outcomes: Vec::new(),
            news: false,
            rng,
        }
    }

    // ----- the start -------------------------------------------------------------------------

    /// Takes in what an earlier life has written down as the record `lsn`, in order, before [`Strong::begin`].
    pub fn recover(&mut self, record: Durable, lsn: Lsn, copies: &mut dyn Copies) {
        if let Durable::Start { written, .. } = &record {
            self.written = *written;
        }
        self.count(&record);
        if self.is_covered(&record, lsn) {
            return;
        }
        match record {
            Durable::Start { start, nonce, lost, written, .. } => {
                self.on_start(start, nonce, lost, written);
            }
            Durable::Stopped => {}
            Durable::Amnesiac => self.on_amnesiac(),
            Durable::Seen { voter, mark, amnesiac } => {
                self.known.insert(voter, Known { mark, amnesiac });
            }
            Durable::SeenMore { voter, records } => {
                if let Some(known) = self.known.get_mut(&voter) {
                    known.mark.written.records = records;
                }
            }
            Durable::Roster { standing } => self.proposed = Some((standing, BTreeSet::new())),
            Durable::RosterHeld => {
                if let Some((standing, _)) = self.proposed.take() {
                    self.put_in_force(standing);
                }
            }
            Durable::Decided { standing } => self.adopt(standing),
            Durable::CouncilPromise { version, ballot } => {
                self.recover_council(version, ballot, None);
            }
            Durable::CouncilAccept { ballot, standing } => {
                self.recover_council(standing.version, ballot, Some(standing));
            }
            Durable::Promise { of, regime } => self.part(of).promise(regime),
            Durable::Accept { of, proposal } => {
                if self.has(StrongMutant::OnlyNewestAccepted) {
                    self.part(of).accepted.clear();
                }
                self.part(of).accept(proposal);
            }
            Durable::Chosen { of, config } => {
                let part = self.part(of);
                part.promised = part.promised.max(config.regime);
                part.learn_chosen(config);
            }
            Durable::Entry { of, entry } => self.part(of).tail.push(entry),
            Durable::Committed { of, index } => {
                self.part(of).tail.commit(index, |entry| copies.apply(of, &entry.changes));
            }
            Durable::Truncate { of, last } => self.part(of).tail.truncate(last),
            Durable::Whole { of, history, records } => {
                let merges = self.has(StrongMutant::CopyMerged);
                let part = self.part(of);
                part.tail = Tail::whole(history);
                part.intact = None;
                if !merges {
                    copies.clear(of);
                }
                copies.apply(of, &records);
            }
            Durable::Intact { of } => {
                let start = self.start;
                self.part(of).intact = Some(start);
            }
            Durable::Dropped { of } => {
                let part = self.part(of);
                part.tail = Tail::default();
                part.intact = None;
                copies.clear(of);
            }
            Durable::NewVoter { voter, former } => self.on_new_voter(voter, former),
        }
    }

    /// All records are read. `lost`: the end of what was written may be missing, so no copy counts as intact.
    /// Under `always` everything will be durable before it is told.
    pub fn begin(&mut self, lost: bool, always: bool, now: Mono) {
        let start = Start(self.start.0 + 1);
        let nonce = self.rng.next_u64();
        let written = self.written;
        self.on_start(start, nonce, lost, written);
        self.prune_rosters();
        self.unsynced = always.then(VecDeque::new);
        self.write_down(Durable::Start { start, nonce, lost, always, written });
        self.compare_until = now + self.config.heartbeat_timeout;
        self.next_beat = now;
        self.next_tick = now;
        self.look_at_all();
    }

    /// `written`: how much stood on the disk.
    fn on_start(&mut self, start: Start, nonce: u64, lost: bool, written: Written) {
        if self.start > Start(0) {
            self.lives.insert(self.start, Life { nonce: self.nonce, end: written });
        }
        self.start = start;
        self.nonce = nonce;
        self.begun = written;
        if lost {
            self.lost_at = start;
        }
        if lost && !self.has(StrongMutant::LostTailIntact) {
            for part in &mut self.parts {
                part.intact = None;
            }
        }
    }

    // ----- clients ---------------------------------------------------------------------------

    /// Where requests for a partition go.
    pub fn route(&self, of: Partition, now: Mono) -> Route {
        if self.rosters.newest().is_none() {
            return Route::Down(Reason::NoRoster);
        }
        let part = self.at(of);
        if part.serves() {
            return Route::Here;
        }
        if part.reign.is_some() || part.bid.as_ref().is_some_and(|bid| !bid.is_asking()) {
            return Route::Wait;
        }
        if let Some((name, regime)) = part.serving
            && regime >= part.chosen.regime
            && name != self.config.name
            && self.peers.get(&name).is_some_and(|peer| self.is_fresh(peer, now))
        {
            return Route::Moved(name);
        }
        Route::Down(match self.fate(of) {
            Some(Fate::Dead) => Reason::Dead,
            Some(Fate::Blocked) => Reason::Blocked,
            Some(Fate::Opens) | None if self.hears_quorum(of, part.newest().under) => {
                Reason::NoMaster
            }
            Some(Fate::Opens) | None => Reason::NoQuorum,
        })
    }

    /// The state of a key that open entries have changed: `None` if none has.
    pub fn open_state(&self, of: Partition, key: &[u8]) -> Option<&Option<KeyState>> {
        self.at(of).tail.open_state(key)
    }

    /// Makes an entry of a partition that this node serves. The outcome of `ticket` follows.
    ///
    /// # Panics
    /// If this node does not serve the partition.
    pub fn write(
        &mut self,
        of: Partition,
        changes: Vec<KeyChange>,
        ticket: Option<Ticket>,
        now: Mono,
    ) {
        let until = now + self.config.write_timeout;
        let part = self.part(of);
        let regime = part.reign.as_ref().filter(|reign| reign.serves).map(|r| r.config.regime);
        let regime = regime.expect("only the master makes entries");
        let entry = Entry { regime, index: part.tail.last().index + 1, changes };
        let (index, place) = (entry.index, Place { regime, index: entry.index });
        part.tail.push(entry.clone());
        let (write, round, confirmed) = (true, None, true);
        if let Some(ticket) = ticket {
            part.waits.push_back(Waiting { ticket, index, write, round, confirmed, until });
        }
        self.write_down(Durable::Entry { of, entry });
        if let Some(unsynced) = &mut self.unsynced {
            unsynced.push_back((self.made, of, place));
        }
        if self.has(StrongMutant::AckBeforeMembers) {
            self.outcomes.extend(ticket.map(Outcome::Done));
        }
        self.awaited.insert(of);
        self.dirty.insert(of);
        // Followers that do not answer are sent it again.
        self.busy.insert(of);
        if self.at(of).reign.as_ref().is_some_and(|reign| !self.isr_decides(of, reign)) {
            self.wants_round.insert(of);
        }
    }

    /// A read was executed on a partition that this node serves, its open entries included. The outcome of `ticket`
    /// follows; without `confirm` as soon as what it was computed from is committed.
    pub fn read(&mut self, of: Partition, ticket: Ticket, confirm: bool, now: Mono) {
        let until = now + self.config.write_timeout;
        let confirmed = !confirm || self.has(StrongMutant::ReadWithoutRound);
        let (write, round) = (false, None);
        let open = self.has(StrongMutant::OpenWriteVisible);
        let part = self.part(of);
        assert!(part.serves(), "only the master answers reads");
        let index = part.tail.last().index;
        if open && part.tail.has_open() {
            return self.outcomes.push(Outcome::Done(ticket));
        }
        if confirmed && index <= part.tail.committed() {
            return self.outcomes.push(Outcome::Done(ticket));
        }
        part.waits.push_back(Waiting { ticket, index, write, round, confirmed, until });
        self.awaited.insert(of);
        if !confirmed {
            self.wants_round.insert(of);
        }
    }

    // ----- what comes of it ------------------------------------------------------------------

    /// What is to be written down, in order, before anything that is said from now on leaves.
    pub fn take_records(&mut self) -> Vec<Durable> {
        core::mem::take(&mut self.records)
    }

    /// How many records were taken out by now, or wait for that.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Whether an entry of this node's waits to be on its device.
    pub fn awaits_device(&self) -> bool {
        self.unsynced.as_ref().is_some_and(|unsynced| !unsynced.is_empty())
    }

    /// So many records are on the device: what this node has made of them counts as its own copy's.
    pub fn on_durable(&mut self, made: u64) {
        let Some(unsynced) = &mut self.unsynced else { return };
        while unsynced.front().is_some_and(|entry| entry.0 <= made) {
            let Some((_, of, place)) = unsynced.pop_front() else { return };
            let reign = self.parts[usize::from(of.0)].reign.as_mut();
            if let Some(reign) = reign.filter(|reign| reign.config.regime == place.regime) {
                reign.durable = place.index;
                self.dirty.insert(of);
            }
        }
    }

    /// What is to be said to each peer.
    pub fn take_items(&mut self) -> BTreeMap<NodeName, Vec<Item>> {
        self.mark_items();
        core::mem::take(&mut self.items)
    }

    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        core::mem::take(&mut self.outcomes)
    }

    // ----- small words -----------------------------------------------------------------------

    fn has(&self, mutant: StrongMutant) -> bool {
        self.config.mutants.has_strong(mutant)
    }

    fn at(&self, of: Partition) -> &Part {
        &self.parts[usize::from(of.0)]
    }

    fn part(&mut self, of: Partition) -> &mut Part {
        &mut self.parts[usize::from(of.0)]
    }

    fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.config.partitions).map(Partition)
    }

    fn look_at_all(&mut self) {
        self.busy = self.partitions().collect();
    }

    fn say(&mut self, to: NodeName, item: Item) {
        if self.peers.get(&to).is_some_and(|peer| peer.up) {
            self.items.entry(to).or_default().push(item);
        }
    }

    /// Says it to all other nodes of the rosters in force.
    fn say_to_voters(&mut self, item: &Item) {
        for name in self.rosters.nodes() {
            if name != self.config.name {
                self.say(name, item.clone());
            }
        }
    }

    fn say_to_all(&mut self, item: &Item) {
        let names: Vec<NodeName> = self.peers.keys().copied().collect();
        for name in names {
            self.say(name, item.clone());
        }
    }

    /// A peer as a voter, if its data directory may vote.
    fn voter(&self, name: NodeName) -> Option<Voter> {
        let peer = self.peers.get(&name).filter(|peer| peer.marked)?;
        let forgot = self.known.get(&peer.voter).is_some_and(|known| known.amnesiac);
        let voter = (name, peer.voter);
        (self.rosters.names(voter) && !forgot).then_some(voter)
    }

    /// Whether a configuration's ISR alone may decide.
    fn isr_decides(&self, of: Partition, reign: &Reign) -> bool {
        let isr: Vec<Voter> = reign.config.isr.iter().map(Member::voter).collect();
        let rule = self.rosters.rule(reign.config.under);
        rule.is_some_and(|rule| rule.may_decide(&isr, of))
    }
}
