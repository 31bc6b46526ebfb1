//! The roster: how a cluster begins with its first one, and how later ones are decided. Those are decided one after the
//! other, each by promises and acceptances of a quorum of the rosters in force (the one before the newest among them until
//! no partition stands under it any more): a majority of their voters, or half with the first.

use serde::{Deserialize, Serialize};

use crate::base::ids::Partition;
use crate::base::mutant::StrongMutant;
use crate::base::time::{Mono, Span};

use super::message::{Durable, Item};
use super::regime::{Member, Regime, Start, VoterId};
use super::roster::{NodeName, Roster};
use super::standing::{Electorate, Standing, Under, Voter};
use super::{Desk, Strong};

/// Number of an attempt at a decision, and who makes it.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Ballot(pub u32, pub NodeName);

impl Default for Ballot {
    fn default() -> Ballot {
        Ballot(0, NodeName(0))
    }
}

/// What is to become of the decision that follows the newest one.
#[derive(Clone, Debug, Default)]
pub struct Council {
    // Durable.
    pub promised: Ballot,
    pub accepted: Option<(Ballot, Standing)>,
    // Of this life.
    motion: Option<Motion>,
    /// The highest ballot heard of.
    seen: u32,
    /// What was wanted when another attempt came between, and since when.
    again: Option<(Mono, Standing)>,
    /// Since when something is accepted, and nobody known to see to it.
    open_since: Option<Mono>,
}

impl Council {
    /// Higher than all that were heard of.
    pub fn next_ballot(&self, name: NodeName) -> Ballot {
        Ballot(self.promised.0.max(self.seen).saturating_add(1), name)
    }

    pub fn note(&mut self, ballot: Ballot) {
        self.seen = self.seen.max(ballot.0);
    }
}

/// An attempt at a decision.
#[derive(Clone, Debug)]
struct Motion {
    ballot: Ballot,
    /// What is wanted; nothing by those who only bring to an end what others have begun.
    wanted: Option<Standing>,
    phase: Phase,
    since: Mono,
    sent_at: Mono,
}

#[derive(Clone, Debug)]
enum Phase {
    Promising { promised: Vec<(Voter, Option<(Ballot, Standing)>)> },
    Accepting { standing: Standing, accepted: Vec<Voter> },
}

/// A change of the roster that may be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub added: Vec<NodeName>,
    pub removed: Vec<NodeName>,
    /// Nodes that stay, with new data directories.
    pub readmitted: Vec<NodeName>,
    /// The replication factor.
    pub copies: u8,
    /// Partitions that nobody could decide for under the new roster, with the nodes that are heard now.
    pub unavailable: Vec<Partition>,
    standing: Standing,
}

impl Strong {
    /// Begins a cluster: its first roster, of these nodes that this one hears.
    ///
    /// # Errors
    /// There is a roster already, or one is being accepted; or a node of it is not heard.
    pub fn found(&mut self, roster: Roster, now: Mono) -> Result<(), FoundError> {
        if self.rosters.newest().is_some() || self.proposed.is_some() {
            return Err(FoundError::Exists);
        }
        let mut voters = Vec::new();
        for node in roster.nodes() {
            let voter = if node.name == self.config.name {
                Some(self.voter)
            } else {
                self.peers.get(&node.name).filter(|peer| self.is_fresh(peer, now)).map(|p| p.voter)
            };
            voters.push(voter.ok_or(FoundError::NotHeard(node.name))?);
        }
        let cluster = self.rng.next_u64();
        let electorate = Electorate { roster, voters };
        let (version, change, before) = (1, 1, None);
        self.accept_roster(Standing { cluster, version, change, now: electorate, before });
        self.next_beat = now;
        Ok(())
    }

    pub(super) fn accept_roster(&mut self, standing: Standing) {
        self.write_down(Durable::Roster { standing: standing.clone() });
        let names_me = standing.now.names(self.me());
        let held = names_me.then_some(self.config.name).into_iter().collect();
        self.proposed = Some((standing, held));
        self.roster_held_by_all();
    }

    /// The proposed roster is in force if all its nodes have accepted it.
    pub(super) fn roster_held_by_all(&mut self) {
        let Some((standing, held)) = &self.proposed else { return };
        if standing.now.roster.nodes().iter().all(|node| held.contains(&node.name)) {
            let standing = standing.clone();
            self.proposed = None;
            self.write_down(Durable::RosterHeld);
            self.put_in_force(standing);
            self.look_at_all();
        }
    }

