//! What earlier lives have left in the log: applied in order to an empty store, then taken over by the new life. Nothing is
//! collected and nothing expires meanwhile, so that every record meets what it met when it was written, or more; what a
//! snapshot shows already is left out.

use std::collections::BTreeSet;

use crate::base::checksum::partition_of;
use crate::base::fact::{Fact, Facts, LogLevel};
use crate::base::ids::{DbIndex, Epoch, Lsn, Origin};
use crate::base::mutant::Mutant;
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Change};
use crate::base::vector::Vector;
use crate::store::Store;
use crate::wal::Record;
use crate::wal::snapshot::{Coverage, Head, Piece};

use super::{Active, Core};

/// A log being read.
#[derive(Debug, Default)]
pub struct Replay {
    vector: Vector,
    /// Newest stamp time met anywhere.
    newest: u64,
    collected: u64,
    inherited: u64,
    /// The node's own origins, oldest first.
    lives: Vec<Origin>,
    first_epoch: Option<Epoch>,
    has_met: bool,
    /// The same since the last start.
    has_met_lately: bool,
    /// The last lives, of which the log says that they met nobody.
    unmet: Vec<(Epoch, Origin)>,
    /// Cells came that no unit had counted when they did.
    has_strays: bool,
    /// The last record applied.
    at: Lsn,
    /// What a snapshot has shown, while records it may have seen are met.
    coverage: Option<Coverage>,
    begun: bool,
    ended: bool,
    /// The snapshot is of one that stood alone.
    was_alone: bool,
    /// Who wrote the cells that were met.
    writers: BTreeSet<Origin>,
}

/// A snapshot that is none.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct NoSnapshot;

impl Replay {
    /// Takes the next piece of the snapshot that stands for the log's beginning.
    ///
    /// # Errors
    /// It does not belong behind the one before.
    pub fn restore(&mut self, piece: Piece, store: &mut Store) -> Result<(), NoSnapshot> {
        match piece {
            Piece::Head(head) if !self.begun && self.at == Lsn(0) => {
                self.begun = true;
                self.at = Lsn(head.lsn.0 - 1);
                self.vector = head.vector;
                for (_, time) in self.vector.iter() {
                    self.newest = self.newest.max(time);
                }
                self.newest = self.newest.max(head.collected);
                self.collected = head.collected;
                self.inherited = head.inherited;
                self.first_epoch = Some(head.first_epoch);
                self.lives = head.lives;
                self.has_met = head.has_met;
                self.has_met_lately = head.has_met && head.unmet.is_empty();
                self.unmet = head.unmet;
                self.has_strays = head.has_strays;
                self.was_alone = head.alone;
                self.coverage = Some(Coverage::default());
            }
            Piece::Chunk { lsn, end, cells } if self.begun && !self.ended && lsn >= self.at => {
                let coverage = self.coverage.get_or_insert_default();
                coverage.push(end, lsn).map_err(|_| NoSnapshot)?;
                for change in &cells {
                    if let Some(stamp) = change.stamp {
                        self.merge(change, stamp, store);
                        if !self.has_met && self.lives.contains(&stamp.origin) {
                            // Nobody else has any of it. (A dump shows more than its head, and nothing follows it.)
                            self.raise(stamp);
                        }
                    }
                }
            }
            Piece::Tail { lsn, collected } if self.begun && !self.ended => {
                self.ended = true;
                if self.coverage.as_ref().is_none_or(|coverage| coverage.last() > lsn) {
                    return Err(NoSnapshot);
                }
                self.collected = self.collected.max(collected);
                self.newest = self.newest.max(collected);
                if self.was_alone {
                    store.restore_resets();
                }
            }
            Piece::Head(_) | Piece::Chunk { .. } | Piece::Tail { .. } | Piece::Strong { .. } => {
                return Err(NoSnapshot);
            }
        }
        Ok(())
    }

    /// Whether a snapshot was begun and has no end.
    pub fn is_torn(&self) -> bool {
        self.begun && !self.ended
    }

    /// Whether records are missing that the snapshot shows: those that came later would be taken for them.
    pub fn lacks_records(&self) -> bool {
        self.coverage.as_ref().is_some_and(|coverage| coverage.last() > self.at)
    }

    /// Whether the snapshot has the outcome of the present record for this key.
    fn is_shown(&self, db: DbIndex, key: &[u8]) -> bool {
        let covers = |c: &Coverage| c.covers(db, partition_of(key).0, self.at);
        self.coverage.as_ref().is_some_and(covers)
    }

    fn begin_life(&mut self, epoch: Epoch, origin: Origin) {
        self.first_epoch.get_or_insert(epoch);
        self.lives.push(origin);
        // Another epoch of a process that has met others goes on with them.
        if !self.has_met_lately {
            self.unmet.push((epoch, origin));
        }
    }

