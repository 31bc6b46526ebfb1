//! The master's side: bringing the others to its state, writes, catching up, and when to change the regime.

use crate::base::fact::LogLevel;
use crate::base::ids::Partition;
use crate::base::mutant::StrongMutant;
use crate::base::time::{Mono, Span};

use super::frame::FRAME_BYTES_MAX;
use super::message::{Item, Stage, bytes_of};
use super::part::{Follower, Mode, Reign};
use super::regime::{Configuration, Regime};
use super::roster::NodeName;
use super::tail::LogState;
use super::{Desk, Outcome, Strong};

/// Entries of one transfer.
const ENTRIES_MAX: usize = 1024;
/// Whole copies on their way to one node.
const WHOLES_MAX: usize = 16;
/// A follower that lacks no more entries than this is about to be caught up.
const NEARLY: u64 = 32;

impl Follower {
    /// The link was replaced: what is not acknowledged may not have arrived.
    pub fn start_again(&mut self) {
        self.next = self.acked + 1;
        self.told = 0;
        self.told_config = false;
        self.due = true;
        self.sent_at = Mono(0);
        match self.mode {
            Mode::Stream => {}
            Mode::Probe | Mode::NeedsWhole | Mode::WholeSent => self.mode = Mode::Probe,
        }
    }
}

impl Strong {
    /// Step 5: the configuration is chosen and names this node.
    pub(super) fn begin_reign(
        &mut self,
        of: Partition,
        config: Configuration,
        before: &Configuration,
        desk: &mut Desk<'_>,
    ) {
        let mut reign = Reign::new(config, desk.now);
        if self.has(StrongMutant::CoreOnlyEqualised) {
            reign.equalised.retain(|name| before.member(*name).is_some());
        }
        for member in &reign.config.isr {
            if member.name != self.config.name {
                reign.followers.insert(member.name, Follower::new());
            }
        }
        if self.has(StrongMutant::AcksAcrossRegimes) {
            let last = self.at(of).tail.last().index;
            let part = self.part(of);
            for (name, acked) in core::mem::take(&mut part.acked_before) {
                if let Some(follower) = reign.followers.get_mut(&name) {
                    (follower.acked, follower.exact) = (acked, acked == last);
                }
            }
        }
        let part = self.part(of);
        part.reign = Some(reign);
        part.vacant_since = None;
        self.dirty.insert(of);
        self.busy.insert(of);
        self.serve_if_equal(of, desk);
    }

    /// Serves once all members have confirmed exactly the master's state: all of it is committed then.
    fn serve_if_equal(&mut self, of: Partition, desk: &mut Desk<'_>) {
        let part = self.at(of);
        let last = part.tail.last().index;
        let Some(reign) = &part.reign else { return };
        let ready = |name: NodeName| {
            name == self.config.name
                || reign.followers.get(&name).is_some_and(|f| f.exact && f.acked == last)
        };
        let at_once = self.has(StrongMutant::StepFiveSkipped);
        if reign.serves || !(at_once || reign.equalised.iter().all(|name| ready(*name))) {
            return;
        }
        let config = reign.config.clone();
        let regime = config.regime;
        let me = self.config.name;
        let part = self.part(of);
        part.serving = Some((me, regime));
        if let Some(reign) = &mut part.reign {
            reign.serves = true;
            reign.vouched = last;
            // What is said of this builds on a promise, which was written down behind all of it.
            reign.durable = last;
            reign.since = desk.now;
        }
        self.commit_to(of, last, desk);
        self.resolve(of);
        self.say_to_all(&Item::Serving { of, regime });
        // Its candidate was another node, perhaps, without a link to all that have a copy.
        self.say_to_all(&Item::Chosen { of, config });
        self.news = true;
        self.busy.insert(of);
    }

    /// This node's reign ends. Writes on their way may still turn out to be committed.
    pub(super) fn abdicate(&mut self, of: Partition, desk: &mut Desk<'_>) {
        let me = self.config.name;
        let part = self.part(of);
        let Some(reign) = part.reign.take() else { return };
        if part.waits.iter().any(|wait| wait.write) {
            desk.facts.sometimes("a regime ended with a write in flight");
        }
        let acked = reign.followers.iter().map(|(&name, follower)| (name, follower.acked));
        part.acked_before = acked.collect();
        let regime = reign.config.regime;
        if part.serving == Some((me, regime)) {
            part.serving = None;
        }
        let mut refused = Vec::new();
        part.waits.retain(|wait| {
            if !wait.write {
                refused.push(Outcome::Refused(wait.ticket));
            }
            wait.write
        });
        self.outcomes.append(&mut refused);
        self.wants_round.remove(&of);
        self.news = true;
        if reign.serves {
            self.say_to_all(&Item::Stopped { of, regime });
        }
        self.busy.insert(of);
    }