    /// The first roster is in force: every partition begins with its roster-replicas in sync, and empty.
    pub(super) fn put_in_force(&mut self, standing: Standing) {
        let first = standing.now.clone();
        self.adopt(standing);
        let under = Under { version: 1, joint: false };
        let anybody = self.has(StrongMutant::WipedVotes);
        let (me, names_me) = (self.config.name, anybody || first.names(self.me()));
        for of in self.partitions() {
            let Some(rule) = self.rosters.rule(under) else { return };
            let voter = |name| first.roster.place(name).map(|at| first.voters[at]);
            let member = |name| Some(Member { name, voter: voter(name)?, start: Start(0) });
            let mut isr: Vec<Member> = rule.replicas(of).filter_map(member).collect();
            isr.sort();
            let holds = names_me && isr.iter().any(|m| m.name == me);
            let intact = (holds && !self.amnesiac).then_some(Start(0));
            let part = self.part(of);
            if part.chosen.regime == Regime(0) {
                (part.chosen.isr, part.chosen.under, part.intact) = (isr, under, intact);
            }
        }
        self.prune_rosters();
    }

    /// A later decision is in force.
    pub(super) fn adopt(&mut self, standing: Standing) {
        let newest = self.next_version() - 1;
        if self.rosters.adopt(standing) {
            if self.next_version() - 1 > newest {
                self.council = Council::default();
                self.proposed = None;
            }
            self.prune_rosters();
        }
    }

    /// Partitions have moved on.
    pub(super) fn prune_rosters(&mut self) {
        self.rosters.prune(self.parts.iter().map(|part| part.chosen.under));
    }

    /// Somebody says what was decided.
    pub(super) fn on_decided(&mut self, standing: Standing, desk: &mut Desk<'_>) {
        let newest = self.rosters.newest();
        let foreign = newest.is_some_and(|newest| newest.cluster != standing.cluster);
        // (An older one is of use as long as partitions may stand under it.)
        let oldest = self.parts.iter().map(|part| part.chosen.under.version).min();
        let past = newest.is_some() && oldest.is_some_and(|oldest| standing.version < oldest);
        if foreign
            || past
            || !standing.is_sane()
            || self.rosters.all().any(|known| known.version == standing.version)
        {
            return;
        }
        if standing.version == 1 {
            // (All its nodes have it.)
            if self.proposed.as_ref().is_none_or(|(proposed, _)| *proposed != standing) {
                self.write_down(Durable::Roster { standing: standing.clone() });
            }
            self.write_down(Durable::RosterHeld);
            self.proposed = None;
            self.put_in_force(standing.clone());
        } else {
            // (If there is a later one all have accepted the first.)
            if let Some((first, _)) =
                self.proposed.take().filter(|p| p.0.cluster == standing.cluster)
            {
                self.write_down(Durable::RosterHeld);
                self.put_in_force(first);
            }
            desk.facts.sometimes("a later roster came into force");
            self.write_down(Durable::Decided { standing: standing.clone() });
            self.adopt(standing.clone());
        }
        self.say_to_all(&Item::Decided { standing });
        self.news = true;
        self.look_at_all();
    }

    // ----- a change --------------------------------------------------------------------------

