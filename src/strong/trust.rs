//! Who may vote: disks that are older than what their voter has said before, and copies of disks, are found out.
//!
//! A voter's records are counted. It tells its [`Mark`] as the first thing over each link, before anything that builds on
//! a vote not counted in the last mark it told, and with its heartbeats. Its peers write down the highest; one that shows
//! less, or the same start with another nonce, runs on an older disk or on a copy of one. It is *amnesiac* from then on:
//! it has forgotten promises, and votes for nothing until it has a new voter id. What only peers saw that cannot be
//! reached is not found out.

use serde::{Deserialize, Serialize};

use crate::base::mutant::{Mutants, StrongMutant};
use crate::base::time::Mono;

use super::message::{Durable, Item};
use super::regime::{Member, Start, VoterId};
use super::roster::NodeName;
use super::standing::Voter;
use super::view::Peer;
use super::{Desk, Strong};

/// How much a voter has written down.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Written {
    /// Records that come first: no crash loses one that anything was said of.
    pub votes: u64,
    /// All records. A start after a loss may have fewer than the life before it.
    pub records: u64,
}

impl Written {
    /// Whether something is missing of what stood there before; `loses`: other records than votes may be.
    fn lacks(&self, before: &Written, loses: bool) -> bool {
        self.votes < before.votes || (self.records < before.records && !loses)
    }
}

/// Where a voter's disk stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mark {
    pub start: Start,
    /// Drawn with the start.
    pub nonce: u64,
    /// The last start that has lost the end of what was written; 0 if none has.
    pub lost_at: Start,
    /// How much stood there at this start, which itself is written down, too.
    pub begun: Written,
    pub written: Written,
}

/// What is left of an earlier life on the same disk.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Life {
    pub nonce: u64,
    /// How much stood on the disk when the next life began.
    pub end: Written,
}

/// What is known of a voter.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Known {
    pub mark: Mark,
    pub amnesiac: bool,
}

impl Mark {
    /// Whether a voter that has shown `before` cannot show this on the same disk. What a later life has written down itself
    /// does not count.
    pub fn is_older_than(&self, before: &Mark, mutants: Mutants) -> bool {
        let counts = mutants.has_strong(StrongMutant::StartHidesLoss);
        let same = self.start == before.start;
        let stands = if same || counts { self.written } else { self.begun };
        self.start < before.start
            || (same && self.nonce != before.nonce)
            || stands.lacks(&before.written, self.lost_at > before.start)
    }
}

impl Strong {
    /// Writes something down, and counts it.
    pub(super) fn write_down(&mut self, record: Durable) {
        self.count(&record);
        self.made += 1;
        self.records.push(record);
    }

    /// What is remembered of others does not count: one's marks would raise the other's for ever.
    pub(super) fn count(&mut self, record: &Durable) {
        match record {
            Durable::Seen { .. } | Durable::SeenMore { .. } => {}
            Durable::Start { .. }
            | Durable::Amnesiac
            | Durable::Stopped
            | Durable::Roster { .. }
            | Durable::RosterHeld
            | Durable::Decided { .. }
            | Durable::CouncilPromise { .. }
            | Durable::CouncilAccept { .. }
            | Durable::Promise { .. }
            | Durable::Accept { .. }
            | Durable::Chosen { .. }
            | Durable::Entry { .. }
            | Durable::Committed { .. }
            | Durable::Truncate { .. }
            | Durable::Whole { .. }
            | Durable::Intact { .. }
            | Durable::Dropped { .. }
            | Durable::NewVoter { .. } => {
                self.written.records += 1;
                self.written.votes += u64::from(record.comes_first());
            }
        }
    }

    /// Whether this node may vote now.
    pub(super) fn votes(&self) -> bool {
        self.compared && !self.amnesiac && self.rosters.names(self.me())
    }

    /// A node votes after it has compared with every node of the rosters that it can reach.
    pub(super) fn compare_with_all(&mut self, now: Mono) {
        if self.compared || self.rosters.newest().is_none() {
            return;
        }
        let has = |name: NodeName| {
            name == self.config.name || self.peers.get(&name).is_some_and(|peer| peer.compared)
        };
        if self.rosters.nodes().into_iter().all(has) || now >= self.compare_until {
            self.compared = true;
            self.look_at_all();
        }
    }