    // ----- entries on their way --------------------------------------------------------------

    /// End of a batch: entries, whole copies and rounds leave.
    pub fn flush(&mut self, desk: &mut Desk<'_>) {
        for of in core::mem::take(&mut self.dirty) {
            self.advance(of, desk);
            self.send_entries(of, desk);
        }
        self.begin_rounds(desk);
    }

    fn send_entries(&mut self, of: Partition, desk: &mut Desk<'_>) {
        // (Out of its place, so that the rest can be looked at.)
        let Some(mut reign) = self.part(of).reign.take() else { return };
        for (&name, follower) in &mut reign.followers {
            if self.peers.get(&name).is_some_and(|peer| peer.up) {
                let member = reign.config.member(name).is_some();
                let exact = member && !follower.exact;
                self.send_to(of, &reign.config, name, follower, exact, desk);
            }
        }
        let committed = self.at(of).tail.committed();
        let behind = reign.followers.values().any(|follower| follower.told < committed);
        self.part(of).reign = Some(reign);
        if behind {
            // The next tick tells.
            self.busy.insert(of);
        }
    }

    fn send_to(
        &mut self,
        of: Partition,
        config: &Configuration,
        to: NodeName,
        follower: &mut Follower,
        exact: bool,
        desk: &mut Desk<'_>,
    ) {
        let tail = &self.at(of).tail;
        let (last, committed) = (tail.last().index, tail.committed());
        let regime = config.regime;
        match follower.mode {
            Mode::WholeSent => return,
            Mode::NeedsWhole => {
                if self.wholes_on_way(to) >= WHOLES_MAX {
                    self.busy.insert(of);
                    return;
                }
                let history = self.at(of).tail.history().until(committed);
                let records = desk.copies.read(of);
                if bytes_of(&records) > FRAME_BYTES_MAX / 2 {
                    let text = format!("Partition {} is too large to be copied to {to}", of.0);
                    desk.facts.log(LogLevel::Warning, text);
                    follower.sent_at = desk.now;
                    follower.mode = Mode::WholeSent;
                    return;
                }
                self.wholes.entry(to).or_default().insert(of);
                follower.mode = Mode::WholeSent;
                follower.next = committed + 1;
                follower.sent_at = desk.now;
                return self.say(to, Item::Whole { of, regime, history, records });
            }
            Mode::Probe => follower.next = last + 1,
            Mode::Stream => {}
        }
        let probes = follower.mode == Mode::Probe;
        if !core::mem::take(&mut follower.due) && (probes || follower.next > last) {
            return;
        }
        loop {
            let tail = &self.at(of).tail;
            let before = follower.next - 1;
            let (Some(prev), Some(entries)) =
                (tail.history().place(before), tail.after(before, ENTRIES_MAX))
            else {
                follower.mode = Mode::NeedsWhole;
                self.busy.insert(of);
                return;
            };
            follower.next += entries.len() as u64;
            follower.sent_at = desk.now;
            follower.told = committed;
            let config = Some(config.clone()).filter(|_| !follower.told_config);
            follower.told_config = true;
            let ends = follower.next > last;
            let stage = Stage::Serve { config, exact: exact && ends };
            self.say(to, Item::Sync { of, regime, stage, prev, entries, committed });
            if ends || probes {
                return;
            }
        }
    }

    /// Whole copies sent to a node and not yet confirmed, by masters that still wait for that.
    fn wholes_on_way(&mut self, to: NodeName) -> usize {
        let Some(sent) = self.wholes.get_mut(&to) else { return 0 };
        let parts = &self.parts;
        sent.retain(|of| {
            let reign = parts[usize::from(of.0)].reign.as_ref();
            let follower = reign.and_then(|reign| reign.followers.get(&to));
            follower.is_some_and(|follower| follower.mode == Mode::WholeSent)
        });
        sent.len()
    }

