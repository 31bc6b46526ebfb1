//! Random histories of worlds: what clients ask for, what goes wrong, and how it ends.

use super::super::regime::VoterId;
use super::super::{Partition, Strong};
use super::world::{Disks, MS, Shape, World};

/// A history that ends with the nodes being well that are to be there; all checks but the last are made on the way.
pub fn history_of_a_world(seed: u64, shape: Shape) -> World {
    let mut world = World::new(seed, shape);
    let faults = world.rng.below(30);
    for _ in 0..faults {
        if world.rng.below(2) == 0 {
            world.ask();
        }
        world.fault();
        if shape.changes && world.rng.below(3) == 0 {
            world.change_roster();
        }
        let until = world.now + world.rng.below(shape.pause);
        while world.rng.below(8) > 0 && world.now < until {
            let pause = world.rng.below(shape.pause / 4);
            world.run(until.min(world.now + pause));
            let write = world.rng.below(2) == 0;
            world.ask_all(|at| (at % 2 == 0) == write);
        }
        world.run(until);
    }
    world.heal();
    if shape.heals_some {
        world.leave_some();
    }
    world.run(world.now + 1600 * MS);
    for at in 0..20 {
        world.request(at % 2 == 0);
        world.run(world.now + 5 * MS);
    }
    world.run(world.now + 400 * MS);
    world
}

impl World {
    /// Clients ask.
    fn ask(&mut self) {
        for _ in 0..self.rng.below(40) {
            let burst = if self.shape.heavy { 1 + self.rng.below(20) } else { 1 };
            for _ in 0..burst {
                let write = self.rng.below(if self.shape.heavy { 10 } else { 2 }) > 0;
                self.request(write);
            }
            let pause = self.rng.below(5 * MS);
            self.run(self.now + pause);
        }
    }

    fn fault(&mut self) {
        let count = self.hosts.len() as u64;
        let at = self.rng.below(count) as usize;
        let kinds = if self.shape.disks == Disks::Stay { 13 } else { 14 };
        match self.rng.below(kinds) {
            0 | 1 => {
                self.cut.clear();
                let side = self.rng.next_u64();
                for a in 0..self.hosts.len() {
                    for b in 0..self.hosts.len() {
                        if (side >> a & 1) != (side >> b & 1) {
                            self.cut.insert((a, b));
                        }
                    }
                }
            }
            2 => {
                let other = self.rng.below(count) as usize;
                self.cut.insert((at, other));
            }
            3 => self.cut.clear(),
            4 | 5 => {
                if self.hosts[at].strong.is_some() {
                    self.kill(at);
                } else {
                    self.begin(at, !self.shape.always);
                }
            }
            6 => {
                self.hosts[at].paused_until = self.now + self.rng.below(1000) * MS;
            }
            12 => self.deafen(at),
            7 => {
                let other = self.rng.below(count) as usize;
                self.unlink(at, other);
            }
            8 => {
                for a in 0..self.hosts.len() {
                    for b in 0..self.hosts.len() {
                        if self.rng.below(4) == 0 {
                            self.cut.insert((a, b));
                        }
                    }
                }
            }
            9 => {
                self.slow.clear();
                for a in 0..self.hosts.len() {
                    for b in 0..self.hosts.len() {
                        if self.rng.below(4) == 0 {
                            self.slow.insert((a, b), self.rng.below(300 * MS));
                        }
                    }
                }
            }
            10 => {
                self.until_something_changes();
                self.kill(at);
                if self.rng.below(2) == 0 {
                    let pause = self.rng.below(30 * MS);
                    self.run(self.now + pause);
                    self.begin(at, !self.shape.always);
                }
            }
            11 => {
                self.until_something_changes();
                for other in 0..self.hosts.len() {
                    if self.rng.below(2) == 0 {
                        self.cut.insert((at, other));
                    }
                    if self.rng.below(2) == 0 {
                        self.cut.insert((other, at));
                    }
                }
            }
            _ => match self.shape.disks {
                Disks::Stay => {}
                Disks::Wiped => self.wipe(at),
                Disks::Older => self.put_back(at),
            },
        }
    }

