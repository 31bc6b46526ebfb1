//! The writing end of the log: records are gathered over a batch of inputs and leave as one piece, syncs are asked for as
//! the policy says, one at a time (so that all records written meanwhile share the next), and what has to wait for them
//! is told so.

use bytes::Bytes;

use crate::base::ids::Lsn;
use crate::base::time::{Mono, Span};
use crate::base::unit::{Change, Unit};
use crate::base::vector::Vector;

use super::frame;
use super::record::{self, Record};

/// When the log is brought onto the device: `appendfsync`.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum SyncPolicy {
    /// Before anything that tells of a record leaves.
    Always,
    /// Once a second.
    #[default]
    EverySec,
    /// Nobody waits for it: as rarely as a kernel does it by itself.
    No,
}

impl SyncPolicy {
    fn period(self) -> Span {
        match self {
            SyncPolicy::Always => Span(0),
            SyncPolicy::EverySec => Span::from_secs(1),
            SyncPolicy::No => Span::from_secs(30),
        }
    }
}

/// A buffer that has grown beyond this is not kept.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// What is to be written, and how far it is known to be durable.
#[derive(Debug)]
pub struct Journal {
    /// `None`: there is no log, or it is still being read.
    policy: Option<SyncPolicy>,
    /// Frames that have not left yet.
    gathered: Vec<u8>,
    /// The last record made.
    last: Lsn,
    /// The last record handed to the driver.
    appended: Lsn,
    synced: Lsn,
    /// The last place that a record in the log names as synced.
    named: Lsn,
    /// Up to where has been collected since a record last said so: not worth a record of its own.
    collected: u64,
    /// How often something was put that concerns all keys at once, not by what each held.
    breaks: u64,
    /// A sync is under way, through this.
    asked: Option<Lsn>,
    asked_at: Mono,
    /// Everything up to here is to be synced as soon as possible, and nothing that follows leaves before.
    barrier: Lsn,
    /// Nothing waits for what is not on the device: a sync of it has time.
    unhurried: bool,
    /// The driver has no room for more.
    full: bool,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal::off()
    }
}

impl Journal {
    /// Nothing is written.
    pub fn off() -> Journal {
        Journal {
            policy: None,
            gathered: Vec::new(),
            last: Lsn(0),
            appended: Lsn(0),
            synced: Lsn(0),
            named: Lsn(0),
            collected: 0,
            breaks: 0,
            asked: None,
            asked_at: Mono(0),
            barrier: Lsn(0),
            unhurried: false,
            full: false,
        }
    }

    /// A log that has been read: all of it is on the device, and the next record is `next`.
    pub fn open(policy: SyncPolicy, next: Lsn) -> Journal {
        let last = Lsn(next.0.saturating_sub(1));
        Journal {
            policy: Some(policy),
            last,
            appended: last,
            synced: last,
            named: last,
            ..Journal::off()
        }
    }

    pub fn set_policy(&mut self, policy: SyncPolicy) {
        if self.policy.is_some() {
            self.policy = Some(policy);
        }
    }

