//! Snapshots: they stand for the log's beginning, so that it does not grow for ever and a start does not read all that ever
//! was. One is made chunk by chunk beside everything else: partition by partition, each as it is met. The log is kept from
//! where the snapshot began, and is on the device up to its last chunk before the snapshot takes its place.
//!
//! Dumps (see `dump`) are made in the same way: one walk is under way at a time, for one of the two.

use bytes::Bytes;

use crate::base::fact::LogLevel;
use crate::base::ids::Lsn;
use crate::base::io::{Effect, Effects, Snap};
use crate::base::mutant::Mutant;
use crate::base::time::{Mono, Now, Span};
use crate::base::unit::{Cell, Change};
use crate::wal::frame;
use crate::wal::snapshot::{Piece, Place};

use super::dump::Dumps;
use super::server::Cx;
use super::{Data, Node};

/// A frame with cells beyond this takes no more. (One value may have 512 MiB.)
const PART_BYTES_MAX: usize = 64 << 20;

/// After a failure none is begun by itself for so long; twice as long after each that follows.
const REST: Span = Span::from_secs(5);
const REST_DOUBLINGS_MAX: u32 = 8;

/// What a walk over all partitions is for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// The place of the log's beginning.
    Log,
    Dump,
}

/// What is known of snapshots.
#[derive(Debug, Default)]
pub struct Snapshots {
    state: State,
    /// Somebody has asked for one that begins from now on.
    pub wanted: bool,
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
    pub dumps: Dumps,
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
pub(super) struct Walk {
    pub target: Target,
    pub at: Place,
    /// The driver has yet to write the latest chunk.
    pub waits: bool,
    /// Of the journal, at its beginning.
    pub breaks: u64,
    pub log_bytes_before: u64,
    pub bytes: u64,
}

impl State {
    fn walk(&self) -> Option<&Walk> {
        match self {
            State::Idle => None,
            State::Walking(walk) | State::Syncing { walk, .. } | State::Committing(walk) => {
                Some(walk)
            }
        }
    }
}

impl Snapshots {
    pub fn new(now: Mono) -> Snapshots {
        Snapshots { dumps: Dumps::new(now), ..Snapshots::default() }
    }

    /// What a walk is under way for.
    pub(super) fn target(&self) -> Option<Target> {
        self.state.walk().map(|walk| walk.target)
    }

    pub fn is_under_way(&self) -> bool {
        self.target() == Some(Target::Log)
    }

    /// The walk goes on once the driver has written the latest chunk.
    pub(super) fn become_walking(&mut self, walk: Walk) {
        self.state = State::Walking(Walk { waits: true, ..walk });
    }

    pub(super) fn become_committing(&mut self, walk: Walk) {
        self.state = State::Committing(walk);
    }

    /// So many bytes went into the log.
    pub fn on_appended(&mut self, bytes: u64) {
        self.log_bytes += bytes;
    }
}

impl Node {
    /// Begins a snapshot or a dump if one is due, and goes on with the one under way.
    pub(super) fn flush_snapshot(&mut self, now: Now, out: &mut Effects) {
        if self.server.loading.is_some() {
            return;
        }
        match std::mem::take(&mut self.server.snapshots.state) {
            State::Idle => self.begin_what_is_due(now, out),
            State::Walking(walk) if walk.waits => {
                self.server.snapshots.state = State::Walking(walk)
            }
            State::Walking(walk) if walk.breaks != self.data.journal.breaks() => {
                // It is given up for another.
                match walk.target {
                    Target::Log => {
                        out.facts.sometimes("a snapshot began anew before its end");
                        self.server.snapshots.wanted = true;
                    }
                    Target::Dump => self.server.snapshots.dumps.wanted = true,
                }
                self.begin_what_is_due(now, out);
            }
            State::Walking(walk) => match walk.target {
                Target::Log => self.go_on(walk, out),
                Target::Dump => self.go_on_with_dump(now, walk, out),
            },
            state @ (State::Syncing { .. } | State::Committing(_)) => {
                self.server.snapshots.state = state;
            }
        }
        let switches_early = self.server.config.mutants.has(Mutant::SnapshotSwitchedUnsynced);
        if let State::Syncing { walk, through } = self.server.snapshots.state
            && (self.data.journal.synced() >= through || switches_early)
        {
            out.push(Effect::SnapCommit);
            self.server.snapshots.state = State::Committing(walk);
        }
    }

