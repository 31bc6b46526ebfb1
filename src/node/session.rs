//! One connection of a client: what state it is in and which replies it still gets.

use std::net::IpAddr;

use crate::base::ids::{ConnId, DbIndex, Origin};
use crate::base::stamp::Stamp;
use crate::base::time::Mono;
use crate::command::Command;
use crate::wire::reply::{Protocol, Reply};
use crate::wire::resp::{OwnedArgs, Parser};

use super::replies::{ReplyQueue, SlotId};
use super::strong::client::ClusterState;
use super::watch::Watched;

/// What a connection is used for at the moment.
#[derive(Debug)]
pub enum State {
    /// Commands are executed as they come.
    Command,
    /// Between MULTI and EXEC or DISCARD.
    Transaction(Transaction),
    /// Executes nothing until something has happened.
    Blocked(Block),
    /// Has become a link to a peer: the bytes are active mode's.
    Peer,
    /// The connection is closed at the end of the batch; what comes is not looked at. What was answered
    /// leaves before, or is let go of.
    Closing { discards: bool },
}

/// What a blocked session waits for.
#[derive(Clone, Debug)]
pub enum Block {
    Wait(Wait),
    /// SHUTDOWN: the end of the process, or an error if it is aborted.
    Shutdown(SlotId),
    /// SAVE: the end of the dump with this number, or of a later one.
    Save {
        slot: SlotId,
        dump: u64,
    },
    /// FLUSHALL of strong mode: all of it is committed.
    Flush(SlotId),
}

/// Commands queued for EXEC.
#[derive(Debug, Default)]
pub struct Transaction {
    pub queued: Vec<(&'static Command, OwnedArgs)>,
    /// A command was refused when it was queued: EXEC refuses all.
    pub refused: bool,
    /// At least one queued command may write.
    pub writes: bool,
    pub bytes: usize,
    /// In strong mode: the slot of the keys so far.
    pub slot: Option<u16>,
}

/// WAIT: until so many replicas have acknowledged `dot`, or the time is over.
#[derive(Clone, Debug)]
pub struct Wait {
    pub slot: SlotId,
    pub dot: Stamp,
    pub replicas: u64,
    /// `None`: however long it takes.
    pub deadline: Option<Mono>,
}

/// A client's connection.
#[derive(Debug)]
pub struct Session {
    pub conn: ConnId,
    /// What CLIENT ID answers: counts up from 1.
    pub client_id: u64,
    pub address: (IpAddr, u16),
    state: State,
    pub replies: ReplyQueue,
    pub parser: Parser,
    pub protocol: Protocol,
    pub db: DbIndex,
    pub authenticated: bool,
    pub name: Vec<u8>,
    pub lib_name: Vec<u8>,
    pub lib_version: Vec<u8>,
    /// Keys under WATCH, sorted.
    pub watched: Vec<Watched>,
    /// The newest unit this client made: what WAIT waits for.
    pub last_write: Stamp,
    pub last_seen: Mono,
    /// Beyond so many bytes of answers no more strings are written: the client is given up then.
    pub reply_bytes_max: usize,
    /// Bytes handed to the driver and not yet reported as written out.
    pub undrained_bytes: u64,
    /// Since when the soft limit of unread output has been passed without a break.
    pub soft_limit_since: Option<Mono>,
    /// Its next command is a write that a shutdown under way does not let through.
    pub is_postponed: bool,
    /// Since when its next command waits for a change of regime.
    pub parked_since: Option<Mono>,
    /// In strong mode.
    pub cluster: ClusterState,
    /// In the node's list of sessions to look at when the batch ends.
    pub is_listed: bool,
}

impl Session {
    pub fn new(conn: ConnId, client_id: u64, address: (IpAddr, u16), now: Mono) -> Session {
        Session {
            conn,
            client_id,
            address,
            state: State::Command,
            replies: ReplyQueue::new(),
            parser: Parser::new(),
            protocol: Protocol::Resp2,
            db: DbIndex(0),
            authenticated: false,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_version: Vec::new(),
            watched: Vec::new(),
            last_write: Stamp::ZERO,
            last_seen: now,
            reply_bytes_max: usize::MAX,
            undrained_bytes: 0,
            soft_limit_since: None,
            is_postponed: false,
            parked_since: None,
            cluster: ClusterState::default(),
            is_listed: false,
        }
    }

