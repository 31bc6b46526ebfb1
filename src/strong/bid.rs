//! The candidate's side of a change of regime: steps 0 to 4.

use std::collections::BTreeMap;

use crate::base::ids::Partition;
use crate::base::mutant::StrongMutant;
use crate::base::time::Span;

use super::message::{Item, Stage};
use super::part::{Bid, Joiner, Phase, Plan};
use super::regime::{
    Configuration, Member, Proposal, Regime, Report, Start, base_of, core_of, on_older_disks,
};
use super::roster::NodeName;
use super::standing::{Under, Voter};
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
        if part.intact.is_none() {
            return true;
        }
        let newest = part.newest();
        let Some(rule) = self.rosters.rule(newest.under) else { return true };
        if !self.hears_quorum(of, newest.under) {
            self.part(of).vacant_since = None;
            return true;
        }
        let interval = self.config.heartbeat_interval.0;
        let before = rule.order(of).take_while(|name| *name != self.config.name);
        let rank = before.filter(|name| self.hears(*name)).count() as u64;
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
        if !self.votes() {
            return;
        }
        let yes = vec![self.me()];
        let part = self.part(of);
        let regime = part.promised.max(part.seen).next();
        part.note(regime);
        let phase = Phase::Asking { yes };
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
        let Some(voter) = self.voter(from) else { return };
        let part = self.part(of);
        part.note(promised);
        let Some(bid) = part.bid.as_mut().filter(|bid| bid.regime == regime) else { return };
        let Phase::Asking { yes: set } = &mut bid.phase else { return };
        if yes && !set.contains(&voter) {
            set.push(voter);
            self.go_on_if_yes(of, desk);
        }
    }

    fn go_on_if_yes(&mut self, of: Partition, desk: &mut Desk<'_>) {
        let Some(Bid { phase: Phase::Asking { yes }, .. }) = &self.at(of).bid else { return };
        let rule = self.rosters.rule(self.at(of).newest().under);
        if rule.is_some_and(|rule| rule.may_decide(yes, of)) {
            self.ask_for_promises(of, desk);
        }
    }

    /// Step 1, with this node's own promise.
    fn ask_for_promises(&mut self, of: Partition, desk: &mut Desk<'_>) {
        if !self.votes() {
            return;
        }
        let Some(regime) = self.at(of).bid.as_ref().map(|bid| bid.regime) else { return };
        if self.at(of).promised >= regime {
            return self.give_up_bid(of);
        }
        self.promise(of, regime, desk);
        let report = self.at(of).report(self.start);
        let reports = BTreeMap::from([(self.me(), report)]);
        if let Some(bid) = &mut self.part(of).bid {
            bid.phase = Phase::Promising { reports };
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
        let Some(voter) = self.voter(from) else { return };
        if self.peers.get(&from).is_none_or(|peer| peer.start != report.start) {
            return;
        }
        let part = self.part(of);
        let Some(bid) = part.bid.as_mut().filter(|bid| bid.regime == regime) else { return };
        let Phase::Promising { reports } = &mut bid.phase else { return };
        // (Of a node whose disk was changed meanwhile only what the new one says.)
        reports.retain(|known, _| known.0 != from);
        reports.insert(voter, report);
        self.go_on_if_promised(of, desk);
    }

    /// Step 2, once a quorum has promised and everybody who is heard has answered, or time has passed.
    fn go_on_if_promised(&mut self, of: Partition, desk: &mut Desk<'_>) {
        let Some(bid) = &self.at(of).bid else { return };
        let Phase::Promising { reports } = &bid.phase else { return };
        let answered: Vec<Voter> = reports.keys().copied().collect();
        let all = self.heard_voters().iter().all(|voter| answered.contains(voter));
        let waited = desk.now.since(bid.since) >= self.config.heartbeat_interval;
        let decides = |under: Under| {
            self.rosters.rule(under).is_some_and(|rule| rule.may_decide(&answered, of))
        };
        if !decides(self.at(of).newest().under) || !(all || waited) {
            return;
        }
        let regime = bid.regime;
        let list: Vec<(Voter, &Report)> =
            reports.iter().map(|(&of, report)| (of, report)).collect();
        let mutants = self.config.mutants;
        let Some(base) = base_of(&list, of, &self.rosters, mutants) else {
            return self.give_up_bid(of);
        };
        if !decides(base.config.under) {
            // (Others know of rosters that are not there as yet: more promises may follow.)
            return;
        }
        let mut steps = self.rosters.steps(base.config.under);
        steps.retain(|&step| decides(step));
        let core = core_of(&base.config, &list, mutants);
        let older = on_older_disks(&base.config, &core, &list, mutants);
        if !older.is_empty() && !self.has(StrongMutant::OlderDiskTrusted) {
            // What they have confirmed once is not there: these are not the disks they were.
            self.give_up_bid(of);
            for name in older {
                // (What is linked by now may be another disk.)
                let linked = self.voter(name).is_some_and(|voter| answered.contains(&voter));
                if name == self.config.name {
                    self.become_amnesiac(desk);
                } else if linked {
                    self.find_amnesiac(name, desk);
                }
            }
            return;
        }
        let members: Vec<Member> = core
            .iter()
            .filter_map(|&name| {
                let (voter, report) = list.iter().find(|(voter, _)| voter.0 == name)?;
                Some(Member { name, voter: voter.1, start: report.start })
            })
            .collect();
        if !core.contains(&self.config.name) {
            desk.facts.sometimes("a candidate was outside the core");
            let newest = list.iter().map(|(_, report)| &report.chosen).max_by_key(|c| c.regime);
            let newest = newest.cloned();
            let rule = self.rosters.rule(base.config.under);
            let next = rule.and_then(|rule| rule.order(of).find(|name| core.contains(name)));
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
        let plan = Plan { base, core: members, reports, steps };
        self.bring_joiners(of, regime, plan, desk);
    }

    /// Step 3: those that are wanted, and of whose logs the rest is at hand.
    fn bring_joiners(&mut self, of: Partition, regime: Regime, plan: Plan, desk: &mut Desk<'_>) {
        let mut joiners = BTreeMap::new();
        let to = plan.steps.first().copied().unwrap_or_default();
        for name in self.wanted(of, to) {
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
        let (voter, report) = plan.reports.iter().find(|(voter, _)| voter.0 == name)?;
        let tail = &self.at(of).tail;
        let common = tail.history().common(&report.log.history);
        let rest = tail.last().index - common.index;
        let at_hand = rest as usize <= JOIN_ENTRIES_MAX
            && report.log.committed <= common.index
            && tail.after(common.index, JOIN_ENTRIES_MAX).is_some();
        let member = Member { name, voter: voter.1, start: report.start };
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
        let Some(bid) = &self.at(of).bid else { return };
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
        let ready =
            |under: &&Under| self.is_ready(of, **under, plan.base.config.under, &isr, &is_core);
        // (The last step is to stay, for which nothing more is needed.)
        let Some(&under) = plan.steps.iter().find(ready) else { return self.give_up_bid(of) };
        let Some(rule) = self.rosters.rule(under) else { return self.give_up_bid(of) };
        isr.retain(|member| rule.admits(member));
        let replicas: Vec<NodeName> = rule.replicas(of).collect();
        let complete = replicas.iter().all(|name| isr.iter().any(|m| m.name == *name));
        if complete && replicas.iter().any(|&name| is_core(name)) && !rule.is_joint() {
            isr.retain(|member| replicas.contains(&member.name));
        }
        let has = |name: &NodeName| isr.iter().any(|member| member.name == *name);
        let may = |name: &NodeName| has(name) && (is_core(*name) || early.is_some());
        let first = replicas.first().copied().filter(may).filter(|_| !rule.is_joint());
        let me = Some(self.config.name).filter(|name| has(name));
        let other = || rule.order(of).find(|&name| has(&name) && is_core(name));
        let master = first.or(me).or_else(other);
        let config = Configuration { regime: bid.regime, under, master, isr };
        let proposal = Proposal { config, ancestors: plan.base.ancestors.clone() };
        let joined: Vec<NodeName> = joined.iter().map(|member| member.name).collect();
        self.propose(of, proposal, joined, desk);
    }

    /// The roster-master, if it has promised: with a mutant it becomes the master whatever it has.
    fn first_replica(&self, of: Partition, reports: &BTreeMap<Voter, Report>) -> Option<Member> {
        let rule = self.rosters.rule(self.at(of).newest().under)?;
        let name = rule.replicas(of).next()?;
        let (voter, report) = reports.iter().find(|(voter, _)| voter.0 == name)?;
        Some(Member { name, voter: voter.1, start: report.start })
    }

    /// Whether a configuration with this ISR may stand under that, coming from what the base stands under: somebody of the
    /// core stays, and whoever is to have a copy under a new roster alone, and is heard, has one.
    fn is_ready(
        &self,
        of: Partition,
        under: Under,
        from: Under,
        isr: &[Member],
        is_core: &dyn Fn(NodeName) -> bool,
    ) -> bool {
        let Some(rule) = self.rosters.rule(under) else { return false };
        let stay = |member: &Member| rule.admits(member) && is_core(member.name);
        let has = |name: &NodeName| isr.iter().any(|member| member.name == *name);
        let arrives = from.joint && !under.joint;
        isr.iter().any(stay) && (!arrives || self.wanted(of, under).iter().all(has))
    }

    /// Whether a partition that is served may come nearer to the newest roster, with those that are heard.
    pub(super) fn moves(&self, of: Partition, config: &Configuration) -> bool {
        let steps = self.rosters.steps(config.under);
        let may = |step: &Under| {
            let member = |name| config.member(name).is_some();
            self.hears_quorum(of, *step)
                && self.is_ready(of, *step, config.under, &config.isr, &member)
        };
        steps.into_iter().take_while(|step| *step != config.under).any(|step| may(&step))
    }

    /// Step 4, with this node's own acceptance.
    pub(super) fn propose(
        &mut self,
        of: Partition,
        proposal: Proposal,
        joined: Vec<NodeName>,
        desk: &mut Desk<'_>,
    ) {
        if !self.votes() {
            return;
        }
        self.accept(of, proposal.clone());
        if !joined.is_empty() {
            desk.facts.sometimes("a copy that had caught up joined");
        }
        let accepted = vec![self.me()];
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
        let Some(voter) = self.voter(from) else { return };
        let part = self.part(of);
        let Some(bid) = part.bid.as_mut().filter(|bid| bid.regime == regime) else { return };
        let Phase::Accepting { accepted, .. } = &mut bid.phase else { return };
        if !accepted.contains(&voter) {
            accepted.push(voter);
        }
        self.go_on_if_accepted(of, desk);
    }

    fn go_on_if_accepted(&mut self, of: Partition, desk: &mut Desk<'_>) {
        let Some(bid) = &self.at(of).bid else { return };
        let Phase::Accepting { proposal, accepted } = &bid.phase else { return };
        let rule = self.rosters.rule(proposal.config.under);
        if !rule.is_some_and(|rule| rule.may_decide(accepted, of)) {
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
    pub(super) fn wanted(&self, of: Partition, under: Under) -> Vec<NodeName> {
        let Some(rule) = self.rosters.rule(under) else { return Vec::new() };
        rule.wanted(of, |name| {
            let voter = if name == self.config.name {
                Some(self.me())
            } else {
                self.voter(name).filter(|_| self.hears(name))
            };
            voter.is_some_and(|(name, voter)| rule.admits(&Member { name, voter, start: Start(0) }))
        })
    }
}
