//! The candidate's side of a change of regime: steps 0 to 4.

use std::collections::BTreeMap;

use crate::base::ids::Partition;
use crate::base::mutant::StrongMutant;
use crate::base::time::Span;

use super::message::{Item, Stage};
use super::part::{Bid, Joiner, Phase, Plan};
use super::quorum::VoterSet;
use super::regime::{
    Configuration, Member, Proposal, Regime, Report, base_of, core_of, without_committed,
};
use super::roster::NodeName;
use super::{Desk, Strong};

/// Entries of one transfer.
const JOIN_ENTRIES_MAX: usize = 4096;
/// A candidate with a copy that is not known to be in sync waits so many intervals longer.
const OUTSIDER_INTERVALS: u64 = 10;

impl Bid {
    pub fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Asking { .. })
    }
}

impl Strong {
    /// Nobody serves a partition and this node does nothing about it yet. True if nothing is to be done.
    pub(super) fn tick_vacant(&mut self, of: Partition, desk: &mut Desk<'_>) -> bool {
        let part = self.at(of);
        let served = part.serving.is_some_and(|(who, regime)| {
            regime >= part.chosen.regime && who != self.config.name && self.hears(who)
        });
        if served {
            self.part(of).vacant_since = None;
            return true;
        }
        let Some(roster) = &self.roster else { return true };
        if part.intact.is_none() {
            return true;
        }
        if !roster.may_decide(self.heard_voters(), of) {
            self.part(of).vacant_since = None;
            return true;
        }
        let interval = self.config.heartbeat_interval.0;
        let before = roster.names(of).take_while(|name| *name != self.config.name);
        let rank = before.filter(|name| self.hears(*name)).count() as u64;
        let newest = part.newest();
        let is_member = newest.member(self.config.name).is_some_and(|m| m.voter == self.voter)
            && part.outside.is_none_or(|outside| outside < newest.regime);
        let Some(since) = part.vacant_since else {
            let jitter = self.rng.below(interval / 2 + 1);
            let part = self.part(of);
            part.vacant_since = Some(desk.now);
            part.jitter = jitter;
            return false;
        };
        let wait = rank * interval
            + part.jitter
            + if is_member { 0 } else { OUTSIDER_INTERVALS * interval };
        if desk.now.since(since) >= Span(wait) {
            self.start_bid(of, desk);
        }
        false
    }

    /// A candidate outside the core hands its candidacy to this node, which is in it.
    pub(super) fn on_nominate(&mut self, of: Partition, seen: Regime, desk: &mut Desk<'_>) {
        let part = self.part(of);
        part.note(seen);
        if part.reign.is_none() && part.bid.is_none() && part.intact.is_some() {
            self.start_bid(of, desk);
        }
    }

    /// Step 0.
    pub(super) fn start_bid(&mut self, of: Partition, desk: &mut Desk<'_>) {
        let Some(place) = self.votes() else { return };
        let part = self.part(of);
        let regime = part.promised.max(part.seen).next();
        part.note(regime);
        let phase = Phase::Asking { yes: VoterSet::default().with(place) };
        part.bid = Some(Bid { regime, phase, since: desk.now, sent_at: desk.now });
        self.busy.insert(of);
        self.say_to_voters(&Item::Ask { of, regime });
        self.go_on_if_yes(of, desk);
    }

    pub(super) fn on_answer(
        &mut self,
        from: NodeName,
        of: Partition,
        regime: Regime,
        yes: bool,
        promised: Regime,
        desk: &mut Desk<'_>,
    ) {
        let Some(place) = self.voter_place(from) else { return };
        let part = self.part(of);
        part.note(promised);
        let Some(bid) = part.bid.as_mut().filter(|bid| bid.regime == regime) else { return };
        let Phase::Asking { yes: set } = &mut bid.phase else { return };
        if yes {
            *set = set.with(place);
            self.go_on_if_yes(of, desk);
        }
    }

    fn go_on_if_yes(&mut self, of: Partition, desk: &mut Desk<'_>) {
        let (Some(roster), Some(bid)) = (&self.roster, &self.at(of).bid) else { return };
        let Phase::Asking { yes } = &bid.phase else { return };
        if roster.may_decide(*yes, of) {
            self.ask_for_promises(of, desk);
        }
    }

