//! Snapshots: they stand for the log's beginning, so that it does not grow for ever and a start does not read all that ever
//! was. One is made chunk by chunk beside everything else: partition by partition, each as it is met. The log is kept from
//! where the snapshot began, and is on the device up to its last chunk before the snapshot takes its place.

use bytes::Bytes;

use crate::base::fact::LogLevel;
use crate::base::ids::Lsn;
use crate::base::io::{Effect, Effects, Snap};
use crate::base::time::{Mono, Now, Span, Wall};
use crate::base::unit::{Cell, Change};
use crate::wal::frame;
use crate::wal::snapshot::{Piece, Place};
use crate::wire::args::Args;

use super::Node;
use super::server::Cx;

/// A frame with cells beyond this takes no more. (One value may have 512 MiB.)
const PART_BYTES_MAX: usize = 64 << 20;

/// After a failure none is begun by itself for so long; twice as long after each that follows.
const REST: Span = Span::from_secs(5);
const REST_DOUBLINGS_MAX: u32 = 8;

/// What is known of snapshots.
#[derive(Debug, Default)]
pub struct Snapshots {
    state: State,
    /// Somebody has asked for one that begins from now on.
    pub wanted: bool,
    /// When the latest one was done.
    pub saved: Option<Wall>,
    /// So many in a row have failed.
    pub failures: u32,
    /// The log's device has no room.
    pub no_room: bool,
    /// The first record that the latest one begun did not stand for.
    begun_at: Lsn,
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
                // It is given up for another.
                out.facts.sometimes("a snapshot began anew before its end");
                self.server.snapshots.wanted = true;
                if self.snapshot_is_due(now) {
                    self.begin_snapshot(now, out);
                }
            }
            State::Walking(walk) => self.go_on(walk, out),
            state @ (State::Syncing { .. } | State::Committing(_)) => {
                self.server.snapshots.state = state;
            }
        }
        if let State::Syncing { walk, through } = self.server.snapshots.state
            && self.data.journal.synced() >= through
        {
            out.push(Effect::SnapCommit);
            self.server.snapshots.state = State::Committing(walk);
        }
    }

    fn snapshot_is_due(&self, now: Now) -> bool {
        let snapshots = &self.server.snapshots;
        let least = self.server.config.limits.snapshot_log_bytes_min;
        let grown = snapshots.log_bytes >= least.max(snapshots.base_bytes);
        let is_due = snapshots.wanted || (grown && now.mono >= snapshots.not_before);
        // The log goes on in a file of its own from where one begins: that has to be there for certain before the next.
        let next = self.data.journal.last().next();
        let begun = snapshots.begun_at;
        let is_settled = begun == next || self.data.journal.synced() >= begun;
        is_due && is_settled && !self.data.journal.is_full()
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
        snapshots.begun_at = lsn;
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
        let from = walk.at;
        walk.at = next.map_or(END, |(db, partition)| Place { db, partition });
        // The last part says that all is there.
        let mut parts = parts_of(cells, PART_BYTES_MAX);
        let last = parts.pop().unwrap_or_default();
        let part = |cells| Piece::Chunk { lsn, end: from, cells };
        let mut pieces: Vec<Piece> = parts.into_iter().map(part).collect();
        pieces.push(Piece::Chunk { lsn, end: walk.at, cells: last });
        if walk.at == END {
            let store = &self.data.store;
            let collected = if store.is_alone() { 0 } else { store.collected() };
            pieces.push(Piece::Tail { lsn, collected });
        }
        self.put_pieces(walk, &pieces, out);
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
                snapshots.failures = 0;
                let text = format!("Snapshot written: {} bytes", walk.bytes);
                out.facts.log(LogLevel::Notice, text);
                out.facts.sometimes("a snapshot took the place of the log's beginning");
            }
            (Snap::Failed, state) => {
                if !matches!(state, State::Idle) {
                    let rest = Span(REST.0 << snapshots.failures.min(REST_DOUBLINGS_MAX));
                    snapshots.failures += 1;
                    snapshots.not_before = now.mono + rest;
                    let text = "The snapshot could not be written; the log goes on without it";
                    out.facts.log(LogLevel::Warning, text.to_owned());
                }
            }
            (Snap::Written | Snap::Committed, state) => snapshots.state = state,
        }
    }
}

/// Cells in their order, so many that a frame can hold them with any others beside.
fn parts_of(cells: Vec<Change>, bytes_max: usize) -> Vec<Vec<Change>> {
    let mut parts = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0);
    for change in cells {
        if bytes >= bytes_max {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += bytes_of(&change);
        part.push(change);
    }
    parts.push(part);
    parts
}

fn bytes_of(change: &Change) -> usize {
    let value = match &change.cell {
        Cell::Register { value, .. } => value.len(),
        Cell::Tombstone { .. }
        | Cell::Contribution { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone => 0,
    };
    change.key.len() + value
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
    if server.snapshots.no_room {
        return session.reply().error(NO_ROOM);
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
    if server.snapshots.no_room {
        return session.reply().error(NO_ROOM);
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

const NO_ROOM: &str = "ERR there is no room for a snapshot: the log's device is full";
const NO_LOG: &str = "ERR there is nothing to save into: the server runs with appendonly no";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::DbIndex;
    use crate::base::stamp::Stamp;
    use crate::base::unit::Seen;

    #[test]
    fn large_cells_come_in_parts_of_their_own() {
        let change = |size: usize| Change {
            db: DbIndex(0),
            key: Bytes::from_static(b"k"),
            stamp: Some(Stamp::ZERO),
            cell: Cell::Register {
                value: Bytes::from(vec![7; size]),
                resets: true,
                seen: Seen::default(),
            },
        };
        let cells = vec![change(10), change(10), change(99), change(0), change(100), change(100)];
        let parts = parts_of(cells.clone(), 100);
        let lengths: Vec<usize> = parts.iter().map(Vec::len).collect();
        assert_eq!(lengths, [3, 2, 1]);
        assert_eq!(parts.concat(), cells);
        assert_eq!(parts_of(Vec::new(), 100), [Vec::new()]);
    }
}
