//! What has become of partitions that nobody serves: all nodes of the rosters in force tell what they have of them, those
//! too that may not vote. A partition without an intact copy left is *dead*; one with an intact copy is *blocked* if so many
//! voters have lost their disks that no quorum can come about. Neither opens by itself: an operator can revive it. While a
//! node is away it is no more than unavailable.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::base::ids::Partition;
use crate::base::time::{Mono, Span};

use super::message::Item;
use super::regime::{
    Configuration, Member, Regime, Report, Start, VoterId, base_of, core_of, on_older_disks,
};
use super::roster::NodeName;
use super::standing::Voter;
use super::{Desk, Strong};

/// What may become of a partition that nobody serves, with all nodes there.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It opens by itself.
    Opens,
    /// There are intact copies, and nobody who may decide for them.
    Blocked,
    /// No intact copy is left.
    Dead,
}

/// What a node tells of a partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Told {
    pub of: Partition,
    /// Its highest promise.
    pub promised: Regime,
    /// It has promised what it was asked for.
    pub granted: bool,
    pub report: Report,
}

/// What a node has answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted {
    pub voter: Voter,
    /// Which voters its disk was before an operator made it another's: what those had is what it has.
    pub formers: Vec<VoterId>,
    /// The life of it that has answered.
    pub start: Start,
    /// It votes for nothing, and what it tells of itself is of an older disk.
    pub amnesiac: bool,
    pub told: BTreeMap<Partition, Told>,
}

/// A question to all nodes of the rosters in force.
#[derive(Clone, Debug)]
pub struct Poll {
    pub round: u64,
    /// The regime that is to be promised; 0: none.
    pub asked: BTreeMap<Partition, Regime>,
    pub answers: BTreeMap<NodeName, Counted>,
    sent_at: Mono,
}

/// What is known of partitions that nobody serves.
#[derive(Clone, Debug, Default)]
pub struct Census {
    pub fates: BTreeMap<Partition, Fate>,
    pub poll: Option<Poll>,
    /// Those that nobody served at the last look.
    vacant: BTreeSet<Partition>,
    next_look: Mono,
    last_round: u64,
}

/// What a partition can be opened from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ground {
    pub base: Configuration,
    /// Members with intact copies, those that may be named.
    pub core: Vec<Member>,
    pub fate: Fate,
}

impl Strong {
    // ----- a question ------------------------------------------------------------------------

    /// Asks all nodes of the rosters in force, this one included.
    pub(super) fn begin_poll(
        &mut self,
        asked: BTreeMap<Partition, Regime>,
        desk: &mut Desk<'_>,
    ) -> Poll {
        self.census.last_round += 1;
        let round = self.census.last_round;
        let told = self.tell_all(self.config.name, asked.iter().map(|(&of, &r)| (of, r)), desk);
        let told = told.into_iter().map(|told| (told.of, told)).collect();
        let (voter, start, amnesiac) = (self.me(), self.start, self.amnesiac);
        let formers = self.formers.clone();
        let mine = Counted { voter, formers, start, amnesiac, told };
        let answers = BTreeMap::from([(self.config.name, mine)]);
        let poll = Poll { round, asked, answers, sent_at: desk.now };
        self.send_poll(&poll);
        poll
    }

    fn send_poll(&mut self, poll: &Poll) {
        for name in self.rosters.nodes() {
            if !poll.answers.contains_key(&name) {
                let asked = poll.asked.iter().map(|(&of, &regime)| (of, regime)).collect();
                self.say(name, Item::Census { round: poll.round, asked });
            }
        }
    }

    /// Whether all have answered, in the lives in which they are now: what an earlier one has said may not hold any more.
    pub(super) fn is_complete(&self, poll: &mut Poll) -> bool {
        poll.answers.retain(|name, counted| {
            let mine = *name == self.config.name;
            let peer = self.peers.get(name);
            mine || peer.is_some_and(|p| (p.voter, p.start) == (counted.voter.1, counted.start))
        });
        self.rosters.nodes().iter().all(|name| poll.answers.contains_key(name))
    }

    /// Asks again those that may not have heard it.
    pub(super) fn tick_poll(&mut self, poll: &mut Poll, desk: &Desk<'_>) {
        if self.is_complete(poll) {
            return;
        }
        if desk.now.since(poll.sent_at) >= Span(2 * self.config.heartbeat_interval.0) {
            poll.sent_at = desk.now;
            self.send_poll(poll);
        }
    }

    /// Somebody asks what there is of partitions, and for promises: nodes that may not vote give them, too.
    pub(super) fn on_census(
        &mut self,
        from: NodeName,
        round: u64,
        asked: Vec<(Partition, Regime)>,
        desk: &mut Desk<'_>,
    ) {
        if !self.compared {
            return;
        }
        // (A node that has left may not know yet. It gets no promises.)
        let told = self.tell_all(from, asked.into_iter(), desk);
        let (amnesiac, formers) = (self.amnesiac, self.formers.clone());
        self.say(from, Item::Counted { round, amnesiac, formers, told });
    }