    /// A node has answered that is to dial this one: it can be reached, and is compared with once it has.
    pub(super) fn on_shown(&mut self, name: NodeName, now: Mono) {
        let waits = !self.compared && !self.peers.get(&name).is_some_and(|peer| peer.compared);
        if waits && self.shown.insert(name) {
            self.compare_until = self.compare_until.max(now + self.config.heartbeat_timeout);
        }
    }

    /// Whether the link with a node is with this life of a voter, or with a later one of the same.
    pub(super) fn is_linked_since(&self, name: NodeName, life: (VoterId, Start)) -> bool {
        let later = |peer: &Peer| peer.up && peer.voter == life.0 && peer.start >= life.1;
        self.peers.get(&name).is_some_and(later)
    }

    pub(super) fn mark(&self) -> Mark {
        let (start, nonce, lost_at) = (self.start, self.nonce, self.lost_at);
        Mark { start, nonce, lost_at, begun: self.begun, written: self.written }
    }

    /// The first things over a link.
    pub(super) fn say_marks(&mut self, to: NodeName) {
        let Some(voter) = self.peers.get(&to).map(|peer| peer.voter) else { return };
        let known = self.known.get(&voter).copied();
        self.say(to, Item::Remembered { mark: known.map(|known| known.mark) });
        self.say_mark(to);
        if known.is_some_and(|known| known.amnesiac) {
            self.say(to, Item::Forgot { voter });
        }
        if self.amnesiac {
            self.say(to, Item::Forgot { voter: self.voter });
        }
    }

    /// Tells where this node's disk stands, unless the peer knows.
    pub(super) fn say_mark(&mut self, to: NodeName) {
        let written = self.written;
        let Some(peer) = self.peers.get_mut(&to) else { return };
        if peer.told.replace(written) != Some(written) {
            let mark = self.mark();
            self.say(to, Item::Mark { mark });
        }
    }

    /// What builds on a vote leaves behind the mark that counts it.
    pub(super) fn mark_items(&mut self) {
        let (votes, mark) = (self.written.votes, self.mark());
        for (name, items) in &mut self.items {
            let Some(peer) = self.peers.get_mut(name) else { continue };
            let tells = items.iter().any(|item| matches!(item, Item::Mark { .. }));
            if tells || peer.told.is_none_or(|told| told.votes < votes) {
                peer.told = Some(self.written);
                items.retain(|item| !matches!(item, Item::Mark { .. }));
                items.insert(0, Item::Mark { mark });
            }
        }
    }

    /// A peer tells where its disk stands.
    pub(super) fn on_mark(&mut self, from: NodeName, mark: Mark, desk: &mut Desk<'_>) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let voter = peer.voter;
        if !peer.marked {
            peer.marked = true;
            self.look_at_all();
        }
        let Some(known) = self.known.get(&voter).copied() else {
            return self.remember(voter, Known { mark, amnesiac: false });
        };
        if known.amnesiac {
            return self.say(from, Item::Forgot { voter });
        }
        let trusts = self.has(StrongMutant::OlderDiskTrusted);
        if mark.is_older_than(&known.mark, self.config.mutants) && !trusts {
            return self.find_amnesiac(from, desk);
        }
        let before = known.mark;
        if (before.start, before.written.votes) != (mark.start, mark.written.votes) {
            self.remember(voter, Known { mark, amnesiac: false });
        } else if before != mark {
            self.known.insert(voter, Known { mark, amnesiac: false });
            self.write_down(Durable::SeenMore { voter, records: mark.written.records });
        }
    }

    /// Where a peer's disk stands, remembered before anything else is said. False if it is an older one.
    pub(super) fn remembers_mark(
        &mut self,
        from: NodeName,
        mark: Mark,
        desk: &mut Desk<'_>,
    ) -> bool {
        self.on_mark(from, mark, desk);
        let Some(voter) = self.peers.get(&from).map(|peer| peer.voter) else { return false };
        let Some(known) = self.known.get(&voter).copied() else { return false };
        if !known.amnesiac {
            self.remember(voter, known);
        }
        !known.amnesiac
    }

