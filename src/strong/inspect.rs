//! A node as an exploration of all orders sees it: its state as a text, in which states are equal that differ in nothing
//! but clocks and counts, and what it is doing about a partition.

use core::fmt::Write as _;

use crate::base::ids::Partition;
use crate::base::time::{Mono, Span};

use super::part::{Bid, Phase};
use super::regime::{Configuration, Member, Regime};
use super::roster::NodeName;
use super::tail::History;
use super::trust::Written;
use super::{Strong, VoterSet};

/// Ages beyond so many heartbeat intervals are as good as one another: everything that is waited for is over by then.
const OLD_INTERVALS: u64 = 32;

/// What a node does about a partition, and what it knows of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stance {
    pub promised: Regime,
    /// As known to be chosen.
    pub chosen: Configuration,
    /// Of its own reign: the configuration, and whether it serves.
    pub reign: Option<(Configuration, bool)>,
    /// Its own candidacy.
    pub bid: Option<(Regime, Step)>,
    /// Whose heartbeats had come in time at the last tick.
    pub heard: Vec<NodeName>,
}

/// How far a candidate is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Asking,
    Promising,
    Joining,
    Accepting,
}

impl Bid {
    fn step(&self) -> Step {
        match self.phase {
            Phase::Asking { .. } => Step::Asking,
            Phase::Promising { .. } => Step::Promising,
            Phase::Joining { .. } => Step::Joining,
            Phase::Accepting { .. } => Step::Accepting,
        }
    }
}

impl Strong {
    pub fn stance(&self, of: Partition) -> Stance {
        let part = self.at(of);
        Stance {
            promised: part.promised,
            chosen: part.chosen.clone(),
            reign: part.reign.as_ref().map(|reign| (reign.config.clone(), reign.serves)),
            bid: self.candidacy(of),
            heard: self.heard.iter().map(|member| member.name).collect(),
        }
    }

    /// This node's own candidacy, if there is one.
    pub fn candidacy(&self, of: Partition) -> Option<(Regime, Step)> {
        self.at(of).bid.as_ref().map(|bid| (bid.regime, bid.step()))
    }

    /// The configuration in whose name this node reigns, and whether it serves.
    pub fn reigns(&self, of: Partition) -> Option<(&Configuration, bool)> {
        self.at(of).reign.as_ref().map(|reign| (&reign.config, reign.serves))
    }

    pub fn promised(&self, of: Partition) -> Regime {
        self.at(of).promised
    }

    /// Whether this node's copy counts as one that has everything it ever acknowledged.
    pub fn is_intact(&self, of: Partition) -> bool {
        self.at(of).intact.is_some()
    }

    /// Which regimes made which entries of this node's log of a partition, open ones included.
    pub fn history(&self, of: Partition) -> &History {
        self.at(of).tail.history()
    }

    /// Up to which entry this node knows them to be committed.
    pub fn committed(&self, of: Partition) -> u64 {
        self.at(of).tail.committed()
    }

    /// Whether this life of this data directory is a member of a configuration.
    pub fn is_member(&self, member: &Member) -> bool {
        *member == self.myself()
    }

    /// Whether these nodes may decide for a partition, by the rule as it should be.
    pub fn would_decide(&self, of: Partition, names: impl IntoIterator<Item = NodeName>) -> bool {
        let Some((standing, succession)) = self.standing().zip(self.succession()) else {
            return false;
        };
        let places = names.into_iter().filter_map(|name| standing.now.roster.place(name));
        let set: VoterSet = places.collect();
        super::may_decide(set, succession.order(of), succession.copies())
    }

    /// Everything that what this node does next depends on. Left out: what never changes once a cluster has been founded;
    /// heartbeats, which the caller sends; how much was written down, which tells older disks from others, and how far
    /// random numbers were drawn, which decides how long a candidate waits. What has a time has its age in place of it.
    pub fn write_state(&self, now: Mono, out: &mut String) {
        let Strong {
            config,
            voter: _,
            start,
            nonce: _,
            lost_at,
            begun: _,
            written: _,
            lives: _,
            formers: _,
            known,
            covered: _,
            amnesiac,
            compared,
            compare_until: _,
            shown: _,
            rosters,
            council,
            proposed,
            census,
            revival,
            peers,
            parts,
            busy,
            dirty,
            awaited,
            wants_round,
            rounds,
            next_round: _,
            wholes,
            heard,
            next_beat: _,
            next_tick: _,
            items,
            records,
            made: _,
            unsynced,
            outcomes,
            news: _,
            rng: _,
        } = self;
        let old = config.heartbeat_interval.0 * OLD_INTERVALS;
        let age = |time: &mut Mono| *time = Mono(now.since(*time).0.min(old));
        let forgot: Vec<_> = known.iter().filter(|(_, known)| known.amnesiac).collect();
        let in_force: Vec<u32> = rosters.all().map(|standing| standing.version).collect();
        let _ = write!(
            out,
            "{start:?}{lost_at:?}{amnesiac}{compared}{in_force:?}{council:?}{proposed:?}{forgot:?}{busy:?}{dirty:?}{awaited:?}\
             {wants_round:?}{wholes:?}{heard:?}{items:?}{records:?}{outcomes:?}{:?}",
            unsynced.iter().flatten().map(|(_, of, place)| (of, place)).collect::<Vec<_>>()
        );
        let asks = census.poll.as_ref().map(|poll| (&poll.asked, &poll.answers));
        let _ = write!(out, "{:?}{asks:?}{}", census.fates, revival.is_some());
        for (name, peer) in peers {
            let mut peer = peer.clone();
            age(&mut peer.last_heard);
            peer.told = peer.told.map(|_| Written::default());
            let _ = write!(out, "{name}{peer:?}");
        }
        for part in parts {
            let mut part = part.clone();
            part.jitter = 0;
            part.vacant_since.iter_mut().for_each(age);
            for wait in &mut part.waits {
                wait.until = Mono(wait.until.since(now).0.min(old));
            }
            if let Some(reign) = &mut part.reign {
                age(&mut reign.since);
                reign.followers.values_mut().for_each(|follower| age(&mut follower.sent_at));
            }
            if let Some(bid) = &mut part.bid {
                age(&mut bid.since);
                age(&mut bid.sent_at);
            }
            let _ = write!(out, "{part:?}");
        }
        for (id, round) in rounds {
            let since: Span = now.since(round.began());
            let _ = write!(out, "{id}{}{:?}", since.0.min(old), round.asked());
        }
    }
}
