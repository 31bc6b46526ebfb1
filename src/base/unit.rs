//! Units: the net cell mutations of one command, one EXEC or one script, under one stamp. One unit is
//! one log record and one replicated frame; it is applied whole or not at all.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ids::{DbIndex, Origin};
use super::stamp::Stamp;
use super::time::UnixMs;

/// What a client's command did, as everything that replicates sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unit {
    /// The unit's place in its origin's sequence; also the stamp of every change without an own one.
    pub dot: Stamp,
    /// At most one change per cell.
    pub changes: Vec<Change>,
}

/// One cell, set to what a stamp says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    pub db: DbIndex,
    /// Empty for a database tombstone.
    pub key: Bytes,
    /// The cell's stamp where it differs from the unit's dot: cells that were transferred and are passed on.
    pub stamp: Option<Stamp>,
    pub cell: Cell,
}

/// A cell's content. The stamp is beside it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cell {
    /// A string's value. With `resets` the write also takes the place of every older expiry cell (SET);
    /// without, the expiry stays (APPEND).
    Register { value: Bytes, resets: bool, seen: Seen },
    /// The key is gone: removes the key's register and expiry with smaller stamps, and the
    /// contributions it lists.
    Tombstone { seen: Seen },
    /// What one origin has added to a counter since `gen`. The stamp is the newest increment's
    /// (*last*); its origin is the contributor.
    Contribution { generation: u64, sum: i128 },
    /// When the key expires; `None` after PERSIST or SET.
    Expiry { deadline: Option<UnixMs> },
    /// Written when an increment creates a key of which the node held no cell: cells of that key at or below `floor` are
    /// removed.
    KeyCell { floor: u64 },
    /// Every key of the database is gone: removes cells with smaller stamps.
    DatabaseTombstone,
    /// The key cell of a collection: written by the command that creates the key. The newest of a key's kinds
    /// decides what it is.
    Kind { kind: Kind },
    /// A field of a hash.
    Element { kind: Kind, name: Bytes, part: Part },
}

/// What a key can be besides a string.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Kind {
    Hash,
}

/// What is written to one element of a collection: the same as to a string, but for its expiry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Part {
    Register { value: Bytes, seen: Seen },
    Tombstone { seen: Seen },
    Contribution { generation: u64, sum: i128 },
}

/// Which cell of a key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Slot {
    Register,
    /// In the register's place.
    Tombstone,
    Expiry,
    /// Of the stamp's origin.
    Contribution {
        generation: u64,
    },
    Kind {
        kind: Kind,
    },
    Element {
        kind: Kind,
        name: Bytes,
        slot: PartSlot,
    },
}

/// Which cell of an element; a contribution's is of the stamp's origin.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PartSlot {
    Register,
    /// In the register's place.
    Tombstone,
    Contribution {
        generation: u64,
    },
}

/// The contributions a base write had seen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// In the order of (origin, generation).
    pub list: Vec<SeenContribution>,
    /// The writer's collected horizon: a contribution that is not listed and whose last is at or below counts as seen.
    pub horizon: u64,
}

/// One contribution as a base write saw it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SeenContribution {
    pub origin: Origin,
    pub generation: u64,
    pub last: u64,
    pub sum: i128,
}

impl Kind {
    pub const ALL: [Kind; 1] = [Kind::Hash];

    /// As TYPE names it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Hash => "hash",
        }
    }
}

impl Part {
    pub fn slot(&self) -> PartSlot {
        match self {
            Part::Register { .. } => PartSlot::Register,
            Part::Tombstone { .. } => PartSlot::Tombstone,
            Part::Contribution { generation, .. } => {
                PartSlot::Contribution { generation: *generation }
            }
        }
    }

    /// What a base write had seen; `None` of a contribution.
    pub fn seen(&self) -> Option<&Seen> {
        match self {
            Part::Register { seen, .. } | Part::Tombstone { seen } => Some(seen),
            Part::Contribution { .. } => None,
        }
    }

    /// Bytes of its value, and contributions that it lists.
    pub fn sizes(&self) -> (usize, usize) {
        match self {
            Part::Register { value, seen } => (value.len(), seen.list.len()),
            Part::Tombstone { seen } => (0, seen.list.len()),
            Part::Contribution { .. } => (0, 0),
        }
    }
}

impl Cell {
    /// The element that it is a cell of.
    pub fn element(&self) -> Option<(Kind, &Bytes)> {
        match self {
            Cell::Element { kind, name, .. } => Some((*kind, name)),
            Cell::Register { .. }
            | Cell::Tombstone { .. }
            | Cell::Contribution { .. }
            | Cell::Expiry { .. }
            | Cell::KeyCell { .. }
            | Cell::DatabaseTombstone
            | Cell::Kind { .. } => None,
        }
    }
}

impl Change {
    /// The stamp this change is merged under, in a unit with this dot.
    pub fn stamp_in(&self, dot: Stamp) -> Stamp {
        self.stamp.unwrap_or(dot)
    }
}

impl Unit {
    /// The newest stamp time anywhere in the unit.
    pub fn newest_time(&self) -> u64 {
        self.changes
            .iter()
            .map(|change| change.stamp_in(self.dot).time)
            .fold(self.dot.time, u64::max)
    }
}
