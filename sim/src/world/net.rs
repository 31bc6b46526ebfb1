//! Segments on their way: firewalls, links, endpoints, and what their owners learn.

use std::net::Ipv4Addr;

use bytes::Bytes;
use quorate::base::io::{CloseReason, DialError};
use quorate::base::time::Span;

use crate::firewall::{Chain, ConnState, Packet, Protocol, RejectWith, Verdict};
use crate::host::Todo;
use crate::ids::HostId;
use crate::link::Passage;
use crate::machine::Machine;
use crate::tcp::{Happened, Icmp, Owner, Segment, Sock, SockRef, State, What};
use crate::time::Time;
use crate::trace::Fate;

use super::{Event, World};

/// IPv4 and TCP headers.
const HEADER_BYTES: usize = 40;
/// How long a neighbour that does not answer ARP keeps a SYN waiting.
const ARP_FAILS_AFTER: Span = Span::from_secs(3);
/// From a firewall on the own host.
const LOCAL_ANSWER_AFTER: Span = Span(10_000);

impl<M: Machine> World<M> {
    /// Begins to connect.
    pub(super) fn connect(
        &mut self,
        host: HostId,
        owner: Owner,
        to: Ipv4Addr,
        port: u16,
    ) -> SockRef {
        let localhost = to.is_loopback();
        let peer_host = if localhost { Some(host) } else { self.by_ip.get(&to).copied() };
        let mut sock = Sock::new(host, peer_host.unwrap_or(host), owner, State::SynSent, self.now);
        sock.local_port = self.hosts[host.index()].take_port();
        sock.remote_port = port;
        sock.localhost = localhost;
        sock.peers = matches!(owner, Owner::Dial(_));
        let me = self.socks.insert(sock);
        if peer_host.is_some() {
            self.with_sock(me, |sock, now, config, out| sock.start(now, config, out));
        } else if let Some(sock) = self.socks.get(me) {
            let nobody = sock.no_route();
            self.queue.push(self.now + ARP_FAILS_AFTER, Event::Segment(nobody));
        }
        me
    }

    /// Lets an endpoint send what it can.
    pub(super) fn pump(&mut self, at: SockRef) {
        let Some(sock) = self.socks.get_mut(at) else {
            return;
        };
        if sock.has_nothing_to_do() {
            return self.arm(at);
        }
        let host = &mut self.hosts[sock.host.index()];
        sock.transmit(self.now, &host.tcp, &mut self.decisions, &mut self.outbox);
        let accepted = sock.take_accepted(&host.tcp);
        if accepted > 0
            && let Owner::Process(conn) = sock.owner
            && let Some(process) = &mut host.process
        {
            match process.drains.iter_mut().find(|(other, _)| *other == conn) {
                Some((_, bytes)) => *bytes += accepted,
                None => process.drains.push((conn, accepted)),
            }
        }
        self.send_outbox();
        self.arm(at);
    }

    /// Does something with an endpoint, sends what comes of it and sets its timer.
    pub(super) fn with_sock<R>(
        &mut self,
        at: SockRef,
        act: impl FnOnce(&mut Sock, Time, &crate::tcp::TcpConfig, &mut Vec<Segment>) -> R,
    ) -> Option<R> {
        let sock = self.socks.get_mut(at)?;
        let config = &self.hosts[sock.host.index()].tcp;
        let result = act(sock, self.now, config, &mut self.outbox);
        self.send_outbox();
        self.arm(at);
        Some(result)
    }

    fn arm(&mut self, at: SockRef) {
        if let Some(sock) = self.socks.get_mut(at) {
            let deadline = sock.deadline();
            if deadline < sock.queued_at {
                sock.queued_at = deadline;
                self.queue.push(deadline, Event::SockTimer(at));
            }
            let keepalive_at = sock.keepalive_at();
            if keepalive_at != Time::NEVER && !sock.keep_queued {
                sock.keep_queued = true;
                self.queue.push(keepalive_at, Event::Keepalive(at));
            }
        }
    }

    #[inline]
    fn send_outbox(&mut self) {
        if self.outbox.len() > 1 {
            self.send_all();
        } else if let Some(segment) = self.outbox.pop() {
            self.emit(segment);
        }
    }

