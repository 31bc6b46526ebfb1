//! The voter's side of a change of regime: promises, acceptances, what is chosen.

use crate::base::ids::Partition;
use crate::base::mutant::StrongMutant;

use super::message::{Durable, Item};
use super::regime::{Configuration, Proposal, Regime};
use super::roster::NodeName;
use super::standing::Voter;
use super::tail::Tail;
use super::{Desk, Outcome, Strong};

impl Strong {
    /// Whether this node may vote at all, and for whom: voters answer voters.
    fn may_answer(&self, from: NodeName) -> bool {
        self.votes() && self.voter(from).is_some()
    }

    /// A node by the data directory it was last linked with, or this one.
    fn known_voter(&self, name: NodeName) -> Option<Voter> {
        if name == self.config.name {
            return Some(self.me());
        }
        self.peers.get(&name).map(|peer| (name, peer.voter))
    }

    /// Step 0: a promise is withheld only while somebody else is heard who serves in the highest regime known, and hears a
    /// quorum.
    pub(super) fn would_promise(&self, to: NodeName, of: Partition, regime: Regime) -> bool {
        let part = self.at(of);
        if regime <= part.promised {
            return false;
        }
        if part.serves() && to != self.config.name {
            let mine = part.reign.as_ref().is_some_and(|reign| !reign.contested);
            return !mine;
        }
        let Some((who, serves)) = part.serving else { return true };
        let (Some(rule), Some(peer)) =
            (self.rosters.rule(part.newest().under), self.peers.get(&who))
        else {
            return true;
        };
        let names = peer.hears.iter().copied().chain([who]);
        let hears: Vec<Voter> = names.filter_map(|name| self.known_voter(name)).collect();
        let withheld = who != to
            && self.hears(who)
            && serves >= part.chosen.regime
            && rule.may_decide(&hears, of);
        !withheld
    }

    pub(super) fn on_ask(
        &mut self,
        from: NodeName,
        of: Partition,
        regime: Regime,
        _: &mut Desk<'_>,
    ) {
        if !self.may_answer(from) {
            return;
        }
        let yes = self.would_promise(from, of, regime);
        let part = self.part(of);
        part.note(regime);
        let promised = part.promised;
        self.say(from, Item::Answer { of, regime, yes, promised });
    }

    /// Step 1.
    pub(super) fn on_promise(
        &mut self,
        from: NodeName,
        of: Partition,
        regime: Regime,
        desk: &mut Desk<'_>,
    ) {
        if !self.may_answer(from) {
            return;
        }
        let promised = self.at(of).promised;
        let bids = self.at(of).bid.as_ref().is_some_and(|bid| bid.regime == regime);
        if regime < promised || bids || self.at(of).newest().regime >= regime {
            return self.say(from, Item::Refused { of, regime, promised: promised.max(regime) });
        }
        let start = self.start;
        if regime > promised {
            self.promise(of, regime, desk);
            self.part(of).promised_to = Some(from);
        } else if self.at(of).promised_to != Some(from) {
            // Another candidate had it.
            return self.say(from, Item::Refused { of, regime, promised });
        }
        let report = self.at(of).report(start);
        self.say(from, Item::Promised { of, regime, report });
    }

    /// Makes a promise, to another or to itself: what this node does in lower regimes ends.
    pub(super) fn promise(&mut self, of: Partition, regime: Regime, desk: &mut Desk<'_>) {
        self.part(of).promise(regime);
        self.part(of).promised_to = None;
        self.write_down(Durable::Promise { of, regime });
        self.step_down_below(of, regime, desk);
    }

    /// Whatever this node does in a regime below this one ends.
    pub(super) fn step_down_below(&mut self, of: Partition, regime: Regime, desk: &mut Desk<'_>) {
        let part = self.part(of);
        if part.bid.as_ref().is_some_and(|bid| bid.regime < regime) {
            part.bid = None;
        }
        part.vacant_since = None;
        if part.reign.as_ref().is_some_and(|reign| reign.config.regime < regime) {
            self.abdicate(of, desk);
        }
        self.busy.insert(of);
    }

