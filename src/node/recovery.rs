//! The start of a node that keeps a log: it reads what earlier lives have left, and answers `-LOADING` meanwhile. And what
//! the log's device says later: synced, failed, full, room again.

use crate::active::{NoSnapshot, Replay};
use crate::base::fact::LogLevel;
use crate::base::ids::Lsn;
use crate::base::io::{DiskError, Effect, Effects, Input, Recover};
use crate::base::mutant::Mutant;
use crate::base::time::Now;
use crate::wal::snapshot::Piece;
use crate::wal::{Journal, Record};

use super::Node;

pub(super) const LOADING: &str = "LOADING Quorate is loading the dataset in memory";
/// What a write is told while there is no room for it; Redis's words.
pub(super) const NO_ROOM: &str = "MISCONF Errors writing to the AOF file: No space left on device";

/// The log is being read.
#[derive(Debug, Default)]
pub struct Loading {
    replay: Replay,
    pub records: u64,
    pub bytes: u64,
    snapshot_bytes: u64,
}

impl Node {
    pub(super) fn on_recover(&mut self, now: Now, recover: Recover<'_>, out: &mut Effects) {
        let Some(loading) = &mut self.server.loading else { return };
        match recover {
            Recover::Piece(contents) => {
                loading.bytes += contents.len() as u64;
                loading.snapshot_bytes += contents.len() as u64;
                let piece = Piece::read(contents).map_err(|_| NoSnapshot);
                if self.server.strong.is_some() {
                    return self.restore_strong(now, piece, out);
                }
                if let Ok(Piece::Strong { .. }) = piece {
                    return self.refuse_mode("strong", out);
                }
                let store = &mut self.data.store;
                if piece.and_then(|piece| loading.replay.restore(piece, store)).is_err() {
                    self.refuse_snapshot(out);
                }
            }
            Recover::Done { .. } if loading.replay.lacks_records() => {
                let reason = "the log ends before what the snapshot shows: a part of it is \
                              missing; restore the data directory from a backup, or move it away";
                out.push(Effect::Halt { code: 1, reason: reason.to_owned() });
                self.halted = true;
            }
            Recover::Record(_) | Recover::Done { .. } if loading.replay.is_torn() => {
                self.refuse_snapshot(out);
            }
            Recover::Record(_) | Recover::Done { .. }
                if self.server.strong.as_ref().is_some_and(|strong| strong.is_torn()) =>
            {
                self.refuse_snapshot(out);
            }
            Recover::Record(contents) => match Record::read(contents) {
                Ok(record) if self.server.strong.is_some() => {
                    loading.records += 1;
                    loading.bytes += contents.len() as u64;
                    self.recover_strong(now, record, out);
                }
                Ok(Record::Strong(_)) => self.refuse_mode("strong", out),
                Ok(record) => {
                    loading.records += 1;
                    loading.bytes += contents.len() as u64;
                    loading.replay.apply(record, &mut self.data.store);
                }
                Err(_) => {
                    let reason = "the log holds a record that this version cannot read".to_owned();
                    out.push(Effect::Halt { code: 1, reason });
                    self.halted = true;
                }
            },
            Recover::Done { next } => self.end_recovery(now, next, out),
        }
    }

    fn restore_strong(&mut self, now: Now, piece: Result<Piece, NoSnapshot>, out: &mut Effects) {
        let (lsn, contents) = match piece {
            Ok(Piece::Strong { lsn, contents }) => (lsn, contents),
            Ok(Piece::Head(_) | Piece::Chunk { .. } | Piece::Tail { .. }) => {
                return self.refuse_mode("active", out);
            }
            Err(_) => return self.refuse_snapshot(out),
        };
        let (server, mut core) = self.core(now, out);
        let Some(strong) = server.strong.as_deref_mut() else { return };
        if strong.restore(lsn, &contents, &mut core).is_err() {
            self.refuse_snapshot(out);
        }
    }

    fn recover_strong(&mut self, now: Now, record: Record, out: &mut Effects) {
        if let Some(strong) = &mut self.server.strong {
            strong.reads_record();
        }
        let contents = match record {
            Record::Strong(contents) => contents,
            Record::Synced { .. } => return,
            Record::Start { .. }
            | Record::Met
            | Record::Unit(_)
            | Record::Cells(_)
            | Record::Vector(_)
            | Record::Collected(_)
            | Record::Inherited(_)
            | Record::TakenOver
            | Record::Epoch { .. }
            | Record::Moved { .. }
            | Record::Dropped
            | Record::Forgotten { .. } => return self.refuse_mode("active", out),
        };
        let (server, mut core) = self.core(now, out);
        let Some(strong) = server.strong.as_deref_mut() else { return };
        if strong.recover(&contents, &mut core).is_err() {
            let reason = "the log holds a record that this version cannot read".to_owned();
            out.push(Effect::Halt { code: 1, reason });
            self.halted = true;
        }
    }

    fn refuse_mode(&mut self, mode: &str, out: &mut Effects) {
        let reason = format!(
            "the log in this directory is one of {mode} mode: start with the mode it was written in, or with \
             another directory"
        );
        out.push(Effect::Halt { code: 1, reason });
        self.halted = true;
    }

    fn refuse_snapshot(&mut self, out: &mut Effects) {
        let reason = "the snapshot is damaged, or of another version".to_owned();
        out.push(Effect::Halt { code: 1, reason });
        self.halted = true;
    }

