//! Who is there: links, heartbeats, and the ticks in which what has changed is acted on.

use crate::base::ids::Partition;
use crate::base::mutant::StrongMutant;
use crate::base::time::Mono;

use super::message::Item;
use super::regime::{Member, Start, VoterId};
use super::roster::NodeName;
use super::standing::{Under, Voter};
use super::trust::Written;
use super::{Desk, Strong};

/// Ticks in a heartbeat interval.
const TICKS: u64 = 3;

/// Another node, as its last link has introduced it.
#[derive(Clone, Debug)]
pub struct Peer {
    pub voter: VoterId,
    pub start: Start,
    pub up: bool,
    pub last_heard: Mono,
    /// Whom it hears.
    pub hears: Vec<NodeName>,
    /// It has told where its disk stands.
    pub marked: bool,
    /// It has told what it remembers of this node's disk.
    pub compared: bool,
    /// What it was told of this node's disk.
    pub told: Option<Written>,
}

impl Peer {
    pub fn member(&self, name: NodeName) -> Member {
        Member { name, voter: self.voter, start: self.start }
    }
}

impl Strong {
    /// A link to a node is up, in place of any earlier one: what was said over that and not answered may be lost.
    pub fn on_peer_up(
        &mut self,
        name: NodeName,
        voter: VoterId,
        start: Start,
        desk: &mut Desk<'_>,
    ) {
        let known = self.peers.get(&name);
        let same = known.is_some_and(|peer| peer.start == start && peer.voter == voter);
        let (up, last_heard, hears) = (true, desk.now, Vec::new());
        let (marked, compared, told) = (false, false, None);
        let peer = Peer { voter, start, up, last_heard, hears, marked, compared, told };
        self.peers.insert(name, peer);
        self.items.remove(&name);
        self.wholes.remove(&name);
        self.say_marks(name);
        // Before anything that stands under them.
        for standing in self.rosters.all().cloned().collect::<Vec<_>>() {
            self.say(name, Item::Decided { standing });
        }
        if let Some(standing) = self.proposed.as_ref().map(|proposed| proposed.0.clone()) {
            self.say(name, Item::Roster { standing });
        }
        for of in self.partitions() {
            let part = self.part(of);
            // (If it still serves it says so: that it stopped may have got lost.)
            if part.serving.is_some_and(|serving| serving.0 == name) {
                part.serving = None;
            }
            if let Some(reign) = &mut part.reign {
                if same && let Some(follower) = reign.followers.get_mut(&name) {
                    follower.start_again();
                } else {
                    reign.followers.remove(&name);
                }
                let (config, serves) = (reign.config.clone(), reign.serves);
                if serves {
                    self.say(name, Item::Serving { of, regime: config.regime });
                }
                // It may have missed that, and may keep a copy for a configuration that is past.
                self.say(name, Item::Chosen { of, config });
                self.dirty.insert(of);
            }
        }
        self.say_beat_to(name, desk.now);
        self.retry_rounds();
        self.look_at_all();
    }

    pub fn on_peer_down(&mut self, name: NodeName) {
        if let Some(peer) = self.peers.get_mut(&name) {
            peer.up = false;
        }
        self.items.remove(&name);
        self.wholes.remove(&name);
    }

    /// What a peer has said, in order.
    pub fn on_items(&mut self, from: NodeName, items: Vec<Item>, desk: &mut Desk<'_>) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.last_heard = desk.now;
        for item in items {
            self.on_item(from, item, desk);
        }
    }

