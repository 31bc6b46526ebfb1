//! What a driver of a world does to disks from outside: room, faults, damage, backups, repairs.

use quorate::node::config::Identity;
use quorate::wal::scan::Scanner;

use crate::disk::{DiskFaults, Image, Lsn};
use crate::ids::HostId;
use crate::machine::Machine;

use super::World;

/// A copy of all that a host keeps for its server.
#[derive(Clone, Debug)]
pub struct Backup {
    disk: Image,
    identity: Identity,
}

impl<M: Machine> World<M> {
    /// Leaves so much room on a host's disk; `None`: more than it needs.
    pub fn leave_room(&mut self, at: HostId, bytes: Option<u64>) {
        self.note(15, at);
        let disk = &mut self.hosts[at.index()].disk;
        match bytes {
            Some(bytes) => disk.leave_room(bytes),
            None => disk.set_capacity(1 << 40),
        }
        self.await_disk(at);
    }

    /// What is wrong with a host's disk from now on.
    pub fn set_disk_faults(&mut self, at: HostId, faults: DiskFaults) {
        self.note(16, at);
        self.hosts[at.index()].disk.faults = faults;
    }

    pub fn disk_faults(&self, at: HostId) -> DiskFaults {
        self.hosts[at.index()].disk.faults
    }

    /// One bit of what is stored turns over. False if nothing is stored.
    pub fn rot(&mut self, at: HostId) -> bool {
        self.note(17, at);
        self.hosts[at.index()].disk.rot(&mut self.decisions)
    }

    /// Copies what is on the device.
    pub fn backup(&self, at: HostId) -> Backup {
        let host = &self.hosts[at.index()];
        Backup { disk: host.disk.image(), identity: host.identity.clone() }
    }

    /// Puts a copy in the place of what is there. No process may be running.
    pub fn restore(&mut self, at: HostId, backup: &Backup) {
        self.note(18, at);
        let host = &mut self.hosts[at.index()];
        host.disk.restore(&backup.disk);
        host.identity = backup.identity.clone();
    }

    /// Moves log and snapshot away; who the server is stays.
    pub fn wipe_log(&mut self, at: HostId) {
        self.note(19, at);
        self.hosts[at.index()].disk.wipe();
    }

    /// `quorate check --fix`: the log is cut off where it is damaged.
    pub fn fix_log(&mut self, at: HostId) {
        self.note(20, at);
        let disk = &mut self.hosts[at.index()].disk;
        let log = disk.recover().log;
        let (mut scanner, mut understood) = (Scanner::bare(Lsn(1)), 0);
        while let Some((_, used)) = scanner.next(&log[understood..]) {
            understood += used;
        }
        disk.understood(understood as u64);
    }

    /// The driver has taken a rare path.
    pub(super) fn sometimes(&mut self, label: &'static str, at: HostId) {
        if let Some(process) = &mut self.hosts[at.index()].process {
            process.out.facts.sometimes(label);
        }
        self.collect_facts(at);
    }
}
