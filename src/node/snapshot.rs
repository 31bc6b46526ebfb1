//! Snapshots: they stand for the log's beginning, so that it does not grow for ever and a start does not read all that ever
//! was. One is made chunk by chunk beside everything else: partition by partition, each as it is met. The log is kept from
//! where the snapshot began, and is on the device up to its last chunk before the snapshot takes its place.

use bytes::Bytes;

use crate::base::fact::LogLevel;
use crate::base::ids::Lsn;
use crate::base::io::{Effect, Effects, Snap};
use crate::base::time::{Mono, Now, Span, Wall};
use crate::base::unit::Change;
use crate::wal::frame;
use crate::wal::snapshot::{Piece, Place};
use crate::wire::args::Args;

use super::Node;
use super::server::Cx;

/// After a failure none is begun by itself for so long.
const REST: Span = Span::from_secs(5);

/// What is known of snapshots.
#[derive(Debug, Default)]
pub struct Snapshots {
    state: State,
    /// Somebody has asked for one that begins from now on.
    pub wanted: bool,
    /// When the latest one was done.
    pub saved: Option<Wall>,
    pub failed: bool,
    /// None is begun by itself before.
    not_before: Mono,
    /// Bytes of the latest snapshot, and of the log since it began.
    pub base_bytes: u64,
    pub log_bytes: u64,
    /// Writes made since the latest one began.
    pub changes: u64,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    /// Chunks are made.
    Walking(Walk),
    /// All chunks are written; the log has to be on the device up to here.
    Syncing { walk: Walk, through: Lsn },
    /// The driver puts it in its place.
    Committing(Walk),
}

#[derive(Copy, Clone, Debug)]
struct Walk {
    at: Place,
    /// The driver has yet to write the latest chunk.
    waits: bool,
    /// Of the journal, at its beginning.
    breaks: u64,
    log_bytes_before: u64,
    bytes: u64,
    changes_before: u64,
}

impl Snapshots {
    pub fn is_under_way(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// So many bytes went into the log.
    pub fn on_appended(&mut self, bytes: u64) {
        self.log_bytes += bytes;
    }
}

impl Node {
    /// Begins a snapshot if one is due, and goes on with one under way.
    pub(super) fn flush_snapshot(&mut self, now: Now, out: &mut Effects) {
        if !self.data.journal.is_on() || self.server.loading.is_some() {
            return;
        }
        match std::mem::take(&mut self.server.snapshots.state) {
            State::Idle if self.snapshot_is_due(now) => self.begin_snapshot(now, out),
            State::Idle => {}
            State::Walking(walk) if walk.waits => {
                self.server.snapshots.state = State::Walking(walk)
            }
            State::Walking(walk) if walk.breaks != self.data.journal.breaks() => {
                out.facts.sometimes("a snapshot began anew before its end");
                self.begin_snapshot(now, out);
            }
            State::Walking(walk) => self.go_on(walk, out),
            State::Syncing { walk, through } if self.data.journal.synced() >= through => {
                out.push(Effect::SnapCommit);
                self.server.snapshots.state = State::Committing(walk);
            }
            state @ (State::Syncing { .. } | State::Committing(_)) => {
                self.server.snapshots.state = state;
            }
        }
    }

    fn snapshot_is_due(&self, now: Now) -> bool {
        let snapshots = &self.server.snapshots;
        let least = self.server.config.limits.snapshot_log_bytes_min;
        let grown = snapshots.log_bytes >= least.max(snapshots.base_bytes);
        let is_due = snapshots.wanted || (grown && now.mono >= snapshots.not_before);
        is_due && !self.data.journal.is_full()
    }

    fn begin_snapshot(&mut self, now: Now, out: &mut Effects) {
        let lsn = self.data.journal.last().next();
        let (server, core) = self.core(now, out);
        let head = server.active.snapshot_head(lsn, &core);
        let snapshots = &mut self.server.snapshots;
        let walk = Walk {
            at: Place::default(),
            waits: true,
            breaks: self.data.journal.breaks(),
            log_bytes_before: snapshots.log_bytes,
            bytes: 0,
            changes_before: self.server.stats.units,
        };
        snapshots.wanted = false;
        out.push(Effect::SnapBegin { lsn });
        self.put_pieces(walk, &[Piece::Head(Box::new(head))], out);
    }