    /// What a roster would change. With `force` also if it leaves out as many nodes as there are copies.
    ///
    /// # Errors
    /// Why it cannot be: nothing changes then.
    pub fn change(&self, roster: Roster, force: bool, now: Mono) -> Result<Change, ChangeError> {
        let Some(newest) = self.rosters.newest() else { return Err(ChangeError::NoRoster) };
        let old = &newest.now;
        let mut voters = Vec::new();
        for node in roster.nodes() {
            let heard = self.peers.get(&node.name).filter(|peer| self.is_fresh(peer, now));
            let kept = old.roster.place(node.name).map(|place| old.voters[place]);
            let voter = if node.name == self.config.name {
                Some(self.voter)
            } else {
                heard.map(|peer| peer.voter).or(kept)
            };
            voters.push(voter.ok_or(ChangeError::NotHeard(node.name))?);
        }
        let forgot = |voter: &VoterId| {
            self.known.get(voter).is_some_and(|known| known.amnesiac)
                || (self.amnesiac && *voter == self.voter)
        };
        let named = roster.nodes().iter().zip(&voters);
        if let Some((node, _)) = named.clone().find(|(_, voter)| forgot(voter)) {
            return Err(ChangeError::Amnesiac(node.name));
        }
        let names = |roster: &Roster| roster.nodes().iter().map(|n| n.name).collect::<Vec<_>>();
        let (before, after) = (names(&old.roster), names(&roster));
        let added: Vec<_> = after.iter().copied().filter(|name| !before.contains(name)).collect();
        let removed: Vec<_> = before.into_iter().filter(|name| !after.contains(name)).collect();
        let is_new = |name: NodeName, voter: VoterId| {
            old.roster.place(name).is_some_and(|place| old.voters[place] != voter)
        };
        let readmitted: Vec<NodeName> = named
            .filter(|(node, voter)| is_new(node.name, **voter))
            .map(|(node, _)| node.name)
            .collect();
        let changes = roster != old.roster;
        if !changes && readmitted.is_empty() {
            return Err(ChangeError::Unchanged);
        }
        if changes && !(self.rosters.is_finished() && self.moving() == 0) {
            return Err(ChangeError::Unfinished { partitions: self.moving() });
        }
        if removed.len() >= old.roster.copies() && !force {
            return Err(ChangeError::TooManyLeave { nodes: removed.len() });
        }
        let now_in = Electorate { roster, voters };
        // Who stays with a new data directory is one of the roster before by that, too, if it still counts.
        let before = if changes {
            Some(old.clone())
        } else {
            newest.before.clone().filter(|_| !self.rosters.is_finished()).map(|mut before| {
                for (at, node) in before.roster.nodes().iter().enumerate() {
                    if let Some(place) = now_in.roster.place(node.name) {
                        before.voters[at] = now_in.voters[place];
                    }
                }
                before
            })
        };
        let standing = Standing {
            cluster: newest.cluster,
            version: newest.version + 1,
            change: newest.change + u32::from(changes),
            now: now_in,
            before,
        };
        let unavailable = self.unavailable_under(&standing);
        let copies = standing.now.roster.replication_factor();
        Ok(Change { added, removed, readmitted, copies, unavailable, standing })
    }

    /// Partitions that the voters heard now could not decide for under a roster.
    fn unavailable_under(&self, standing: &Standing) -> Vec<Partition> {
        let mut rosters = self.rosters.clone();
        rosters.adopt(standing.clone());
        let there = |name: &NodeName| *name == self.config.name || self.hears(*name);
        let nodes = standing.now.roster.nodes().iter().zip(&standing.now.voters);
        let heard: Vec<Voter> = nodes
            .map(|(node, &voter)| (node.name, voter))
            .filter(|(name, _)| there(name))
            .collect();
        let under = Under { version: standing.version, joint: false };
        let decides =
            |of: &Partition| rosters.rule(under).is_some_and(|rule| rule.may_decide(&heard, *of));
        self.partitions().filter(|of| !decides(of)).collect()
    }

    /// Proposes a change: it is decided when a quorum of the rosters in force has accepted it.
    pub fn move_to(&mut self, change: Change, now: Mono) {
        self.begin_motion(Some(change.standing), now);
    }

    fn begin_motion(&mut self, wanted: Option<Standing>, now: Mono) {
        if !self.votes() {
            return;
        }
        let ballot = self.council.next_ballot(self.config.name);
        let version = self.next_version();
        self.write_down(Durable::CouncilPromise { version, ballot });
        self.council.promised = ballot;
        let promised = vec![(self.me(), self.council.accepted.clone())];
        let phase = Phase::Promising { promised };
        self.council.motion = Some(Motion { ballot, wanted, phase, since: now, sent_at: now });
        self.say_to_voters(&Item::CouncilPromise { version, ballot });
        self.go_on_if_council_promised();
    }

    /// A promise, or with `standing` an acceptance, that was written down.
    pub(super) fn recover_council(
        &mut self,
        version: u32,
        ballot: Ballot,
        standing: Option<Standing>,
    ) {
        if version != self.next_version() {
            return;
        }
        self.council.promised = self.council.promised.max(ballot);
        if let Some(standing) = standing {
            self.council.accepted = Some((ballot, standing));
        }
    }

