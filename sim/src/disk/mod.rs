//! A host's disk: carries out what a log and its snapshots ask for, one request after the other and each in its
//! own time, and gives back what survives the end of the process or of the power.
//!
//! It has no clock and draws what it draws from the choice stream. A driver hands it the effects `Append`, `Sync`,
//! `SnapBegin`, `SnapChunk` and `SnapCommit` of the boundary as [`Request`]s, looks again at [`Disk::poll`], and
//! hands the [`Report`]s to the process as inputs. At a start the process gets [`Disk::recover`].

mod file;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
pub use quorate::base::ids::Lsn;
use quorate::base::time::Span;

use crate::decide::{Decisions, Kind};
use crate::link::Latency;
use crate::time::Time;

use file::File;

/// What a process asks its disk for. Requests are carried out in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Writes a record at the end of the log: into the page cache.
    Append { lsn: Lsn, record: Bytes },
    /// Everything appended before this must be on the device; answered with [`Report::Synced`].
    Sync { through: Lsn },
    /// Begins a snapshot that stands for all records before `lsn`. One that is under way is given up.
    SnapBegin { lsn: Lsn },
    /// More of the snapshot; answered with [`Report::SnapWritten`].
    SnapChunk { bytes: Bytes },
    /// Puts the snapshot on the device and in the place of the last one, and gives the records before it back.
    SnapCommit,
}

/// What a process is told.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// As far as was asked for, or as far as records were written at all.
    Synced { through: Lsn },
    /// The request was not carried out; see [`DiskError`].
    Failed { why: DiskError },
    /// There is room again for what did not fit.
    Room,
    /// More of the snapshot is written.
    SnapWritten,
    /// The snapshot stands in the place of the last one.
    SnapCommitted,
    /// The snapshot does not fit, or cannot be brought onto the device: it is given up.
    SnapFailed,
}

/// Why a request was not carried out.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// The record or chunk does not fit; nothing of it was written. Nothing else is appended before
    /// [`Report::Room`]; a snapshot under way is given up.
    Full,
    /// fsync failed: what was appended since the last one may be lost although it can still be read, and syncing
    /// again does not help. A snapshot that was to be committed is given up.
    SyncFailed,
}

/// What the disk is like while it is well.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DiskConfig {
    /// A write into the page cache.
    pub append: Latency,
    /// An fsync, besides the time for its bytes.
    pub sync: Latency,
    /// Zero: unlimited.
    pub bytes_per_sec: u64,
    pub capacity_bytes: u64,
}

/// Faults that last until they are taken away.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct DiskFaults {
    /// Every request takes so many times longer, besides its own time. Zero: none.
    pub slower_by: u32,
    /// fsyncs in a million that fail.
    pub sync_fails_ppm: u32,
}

/// What a process finds at its start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// The last snapshot that was committed, and the first record after it.
    pub snapshot: Option<(Lsn, Bytes)>,
    /// The log as it is there: the tail may be torn, anything in it may have rotted.
    pub log: Bytes,
}

/// What is on the device at some time, to be brought back later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    log: File,
    marks: VecDeque<Mark>,
    snapshot: Option<Snapshot>,
}