    /// Step 1, with this node's own promise.
    fn ask_for_promises(&mut self, of: Partition, desk: &mut Desk<'_>) {
        let Some(place) = self.votes() else { return };
        let Some(regime) = self.at(of).bid.as_ref().map(|bid| bid.regime) else { return };
        if self.at(of).promised >= regime {
            return self.give_up_bid(of);
        }
        self.promise(of, regime, desk);
        let report = self.at(of).report(self.start);
        if let Some(bid) = &mut self.part(of).bid {
            bid.phase = Phase::Promising { reports: BTreeMap::from([(place, report)]) };
            bid.since = desk.now;
            bid.sent_at = desk.now;
        }
        self.say_to_voters(&Item::Promise { of, regime });
        self.go_on_if_promised(of, desk);
    }

    pub(super) fn on_promised(
        &mut self,
        from: NodeName,
        of: Partition,
        regime: Regime,
        report: Report,
        desk: &mut Desk<'_>,
    ) {
        let Some(place) = self.voter_place(from) else { return };
        if self.peers.get(&from).is_none_or(|peer| peer.start != report.start) {
            return;
        }
        let part = self.part(of);
        let Some(bid) = part.bid.as_mut().filter(|bid| bid.regime == regime) else { return };
        let Phase::Promising { reports } = &mut bid.phase else { return };
        reports.insert(place, report);
        self.go_on_if_promised(of, desk);
    }

    /// Step 2, once a quorum has promised and everybody who is heard has answered, or time has passed.
    fn go_on_if_promised(&mut self, of: Partition, desk: &mut Desk<'_>) {
        let (Some(roster), Some(bid)) = (&self.roster, &self.at(of).bid) else { return };
        let Phase::Promising { reports } = &bid.phase else { return };
        let answered: VoterSet = reports.keys().copied().collect();
        let all = self.heard_voters().without(answered) == VoterSet::default();
        let waited = desk.now.since(bid.since) >= self.config.heartbeat_interval;
        if !roster.may_decide(answered, of) || !(all || waited) {
            return;
        }
        let regime = bid.regime;
        let list: Vec<(usize, &Report)> =
            reports.iter().map(|(&at, report)| (at, report)).collect();
        let mutants = self.config.mutants;
        let base = base_of(&list, &roster.standing.roster, roster.order(of), mutants);
        let core = core_of(&base.config, &roster.standing, &list, mutants);
        let older = without_committed(&core, &roster.standing.roster, &list);
        if !older.is_empty() && !self.has(StrongMutant::OlderDiskTrusted) {
            // What they have confirmed once is not there: these are not the disks they were.
            self.give_up_bid(of);
            for name in older {
                if name == self.config.name {
                    self.become_amnesiac(desk);
                } else {
                    self.find_amnesiac(name, desk);
                }
            }
            return;
        }
        let members: Vec<Member> = core
            .iter()
            .filter_map(|&name| {
                let place = roster.standing.roster.place(name)?;
                let start = reports.get(&place)?.start;
                Some(Member { name, voter: roster.standing.voters[place], start })
            })
            .collect();
        if !core.contains(&self.config.name) {
            desk.facts.sometimes("a candidate was outside the core");
            let newest = list.iter().map(|(_, report)| &report.chosen).max_by_key(|c| c.regime);
            let newest = newest.cloned();
            let next = roster.names(of).find(|name| core.contains(name));
            let outside = base.config.regime;
            self.part(of).outside = Some(outside);
            if let Some(next) = next {
                let seen = self.at(of).seen;
                self.say(next, Item::Nominate { of, seen });
            }
            self.give_up_bid(of);
            if let Some(newest) = newest {
                self.learn_chosen(of, &newest, desk);
            }
            return;
        }
        if base.config.regime > self.at(of).chosen.regime {
            desk.facts.sometimes("a regime follows one that may have been chosen");
        }
        let reports = reports.clone();
        let plan = Plan { base, core: members, reports };
        self.bring_joiners(of, regime, plan, desk);
    }

    /// Step 3: those that are wanted, and of whose logs the rest is at hand.
    fn bring_joiners(&mut self, of: Partition, regime: Regime, plan: Plan, desk: &mut Desk<'_>) {
        let mut joiners = BTreeMap::new();
        for name in self.wanted(of) {
            let Some(joiner) = self.joiner(of, name, &plan) else { continue };
            let tail = &self.at(of).tail;
            let prev = tail.history().common(&joiner.log.history);
            let entries = tail.after(prev.index, JOIN_ENTRIES_MAX).unwrap_or_default();
            let committed = tail.committed();
            let stage = Stage::Join;
            self.say(name, Item::Sync { of, regime, stage, prev, entries, committed });
            joiners.insert(name, joiner);
        }
        if let Some(bid) = &mut self.part(of).bid {
            bid.phase = Phase::Joining { plan, joiners };
            bid.since = desk.now;
        }
        self.go_on_if_joined(of, false, desk);
    }