    fn begin_what_is_due(&mut self, now: Now, out: &mut Effects) {
        if self.dump_is_due(now) {
            self.begin_dump(now, out);
        } else if self.data.journal.is_on() && self.snapshot_is_due(now) {
            self.begin_snapshot(now, out);
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
        let head = self.snapshot_begins(now, lsn, out);
        let snapshots = &mut self.server.snapshots;
        let walk = Walk {
            target: Target::Log,
            at: Place::default(),
            waits: true,
            breaks: self.data.journal.breaks(),
            log_bytes_before: snapshots.log_bytes,
            bytes: 0,
        };
        snapshots.wanted = false;
        snapshots.begun_at = lsn;
        out.push(Effect::SnapBegin { lsn });
        self.put_pieces(walk, &[head], out);
    }

    fn snapshot_begins(&mut self, now: Now, lsn: Lsn, out: &mut Effects) -> Piece {
        let (server, core) = self.core(now, out);
        match &server.strong {
            Some(strong) => strong.snapshot_begins(lsn),
            None => Piece::Head(Box::new(server.active.snapshot_head(lsn, &core))),
        }
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
        out.push(Effect::SnapChunk { bytes: Bytes::from(bytes) });
        self.server.snapshots.become_walking(walk);
    }

    fn go_on(&mut self, mut walk: Walk, out: &mut Effects) {
        let lsn = self.data.journal.last();
        if walk.at == END {
            // The tail is written, too.
            self.server.snapshots.state = State::Syncing { walk, through: lsn };
            return;
        }
        let budget = self.server.config.limits.snapshot_chunk_bytes;
        if let Some(strong) = &mut self.server.strong {
            let Data { store, clock, .. } = &mut self.data;
            let (pieces, next) =
                strong.snapshot_parts(walk.at.partition, budget, lsn, store, clock);
            walk.at = next.map_or(END, |partition| Place { db: 0, partition });
            return self.put_pieces(walk, &pieces, out);
        }
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

    pub(super) fn on_snap(&mut self, now: Now, target: Target, snap: Snap, out: &mut Effects) {
        let snapshots = &mut self.server.snapshots;
        if snapshots.target() != Some(target) {
            return;
        }
        match (snap, std::mem::take(&mut snapshots.state)) {
            (Snap::Written, State::Walking(walk)) => {
                snapshots.state = State::Walking(Walk { waits: false, ..walk });
            }
            (Snap::Committed, State::Committing(walk)) => match target {
                Target::Log => {
                    snapshots.log_bytes -= walk.log_bytes_before;
                    snapshots.base_bytes = walk.bytes;
                    snapshots.failures = 0;
                    let text = format!("Snapshot written: {} bytes", walk.bytes);
                    out.facts.log(LogLevel::Notice, text);
                    out.facts.sometimes("a snapshot took the place of the log's beginning");
                }
                Target::Dump => self.end_dump(now, Some(walk.bytes), out),
            },
            (Snap::Failed, _) => match target {
                Target::Log => {
                    snapshots.not_before = now.mono + rest_after(snapshots.failures);
                    snapshots.failures += 1;
                    out.facts.sometimes("a snapshot could not be written");
                    let text = "The snapshot could not be written; the log goes on without it";
                    out.facts.log(LogLevel::Warning, text.to_owned());
                }
                Target::Dump => self.end_dump(now, None, out),
            },
            (Snap::Written | Snap::Committed, state) => snapshots.state = state,
        }
    }
}

/// How long nothing is begun by itself after one more failure than so many in a row.
pub(super) fn rest_after(failures: u32) -> Span {
    Span(REST.0 << failures.min(REST_DOUBLINGS_MAX))
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
        Cell::Element { name, part, .. } => name.len() + part.sizes().0,
        Cell::Kind { .. }
        | Cell::Tombstone { .. }
        | Cell::Contribution { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone => 0,
    };
    change.key.len() + value
}

/// Behind all databases.
pub(super) const END: Place = Place { db: u16::MAX, partition: 0 };

/// `BGREWRITEAOF`.
pub fn rewrite_log(cx: &mut Cx<'_>) {
    let Cx { server, session, .. } = cx;
    if !server.config.appendonly {
        return session.reply().error(NO_LOG);
    }
    if server.snapshots.no_room {
        return session.reply().error(NO_ROOM);
    }
    let waits = server.snapshots.target().is_some();
    server.snapshots.wanted = true;
    session.reply().simple(if waits {
        "Background append only file rewriting scheduled"
    } else {
        "Background append only file rewriting started"
    });
}

const NO_ROOM: &str = "ERR there is no room for a snapshot: the log's device is full";
const NO_LOG: &str = "ERR there is no log to rewrite: the server runs with appendonly no";

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
