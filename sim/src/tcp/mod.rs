//! TCP endpoints as a kernel keeps them: byte streams cut into segments, acknowledged, retransmitted
//! with exponential back-off. An endpoint knows nothing of firewalls, links or processes: segments come
//! in, segments go out, and [`Happened`] says what its owner must learn.

mod recv;
mod send;
mod slab;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use quorate::base::ids::{ConnId, DialId};
use quorate::base::io::{CloseReason, DialError};
use quorate::base::time::Span;

use super::ids::{ClientConn, HostId};
use super::time::Time;

pub use slab::{SockRef, Socks};

/// The settings of a host's kernel. Defaults are Linux's where it has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcpConfig {
    /// Largest payload of one segment (with segmentation offload).
    pub segment_bytes_max: usize,
    /// One segment in so many is cut somewhere at random. Zero: none.
    pub cut_one_in: u64,
    pub send_buffer_bytes: u64,
    pub recv_buffer_bytes: u64,
    pub syn_retries: u8,
    pub synack_retries: u8,
    pub retries: u8,
    pub orphan_retries: u8,
    pub rto_min: Span,
    pub rto_max: Span,
    pub fin_timeout: Span,
    /// A connection unacknowledged for so long is given up (TCP_USER_TIMEOUT).
    pub user_timeout: Option<Span>,
    /// Idle time before the first probe; `None`: no keepalive.
    pub keepalive: Option<Span>,
    pub keepalive_probes: u8,
}

impl TcpConfig {
    pub const fn linux() -> TcpConfig {
        TcpConfig {
            segment_bytes_max: 16 << 10,
            cut_one_in: 16,
            send_buffer_bytes: 256 << 10,
            recv_buffer_bytes: 128 << 10,
            syn_retries: 6,
            synack_retries: 5,
            retries: 15,
            orphan_retries: 8,
            rto_min: Span::from_ms(200),
            rto_max: Span::from_secs(120),
            fin_timeout: Span::from_secs(60),
            user_timeout: None,
            keepalive: Some(Span::from_secs(300)),
            keepalive_probes: 3,
        }
    }
}

/// Why a SYN came back.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Icmp {
    PortUnreachable,
    /// Host, net, or prohibited.
    HostUnreachable,
}

/// What kind of segment.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum What {
    Syn,
    SynAck,
    /// Payload, or without one a pure acknowledgement.
    Data,
    /// Payload, and nothing after it.
    Fin,
    /// Asks for an acknowledgement: keepalive and zero-window probes.
    Probe,
    Reset,
    /// An ICMP error about a segment of the receiver's.
    Unreachable(Icmp),
}

/// What travels.
#[derive(Clone, Debug)]
pub struct Segment {
    pub from: SockRef,
    pub to: SockRef,
    pub from_host: HostId,
    pub to_host: HostId,
    pub sport: u16,
    pub dport: u16,
    /// Between 127.0.0.1 and itself.
    pub localhost: bool,
    /// Between two server processes.
    pub peers: bool,
    pub what: What,
    pub seq: u64,
    pub ack: u64,
    pub window: u64,
    pub data: Bytes,
}

impl Segment {
    /// A segment without payload that answers this one: an error or a reset.
    pub fn answer(&self, what: What) -> Segment {
        Segment {
            from: self.to,
            to: self.from,
            from_host: self.to_host,
            to_host: self.from_host,
            sport: self.dport,
            dport: self.sport,
            localhost: self.localhost,
            peers: self.peers,
            what,
            seq: 0,
            ack: 0,
            window: 0,
            data: Bytes::new(),
        }
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum State {
    SynSent,
    SynReceived,
    Open,
}

/// Who is told what happens on an endpoint.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The process on the host, which does not know it yet.
    Accepting,
    Dial(DialId),
    Process(ConnId),
    Client(ClientConn),
    /// Closed by its process: the kernel goes on until everything is acknowledged.
    Nobody,
}

/// What came of a segment or a timer.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Happened {
    pub opened: bool,
    /// More to read, or the end of the stream.
    pub readable: bool,
    /// The peer has acknowledged something or opened its window.
    pub acked: bool,
    /// The attempt to connect failed; the endpoint is to be removed.
    pub failed: Option<DialError>,
    /// The connection is lost; the endpoint is to be removed.
    pub ended: Option<CloseReason>,
    /// Nobody needs the endpoint any more.
    pub done: bool,
    /// Tell the sender of the segment that there is no such connection.
    pub refuse: bool,
}

/// A segment that is sent and not yet acknowledged.
#[derive(Clone, Debug)]
struct Flight {
    seq: u64,
    bytes: Bytes,
    fin: bool,
    sent_at: Time,
    first_sent_at: Time,
    /// Retransmission round in which it was last sent; 0: sent once.
    round: u32,
}