    fn send_all(&mut self) {
        let mut outbox = std::mem::take(&mut self.outbox);
        for segment in outbox.drain(..) {
            self.emit(segment);
        }
        self.outbox = outbox;
    }

    /// Through the sender's OUTPUT and onto the link.
    pub(super) fn emit(&mut self, segment: Segment) {
        let host = &self.hosts[segment.from_host.index()];
        if !host.powered {
            return;
        }
        if !host.firewall.is_open(Chain::Output) {
            let state = match segment.what {
                What::Syn => ConnState::New,
                What::Unreachable(_) => ConnState::Related,
                What::SynAck | What::Data | What::Fin | What::Probe | What::Reset => {
                    ConnState::Established
                }
            };
            let packet = self.packet(&segment, state);
            let verdict = host.firewall.judge(Chain::Output, &packet, &mut self.decisions);
            if verdict != Verdict::Accept {
                self.note_filtered(&segment);
                let fate = fate_of(verdict, Fate::DroppedByOutput, Fate::RejectedByOutput);
                self.tape_sent(&segment, self.now, fate);
                if let Verdict::Reject(with) = verdict
                    && let Some(mut answer) = answer_to(&segment, with)
                {
                    if matches!(answer.what, What::Unreachable(_)) {
                        answer.from_host = answer.to_host;
                    }
                    self.queue.push(self.now + LOCAL_ANSWER_AFTER, Event::Segment(answer));
                }
                return;
            }
        }
        let link = self.links.get(segment.from_host.index(), segment.to_host.index());
        let bytes = HEADER_BYTES + segment.data.len();
        match link.pass(self.now, bytes, &mut self.decisions) {
            Passage::Lost => {
                self.stats.segments_lost += 1;
                if segment.peers {
                    self.stats.peer_bytes_lost += segment.data.len() as u64;
                }
                self.tape_sent(&segment, self.now, Fate::LostOnLink);
            }
            Passage::Arrives { at, delayed } => {
                if delayed && segment.peers {
                    self.stats.peer_bytes_delayed += segment.data.len() as u64;
                }
                self.tape_sent(&segment, at, Fate::UnderWay);
                self.queue.push(at, Event::Segment(segment));
            }
        }
    }

    /// Through the receiver's INPUT and to the endpoint.
    pub(super) fn arrive(&mut self, segment: Segment) {
        self.digest.word(
            u64::from(segment.from_host.0) << 48
                | u64::from(segment.to_host.0) << 32
                | u64::from(segment.sport) << 16
                | u64::from(segment.dport),
        );
        self.digest.word(segment.seq ^ segment.ack.rotate_left(32) ^ what_number(segment.what));
        if !segment.data.is_empty() {
            self.digest.bytes(&segment.data);
        }
        let host = &self.hosts[segment.to_host.index()];
        if !host.powered {
            self.note_lost(&segment);
            self.tape_arrived(&segment, Fate::HostOff);
            return;
        }
        if !host.firewall.is_open(Chain::Input) {
            let known = self.socks.get(segment.to).is_some();
            let state = match segment.what {
                What::Syn => ConnState::New,
                What::Unreachable(_) => ConnState::Related,
                What::Reset if !known => ConnState::Invalid,
                What::SynAck | What::Data | What::Fin | What::Probe | What::Reset => {
                    if known {
                        ConnState::Established
                    } else {
                        ConnState::New
                    }
                }
            };
            let packet = self.packet(&segment, state);
            let verdict = host.firewall.judge(Chain::Input, &packet, &mut self.decisions);
            if verdict != Verdict::Accept {
                self.note_filtered(&segment);
                let fate = fate_of(verdict, Fate::DroppedByInput, Fate::RejectedByInput);
                self.tape_arrived(&segment, fate);
                if let Verdict::Reject(with) = verdict
                    && let Some(answer) = answer_to(&segment, with)
                {
                    self.emit(answer);
                }
                return;
            }
        }
        self.stats.deliveries += 1;
        self.tape_arrived(&segment, Fate::Delivered);
        if segment.peers {
            self.stats.peer_bytes_delivered += segment.data.len() as u64;
        }
        if segment.what == What::Syn {
            self.on_syn(&segment);
        } else {
            self.on_segment(segment.to, &segment);
        }
    }

