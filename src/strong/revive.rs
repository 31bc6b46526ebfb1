//! An operator opens partitions that do not open by themselves: dead ones, and those whose voters have lost their disks.
//!
//! 1. All nodes of the rosters in force tell what they have; a node that is away could have the copy that is missing.
//! 2. New data directories are admitted, by all nodes.
//! 3. All nodes promise a new regime of each such partition, those too that may not vote: whatever has been decided in
//!    lower ones is known by what they tell, or by nobody any more, and nothing is decided there from then on.
//! 4. With intact copies the partition goes on with them. Without, one copy is taken for intact, the one with most of what
//!    was acknowledged: its log gets an entry of the new regime, so that what it lacks is given up for good.
//! 5. The configuration is accepted by a quorum like any other, and its master begins as always.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::Partition;
use crate::base::time::{Mono, Span};

use super::admission::Admission;
use super::census::{Fate, Ground, Poll, configurations, newest_copy};
use super::message::{Durable, Item};
use super::part::{Bid, Phase};
use super::regime::{Configuration, Member, Proposal, Regime};
use super::roster::NodeName;
use super::standing::{Standing, Voter};
use super::tail::{Entry, Place};
use super::{Desk, Strong};

/// So many heartbeat timeouts without an end, and it is given up.
const TIMEOUTS_MAX: u64 = 20;
/// Whoever knew the highest number may have lost it with its disk: so many are left out, so that none is given twice.
const REGIMES_LEFT_OUT: u32 = 1 << 16;
/// So many steps at once.
const STEPS_MAX: usize = 8;

/// Why nothing is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReviveError {
    NoRoster,
    /// This node is not in a roster in force, or its disk is an older one.
    NotHere,
    /// It is at it already.
    Running,
    /// These nodes of the rosters in force are not heard.
    Missing(Vec<NodeName>),
    /// The nodes have not told yet what they have.
    NotCounted,
    /// Every partition is served, or opens by itself.
    Nothing,
    /// Too few would vote afterwards: these are on older disks.
    Amnesiac(Vec<NodeName>),
    /// The newest copy of a partition is on an older disk.
    NewestAmnesiac(NodeName, Partition),
    /// It has not come to an end in time.
    Late,
}

/// What was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Revived {
    /// Nodes whose new data directories were admitted.
    pub readmitted: Vec<NodeName>,
    /// Partitions with intact copies: nothing is lost.
    pub intact: Vec<Partition>,
    /// Partitions that go on with what a node's copy has, up to that place; what it lacks is lost.
    pub accepted: BTreeMap<Partition, (NodeName, Place)>,
    /// Partitions of which nothing was left.
    pub lost: Vec<Partition>,
}

/// What an operator has begun.
#[derive(Clone, Debug)]
pub struct Revival {
    step: Step,
    until: Mono,
    /// All were asked for promises once.
    has_asked: bool,
    revived: Revived,
}

#[derive(Clone, Debug)]
enum Step {
    /// The next tick begins.
    Asked,
    Counting(Poll),
    Admitting(Box<Admission>),
    Promising(Poll),
    /// Copies are to count as intact: of these that was not confirmed.
    Trusting {
        plans: BTreeMap<Partition, Plan>,
        waiting: BTreeSet<Partition>,
        sent_at: Mono,
    },
    Choosing(BTreeMap<Partition, Plan>),
    Over(Result<(), ReviveError>),
}

/// What a partition is to go on with.
#[derive(Clone, Debug)]
struct Plan {
    config: Configuration,
    /// The copy that is taken for intact, and up to where it goes.
    taken: Option<(NodeName, Place)>,
}

/// What stands of a revival.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Progress<'a> {
    Running,
    Done,
    Failed(&'a ReviveError),
}

impl Revival {
    pub fn progress(&self) -> Progress<'_> {
        match &self.step {
            Step::Over(Ok(())) => Progress::Done,
            Step::Over(Err(why)) => Progress::Failed(why),
            Step::Asked
            | Step::Counting(_)
            | Step::Admitting(_)
            | Step::Promising(_)
            | Step::Trusting { .. }
            | Step::Choosing(_) => Progress::Running,
        }
    }

    /// What was opened so far.
    pub fn revived(&self) -> &Revived {
        &self.revived
    }

    pub(super) fn poll_mut(&mut self) -> Option<&mut Poll> {
        match &mut self.step {
            Step::Counting(poll) | Step::Promising(poll) => Some(poll),
            Step::Asked
            | Step::Admitting(_)
            | Step::Trusting { .. }
            | Step::Choosing(_)
            | Step::Over(_) => None,
        }
    }

    pub(super) fn admission_mut(&mut self) -> Option<&mut Admission> {
        match &mut self.step {
            Step::Admitting(admission) => Some(admission),
            Step::Asked
            | Step::Counting(_)
            | Step::Promising(_)
            | Step::Trusting { .. }
            | Step::Choosing(_)
            | Step::Over(_) => None,
        }
    }
}

