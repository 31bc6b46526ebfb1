//! What a node in strong mode can say of itself and of its cluster.

use bytes::Bytes;

use crate::base::ids::Partition;
use crate::base::time::{Mono, Span};

use super::message::Durable;
use super::regime::Configuration;
use super::roster::NodeName;
use super::standing::{Standing, Under};
use super::succession::Succession;
use super::tail::Place;
use super::{Route, Strong};

impl Strong {
    /// Identity of the cluster whose roster this node has.
    pub fn cluster(&self) -> Option<u64> {
        let proposed = self.proposed.as_ref().map(|(standing, _)| standing.cluster);
        self.rosters.newest().map(|newest| newest.cluster).or(proposed)
    }

    /// The newest decision about the roster that is in force.
    pub fn standing(&self) -> Option<&Standing> {
        self.rosters.newest()
    }

    /// That of its roster.
    pub fn succession(&self) -> Option<&Succession> {
        self.rosters.succession()
    }

    /// Whether this node votes: its data directory is of a roster in force, and not an older one.
    pub fn may_vote(&self) -> bool {
        self.votes()
    }

    /// All nodes of the rosters in force, in the order of their names.
    pub fn nodes(&self) -> Vec<NodeName> {
        self.rosters.nodes()
    }

    /// The roster-replicas of a partition, the roster-master first, under the roster that it has come to.
    pub fn replicas(&self, of: Partition) -> Vec<NodeName> {
        let rule = self.rosters.rule(self.at(of).chosen.under);
        rule.map(|rule| rule.replicas(of).collect()).unwrap_or_default()
    }

    /// How many partitions do not yet stand under it alone.
    pub fn moving(&self) -> usize {
        self.partitions().filter(|&of| !self.has_arrived(of)).count()
    }

    pub fn name(&self) -> NodeName {
        self.config.name
    }

    pub fn partition_count(&self) -> u16 {
        self.config.partitions
    }

    pub fn write_timeout(&self) -> Span {
        self.config.write_timeout
    }

    /// Who serves a partition, as far as this node knows.
    pub fn master(&self, of: Partition, now: Mono) -> Option<NodeName> {
        match self.route(of, now) {
            Route::Here => Some(self.config.name),
            Route::Moved(name) => Some(name),
            Route::Wait | Route::Down(_) => None,
        }
    }

    /// Who is to serve a partition that nobody is known to serve: the master of the newest configuration, if it is heard. It
    /// may be about to.
    pub fn next_master(&self, of: Partition, now: Mono) -> Option<NodeName> {
        let master = self.at(of).chosen.master.filter(|name| *name != self.config.name)?;
        self.peers.get(&master).is_some_and(|p| p.up && self.is_fresh(p, now)).then_some(master)
    }

    /// The master and members of the newest configuration known to be chosen.
    pub fn chosen(&self, of: Partition) -> &Configuration {
        &self.at(of).chosen
    }

    /// Whether this node serves a partition.
    pub fn serves(&self, of: Partition) -> bool {
        self.at(of).serves()
    }

    /// Whether this node's copy is one of the newest configuration it knows to be chosen: what is committed there once
    /// was everywhere, however long ago.
    pub fn is_in_sync(&self, of: Partition) -> bool {
        self.at(of).chosen.member(self.config.name) == Some(&self.myself())
    }

    /// How many copies beside the master's have whatever is committed by a master that serves.
    pub fn copies(&self, of: Partition) -> usize {
        let part = self.at(of);
        part.reign.as_ref().map_or(0, |reign| reign.config.isr.len().saturating_sub(1))
    }

    /// Where the log of a partition stands that this node serves: its regime, and its last entry.
    pub fn stand(&self, of: Partition) -> Option<Place> {
        let part = self.at(of);
        let reign = part.reign.as_ref().filter(|reign| reign.serves)?;
        Some(Place { regime: reign.config.regime, index: part.tail.last().index })
    }

    /// Whether none of these keys has changed since the log of a partition, which this node serves, stood there. If that
    /// is not known any more it is no.
    pub fn is_unchanged(&self, of: Partition, since: Place, keys: &[Bytes]) -> bool {
        if self.stand(of).is_none_or(|stand| stand.regime != since.regime) {
            return false;
        }
        let changed = self.at(of).tail.changed_since(since.index);
        changed.is_some_and(|mut changed| !changed.any(|key| keys.contains(key)))
    }

    /// The keys that open entries of a partition change, some of them more than once.
    pub fn open_keys(&self, of: Partition) -> impl Iterator<Item = &Bytes> {
        self.at(of).tail.open_keys()
    }

    /// The replication factor of the roster in force.
    pub fn replication_factor(&self) -> u8 {
        self.standing().map_or(0, |standing| standing.now.roster.replication_factor())
    }

    /// For how long nothing has come from a node.
    pub fn silence(&self, name: NodeName, now: Mono) -> Span {
        self.peers.get(&name).map_or(Span(0), |peer| now.since(peer.last_heard))
    }

    /// How many rounds of reads and writes have begun since the start.
    pub fn rounds_begun(&self) -> u64 {
        self.next_round - 1
    }

    /// Whether a route may have changed since the last call.
    pub fn take_news(&mut self) -> bool {
        core::mem::take(&mut self.news)
    }

    /// A last record of a life that has ended in order: all before is durable.
    pub fn stopped(&mut self) {
        self.write_down(Durable::Stopped);
    }

    /// Whether a partition stands under the newest decision alone, or there is none.
    pub fn has_arrived(&self, of: Partition) -> bool {
        let there = |version| Under { version, joint: false } == self.at(of).chosen.under;
        self.rosters.newest().is_none_or(|newest| there(newest.version))
    }

    /// What a node thinks of a partition, for those who ask why it is not served.
    pub fn told(&self, of: Partition) -> String {
        let part = self.at(of);
        format!(
            "\n  {:?} {:?}, votes {:?}: promised {:?} to {:?}, chosen {:?} of {:?}, accepted {:?}, intact {:?}, {:?} committed {}, \
             serving {:?}, reign {:?}, bid {:?}, vacant {:?}, busy {}, heard {:?}, under {:?}, rosters {:?}",
            self.config.name,
            self.start,
            self.votes(),
            part.promised,
            part.promised_to,
            part.chosen.regime,
            part.chosen.isr.iter().map(|m| (m.name, m.start)).collect::<Vec<_>>(),
            part.accepted.iter().map(|p| p.config.regime).collect::<Vec<_>>(),
            part.intact,
            part.tail.last(),
            part.tail.committed(),
            part.serving,
            part.reign.as_ref().map(|r| (r.config.regime, r.serves, &r.followers)),
            part.bid,
            part.vacant_since,
            self.busy.contains(&of),
            self.heard.iter().map(|m| (m.name, m.start)).collect::<Vec<_>>(),
            part.chosen.under,
            self.rosters.all().map(|s| (s.version, s.change)).collect::<Vec<_>>(),
        )
    }
}