    /// Whether records are taken.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.policy.is_some()
    }

    // ----- records ---------------------------------------------------------------------------

    /// [`Record::Unit`].
    #[inline]
    pub fn unit(&mut self, unit: &Unit) {
        self.write(|out| record::put_unit(unit, out));
    }

    /// [`Record::Cells`]; nothing if there are none.
    pub fn cells(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.put(&Record::Cells(changes));
        }
    }

    /// [`Record::Vector`]; nothing for an empty one.
    pub fn vector(&mut self, risen: &Vector) {
        if !risen.is_empty() {
            self.write(|out| record::put_vector(risen, out));
        }
    }

    /// [`Record::Collected`], with the next record that is made: whoever does not know it collects again.
    pub fn collected(&mut self, horizon: u64) {
        self.collected = horizon;
    }

    pub fn put(&mut self, record: &Record) {
        self.breaks += u64::from(matches!(record, Record::Moved { .. } | Record::Dropped));
        self.write(|out| record.put(out));
    }

    /// What was put before is on the device before anything else leaves, whatever the policy.
    pub fn barrier(&mut self) {
        self.barrier = self.last;
    }

    /// Whether something is not on the device yet that has to be there before anything leaves.
    pub fn has_barrier(&self) -> bool {
        self.barrier > self.synced
    }

    #[inline]
    fn write(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        if self.policy.is_none() {
            return;
        }
        if self.gathered.is_empty() && self.synced > self.named {
            self.named = self.synced;
            let through = self.synced;
            self.frame(|out| Record::Synced { through }.put(out));
        }
        if self.collected > 0 {
            let horizon = std::mem::take(&mut self.collected);
            self.frame(|out| Record::Collected(horizon).put(out));
        }
        self.frame(put);
    }

    fn frame(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let start = frame::begin(&mut self.gathered);
        put(&mut self.gathered);
        frame::finish(&mut self.gathered, start);
        self.last = self.last.next();
    }

    // ----- the driver ------------------------------------------------------------------------

    /// What was gathered, as whole frames in a row, and the place of the last of them.
    pub fn take(&mut self) -> Option<(Lsn, Bytes)> {
        if self.gathered.is_empty() {
            return None;
        }
        self.appended = self.last;
        let bytes = if self.gathered.len() > KEPT_BYTES_MAX {
            Bytes::from(std::mem::take(&mut self.gathered))
        } else {
            let copy = Bytes::copy_from_slice(&self.gathered);
            self.gathered.clear();
            copy
        };
        Some((self.appended, bytes))
    }

    /// The last record that a sync has to cover, if one is due at `now`. The caller asks the driver for it: until that
    /// answers none is due.
    pub fn take_sync(&mut self, now: Mono) -> Option<Lsn> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        self.asked = Some(self.appended);
        self.asked_at = now;
        self.asked
    }

    /// When [`Journal::take_sync`] has something to ask for, as it looks now.
    pub fn due(&self) -> Option<Mono> {
        let policy = self.policy?;
        if self.asked.is_some() || self.full || self.appended <= self.synced {
            return None;
        }
        if self.has_barrier() {
            return Some(Mono(0));
        }
        let first = self.asked_at == Mono(0);
        let policy = if self.unhurried { SyncPolicy::EverySec } else { policy };
        Some(if first { Mono(0) } else { self.asked_at + policy.period() })
    }

    /// Says whether anything waits for what is not on the device. If nothing does, [`SyncPolicy::Always`] is as patient as
    /// [`SyncPolicy::EverySec`].
    pub fn set_awaited(&mut self, awaited: bool) {
        self.unhurried = !awaited && self.policy == Some(SyncPolicy::Always);
    }

    /// The driver says that everything up to `through` is on the device.
    ///
    /// # Panics
    /// If that was never written.
    pub fn on_synced(&mut self, through: Lsn) {
        assert!(through <= self.appended, "synced beyond what was appended");
        self.synced = self.synced.max(through);
        self.asked = None;
    }

    /// The driver has no room: nothing is synced before it has again.
    pub fn on_full(&mut self) {
        self.full = true;
        self.asked = None;
    }

    pub fn on_room(&mut self) {
        self.full = false;
    }

    // ----- what may be told ------------------------------------------------------------------

    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether every record is on the device. Also if there is no log.
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.synced == self.last
    }

    /// The record that has to be on the device before what is said now leaves.
    #[inline]
    pub fn holds(&self) -> Option<Lsn> {
        let wanted = match self.policy {
            None => return None,
            Some(SyncPolicy::Always) => self.last,
            Some(SyncPolicy::EverySec | SyncPolicy::No) => self.barrier,
        };
        (wanted > self.synced).then_some(wanted)
    }

    /// Something has happened to all keys at once.
    pub fn note_break(&mut self) {
        self.breaks += 1;
    }

    /// Counts what concerns all keys at once: a snapshot made across that would not tell what it has seen.
    pub fn breaks(&self) -> u64 {
        self.breaks
    }

    /// The last record made.
    pub fn last(&self) -> Lsn {
        self.last
    }

    pub fn synced(&self) -> Lsn {
        self.synced
    }

    /// # Panics
    /// If a named invariant does not hold.
    pub fn check_invariants(&self) {
        assert!(self.synced <= self.appended, "synced beyond what was appended");
        assert!(self.appended <= self.last, "appended what was never made");
        assert!(self.named <= self.synced, "the log names as synced what is not");
        assert!(self.asked.is_none_or(|asked| asked <= self.appended), "a sync of the future");
        assert!(self.gathered.is_empty() == (self.appended == self.last), "a record is nowhere");
    }
}