impl Strong {
    /// What the operator who has asked this node last has come to.
    pub fn revival(&self) -> Option<&Revival> {
        self.revival.as_ref()
    }

    /// The partitions that [`Strong::revive`] would open, as far as is known now, with what each is; and the nodes whose
    /// new data directories it would admit.
    ///
    /// # Errors
    /// Why it would not.
    pub fn would_revive(
        &self,
        now: Mono,
    ) -> Result<(BTreeMap<Partition, Fate>, Vec<NodeName>), ReviveError> {
        self.may_revive()?;
        let fates = self.census.fates.iter().filter(|(_, fate)| **fate != Fate::Opens);
        let fates: BTreeMap<Partition, Fate> = fates.map(|(&of, &fate)| (of, fate)).collect();
        if fates.is_empty() {
            let served = self.vacant(now).is_empty();
            return Err(if served { ReviveError::Nothing } else { ReviveError::NotCounted });
        }
        let names = self.readmission(&|name| self.forgot(name)).map(|(names, _)| names);
        Ok((fates, names.unwrap_or_default()))
    }

    /// Opens all partitions that are dead or blocked. What comes of it shows in [`Strong::revival`].
    ///
    /// # Errors
    /// Why not: nothing was changed.
    pub fn revive(&mut self, now: Mono) -> Result<(), ReviveError> {
        self.may_revive()?;
        if self.vacant(now).is_empty() {
            return Err(ReviveError::Nothing);
        }
        let until = now + Span(TIMEOUTS_MAX * self.config.heartbeat_timeout.0);
        let (step, revived) = (Step::Asked, Revived::default());
        self.revival = Some(Revival { step, until, has_asked: false, revived });
        Ok(())
    }

    fn may_revive(&self) -> Result<(), ReviveError> {
        if self.rosters.newest().is_none() {
            return Err(ReviveError::NoRoster);
        }
        let me = self.config.name;
        if self.amnesiac || !self.compared || !self.rosters.nodes().contains(&me) {
            return Err(ReviveError::NotHere);
        }
        if self.revival.as_ref().is_some_and(|r| r.progress() == Progress::Running) {
            return Err(ReviveError::Running);
        }
        let missing = self.missing();
        if missing.is_empty() { Ok(()) } else { Err(ReviveError::Missing(missing)) }
    }

    /// Whether a node is known to be on an older disk.
    fn forgot(&self, name: NodeName) -> bool {
        let known = self.peers.get(&name).and_then(|peer| self.known.get(&peer.voter));
        known.is_some_and(|known| known.amnesiac)
    }

    fn begin_count(&mut self, of: BTreeSet<Partition>, desk: &mut Desk<'_>) -> Step {
        let asked = of.into_iter().map(|of| (of, Regime(0))).collect();
        Step::Counting(self.begin_poll(asked, desk))
    }

    // ----- step by step ----------------------------------------------------------------------

    pub(super) fn tick_revival(&mut self, desk: &mut Desk<'_>) {
        let Some(mut revival) = self.revival.take() else { return };
        if revival.progress() == Progress::Running {
            if let Some(poll) = revival.poll_mut() {
                self.tick_poll(poll, desk);
            }
            self.send_trust_again(&mut revival, desk);
            let missing = self.missing();
            if desk.now >= revival.until {
                let missing = Some(missing).filter(|names| !names.is_empty());
                let why = missing.map_or(ReviveError::Late, ReviveError::Missing);
                revival.step = Step::Over(Err(why));
            }
        }
        self.revival = Some(revival);
        self.advance_revival(desk);
    }

    pub(super) fn advance_revival(&mut self, desk: &mut Desk<'_>) {
        let Some(mut revival) = self.revival.take() else { return };
        // (A node that is alone answers itself at once: it goes on with the next tick.)
        for _ in 0..STEPS_MAX {
            let Some(step) = self.next_step(&mut revival, desk) else { break };
            revival.step = step;
        }
        self.revival = Some(revival);
    }