    /// Writer of the next reply.
    #[inline]
    pub fn reply(&mut self) -> Reply<'_> {
        Reply::new(self.replies.writer(), self.protocol).with_bytes_max(self.reply_bytes_max)
    }

    pub fn become_transaction(&mut self) {
        assert!(matches!(self.state, State::Command), "MULTI starts outside of a transaction");
        self.state = State::Transaction(Transaction::default());
    }

    /// EXEC is to be offered again.
    pub fn resume_transaction(&mut self, transaction: Transaction) {
        assert!(matches!(self.state, State::Command), "EXEC has ended the transaction");
        self.state = State::Transaction(transaction);
    }

    /// Ends a transaction and gives what was queued; `None` if there is none.
    pub fn become_command(&mut self) -> Option<Transaction> {
        let State::Transaction(transaction) = &mut self.state else { return None };
        let transaction = std::mem::take(transaction);
        self.state = State::Command;
        Some(transaction)
    }

    pub fn become_blocked(&mut self, block: Block) {
        assert!(matches!(self.state, State::Command), "only a client that executes may block");
        self.state = State::Blocked(block);
    }

    /// Ends a wait, whose reply is to be filled in; `None` if there is none.
    pub fn become_unblocked(&mut self) -> Option<SlotId> {
        let slot = match &self.state {
            State::Blocked(
                Block::Wait(Wait { slot, .. })
                | Block::Shutdown(slot)
                | Block::Save { slot, .. }
                | Block::Flush(slot),
            ) => *slot,
            State::Command | State::Transaction(_) | State::Peer | State::Closing { .. } => {
                return None;
            }
        };
        self.state = State::Command;
        Some(slot)
    }

    pub fn become_peer(&mut self) {
        assert!(!self.replies.is_waiting(), "a link begins when all replies are there");
        self.state = State::Peer;
    }

    /// Nothing more is read; a reply that still waits is given up.
    pub fn become_closing(&mut self) {
        self.state = State::Closing { discards: false };
    }

    /// Nothing more is read, and nothing that was answered leaves.
    pub fn become_aborted(&mut self) {
        self.replies.drop_ready();
        self.state = State::Closing { discards: true };
    }

    #[inline]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The transaction under way.
    #[inline]
    pub fn transaction(&mut self) -> Option<&mut Transaction> {
        match &mut self.state {
            State::Transaction(transaction) => Some(transaction),
            State::Command | State::Blocked(_) | State::Peer | State::Closing { .. } => None,
        }
    }

    /// The WAIT under way.
    pub fn wait(&self) -> Option<&Wait> {
        match &self.state {
            State::Blocked(Block::Wait(wait)) => Some(wait),
            State::Blocked(Block::Shutdown(_) | Block::Save { .. } | Block::Flush(_))
            | State::Command
            | State::Transaction(_)
            | State::Peer
            | State::Closing { .. } => None,
        }
    }

    /// The dump that a SAVE under way waits for.
    pub fn awaited_dump(&self) -> Option<u64> {
        match &self.state {
            State::Blocked(Block::Save { dump, .. }) => Some(*dump),
            State::Blocked(Block::Wait(_) | Block::Shutdown(_) | Block::Flush(_))
            | State::Command
            | State::Transaction(_)
            | State::Peer
            | State::Closing { .. } => None,
        }
    }

    /// The last write was under `from`, and has a stamp that is not newer than `newest` now.
    pub fn follow_origin(&mut self, from: Origin, newest: Stamp) {
        let follow = |dot: &mut Stamp| {
            if dot.origin == from {
                *dot = newest;
            }
        };
        follow(&mut self.last_write);
        if let State::Blocked(Block::Wait(wait)) = &mut self.state {
            follow(&mut wait.dot);
        }
    }

    /// Bytes of output not yet written out.
    pub fn output_bytes(&self) -> u64 {
        self.undrained_bytes + self.replies.bytes() as u64
    }

    /// A waiting reply belongs to a blocked session and the other way round; in strong mode (`defers`) others wait, too.
    pub fn blocked_exactly_while_a_reply_waits(&self, defers: bool) {
        match &self.state {
            State::Blocked(_) => assert!(self.replies.is_waiting(), "blocked by nothing"),
            State::Command | State::Transaction(_) | State::Peer => {
                let waits = self.replies.is_waiting() && !defers;
                assert!(!waits, "a reply waits that nobody will fill");
            }
            State::Closing { .. } => {}
        }
        self.replies.first_slot_waits();
    }
}