    pub(super) fn on_synced(
        &mut self,
        from: NodeName,
        of: Partition,
        regime: Regime,
        last: u64,
        exact: bool,
        desk: &mut Desk<'_>,
    ) {
        let bids = self.at(of).bid.as_ref().is_some_and(|bid| bid.regime == regime);
        if bids && exact {
            return self.on_joiner_synced(from, of, last, desk);
        }
        let reign = self.at(of).reign.as_ref();
        // A member that has started anew since, or with another disk, is none.
        if reign.and_then(|r| r.config.member(from)).is_some_and(|m| !self.is_linked(m)) {
            return;
        }
        let part = self.part(of);
        let end = part.tail.last().index;
        let Some(reign) = part.reign.as_mut().filter(|r| r.config.regime == regime) else { return };
        let Some(follower) = reign.followers.get_mut(&from) else { return };
        follower.mode = Mode::Stream;
        follower.acked = follower.acked.max(last);
        follower.next = follower.next.max(last + 1);
        follower.exact |= exact && last == end;
        let serves = reign.serves;
        if serves {
            self.dirty.insert(of);
        } else {
            self.serve_if_equal(of, desk);
        }
        if self.at(of).reign.as_ref().is_none_or(|r| r.config.member(from).is_none()) {
            self.busy.insert(of);
        }
    }

    pub(super) fn on_mismatch(
        &mut self,
        from: NodeName,
        of: Partition,
        regime: Regime,
        log: &LogState,
    ) {
        let reign = self.at(of).reign.as_ref();
        // (What has started anew since may have lost its tail: a regime without it is on its way.)
        if reign.and_then(|r| r.config.member(from)).is_some_and(|m| !self.is_linked(m)) {
            return;
        }
        let part = self.part(of);
        let Some(reign) = part.reign.as_mut().filter(|r| r.config.regime == regime) else { return };
        let Some(follower) = reign.followers.get_mut(&from) else { return };
        let common = part.tail.history().common(&log.history);
        let at_hand = log.committed <= common.index && part.tail.after(common.index, 1).is_some();
        if at_hand {
            follower.mode = Mode::Stream;
            follower.acked = common.index;
            follower.next = common.index + 1;
            follower.due = true;
        } else {
            assert!(
                reign.config.member(from).is_none(),
                "a member of the ISR has everything that is committed"
            );
            follower.mode = Mode::NeedsWhole;
        }
        self.dirty.insert(of);
    }

    /// Commits what all of the ISR have, if they, and who else has answered, are a quorum.
    pub(super) fn advance(&mut self, of: Partition, desk: &mut Desk<'_>) {
        let part = self.at(of);
        let Some(reign) = part.reign.as_ref().filter(|reign| reign.serves) else { return };
        let mut index = part.tail.last().index;
        if self.unsynced.is_some() && !self.has(StrongMutant::OwnCopyUnsynced) {
            index = reign.durable;
        }
        let skipped = usize::from(self.has(StrongMutant::MemberSkipped));
        for member in reign.config.isr.iter().skip(skipped) {
            if let Some(follower) = reign.followers.get(&member.name) {
                index = index.min(follower.acked);
            } else if member.name != self.config.name {
                return;
            }
        }
        if !self.isr_decides(of, reign) {
            index = index.min(reign.vouched);
        }
        self.commit_to(of, index, desk);
    }

    // ----- what clients wait for -------------------------------------------------------------

    /// Tells what is committed, or confirmed, by now.
    pub(super) fn resolve(&mut self, of: Partition) {
        let part = self.part(of);
        let committed = part.tail.committed();
        let mut done = Vec::new();
        part.waits.retain(|wait| {
            let is_done = wait.index <= committed && wait.confirmed;
            if is_done {
                done.push(Outcome::Done(wait.ticket));
            }
            !is_done
        });
        if part.waits.is_empty() {
            self.awaited.remove(&of);
        }
        self.outcomes.append(&mut done);
    }

    pub(super) fn expire_waits(&mut self, now: Mono) {
        let acks = self.has(StrongMutant::AckOnTimeout);
        for of in self.awaited.clone() {
            let mut late = Vec::new();
            let part = self.part(of);
            part.waits.retain(|wait| {
                let is_late = now >= wait.until;
                if is_late {
                    let ticket = wait.ticket;
                    late.push(if wait.write && acks {
                        Outcome::Done(ticket)
                    } else if wait.write {
                        Outcome::InDoubt(ticket)
                    } else {
                        Outcome::Refused(ticket)
                    });
                }
                !is_late
            });
            if part.waits.is_empty() {
                self.awaited.remove(&of);
            }
            self.outcomes.append(&mut late);
        }
    }

    // ----- when to change --------------------------------------------------------------------

