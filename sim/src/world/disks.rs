//! Disks of processes that keep a log: writes, syncs that take their time, what is left when a process or the power goes,
//! and what the next process reads.

use bytes::Bytes;
use quorate::base::ids::Lsn;
use quorate::base::io::{DiskError, Input, Recover, Snap};
use quorate::wal::scan::{Rest, Scanner, judge};

use crate::disk::{self, Report, Request};
use crate::host::Todo;
use crate::ids::HostId;
use crate::machine::Machine;

use super::{Event, World};

/// What a process says that finds damage in its log, as the shell does.
pub const DAMAGED: &str = "the log is damaged";

impl<M: Machine> World<M> {
    /// A write that the process waits for.
    pub(super) fn append(&mut self, at: HostId, lsn: Lsn, records: &Bytes) {
        self.digest.word(lsn.0);
        let written = self.hosts[at.index()].disk.append_now(lsn, records);
        if written.is_err() {
            self.await_disk(at);
        }
    }

    /// Something is begun that takes its time.
    pub(super) fn ask_disk(&mut self, at: HostId, request: Request) {
        let disk = &mut self.hosts[at.index()].disk;
        if matches!(request, Request::Sync { .. }) && disk.is_full() {
            // Nothing can be said of what has not been written; the node asks again.
            return;
        }
        disk.submit(self.now, request, &mut self.decisions);
        self.await_disk(at);
    }

    pub(super) fn await_disk(&mut self, at: HostId) {
        let host = &self.hosts[at.index()];
        if let Some(when) = host.disk.poll() {
            let boot = host.boot;
            self.queue.push(when.max(self.now), Event::Disk { host: at, boot });
        }
    }

    /// The kernel goes on also for a process that stands still.
    pub(super) fn on_disk(&mut self, at: HostId, boot: u32) {
        let host = &mut self.hosts[at.index()];
        if host.boot != boot || host.process.is_none() {
            return;
        }
        let reports = host.disk.advance(self.now, &mut self.decisions);
        for report in reports {
            self.turn(at, Todo::Disk(report));
        }
        self.await_disk(at);
    }

    pub(super) fn deliver_report(&mut self, at: HostId, report: Report) {
        let input = match report {
            Report::Synced { through } => Input::Synced { through },
            Report::Failed { why: disk::DiskError::Full } => {
                Input::DiskFailed { why: DiskError::Full }
            }
            Report::Failed { why: disk::DiskError::SyncFailed } => {
                Input::DiskFailed { why: DiskError::Failed }
            }
            Report::Room => Input::DiskRoom,
            Report::SnapWritten => Input::Snap(Snap::Written),
            Report::SnapCommitted => Input::Snap(Snap::Committed),
            Report::SnapFailed => Input::Snap(Snap::Failed),
        };
        self.call(at, input);
    }

    /// The process has ended. What it has written stays, unless the power went with it.
    pub(super) fn end_disk(&mut self, at: HostId, power: bool) {
        let disk = &mut self.hosts[at.index()].disk;
        if disk.is_unused() {
            return;
        }
        disk.kill(self.now, &mut self.decisions);
        if power {
            disk.lose_power(self.now, &mut self.decisions);
        }
    }

    /// A process that has started reads its log, at once.
    pub(super) fn recover(&mut self, at: HostId) {
        let found = self.hosts[at.index()].disk.recover();
        let log = found.log;
        let mut first = Lsn(1);
        if let Some((lsn, snapshot)) = found.snapshot {
            first = lsn;
            let mut pieces = Scanner::bare(Lsn(1));
            let mut understood = 0;
            while let Some((contents, used)) = pieces.next(&snapshot[understood..]) {
                self.call(at, Input::Recover(Recover::Piece(contents)));
                understood += used;
            }
            if understood < snapshot.len() {
                self.sometimes("a snapshot was damaged", at);
                self.end_by_itself(at, 1, DAMAGED.to_owned(), false);
                return;
            }
        }
        let mut scanner = Scanner::bare(first);
        let mut understood = 0;
        while let Some((contents, used)) = scanner.next(&log[understood..]) {
            self.call(at, Input::Recover(Recover::Record(contents)));
            understood += used;
        }
        let next = scanner.next_lsn();
        self.digest.word(next.0);
        match judge(&log[understood..], next) {
            Rest::Empty => {}
            Rest::Torn => self.sometimes("a torn end of the log was cut off", at),
            Rest::Corrupt { .. } => {
                self.sometimes("a log was damaged before its end", at);
                self.end_by_itself(at, 1, DAMAGED.to_owned(), false);
                return;
            }
        }
        let host = &mut self.hosts[at.index()];
        let keeps_torn = host.config.as_ref().is_some_and(M::keeps_torn_end);
        if !keeps_torn {
            host.disk.understood(understood as u64);
        }
        host.disk.sync_now(scanner.unsettled_from());
        self.call(at, Input::Recover(Recover::Done { next }));
        self.carry_out(at);
    }
}
