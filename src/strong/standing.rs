//! Who may decide: the rosters that are in force, and the rule by which each of a partition's configurations was, or has
//! to be, decided.
//!
//! A cluster's decisions about its roster are numbered, each a [`Standing`]. One changes the nodes, or names the new data
//! directories of nodes that stay. Partitions follow one by one, with their regimes: a configuration says [`Under`] which
//! decision it stands, and whether under the roster before as well.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::base::ids::Partition;
use crate::base::mutant::{Mutants, StrongMutant};

use super::quorum::{VoterSet, may_decide};
use super::regime::{Member, VoterId};
use super::roster::{NodeName, Roster};
use super::succession::Succession;

/// A node with the data directory that answered.
pub type Voter = (NodeName, VoterId);

/// A roster, and the data directories that may vote, by their nodes' places in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Electorate {
    pub roster: Roster,
    pub voters: Vec<VoterId>,
}

/// A decision about the roster. The first is in force once all its nodes have accepted it, any later one once it is decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// Random identity of the cluster: nodes of different ones refuse each other.
    pub cluster: u64,
    /// Counts the decisions, from 1.
    pub version: u32,
    /// Counts those that changed the roster, from 1: the others name new data directories of its nodes.
    pub change: u32,
    pub now: Electorate,
    /// The roster before: partitions go from it to the new one by configurations that stand under both.
    pub before: Option<Electorate>,
}

/// Under which rosters a configuration stands: that of a decision, or with `joint` that and the one before.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Under {
    pub version: u32,
    pub joint: bool,
}

impl Electorate {
    pub fn names(&self, (name, voter): Voter) -> bool {
        self.roster.place(name).is_some_and(|place| self.voters[place] == voter)
    }

    /// Majority, or half with the first node: the rule by which rosters are decided.
    pub fn may_decide_rosters(&self, has: impl Fn(Voter) -> bool) -> bool {
        let nodes = self.roster.nodes();
        let mut voters = nodes.iter().zip(&self.voters).map(|(node, &voter)| (node.name, voter));
        let first = voters.clone().next().is_some_and(&has);
        let double = 2 * voters.by_ref().filter(|&voter| has(voter)).count();
        double > nodes.len() || (double == nodes.len() && first)
    }
}

impl Standing {
    /// Whether it can be one: nodes in order, as many voters, copies.
    pub fn is_sane(&self) -> bool {
        let sane = |electorate: &Electorate| {
            let Electorate { roster, voters } = electorate;
            let again = Roster::new(roster.nodes().to_vec(), roster.replication_factor());
            again.as_ref() == Ok(roster) && voters.len() == roster.nodes().len()
        };
        self.version > 0 && self.electorates().all(sane)
    }

    /// Its roster, and the one before.
    pub fn electorates(&self) -> impl Iterator<Item = &Electorate> {
        core::iter::once(&self.now).chain(&self.before)
    }
}

/// An electorate with its succession.
#[derive(Clone, Debug)]
struct Elected {
    electorate: Electorate,
    succession: Succession,
}

impl Elected {
    fn new(electorate: &Electorate, partitions: u16) -> Elected {
        let succession = Succession::of_first(&electorate.roster, partitions);
        Elected { electorate: electorate.clone(), succession }
    }

    /// Those of the voters who may vote here: not one in whose place a later decision has named another disk.
    fn set(&self, voters: &[Voter], replaced: &BTreeSet<Voter>, mutants: Mutants) -> VoterSet {
        let anybody = mutants.has_strong(StrongMutant::WipedVotes);
        let place = |voter: &Voter| {
            let place = self.electorate.roster.place(voter.0)?;
            let named = self.electorate.voters[place] == voter.1 && !replaced.contains(voter);
            (anybody || named).then_some(place)
        };
        voters.iter().filter_map(place).collect()
    }

    fn may_decide(&self, set: VoterSet, of: Partition, mutants: Mutants) -> bool {
        let order = self.succession.order(of);
        let decides = |set| may_decide(set, order, self.succession.copies());
        if mutants.has_strong(StrongMutant::QuorumOffByOne) {
            return order.iter().any(|&one| decides(set.with(usize::from(one))));
        }
        decides(set)
    }

    fn order(&self, of: Partition) -> impl Iterator<Item = NodeName> {
        let nodes = self.electorate.roster.nodes();
        self.succession.order(of).iter().map(|&place| nodes[usize::from(place)].name)
    }

    fn replicas(&self, of: Partition) -> impl Iterator<Item = NodeName> {
        self.order(of).take(self.succession.copies())
    }
}

/// A decision with what follows from it.
#[derive(Clone, Debug)]
struct InForce {
    standing: Standing,
    now: Elected,
    before: Option<Elected>,
}

