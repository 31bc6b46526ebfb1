//! What a node in strong mode can say of itself and of its cluster.

use crate::base::ids::Partition;
use crate::base::time::{Mono, Span};

use super::message::{Durable, Standing};
use super::regime::Configuration;
use super::roster::NodeName;
use super::succession::Succession;
use super::{Route, Strong};

impl Strong {
    /// Identity of the cluster whose roster this node has.
    pub fn cluster(&self) -> Option<u64> {
        let proposed = self.proposed.as_ref().map(|(standing, _)| standing.cluster);
        self.roster.as_ref().map(|roster| roster.standing.cluster).or(proposed)
    }

    /// The roster in force.
    pub fn standing(&self) -> Option<&Standing> {
        self.roster.as_ref().map(|roster| &roster.standing)
    }

    pub fn succession(&self) -> Option<&Succession> {
        self.roster.as_ref().map(|roster| &roster.succession)
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

    /// The master and members of the newest configuration known to be chosen.
    pub fn chosen(&self, of: Partition) -> &Configuration {
        &self.at(of).chosen
    }

    /// Whether this node serves a partition.
    pub fn serves(&self, of: Partition) -> bool {
        self.at(of).serves()
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
}