    pub(super) fn next_version(&self) -> u32 {
        self.rosters.newest().map_or(1, |newest| newest.version + 1)
    }

    /// Whether these voters may decide what is wanted.
    fn council_decides(&self, voters: &[Voter], wanted: Option<&Standing>) -> bool {
        let decides = |electorate: &Electorate| {
            electorate.may_decide_rosters(|voter| voters.contains(&voter))
        };
        if self.has(StrongMutant::CouncilOfNew)
            && let Some(wanted) = wanted
        {
            return decides(&wanted.now);
        }
        self.rosters.newest().is_some() && self.rosters.deciding().all(decides)
    }

    /// Whether this node answers as a member of the council on this version.
    fn sits(&mut self, from: NodeName, version: u32) -> bool {
        if version < self.next_version()
            && let Some(standing) = self.rosters.newest().cloned()
        {
            self.say(from, Item::Decided { standing });
        }
        version == self.next_version() && self.votes() && self.voter(from).is_some()
    }

    /// Promises a ballot, unless it, or a higher one, is promised.
    pub(super) fn promise_ballot(&mut self, version: u32, ballot: Ballot, now: Mono) {
        if ballot > self.council.promised {
            self.write_down(Durable::CouncilPromise { version, ballot });
            self.council.promised = ballot;
            self.set_motion_aside(now);
        }
    }

    /// Another attempt comes between: what is wanted here is tried again after it.
    fn set_motion_aside(&mut self, now: Mono) {
        let wanted = self.council.motion.take().and_then(|motion| motion.wanted);
        if let Some(standing) = wanted {
            self.council.again.get_or_insert((now, standing));
        }
    }

    pub(super) fn on_council_promise(
        &mut self,
        from: NodeName,
        version: u32,
        ballot: Ballot,
        now: Mono,
    ) {
        if !self.sits(from, version) {
            return;
        }
        let promised = self.council.promised;
        if ballot < promised {
            return self.say(from, Item::CouncilRefused { version, promised });
        }
        self.promise_ballot(version, ballot, now);
        let accepted = self.council.accepted.clone();
        self.say(from, Item::CouncilPromised { version, ballot, accepted });
    }

    pub(super) fn on_council_promised(
        &mut self,
        from: NodeName,
        version: u32,
        ballot: Ballot,
        accepted: Option<(Ballot, Standing)>,
    ) {
        let is_sane = accepted.as_ref().is_none_or(|(_, standing)| standing.is_sane());
        if version != self.next_version() || !is_sane {
            return;
        }
        let Some(voter) = self.voter(from) else { return };
        let motion = self.council.motion.as_mut().filter(|motion| motion.ballot == ballot);
        let Some(Motion { phase: Phase::Promising { promised }, .. }) = motion else { return };
        promised.retain(|(known, _)| *known != voter);
        promised.push((voter, accepted));
        self.go_on_if_council_promised();
    }

    fn go_on_if_council_promised(&mut self) {
        let Some(motion) = &self.council.motion else { return };
        let Phase::Promising { promised } = &motion.phase else { return };
        let voters: Vec<Voter> = promised.iter().map(|(voter, _)| *voter).collect();
        if !self.council_decides(&voters, motion.wanted.as_ref()) {
            return;
        }
        // What may have been decided has to be.
        let newest = promised.iter().filter_map(|(_, accepted)| accepted.as_ref());
        let newest = newest.max_by_key(|(ballot, _)| *ballot).map(|(_, standing)| standing);
        let Some(standing) = newest.or(motion.wanted.as_ref()).cloned() else {
            self.council.motion = None;
            return;
        };
        let ballot = motion.ballot;
        self.write_down(Durable::CouncilAccept { ballot, standing: standing.clone() });
        self.council.accepted = Some((ballot, standing.clone()));
        let accepted = vec![self.me()];
        if let Some(motion) = &mut self.council.motion {
            motion.phase = Phase::Accepting { standing: standing.clone(), accepted };
        }
        self.say_to_voters(&Item::CouncilAccept { ballot, standing });
    }

