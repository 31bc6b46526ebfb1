//! Faults of disks, what operators do about them, and what may be lost by them.

use super::deeds::Deed;
use super::player::{Player, name_of};
use crate::disk::DiskFaults;
use crate::plan::{FaultKind, Remedy};
use crate::world::{Backup, Exit};

/// What the player knows of a host's disk.
#[derive(Clone, Debug, Default)]
pub struct DiskNotes {
    /// What was stored at some time, to be brought back, and what is to be done if it was damaged by then.
    backup: Option<(Backup, Option<Remedy>)>,
    /// Bits have turned over since the last start: it may refuse the next.
    rotten: Option<Remedy>,
    /// Simulated time, ns: what was acknowledged until then may be gone, whatever the policy.
    pub spoilt_until: Option<u64>,
    /// Syncs have been or may have been late: nobody knows what a loss of power took.
    pub irregular: bool,
}

impl Player<'_> {
    /// A fault of a disk begins, or ends.
    pub(super) fn disk_fault(&mut self, kind: &FaultKind, begins: bool) {
        self.did(Deed::Unsayable("a fault of a disk"));
        match *kind {
            FaultKind::Full { host, room_bytes } => {
                self.disks[host as usize].irregular = true;
                let at = self.hosts[host as usize];
                self.world.leave_room(at, begins.then_some(room_bytes));
            }
            FaultKind::SyncFails { host, ppm } => {
                self.disks[host as usize].irregular = true;
                let sync_fails_ppm = if begins { ppm } else { 0 };
                self.set_disk_faults(host, |faults| faults.sync_fails_ppm = sync_fails_ppm);
                if !begins {
                    self.start(host);
                }
            }
            FaultKind::SlowDisk { host, times } => {
                self.disks[host as usize].irregular = true;
                let slower_by = if begins { times } else { 0 };
                self.set_disk_faults(host, |faults| faults.slower_by = slower_by);
            }
            FaultKind::Rot { host, bits, remedy } if begins => {
                self.stop(host, false);
                let at = self.hosts[host as usize];
                if (0..bits).filter(|_| self.world.rot(at)).count() > 0 {
                    self.disks[host as usize].rotten = Some(remedy);
                    self.spoil(host);
                }
            }
            FaultKind::Rot { host, .. } => self.start(host),
            FaultKind::OlderImage { host } if begins => {
                let notes = &mut self.disks[host as usize];
                notes.backup = Some((self.world.backup(self.hosts[host as usize]), notes.rotten));
            }
            FaultKind::OlderImage { host } => {
                let Some((backup, rotten)) = self.disks[host as usize].backup.take() else {
                    return;
                };
                self.stop(host, false);
                self.world.restore(self.hosts[host as usize], &backup);
                self.disks[host as usize].rotten = rotten;
                self.spoil(host);
                self.start(host);
            }
            FaultKind::DropIn { .. }
            | FaultKind::DropOut { .. }
            | FaultKind::Split { .. }
            | FaultKind::Reject { .. }
            | FaultKind::Lossy { .. }
            | FaultKind::Crash { .. }
            | FaultKind::Pause { .. }
            | FaultKind::Step { .. }
            | FaultKind::Slow { .. }
            | FaultKind::Reset { .. }
            | FaultKind::DeafClients { .. }
            | FaultKind::Newcomer { .. }
            | FaultKind::Unfollow { .. }
            | FaultKind::Refollow { .. }
            | FaultKind::Twin { .. }
            | FaultKind::Garbage { .. }
            | FaultKind::Memory { .. } => unreachable!("no fault of a disk"),
        }
    }

    /// A process has ended by itself. With a disk that fails it may, and with one that was damaged: somebody repairs it.
    pub(super) fn on_exit(&mut self, host: u16, exit: &Exit) {
        let at = self.hosts[host as usize];
        let notes = &mut self.disks[host as usize];
        let fails = self.world.disk_faults(at).sync_fails_ppm > 0;
        let rotten = notes.rotten.take();
        if exit.code != 1 || !(fails || rotten.is_some()) {
            self.broken = Some(format!("{} stopped by itself: {}", name_of(host), exit.reason));
            return;
        }
        self.learn_accepted(host);
        self.note_end(host, false);
        self.book.crashed(host);
        match rotten {
            Some(Remedy::Fix) => {
                self.world.fix_log(at);
                // It may lack now what its snapshot shows, or the snapshot be damaged.
                self.disks[host as usize].rotten = Some(Remedy::Wipe);
            }
            Some(Remedy::Wipe) => self.world.wipe_log(at),
            None => {}
        }
        if rotten.is_some() {
            self.spoil(host);
            self.start(host);
        }
    }

    /// Nothing is wrong with the disk any more.
    pub(super) fn heal_disk(&mut self, host: u16) {
        let at = self.hosts[host as usize];
        if self.disks[host as usize].irregular {
            self.set_disk_faults(host, |faults| *faults = DiskFaults::default());
            self.world.leave_room(at, None);
        }
        self.disks[host as usize].backup = None;
    }

    /// A process was started. If it did not end at once, nothing it has read was damaged.
    pub(super) fn note_start(&mut self, host: u16) {
        if self.world.machine(self.hosts[host as usize]).is_some() {
            self.disks[host as usize].rotten = None;
        }
    }

    /// A process ends, or the power of its host does.
    pub(super) fn note_end(&mut self, host: u16, power: bool) {
        let now = self.world.now().0;
        if let Some(boot) = self.book.boots[host as usize] {
            self.book.ledger.boots[boot.0].ended.get_or_insert((now, power));
        }
    }

    fn set_disk_faults(&mut self, host: u16, set: impl FnOnce(&mut DiskFaults)) {
        let at = self.hosts[host as usize];
        let mut faults = self.world.disk_faults(at);
        set(&mut faults);
        self.world.set_disk_faults(at, faults);
    }

    /// What the host has acknowledged until now may be gone.
    fn spoil(&mut self, host: u16) {
        self.disks[host as usize].spoilt_until = Some(self.world.now().0);
    }
}
