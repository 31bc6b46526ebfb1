//! What the records of a log say, in the format of [`crate::wire::packed`]: a byte for the kind, then the fields.
//!
//! Applied in order to an empty store they give the store that was, but for what it had collected: nothing is collected
//! meanwhile. What was not let in is not in the log.

use bytes::Bytes;

use crate::base::ids::{DbIndex, Epoch, Lsn, Origin};
use crate::base::stamp::Stamp;
use crate::base::unit::{Change, PartSlot, Slot, Unit};
use crate::base::vector::Vector;
use crate::wire::packed::{Malformed, Packed, Read, Reader};
use crate::wire::sane::{TIME_MAX, change_is_sane, epoch_is_sane, unit_is_sane, vector_is_sane};

/// One record of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// A life begins; what is the node's own from here on is of this origin.
    Start { epoch: Epoch, origin: Origin },
    /// Somebody else has met this node: what was written before may be held elsewhere from here on.
    Met,
    /// A unit was applied and counts: the vector covers its dot.
    Unit(Unit),
    /// Cells with their own stamps were merged; the vector did not move.
    Cells(Vec<Change>),
    /// The vector rose to this where it was below.
    Vector(Vector),
    /// Tombstones and stamp detail were collected up to this stamp time.
    Collected(u64),
    /// The node joined a cluster that may have collected up to this stamp time.
    Inherited(u64),
    /// What the node had inherited is its own.
    TakenOver,
    /// The life goes on under another epoch and origin.
    Epoch { epoch: Epoch, origin: Origin },
    /// Own writes that nobody had seen got new stamps: (old, new) times, rising. Moved base writes count contributions
    /// up to `horizon` as seen.
    Moved { from: Origin, to: Origin, times: Vec<(u64, u64)>, horizon: u64 },
    /// Everything was dropped, what the vector said included.
    Dropped,
    /// These very states of cells of a key went without a trace: all at once, since none of them says what it did without
    /// the others.
    Forgotten { db: DbIndex, key: Bytes, cells: Vec<(Slot, Stamp)> },
    /// Everything up to this record is on the device: damage there is no torn tail.
    Synced { through: Lsn },
    /// Strong mode's, in its own format.
    Strong(Bytes),
}

const START: u8 = 1;
const MET: u8 = 2;
const UNIT: u8 = 3;
const CELLS: u8 = 4;
const VECTOR: u8 = 5;
const COLLECTED: u8 = 6;
const INHERITED: u8 = 7;
const TAKEN_OVER: u8 = 8;
const EPOCH: u8 = 9;
const MOVED: u8 = 10;
const DROPPED: u8 = 11;
const FORGOTTEN: u8 = 12;
const SYNCED: u8 = 13;
const STRONG: u8 = 14;

/// Whether these are the contents of a [`Record::Synced`].
pub fn is_synced(contents: &[u8]) -> bool {
    contents.first() == Some(&SYNCED)
}

/// Appends the contents of [`Record::Unit`].
pub fn put_unit(unit: &Unit, out: &mut Vec<u8>) {
    out.push(UNIT);
    unit.put(out);
}

/// Appends the contents of [`Record::Vector`].
pub fn put_vector(vector: &Vector, out: &mut Vec<u8>) {
    out.push(VECTOR);
    vector.put(out);
}