    fn on_syn(&mut self, segment: &Segment) {
        if let Some(dialler) = self.socks.get(segment.from)
            && let before = dialler.accepted_by
            && self.socks.get(before).is_some_and(|sock| sock.host == segment.to_host)
        {
            // The SYN came twice.
            self.on_segment(before, segment);
            return;
        }
        let host = &self.hosts[segment.to_host.index()];
        let listens = host.process.as_ref().is_some_and(|p| p.port == segment.dport);
        if !listens {
            self.emit(segment.answer(What::Reset));
            return;
        }
        let mut sock = Sock::new(
            segment.to_host,
            segment.from_host,
            Owner::Accepting,
            State::SynReceived,
            self.now,
        );
        sock.peer = segment.from;
        sock.local_port = segment.dport;
        sock.remote_port = segment.sport;
        sock.localhost = segment.localhost;
        sock.peers = segment.peers;
        let me = self.socks.insert(sock);
        if let Some(dialler) = self.socks.get_mut(segment.from) {
            dialler.accepted_by = me;
        }
        self.with_sock(me, |sock, now, config, out| sock.start(now, config, out));
    }

    fn on_segment(&mut self, at: SockRef, segment: &Segment) {
        let Some(sock) = self.socks.get_mut(at) else {
            match segment.what {
                What::Reset | What::Unreachable(_) => {}
                What::Syn | What::SynAck | What::Data | What::Fin | What::Probe => {
                    self.emit(segment.answer(What::Reset));
                }
            }
            return;
        };
        let config = &self.hosts[sock.host.index()].tcp;
        let happened = sock.on_segment(self.now, segment, config, &mut self.outbox);
        self.send_outbox();
        if happened.refuse {
            self.emit(segment.answer(What::Reset));
        }
        self.react(at, happened);
        // What left meanwhile has carried the acknowledgement.
        if let Some(sock) = self.socks.get_mut(at) {
            if sock.ack_pending {
                let config = &self.hosts[sock.host.index()].tcp;
                sock.acknowledge(config, &mut self.outbox);
                self.send_outbox();
            }
            self.arm(at);
        }
    }

    pub(super) fn on_sock_timer(&mut self, at: SockRef) {
        let Some(sock) = self.socks.get_mut(at) else {
            return;
        };
        if sock.queued_at != self.now {
            // A later event has taken its place.
            return;
        }
        sock.queued_at = Time::NEVER;
        if sock.deadline() > self.now {
            self.arm(at);
            return;
        }
        self.digest.word(u64::from(at.index));
        let happened = self
            .with_sock(at, |sock, now, config, out| sock.on_timer(now, config, out))
            .unwrap_or_default();
        self.react(at, happened);
    }

    pub(super) fn on_keepalive(&mut self, at: SockRef) {
        let Some(sock) = self.socks.get_mut(at) else {
            return;
        };
        sock.keep_queued = false;
        if sock.keepalive_at() > self.now {
            self.arm(at);
            return;
        }
        self.digest.word(u64::from(at.index));
        let happened = self
            .with_sock(at, |sock, now, config, out| sock.on_keepalive(now, config, out))
            .unwrap_or_default();
        self.react(at, happened);
    }

    /// Tells the owner of an endpoint what happened to it.
    fn react(&mut self, at: SockRef, happened: Happened) {
        let Some(sock) = self.socks.get(at) else {
            return;
        };
        let (host, owner) = (sock.host, sock.owner);
        if let Some(why) = happened.failed {
            self.socks.remove(at);
            self.tell_failed(host, owner, why);
            return;
        }
        if happened.opened {
            match owner {
                Owner::Client(conn) => self.client_opened(conn),
                Owner::Accepting | Owner::Dial(_) => self.turn(host, Todo::Opened(at)),
                Owner::Process(_) | Owner::Nobody => {}
            }
        }
        if let Some(why) = happened.ended {
            self.lose(at, why);
            return;
        }
        if happened.done {
            self.socks.remove(at);
            return;
        }
        if happened.acked {
            self.pump(at);
            self.serve_drains(host);
        }
        if happened.readable {
            match owner {
                Owner::Client(conn) => self.client_readable(conn),
                Owner::Accepting | Owner::Dial(_) | Owner::Process(_) => self.readable(host, at),
                Owner::Nobody => {}
            }
        }
    }