    /// The step that follows, if there is no more to wait for.
    fn next_step(&mut self, revival: &mut Revival, desk: &mut Desk<'_>) -> Option<Step> {
        match &mut revival.step {
            Step::Asked => {
                let vacant = self.vacant(desk.now);
                Some(self.begin_count(vacant, desk))
            }
            Step::Counting(poll) => {
                let poll = self.complete(poll)?;
                let step = self.on_all_counted(&poll, revival.has_asked, desk);
                revival.has_asked |= matches!(step, Step::Promising(_));
                Some(step)
            }
            Step::Admitting(admission) => {
                self.advance_admission(admission, desk);
                if self.next_version() <= admission.version() {
                    return None;
                }
                revival.revived.readmitted.extend(admission.names());
                // (Others may have been admitted than were there by now: it is counted anew.)
                let vacant = self.vacant(desk.now);
                Some(self.begin_count(vacant, desk))
            }
            Step::Promising(poll) => {
                let poll = self.complete(poll)?;
                Some(self.on_all_promised(&poll, desk))
            }
            Step::Trusting { plans, waiting, .. } => {
                if !waiting.is_empty() {
                    return None;
                }
                if !self.votes() {
                    return Some(Step::Over(Err(ReviveError::NotHere)));
                }
                let plans = core::mem::take(plans);
                self.propose_all(&plans, desk);
                Some(Step::Choosing(plans))
            }
            Step::Choosing(plans) => {
                let mut plans = core::mem::take(plans);
                self.note_chosen(&mut plans, &mut revival.revived);
                if plans.keys().any(|&of| self.at(of).bid.is_some()) {
                    revival.step = Step::Choosing(plans);
                    return None;
                }
                if plans.is_empty() {
                    desk.facts.sometimes("an operator has opened partitions");
                    return Some(Step::Over(Ok(())));
                }
                let again = plans.into_keys().collect();
                Some(self.begin_count(again, desk))
            }
            Step::Over(_) => None,
        }
    }

    fn complete(&self, poll: &mut Poll) -> Option<Poll> {
        self.is_complete(poll).then(|| poll.clone())
    }

    /// Step 2, if there are new data directories, or step 3.
    fn on_all_counted(&mut self, poll: &Poll, again: bool, desk: &mut Desk<'_>) -> Step {
        for told in poll.answers.values().flat_map(|counted| counted.told.values()) {
            self.learn_chosen(told.of, &told.report.chosen, desk);
        }
        if !self.rosters.nodes().contains(&self.config.name) {
            // It has left: the others know.
            return Step::Over(Err(ReviveError::NotHere));
        }
        let closed = |ground: &Ground| ground.fate != Fate::Opens;
        let (mut grounds, mut unknown) = (BTreeMap::new(), Vec::new());
        for &of in poll.asked.keys().filter(|&&of| self.master(of, desk.now).is_none()) {
            match self.ground(of, poll) {
                Some(ground) => grounds.extend(closed(&ground).then_some((of, ground))),
                None => unknown.push(of),
            }
        }
        if grounds.is_empty() {
            let silent = silent_members(&unknown, poll);
            let why = match (unknown.is_empty(), silent.is_empty()) {
                (true, _) => return Step::Over(Ok(())),
                (false, true) => ReviveError::NotCounted,
                (false, false) => ReviveError::Missing(silent),
            };
            return Step::Over(Err(why));
        }
        let amnesiac = |name: NodeName| poll.answers.get(&name).is_some_and(|a| a.amnesiac);
        let admits = self.readmission(&amnesiac);
        let standing = admits.as_ref().map(|(_, standing)| standing);
        if let Err(why) = self.can_open(&grounds, poll, standing) {
            return Step::Over(Err(why));
        }
        match admits {
            Some((names, standing)) => {
                Step::Admitting(Box::new(self.begin_admission(names, standing, desk.now)))
            }
            None => {
                let told = |of: Partition| {
                    poll.answers.values().filter_map(move |counted| counted.told.get(&of))
                };
                let highest = |of| told(of).map(|told| told.promised).max().unwrap_or_default();
                // (An attempt that follows has left them out already.)
                let left_out = if again { 1 } else { REGIMES_LEFT_OUT };
                let asked = grounds.into_keys().map(|of| {
                    let part = self.at(of);
                    let known = highest(of).max(part.promised).max(part.seen);
                    (of, Regime(known.0.saturating_add(left_out)))
                });
                let asked = asked.collect();
                Step::Promising(self.begin_poll(asked, desk))
            }
        }
    }

