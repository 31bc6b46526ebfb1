//! A tape of a run for the timeline page: what travelled between the hosts, what was done to them, what
//! clients asked and what each key was. A world without a tape pays one test per segment; a world with
//! one draws no other random number and has the same digest.

pub mod flow;
mod interner;
pub mod ops;
pub mod parting;
pub mod tape;
mod transit;
mod words;

use std::sync::{Arc, Mutex, PoisonError};

pub use parting::{Parting, parting};
pub use tape::Tape;

/// A handle on a tape that outlives the world it belongs to: what was recorded before a node panicked
/// is kept.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Tape>>);

impl Recorder {
    pub fn new() -> Recorder {
        Recorder::default()
    }

    pub fn with<R>(&self, act: impl FnOnce(&mut Tape) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the tape out; what is recorded afterwards goes to an empty one.
    pub fn take(&self) -> Tape {
        self.with(std::mem::take)
    }
}

/// Index into [`Tape::texts`].
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Text(pub u32);

/// Index into [`Tape::keysets`].
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Keys(pub u32);

/// What a message between two hosts is about.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum MessageKind {
    /// A pure acknowledgement or a probe.
    TcpAck,
    /// Connections begin and end; ICMP errors.
    TcpControl,
    /// A client's commands and replies.
    Client,
    Heartbeat,
    Handshake,
    /// A state transfer.
    Resync,
    /// Replicated writes.
    Unit,
}

/// What became of a message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Fate {
    UnderWay,
    Delivered,
    LostOnLink,
    DroppedByOutput,
    DroppedByInput,
    RejectedByOutput,
    RejectedByInput,
    /// The receiving host has no power.
    HostOff,
}

/// What a mark on a host's lane tells of.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum MarkKind {
    Process,
    Clock,
    Firewall,
    /// A fault of the plan, or a line of the scenario.
    Plan,
    Link,
    Resync,
    /// Of two writes that had not seen each other one was dropped.
    Conflict,
    /// A write got its stamp, or was taken from elsewhere.
    Unit,
    Log,
    /// A rare path.
    Rare,
    Member,
    /// Somebody was told no.
    Refusal,
    Verdict,
}

/// How a client's command ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum OpOutcome {
    Ok,
    /// Answered with an error: without effect.
    Refused,
    /// Never answered: it may have taken effect.
    InDoubt,
}

/// What a host's process does for a while.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum HostState {
    /// No process.
    Down,
    Running,
    /// Stopped with SIGSTOP.
    Paused,
    /// The host has no power.
    Off,
}

/// What happens to a process.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ProcessChange<'a> {
    Started { epoch: u32 },
    Killed,
    PoweredOff,
    Paused,
    Resumed,
    Exited { code: i32, reason: &'a str },
}

/// A segment as it was sent: one transmission.
#[derive(Clone, Debug)]
pub struct Message {
    /// Simulated times, ns. `ends`: arrived, or was dropped.
    pub sent: u64,
    pub ends: u64,
    pub from: u16,
    pub to: u16,
    /// Index into [`Tape::conns`].
    pub conn: u32,
    pub bytes: u32,
    pub kind: MessageKind,
    pub fate: Fate,
    /// A retransmission.
    pub again: bool,
    pub text: Text,
    pub keys: Keys,
}

/// A moment on a host's lane.
#[derive(Clone, Debug)]
pub struct Mark {
    pub at: u64,
    /// `None`: it concerns the whole world.
    pub host: Option<u16>,
    pub kind: MarkKind,
    pub text: Text,
    pub keys: Keys,
}

/// A client's command.
#[derive(Clone, Debug)]
pub struct Op {
    pub sent: u64,
    /// Answered, or given up.
    pub ends: u64,
    /// Where it was sent to.
    pub host: u16,
    /// Index into [`Tape::conns`].
    pub conn: u32,
    pub outcome: OpOutcome,
    /// Said by the library or the player by itself: greetings, attempts to look.
    pub greeting: bool,
    pub text: Text,
    pub reply: Text,
    pub keys: Keys,
}

/// A connection: who dialled whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conn {
    pub from: u16,
    pub from_port: u16,
    pub to: u16,
    pub to_port: u16,
    /// Between two servers.
    pub peers: bool,
    /// Whose it is, if it is a client's.
    pub who: Text,
}

/// A span of time in which packets from one host to another meet a wall.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wall {
    pub from: u16,
    pub to: u16,
    pub kind: WallKind,
    pub begins: u64,
    pub ends: u64,
    pub text: Text,
}

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum WallKind {
    /// Some packets pass.
    Partial,
    /// Packets are answered with an error or a reset.
    Refusing,
    Closed,
}

/// An element of the plan or a line of a scenario, from its beginning to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    pub begins: u64,
    pub ends: u64,
    pub text: Text,
}

/// What one key was on every host.
#[derive(Clone, Debug)]
pub struct Series {
    pub key: String,
    /// By host: since when it has been what; `None`: not there.
    pub hosts: Vec<Vec<(u64, Option<Text>)>>,
}

/// How the run ended, in words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct End {
    /// `held`, `violated`, `undecided`.
    pub kind: String,
    pub title: String,
    pub evidence: String,
    pub digest: String,
}