    fn on_item(&mut self, from: NodeName, item: Item, desk: &mut Desk<'_>) {
        if let Some(of) = partition_of(&item)
            && (of.0 >= self.config.partitions || !self.is_of_cluster(from))
        {
            return;
        }
        match item {
            Item::Beat { hears } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.hears = hears;
                }
            }
            Item::Mark { mark } => self.on_mark(from, mark, desk),
            Item::Remembered { mark } => self.on_remembered(from, mark, desk),
            Item::Forgot { voter } => self.on_forgot(from, voter, desk),
            Item::Roster { standing } => {
                let is_first = standing.version == 1 && standing.is_sane();
                if is_first && self.rosters.newest().is_none() && self.proposed.is_none() {
                    self.accept_roster(standing);
                }
                self.say_roster_held(from);
            }
            Item::RosterHeld { cluster, version, by_all } => {
                self.on_roster_held(from, cluster, version, by_all);
            }
            Item::Decided { standing } => self.on_decided(standing, desk),
            Item::CouncilPromise { version, ballot } => {
                self.on_council_promise(from, version, ballot, desk.now);
            }
            Item::CouncilPromised { version, ballot, accepted } => {
                self.on_council_promised(from, version, ballot, accepted);
            }
            Item::CouncilAccept { ballot, standing } => {
                self.on_council_accept(from, ballot, standing, desk.now);
            }
            Item::CouncilAccepted { version, ballot } => {
                self.on_council_accepted(from, version, ballot, desk);
            }
            Item::CouncilRefused { version, promised } => {
                self.on_council_refused(version, promised, desk.now);
            }
            Item::Ask { of, regime } => self.on_ask(from, of, regime, desk),
            Item::Answer { of, regime, yes, promised } => {
                self.on_answer(from, of, regime, yes, promised, desk);
            }
            Item::Promise { of, regime } => self.on_promise(from, of, regime, desk),
            Item::Promised { of, regime, report } => {
                self.on_promised(from, of, regime, report, desk);
            }
            Item::Refused { of, regime, promised } => self.on_refused(of, regime, promised, desk),
            Item::Nominate { of, seen } => self.on_nominate(of, seen, desk),
            Item::Accept { of, proposal } => self.on_accept(from, of, proposal, desk),
            Item::Accepted { of, regime } => self.on_accepted(from, of, regime, desk),
            Item::Chosen { of, config } => self.on_chosen(of, config, desk),
            Item::Sync { of, regime, stage, prev, entries, committed } => {
                self.on_sync(from, (of, regime), stage, (prev, entries, committed), desk);
            }
            Item::Synced { of, regime, last, exact } => {
                self.on_synced(from, of, regime, last, exact, desk);
            }
            Item::Mismatch { of, regime, log } => self.on_mismatch(from, of, regime, &log),
            Item::Whole { of, regime, history, records } => {
                self.on_whole(from, (of, regime), history, records, desk);
            }
            Item::Round { id, asked, mark } => self.on_round(from, id, asked, mark, desk),
            Item::RoundAnswer { id, refused } => self.on_round_answer(from, id, &refused, desk),
            Item::Serving { of, regime } => {
                let part = self.part(of);
                part.note(regime);
                if part.serving.is_none_or(|serving| serving.1 <= regime) {
                    part.serving = Some((from, regime));
                    self.news = true;
                }
            }
            Item::Stopped { of, regime } => {
                if self.at(of).serving == Some((from, regime)) {
                    self.part(of).serving = None;
                    self.busy.insert(of);
                    self.news = true;
                }
            }
            Item::Census { round, asked } => self.on_census(from, round, asked, desk),
            Item::Counted { round, amnesiac, formers, told } => {
                self.on_counted(from, round, (amnesiac, formers), told, desk);
            }
            Item::Admit { version, ballot, standing } => {
                self.on_admit(from, version, ballot, standing, desk.now);
            }
            Item::Admitted { version, ballot, accepts, accepted } => {
                self.on_admitted(from, version, ballot, accepts, accepted, desk);
            }
            Item::Trust { parts } => self.on_trust(from, parts),
            Item::Trusted { parts } => self.on_trusted(from, &parts, desk),
        }
    }

    /// Nodes that are no voters, those of other clusters among them, have no say in partitions. (Before there is a roster
    /// it is not known who is: only hints who serves are kept then.)
    fn is_of_cluster(&self, from: NodeName) -> bool {
        self.rosters.newest().is_none() || self.voter(from).is_some()
    }

    fn on_roster_held(&mut self, from: NodeName, cluster: u64, version: u32, by_all: bool) {
        let Some((standing, held)) = &mut self.proposed else { return };
        if standing.cluster != cluster || standing.version != version {
            return;
        }
        // A disk that the roster does not name may have the roster, but does not hold it.
        let Some(voter) = self.peers.get(&from).map(|peer| peer.voter) else { return };
        if standing.now.names((from, voter)) {
            held.insert(from);
        }
        if by_all {
            held.extend(standing.now.roster.nodes().iter().map(|node| node.name));
        }
        self.roster_held_by_all();
    }

    fn say_roster_held(&mut self, to: NodeName) {
        let (standing, by_all) = match (self.rosters.newest(), &self.proposed) {
            (Some(newest), _) => (newest, true),
            (None, Some((standing, _))) => (standing, false),
            (None, None) => return,
        };
        let (cluster, version) = (standing.cluster, standing.version);
        self.say(to, Item::RosterHeld { cluster, version, by_all });
    }

    // ----- time ------------------------------------------------------------------------------

    /// When [`Strong::on_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Mono {
        self.next_beat.min(self.next_tick)
    }

    pub fn on_timeout(&mut self, desk: &mut Desk<'_>) {
        let interval = self.config.heartbeat_interval;
        if desk.now >= self.next_beat {
            self.next_beat = desk.now + interval;
            let names: Vec<NodeName> = self.peers.keys().copied().collect();
            for name in names {
                self.say_beat_to(name, desk.now);
            }
        }
        if desk.now >= self.next_tick {
            self.next_tick = desk.now + crate::base::time::Span(interval.0 / TICKS);
            self.on_tick(desk);
        }
    }

    fn say_beat_to(&mut self, name: NodeName, now: Mono) {
        let fresh = self.peers.iter().filter(|(_, peer)| self.is_fresh(peer, now));
        let hears = fresh.map(|(&name, _)| name).collect();
        self.say_mark(name);
        self.say(name, Item::Beat { hears });
        if let Some((standing, held)) = &self.proposed
            && !held.contains(&name)
        {
            let standing = standing.clone();
            self.say(name, Item::Roster { standing });
        }
        self.say_roster_held(name);
    }

    fn on_tick(&mut self, desk: &mut Desk<'_>) {
        let fresh = self.peers.iter().filter(|(_, peer)| self.is_fresh(peer, desk.now));
        let heard: Vec<Member> = fresh.map(|(&name, peer)| peer.member(name)).collect();
        if heard != self.heard {
            self.heard = heard;
            self.look_at_all();
            self.forget_census();
        }
        self.expire_waits(desk.now);
        self.expire_rounds(desk.now);
        self.compare_with_all(desk.now);
        self.tick_council(desk);
        self.tick_census(desk);
        self.tick_revival(desk);
        if !self.votes() {
            return;
        }
        for of in self.busy.clone() {
            if self.tick(of, desk) {
                self.busy.remove(&of);
            }
        }
    }

    /// Goes on with a partition. True if there is nothing more to do until something happens.
    fn tick(&mut self, of: Partition, desk: &mut Desk<'_>) -> bool {
        if self.at(of).bid.is_some() {
            self.tick_bid(of, desk);
            return false;
        }
        if self.at(of).reign.is_some() {
            return self.tick_reign(of, desk);
        }
        self.tick_vacant(of, desk)
    }

    // ----- who is heard ----------------------------------------------------------------------

    pub(super) fn is_fresh(&self, peer: &Peer, now: Mono) -> bool {
        now.since(peer.last_heard) < self.config.heartbeat_timeout
    }

    /// Whether a node was heard at the last tick, in this life of it.
    pub(super) fn hears(&self, name: NodeName) -> bool {
        name == self.config.name || self.heard.iter().any(|heard| heard.name == name)
    }

    /// Whether a member of a configuration was heard at the last tick: this data directory of it, in this life.
    pub(super) fn hears_member(&self, member: &Member) -> bool {
        if member.name == self.config.name {
            *member == self.myself()
        } else {
            let by_name = self.has(StrongMutant::MemberByName);
            self.heard.iter().any(|m| m == member || (by_name && m.name == member.name))
        }
    }

    /// Whether the link to a node is to this member: anything else of that name is another.
    pub(super) fn is_linked(&self, member: &Member) -> bool {
        let by_name = self.has(StrongMutant::MemberByName);
        let peer = self.peers.get(&member.name);
        peer.is_some_and(|peer| by_name || peer.member(member.name) == *member)
    }

    /// The voters heard at the last tick, with this node.
    pub(super) fn heard_voters(&self) -> Vec<Voter> {
        let others = self.heard.iter().filter_map(|heard| self.voter(heard.name));
        others.chain(self.votes().then(|| self.me())).collect()
    }

    /// Whether they may decide for a configuration that stands under this.
    pub(super) fn hears_quorum(&self, of: Partition, under: Under) -> bool {
        let rule = self.rosters.rule(under);
        rule.is_some_and(|rule| rule.may_decide(&self.heard_voters(), of))
    }
}

