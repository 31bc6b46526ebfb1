//! One partition at one node: what it has promised and accepted, its copy, and what it is doing about it.

use std::collections::{BTreeMap, VecDeque};

use crate::base::time::Mono;

use super::regime::{Base, Configuration, Member, Proposal, Regime, Report, Start};
use super::roster::NodeName;
use super::standing::{Under, Voter};
use super::tail::{LogState, Tail};

/// Names what a client waits for; chosen by the caller.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(pub u64);

/// A partition.
#[derive(Clone, Debug)]
pub struct Part {
    // Durable.
    pub promised: Regime,
    /// Since `chosen`, the oldest first.
    pub accepted: Vec<Proposal>,
    /// The newest configuration known to be chosen.
    pub chosen: Configuration,
    pub intact: Option<Start>,
    pub tail: Tail,
    // Of this life.
    /// Whose candidacy the highest promise was given to; after a start it is not known.
    pub promised_to: Option<NodeName>,
    /// Who says that it serves, and in which regime.
    pub serving: Option<(NodeName, Regime)>,
    /// In which regime's name a candidate has brought this copy to its state: it may name it.
    pub joined: Regime,
    /// The highest regime heard of.
    pub seen: Regime,
    /// A configuration that may have been chosen, and in whose core this node is not.
    pub outside: Option<Regime>,
    pub reign: Option<Reign>,
    pub bid: Option<Bid>,
    /// Since when nobody is known to serve; a candidate's wait begins anew with a promise to another.
    pub vacant_since: Option<Mono>,
    /// Random part of that wait, drawn with it.
    pub jitter: u64,
    /// What others had acknowledged in the last reign: nothing but a deliberate fault counts it.
    pub acked_before: BTreeMap<NodeName, u64>,
    /// What clients wait for, in the order of its places.
    pub waits: VecDeque<Waiting>,
}

/// A client's write or read.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub ticket: Ticket,
    /// What has to be committed.
    pub index: u64,
    pub write: bool,
    /// A read: which round confirms it, and whether that has come to an end.
    pub round: Option<u64>,
    pub confirmed: bool,
    pub until: Mono,
}

/// This node is the master of a chosen configuration.
#[derive(Clone, Debug)]
pub struct Reign {
    pub config: Configuration,
    /// All of the ISR have exactly the master's state: it serves.
    pub serves: bool,
    /// Those of the ISR who have to confirm that before: all.
    pub equalised: Vec<NodeName>,
    pub followers: BTreeMap<NodeName, Follower>,
    /// Up to here other voters than the ISR have said that nothing higher was promised after the entry was made.
    pub vouched: u64,
    /// Up to here the log is on this node's device, if that is waited for.
    pub durable: u64,
    /// Somebody has promised a higher regime.
    pub contested: bool,
    pub since: Mono,
}

/// Another copy, as its master sees it.
#[derive(Clone, Debug)]
pub struct Follower {
    /// Its log is the master's up to here.
    pub acked: u64,
    /// What is sent next.
    pub next: u64,
    /// Its log was exactly the master's once in this regime.
    pub exact: bool,
    pub mode: Mode,
    pub sent_at: Mono,
    /// How far it was told that entries are committed.
    pub told: u64,
    /// The configuration was sent, over the link there is.
    pub told_config: bool,
    /// Something is to be said even if there are no entries to send.
    pub due: bool,
}

/// How entries get to a follower.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The place up to which the logs are equal is looked for.
    Probe,
    Stream,
    /// A whole copy is to be sent.
    NeedsWhole,
    /// It was sent.
    WholeSent,
}

/// An attempt at a regime.
#[derive(Clone, Debug)]
pub struct Bid {
    pub regime: Regime,
    pub phase: Phase,
    pub since: Mono,
    pub sent_at: Mono,
}

#[derive(Clone, Debug)]
pub enum Phase {
    /// Step 0.
    Asking { yes: Vec<Voter> },
    /// Steps 1 and 2.
    Promising { reports: BTreeMap<Voter, Report> },
    /// Step 3.
    Joining { plan: Plan, joiners: BTreeMap<NodeName, Joiner> },
    /// Step 4.
    Accepting { proposal: Proposal, accepted: Vec<Voter> },
}

/// What a new configuration is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub base: Base,
    pub core: Vec<Member>,
    pub reports: BTreeMap<Voter, Report>,
    /// Under what it may stand, as those say who have promised: what leads on first.
    pub steps: Vec<Under>,
}

/// A catching-up copy that is to become a member.
#[derive(Clone, Debug)]
pub struct Joiner {
    pub member: Member,
    pub log: LogState,
    pub exact: bool,
}

impl Part {
    pub fn new(chosen: Configuration, intact: Option<Start>) -> Part {
        Part {
            promised: Regime(0),
            accepted: Vec::new(),
            chosen,
            intact,
            tail: Tail::default(),
            promised_to: None,
            serving: None,
            joined: Regime(0),
            seen: Regime(0),
            outside: None,
            reign: None,
            bid: None,
            vacant_since: None,
            jitter: 0,
            acked_before: BTreeMap::new(),
            waits: VecDeque::new(),
        }
    }

    pub fn report(&self, start: Start) -> Report {
        Report {
            start,
            accepted: self.accepted.clone(),
            chosen: self.chosen.clone(),
            intact: self.intact,
            log: self.tail.state(),
        }
    }

    /// The newest configuration this node has heard of by accepting it.
    pub fn newest(&self) -> &Configuration {
        self.accepted.last().map_or(&self.chosen, |proposal| &proposal.config)
    }

    pub fn note(&mut self, regime: Regime) {
        self.seen = self.seen.max(regime);
    }

    pub fn promise(&mut self, regime: Regime) {
        assert!(regime > self.promised, "promises only grow");
        self.promised = regime;
        self.note(regime);
    }

    pub fn accept(&mut self, proposal: Proposal) {
        let regime = proposal.config.regime;
        assert!(regime >= self.promised, "what is accepted was not promised away");
        self.promised = regime;
        self.note(regime);
        if self.newest().regime < regime {
            self.accepted.push(proposal);
        }
    }

    pub fn learn_chosen(&mut self, config: Configuration) {
        assert!(config.regime > self.chosen.regime, "news are new");
        self.note(config.regime);
        self.accepted.retain(|proposal| proposal.config.regime > config.regime);
        self.chosen = config;
    }

    pub fn serves(&self) -> bool {
        self.reign.as_ref().is_some_and(|reign| reign.serves)
    }
}

impl Follower {
    pub fn new() -> Follower {
        Follower {
            acked: 0,
            next: 1,
            exact: false,
            mode: Mode::Probe,
            sent_at: Mono(0),
            told: 0,
            told_config: false,
            due: true,
        }
    }
}

impl Reign {
    pub fn new(config: Configuration, now: Mono) -> Reign {
        Reign {
            equalised: config.isr.iter().map(|member| member.name).collect(),
            config,
            serves: false,
            followers: BTreeMap::new(),
            vouched: 0,
            durable: 0,
            contested: false,
            since: now,
        }
    }
}
