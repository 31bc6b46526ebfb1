//! What nodes of a strong cluster say to each other, and what each writes down for its next start.

use serde::{Deserialize, Serialize};

use crate::base::ids::Partition;

use super::census::Told;
use super::council::Ballot;
use super::regime::Start;
use super::regime::{Configuration, Proposal, Regime, Report, VoterId};
use super::roster::NodeName;
use super::standing::Standing;
use super::tail::{Entry, History, KeyChange, LogState, Place};
use super::trust::{Mark, Written};

/// What has left for other nodes since the start.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Batches: what one node had to say to another at one time.
    pub batches: u64,
    /// Things said in them.
    pub items: u64,
}

/// What a log transfer is part of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Stage {
    /// Under a promise, before the configuration is proposed: the log becomes exactly the candidate's.
    Join,
    /// The regime's configuration is chosen, and the sender its master. With `exact` the log becomes exactly the master's.
    Serve { config: Option<Configuration>, exact: bool },
}

/// One thing said of one partition, or of the sender. What refers to a regime lower than one promised is refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Item {
    /// The sender is alive and hears these.
    Beat {
        hears: Vec<NodeName>,
    },
    /// Where the sender's disk stands.
    Mark {
        mark: Mark,
    },
    /// What the sender remembers of the receiver's disk.
    Remembered {
        mark: Option<Mark>,
    },
    /// This voter, the receiver's or the sender's, was found on an older disk.
    Forgot {
        voter: VoterId,
    },
    /// Proposes a cluster's first roster; said until all its nodes have it, and once to others.
    Roster {
        standing: Standing,
    },
    /// The sender has accepted a roster, and knows that all have.
    RosterHeld {
        cluster: u64,
        version: u32,
        by_all: bool,
    },
    /// A decision about the roster that is in force.
    Decided {
        standing: Standing,
    },
    /// Promise to accept no lower ballot for the decision of this version.
    CouncilPromise {
        version: u32,
        ballot: Ballot,
    },
    CouncilPromised {
        version: u32,
        ballot: Ballot,
        accepted: Option<(Ballot, Standing)>,
    },
    /// Accept this as the decision of its version.
    CouncilAccept {
        ballot: Ballot,
        standing: Standing,
    },
    CouncilAccepted {
        version: u32,
        ballot: Ballot,
    },
    /// A higher ballot was promised.
    CouncilRefused {
        version: u32,
        promised: Ballot,
    },
    /// Would you promise? (Step 0)
    Ask {
        of: Partition,
        regime: Regime,
    },
    Answer {
        of: Partition,
        regime: Regime,
        yes: bool,
        promised: Regime,
    },
    /// Promise to refuse everything of lower regimes. (Step 1)
    Promise {
        of: Partition,
        regime: Regime,
    },
    Promised {
        of: Partition,
        regime: Regime,
        report: Report,
    },
    /// A higher regime was promised.
    Refused {
        of: Partition,
        regime: Regime,
        promised: Regime,
    },
    /// Try instead of the sender, which has found the receiver in the core and not itself.
    Nominate {
        of: Partition,
        seen: Regime,
    },
    /// Accept this configuration. (Step 4)
    Accept {
        of: Partition,
        proposal: Proposal,
    },
    Accepted {
        of: Partition,
        regime: Regime,
    },
    /// A quorum has accepted it.
    Chosen {
        of: Partition,
        config: Configuration,
    },
    /// Entries behind `prev`, and how far they are committed. (Steps 3 and 5, writes)
    Sync {
        of: Partition,
        regime: Regime,
        stage: Stage,
        prev: Place,
        entries: Vec<Entry>,
        committed: u64,
    },
    /// The receiver's log is the sender's up to here; `exact`: and has nothing behind.
    Synced {
        of: Partition,
        regime: Regime,
        last: u64,
        exact: bool,
    },
    /// There is no `prev` in the receiver's log.
    Mismatch {
        of: Partition,
        regime: Regime,
        log: LogState,
    },
    /// A whole copy: the committed state at the end of `history`.
    Whole {
        of: Partition,
        regime: Regime,
        history: History,
        records: Vec<KeyChange>,
    },
    /// Has anything above these regimes been promised? `mark`: where the sender's disk stands, to be remembered before the
    /// answer, if those who are asked have no copies to show what the sender has acknowledged.
    Round {
        id: u64,
        asked: Vec<(Partition, Regime)>,
        mark: Option<Mark>,
    },
    /// All but these are the highest.
    RoundAnswer {
        id: u64,
        refused: Vec<(Partition, Regime)>,
    },
    /// The sender serves a partition from now on, or does not any more.
    Serving {
        of: Partition,
        regime: Regime,
    },
    Stopped {
        of: Partition,
        regime: Regime,
    },
    /// What is there of these partitions? And a promise of each regime above 0, for an operator who opens them: of all
    /// nodes, those too that may not vote.
    Census {
        round: u64,
        asked: Vec<(Partition, Regime)>,
    },
    /// `formers`: which voters the disk was before.
    Counted {
        round: u64,
        amnesiac: bool,
        formers: Vec<VoterId>,
        told: Vec<Told>,
    },
    /// Promise this ballot, or accept this as the decision of its version: asked of all nodes, those too that may not vote.
    Admit {
        version: u32,
        ballot: Ballot,
        standing: Option<Standing>,
    },
    Admitted {
        version: u32,
        ballot: Ballot,
        accepts: bool,
        accepted: Option<(Ballot, Standing)>,
    },
    /// The receiver's copies are to count as intact, as an operator wants: what they lack is given up.
    Trust {
        parts: Vec<(Partition, Regime)>,
    },
    Trusted {
        parts: Vec<(Partition, Regime)>,
    },
}