    fn end_recovery(&mut self, now: Now, next: Lsn, out: &mut Effects) {
        let Some(loading) = self.server.loading.take() else { return };
        let keeps_log = self.server.config.appendonly;
        if keeps_log {
            self.data.journal = Journal::open(self.server.config.appendfsync, next);
        }
        if let Some(strong) = &mut self.server.strong {
            self.data.store.set_alone(true);
            strong.begin(self.server.config.appendfsync, now.mono);
        } else {
            let (server, mut core) = self.core(now, out);
            server.active.resume(loading.replay, &mut core);
        }
        let keys = self.data.store.stats().keys;
        let text = match keeps_log {
            true => format!("DB loaded from the log: {} records, {keys} keys", loading.records),
            false => format!("DB loaded from the dump: {keys} keys"),
        };
        out.facts.log(LogLevel::Notice, text);
        self.server.snapshots.base_bytes = loading.snapshot_bytes;
        self.server.snapshots.log_bytes = loading.bytes - loading.snapshot_bytes;
    }

    /// Up to `through` everything is on the device: what waited for that leaves at the end of the input.
    pub(super) fn on_synced(&mut self, through: Lsn) {
        self.data.journal.on_synced(through);
        self.server.active.on_synced(through);
        if let Some(strong) = &mut self.server.strong {
            strong.on_synced(through);
        }
    }

    pub(super) fn on_disk_failed(&mut self, why: DiskError, out: &mut Effects) {
        match why {
            DiskError::Full => {
                if !self.data.journal.is_full() {
                    out.facts.sometimes("the log's device was full");
                    let text = "The log's device is full: writes are refused until there is room";
                    out.facts.log(LogLevel::Warning, text);
                }
                self.data.journal.on_full();
                self.server.snapshots.no_room = true;
            }
            DiskError::Failed => {
                out.facts.sometimes("the log could not be brought onto its device");
                // What a failed sync leaves nobody can know, and another would tell nothing.
                let reason = "the log cannot be brought onto its device".to_owned();
                out.push(Effect::Halt { code: 1, reason });
                self.halted = true;
            }
        }
    }

    pub(super) fn on_disk_room(&mut self, out: &mut Effects) {
        if self.data.journal.is_full() {
            out.facts.sometimes("the log's device had room again");
            out.facts.log(LogLevel::Notice, "The log's device has room again: writes go on");
            self.data.journal.on_room();
            self.server.snapshots.no_room = false;
        }
    }

    /// The end of the process has been asked for and waits for the log.
    pub(super) fn on_input_after_halt(&mut self, input: &Input<'_>, out: &mut Effects) {
        match *input {
            Input::Synced { through } => {
                self.on_synced(through);
                self.hold.release(through, out);
            }
            Input::DiskFailed { why } => self.on_disk_failed(why, out),
            Input::DiskRoom => self.on_disk_room(out),
            Input::Shutdown { .. } if !self.hold.is_empty() => {
                let reason = "told to end at once, the log is not on its device".to_owned();
                out.push(Effect::Halt { code: 1, reason });
            }
            Input::Opened { .. }
            | Input::DialFailed { .. }
            | Input::Refused
            | Input::Bytes { .. }
            | Input::Drained { .. }
            | Input::Closed { .. }
            | Input::Host(_)
            | Input::Shutdown { .. }
            | Input::PastStored { .. }
            | Input::Snap(_)
            | Input::Dump(_)
            | Input::Recover(_)
            | Input::Timeout => {}
        }
    }

    /// What was put into the log leaves for it, before anything that tells of it; and a sync if one is due.
    pub(super) fn flush_journal(&mut self, now: Now, out: &mut Effects) {
        if !self.data.journal.is_on() {
            return;
        }
        if let Some((lsn, records)) = self.data.journal.take() {
            self.server.snapshots.on_appended(records.len() as u64);
            out.push(Effect::Append { lsn, records });
        }
        // In strong mode it is known at the end of the batch whether anything waits for one.
        if self.server.strong.is_none() || self.halted {
            self.sync_if_due(now, out);
        }
    }

    /// In strong mode much is written down that nobody waits for, such as how far entries are committed.
    pub(super) fn sync_if_awaited(&mut self, now: Now, out: &mut Effects) {
        let Some(strong) = &self.server.strong else { return };
        let awaited = !self.hold.is_empty() || strong.mesh.strong.awaits_device();
        self.data.journal.set_awaited(awaited);
        self.sync_if_due(now, out);
    }

    fn sync_if_due(&mut self, now: Now, out: &mut Effects) {
        if let Some(through) = self.data.journal.take_sync(now.mono) {
            out.push(Effect::Sync { through });
            let (server, mut core) = self.core(now, out);
            server.active.on_sync_asked(through, &mut core);
        }
    }

    /// What was asked for behind the first `before` effects waits, if it must; what need not wait any more leaves.
    #[inline]
    pub(super) fn hold_back(&mut self, before: usize, out: &mut Effects) {
        let ahead = self.server.config.mutants.has(Mutant::AckBeforeSync);
        let until = self.data.journal.holds().filter(|_| !ahead);
        if until.is_none() && self.hold.is_empty() {
            return;
        }
        // Without room for writes, reads go on for those who do not wait for a write of theirs. An acknowledgement to
        // a peer always waits.
        let (is_full, active) = (self.data.journal.is_full(), &self.server.active);
        let mesh = self.server.strong.as_ref().map(|strong| &strong.mesh);
        let is_peer = |conn| active.owns(conn) || mesh.is_some_and(|mesh| mesh.owns(conn));
        // In strong mode nothing is committed, and no client told, before it is on this device, too: nothing else that is
        // written down has to be there for that, but what comes first.
        let clients_pass = mesh.map_or(is_full, |_| !self.data.journal.has_barrier());
        self.hold.take(before, until, |conn| clients_pass && !is_peer(conn), out);
        self.hold.release(self.data.journal.synced(), out);
    }
}