/// The decisions under which partitions stand, or are to come.
#[derive(Clone, Debug)]
pub struct Rosters {
    partitions: u16,
    mutants: Mutants,
    by_version: BTreeMap<u32, InForce>,
    /// Disks in whose place a later decision has named others. Who has promised on the way from one to the other knows of
    /// it: without the old disk no quorum of the decision before passes by all of them.
    replaced: BTreeSet<Voter>,
    /// All partitions have left the roster before.
    finished: bool,
}

impl Rosters {
    pub fn new(partitions: u16, mutants: Mutants) -> Rosters {
        let (by_version, replaced) = (BTreeMap::new(), BTreeSet::new());
        Rosters { partitions, mutants, by_version, replaced, finished: true }
    }

    /// Takes in a decision. False if it is known.
    pub fn adopt(&mut self, standing: Standing) -> bool {
        if self.by_version.contains_key(&standing.version) {
            return false;
        }
        let elected = |electorate: &Electorate| Elected::new(electorate, self.partitions);
        let now = elected(&standing.now);
        let before = standing.before.as_ref().map(elected);
        self.finished = standing.version == 1;
        self.by_version.insert(standing.version, InForce { standing, now, before });
        self.note_replaced();
        true
    }

    fn note_replaced(&mut self) {
        if self.mutants.has_strong(StrongMutant::ReplacedCounted) {
            return;
        }
        let mut newest: BTreeMap<NodeName, VoterId> = BTreeMap::new();
        let mut named: BTreeSet<Voter> = BTreeSet::new();
        for standing in self.by_version.values().map(|in_force| &in_force.standing) {
            // The roster in force last: what it names counts.
            for electorate in standing.before.iter().chain([&standing.now]) {
                let nodes = electorate.roster.nodes().iter().zip(&electorate.voters);
                for (node, &voter) in nodes {
                    newest.insert(node.name, voter);
                    named.insert((node.name, voter));
                }
            }
        }
        let is_replaced = |voter: &Voter| newest.get(&voter.0) != Some(&voter.1);
        self.replaced.extend(named.into_iter().filter(is_replaced));
        self.replaced.retain(is_replaced);
    }

    /// The newest decision.
    pub fn newest(&self) -> Option<&Standing> {
        self.by_version.last_key_value().map(|(_, in_force)| &in_force.standing)
    }

    pub fn succession(&self) -> Option<&Succession> {
        self.by_version.last_key_value().map(|(_, in_force)| &in_force.now.succession)
    }

    /// All decisions that partitions may stand under, the oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Standing> {
        self.by_version.values().map(|in_force| &in_force.standing)
    }

    /// Whether all partitions stand under the newest decision, and no longer under the roster before.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Forgets what no partition stands under any more: they stand under these.
    pub fn prune(&mut self, unders: impl Iterator<Item = Under>) {
        let Some(newest) = self.newest().map(|newest| newest.version) else { return };
        let (mut oldest, mut finished) = (newest, true);
        for under in unders {
            oldest = oldest.min(under.version);
            finished &= under == Under { version: newest, joint: false };
        }
        self.by_version.retain(|&version, _| version >= oldest);
        self.finished = finished;
    }

    /// Takes in decisions.
    pub fn extend(&mut self, standings: impl IntoIterator<Item = Standing>) {
        for standing in standings {
            self.adopt(standing);
        }
    }

    /// What a partition comes to stand under that all nodes of the rosters in force open: the newest decision, and the
    /// roster before as well while that is in force, whose nodes may have what is left of it.
    pub fn opened(&self) -> Option<Under> {
        let newest = self.newest()?;
        let joint = newest.before.is_some() && !self.finished;
        Some(Under { version: newest.version, joint })
    }

    /// Whether a data directory may vote under a roster in force.
    pub fn names(&self, voter: Voter) -> bool {
        let anybody = self.mutants.has_strong(StrongMutant::WipedVotes);
        self.electorates().any(|electorate| {
            let named = electorate.names(voter) && !self.replaced.contains(&voter);
            named || (anybody && electorate.roster.place(voter.0).is_some())
        })
    }

    /// The rosters of which a quorum has to accept the next decision: those in force by the newest one.
    pub fn deciding(&self) -> impl Iterator<Item = &Electorate> {
        let count = if self.finished { 1 } else { 2 };
        self.newest().into_iter().flat_map(move |newest| newest.electorates().take(count))
    }

    /// All nodes of the rosters in force, once each.
    pub fn nodes(&self) -> Vec<NodeName> {
        let nodes = self.electorates().flat_map(|electorate| electorate.roster.nodes());
        let mut names: Vec<NodeName> = nodes.map(|node| node.name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn electorates(&self) -> impl Iterator<Item = &Electorate> {
        let newest = self.newest().map(|newest| newest.version);
        self.all().flat_map(move |standing| {
            let past = self.finished && newest == Some(standing.version);
            standing.electorates().take(if past { 1 } else { 2 })
        })
    }

    /// By what rule configurations that stand under this are decided; `None`: nothing is known of it here.
    pub fn rule(&self, under: Under) -> Option<Rule<'_>> {
        let in_force = self.by_version.get(&under.version)?;
        let before = in_force.before.as_ref().filter(|_| under.joint);
        (before.is_some() == under.joint).then_some(Rule {
            now: &in_force.now,
            before,
            replaced: &self.replaced,
            mutants: self.mutants,
        })
    }

    /// What may follow a configuration that stands under this: the step that leads on, then what is possible without it,
    /// and last that it stays.
    pub fn steps(&self, from: Under) -> Vec<Under> {
        let mut steps = Vec::new();
        let known = self.by_version.get(&from.version);
        if let (Some(newest), Some(known)) = (self.newest(), known) {
            let version = newest.version;
            let joint = newest.before.is_some();
            if known.standing.change == newest.change {
                steps.push(Under { version, joint: false });
                if from.joint && joint {
                    steps.push(Under { version, joint: true });
                }
            } else if known.standing.change + 1 == newest.change && joint && !from.joint {
                if self.mutants.has_strong(StrongMutant::JointSkipped) {
                    steps.push(Under { version, joint: false });
                }
                steps.push(Under { version, joint: true });
            }
        }
        steps.retain(|step| *step != from);
        steps.push(from);
        steps
    }
}

