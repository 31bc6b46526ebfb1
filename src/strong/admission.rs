//! New data directories are admitted by all nodes of the rosters in force, for an operator who opens partitions: where so
//! many voters have lost their disks that a council has no quorum any more. It is a decision about the roster like any
//! other, and in the way of any other: each node promises and accepts its ballot, those too that may not vote. So whatever
//! a quorum has decided is found, as far as anybody is left who knows; and nobody can decide anything else meanwhile.

use std::collections::BTreeMap;

use crate::base::time::{Mono, Span};

use super::council::Ballot;
use super::message::{Durable, Item};
use super::regime::VoterId;
use super::roster::NodeName;
use super::standing::{Electorate, Standing};
use super::{Desk, Strong};

/// An attempt to have a decision accepted by all.
#[derive(Clone, Debug)]
pub struct Admission {
    ballot: Ballot,
    /// Whose new data directories are to be admitted.
    names: Vec<NodeName>,
    wanted: Standing,
    /// What those who have promised had accepted before.
    promised: BTreeMap<NodeName, Option<(Ballot, Standing)>>,
    /// What all are to accept, once all have promised.
    proposed: Option<Standing>,
    accepted: Vec<NodeName>,
    /// A higher ballot was promised somewhere.
    refused: bool,
    sent_at: Mono,
}

impl Admission {
    /// The version that is being decided.
    pub fn version(&self) -> u32 {
        self.wanted.version
    }

    pub fn names(&self) -> impl Iterator<Item = NodeName> {
        self.names.iter().copied()
    }

    pub fn on_refused(&mut self, promised: Ballot) {
        self.refused |= promised > self.ballot;
    }
}

impl Strong {
    /// The roster in force with the data directories that its nodes have now; and whose are new. `None`: all are known.
    /// Those on older disks stay as they are: they need new voter ids before.
    pub(super) fn readmission(
        &self,
        forgot: &dyn Fn(NodeName) -> bool,
    ) -> Option<(Vec<NodeName>, Standing)> {
        let newest = self.rosters.newest()?;
        let mut names = Vec::new();
        let mut renewed = |electorate: &Electorate| {
            let mut electorate = electorate.clone();
            for (at, node) in electorate.roster.nodes().iter().enumerate() {
                let voter = self.linked_voter(node.name).filter(|_| !forgot(node.name));
                if let Some(voter) = voter.filter(|voter| *voter != electorate.voters[at]) {
                    electorate.voters[at] = voter;
                    names.push(node.name);
                }
            }
            electorate
        };
        let now = renewed(&newest.now);
        let before = newest.before.as_ref().filter(|_| !self.rosters.is_finished());
        let before = before.map(renewed);
        names.sort_unstable();
        names.dedup();
        let (version, change) = (newest.version + 1, newest.change);
        let standing = Standing { cluster: newest.cluster, version, change, now, before };
        (!names.is_empty()).then_some((names, standing))
    }

    /// The data directory with which a node is linked, or this one's.
    fn linked_voter(&self, name: NodeName) -> Option<VoterId> {
        if name == self.config.name {
            return Some(self.voter);
        }
        self.peers.get(&name).map(|peer| peer.voter)
    }

    pub(super) fn begin_admission(
        &mut self,
        names: Vec<NodeName>,
        wanted: Standing,
        now: Mono,
    ) -> Admission {
        let ballot = self.council.next_ballot(self.config.name);
        let version = wanted.version;
        self.promise_ballot(version, ballot, now);
        let accepted = self.council.accepted.clone();
        let promised = BTreeMap::from([(self.config.name, accepted)]);
        let (proposed, accepted, refused, sent_at) = (None, Vec::new(), false, now);
        self.say_to_voters(&Item::Admit { version, ballot, standing: None });
        Admission { ballot, names, wanted, promised, proposed, accepted, refused, sent_at }
    }