impl Record {
    /// Appends the record's contents.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Record::Start { epoch, origin } => {
                out.push(START);
                (*epoch, *origin).put(out);
            }
            Record::Met => out.push(MET),
            Record::Unit(unit) => put_unit(unit, out),
            Record::Cells(changes) => {
                out.push(CELLS);
                changes.put(out);
            }
            Record::Vector(vector) => put_vector(vector, out),
            Record::Collected(horizon) => {
                out.push(COLLECTED);
                horizon.put(out);
            }
            Record::Inherited(horizon) => {
                out.push(INHERITED);
                horizon.put(out);
            }
            Record::TakenOver => out.push(TAKEN_OVER),
            Record::Epoch { epoch, origin } => {
                out.push(EPOCH);
                (*epoch, *origin).put(out);
            }
            Record::Moved { from, to, times, horizon } => {
                out.push(MOVED);
                (*from, *to).put(out);
                times.put(out);
                horizon.put(out);
            }
            Record::Dropped => out.push(DROPPED),
            Record::Forgotten { db, key, cells } => {
                out.push(FORGOTTEN);
                db.put(out);
                key.put(out);
                cells.put(out);
            }
            Record::Synced { through } => {
                out.push(SYNCED);
                through.0.put(out);
            }
            Record::Strong(contents) => {
                out.push(STRONG);
                contents.put(out);
            }
        }
    }

    /// Reads a record's contents.
    ///
    /// # Errors
    /// They are none of a record, or say what no node says.
    pub fn read(contents: &[u8]) -> Read<Record> {
        let (&kind, body) = contents.split_first().ok_or(Malformed)?;
        let mut from = Reader::new(body);
        let record = Record::take(kind, &mut from)?;
        if from.rest().is_empty() && record.is_sane() { Ok(record) } else { Err(Malformed) }
    }

    fn take(kind: u8, from: &mut Reader<'_>) -> Read<Record> {
        Ok(match kind {
            START => Record::Start { epoch: from.take()?, origin: from.take()? },
            MET => Record::Met,
            UNIT => Record::Unit(from.take()?),
            CELLS => Record::Cells(from.take()?),
            VECTOR => Record::Vector(from.take()?),
            COLLECTED => Record::Collected(from.take()?),
            INHERITED => Record::Inherited(from.take()?),
            TAKEN_OVER => Record::TakenOver,
            EPOCH => Record::Epoch { epoch: from.take()?, origin: from.take()? },
            MOVED => {
                let (origins, times, horizon) = (from.take()?, from.take()?, from.take()?);
                let (from, to) = origins;
                Record::Moved { from, to, times, horizon }
            }
            DROPPED => Record::Dropped,
            FORGOTTEN => {
                let (db, key) = (from.take()?, from.take()?);
                Record::Forgotten { db, key, cells: from.take()? }
            }
            SYNCED => Record::Synced { through: Lsn(from.take()?) },
            STRONG => Record::Strong(from.take()?),
            _ => return Err(Malformed),
        })
    }

    fn is_sane(&self) -> bool {
        match self {
            Record::Start { epoch, .. } | Record::Epoch { epoch, .. } => epoch_is_sane(*epoch),
            Record::Met
            | Record::TakenOver
            | Record::Dropped
            | Record::Synced { .. }
            | Record::Strong(_) => true,
            Record::Unit(unit) => unit_is_sane(unit),
            Record::Cells(changes) => changes
                .iter()
                .all(|change| change.stamp.is_some_and(|stamp| change_is_sane(change, stamp))),
            Record::Vector(vector) => vector_is_sane(vector),
            Record::Collected(horizon) | Record::Inherited(horizon) => *horizon < TIME_MAX,
            Record::Moved { times, horizon, .. } => {
                *horizon < TIME_MAX
                    && times.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1)
                    && times.last().is_none_or(|last| last.0.max(last.1) < TIME_MAX)
            }
            Record::Forgotten { cells, .. } => cells.iter().all(|(_, stamp)| stamp.time < TIME_MAX),
        }
    }
}

impl Packed for Slot {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Slot::Register => out.push(0),
            Slot::Expiry => out.push(1),
            Slot::Tombstone => out.push(3),
            Slot::Contribution { generation } => {
                out.push(2);
                generation.put(out);
            }
            Slot::Element { kind, name, slot } => {
                out.push(4);
                kind.put(out);
                name.put(out);
                slot.put(out);
            }
            Slot::Kind { kind } => {
                out.push(5);
                kind.put(out);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Read<Slot> {
        Ok(match from.take::<u32>()? {
            0 => Slot::Register,
            1 => Slot::Expiry,
            2 => Slot::Contribution { generation: from.take()? },
            3 => Slot::Tombstone,
            4 => Slot::Element { kind: from.take()?, name: from.take()?, slot: from.take()? },
            5 => Slot::Kind { kind: from.take()? },
            6.. => return Err(Malformed),
        })
    }
}

impl Packed for PartSlot {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            PartSlot::Register => out.push(0),
            PartSlot::Tombstone => out.push(1),
            PartSlot::Contribution { generation } => {
                out.push(2);
                generation.put(out);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Read<PartSlot> {
        Ok(match from.take::<u32>()? {
            0 => PartSlot::Register,
            1 => PartSlot::Tombstone,
            2 => PartSlot::Contribution { generation: from.take()? },
            3.. => return Err(Malformed),
        })
    }
}
