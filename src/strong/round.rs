//! Rounds: "has anything above these regimes been promised?" One serves all reads in flight, and all writes of masters
//! whose ISR alone is no quorum.

use std::collections::BTreeMap;

use crate::base::ids::Partition;
use crate::base::mutant::StrongMutant;
use crate::base::time::Mono;

use super::message::Item;
use super::regime::{Member, Regime};
use super::roster::NodeName;
use super::standing::Voter;
use super::trust::Mark;
use super::{Desk, Strong};

/// Rounds under way at most: those of others do not wait for a peer that is silent.
const ROUNDS_MAX: usize = 4;

/// A round under way.
#[derive(Clone, Debug)]
pub struct Round {
    began: Mono,
    parts: BTreeMap<Partition, Asked>,
}

/// What a round asks for one partition.
#[derive(Clone, Debug)]
struct Asked {
    regime: Regime,
    /// The last entry made before.
    last: u64,
    answered: Vec<Voter>,
}

impl Round {
    pub(super) fn began(&self) -> Mono {
        self.began
    }

    /// What is open, for each partition.
    pub(super) fn asked(&self) -> impl core::fmt::Debug {
        &self.parts
    }
}

impl Strong {
    pub(super) fn begin_rounds(&mut self, desk: &mut Desk<'_>) {
        if self.wants_round.is_empty() || self.rounds.len() >= ROUNDS_MAX {
            return;
        }
        let id = self.next_round;
        self.next_round += 1;
        let mut parts = BTreeMap::new();
        let mut asked: BTreeMap<NodeName, Vec<(Partition, Regime)>> = BTreeMap::new();
        let mut mark = None;
        for of in core::mem::take(&mut self.wants_round) {
            if !self.votes() {
                continue;
            }
            let part = self.at(of);
            let Some(reign) = part.reign.as_ref().filter(|reign| reign.serves) else { continue };
            let regime = reign.config.regime;
            let all = !self.isr_decides(of, reign);
            mark = mark.or(all.then(|| self.mark()));
            for &name in self.peers.keys() {
                let member = reign.config.member(name).is_some();
                if member || (all && self.voter(name).is_some()) {
                    asked.entry(name).or_default().push((of, regime));
                }
            }
            let last = part.tail.last().index;
            let answered = vec![self.me()];
            parts.insert(of, Asked { regime, last, answered });
            for wait in &mut self.part(of).waits {
                if !wait.write && wait.round.is_none() {
                    wait.round = Some(id);
                }
            }
        }
        let of_all: Vec<Partition> = parts.keys().copied().collect();
        self.rounds.insert(id, Round { began: desk.now, parts });
        for (name, asked) in asked {
            self.say(name, Item::Round { id, asked, mark });
        }
        for of in of_all {
            self.end_if_answered(id, of, desk);
        }
    }

    pub(super) fn on_round(
        &mut self,
        from: NodeName,
        id: u64,
        asked: Vec<(Partition, Regime)>,
        mark: Option<Mark>,
        desk: &mut Desk<'_>,
    ) {
        let mark = mark.filter(|_| !self.has(StrongMutant::RoundMarksIgnored));
        if !self.votes() || mark.is_some_and(|mark| !self.remembers_mark(from, mark, desk)) {
            return;
        }
        let heard = self.has(StrongMutant::LowerRegimeHeard);
        let known = asked.into_iter().filter(|(of, _)| of.0 < self.config.partitions);
        let refused = known
            .map(|(of, regime)| (of, regime, self.at(of).promised))
            .filter(|(_, regime, promised)| promised > regime && !heard)
            .map(|(of, _, promised)| (of, promised))
            .collect();
        self.say(from, Item::RoundAnswer { id, refused });
    }

    pub(super) fn on_round_answer(
        &mut self,
        from: NodeName,
        id: u64,
        refused: &[(Partition, Regime)],
        desk: &mut Desk<'_>,
    ) {
        let Some(voter) = self.voter(from) else { return };
        let Some(round) = self.rounds.get_mut(&id) else { return };
        for (_, asked) in
            round.parts.iter_mut().filter(|(of, _)| refused.iter().all(|r| r.0 != **of))
        {
            if !asked.answered.contains(&voter) {
                asked.answered.push(voter);
            }
        }
        let answered: Vec<Partition> = round.parts.keys().copied().collect();
        for &(of, promised) in refused {
            let Some(asked) = self.rounds.get_mut(&id).and_then(|round| round.parts.remove(&of))
            else {
                continue;
            };
            desk.facts.sometimes("a round met a higher promise");
            self.on_refused(of, asked.regime, promised, desk);
            self.ask_again(of, id);
        }
        for of in answered {
            self.end_if_answered(id, of, desk);
        }
        self.drop_if_done(id);
    }

    /// A partition's part of a round is over once all of the ISR, in the lives it names, and a quorum have answered.
    fn end_if_answered(&mut self, id: u64, of: Partition, desk: &mut Desk<'_>) {
        let Some(asked) = self.rounds.get(&id).and_then(|round| round.parts.get(&of)) else {
            return;
        };
        let reign =
            self.at(of).reign.as_ref().filter(|r| r.serves && r.config.regime == asked.regime);
        let Some(reign) = reign else {
            return self.forget_part(id, of);
        };
        let Some(rule) = self.rosters.rule(reign.config.under) else { return };
        let answered = &asked.answered;
        let has = |name: NodeName| answered.iter().any(|voter| voter.0 == name);
        let live = |m: &Member| m.name == self.config.name || self.is_linked(m);
        let all = reign.config.isr.iter().all(|member| has(member.name) && live(member));
        if !all || !rule.may_decide(answered, of) {
            return;
        }
        let last = asked.last;
        let part = self.part(of);
        for wait in part.waits.iter_mut().filter(|wait| wait.round == Some(id)) {
            wait.confirmed = true;
        }
        if let Some(reign) = &mut part.reign {
            reign.vouched = reign.vouched.max(last);
        }
        self.forget_part(id, of);
        self.resolve(of);
        self.dirty.insert(of);
        self.advance(of, desk);
    }

    fn forget_part(&mut self, id: u64, of: Partition) {
        if let Some(round) = self.rounds.get_mut(&id) {
            round.parts.remove(&of);
        }
        self.drop_if_done(id);
    }

    fn drop_if_done(&mut self, id: u64) {
        if self.rounds.get(&id).is_some_and(|round| round.parts.is_empty()) {
            self.rounds.remove(&id);
        }
    }

    /// Those who wait for a round that failed want another.
    fn ask_again(&mut self, of: Partition, id: u64) {
        for wait in self.part(of).waits.iter_mut().filter(|wait| wait.round == Some(id)) {
            wait.round = None;
        }
        if self.at(of).serves() {
            self.wants_round.insert(of);
        }
    }

    /// Answers may have got lost with a link.
    pub(super) fn retry_rounds(&mut self) {
        for (id, round) in core::mem::take(&mut self.rounds) {
            for of in round.parts.into_keys() {
                self.ask_again(of, id);
            }
        }
    }

    pub(super) fn expire_rounds(&mut self, now: Mono) {
        let patience = self.config.heartbeat_interval;
        let late = |round: &Round| now.since(round.began).0 >= 2 * patience.0;
        let ids: Vec<u64> =
            self.rounds.iter().filter(|(_, round)| late(round)).map(|(&id, _)| id).collect();
        for id in ids {
            let Some(round) = self.rounds.remove(&id) else { continue };
            for of in round.parts.into_keys() {
                self.ask_again(of, id);
            }
        }
    }
}