/// What is written down. Everything but `Entry`, `Committed` and `SeenMore` has to be durable before anything is said that builds on
/// it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Durable {
    /// A start. `lost`: what was written before may lack its end. `always`: what is written from now on is told only when it
    /// is durable. `written`: how much was written before.
    Start {
        start: Start,
        nonce: u64,
        lost: bool,
        always: bool,
        written: Written,
    },
    /// This disk was found to be older than what its voter has said.
    Amnesiac,
    /// What another voter's disk has shown.
    Seen {
        voter: VoterId,
        mark: Mark,
        amnesiac: bool,
    },
    /// It has so many records by now.
    SeenMore {
        voter: VoterId,
        records: u64,
    },
    /// An end in order: nothing of this life is missing.
    Stopped,
    Roster {
        standing: Standing,
    },
    /// All nodes of the roster have it.
    RosterHeld,
    /// A later roster was decided.
    Decided {
        standing: Standing,
    },
    CouncilPromise {
        version: u32,
        ballot: Ballot,
    },
    CouncilAccept {
        ballot: Ballot,
        standing: Standing,
    },
    Promise {
        of: Partition,
        regime: Regime,
    },
    Accept {
        of: Partition,
        proposal: Proposal,
    },
    Chosen {
        of: Partition,
        config: Configuration,
    },
    Entry {
        of: Partition,
        entry: Entry,
    },
    /// Entries up to here are committed.
    Committed {
        of: Partition,
        index: u64,
    },
    /// Entries behind this one are dropped.
    Truncate {
        of: Partition,
        last: u64,
    },
    /// The copy was replaced by this, and may lack what was acknowledged.
    Whole {
        of: Partition,
        history: History,
        records: Vec<KeyChange>,
    },
    /// The copy has everything acknowledged, as of this start.
    Intact {
        of: Partition,
    },
    /// The copy is dropped.
    Dropped {
        of: Partition,
    },
    /// The operator has made another voter of the disk: it may be older than what the one before has said, and no copy on
    /// it counts as intact.
    NewVoter {
        voter: VoterId,
        former: VoterId,
    },
}

impl Item {
    /// About how long it is, bytes: keys and values.
    pub fn bytes(&self) -> usize {
        let mut bytes = ITEM_BYTES;
        if let Item::Sync { entries, .. } = self {
            bytes += entries.iter().map(|entry| bytes_of(&entry.changes)).sum::<usize>();
        }
        if let Item::Whole { records, .. } = self {
            bytes += bytes_of(records);
        }
        bytes
    }
}

/// An item, or a key, without what is in it, about.
const ITEM_BYTES: usize = 32;

pub fn bytes_of(changes: &[KeyChange]) -> usize {
    let value = |change: &KeyChange| change.state.as_ref().map_or(0, |state| state.value.bytes());
    changes.iter().map(|change| ITEM_BYTES + change.key.len() + value(change)).sum()
}

impl Durable {
    /// Whether nothing that is said later may leave before it is durable.
    pub fn comes_first(&self) -> bool {
        match self {
            Durable::Entry { .. } | Durable::Committed { .. } | Durable::SeenMore { .. } => false,
            Durable::Start { .. }
            | Durable::Stopped
            | Durable::Amnesiac
            | Durable::Seen { .. }
            | Durable::Roster { .. }
            | Durable::RosterHeld
            | Durable::Decided { .. }
            | Durable::CouncilPromise { .. }
            | Durable::CouncilAccept { .. }
            | Durable::Promise { .. }
            | Durable::Accept { .. }
            | Durable::Chosen { .. }
            | Durable::Truncate { .. }
            | Durable::Whole { .. }
            | Durable::Intact { .. }
            | Durable::Dropped { .. }
            | Durable::NewVoter { .. } => true,
        }
    }
}
