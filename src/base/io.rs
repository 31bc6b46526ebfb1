//! The boundary: everything that enters and leaves a node. A driver (the tokio shell, the simulator)
//! feeds inputs and carries out effects; the node itself does no I/O.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::fact::{Fact, Facts, LogLevel};
use super::ids::{ConnId, DialId, Lsn, NodeId, Origin};

/// Where to connect to: a name or an address, and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

/// Where a connection comes from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ConnOrigin {
    /// Accepted on the client port from this peer.
    Accepted { ip: IpAddr, port: u16 },
    /// The answer to [`Effect::Dial`].
    Dialed { dial: DialId },
}

/// Why no connection came about.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DialError {
    Refused,
    Unreachable,
    TimedOut,
    NameUnknown,
    Other,
}

/// Why a connection ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The other side closed.
    EndOfStream,
    Reset,
    TimedOut,
    /// The node asked for it with [`Effect::Close`] or [`Effect::Abort`].
    Asked,
}

/// What the driver knows of its host; zero where it does not know.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct HostStats {
    pub rss_bytes: u64,
    pub cpu_user_us: u64,
    pub cpu_sys_us: u64,
    pub memory_total_bytes: u64,
}

/// What a node's next life has to know of this one, whatever else of it is lost. Nothing of a life that was always
/// alone.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Past {
    /// Stamp time; nobody can have collected beyond it counting on what this life has announced, or before it joined.
    pub horizon: u64,
    /// Lives of other nodes, rising: nobody can have collected up to there unless each of them has announced something.
    pub needs: Vec<(NodeId, Origin)>,
    /// The other nodes of the cluster, rising.
    pub members: Vec<NodeId>,
}

/// Why the log could not be written.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// There is no room. The driver keeps what was to be written and goes on with it as soon as there is, after
    /// [`Input::DiskRoom`].
    Full,
    /// A write or a sync failed otherwise: what was written since the last sync may be lost although it can still be read.
    Failed,
}

/// How the snapshot under way goes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Snap {
    /// The latest [`Effect::SnapChunk`] is written.
    Written,
    /// It stands in the place of the one before, on the device; the log's records before it are given back.
    Committed,
    /// It could not be written and is given up; what was there before is still there.
    Failed,
}

/// A piece of what earlier lives have left in the log.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Recover<'a> {
    /// The contents of the next piece of the snapshot, in order, before any record.
    Piece(&'a [u8]),
    /// The contents of the next record, in order: the first one is that which the snapshot does not stand for any more.
    Record(&'a [u8]),
    /// That was all, and all of it is on the device. `next` is the place of the next record.
    Done { next: Lsn },
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    Opened {
        conn: ConnId,
        origin: ConnOrigin,
    },
    DialFailed {
        dial: DialId,
        why: DialError,
    },
    /// The driver has turned a client away: there are as many as `maxclients` allows.
    Refused,
    /// Bytes were received. The node takes whole commands or frames and leaves the unfinished tail.
    Bytes {
        conn: ConnId,
        buf: &'a mut BytesMut,
    },
    /// So many bytes of what was sent have been written out.
    Drained {
        conn: ConnId,
        bytes: u64,
    },
    /// The connection is gone. Not reported for one whose [`Effect::Close`] or [`Effect::Abort`] the node
    /// asked for.
    Closed {
        conn: ConnId,
        why: CloseReason,
    },
    /// Figures for INFO.
    Host(HostStats),
    /// SIGTERM, or the like. `save` is what `SHUTDOWN SAVE|NOSAVE` says.
    Shutdown {
        save: Option<bool>,
    },
    /// The answer to [`Effect::StorePast`]. `durable: false`: it could not be written, what was there before may be gone on
    /// with.
    PastStored {
        durable: bool,
    },
    /// The log is on the device up to this place.
    Synced {
        through: Lsn,
    },
    /// The log could not be written.
    DiskFailed {
        why: DiskError,
    },
    /// There is room again on a device that was full.
    DiskRoom,
    /// A snapshot has got on.
    Snap(Snap),
    /// A dump has got on, as a snapshot does.
    Dump(Snap),
    /// The log is read, at the start: only by a node that keeps one, and before that it takes no clients' commands.
    Recover(Recover<'a>),
    /// The time of `Node::poll_timeout` has come; may come early or twice: no effect then.
    Timeout,
}

/// What the driver has to do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    Send {
        conn: ConnId,
        bytes: Bytes,
    },
    /// `paused: false` obliges the driver to offer the buffered bytes again.
    PauseReads {
        conn: ConnId,
        paused: bool,
    },
    /// Write out what was sent before, then close.
    Close {
        conn: ConnId,
    },
    /// Close at once: what was sent before and is still held by the driver is let go of.
    Abort {
        conn: ConnId,
    },
    Dial {
        dial: DialId,
        to: HostPort,
    },
    CancelDial {
        dial: DialId,
    },
    Setting(ShellSetting),
    /// Write this identity down durably before anything else goes on: the epoch counts up.
    StoreEpoch {
        epoch: u32,
    },
    /// Write this down durably beside the identity, while everything goes on; [`Input::PastStored`] answers.
    /// The next is not asked for before that.
    StorePast(Past),
    /// Write these whole frames, the last of them the record `lsn`, at the end of the log: before what comes behind this
    /// effect is carried out, and so that it outlives the process.
    Append {
        lsn: Lsn,
        records: Bytes,
    },
    /// Bring the log onto the device, at least up to this place; [`Input::Synced`] answers. The next is not asked for
    /// before that.
    Sync {
        through: Lsn,
    },
    /// Begin a snapshot that stands for all records before `lsn`, the next one to be appended, beside the one there is.
    /// One under way is given up, and is no longer reported on.
    SnapBegin {
        lsn: Lsn,
    },
    /// Write these whole frames at its end; [`Input::Snap`] answers. The next is not asked for before that.
    SnapChunk {
        bytes: Bytes,
    },
    /// Bring it onto the device and put it in the place of the one before; [`Input::Snap`] answers.
    SnapCommit,
    /// A step of a dump; [`Input::Dump`] answers all but the first.
    Dump(DumpStep),
    /// Stop the process with this exit code.
    Halt {
        code: i32,
        reason: String,
    },
}

/// A dump, `dbfilename` in `dir`, is written as a snapshot is: beside what was there before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DumpStep {
    /// One under way is given up, and is no longer reported on.
    Begin,
    /// Write these bytes at its end. The next is not asked for before that.
    Chunk(Bytes),
    /// Bring it onto the device and put it in the place of the one before.
    Commit,
}

/// What the driver looks after and a client may change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShellSetting {
    LogLevel(LogLevel),
    MaxClients(u32),
    TcpKeepalive { secs: u32 },
}

/// The queue of effects, owned by the driver, and the facts beside it.
#[derive(Debug, Default)]
pub struct Effects {
    queue: VecDeque<Effect>,
    pub facts: Facts,
}

impl Effects {
    pub fn new(facts_on: bool) -> Effects {
        Effects { queue: VecDeque::new(), facts: Facts::new(facts_on) }
    }

    pub fn push(&mut self, effect: Effect) {
        self.queue.push_back(effect);
    }

    pub fn pop(&mut self) -> Option<Effect> {
        self.queue.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Takes away everything behind the first `count`, in order.
    pub fn split_off(&mut self, count: usize) -> VecDeque<Effect> {
        self.queue.split_off(count)
    }

    /// Records a fact if anybody listens.
    #[inline]
    pub fn fact(&mut self, make: impl FnOnce() -> Fact) {
        self.facts.fact(make);
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