    /// Whether this disk lacks something of what its voter has shown before. Here each life's end is known, and not only
    /// the last one's, as a peer sees it.
    fn is_older_than(&self, before: &Mark) -> bool {
        let counts = self.has(StrongMutant::StartHidesLoss);
        if before.start >= self.start || counts {
            return self.mark().is_older_than(before, self.config.mutants);
        }
        let lacks = |life: &Life| {
            life.nonce != before.nonce
                || life.end.lacks(&before.written, self.lost_at > before.start)
        };
        // (A life that this disk has not had was another disk's.)
        self.lives.get(&before.start).is_none_or(lacks)
    }

    /// What a peer remembers of this node's disk.
    pub(super) fn on_remembered(
        &mut self,
        from: NodeName,
        remembered: Option<Mark>,
        desk: &mut Desk<'_>,
    ) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.compared = true;
        let older = remembered.is_some_and(|before| self.is_older_than(&before));
        if older && !self.has(StrongMutant::OlderDiskTrusted) {
            self.become_amnesiac(desk);
        }
        self.compare_with_all(desk.now);
    }

    /// A peer says that this voter, or itself, has forgotten what it said. (Who has not found out by itself would go on
    /// wanting a copy there, and change the regime for it again and again.)
    pub(super) fn on_forgot(&mut self, from: NodeName, voter: VoterId, desk: &mut Desk<'_>) {
        if voter == self.voter {
            self.become_amnesiac(desk);
        } else if self.peers.get(&from).is_some_and(|peer| peer.voter == voter) {
            self.find_amnesiac(from, desk);
        }
    }

    /// A peer shows that it has forgotten what it said.
    pub(super) fn find_amnesiac(&mut self, name: NodeName, desk: &mut Desk<'_>) {
        let Some(voter) = self.peers.get(&name).map(|peer| peer.voter) else { return };
        let Some(known) = self.known.get(&voter).copied() else { return };
        desk.facts.sometimes("a peer was found on an older disk");
        if !known.amnesiac {
            self.remember(voter, Known { amnesiac: true, ..known });
        }
        self.say(name, Item::Forgot { voter });
        self.look_at_all();
    }

    fn remember(&mut self, voter: VoterId, known: Known) {
        self.known.insert(voter, known);
        self.write_down(Durable::Seen { voter, mark: known.mark, amnesiac: known.amnesiac });
    }

    /// For good: its copies are not intact, and it votes for nothing.
    pub(super) fn become_amnesiac(&mut self, desk: &mut Desk<'_>) {
        if self.amnesiac {
            return;
        }
        desk.facts.sometimes("a node has found that its disk is an older one");
        self.write_down(Durable::Amnesiac);
        self.on_amnesiac();
        for of in self.partitions() {
            self.part(of).bid = None;
            self.abdicate(of, desk);
        }
        self.say_to_all(&Item::Forgot { voter: self.voter });
    }

    /// Also when the record of it is read again.
    pub(super) fn on_amnesiac(&mut self) {
        self.amnesiac = true;
        for part in &mut self.parts {
            part.intact = None;
        }
    }

    /// Another voter has this disk: it has promised nothing that it could have forgotten, and its copies may lack some.
    pub(super) fn on_new_voter(&mut self, voter: VoterId, former: VoterId) {
        self.amnesiac &= voter != self.voter;
        self.formers.push(former);
        for part in &mut self.parts {
            part.intact = None;
        }
    }

    /// Whether this node's voter id has been found on an older disk.
    pub fn is_amnesiac(&self) -> bool {
        self.amnesiac
    }

    pub(super) fn me(&self) -> Voter {
        (self.config.name, self.voter)
    }

    pub(super) fn myself(&self) -> Member {
        Member { name: self.config.name, voter: self.voter, start: self.start }
    }
}