/// By what rule a configuration is decided: a quorum of each roster it stands under.
#[derive(Copy, Clone, Debug)]
pub struct Rule<'a> {
    now: &'a Elected,
    before: Option<&'a Elected>,
    replaced: &'a BTreeSet<Voter>,
    mutants: Mutants,
}

impl<'a> Rule<'a> {
    fn all(&self) -> impl Iterator<Item = &'a Elected> {
        core::iter::once(self.now).chain(self.before)
    }

    /// Those of which a quorum has to decide.
    fn deciding(&self) -> impl Iterator<Item = &'a Elected> {
        let ignores = self.mutants.has_strong(StrongMutant::OldRosterIgnored);
        core::iter::once(self.now).chain(self.before.filter(|_| !ignores))
    }

    fn set(&self, elected: &Elected, voters: &[Voter]) -> VoterSet {
        elected.set(voters, self.replaced, self.mutants)
    }

    pub fn may_decide(&self, voters: &[Voter], of: Partition) -> bool {
        let decides =
            |elected: &Elected| elected.may_decide(self.set(elected, voters), of, self.mutants);
        self.deciding().all(decides)
    }

    /// Whether a quorum of each may have accepted what these report, of those that have answered, and perhaps all others.
    pub fn may_have_been_chosen(
        &self,
        answered: &[Voter],
        reporters: &[Voter],
        of: Partition,
    ) -> bool {
        self.deciding().all(|elected| {
            let all = VoterSet::all(elected.electorate.roster.nodes().len());
            let silent = all.without(self.set(elected, answered));
            elected.may_decide(silent.union(self.set(elected, reporters)), of, self.mutants)
        })
    }

    /// Whether it stands under two rosters.
    pub fn is_joint(&self) -> bool {
        self.before.is_some()
    }

    /// Whether a member may be master or in the ISR.
    pub fn admits(&self, member: &Member) -> bool {
        let voter = (member.name, member.voter);
        let anybody = self.mutants.has_strong(StrongMutant::WipedVotes);
        self.all().any(|elected| {
            let electorate = &elected.electorate;
            let named = electorate.names(voter) && !self.replaced.contains(&voter);
            named || (anybody && electorate.roster.place(voter.0).is_some())
        })
    }

    /// The roster-replicas, the roster-master first; under two rosters those of the new one.
    pub fn replicas(&self, of: Partition) -> impl Iterator<Item = NodeName> + 'a {
        self.now.replicas(of)
    }

    /// All nodes in the order of the succession, those of the new roster first.
    pub fn order(&self, of: Partition) -> impl Iterator<Item = NodeName> + 'a {
        let now = self.now;
        let leaving = self.before.into_iter().flat_map(move |before| before.order(of));
        let leaving = leaving.filter(move |&name| now.electorate.roster.place(name).is_none());
        self.now.order(of).chain(leaving)
    }

    /// Who is to have a copy of those that are there: the first of each succession.
    pub fn wanted(&self, of: Partition, is_there: impl Fn(NodeName) -> bool) -> Vec<NodeName> {
        let mut wanted = Vec::new();
        for elected in self.all() {
            let there = elected.order(of).filter(|&name| is_there(name));
            for name in there.take(elected.succession.copies()) {
                if !wanted.contains(&name) {
                    wanted.push(name);
                }
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::super::roster::{RackId, RosterNode};
    use super::*;

    const HOSTS: u32 = 5;

    /// The roster of the hosts in a set of bits.
    fn roster(set: u32, copies: u8) -> Roster {
        let nodes = (0..HOSTS).filter(|at| set >> at & 1 == 1);
        let node = |at| RosterNode { name: NodeName(1 + at), rack: RackId(at as u16 % 2) };
        Roster::new(nodes.map(node).collect(), copies).expect("a roster")
    }

    fn electorate(set: u32, copies: u8, voter: impl Fn(NodeName) -> VoterId) -> Electorate {
        let roster = roster(set, copies);
        let voters = roster.nodes().iter().map(|node| voter(node.name)).collect();
        Electorate { roster, voters }
    }

    fn first_disk(name: NodeName) -> VoterId {
        VoterId(u64::from(name.0))
    }

    /// The second node has a new disk.
    fn now_there(name: NodeName) -> VoterId {
        if name == NodeName(2) { VoterId(20) } else { first_disk(name) }
    }

    /// Sets of those that are there which may decide under this.
    fn deciding(rosters: &Rosters, under: Under, of: Partition) -> Vec<Vec<Voter>> {
        let rule = rosters.rule(under).expect("it is known");
        let sets = (0..1u32 << HOSTS).map(|set| {
            let names = (0..HOSTS).filter(|at| set >> at & 1 == 1).map(|at| NodeName(1 + at));
            names.map(|name| (name, now_there(name))).collect::<Vec<_>>()
        });
        sets.filter(|set| rule.may_decide(set, of)).collect()
    }

    /// Two sets, one of which may decide before a step and the other after it, and that have nobody in common.
    fn apart(rosters: &Rosters, from: Under, of: Partition) -> Option<(Vec<Voter>, Vec<Voter>)> {
        let before = deciding(rosters, from, of);
        rosters.steps(from).into_iter().find_map(|step| {
            let after = deciding(rosters, step, of);
            before.iter().find_map(|one| {
                let other = after.iter().find(|other| !other.iter().any(|v| one.contains(v)))?;
                Some((one.clone(), other.clone()))
            })
        })
    }

    /// Decisions: a first roster, another, and the second one's new disk while partitions move.
    fn decisions(first: (u32, u8), second: (u32, u8), mutants: Mutants) -> Rosters {
        let one = electorate(first.0, first.1, first_disk);
        let two = electorate(second.0, second.1, first_disk);
        let standing =
            |version, change, now, before| Standing { cluster: 1, version, change, now, before };
        let mut rosters = Rosters::new(2, mutants);
        rosters.adopt(standing(1, 1, one.clone(), None));
        rosters.adopt(standing(2, 2, two, Some(one)));
        let amended = electorate(second.0, second.1, now_there);
        let before = electorate(first.0, first.1, now_there);
        rosters.adopt(standing(3, 2, amended, Some(before)));
        rosters
    }

    fn without_last(mut rosters: Rosters) -> Rosters {
        rosters.by_version.remove(&3);
        rosters
    }

    fn found(mutants: Mutants) -> Option<String> {
        let all = (1..1 << HOSTS).flat_map(|set| [(set, 1), (set, 2), (set, 3)]);
        let all: Vec<(u32, u8)> = all.collect();
        for (&first, &second) in all.iter().flat_map(|one| all.iter().map(move |two| (one, two))) {
            let rosters = decisions(first, second, mutants);
            for rosters in [without_last(rosters.clone()), rosters] {
                for version in rosters.all().map(|standing| standing.version).collect::<Vec<_>>() {
                    for joint in [false, true].into_iter().filter(|joint| !joint || version > 1) {
                        let from = Under { version, joint };
                        if let Some(sets) = apart(&rosters, from, Partition(1)) {
                            return Some(format!("{first:?} to {second:?}, {from:?}: {sets:?}"));
                        }
                    }
                }
            }
        }
        None
    }

    #[test]
    fn who_decides_before_a_step_meets_who_decides_after_it() {
        assert_eq!(found(Mutants::NONE), None);
    }

    #[cfg(feature = "mutants")]
    #[test]
    fn steps_that_skip_the_rosters_between_are_found() {
        for mutant in [StrongMutant::OldRosterIgnored, StrongMutant::JointSkipped] {
            assert!(found(Mutants::only_strong(mutant)).is_some(), "{}", mutant.name());
        }
    }
}