    fn tell_all(
        &mut self,
        to: NodeName,
        asked: impl Iterator<Item = (Partition, Regime)>,
        desk: &mut Desk<'_>,
    ) -> Vec<Told> {
        let may_ask = to == self.config.name || self.voter(to).is_some();
        let known = asked.filter(|(of, _)| of.0 < self.config.partitions).collect::<Vec<_>>();
        let tell = |(of, regime): (Partition, Regime)| {
            if regime > self.at(of).promised && may_ask && !self.at(of).serves() {
                self.promise(of, regime, desk);
                self.part(of).promised_to = Some(to);
            }
            let part = self.at(of);
            let granted = regime > Regime(0)
                && part.promised == regime
                && part.promised_to == Some(to)
                && part.newest().regime < regime;
            let report = part.report(self.start);
            Told { of, promised: part.promised.max(part.seen), granted, report }
        };
        known.into_iter().map(tell).collect()
    }

    pub(super) fn on_counted(
        &mut self,
        from: NodeName,
        round: u64,
        (amnesiac, formers): (bool, Vec<VoterId>),
        told: Vec<Told>,
        desk: &mut Desk<'_>,
    ) {
        let Some(peer) = self.peers.get(&from) else { return };
        let (voter, start) = ((from, peer.voter), peer.start);
        if told.iter().any(|told| told.report.start != start) {
            return;
        }
        let forgot = self.known.get(&voter.1).is_some_and(|known| known.amnesiac);
        let told = told.into_iter().map(|told| (told.of, told)).collect();
        let amnesiac = amnesiac || forgot;
        let counted = Counted { voter, formers, start, amnesiac, told };
        let census = self.census.poll.as_mut();
        let revival = self.revival.as_mut().and_then(|revival| revival.poll_mut());
        let poll = census.into_iter().chain(revival).find(|poll| poll.round == round);
        if let Some(poll) = poll {
            poll.answers.insert(from, counted);
            self.advance_census(desk);
            self.advance_revival(desk);
        }
    }

    // ----- what has become of partitions -----------------------------------------------------

    /// Nodes of the rosters in force that were not heard at the last tick.
    pub fn missing(&self) -> Vec<NodeName> {
        self.rosters.nodes().into_iter().filter(|&name| !self.hears(name)).collect()
    }

    /// What has become of a partition, if nobody serves it, all nodes are there and have told.
    pub fn fate(&self, of: Partition) -> Option<Fate> {
        self.census.fates.get(&of).copied()
    }

    /// Partitions that nobody is known to serve.
    pub(super) fn vacant(&self, now: Mono) -> BTreeSet<Partition> {
        let is_vacant =
            |of: &Partition| self.at(*of).reign.is_none() && self.master(*of, now).is_none();
        self.partitions().filter(is_vacant).collect()
    }

    /// Others are there, or not any more: nothing is known.
    pub(super) fn forget_census(&mut self) {
        self.census.fates.clear();
        self.census.poll = None;
        self.census.vacant.clear();
    }

    /// Looks now and then for partitions that nobody serves, and asks for those that are so for long.
    pub(super) fn tick_census(&mut self, desk: &mut Desk<'_>) {
        if let Some(mut poll) = self.census.poll.take() {
            self.tick_poll(&mut poll, desk);
            self.census.poll = Some(poll);
        }
        if desk.now < self.census.next_look {
            return;
        }
        self.census.next_look = desk.now + self.config.heartbeat_timeout;
        if self.rosters.newest().is_none() || !self.compared || !self.missing().is_empty() {
            return self.forget_census();
        }
        let vacant = self.vacant(desk.now);
        let fates = &mut self.census.fates;
        fates.retain(|of, fate| vacant.contains(of) && *fate != Fate::Opens);
        let known = |of: &&Partition| fates.contains_key(of);
        let asked: Vec<Partition> =
            vacant.intersection(&self.census.vacant).filter(|of| !known(of)).copied().collect();
        self.census.vacant = vacant;
        if !asked.is_empty() && self.census.poll.is_none() {
            let asked = asked.into_iter().map(|of| (of, Regime(0))).collect();
            let poll = self.begin_poll(asked, desk);
            self.census.poll = Some(poll);
            self.advance_census(desk);
        }
    }

    fn advance_census(&mut self, desk: &mut Desk<'_>) {
        let Some(mut poll) = self.census.poll.take() else { return };
        if !self.is_complete(&mut poll) {
            self.census.poll = Some(poll);
            return;
        }
        for &of in poll.asked.keys() {
            // (One that is served by now is told of.)
            if let Some(ground) = self.ground(of, &poll) {
                if ground.fate == Fate::Dead {
                    desk.facts.sometimes("a partition was found dead");
                }
                if ground.fate == Fate::Blocked {
                    desk.facts.sometimes("a partition was found without voters for its copies");
                }
                self.census.fates.insert(of, ground.fate);
            }
        }
        self.news = true;
    }