    /// Applies the next record.
    pub fn apply(&mut self, record: Record, store: &mut Store) {
        self.at = self.at.next();
        if self.coverage.as_ref().is_some_and(|coverage| coverage.last() < self.at) {
            self.coverage = None;
        }
        match record {
            Record::Start { epoch, origin } => {
                self.has_met_lately = false;
                self.begin_life(epoch, origin);
            }
            Record::Epoch { epoch, origin } => self.begin_life(epoch, origin),
            Record::Met => {
                self.has_met = true;
                self.has_met_lately = true;
                self.unmet.clear();
            }
            Record::Unit(unit) => {
                for change in &unit.changes {
                    self.has_strays |= change.stamp.is_some();
                    self.merge_record(change, change.stamp_in(unit.dot), store);
                }
                self.raise(unit.dot);
            }
            Record::Cells(changes) => {
                self.has_strays = true;
                for change in &changes {
                    if let Some(stamp) = change.stamp {
                        self.merge_record(change, stamp, store);
                    }
                }
            }
            Record::Vector(risen) => {
                for (origin, time) in risen.iter() {
                    self.raise(Stamp::new(time, origin));
                }
            }
            Record::Collected(horizon) => {
                self.collected = self.collected.max(horizon);
                self.newest = self.newest.max(horizon);
            }
            Record::Inherited(horizon) => self.inherited = self.inherited.max(horizon),
            Record::TakenOver => self.collected = self.collected.max(self.inherited),
            Record::Moved { from, to, times, horizon } => {
                // (Of a life that was given up there are none.)
                if !times.is_empty() {
                    store.move_stamps(from, to, &times, horizon);
                }
                if from != to {
                    self.vector.remove(from);
                }
                if let Some(&(_, last)) = times.last() {
                    self.raise(Stamp::new(last, to));
                }
            }
            Record::Dropped => {
                store.clear(&mut Facts::default());
                self.vector = Vector::new();
                self.collected = 0;
                self.has_strays = false;
                self.writers.clear();
            }
            Record::Forgotten { db, key, .. } if self.is_shown(db, &key) => {}
            Record::Forgotten { db, key, cells } => {
                for (slot, stamp) in cells {
                    store.forget(db, &key, &slot, stamp, UnixMs(0), &mut Facts::default());
                }
            }
            // (A node in active mode does not come this far with one of strong mode's.)
            Record::Synced { .. } | Record::Strong(_) => {}
        }
    }

    /// Merges what a record holds, where no snapshot has it.
    fn merge_record(&mut self, change: &Change, stamp: Stamp, store: &mut Store) {
        let whole = matches!(change.cell, Cell::DatabaseTombstone);
        if whole || !self.is_shown(change.db, &change.key) {
            self.merge(change, stamp, store);
        } else {
            self.newest = self.newest.max(stamp.time);
        }
    }

    fn merge(&mut self, change: &Change, stamp: Stamp, store: &mut Store) {
        self.newest = self.newest.max(stamp.time);
        self.writers.insert(stamp.origin);
        store.apply(change, stamp, UnixMs(0), &mut Facts::default());
    }

    fn raise(&mut self, dot: Stamp) {
        self.newest = self.newest.max(dot.time);
        self.vector.raise(dot.origin, dot.time);
    }
}

impl Active {
    /// The log has been read. What was held counts as before; what came without counting is logged now; who was not alone
    /// never is again. The journal is open.
    pub fn resume(&mut self, replay: Replay, core: &mut Core<'_>) {
        core.clock.advance(replay.newest.max(replay.inherited).max(replay.collected));
        if self.mutants.has(Mutant::EpochNotRenewed)
            && let Some(&last) = replay.lives.last()
        {
            self.life.origin = last;
            core.clock.become_origin(last);
            self.members.become_origin(self.life.epoch, last);
        }
        let (epoch, origin) = (self.life.epoch, core.clock.origin());
        let first_epoch = replay.first_epoch.unwrap_or(epoch);
        core.journal.put(&Record::Start { epoch, origin });
        core.store.inherit(replay.inherited);
        if replay.inherited > 0 {
            self.members.note_foreign_horizon();
        }
        if let Some(inherited) = core.store.inherited() {
            core.journal.put(&Record::Inherited(inherited));
        }
        core.store.resume_collected(replay.collected);
        self.has_met = replay.has_met || self.members.has_past();
        self.is_unbroken = first_epoch == Epoch(1) && !self.has_met;
        self.first_epoch = first_epoch;
        self.lives.clone_from(&replay.lives);
        self.lives.push(origin);
        self.vector = replay.vector;
        if !self.vector.is_empty() {
            let vector = &self.vector;
            core.out.fact(|| Fact::VectorMoved { vector: vector.clone() });
        }
        self.read = (!self.vector.is_empty()).then(|| self.vector.clone());
        if replay.has_strays {
            self.strays = self.uncovered_origins(core.store);
        }
        let uncovered = !self.strays.is_empty();
        if self.is_plain() {
            self.resume_plain(&replay.lives, uncovered, core);
        }
        let mut holds = replay.writers;
        if replay.has_met {
            holds.extend(self.vector.iter().map(|(origin, _)| origin));
        }
        // (Of these nobody else need have any.)
        holds.retain(|origin| !replay.lives.contains(origin));
        self.members.set_holds(holds);
        self.unmet = replay.unmet;
        if !self.has_met {
            self.unseen = replay.lives;
        } else if !replay.has_met && !core.journal.is_on() {
            // A dump from before the first meeting: who was met since may refuse what it still has.
            self.brought.clone_from(&self.vector);
        }
        self.log.restart(&self.vector);
        self.alone = self.is_alone();
        core.store.set_alone(self.alone);
        self.collecting = true;
        if uncovered && !self.is_plain() {
            let text = "Cells of the log that did not count are logged anew";
            core.out.facts.log(LogLevel::Notice, text);
            self.adopt_uncovered(core);
        }
    }