    /// An operator wants a ballot promised, or with `standing` a decision accepted.
    pub(super) fn on_admit(
        &mut self,
        from: NodeName,
        version: u32,
        ballot: Ballot,
        standing: Option<Standing>,
        now: Mono,
    ) {
        if version < self.next_version()
            && let Some(standing) = self.rosters.newest().cloned()
        {
            self.say(from, Item::Decided { standing });
        }
        let is_sane = standing.as_ref().is_none_or(|standing| {
            standing.is_sane()
                && standing.version == version
                && self.rosters.newest().is_some_and(|newest| newest.cluster == standing.cluster)
        });
        let known = version > 1 && version == self.next_version();
        if !is_sane || !known || !self.compared || !self.rosters.nodes().contains(&from) {
            return;
        }
        let promised = self.council.promised;
        if ballot < promised {
            return self.say(from, Item::CouncilRefused { version, promised });
        }
        self.promise_ballot(version, ballot, now);
        let accepts = standing.is_some();
        if let Some(standing) = standing {
            self.write_down(Durable::CouncilAccept { ballot, standing: standing.clone() });
            self.council.accepted = Some((ballot, standing));
        }
        let accepted = self.council.accepted.clone().filter(|_| !accepts);
        self.say(from, Item::Admitted { version, ballot, accepts, accepted });
    }

    pub(super) fn on_admitted(
        &mut self,
        from: NodeName,
        version: u32,
        ballot: Ballot,
        accepts: bool,
        accepted: Option<(Ballot, Standing)>,
        desk: &mut Desk<'_>,
    ) {
        let is_sane = accepted.as_ref().is_none_or(|(_, standing)| standing.is_sane());
        let Some(admission) = self.revival.as_mut().and_then(|r| r.admission_mut()) else { return };
        if !is_sane || (admission.version(), admission.ballot) != (version, ballot) {
            return;
        }
        if !accepts {
            admission.promised.insert(from, accepted);
        } else if !admission.accepted.contains(&from) {
            admission.accepted.push(from);
        }
        self.advance_revival(desk);
    }

    /// Goes on with an attempt: once all have promised a decision is put to all, and holds once all have accepted it.
    pub(super) fn advance_admission(&mut self, admission: &mut Admission, desk: &mut Desk<'_>) {
        let nodes = self.rosters.nodes();
        let (version, ballot) = (admission.version(), admission.ballot);
        if self.next_version() != version {
            return;
        }
        if admission.proposed.is_none()
            && nodes.iter().all(|name| admission.promised.contains_key(name))
        {
            // What may have been decided has to be.
            let before = admission.promised.values().filter_map(Option::as_ref);
            let newest = before.max_by_key(|(ballot, _)| *ballot).map(|(_, standing)| standing);
            let standing = newest.unwrap_or(&admission.wanted).clone();
            self.write_down(Durable::CouncilAccept { ballot, standing: standing.clone() });
            self.council.accepted = Some((ballot, standing.clone()));
            admission.accepted.push(self.config.name);
            self.say_to_voters(&Item::Admit { version, ballot, standing: Some(standing.clone()) });
            admission.proposed = Some(standing);
            admission.sent_at = desk.now;
        }
        if let Some(standing) = &admission.proposed
            && nodes.iter().all(|name| admission.accepted.contains(name))
        {
            desk.facts.sometimes("all nodes have admitted new disks");
            let standing = standing.clone();
            return self.on_decided(standing, desk);
        }
        if desk.now.since(admission.sent_at) >= Span(2 * self.config.heartbeat_interval.0) {
            admission.sent_at = desk.now;
            if admission.refused || self.council.promised > ballot {
                // Another attempt has come between.
                let (names, wanted) = (admission.names.clone(), admission.wanted.clone());
                *admission = self.begin_admission(names, wanted, desk.now);
                return;
            }
            let standing = admission.proposed.clone();
            self.say_to_voters(&Item::Admit { version, ballot, standing });
        }
    }
}