    /// True if nothing is to be done until something happens.
    pub(super) fn tick_reign(&mut self, of: Partition, desk: &mut Desk<'_>) -> bool {
        let Some(under) = self.at(of).reign.as_ref().map(|reign| reign.config.under) else {
            return true;
        };
        if !self.hears_quorum(of, under) {
            desk.facts.sometimes("a master that hears no quorum stopped");
            self.abdicate(of, desk);
            return false;
        }
        let wanted = self.wanted(of, under);
        self.keep_followers(of, &wanted, desk);
        let interval = self.config.heartbeat_interval;
        let Some(reign) = &self.at(of).reign else { return true };
        let age = desk.now.since(reign.since);
        let lost = reign.config.isr.iter().any(|m| !self.hears_member(m));
        let stuck = !reign.serves && age >= self.config.heartbeat_timeout;
        if reign.contested || lost || stuck {
            self.start_bid(of, desk);
            return false;
        }
        if !reign.serves {
            return false;
        }
        let last = self.at(of).tail.last().index;
        let isr = |name: NodeName| reign.config.member(name).is_some();
        let outside: Vec<NodeName> = wanted.iter().copied().filter(|&name| !isr(name)).collect();
        let caught_up = |name: &NodeName| {
            let follower = reign.followers.get(name);
            follower.is_some_and(|f| f.mode == Mode::Stream && f.acked + NEARLY >= last)
        };
        let grows = !outside.is_empty() && outside.iter().all(caught_up);
        // (Under two rosters all who have a copy keep it.)
        let Some(rule) = self.rosters.rule(under) else { return true };
        let extra = outside.is_empty()
            && !rule.is_joint()
            && rule.replicas(of).all(isr)
            && reign.config.isr.len() > wanted.len();
        let has_arrived = self.has_arrived(of);
        let moves = !has_arrived && self.moves(of, &reign.config);
        let first = wanted.first().copied().unwrap_or(self.config.name);
        let hands_back = rule.replicas(of).next() == Some(first)
            && !rule.is_joint()
            && first != self.config.name
            && (isr(first) || self.has(StrongMutant::HandBackEarly));
        if (grows || extra || hands_back || moves) && age >= interval {
            if hands_back && !grows && !moves {
                desk.facts.sometimes("a partition was handed back");
            }
            self.start_bid(of, desk);
            return false;
        }
        let quiet = outside.is_empty() && !extra && !hands_back && has_arrived;
        self.send_again(of, desk) && quiet
    }

    /// Streams to nodes that are to have a copy, and to no others.
    fn keep_followers(&mut self, of: Partition, wanted: &[NodeName], desk: &mut Desk<'_>) {
        let me = self.config.name;
        let Some(reign) = &mut self.part(of).reign else { return };
        let config = &reign.config;
        let stays = |name: NodeName| config.member(name).is_some() || wanted.contains(&name);
        let gone: Vec<NodeName> =
            reign.followers.keys().copied().filter(|&name| !stays(name)).collect();
        reign.followers.retain(|&name, _| stays(name));
        let mut added = false;
        for &name in wanted.iter().filter(|name| **name != me) {
            reign.followers.entry(name).or_insert_with(|| {
                added = true;
                Follower::new()
            });
        }
        for member in reign.config.isr.clone() {
            if member.name != me {
                reign.followers.entry(member.name).or_insert_with(|| {
                    added = true;
                    Follower::new()
                });
            }
        }
        // Who was to have a copy, and is not any more, may drop what it has got.
        if !gone.is_empty() {
            let config = reign.config.clone();
            for name in gone {
                self.say(name, Item::Chosen { of, config: config.clone() });
            }
        }
        if added {
            desk.facts.sometimes("a copy is brought up to date");
            self.dirty.insert(of);
        }
    }

    /// Sends what was not acknowledged for long, and how far is committed. True if nobody lacks anything.
    fn send_again(&mut self, of: Partition, desk: &mut Desk<'_>) -> bool {
        let patience = Span(2 * self.config.heartbeat_interval.0);
        let part = self.part(of);
        let (last, committed) = (part.tail.last().index, part.tail.committed());
        let Some(reign) = &mut part.reign else { return true };
        let (mut quiet, mut again) = (true, false);
        for follower in reign.followers.values_mut() {
            let news = follower.told < committed;
            follower.due |= news;
            again |= news;
            let lacks = follower.acked < last || follower.mode != Mode::Stream;
            quiet &= !lacks && !news;
            if lacks && desk.now.since(follower.sent_at) >= patience {
                again = true;
                follower.due = true;
                if follower.mode == Mode::Stream {
                    follower.next = follower.acked + 1;
                }
            }
        }
        if again {
            self.dirty.insert(of);
        }
        quiet
    }
}