    /// What a partition can be opened from, all nodes having told. `None`: it stands under a decision that is not known
    /// here, or a member of its configuration has told nothing.
    pub(super) fn ground(&self, of: Partition, poll: &Poll) -> Option<Ground> {
        let told = poll.answers.values().filter_map(|counted| {
            Some((counted.voter, counted.amnesiac, &counted.told.get(&of)?.report))
        });
        let told: Vec<(Voter, bool, &Report)> = told.collect();
        let sound: Vec<(Voter, &Report)> = told
            .iter()
            .filter(|(_, amnesiac, _)| !amnesiac)
            .map(|&(voter, _, report)| (voter, report))
            .collect();
        let mutants = self.config.mutants;
        let base = match sound.is_empty() {
            true => None,
            false => Some(base_of(&sound, of, &self.rosters, mutants)?.config),
        };
        let newest = told.iter().flat_map(|(_, _, report)| configurations(report));
        let newest = newest.max_by_key(|config| config.regime)?.clone();
        let voters: Vec<Voter> = sound.iter().map(|(voter, _)| *voter).collect();
        let decides =
            |under| self.rosters.rule(under).is_some_and(|rule| rule.may_decide(&voters, of));
        let there = |base: &Configuration| {
            base.isr.iter().all(|member| poll.answers.contains_key(&member.name))
        };
        // What may have been chosen last; or what was proposed after it, by somebody who had a copy then.
        // (Who votes for nothing may still know of a later one that was chosen: nothing older is enough then, where those
        // who vote cannot decide by themselves.)
        let chosen = told.iter().map(|(_, _, report)| report.chosen.regime).max();
        let base = base.filter(|base| decides(base.under) || Some(base.regime) >= chosen);
        let bases = base.map(|base| (true, base)).into_iter().chain([(false, newest.clone())]);
        for (votes, base) in bases {
            let core = self.intact_members(&base, &sound);
            if !core.is_empty() {
                let fate = if votes && decides(base.under) { Fate::Opens } else { Fate::Blocked };
                return there(&base).then_some(Ground { base, core, fate });
            }
        }
        there(&newest).then_some(Ground { base: newest, core: Vec::new(), fate: Fate::Dead })
    }

    /// Members of a configuration with everything acknowledged, as they are now.
    fn intact_members(&self, base: &Configuration, sound: &[(Voter, &Report)]) -> Vec<Member> {
        let mut core = core_of(base, sound, self.config.mutants);
        let older = on_older_disks(base, &core, sound, self.config.mutants);
        core.retain(|name| !older.contains(name));
        let member = |name: &NodeName| {
            let (voter, report) = sound.iter().find(|(voter, _)| voter.0 == *name)?;
            Some(Member { name: *name, voter: voter.1, start: report.start })
        };
        core.iter().filter_map(member).collect()
    }
}

/// What a node has accepted, or knows to be chosen.
pub(super) fn configurations(report: &Report) -> impl Iterator<Item = &Configuration> {
    let accepted = report
        .accepted
        .iter()
        .flat_map(|proposal| core::iter::once(&proposal.config).chain(&proposal.ancestors));
    accepted.chain([&report.chosen])
}

/// Of copies none of which is intact the one to go on with: one that lacks nothing that others know to be committed, of
/// the newest configuration, with the most entries. Of equal ones one whose node may vote, the first in `order`.
pub fn newest_copy(
    of: Partition,
    poll: &Poll,
    order: impl Iterator<Item = NodeName>,
) -> Option<(&Counted, &Report)> {
    let order: Vec<NodeName> = order.collect();
    let copies =
        poll.answers.values().filter_map(|counted| Some((counted, &counted.told.get(&of)?.report)));
    let committed =
        copies.clone().filter_map(|(_, report)| report.log.history.place(report.log.committed));
    let committed = committed.max().unwrap_or_default();
    let rank = |(counted, report): &(&Counted, &Report)| {
        let named = |config: &&Configuration| {
            let disk = |v: VoterId| v == counted.voter.1 || counted.formers.contains(&v);
            config.member(counted.voter.0).is_some_and(|member| disk(member.voter))
        };
        let last = report.log.history.last();
        let regimes = configurations(report).filter(named).map(|config| config.regime);
        // (Copies that are none are not better for having been named.)
        let regime = regimes.max().filter(|_| last.index > 0).max(Some(last.regime));
        let place = order.iter().position(|name| *name == counted.voter.0);
        let place = core::cmp::Reverse(place.unwrap_or(order.len()));
        let has = report.log.history.has(committed);
        (has, regime, last.index, !counted.amnesiac, place)
    };
    copies.max_by_key(rank)
}
