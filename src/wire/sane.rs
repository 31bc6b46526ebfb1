//! What no honest peer says. A frame that says it is refused as malformed before anything is done with it: a clock,
//! a floor or a horizon of nonsense would spread to all members and stay for ever.

use crate::base::ids::{DATABASES_MAX, Epoch};
use crate::base::stamp::Stamp;
use crate::base::unit::{Cell, Change, Part, Seen, Unit};
use crate::base::vector::Vector;

use super::frame::{Frame, Hello, Record, Refusal};
use super::news::News;

/// No stamp time reaches this: it stands for a moment more than two thousand years ahead.
pub const TIME_MAX: u64 = 1 << 62;
/// More lives than any node has.
const EPOCH_MAX: u32 = 1 << 30;
/// More origins than any cluster has.
pub const ORIGINS_MAX: usize = 1 << 16;

/// Whether a frame can come from a peer in good order.
pub fn is_sane(frame: &Frame) -> bool {
    match frame {
        Frame::Hello(hello) => hello_is_sane(hello),
        Frame::Refuse(Refusal::EpochTaken { newest }) => epoch_is_sane(*newest),
        Frame::Refuse(_) | Frame::StateEnd => true,
        Frame::Unit(unit) => unit_is_sane(unit),
        Frame::Barrier(vector)
        | Frame::StateBegin { vector, .. }
        | Frame::ResyncRequest { presented: vector, .. }
        | Frame::Ack(vector) => vector_is_sane(vector),
        Frame::StateChunk(changes) => {
            changes.iter().all(|change| change.stamp.is_some_and(|s| change_is_sane(change, s)))
        }
        Frame::Heartbeat(heartbeat) => {
            let News { vector, members } = &*heartbeat.news;
            vector_is_sane(vector) && members.iter().all(record_is_sane)
        }
    }
}

fn hello_is_sane(hello: &Hello) -> bool {
    epoch_is_sane(hello.epoch)
        && hello.clock < TIME_MAX
        && hello.horizon_bound < TIME_MAX
        && hello.strays.len() <= ORIGINS_MAX
        && hello.horizon_needs.len() <= ORIGINS_MAX
        && hello.holds.len() <= ORIGINS_MAX
        && vector_is_sane(&hello.vector)
        && hello.members.iter().all(record_is_sane)
}

fn record_is_sane(record: &Record) -> bool {
    epoch_is_sane(record.epoch)
        && record.collected < TIME_MAX
        && vector_is_sane(&record.vector)
        && record.lists.len() <= ORIGINS_MAX
        && record.announced_to.len() <= ORIGINS_MAX
}

pub fn epoch_is_sane(epoch: Epoch) -> bool {
    epoch.0 < EPOCH_MAX
}

pub fn vector_is_sane(vector: &Vector) -> bool {
    vector.len() <= ORIGINS_MAX && vector.iter().all(|(_, time)| time < TIME_MAX)
}

pub fn unit_is_sane(unit: &Unit) -> bool {
    unit.dot.time < TIME_MAX
        && unit.changes.iter().all(|change| change_is_sane(change, change.stamp_in(unit.dot)))
}

/// Nobody has collected past what he stamps, and nobody lists what is newer than his write.
pub fn change_is_sane(change: &Change, stamp: Stamp) -> bool {
    let seen_is_sane = |seen: &Seen| seen.horizon <= stamp.time;
    let cell = match &change.cell {
        Cell::Register { seen, .. } | Cell::Tombstone { seen } => seen_is_sane(seen),
        Cell::Contribution { generation, .. } => *generation <= stamp.time,
        Cell::KeyCell { floor } => *floor < stamp.time,
        Cell::Element { part: Part::Register { seen, .. } | Part::Tombstone { seen }, .. } => {
            seen_is_sane(seen)
        }
        Cell::Element { part: Part::Contribution { generation, .. }, .. } => {
            *generation <= stamp.time
        }
        Cell::Expiry { .. } | Cell::DatabaseTombstone | Cell::Kind { .. } => true,
    };
    change.db.0 < DATABASES_MAX && stamp.time < TIME_MAX && cell
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::ids::{DbIndex, Origin};

    fn change(db: u16, cell: Cell) -> Change {
        Change { db: DbIndex(db), key: Bytes::from_static(b"k"), stamp: None, cell }
    }

    fn unit(time: u64, change: Change) -> Frame {
        Frame::Unit(Unit { dot: Stamp::new(time, Origin(1)), changes: vec![change] })
    }

    #[test]
    fn floors_horizons_generations_and_databases_out_of_bounds_are_refused() {
        let floor = |floor| Cell::KeyCell { floor };
        let dead = |horizon| Cell::Tombstone { seen: Seen { list: Vec::new(), horizon } };
        let grown = |generation| Cell::Contribution { generation, sum: 1 };
        for (sane, frame) in [
            (true, unit(9, change(3, floor(8)))),
            (false, unit(9, change(3, floor(9)))),
            (false, unit(9, change(3, floor(u64::MAX)))),
            (true, unit(9, change(3, dead(9)))),
            (false, unit(9, change(3, dead(10)))),
            (true, unit(9, change(3, grown(9)))),
            (false, unit(9, change(3, grown(10)))),
            (false, unit(TIME_MAX, change(3, floor(8)))),
            (false, unit(9, change(u16::MAX, floor(8)))),
            (false, Frame::StateChunk(vec![change(3, floor(8))])),
            (false, Frame::Refuse(Refusal::EpochTaken { newest: Epoch(u32::MAX) })),
            (true, Frame::Refuse(Refusal::EpochTaken { newest: Epoch(7) })),
            (false, Frame::Ack(Vector::from(vec![(Origin(1), u64::MAX)]))),
            (true, Frame::Ack(Vector::from(vec![(Origin(1), 5)]))),
        ] {
            assert_eq!(is_sane(&frame), sane, "{frame:?}");
        }
    }
}