/// Where a record is in the log.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Mark {
    lsn: Lsn,
    from: u64,
    to: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Snapshot {
    /// The first record that it does not stand for.
    lsn: Lsn,
    bytes: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Pending {
    begins: Time,
    ends: Time,
    request: Request,
}

/// The disk of one host.
#[derive(Clone, Debug)]
pub struct Disk {
    config: DiskConfig,
    pub faults: DiskFaults,
    log: File,
    /// Of the records that are in the log as a whole, in order.
    marks: VecDeque<Mark>,
    /// The last record that was written, also if a snapshot stands for it by now.
    written: Lsn,
    snapshot: Option<Snapshot>,
    /// Being written, in a file of its own.
    draft: Option<Snapshot>,
    queue: VecDeque<Pending>,
    /// Bytes that the next sync will have to write, once the queue is carried out.
    unsynced_bytes: u64,
    /// What did not fit.
    wanted_bytes: Option<u64>,
    /// What a process that waits for its writes found no room for, in order; of the first so many bytes are written.
    unwritten: VecDeque<(Lsn, Bytes)>,
    begun_bytes: u64,
    reports: VecDeque<Report>,
}

impl DiskConfig {
    /// A solid-state disk of a server.
    pub const fn ssd() -> DiskConfig {
        DiskConfig {
            append: Latency {
                base: Span(5_000),
                jitter: Span(5_000),
                tail_ppm: 100,
                tail: Span(2_000_000),
            },
            sync: Latency {
                base: Span(300_000),
                jitter: Span(400_000),
                tail_ppm: 5_000,
                tail: Span(30_000_000),
            },
            bytes_per_sec: 500 << 20,
            capacity_bytes: 1 << 40,
        }
    }
}

impl Disk {
    /// An empty disk.
    pub fn new(config: DiskConfig) -> Disk {
        Disk {
            config,
            faults: DiskFaults::default(),
            log: File::default(),
            marks: VecDeque::new(),
            written: Lsn(0),
            snapshot: None,
            draft: None,
            queue: VecDeque::new(),
            unsynced_bytes: 0,
            wanted_bytes: None,
            unwritten: VecDeque::new(),
            begun_bytes: 0,
            reports: VecDeque::new(),
        }
    }

    /// Takes a request; it will be carried out after those before it.
    pub fn submit(&mut self, now: Time, request: Request, decisions: &mut Decisions) {
        let begins = self.queue.back().map_or(now, |last| last.ends.max(now));
        let takes = self.time_of(&request, decisions);
        match &request {
            Request::Append { record, .. } => self.unsynced_bytes += record.len() as u64,
            Request::SnapChunk { bytes } => self.unsynced_bytes += bytes.len() as u64,
            Request::Sync { .. } | Request::SnapCommit => self.unsynced_bytes = 0,
            Request::SnapBegin { .. } => {}
        }
        self.queue.push_back(Pending { begins, ends: begins + takes, request });
    }

    /// Writes a record into the page cache at once, as a process does that waits for its write.
    ///
    /// # Errors
    /// If there is no room: as much as there is room for is written, and the rest when there is, before anything else.
    pub fn append_now(&mut self, lsn: Lsn, record: &[u8]) -> Result<(), DiskError> {
        let bytes = record.len() as u64;
        if self.unwritten.is_empty() && self.fits(bytes) {
            self.unsynced_bytes += bytes;
            self.append(lsn, record);
            return Ok(());
        }
        if self.unwritten.is_empty() {
            self.begun_bytes = self.config.capacity_bytes.saturating_sub(self.used_bytes());
            self.log.append(&record[..self.begun_bytes as usize]);
            self.reports.push_back(Report::Failed { why: DiskError::Full });
        }
        self.unwritten.push_back((lsn, Bytes::copy_from_slice(record)));
        Err(DiskError::Full)
    }

    /// Whether something waits for room.
    pub fn is_full(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Whether nothing was ever asked for.
    pub fn is_unused(&self) -> bool {
        self.written == Lsn(0) && self.queue.is_empty() && self.log.bytes().is_empty()
    }

    /// A process that has read the log brings all of it onto the device before it goes on, and writes again for that what
    /// lies so many bytes behind its beginning: the kernel may take it for written although a sync has failed.
    pub fn sync_now(&mut self, again_from: u64) {
        self.log.write_again(self.log.start() + again_from);
        self.log.sync(self.log.end());
        self.unsynced_bytes = 0;
    }

    /// When there is something to be told: the time of the next call of [`Disk::advance`].
    pub fn poll(&self) -> Option<Time> {
        if self.reports.is_empty() { self.queue.front().map(|p| p.ends) } else { Some(Time::ZERO) }
    }

    /// Carries out what is done by `now`; what the process is to be told, in order.
    pub fn advance(&mut self, now: Time, decisions: &mut Decisions) -> Vec<Report> {
        while let Some(pending) = self.queue.front()
            && pending.ends <= now
        {
            let pending = self.queue.pop_front().expect("there is a first one");
            self.carry_out(pending.request, decisions);
        }
        self.check_invariants();
        self.reports.drain(..).collect()
    }

    /// The process ends without the power going: what was asked for and not begun never happens, what is just being
    /// written may be torn, and the page cache stays.
    pub fn kill(&mut self, now: Time, decisions: &mut Decisions) {
        let _nobody_hears = self.advance(now, decisions);
        if let Some(Pending { begins, request, .. }) = self.queue.pop_front()
            && begins < now
        {
            match request {
                Request::Append { lsn, record } => {
                    let lost = decisions.decide(Kind::Disk, record.len() as u64 + 1) as usize;
                    if lost == 0 {
                        self.append(lsn, &record);
                    } else if self.wanted_bytes.is_none() && self.fits(record.len() as u64) {
                        self.log.append(&record[..record.len() - lost]);
                    }
                }
                Request::Sync { through } if decisions.decide(Kind::Disk, 2) == 0 => {
                    self.log.sync(self.end_of(through));
                }
                // Its new name may be there or not.
                Request::SnapCommit if decisions.decide(Kind::Disk, 2) == 0 => {
                    self.commit(decisions);
                }
                Request::Sync { .. }
                | Request::SnapBegin { .. }
                | Request::SnapChunk { .. }
                | Request::SnapCommit => {}
            }
        }
        self.settle();
    }

    /// The power goes: what was not on the device is lost from some place on.
    pub fn lose_power(&mut self, now: Time, decisions: &mut Decisions) {
        let _nobody_hears = self.advance(now, decisions);
        self.log.lose_power(decisions);
        self.forget_torn_records();
        self.settle();
    }

    /// What a process that starts now finds.
    pub fn recover(&self) -> Recovered {
        let snapshot = self.snapshot.as_ref();
        Recovered {
            snapshot: snapshot.map(|s| (s.lsn, Bytes::copy_from_slice(&s.bytes))),
            log: Bytes::copy_from_slice(self.log.bytes()),
        }
    }

    /// Recovery has understood so many bytes of the log: the torn rest is cut off, and the log goes on from there.
    ///
    /// # Panics
    /// If the log has fewer.
    pub fn understood(&mut self, log_bytes: u64) {
        self.log.cut_end(self.log.start() + log_bytes);
        self.forget_torn_records();
        self.settle();
    }

    /// Nothing is left, as when an operator has moved everything away. No process may be running.
    pub fn wipe(&mut self) {
        *self = Disk { faults: self.faults, ..Disk::new(self.config) };
    }

    /// Leaves room for so many bytes more.
    pub fn leave_room(&mut self, bytes: u64) {
        self.set_capacity(self.used_bytes().saturating_add(bytes));
    }

    /// Makes the disk larger or smaller.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.config.capacity_bytes = bytes;
        self.look_for_room();
    }

    /// One bit of what is stored turns over, in the log or in the snapshot. False if nothing is stored.
    pub fn rot(&mut self, decisions: &mut Decisions) -> bool {
        let log = self.log.bytes().len() as u64;
        let snapshot = self.snapshot.as_ref().map_or(0, |s| s.bytes.len() as u64);
        if log + snapshot == 0 {
            return false;
        }
        let at = decisions.decide(Kind::Disk, log + snapshot);
        let bit = decisions.decide(Kind::Disk, 8) as u32;
        match &mut self.snapshot {
            Some(snapshot) if at >= log => snapshot.bytes[(at - log) as usize] ^= 1 << bit,
            Some(_) | None => self.log.flip(self.log.start() + at, bit),
        }
        true
    }

    /// A copy of what is on the device, as a backup takes it.
    pub fn image(&self) -> Image {
        let log = self.log.on_device();
        let marks = self.marks.iter().filter(|mark| mark.to <= log.end()).copied().collect();
        Image { log, marks, snapshot: self.snapshot.clone() }
    }

    /// Brings a copy back in place of everything that is there. No process may be running.
    ///
    /// # Panics
    /// If requests wait.
    pub fn restore(&mut self, image: &Image) {
        assert!(self.queue.is_empty(), "a running process's disk is exchanged");
        let Image { log, marks, snapshot } = image.clone();
        (self.log, self.marks, self.snapshot) = (log, marks, snapshot);
        self.settle();
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> u64 {
        let files = [&self.snapshot, &self.draft].into_iter().flatten();
        self.log.bytes().len() as u64 + files.map(|s| s.bytes.len() as u64).sum::<u64>()
    }

    /// # Panics
    /// If a named invariant does not hold.
    fn check_invariants(&self) {
        self.log.synced_never_passes_the_end();
        self.records_follow_each_other();
    }

    fn records_follow_each_other(&self) {
        let mut pairs = self.marks.iter().zip(self.marks.iter().skip(1));
        assert!(pairs.all(|(a, b)| a.lsn < b.lsn && a.to <= b.from), "{:?}", self.marks);
        assert!(self.marks.back().is_none_or(|last| last.to <= self.log.end()));
    }

    fn carry_out(&mut self, request: Request, decisions: &mut Decisions) {
        match request {
            Request::Append { lsn, record } => self.append(lsn, &record),
            Request::Sync { through } => {
                if decisions.ppm(Kind::Disk, self.faults.sync_fails_ppm) {
                    self.log.fail_sync();
                    self.reports.push_back(Report::Failed { why: DiskError::SyncFailed });
                } else {
                    // What was written since it was asked for need not be there.
                    self.log.sync(self.end_of(through));
                    // A record that did not fit is not there, whatever was asked for.
                    let through = through.min(self.written);
                    self.reports.push_back(Report::Synced { through });
                }
            }
            Request::SnapBegin { lsn } => self.draft = Some(Snapshot { lsn, bytes: Vec::new() }),
            Request::SnapChunk { bytes } => {
                // What belongs to a snapshot that was given up is no longer wanted.
                if self.draft.is_none() {
                    return;
                }
                if !self.fits(bytes.len() as u64) {
                    self.draft = None;
                    self.reports.push_back(Report::SnapFailed);
                } else if let Some(draft) = &mut self.draft {
                    draft.bytes.extend_from_slice(&bytes);
                    self.reports.push_back(Report::SnapWritten);
                }
            }
            Request::SnapCommit => self.commit(decisions),
        }
    }

    /// Where the record ends, or the last one before it.
    fn end_of(&self, lsn: Lsn) -> u64 {
        let last = self.marks.iter().rev().find(|mark| mark.lsn <= lsn);
        last.map_or(self.log.start(), |mark| mark.to)
    }

    fn append(&mut self, lsn: Lsn, record: &[u8]) {
        let bytes = record.len() as u64;
        // After one that did not fit none is written: the log would have a gap.
        if self.wanted_bytes.is_some() || !self.fits(bytes) {
            self.full(bytes);
            return;
        }
        let from = self.log.end();
        self.log.append(record);
        self.marks.push_back(Mark { lsn, from, to: from + bytes });
        self.written = lsn;
    }

    fn commit(&mut self, decisions: &mut Decisions) {
        let Some(draft) = self.draft.take() else { return };
        if decisions.ppm(Kind::Disk, self.faults.sync_fails_ppm) {
            self.reports.push_back(Report::SnapFailed);
            return;
        }
        let before = self.marks.iter().take_while(|mark| mark.lsn < draft.lsn).count();
        if let Some(last) = self.marks.drain(..before).next_back() {
            self.log.cut_front(last.to);
        }
        self.snapshot = Some(draft);
        self.reports.push_back(Report::SnapCommitted);
        self.look_for_room();
    }

    fn full(&mut self, bytes: u64) {
        self.wanted_bytes.get_or_insert(bytes);
        self.reports.push_back(Report::Failed { why: DiskError::Full });
    }

    fn look_for_room(&mut self) {
        let waits: u64 = self.unwritten.iter().map(|(_, record)| record.len() as u64).sum();
        if waits > 0 && self.fits(waits - self.begun_bytes) {
            for (lsn, record) in std::mem::take(&mut self.unwritten) {
                let begun = std::mem::take(&mut self.begun_bytes);
                let from = self.log.end() - begun;
                self.log.append(&record[begun as usize..]);
                self.marks.push_back(Mark { lsn, from, to: self.log.end() });
                self.written = lsn;
            }
            self.unsynced_bytes = self.log.unsynced_bytes();
            self.reports.push_back(Report::Room);
        }
        if let Some(bytes) = self.wanted_bytes
            && self.fits(bytes)
        {
            self.wanted_bytes = None;
            self.reports.push_back(Report::Room);
        }
    }

    fn fits(&self, bytes: u64) -> bool {
        self.used_bytes().saturating_add(bytes) <= self.config.capacity_bytes
    }

    /// No process runs: nobody waits, and what is there is counted anew.
    fn settle(&mut self) {
        self.queue.clear();
        self.reports.clear();
        self.draft = None;
        self.wanted_bytes = None;
        self.unwritten.clear();
        self.begun_bytes = 0;
        self.unsynced_bytes = self.log.unsynced_bytes();
        let in_snapshot = self.snapshot.as_ref().map_or(0, |s| s.lsn.0.saturating_sub(1));
        self.written = self.marks.back().map_or(Lsn(in_snapshot), |last| last.lsn);
        self.check_invariants();
    }

    fn forget_torn_records(&mut self) {
        while self.marks.back().is_some_and(|last| last.to > self.log.end()) {
            self.marks.pop_back();
        }
    }

    fn time_of(&self, request: &Request, decisions: &mut Decisions) -> Span {
        let DiskConfig { append, sync, bytes_per_sec, .. } = self.config;
        let (latency, bytes) = match request {
            Request::Append { .. } | Request::SnapChunk { .. } => (append, 0),
            Request::Sync { .. } | Request::SnapCommit => (sync, self.unsynced_bytes),
            Request::SnapBegin { .. } => (append, 0),
        };
        let mut ns = latency.base.0 + decisions.decide(Kind::Disk, latency.jitter.0 + 1);
        if decisions.ppm(Kind::Disk, latency.tail_ppm) {
            ns += decisions.decide(Kind::Disk, latency.tail.0 + 1);
        }
        if let Some(transfer) = bytes.saturating_mul(1_000_000_000).checked_div(bytes_per_sec) {
            ns += transfer;
        }
        Span(ns.saturating_mul(1 + u64::from(self.faults.slower_by)))
    }
}