    pub(super) fn on_council_accept(
        &mut self,
        from: NodeName,
        ballot: Ballot,
        standing: Standing,
        now: Mono,
    ) {
        let version = standing.version;
        if !self.sits(from, version) || !standing.is_sane() {
            return;
        }
        let promised = self.council.promised;
        if ballot < promised {
            return self.say(from, Item::CouncilRefused { version, promised });
        }
        if self.council.accepted.as_ref().is_none_or(|(accepted, _)| *accepted < ballot) {
            self.write_down(Durable::CouncilAccept { ballot, standing: standing.clone() });
            self.council.promised = ballot;
            self.council.accepted = Some((ballot, standing));
            self.set_motion_aside(now);
        }
        self.say(from, Item::CouncilAccepted { version, ballot });
    }

    pub(super) fn on_council_accepted(
        &mut self,
        from: NodeName,
        version: u32,
        ballot: Ballot,
        desk: &mut Desk<'_>,
    ) {
        if version != self.next_version() {
            return;
        }
        let Some(voter) = self.voter(from) else { return };
        let motion = self.council.motion.as_mut().filter(|motion| motion.ballot == ballot);
        let Some(Motion { phase: Phase::Accepting { accepted, .. }, .. }) = motion else { return };
        if !accepted.contains(&voter) {
            accepted.push(voter);
        }
        self.end_council(desk);
    }

    /// A quorum has accepted: that is the decision.
    fn end_council(&mut self, desk: &mut Desk<'_>) {
        let Some(motion) = &self.council.motion else { return };
        let Phase::Accepting { standing, accepted } = &motion.phase else { return };
        if self.council_decides(accepted, Some(standing)) {
            let standing = standing.clone();
            self.on_decided(standing, desk);
        }
    }

    pub(super) fn on_council_refused(&mut self, version: u32, promised: Ballot, now: Mono) {
        if version != self.next_version() {
            return;
        }
        let council = &mut self.council;
        council.note(promised);
        if let Some(admission) = self.revival.as_mut().and_then(|r| r.admission_mut()) {
            admission.on_refused(promised);
        }
        if council.motion.as_ref().is_some_and(|motion| motion.ballot < promised) {
            self.set_motion_aside(now);
        }
    }

    pub(super) fn tick_council(&mut self, desk: &mut Desk<'_>) {
        if self.rosters.newest().is_none() || !self.votes() {
            return;
        }
        let (interval, timeout) = (self.config.heartbeat_interval, self.config.heartbeat_timeout);
        if let Some(motion) = &mut self.council.motion {
            if desk.now.since(motion.since).0 >= 2 * timeout.0 {
                self.council.motion = None;
                return;
            }
            if desk.now.since(motion.sent_at).0 >= 2 * interval.0 {
                motion.sent_at = desk.now;
                let ballot = motion.ballot;
                let item = match &motion.phase {
                    Phase::Promising { .. } => {
                        Item::CouncilPromise { version: self.next_version(), ballot }
                    }
                    Phase::Accepting { standing, .. } => {
                        Item::CouncilAccept { ballot, standing: standing.clone() }
                    }
                };
                self.say_to_voters(&item);
            }
            return self.end_council(desk);
        }
        let rank = self.rosters.nodes().iter().position(|&name| name == self.config.name);
        let patience = Span(timeout.0 + rank.unwrap_or(0) as u64 * interval.0);
        if self.council.accepted.is_some() {
            let since = *self.council.open_since.get_or_insert(desk.now);
            if desk.now.since(since) >= patience {
                desk.facts.sometimes(
                    "what another had begun to decide of the roster was brought to an end",
                );
                self.council.open_since = None;
                self.begin_motion(None, desk.now);
            }
        } else if let Some((since, standing)) = self.council.again.clone()
            && desk.now.since(since) >= patience
        {
            self.council.again = None;
            self.begin_motion(Some(standing), desk.now);
        }
    }
}

/// Why a roster cannot be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChangeError {
    NoRoster,
    /// The roster is as it is to be.
    Unchanged,
    /// So many partitions have not yet come to the roster in force.
    Unfinished {
        partitions: usize,
    },
    /// A node that is to come, or its disk is new, is not heard.
    NotHeard(NodeName),
    /// A node's disk has forgotten what it promised: it needs a new voter id.
    Amnesiac(NodeName),
    /// As many as there are copies, or more, would leave at once.
    TooManyLeave {
        nodes: usize,
    },
}

/// Why no cluster was begun.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FoundError {
    /// There is a roster.
    Exists,
    NotHeard(NodeName),
}