    /// The connection is lost: removes the endpoint and tells its owner.
    pub(super) fn lose(&mut self, at: SockRef, why: CloseReason) {
        let Some(sock) = self.socks.get(at) else {
            return;
        };
        let (host, owner) = (sock.host, sock.owner);
        match owner {
            Owner::Process(conn) => {
                self.socks.remove(at);
                self.turn(host, Todo::Closed { conn, why });
            }
            Owner::Client(conn) => {
                self.client_lost(conn, why);
                self.socks.remove(at);
            }
            Owner::Dial(_) | Owner::Accepting | Owner::Nobody => {
                self.socks.remove(at);
                self.tell_failed(host, owner, DialError::Other);
            }
        }
    }

    fn tell_failed(&mut self, host: HostId, owner: Owner, why: DialError) {
        match owner {
            Owner::Dial(dial) => self.turn(host, Todo::DialFailed { dial, why }),
            Owner::Client(conn) => self.client_failed(conn, why),
            Owner::Accepting | Owner::Process(_) | Owner::Nobody => {}
        }
    }

    /// What a firewall sees of a segment.
    fn packet(&self, segment: &Segment, state: ConnState) -> Packet {
        let addr = |host: HostId| {
            if segment.localhost { Ipv4Addr::LOCALHOST } else { self.hosts[host.index()].ip }
        };
        let icmp = matches!(segment.what, What::Unreachable(_));
        Packet {
            src: addr(segment.from_host),
            dst: addr(segment.to_host),
            protocol: if icmp { Protocol::Icmp } else { Protocol::Tcp },
            sport: if icmp { 0 } else { segment.sport },
            dport: if icmp { 0 } else { segment.dport },
            loopback: segment.from_host == segment.to_host,
            state,
        }
    }

    fn note_filtered(&mut self, segment: &Segment) {
        self.stats.segments_filtered += 1;
        if segment.peers {
            self.stats.peer_bytes_lost += segment.data.len() as u64;
        }
    }

    fn note_lost(&mut self, segment: &Segment) {
        self.stats.segments_lost += 1;
        if segment.peers {
            self.stats.peer_bytes_lost += segment.data.len() as u64;
        }
    }
}

/// What becomes of a segment that a firewall does not let pass.
fn fate_of(verdict: Verdict, dropped: Fate, rejected: Fate) -> Fate {
    match verdict {
        Verdict::Accept | Verdict::Drop => dropped,
        Verdict::Reject(_) => rejected,
    }
}

/// What a REJECT sends back. Resets and errors are never answered.
fn answer_to(segment: &Segment, with: RejectWith) -> Option<Segment> {
    match segment.what {
        What::Reset | What::Unreachable(_) => return None,
        What::Syn | What::SynAck | What::Data | What::Fin | What::Probe => {}
    }
    let what = match with {
        RejectWith::TcpReset => What::Reset,
        RejectWith::IcmpPortUnreachable => What::Unreachable(Icmp::PortUnreachable),
        RejectWith::IcmpHostUnreachable
        | RejectWith::IcmpNetUnreachable
        | RejectWith::IcmpAdminProhibited => What::Unreachable(Icmp::HostUnreachable),
    };
    Some(segment.answer(what))
}

fn what_number(what: What) -> u64 {
    let number: u64 = match what {
        What::Syn => 1,
        What::SynAck => 2,
        What::Data => 3,
        What::Fin => 4,
        What::Probe => 5,
        What::Reset => 6,
        What::Unreachable(Icmp::PortUnreachable) => 7,
        What::Unreachable(Icmp::HostUnreachable) => 8,
    };
    number << 60
}

impl Sock {
    /// What the own kernel says when nobody has the address.
    fn no_route(&self) -> Segment {
        Segment {
            from: SockRef::NONE,
            to: self.me,
            from_host: self.host,
            to_host: self.host,
            sport: self.remote_port,
            dport: self.local_port,
            localhost: false,
            peers: false,
            what: What::Unreachable(Icmp::HostUnreachable),
            seq: 0,
            ack: 0,
            window: 0,
            data: Bytes::new(),
        }
    }
}