    /// Step 4.
    pub(super) fn on_accept(
        &mut self,
        from: NodeName,
        of: Partition,
        proposal: Proposal,
        desk: &mut Desk<'_>,
    ) {
        if !self.may_answer(from) || self.rosters.rule(proposal.config.under).is_none() {
            return;
        }
        let regime = proposal.config.regime;
        let promised = self.at(of).promised;
        if regime < promised {
            return self.say(from, Item::Refused { of, regime, promised });
        }
        if self.at(of).newest().regime < regime {
            let early = self.has(StrongMutant::FrozenDroppedEarly);
            let config = proposal.config.clone();
            self.accept(of, proposal);
            self.step_down_below(of, regime, desk);
            if early {
                self.drop_if_frozen(of, &config, desk);
            }
        } else if self.at(of).newest() != &proposal.config {
            // (Each number has one configuration at most: this one's candidate cannot be the other's.)
            return self.say(from, Item::Refused { of, regime, promised: promised.max(regime) });
        }
        self.say(from, Item::Accepted { of, regime });
    }

    /// Accepts a configuration, another's or an own one.
    pub(super) fn accept(&mut self, of: Partition, proposal: Proposal) {
        let part = &mut self.parts[usize::from(of.0)];
        if self.config.mutants.has_strong(StrongMutant::OnlyNewestAccepted) {
            part.accepted.clear();
        }
        part.accept(proposal.clone());
        self.write_down(Durable::Accept { of, proposal });
    }

    pub(super) fn on_chosen(&mut self, of: Partition, config: Configuration, desk: &mut Desk<'_>) {
        let regime = config.regime;
        let before = self.at(of).chosen.clone();
        self.learn_chosen(of, &config, desk);
        let part = self.at(of);
        let named = config.master == Some(self.config.name)
            && config.member(self.config.name) == Some(&self.myself());
        let still = part.promised == regime && part.chosen.regime == regime;
        if named && still && part.reign.is_none() && part.bid.is_none() {
            self.begin_reign(of, config, &before, desk);
        }
    }

    /// A configuration is known to be chosen. Its number counts as promised: nothing lower can be of use.
    pub(super) fn learn_chosen(
        &mut self,
        of: Partition,
        config: &Configuration,
        desk: &mut Desk<'_>,
    ) {
        let regime = config.regime;
        if self.at(of).chosen == *config {
            // Said again: a copy may have been begun for it that is not wanted any more.
            return self.drop_if_frozen(of, config, desk);
        }
        if self.at(of).chosen.regime >= regime || self.rosters.rule(config.under).is_none() {
            return;
        }
        let moves = self.at(of).chosen.under != config.under;
        let part = self.part(of);
        part.promised = part.promised.max(regime);
        part.learn_chosen(config.clone());
        self.census.fates.remove(&of);
        self.write_down(Durable::Chosen { of, config: config.clone() });
        self.step_down_below(of, regime, desk);
        self.drop_if_frozen(of, config, desk);
        if moves && !self.rosters.is_finished() {
            self.prune_rosters();
            if self.rosters.is_finished() {
                desk.facts.sometimes("all partitions had come to a new roster");
            }
        }
    }

    /// A copy that no configuration needs any more is dropped: one without it is chosen, with all roster-replicas in sync.
    fn drop_if_frozen(&mut self, of: Partition, config: &Configuration, desk: &mut Desk<'_>) {
        let Some(rule) = self.rosters.rule(config.under) else { return };
        let part = self.at(of);
        let needed = config.member(self.config.name).is_some()
            || rule.is_joint()
            || rule.replicas(of).any(|name| config.member(name).is_none());
        // (A candidate of a later regime may have brought this copy to its state, and name it.)
        if needed || part.joined > config.regime {
            return;
        }
        if part.intact.is_none() && part.tail.last().index == 0 {
            return;
        }
        self.write_down(Durable::Dropped { of });
        let part = self.part(of);
        part.intact = None;
        part.tail = Tail::default();
        self.doubt_writes_behind(of, 0);
        desk.copies.clear(of);
        desk.facts.sometimes("a frozen copy was dropped");
    }

    /// Writes that clients wait for behind this place are not in the log any more.
    pub(super) fn doubt_writes_behind(&mut self, of: Partition, last: u64) {
        let mut doubted = Vec::new();
        self.part(of).waits.retain(|wait| {
            let gone = wait.index > last;
            if gone {
                doubted.push(if wait.write {
                    Outcome::InDoubt(wait.ticket)
                } else {
                    Outcome::Refused(wait.ticket)
                });
            }
            !gone
        });
        self.outcomes.append(&mut doubted);
    }
}