    /// Whether those who vote afterwards may decide, and the copies to go on with are not on older disks.
    fn can_open(
        &self,
        grounds: &BTreeMap<Partition, Ground>,
        poll: &Poll,
        admits: Option<&Standing>,
    ) -> Result<(), ReviveError> {
        let mut rosters = self.rosters.clone();
        rosters.extend(admits.cloned());
        let sound = poll.answers.values().filter(|counted| !counted.amnesiac);
        let voters: Vec<Voter> = sound.map(|counted| counted.voter).collect();
        let forgot = poll.answers.values().filter(|counted| counted.amnesiac);
        let forgot: Vec<NodeName> = forgot.map(|counted| counted.voter.0).collect();
        let under = rosters.opened().ok_or(ReviveError::NoRoster)?;
        let rule = rosters.rule(under).ok_or(ReviveError::NoRoster)?;
        for (&of, ground) in grounds {
            if !rule.may_decide(&voters, of) {
                return Err(ReviveError::Amnesiac(forgot));
            }
            if ground.core.is_empty()
                && let Some((counted, _)) = newest_copy(of, poll, rule.order(of))
                && counted.amnesiac
            {
                return Err(ReviveError::NewestAmnesiac(counted.voter.0, of));
            }
        }
        Ok(())
    }

    /// Step 4.
    fn on_all_promised(&mut self, poll: &Poll, desk: &mut Desk<'_>) -> Step {
        let mut plans = BTreeMap::new();
        for (&of, &regime) in &poll.asked {
            let granted = |of: &Partition| {
                poll.answers.values().all(|c| c.told.get(of).is_some_and(|told| told.granted))
            };
            for told in poll.answers.values().filter_map(|counted| counted.told.get(&of)) {
                self.part(of).note(told.promised);
            }
            let plan = self.ground(of, poll).filter(|_| granted(&of));
            let plan = plan.and_then(|ground| self.plan(of, regime, &ground, poll));
            plans.extend(plan.map(|plan| (of, plan)));
        }
        if plans.len() < poll.asked.len() {
            // Somebody has promised more meanwhile, or is another than before.
            desk.facts.sometimes("an operator's regime was refused");
            return self.begin_count(poll.asked.keys().copied().collect(), desk);
        }
        let taken =
            plans.iter().filter_map(|(&of, plan)| Some((plan.taken?.0, (of, plan.config.regime))));
        let mut by_node: BTreeMap<NodeName, Vec<(Partition, Regime)>> = BTreeMap::new();
        for (name, part) in taken {
            by_node.entry(name).or_default().push(part);
        }
        let mut waiting = BTreeSet::new();
        for (name, parts) in by_node {
            if name == self.config.name {
                self.trust(name, &parts);
            } else {
                waiting.extend(parts.iter().map(|part| part.0));
                self.say(name, Item::Trust { parts });
            }
        }
        Step::Trusting { plans, waiting, sent_at: desk.now }
    }

    fn plan(&self, of: Partition, regime: Regime, ground: &Ground, poll: &Poll) -> Option<Plan> {
        let under = self.rosters.opened()?;
        let rule = self.rosters.rule(under)?;
        let (mut isr, mut taken) = (ground.core.clone(), None);
        if isr.is_empty() {
            let (counted, report) = newest_copy(of, poll, rule.order(of))?;
            let (name, voter) = counted.voter;
            isr.push(Member { name, voter, start: report.start });
            taken = Some((name, report.log.history.last()));
        }
        isr.retain(|member| rule.admits(member));
        isr.sort();
        let has = |name: &NodeName| isr.iter().any(|member| member.name == *name);
        let master = Some(rule.order(of).find(has)?);
        Some(Plan { config: Configuration { regime, under, master, isr }, taken })
    }

    /// Step 5.
    fn propose_all(&mut self, plans: &BTreeMap<Partition, Plan>, desk: &mut Desk<'_>) {
        for (&of, plan) in plans {
            let config = plan.config.clone();
            let regime = config.regime;
            let part = self.at(of);
            if part.promised != regime || part.promised_to != Some(self.config.name) {
                continue;
            }
            let phase = Phase::Asking { yes: Vec::new() };
            self.part(of).bid = Some(Bid { regime, phase, since: desk.now, sent_at: desk.now });
            let proposal = Proposal { config, ancestors: Vec::new() };
            self.propose(of, proposal, Vec::new(), desk);
            self.busy.insert(of);
        }
    }

