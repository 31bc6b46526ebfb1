//! Directives: redis.conf's names, from a file, from flags and by CONFIG SET.

use crate::base::ids::{Epoch, NodeId};
use crate::base::io::HostPort;
use crate::base::limits::Limits;
use crate::base::mutant::Mutants;

/// Who a node is; kept beside its data by the driver, which counts the epoch up (durably) before every start.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub node_id: NodeId,
    /// Number of this start, from 1.
    pub epoch: Epoch,
}

/// Everything a node is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    pub identity: Identity,
    pub limits: Limits,
    pub mutants: Mutants,
    pub port: u16,
    pub bind: Vec<String>,
    pub dir: String,
    pub protected_mode: bool,
    pub requirepass: Option<String>,
    pub masteruser: Option<String>,
    pub masterauth: Option<String>,
    /// `replicaof HOST PORT`, in the order given.
    pub replicaof: Vec<HostPort>,
    pub active_replica: bool,
    pub multi_master: bool,
    pub replica_read_only: bool,
    pub databases: u16,
    pub repl_backlog_bytes: u64,
    pub repl_timeout_secs: u64,
    pub max_clock_skew_ms: u64,
    pub maxclients: u32,
    pub timeout_secs: u32,
    pub tcp_keepalive_secs: u32,
    pub proto_max_bulk_bytes: usize,
}
