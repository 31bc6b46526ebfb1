//! Floor 3: the node: sessions, dispatch, timers, INFO.

pub mod config;
pub mod io;

use crate::base::ids::{DbIndex, Origin};
use crate::base::io::{Effects, Input};
use crate::base::time::{Mono, Now};
use crate::base::vector::Vector;
use crate::store::StoreStats;

use self::config::Config;

/// How much [`Node::check_invariants`] looks at.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    Touched,
    All,
}

/// What a checker or a test may see of a node's inside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspection {
    /// Digest of the live data: equal exactly if two nodes show the same.
    pub digest: u64,
    pub vector: Vector,
    pub origin: Origin,
    /// The stamp time up to which tombstones have been collected.
    pub collected: u64,
    pub backlog_bytes: u64,
    pub stats: StoreStats,
    /// Masters configured and masters whose link is up and not in a resync.
    pub masters: usize,
    pub masters_up: usize,
    /// Origins paused for stamps too far ahead.
    pub paused: Vec<Origin>,
}

/// One key as a client would see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VisibleKey {
    pub db: DbIndex,
    pub key: bytes::Bytes,
    pub value: bytes::Bytes,
    pub deadline: Option<crate::base::time::UnixMs>,
}

/// A server without I/O.
pub struct Node {
    _config: Config,
}

impl Node {
    /// A node at its start. `seed` feeds everything random in it.
    pub fn new(config: Config, _seed: u64, _now: Now) -> Node {
        Node { _config: config }
    }

    /// Takes one input and says what the driver has to do. Never fails.
    pub fn handle(&mut self, _now: Now, _input: Input<'_>, _out: &mut Effects) {
        unimplemented!()
    }

    /// End of a batch of inputs: replies and frames gathered meanwhile leave.
    pub fn flush(&mut self, _now: Now, _out: &mut Effects) {
        unimplemented!()
    }

    /// When [`Input::Timeout`] is wanted next.
    pub fn poll_timeout(&self) -> Option<Mono> {
        unimplemented!()
    }

    /// # Panics
    /// If a named invariant does not hold.
    pub fn check_invariants(&self, _scope: Scope) {
        unimplemented!()
    }

    /// For checkers and tests.
    pub fn inspect(&self, _now: Now) -> Inspection {
        unimplemented!()
    }

    /// All live keys in the order of (database, key), as clients would see them at `now`.
    pub fn visible(&self, _now: Now) -> Vec<VisibleKey> {
        unimplemented!()
    }
}