    /// Those that are chosen are done.
    fn note_chosen(&self, plans: &mut BTreeMap<Partition, Plan>, revived: &mut Revived) {
        plans.retain(|&of, plan| {
            let is_chosen = self.at(of).chosen.regime >= plan.config.regime;
            if is_chosen {
                match plan.taken {
                    None => revived.intact.push(of),
                    Some((_, place)) if place.index == 0 => revived.lost.push(of),
                    Some(taken) => drop(revived.accepted.insert(of, taken)),
                }
            }
            !is_chosen
        });
    }

    /// The partitions that were or are being opened without intact copies, and which attempt that is.
    #[cfg(test)]
    pub(super) fn gives_up(&self) -> Vec<(Partition, Mono)> {
        let Some(Revival { step, until, revived, .. }) = &self.revival else { return Vec::new() };
        let none = BTreeMap::new();
        let plans = match step {
            Step::Trusting { plans, .. } | Step::Choosing(plans) => plans,
            Step::Asked
            | Step::Counting(_)
            | Step::Admitting(_)
            | Step::Promising(_)
            | Step::Over(_) => &none,
        };
        let taken = plans.iter().filter(|(_, plan)| plan.taken.is_some()).map(|(of, _)| of);
        let all = taken.chain(revived.accepted.keys()).chain(&revived.lost);
        all.map(|&of| (of, *until)).collect()
    }

    // ----- a copy is taken for intact --------------------------------------------------------

    fn trust(&mut self, from: NodeName, parts: &[(Partition, Regime)]) -> Vec<(Partition, Regime)> {
        let mut trusted = Vec::new();
        for &(of, regime) in parts {
            if of.0 >= self.config.partitions || self.amnesiac {
                continue;
            }
            let part = self.at(of);
            let promised = part.promised == regime && part.promised_to == Some(from);
            if !promised || part.newest().regime >= regime {
                continue;
            }
            let last = part.tail.last();
            if last.regime < regime {
                let entry = Entry { regime, index: last.index + 1, changes: Vec::new() };
                self.write_down(Durable::Entry { of, entry: entry.clone() });
                self.part(of).tail.push(entry);
            }
            self.write_down(Durable::Intact { of });
            let start = self.start;
            self.part(of).intact = Some(start);
            trusted.push((of, regime));
        }
        trusted
    }

    pub(super) fn on_trust(&mut self, from: NodeName, parts: Vec<(Partition, Regime)>) {
        if self.voter(from).is_some() {
            let parts = self.trust(from, &parts);
            self.say(from, Item::Trusted { parts });
        }
    }

    pub(super) fn on_trusted(
        &mut self,
        from: NodeName,
        parts: &[(Partition, Regime)],
        desk: &mut Desk<'_>,
    ) {
        let Some(Revival { step: Step::Trusting { plans, waiting, .. }, .. }) = &mut self.revival
        else {
            return;
        };
        for (of, regime) in parts {
            let asked = plans.get(of).is_some_and(|plan| {
                plan.config.regime == *regime && plan.taken.is_some_and(|taken| taken.0 == from)
            });
            if asked {
                waiting.remove(of);
            }
        }
        self.advance_revival(desk);
    }

    fn send_trust_again(&mut self, revival: &mut Revival, desk: &mut Desk<'_>) {
        let Step::Trusting { plans, waiting, sent_at } = &mut revival.step else { return };
        if desk.now.since(*sent_at) < Span(2 * self.config.heartbeat_interval.0) {
            return;
        }
        // One that does not confirm has promised more meanwhile, or has not heard of it.
        let again = plans.keys().copied().collect();
        if !waiting.is_empty() {
            revival.step = self.begin_count(again, desk);
        }
    }
}

/// Members of configurations of these partitions that have told nothing.
fn silent_members(parts: &[Partition], poll: &Poll) -> Vec<NodeName> {
    let told = |of| poll.answers.values().filter_map(move |counted| counted.told.get(&of));
    let reports = parts.iter().flat_map(|&of| told(of)).map(|told| &told.report);
    let named = reports.flat_map(configurations).flat_map(|config| &config.isr);
    let silent: BTreeSet<NodeName> =
        named.map(|member| member.name).filter(|name| !poll.answers.contains_key(name)).collect();
    silent.into_iter().collect()
}