    /// What a dump begins with: what a snapshot does, and whether anybody else may have anything of it.
    pub fn dump_head(&self, core: &Core<'_>) -> Head {
        let has_met = self.has_met || !self.met_nobody || self.members.has_past();
        Head { has_met, ..self.snapshot_head(Lsn(1), core) }
    }

    /// What a snapshot begins with that stands for all records before `lsn`, the next.
    pub fn snapshot_head(&self, lsn: Lsn, core: &Core<'_>) -> Head {
        let alone = core.store.is_alone();
        Head {
            lsn,
            vector: self.vector.clone(),
            collected: if alone { 0 } else { core.store.collected() },
            inherited: core.store.inherited().unwrap_or(0),
            first_epoch: self.first_epoch,
            lives: self.lives.clone(),
            has_met: self.has_met,
            unmet: self.unmet_lives(core),
            has_strays: !self.strays.is_empty() || self.holds_unlogged(),
            alone,
        }
    }

    /// The last lives, this one among them, if it has met nobody.
    fn unmet_lives(&self, core: &Core<'_>) -> Vec<(Epoch, Origin)> {
        if !self.met_nobody {
            return Vec::new();
        }
        let present = (self.life.epoch, core.clock.origin());
        self.unmet.iter().copied().chain([present]).collect()
    }

    /// A plain replica goes on from what it has if that is its master's and nothing else.
    fn resume_plain(&mut self, lives: &[Origin], uncovered: bool, core: &Core<'_>) {
        let mut own = uncovered;
        for &origin in lives {
            own |= !core.store.stamp_times(origin).is_empty();
            // Of its own writes nobody has any.
            self.vector.remove(origin);
        }
        self.needs_whole = own || self.vector.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::mutant::Mutants;
    use crate::base::unit::{Seen, Unit};
    use crate::store::StoreConfig;
    use crate::wal::snapshot::Place;

    fn set(key: &'static str, time: u64) -> Record {
        let (value, seen) = (key.into(), Seen::default());
        let cell = Cell::Register { value, resets: true, seen };
        let change = Change { db: DbIndex(0), key: key.into(), stamp: None, cell };
        Record::Unit(Unit { dot: Stamp::new(time, Origin(1)), changes: vec![change] })
    }

    /// An older write may have come after the delete that beat it, and the delete's trace have been collected before the
    /// chunk was made: nothing would beat it any more.
    #[test]
    fn what_a_snapshot_has_seen_is_not_applied_to_it_again() {
        let mut store =
            Store::new(StoreConfig { databases: 1, hash_seed: 1, mutants: Mutants::NONE });
        let mut replay = Replay::default();
        let head = Head {
            lsn: Lsn(5),
            vector: Vector::new(),
            collected: 100,
            inherited: 0,
            first_epoch: Epoch(1),
            lives: Vec::new(),
            has_met: true,
            unmet: Vec::new(),
            has_strays: false,
            alone: false,
        };
        let end = Place { db: 1, partition: 0 };
        let chunk = Piece::Chunk { lsn: Lsn(6), end, cells: Vec::new() };
        let tail = Piece::Tail { lsn: Lsn(6), collected: 100 };
        for piece in [Piece::Head(Box::new(head)), chunk, tail] {
            assert_eq!(replay.restore(piece, &mut store), Ok(()));
        }
        assert!(!replay.is_torn() && replay.lacks_records());
        for (key, time) in [("seen", 50), ("seen too", 60), ("new", 70)] {
            replay.apply(set(key, time), &mut store);
        }
        assert!(!replay.lacks_records());
        let exists = |key: &str| store.exists(DbIndex(0), key.as_bytes(), UnixMs(0));
        assert_eq!([exists("seen"), exists("seen too"), exists("new")], [false, false, true]);
        assert_eq!(replay.vector.get(Origin(1)), 70, "all of them count");
    }
}
