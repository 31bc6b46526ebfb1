//! The replication log: units in the order in which this node applied them, its own and those taken in,
//! with barriers where the vector rose by a resync. The part still in memory is the backlog.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::stamp::Stamp;
use crate::base::unit::{Cell, Unit};
use crate::base::vector::Vector;
use crate::wire::frame::Frame;

/// Bytes an entry costs beside its frame.
const ENTRY_BYTES: u64 = 64;

/// What stands at one place of the log.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A unit, encoded as the frame that every link sends.
    Unit { dot: Stamp, frame: Bytes },
    /// The vector rose to this by a resync; what it stands for is not in the log.
    Barrier { vector: Vector, frame: Bytes },
}

/// The backlog and the vector it begins at.
#[derive(Debug)]
pub struct Log {
    entries: VecDeque<Entry>,
    /// Position of the first entry; positions count up for the life of the process.
    first: u64,
    bytes: u64,
    bytes_max: u64,
    /// Entries from here on are still to be sent to some replica: they stay up to a larger bound.
    needed: u64,
    needed_bytes_max: u64,
    /// Bytes of all frames ever appended.
    total_bytes: u64,
    /// Whoever covers this misses nothing that is not in the log.
    start: Vector,
}

impl Log {
    pub fn new(bytes_max: u64, needed_bytes_max: u64) -> Log {
        Log {
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            bytes_max,
            needed: u64::MAX,
            needed_bytes_max,
            total_bytes: 0,
            start: Vector::new(),
        }
    }

    pub fn append_unit(&mut self, unit: &Unit) {
        let frame = Frame::unit_bytes(unit);
        self.append(Entry::Unit { dot: unit.dot, frame });
    }

    pub fn append_barrier(&mut self, vector: &Vector) {
        let frame = Frame::Barrier(vector.clone()).to_bytes();
        self.append(Entry::Barrier { vector: vector.clone(), frame });
    }

    fn append(&mut self, entry: Entry) {
        self.bytes += entry.cost();
        self.total_bytes += entry.cost() - ENTRY_BYTES;
        self.entries.push_back(entry);
        self.trim();
    }

    /// Forgets everything: from now on only who covers `vector` can be served from the log.
    pub fn restart(&mut self, vector: &Vector) {
        self.first += self.entries.len() as u64;
        self.entries.clear();
        self.bytes = 0;
        self.start = vector.clone();
    }

    pub fn set_bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
        self.trim();
    }

    /// From which position on some replica that follows the log still needs entries; `u64::MAX` if none does.
    pub fn set_needed(&mut self, needed: u64) {
        self.needed = needed;
        self.trim();
    }

    fn trim(&mut self) {
        while self.bytes > self.bytes_max {
            if self.first >= self.needed && self.bytes <= self.needed_bytes_max {
                return;
            }
            let Some(entry) = self.entries.pop_front() else { break };
            self.first += 1;
            self.bytes -= entry.cost();
            match entry {
                Entry::Unit { dot, .. } => {
                    self.start.raise(dot.origin, dot.time);
                }
                Entry::Barrier { vector, .. } => {
                    self.start.merge(&vector);
                }
            }
        }
    }

    pub fn get(&self, position: u64) -> Option<&Entry> {
        let index = position.checked_sub(self.first)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// Position of the first entry still held.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Position after the last entry.
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub fn start(&self) -> &Vector {
        &self.start
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of all frames ever appended, for INFO's offsets.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Of those, bytes of frames before the first entry still held.
    pub fn first_bytes(&self) -> u64 {
        self.total_bytes + ENTRY_BYTES * self.entries.len() as u64 - self.bytes
    }

    /// The log never holds more than this.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max.max(self.needed_bytes_max)
    }
}

impl Entry {
    /// Bytes of its frame.
    pub fn frame_bytes(&self) -> u64 {
        self.cost() - ENTRY_BYTES
    }

    fn cost(&self) -> u64 {
        match self {
            Entry::Unit { frame, .. } | Entry::Barrier { frame, .. } => {
                frame.len() as u64 + ENTRY_BYTES
            }
        }
    }
}

/// Whether a unit is what an APPEND makes.
pub fn is_append(unit: &Unit) -> bool {
    unit.changes.iter().any(|change| match &change.cell {
        Cell::Register { resets, .. } => !resets,
        Cell::Kind { .. }
        | Cell::Element { .. }
        | Cell::Tombstone { .. }
        | Cell::Contribution { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Origin;

    #[test]
    fn trimmed_entries_raise_the_start() {
        let mut log = Log::new(300, 0);
        for time in 1..=10 {
            log.append_unit(&Unit { dot: Stamp::new(time, Origin(7)), changes: Vec::new() });
        }
        assert!(log.bytes() <= 300);
        assert_eq!(log.end(), 10);
        assert_eq!(log.start().get(Origin(7)), log.first());
        assert!(log.get(log.first()).is_some() && log.get(log.end()).is_none());
        let held: u64 =
            (log.first()..log.end()).filter_map(|at| log.get(at)).map(Entry::frame_bytes).sum();
        assert_eq!(log.first_bytes() + held, log.total_bytes());
    }

    #[test]
    fn what_a_replica_is_about_to_get_stays_up_to_a_larger_bound() {
        let mut log = Log::new(300, 600);
        log.set_needed(0);
        let unit = |time| Unit { dot: Stamp::new(time, Origin(7)), changes: Vec::new() };
        while log.first() == 0 {
            log.append_unit(&unit(log.end() + 1));
        }
        assert!(log.bytes() > 300 && log.bytes() <= 600);
        log.set_needed(log.end());
        assert!(log.bytes() <= 300);
        log.append_unit(&unit(log.end() + 1));
        log.set_needed(u64::MAX);
        assert!(log.bytes() <= 300);
    }
}