fn partition_of(item: &Item) -> Option<Partition> {
    match item {
        Item::Beat { .. }
        | Item::Mark { .. }
        | Item::Remembered { .. }
        | Item::Forgot { .. }
        | Item::Roster { .. }
        | Item::RosterHeld { .. }
        | Item::Decided { .. }
        | Item::CouncilPromise { .. }
        | Item::CouncilPromised { .. }
        | Item::CouncilAccept { .. }
        | Item::CouncilAccepted { .. }
        | Item::CouncilRefused { .. }
        | Item::Round { .. }
        | Item::RoundAnswer { .. }
        | Item::Census { .. }
        | Item::Counted { .. }
        | Item::Admit { .. }
        | Item::Admitted { .. }
        | Item::Trust { .. }
        | Item::Trusted { .. } => None,
        Item::Ask { of, .. }
        | Item::Answer { of, .. }
        | Item::Promise { of, .. }
        | Item::Promised { of, .. }
        | Item::Refused { of, .. }
        | Item::Nominate { of, .. }
        | Item::Accept { of, .. }
        | Item::Accepted { of, .. }
        | Item::Chosen { of, .. }
        | Item::Sync { of, .. }
        | Item::Synced { of, .. }
        | Item::Mismatch { of, .. }
        | Item::Whole { of, .. }
        | Item::Serving { of, .. }
        | Item::Stopped { of, .. } => Some(*of),
    }
}