/// One endpoint.
#[derive(Debug)]
pub struct Sock {
    // Where it is and whose.
    pub me: SockRef,
    pub peer: SockRef,
    pub host: HostId,
    pub peer_host: HostId,
    pub local_port: u16,
    pub remote_port: u16,
    pub localhost: bool,
    pub peers: bool,
    pub owner: Owner,
    pub state: State,
    /// The endpoint that a listener made for this one's SYN: what a kernel finds by addresses and ports.
    pub accepted_by: SockRef,
    // Sending.
    unsent: VecDeque<Bytes>,
    unsent_bytes: u64,
    flight: VecDeque<Flight>,
    snd_una: u64,
    snd_nxt: u64,
    fin_queued: bool,
    fin_sent: bool,
    /// Bytes of the stream that the kernel has taken from the process.
    accepted: u64,
    peer_window: u64,
    dup_acks: u8,
    round: u32,
    recover: u64,
    // Receiving.
    /// Bytes in order: first what the owner was offered and left, then `unread`.
    pub buf: BytesMut,
    pub unread: u64,
    rcv_nxt: u64,
    ahead: Vec<(u64, Bytes, bool)>,
    rcv_fin: bool,
    pub ack_pending: bool,
    advertised: u64,
    // What the owner wants and knows.
    pub reads_paused: bool,
    pub offer_queued: bool,
    // Timers.
    srtt: Span,
    rttvar: Span,
    retries: u8,
    probed: bool,
    started_at: Time,
    rtx_at: Time,
    keep_at: Time,
    keep_probes: u8,
    last_heard: Time,
    /// Time of the earliest timer event that waits for this endpoint.
    pub queued_at: Time,
    /// A keepalive event waits for it; those are far away and get no second one.
    pub keep_queued: bool,
}

impl Sock {
    pub fn new(host: HostId, peer_host: HostId, owner: Owner, state: State, now: Time) -> Sock {
        Sock {
            me: SockRef::NONE,
            peer: SockRef::NONE,
            host,
            peer_host,
            local_port: 0,
            remote_port: 0,
            localhost: false,
            peers: false,
            owner,
            state,
            accepted_by: SockRef::NONE,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            flight: VecDeque::new(),
            snd_una: 0,
            snd_nxt: 0,
            fin_queued: false,
            fin_sent: false,
            accepted: 0,
            peer_window: 0,
            dup_acks: 0,
            round: 0,
            recover: 0,
            buf: BytesMut::new(),
            unread: 0,
            rcv_nxt: 0,
            ahead: Vec::new(),
            rcv_fin: false,
            ack_pending: false,
            advertised: u64::MAX,
            reads_paused: false,
            offer_queued: false,
            srtt: Span(0),
            rttvar: Span(0),
            retries: 0,
            probed: false,
            started_at: now,
            rtx_at: Time::NEVER,
            keep_at: Time::NEVER,
            keep_probes: 0,
            last_heard: now,
            queued_at: Time::NEVER,
            keep_queued: false,
        }
    }

    /// When [`Sock::on_timer`] wants to be called.
    #[inline]
    pub fn deadline(&self) -> Time {
        self.rtx_at
    }

    /// When [`Sock::on_keepalive`] wants to be called.
    #[inline]
    pub fn keepalive_at(&self) -> Time {
        self.keep_at
    }

    /// The stream has ended and everything in it was offered.
    pub fn at_end(&self) -> bool {
        self.rcv_fin && self.unread == 0
    }

    /// Bytes sent by the owner and not yet acknowledged by the peer's kernel.
    pub fn unacknowledged(&self) -> u64 {
        self.snd_nxt - self.snd_una + self.unsent_bytes
    }

    fn segment(&self, what: What, seq: u64, data: Bytes, config: &TcpConfig) -> Segment {
        Segment {
            from: self.me,
            to: self.peer,
            from_host: self.host,
            to_host: self.peer_host,
            sport: self.local_port,
            dport: self.remote_port,
            localhost: self.localhost,
            peers: self.peers,
            what,
            seq,
            ack: self.rcv_nxt,
            window: self.window(config),
            data,
        }
    }

    fn window(&self, config: &TcpConfig) -> u64 {
        config.recv_buffer_bytes.saturating_sub(self.unread)
    }

    fn rto(&self, config: &TcpConfig) -> Span {
        if self.srtt.0 == 0 {
            return Span::from_secs(1);
        }
        Span(self.srtt.0 + config.rto_min.0.max(4 * self.rttvar.0))
    }

    /// RFC 6298.
    fn sample_rtt(&mut self, rtt: Span) {
        let rtt = rtt.0.max(1);
        if self.srtt.0 == 0 {
            self.srtt = Span(rtt);
            self.rttvar = Span(rtt / 2);
        } else {
            let off = self.srtt.0.abs_diff(rtt);
            self.rttvar = Span((3 * self.rttvar.0 + off) / 4);
            self.srtt = Span((7 * self.srtt.0 + rtt) / 8);
        }
    }

    fn become_open(&mut self, now: Time, config: &TcpConfig) {
        self.state = State::Open;
        self.rtx_at = Time::NEVER;
        if self.retries == 0 {
            self.sample_rtt(now.since(self.started_at));
        }
        self.retries = 0;
        self.last_heard = now;
        self.set_keepalive(now, config.keepalive);
    }

    /// Probes the connection when it has been idle for so long; `None`: not at all.
    pub fn set_keepalive(&mut self, now: Time, idle: Option<Span>) {
        self.keep_probes = 0;
        self.keep_at = idle.map_or(Time::NEVER, |idle| now + idle);
    }

    fn is_done(&self) -> bool {
        self.owner == Owner::Nobody && self.fin_acked() && self.rcv_fin
    }

    fn fin_acked(&self) -> bool {
        self.fin_sent && self.flight.is_empty()
    }
}