    fn joiner(&self, of: Partition, name: NodeName, plan: &Plan) -> Option<Joiner> {
        if plan.core.iter().any(|member| member.name == name) {
            return None;
        }
        let roster = self.roster.as_ref()?;
        let place = roster.standing.roster.place(name)?;
        let report = plan.reports.get(&place)?;
        let tail = &self.at(of).tail;
        let common = tail.history().common(&report.log.history);
        let rest = tail.last().index - common.index;
        let at_hand = rest as usize <= JOIN_ENTRIES_MAX
            && report.log.committed <= common.index
            && tail.after(common.index, JOIN_ENTRIES_MAX).is_some();
        let voter = roster.standing.voters[place];
        let member = Member { name, voter, start: report.start };
        at_hand.then(|| Joiner { member, log: report.log.clone(), exact: false })
    }

    pub(super) fn on_joiner_synced(
        &mut self,
        from: NodeName,
        of: Partition,
        last: u64,
        desk: &mut Desk<'_>,
    ) {
        let end = self.at(of).tail.last().index;
        let Some(bid) = &mut self.part(of).bid else { return };
        let Phase::Joining { joiners, .. } = &mut bid.phase else { return };
        if let Some(joiner) = joiners.get_mut(&from)
            && last == end
        {
            joiner.exact = true;
            self.go_on_if_joined(of, false, desk);
        }
    }

    fn go_on_if_joined(&mut self, of: Partition, at_once: bool, desk: &mut Desk<'_>) {
        let (Some(roster), Some(bid)) = (&self.roster, &self.at(of).bid) else { return };
        let Phase::Joining { plan, joiners } = &bid.phase else { return };
        let unconfirmed = self.has(StrongMutant::JoinUnconfirmed);
        if !at_once && !unconfirmed && joiners.values().any(|joiner| !joiner.exact) {
            return;
        }
        let named = |joiner: &&Joiner| joiner.exact || unconfirmed;
        let joined: Vec<Member> =
            joiners.values().filter(named).map(|joiner| joiner.member).collect();
        let mut isr: Vec<Member> = plan.core.iter().chain(&joined).copied().collect();
        let early = if self.has(StrongMutant::HandBackEarly) {
            self.first_replica(of, &plan.reports)
        } else {
            None
        };
        isr.extend(early.filter(|first| isr.iter().all(|member| member.name != first.name)));
        isr.sort();
        let is_core = |name: NodeName| plan.core.iter().any(|member| member.name == name);
        let replicas: Vec<NodeName> = roster.replicas(of).collect();
        let complete = replicas.iter().all(|name| isr.iter().any(|m| m.name == *name));
        if complete && replicas.iter().any(|&name| is_core(name)) {
            isr.retain(|member| replicas.contains(&member.name));
        }
        let has = |name: &NodeName| isr.iter().any(|member| member.name == *name);
        let may = |name: &NodeName| has(name) && (is_core(*name) || early.is_some());
        let first = replicas.first().copied().filter(may);
        let me = Some(self.config.name).filter(|name| has(name));
        let other = || roster.names(of).find(|&name| has(&name) && is_core(name));
        let master = first.or(me).or_else(other);
        let config = Configuration { regime: bid.regime, master, isr };
        let proposal = Proposal { config, ancestors: plan.base.ancestors.clone() };
        let joined: Vec<NodeName> = joined.iter().map(|member| member.name).collect();
        self.propose(of, proposal, joined, desk);
    }

    /// The roster-master, if it has promised: with a mutant it becomes the master whatever it has.
    fn first_replica(&self, of: Partition, reports: &BTreeMap<usize, Report>) -> Option<Member> {
        let roster = self.roster.as_ref()?;
        let name = roster.replicas(of).next()?;
        let place = roster.standing.roster.place(name)?;
        let start = reports.get(&place)?.start;
        Some(Member { name, voter: roster.standing.voters[place], start })
    }