    /// An operator wants another roster of one of the nodes, or its new disks admitted.
    fn change_roster(&mut self) {
        let at = self.rng.below(self.hosts.len() as u64) as usize;
        let (set, copies) = (self.rng.next_u64(), 1 + self.rng.below(3) as u8);
        let (same, force) = (self.rng.below(3) == 0, self.rng.below(2) == 0);
        let all = set & ((1 << self.hosts.len()) - 1);
        let roster = self.roster(if all == 0 { 1 } else { all }, copies);
        self.with(at, |strong, desk| {
            let Some(newest) = strong.standing() else { return };
            let roster = if same { newest.now.roster.clone() } else { roster };

            if let Ok(change) = strong.change(roster, force, desk.now) {
                strong.move_to(change, desk.now);
            }
        });
    }

    /// Nobody hears a node, and it hears others late, until they do without it; then clients ask it.
    fn deafen(&mut self, at: usize) {
        self.heal();
        self.run(self.now + 400 * MS);
        for other in 0..self.hosts.len() {
            self.cut.insert((at, other));
            self.slow.insert((other, at), 80 * MS + self.rng.below(100 * MS));
        }
        for _ in 0..22 + self.rng.below(15) {
            self.run(self.now + 10 * MS);
            // (A read waits for the open writes before it.)
            self.ask_all(|other| other != at);
        }
        self.cut.retain(|(from, _)| *from != at);
        let replaces = self.rng.below(2) == 0;
        for other in (0..self.hosts.len()).filter(|_| replaces) {
            self.unlink(at, other);
        }
        for _ in 0..self.rng.below(20) {
            self.ask_all(|_| false);
            self.run(self.now + 5 * MS);
        }
        self.slow.clear();
    }

    /// Goes on until a regime is being changed, and a little further, if one is soon.
    fn until_something_changes(&mut self) {
        let partitions = (0..self.shape.partitions).map(Partition);
        for _ in 0..200 {
            let strongs: Vec<&Strong> =
                self.hosts.iter().filter_map(|host| host.strong.as_ref()).collect();
            let changes = |of: Partition| {
                strongs.iter().any(|strong| {
                    let part = strong.at(of);
                    part.bid.is_some() || part.reign.as_ref().is_some_and(|reign| !reign.serves)
                })
            };
            if partitions.clone().any(changes) {
                break;
            }
            self.run(self.now + MS);
        }
        let further = self.rng.below(15 * MS);
        self.run(self.now + further);
    }

    /// The node comes back with nothing, as another voter.
    pub fn wipe(&mut self, at: usize) {
        self.stop(at);
        let voter = VoterId(self.rng.next_u64());
        let host = &mut self.hosts[at];
        (host.voter, host.synced) = (voter, 0);
        host.disk.clear();
        self.begin(at, false);
    }

    /// A node's disk is put back to an older state, or changed for one it had before; always the same node's. All others
    /// are there and have heard of it: what only those saw that are away cannot be found out.
    pub fn put_back(&mut self, at: usize) {
        let at = *self.checks.older.get_or_insert(at);
        self.heal();
        self.run(self.now + 300 * MS);
        self.stop(at);
        let pick = self.rng.below(3);
        let host = &mut self.hosts[at];
        host.disk.truncate(host.synced);
        let whole = core::mem::take(&mut host.disk);
        let disk = host.spare.take().filter(|_| pick == 0).unwrap_or_else(|| whole.clone());
        let long = if pick == 1 { disk.len() / 2 } else { disk.len() - disk.len().min(20) };
        let keep = long + self.rng.below((disk.len() - long + 1) as u64) as usize;
        let host = &mut self.hosts[at];
        host.spare = Some(whole);
        host.disk = disk[..keep].to_vec();
        host.synced = keep;
        self.begin(at, !self.shape.always);
        for _ in 0..5 {
            self.run(self.now + 100 * MS);
            self.request(true);
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
        self.slow.clear();
        for at in 0..self.hosts.len() {
            self.hosts[at].paused_until = 0;
            if self.hosts[at].strong.is_none() {
                self.begin(at, !self.shape.always);
            }
        }
    }

    /// Only some nodes stay: they have to do if they may decide and one of them is in the core.
    fn leave_some(&mut self) {
        let stay = self.rng.next_u64();
        for at in 0..self.hosts.len() {
            if stay >> at & 1 == 0 {
                self.kill(at);
            }
        }
    }
}