    /// Writes pieces and waits until they are written.
    fn put_pieces(&mut self, mut walk: Walk, pieces: &[Piece], out: &mut Effects) {
        let mut bytes = Vec::new();
        for piece in pieces {
            let start = frame::begin(&mut bytes);
            piece.put(&mut bytes);
            frame::finish(&mut bytes, start);
        }
        walk.bytes += bytes.len() as u64;
        walk.waits = true;
        out.push(Effect::SnapChunk { bytes: Bytes::from(bytes) });
        self.server.snapshots.state = State::Walking(walk);
    }

    fn go_on(&mut self, mut walk: Walk, out: &mut Effects) {
        let lsn = self.data.journal.last();
        if walk.at == END {
            // The tail is written, too.
            self.server.snapshots.state = State::Syncing { walk, through: lsn };
            return;
        }
        let budget = self.server.config.limits.snapshot_chunk_bytes;
        let mut cells: Vec<Change> = Vec::new();
        let next =
            self.data.store.walk_partitions((walk.at.db, walk.at.partition), budget, &mut cells);
        walk.at = next.map_or(END, |(db, partition)| Place { db, partition });
        let chunk = Piece::Chunk { lsn, end: walk.at, cells };
        if walk.at == END {
            let collected = self.data.store.collected();
            self.put_pieces(walk, &[chunk, Piece::Tail { lsn, collected }], out);
        } else {
            self.put_pieces(walk, &[chunk], out);
        }
    }

    pub(super) fn on_snap(&mut self, now: Now, snap: Snap, out: &mut Effects) {
        let snapshots = &mut self.server.snapshots;
        match (snap, std::mem::take(&mut snapshots.state)) {
            (Snap::Written, State::Walking(walk)) => {
                snapshots.state = State::Walking(Walk { waits: false, ..walk });
            }
            (Snap::Committed, State::Committing(walk)) => {
                snapshots.log_bytes -= walk.log_bytes_before;
                snapshots.base_bytes = walk.bytes;
                snapshots.changes = walk.changes_before;
                snapshots.saved = Some(now.wall);
                snapshots.failed = false;
                let text = format!("Snapshot written: {} bytes", walk.bytes);
                out.facts.log(LogLevel::Notice, text);
                out.facts.sometimes("a snapshot took the place of the log's beginning");
            }
            (Snap::Failed, state) => {
                if !matches!(state, State::Idle) {
                    snapshots.failed = true;
                    snapshots.not_before = now.mono + REST;
                    let text = "The snapshot could not be written; the log goes on without it";
                    out.facts.log(LogLevel::Warning, text.to_owned());
                }
            }
            (Snap::Written | Snap::Committed, state) => snapshots.state = state,
        }
    }
}

/// Behind all databases.
const END: Place = Place { db: u16::MAX, partition: 0 };

/// `BGSAVE [SCHEDULE]`.
pub fn background_save(cx: &mut Cx<'_>, args: Args<'_>) {
    let Cx { server, session, .. } = cx;
    let schedule = args.len() == 2 && args.get(1).eq_ignore_ascii_case(b"SCHEDULE");
    if args.len() > 1 && !schedule {
        return session.reply().error("ERR syntax error");
    }
    if !server.config.appendonly {
        return session.reply().error(NO_LOG);
    }
    if server.snapshots.is_under_way() && !schedule {
        return session.reply().error("ERR Background save already in progress");
    }
    server.snapshots.wanted = true;
    let under_way = server.snapshots.is_under_way();
    session.reply().simple(if under_way {
        "Background saving scheduled"
    } else {
        "Background saving started"
    });
}

/// `BGREWRITEAOF`.
pub fn rewrite_log(cx: &mut Cx<'_>) {
    let Cx { server, session, .. } = cx;
    if !server.config.appendonly {
        return session.reply().error(NO_LOG);
    }
    let under_way = server.snapshots.is_under_way();
    server.snapshots.wanted = true;
    session.reply().simple(if under_way {
        "Background append only file rewriting scheduled"
    } else {
        "Background append only file rewriting started"
    });
}

/// `LASTSAVE`: of the start if there was none since.
pub fn last_save(cx: &mut Cx<'_>) {
    let at = cx.server.snapshots.saved.unwrap_or(cx.server.started_wall);
    cx.session.reply().integer((at.0 / 1_000_000) as i64);
}

const NO_LOG: &str = "ERR there is nothing to save into: the server runs with appendonly no";