    /// Step 4, with this node's own acceptance.
    fn propose(
        &mut self,
        of: Partition,
        proposal: Proposal,
        joined: Vec<NodeName>,
        desk: &mut Desk<'_>,
    ) {
        let Some(place) = self.votes() else { return };
        self.accept(of, proposal.clone());
        if !joined.is_empty() {
            desk.facts.sometimes("a copy that had caught up joined");
        }
        let accepted = VoterSet::default().with(place);
        self.say_to_voters(&Item::Accept { of, proposal: proposal.clone() });
        if let Some(bid) = &mut self.part(of).bid {
            bid.phase = Phase::Accepting { proposal, accepted };
            bid.since = desk.now;
            bid.sent_at = desk.now;
        }
        self.go_on_if_accepted(of, desk);
    }

    pub(super) fn on_accepted(
        &mut self,
        from: NodeName,
        of: Partition,
        regime: Regime,
        desk: &mut Desk<'_>,
    ) {
        let Some(place) = self.voter_place(from) else { return };
        let part = self.part(of);
        let Some(bid) = part.bid.as_mut().filter(|bid| bid.regime == regime) else { return };
        let Phase::Accepting { accepted, .. } = &mut bid.phase else { return };
        *accepted = accepted.with(place);
        self.go_on_if_accepted(of, desk);
    }

    fn go_on_if_accepted(&mut self, of: Partition, desk: &mut Desk<'_>) {
        let (Some(roster), Some(bid)) = (&self.roster, &self.at(of).bid) else { return };
        let Phase::Accepting { proposal, accepted } = &bid.phase else { return };
        if !roster.may_decide(*accepted, of) {
            return;
        }
        let config = proposal.config.clone();
        self.part(of).bid = None;
        self.say_to_all(&Item::Chosen { of, config: config.clone() });
        self.on_chosen(of, config, desk);
    }

    pub(super) fn on_refused(
        &mut self,
        of: Partition,
        regime: Regime,
        promised: Regime,
        desk: &mut Desk<'_>,
    ) {
        let part = self.part(of);
        part.note(promised);
        if part.bid.as_ref().is_some_and(|bid| bid.regime == regime) {
            desk.facts.sometimes("a bid was refused");
            self.give_up_bid(of);
        } else if let Some(reign) = &mut part.reign
            && reign.config.regime == regime
        {
            reign.contested = true;
            self.busy.insert(of);
        }
    }

    pub(super) fn give_up_bid(&mut self, of: Partition) {
        let part = self.part(of);
        part.bid = None;
        part.vacant_since = None;
        self.busy.insert(of);
        self.news = true;
    }

    pub(super) fn tick_bid(&mut self, of: Partition, desk: &mut Desk<'_>) {
        let interval = self.config.heartbeat_interval;
        let Some(bid) = &self.at(of).bid else { return };
        let waited = desk.now.since(bid.since);
        let resend = desk.now.since(bid.sent_at) >= Span(2 * interval.0);
        let regime = bid.regime;
        match &bid.phase {
            Phase::Asking { .. } if waited >= Span(2 * interval.0) => self.give_up_bid(of),
            Phase::Promising { .. } | Phase::Accepting { .. }
                if waited >= self.config.heartbeat_timeout =>
            {
                self.give_up_bid(of);
            }
            Phase::Asking { .. } => {}
            Phase::Promising { .. } => {
                if resend {
                    self.say_to_voters(&Item::Promise { of, regime });
                    self.mark_sent(of, desk);
                }
                self.go_on_if_promised(of, desk);
            }
            Phase::Joining { .. } => {
                let at_once = waited >= Span(2 * interval.0);
                self.go_on_if_joined(of, at_once, desk);
            }
            Phase::Accepting { proposal, .. } => {
                if resend {
                    let proposal = proposal.clone();
                    self.say_to_voters(&Item::Accept { of, proposal });
                    self.mark_sent(of, desk);
                }
            }
        }
    }

    fn mark_sent(&mut self, of: Partition, desk: &Desk<'_>) {
        if let Some(bid) = &mut self.part(of).bid {
            bid.sent_at = desk.now;
        }
    }

    /// Who is to have a copy, as things are: the first nodes of the succession that are heard.
    pub(super) fn wanted(&self, of: Partition) -> Vec<NodeName> {
        let Some(roster) = &self.roster else { return Vec::new() };
        let voter = |name: &NodeName| {
            *name == self.config.name || (self.hears(*name) && self.voter_place(*name).is_some())
        };
        roster.names(of).filter(voter).take(roster.succession.copies()).collect()
    }
}
