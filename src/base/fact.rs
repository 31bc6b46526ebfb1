//! Facts: typed events that the node pushes while it works. Traces, checkers, logs and the counts of
//! rare paths feed on them; nothing is recorded in statics.

use bytes::Bytes;

use super::ids::{ConnId, DbIndex, Epoch, NodeId, Origin};
use super::stamp::Stamp;
use super::unit::{Change, Unit};
use super::vector::Vector;

/// How loud a log line is; Redis's names.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// Something that happened inside a node.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    /// A line for the log.
    Log {
        level: LogLevel,
        text: String,
    },
    /// A path that is rarely taken was taken.
    Sometimes(&'static str),
    /// A local client's command, EXEC or script was executed and made a unit. `vector` is what the
    /// node had from every origin at that moment, without this unit.
    UnitIssued {
        conn: Option<ConnId>,
        unit: Unit,
        vector: Vector,
    },
    /// Cells that the own vector does not cover were put into the log under an own new dot.
    CellsAdopted {
        unit: Unit,
    },
    /// Cells from below the horizon of the cluster joined were written again as a unit of the node's own: a base write
    /// has seen what it lists, as before, and no more.
    CellsLifted {
        unit: Unit,
    },
    /// A unit that came over a link was applied (not a duplicate).
    UnitTaken {
        dot: Stamp,
        conn: ConnId,
    },
    /// The own writes of an epoch in which nothing had been sent were moved to new stamps, order kept:
    /// every stamp `(from.time, from origin)` became `(to.time, to origin)`. Pairs in rising order.
    StampsMoved {
        from: Origin,
        to: Origin,
        times: Vec<(u64, u64)>,
        /// Contributions up to here count as seen by the moved base writes.
        horizon: u64,
    },
    /// From now on nobody else has or is about to get anything of this node, as of one that starts without
    /// masters: what it deletes leaves nothing behind.
    StandsAlone,
    /// Nobody else had or was about to get anything until now, and deletes left nothing behind. These are
    /// all cells of the node; nothing else that it wrote will ever be seen.
    StoodAlone {
        cells: Vec<Change>,
    },
    /// What a client can see of a key has changed by something that came from elsewhere or by the
    /// merge of a local write. `stamp` is the stamp of the cell that did it.
    KeyChanged {
        db: DbIndex,
        key: Bytes,
        stamp: Stamp,
        visible_before: bool,
        visible_after: bool,
    },
    /// A merge dropped an older cell in favour of a newer one written elsewhere without having seen it.
    StaleDropped {
        db: DbIndex,
        key: Bytes,
        stamp: Stamp,
        kept: Stamp,
    },
    /// The vector moved to this.
    VectorMoved {
        vector: Vector,
    },
    /// Tombstones and stamp detail up to this stamp time were collected.
    Collected {
        horizon: u64,
    },
    /// A link to a master came up, or went down.
    LinkUp {
        peer: NodeId,
    },
    LinkDown {
        peer: NodeId,
    },
    /// A link has shown no sign of life for two ping periods.
    LinkSuspect {
        peer: NodeId,
    },
    /// A state transfer began, ended or broke off, on the receiving side.
    ResyncBegan {
        from: NodeId,
    },
    ResyncEnded {
        from: NodeId,
        complete: bool,
    },
    /// The store was emptied to take a master's data (plain replica).
    DataDropped,
    /// A member's record was learned or replaced.
    MemberSeen {
        node: NodeId,
        origin: Origin,
        epoch: Epoch,
    },
    /// An origin whose stamps are too far ahead is paused, or goes on.
    OriginPaused {
        origin: Origin,
    },
    OriginResumed {
        origin: Origin,
    },
    /// The own wall clock is ahead of the peers' by so much that stamps follow theirs.
    ClockCorrected {
        offset_ms: i64,
    },
}

/// The optional list of facts. Off (the production server) it keeps log lines only.
#[derive(Debug, Default)]
pub struct Facts {
    on: bool,
    list: Vec<Fact>,
}

impl Facts {
    pub fn new(on: bool) -> Facts {
        Facts { on, list: Vec::new() }
    }

    /// Records a fact if anybody listens; the closure is not called otherwise.
    #[inline]
    pub fn fact(&mut self, make: impl FnOnce() -> Fact) {
        if self.on {
            self.list.push(make());
        }
    }

    /// Counts a rare path.
    #[inline]
    pub fn sometimes(&mut self, label: &'static str) {
        if self.on {
            self.list.push(Fact::Sometimes(label));
        }
    }

    /// Writes a log line; kept whether or not anybody listens to facts.
    pub fn log(&mut self, level: LogLevel, text: impl Into<String>) {
        self.list.push(Fact::Log { level, text: text.into() });
    }

    pub fn is_on(&self) -> bool {
        self.on
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes what was recorded, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Fact> {
        self.list.drain(..)
    }
}
