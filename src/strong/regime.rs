//! Regimes and their configurations: what a promiser reports, and which configuration a new one has to follow.

use serde::{Deserialize, Serialize};

use crate::base::ids::{NodeId, Partition};
use crate::base::mutant::{Mutants, StrongMutant};

use super::roster::NodeName;
use super::standing::{Rosters, Under, Voter};
use super::tail::{History, LogState, Place};

/// Number of a reign of one master over one partition: only grows. 0 is the roster's own configuration, which has no
/// master.
#[derive(
    Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Regime(pub u32);

/// Random identity of a data directory as a voter.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct VoterId(pub u64);

impl VoterId {
    /// That of a data directory: random, and as old as the directory.
    pub fn of(identity: NodeId) -> VoterId {
        VoterId((identity.0 >> 64) as u64)
    }
}

/// Counts a voter's starts, from 1. A copy that was intact when its roster was accepted is so since 0.
#[derive(
    Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Start(pub u32);

/// A node as a configuration names it.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Member {
    pub name: NodeName,
    pub voter: VoterId,
    pub start: Start,
}

/// Who reigns over a partition, and who has to have every write of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Configuration {
    pub regime: Regime,
    pub under: Under,
    /// `None` in the roster's configuration only.
    pub master: Option<NodeName>,
    /// By name. The master is one of them.
    pub isr: Vec<Member>,
}

/// A configuration, and those that may have been chosen before it: the newest first, down to the one known to be chosen,
/// which is not among them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    pub config: Configuration,
    pub ancestors: Vec<Configuration>,
}

/// What a promiser tells of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    pub start: Start,
    /// Everything it has accepted since the configuration it knows to be chosen, the oldest first.
    pub accepted: Vec<Proposal>,
    pub chosen: Configuration,
    /// Since which start its copy has had everything it ever acknowledged; `None` if it may lack some.
    pub intact: Option<Start>,
    pub log: LogState,
}

impl Member {
    pub fn voter(&self) -> Voter {
        (self.name, self.voter)
    }
}

impl Regime {
    pub fn next(self) -> Regime {
        Regime(self.0.saturating_add(1))
    }
}

impl Configuration {
    pub fn member(&self, name: NodeName) -> Option<&Member> {
        self.isr.iter().find(|member| member.name == name)
    }
}

/// What a new configuration follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Base {
    /// The newest configuration that may have been chosen.
    pub config: Configuration,
    /// What the new one names as its ancestors.
    pub ancestors: Vec<Configuration>,
}

/// The base, from what voters report. `None`: a configuration that may have been chosen stands under a decision that
/// is not known here.
///
/// A configuration newer than all that are known to be chosen is passed over if those voters that have not answered,
/// together with those that report it, contain no quorum of its rosters: then it never had one.
///
/// # Panics
/// If there is no report.
pub fn base_of(
    reports: &[(Voter, &Report)],
    of: Partition,
    rosters: &Rosters,
    mutants: Mutants,
) -> Option<Base> {
    let chosen = reports.iter().map(|(_, report)| &report.chosen).max_by_key(|c| c.regime);
    let chosen = chosen.expect("a quorum has somebody in it");
    let mut newer: Vec<&Configuration> = reports
        .iter()
        .flat_map(|(_, report)| &report.accepted)
        .flat_map(|proposal| core::iter::once(&proposal.config).chain(&proposal.ancestors))
        .filter(|config| config.regime > chosen.regime)
        .collect();
    newer.sort_by_key(|config| core::cmp::Reverse(config.regime));
    newer.dedup();
    let answered: Vec<Voter> = reports.iter().map(|(voter, _)| *voter).collect();
    let maybe_chosen = |config: &Configuration| {
        let reporters = reports.iter().filter(|(_, report)| {
            report.accepted.iter().any(|proposal| {
                let newer = mutants.has_strong(StrongMutant::PassOverCountsNewer);
                let accepted = proposal.config.regime;
                accepted == config.regime || (newer && accepted > config.regime)
            })
        });
        let reporters: Vec<Voter> = reporters.map(|(voter, _)| *voter).collect();
        Some(rosters.rule(config.under)?.may_have_been_chosen(&answered, &reporters, of))
    };
    // What stands behind the base stays named while it may have been chosen, too.
    let mut may: Vec<Configuration> = Vec::new();
    for config in newer {
        // (Of one behind the base that stands under a decision not known here nothing is left out.)
        if maybe_chosen(config).or((!may.is_empty()).then_some(true))? {
            may.push(config.clone());
        }
    }
    if may.is_empty() {
        return Some(Base { config: chosen.clone(), ancestors: Vec::new() });
    }
    let config = may.remove(0);
    let mut ancestors = vec![config.clone()];
    ancestors.append(&mut may);
    Some(Base { config, ancestors })
}

/// Those of the base's ISR that have promised and whose copies are intact since then, or restarted without loss, by name.
pub fn core_of(
    base: &Configuration,
    reports: &[(Voter, &Report)],
    mutants: Mutants,
) -> Vec<NodeName> {
    let by_name = mutants.has_strong(StrongMutant::MemberByName);
    let in_core = |member: &&Member| {
        let report = reports.iter().find(|(voter, _)| voter.0 == member.name);
        let Some(&(voter, report)) = report else { return false };
        let same = voter == member.voter();
        report.intact.is_some_and(|since| by_name || (same && since <= member.start))
    };
    base.isr.iter().filter(in_core).map(|member| member.name).collect()
}

/// Those of the core that lack what they have had: something committed, which all of them have confirmed once; or of the
/// base's master an entry of its own that somebody else has, since it had that on its disk before it told anybody.
pub fn on_older_disks(
    base: &Configuration,
    core: &[NodeName],
    reports: &[(Voter, &Report)],
    mutants: Mutants,
) -> Vec<NodeName> {
    let ignores = mutants.has_strong(StrongMutant::OwnEntriesIgnored);
    let lacks = |name: &&NodeName| {
        let report = reports.iter().find(|(voter, _)| voter.0 == **name);
        let Some((_, report)) = report else { return false };
        let history = &report.log.history;
        let made = |history: &History| history.end_of(base.regime).unwrap_or(0);
        // (An entry of a later regime follows all that was committed before; but for what an operator has given up when
        // a partition was opened without any intact copy.)
        let lacks_it = |place: Place| history.last().regime <= place.regime && !history.has(place);
        reports.iter().any(|(_, report)| {
            let committed = report.log.history.place(report.log.committed);
            let lacks_own = !ignores
                && base.master == Some(**name)
                && made(&report.log.history) > made(history);
            lacks_own || committed.is_some_and(lacks_it)
        })
    };
    core.iter().filter(lacks).copied().collect()
}
