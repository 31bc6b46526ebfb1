//! What all sessions share, apart from the data.

use crate::active::Active;
use crate::base::ids::RunId;
use crate::base::io::HostStats;
use crate::base::rng::Rng;
use crate::base::stamp::Stamp;
use crate::base::time::{Mono, Now, Wall};
use crate::store::Store;

use super::config::Config;
use super::recovery::Loading;
use super::session::Session;
use super::shutdown::Stopping;
use super::snapshot::Snapshots;
use super::strong::StrongNode;
use super::watch::WatchTable;

/// Bytes of answers that a client which has yet to authenticate may leave unread.
pub const UNAUTHENTICATED_UNREAD_BYTES_MAX: usize = 1 << 10;
/// Bytes of answers to one batch of its commands beside these: Redis's reply buffer.
pub const UNAUTHENTICATED_BATCH_BYTES_MAX: usize = 16 << 10;

/// Configuration, the mode, counters. The data is beside it, so that a command can hold both.
#[derive(Debug)]
pub struct Server {
    pub config: Config,
    /// What commands draw that choose at random.
    pub rng: Rng,
    /// The configuration before CONFIG SET, until the change has been passed on.
    pub config_before: Option<Config>,
    pub active: Active,
    /// Strong mode, if that is on: active mode stands by itself then.
    pub strong: Option<Box<StrongNode>>,
    pub watch: WatchTable,
    pub run_id: RunId,
    pub started: Mono,
    pub started_wall: Wall,
    pub host: HostStats,
    pub stats: Stats,
    /// When an HTTP request was last said to be an attack.
    pub attack_said: Option<Mono>,
    pub stopping: Option<Stopping>,
    /// The log is still being read.
    pub loading: Option<Box<Loading>>,
    pub snapshots: Snapshots,
}

/// Counters for INFO.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub connections_received: u64,
    pub connections_rejected: u64,
    pub commands_processed: u64,
    pub input_bytes: u64,
    pub output_bytes: u64,
    /// Units made here.
    pub units: u64,
    pub query_limit_disconnections: u64,
    pub output_limit_disconnections: u64,
    pub used_bytes_peak: u64,
    /// Connections open now, links of peers included.
    pub clients: u64,
    pub clients_blocked: u64,
    pub next_client_id: u64,
}

/// What a command about the session or the server gets. The data can be looked at, not changed.
pub struct Cx<'a> {
    pub server: &'a mut Server,
    pub session: &'a mut Session,
    pub store: &'a Store,
    pub now: Now,
}

impl Server {
    /// A replica that does not take part as an equal: it follows its masters.
    pub fn is_plain_replica(&self) -> bool {
        !self.config.active_replica && self.active.masters() > 0
    }

    /// How many others have what a client wrote, up to `dot` in active mode: what WAIT answers.
    pub fn acked_by(&self, session: &Session, dot: Stamp) -> u64 {
        match &self.strong {
            Some(strong) => strong.copies_of(&session.cluster.writes),
            None => self.active.replicas_acked(dot) as u64,
        }
    }

    /// Bytes of answers, within one batch, after which this client is given up.
    #[inline]
    pub fn output_bytes_max(&self, session: &Session) -> usize {
        if self.asks_password_of(session) {
            return UNAUTHENTICATED_BATCH_BYTES_MAX + UNAUTHENTICATED_UNREAD_BYTES_MAX;
        }
        match self.config.client_output_bytes_max {
            0 => usize::MAX,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        }
    }

    /// Whether the client has yet to authenticate.
    #[inline]
    pub fn asks_password_of(&self, session: &Session) -> bool {
        !session.authenticated && self.config.wants_password()
    }
}
