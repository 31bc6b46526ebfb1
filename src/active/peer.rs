//! One connection to another node: what is gathered for it, how much is on its way, when it was heard.

use std::net::IpAddr;

use bytes::Bytes;

use crate::base::ids::{ConnId, NodeId, Origin, RunId};
use crate::base::io::{Effect, Effects};
use crate::base::time::Mono;
use crate::base::vector::Vector;
use crate::store::WalkPosition;
use crate::wire::frame::{Frame, Pulse};
use crate::wire::news::{Heard, Telling};

use super::inbound::Inbound;

/// So many bytes are copied out of the buffer in which they were gathered; of more the buffer itself is sent.
const COPIED_BYTES_MAX: usize = 4 << 10;

/// Which way the stream flows.
#[derive(Debug)]
pub enum Side {
    /// The other side dialed and takes our stream; its hello has not come yet.
    Guest,
    /// The other side takes our stream.
    Replica(Outbound),
    /// We dialed (this configured master) and are still greeting.
    Greeting { master: u64, stage: Greeting },
    /// We take the other side's stream.
    Master { master: u64, inbound: Inbound },
}

/// How far a dialer has come.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Greeting {
    /// Waiting for the answer to AUTH.
    Authenticating,
    /// Waiting for the answer to QUORATE PEER.
    Upgrading,
    /// Waiting for the master's hello.
    Greeted,
}

/// The sending side of a stream.
#[derive(Debug)]
pub struct Outbound {
    /// What the replica had at the handshake, or when it last asked for a resync.
    pub presented: Vector,
    /// It has asked for everything there is.
    pub whole: bool,
    /// What it has said since.
    pub acked: Vector,
    /// What it has it keeps. (A plain replica may drop everything, and an ack from before is under way.)
    pub keeps: bool,
    /// The log position up to which it has said to have everything, and the bytes before, for INFO.
    pub acked_position: u64,
    pub acked_bytes: u64,
    /// Next log position to look at.
    pub cursor: u64,
    /// A state transfer under way.
    pub transfer: Option<Transfer>,
    /// The transfer has to be followed by another: the log moved on meanwhile.
    pub overrun: bool,
    /// The replica's client port, for INFO.
    pub port: u16,
}

/// A state transfer, sending side.
#[derive(Copy, Clone, Debug)]
pub struct Transfer {
    pub position: WalkPosition,
}

/// A connection that speaks frames, or is about to.
#[derive(Debug)]
pub struct Peer {
    pub conn: ConnId,
    pub side: Side,
    /// The other node, once its hello has come.
    pub node: Option<PeerNode>,
    /// Where it came from, if the driver said.
    pub ip: Option<IpAddr>,
    pub since: Mono,
    pub last_heard: Mono,
    /// The other side's clock in its newest heartbeat, and when that came.
    pub echo: Option<(Mono, Mono)>,
    /// The news of its newest heartbeat.
    pub heard: Heard,
    /// The number of the newest heartbeat to it, as [`Telling`] counts them.
    news_told: u64,
    /// Written to the link by nobody yet.
    gathered: Vec<u8>,
    sent_bytes: u64,
    drained_bytes: u64,
    /// The connection is to be closed once what is gathered has left.
    pub closing: bool,
    /// What was told last with an ack, to tell news only.
    pub told: Vector,
    /// The horizon bound in the own hello, and whether it asked for everything, if this node dialed.
    pub told_bound: u64,
    pub told_whole: bool,
    /// At the handshake the other side knew of no horizon, and none can have counted on it.
    pub is_ignorant: bool,
    /// Of a plain replica's master: since when it has lacked what the replica has, and what that is.
    pub ahead: Option<(Mono, Vector)>,
}

/// All connections, in the order of their numbers. They are few: a sorted list.
#[derive(Debug, Default)]
pub struct Peers {
    list: Vec<(ConnId, Box<Peer>)>,
}

impl Peers {
    fn place(&self, conn: ConnId) -> Result<usize, usize> {
        match self.list.iter().position(|entry| entry.0 >= conn) {
            Some(at) if self.list[at].0 == conn => Ok(at),
            Some(at) => Err(at),
            None => Err(self.list.len()),
        }
    }

