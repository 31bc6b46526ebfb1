//! What active mode is told: directives, changes at run time, and what it needs of the node for a call.

use crate::base::clock::HybridClock;
use crate::base::ids::{Epoch, NodeId, Origin, RunId};
use crate::base::io::{Effects, HostPort};
use crate::base::limits::Limits;
use crate::base::mutant::Mutants;
use crate::base::time::{Now, Span};
use crate::store::Store;
use crate::wal::Journal;

/// What active mode is told by directives.
#[derive(Clone, Debug)]
pub struct ActiveConfig {
    pub active_replica: bool,
    pub multi_master: bool,
    pub replica_read_only: bool,
    pub masteruser: Option<String>,
    pub masterauth: Option<String>,
    pub replicaof: Vec<HostPort>,
    pub backlog_bytes: u64,
    pub repl_timeout: Span,
    pub max_clock_skew_ms: u64,
    /// The client port, told to peers for their INFO.
    pub port: u16,
    pub limits: Limits,
    pub mutants: Mutants,
}

/// Which life of which node this is.
#[derive(Copy, Clone, Debug)]
pub struct Life {
    pub node: NodeId,
    pub run: RunId,
    pub epoch: Epoch,
    pub origin: Origin,
}

/// What active mode needs of the node for one call.
pub struct Core<'a> {
    pub now: Now,
    pub store: &'a mut Store,
    pub clock: &'a mut HybridClock,
    /// What is to outlive the process.
    pub journal: &'a mut Journal,
    pub out: &'a mut Effects,
}

/// A change of the configured masters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplicaOf {
    Add(HostPort),
    NoOne,
    Remove(HostPort),
}

/// Why REPLICAOF changed nothing.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ReplicaOfError {
    /// Already a replica of this master.
    Already,
    /// REMOVE of a master that is not configured.
    Unknown,
}

/// A directive changed at run time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ActiveSetting {
    MasterUser(Option<String>),
    MasterAuth(Option<String>),
    BacklogBytes(u64),
    ReplTimeout(Span),
    MaxClockSkewMs(u64),
    ReplicaReadOnly(bool),
}