    pub fn get(&self, conn: ConnId) -> Option<&Peer> {
        self.place(conn).ok().map(|at| &*self.list[at].1)
    }

    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Peer> {
        self.place(conn).ok().map(|at| &mut *self.list[at].1)
    }

    /// Puts a connection in; one with the same number gives way.
    pub fn insert(&mut self, peer: Box<Peer>) {
        match self.place(peer.conn) {
            Ok(at) => self.list[at].1 = peer,
            Err(at) => self.list.insert(at, (peer.conn, peer)),
        }
    }

    pub fn remove(&mut self, conn: ConnId) -> Option<Box<Peer>> {
        self.place(conn).ok().map(|at| self.list.remove(at).1)
    }

    /// The connection at this place in the order.
    pub fn at(&self, place: usize) -> Option<&Peer> {
        self.list.get(place).map(|entry| &*entry.1)
    }

    pub fn at_mut(&mut self, place: usize) -> Option<&mut Peer> {
        self.list.get_mut(place).map(|entry| &mut *entry.1)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.list.iter().map(|entry| &*entry.1)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.list.iter_mut().map(|entry| &mut *entry.1)
    }

    /// The connections that satisfy `which`, to be looked at while the table changes.
    pub fn conns(&self, which: impl Fn(&Peer) -> bool) -> Vec<ConnId> {
        self.iter().filter(|peer| which(peer)).map(|peer| peer.conn).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }
}

/// Who is at the other end.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PeerNode {
    pub node: NodeId,
    pub run: RunId,
    pub origin: Origin,
}

impl Peer {
    pub fn new(conn: ConnId, side: Side, now: Mono) -> Peer {
        Peer {
            conn,
            side,
            node: None,
            ip: None,
            since: now,
            last_heard: now,
            echo: None,
            gathered: Vec::new(),
            sent_bytes: 0,
            drained_bytes: 0,
            heard: Heard::default(),
            news_told: 0,
            closing: false,
            told: Vector::new(),
            told_bound: 0,
            told_whole: false,
            is_ignorant: false,
            ahead: None,
        }
    }

    pub fn send(&mut self, frame: &Frame) {
        frame.encode(&mut self.gathered);
    }

    pub fn send_heartbeat(&mut self, pulse: &Pulse, telling: &mut Telling) {
        let news = telling.written_for(&mut self.news_told);
        Frame::encode_heartbeat(pulse, news, &mut self.gathered);
    }

    pub fn send_ack(&mut self, vector: &Vector) {
        Frame::encode_ack(vector, &mut self.gathered);
    }

    pub fn send_encoded(&mut self, bytes: &Bytes) {
        self.gathered.extend_from_slice(bytes);
    }

    /// RESP words, before the upgrade.
    pub fn send_text(&mut self, text: &[u8]) {
        self.gathered.extend_from_slice(text);
    }

    pub fn on_drained(&mut self, bytes: u64) {
        self.drained_bytes = (self.drained_bytes + bytes).min(self.sent_bytes);
    }

    /// Hands over what was gathered.
    #[inline]
    pub fn flush(&mut self, out: &mut Effects) {
        if !self.gathered.is_empty() {
            self.hand_over(out);
        }
    }

    fn hand_over(&mut self, out: &mut Effects) {
        let bytes = if self.gathered.len() <= COPIED_BYTES_MAX {
            let copy = Bytes::copy_from_slice(&self.gathered);
            self.gathered.clear();
            copy
        } else {
            Bytes::from(core::mem::take(&mut self.gathered))
        };
        self.sent_bytes += bytes.len() as u64;
        out.push(Effect::Send { conn: self.conn, bytes });
    }

    /// Bytes gathered or handed over and not yet written out.
    pub fn unsent_bytes(&self) -> u64 {
        self.sent_bytes - self.drained_bytes + self.gathered.len() as u64
    }

    /// Whether the other side can have an answer to a hello of this one.
    pub fn has_said_hello(&self) -> bool {
        match self.side {
            Side::Greeting { stage, .. } => stage == Greeting::Greeted,
            Side::Replica(_) | Side::Master { .. } => true,
            Side::Guest => false,
        }
    }

    /// Whether frames flow: the handshake is over.
    pub fn is_established(&self) -> bool {
        match self.side {
            Side::Replica(_) | Side::Master { .. } => true,
            Side::Guest | Side::Greeting { .. } => false,
        }
    }
}
