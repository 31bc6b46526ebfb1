//! The sending half of an endpoint, and its timers.

use bytes::Bytes;
use quorate::base::io::{CloseReason, DialError};
use quorate::base::time::Span;

use crate::decide::{Decisions, Kind};
use crate::time::Time;

use super::{Flight, Happened, Owner, Segment, Sock, State, TcpConfig, What};

/// Duplicate acknowledgements that make a kernel resend without waiting.
const DUP_ACKS: u8 = 3;
/// Most segments resent at one acknowledgement while recovering.
const RESEND_MAX: usize = 4;

impl Sock {
    /// The first segment of a connection: SYN from a dialler, SYN+ACK from a listener.
    pub fn start(&mut self, now: Time, config: &TcpConfig, out: &mut Vec<Segment>) {
        let what = match self.state {
            State::SynSent => What::Syn,
            State::SynReceived => What::SynAck,
            State::Open => return,
        };
        self.rtx_at = now + Span::from_secs(1);
        out.push(self.segment(what, 0, Bytes::new(), config));
    }

    /// Takes bytes from the owner. Nothing may follow a [`Sock::finish`].
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() || self.fin_queued {
            return;
        }
        self.unsent_bytes += bytes.len() as u64;
        self.unsent.push_back(bytes);
    }

    /// Ends the stream after what was sent before.
    pub fn finish(&mut self) {
        self.fin_queued = true;
    }

    /// The process died: what it had not yet handed to the kernel is gone.
    pub fn lose_user_space(&mut self) {
        let mut kept = self.accepted.saturating_sub(self.snd_nxt);
        let mut at = 0;
        while at < self.unsent.len() && kept > 0 {
            let bytes = &mut self.unsent[at];
            if bytes.len() as u64 > kept {
                bytes.truncate(kept as usize);
            }
            kept -= bytes.len() as u64;
            at += 1;
        }
        self.unsent.truncate(at);
        self.unsent_bytes = self.unsent.iter().map(|bytes| bytes.len() as u64).sum();
    }

    /// Bytes that the kernel has taken since the last call: room in its send buffer.
    pub fn take_accepted(&mut self, config: &TcpConfig) -> u64 {
        if self.state != State::Open {
            return 0;
        }
        // The end of the stream counts one in the sequence numbers.
        let end = self.snd_nxt - u64::from(self.fin_sent) + self.unsent_bytes;
        let limit = end.min(self.snd_una + config.send_buffer_bytes);
        let more = limit.saturating_sub(self.accepted);
        self.accepted += more;
        more
    }

    /// Whether [`Sock::transmit`] and [`Sock::take_accepted`] would do nothing: all that the owner gave is sent and
    /// accepted.
    #[inline]
    pub fn has_nothing_to_do(&self) -> bool {
        self.unsent.is_empty()
            && self.fin_queued == self.fin_sent
            && self.accepted == self.snd_nxt - u64::from(self.fin_sent)
    }

    /// Sends what the peer's window has room for.
    pub fn transmit(
        &mut self,
        now: Time,
        config: &TcpConfig,
        decisions: &mut Decisions,
        out: &mut Vec<Segment>,
    ) {
        if self.state != State::Open {
            return;
        }
        let was_idle = self.flight.is_empty();
        // After a retransmission timeout the congestion window is one segment, and that is the one that
        // is retransmitted: nothing new leaves before it is acknowledged.
        if self.retries > 0 && !was_idle {
            return;
        }
        let most = self.peer_window.min(config.send_buffer_bytes);
        while let Some(front) = self.unsent.front_mut() {
            let room = most.saturating_sub(self.snd_nxt - self.snd_una);
            let mut take = (front.len() as u64).min(room).min(config.segment_bytes_max as u64);
            if take == 0 {
                break;
            }
            if take > 1 && decisions.chance(Kind::Chunk, config.cut_one_in) {
                take = 1 + decisions.decide(Kind::Chunk, take);
                take = take.min(front.len() as u64).min(room);
            }
            let bytes = if take == front.len() as u64 {
                self.unsent.pop_front().unwrap_or_default()
            } else {
                front.split_to(take as usize)
            };
            self.unsent_bytes -= take;
            let last = self.unsent.is_empty() && self.fin_queued;
            self.send_new(now, bytes, last, config, out);
        }
        if self.unsent.is_empty() && self.fin_queued && !self.fin_sent {
            self.send_new(now, Bytes::new(), true, config, out);
        }
        if was_idle && !self.flight.is_empty() {
            self.retries = 0;
            self.probed = false;
            self.rtx_at = now + self.probe_timeout(config);
        } else if self.flight.is_empty() && !self.unsent.is_empty() && self.rtx_at == Time::NEVER {
            // The window is shut: ask now and then whether it has opened.
            self.rtx_at = now + self.rto(config);
        }
    }

    fn send_new(
        &mut self,
        now: Time,
        bytes: Bytes,
        fin: bool,
        config: &TcpConfig,
        out: &mut Vec<Segment>,
    ) {
        let seq = self.snd_nxt;
        self.snd_nxt += bytes.len() as u64 + u64::from(fin);
        self.fin_sent |= fin;
        let what = if fin { What::Fin } else { What::Data };
        out.push(self.segment(what, seq, bytes.clone(), config));
        self.note_acked_here(config);
        self.flight.push_back(Flight {
            seq,
            bytes,
            fin,
            sent_at: now,
            first_sent_at: now,
            round: 0,
        });
    }

    /// Everything sent carries the acknowledgement.
    fn note_acked_here(&mut self, config: &TcpConfig) {
        self.ack_pending = false;
        self.advertised = self.window(config);
    }

    /// A pure acknowledgement.
    pub fn acknowledge(&mut self, config: &TcpConfig, out: &mut Vec<Segment>) {
        out.push(self.segment(What::Data, self.snd_nxt, Bytes::new(), config));
        self.note_acked_here(config);
    }

    /// Whether the owner has read so much that the peer should be told of the room.
    pub fn window_reopened(&self, config: &TcpConfig) -> bool {
        let half = config.recv_buffer_bytes / 2;
        self.advertised < half && self.window(config) >= half
    }

    /// A reset in place of everything that is still to be sent.
    pub fn reset(&self, config: &TcpConfig, out: &mut Vec<Segment>) {
        out.push(self.segment(What::Reset, self.snd_nxt, Bytes::new(), config));
    }

    /// Handles the acknowledgement in a segment. True if it moved anything.
    pub(super) fn on_ack(
        &mut self,
        now: Time,
        segment: &Segment,
        config: &TcpConfig,
        out: &mut Vec<Segment>,
    ) -> bool {
        if segment.ack < self.snd_una || segment.ack > self.snd_nxt {
            return false;
        }
        let opened = segment.window > self.peer_window;
        self.peer_window = segment.window;
        if segment.ack == self.snd_una {
            let pure = segment.data.is_empty() && segment.what == What::Data;
            if pure && !self.flight.is_empty() && !opened {
                self.dup_acks = self.dup_acks.saturating_add(1);
                if self.dup_acks == DUP_ACKS {
                    self.round += 1;
                    self.recover = self.snd_nxt;
                    self.resend(0, now, config, out);
                }
            }
            if opened && self.flight.is_empty() {
                self.rtx_at = Time::NEVER;
                self.retries = 0;
            }
            return opened;
        }
        self.snd_una = segment.ack;
        self.dup_acks = 0;
        let mut sample = None;
        while let Some(front) = self.flight.front() {
            let end = front.seq + front.bytes.len() as u64 + u64::from(front.fin);
            if end > segment.ack {
                break;
            }
            if front.round == 0 {
                sample = Some(now.since(front.sent_at));
            }
            self.flight.pop_front();
        }
        if let Some(rtt) = sample {
            self.sample_rtt(rtt);
        }
        self.retries = 0;
        self.probed = false;
        if self.flight.is_empty() {
            self.rtx_at = Time::NEVER;
            if self.owner == Owner::Nobody && self.fin_acked() && !self.rcv_fin {
                self.rtx_at = now + config.fin_timeout;
            }
        } else {
            if self.snd_una < self.recover {
                self.resend_lost(now, config, out);
            }
            self.rtx_at = now + self.probe_timeout(config);
        }
        true
    }

    /// While recovering, an acknowledgement makes the next unacknowledged segments leave again.
    fn resend_lost(&mut self, now: Time, config: &TcpConfig, out: &mut Vec<Segment>) {
        let mut sent = 0;
        for at in 0..self.flight.len() {
            if sent == RESEND_MAX || self.flight[at].seq >= self.recover {
                break;
            }
            if self.flight[at].round < self.round {
                self.resend(at, now, config, out);
                sent += 1;
            }
        }
    }

    fn resend(&mut self, at: usize, now: Time, config: &TcpConfig, out: &mut Vec<Segment>) {
        let round = self.round.max(1);
        let flight = &mut self.flight[at];
        flight.sent_at = now;
        flight.round = round;
        let what = if flight.fin { What::Fin } else { What::Data };
        let (seq, bytes) = (flight.seq, flight.bytes.clone());
        out.push(self.segment(what, seq, bytes, config));
        self.note_acked_here(config);
    }

    /// Linux's tail loss probe: two round trips; for a single segment in flight the whole RTO.
    fn probe_timeout(&self, config: &TcpConfig) -> Span {
        let rto = self.rto(config);
        if self.srtt.0 == 0 || self.flight.len() == 1 {
            return rto;
        }
        Span((2 * self.srtt.0 + 2_000_000).min(rto.0))
    }

    /// To be called at [`Sock::deadline`], not earlier.
    pub fn on_timer(&mut self, now: Time, config: &TcpConfig, out: &mut Vec<Segment>) -> Happened {
        let mut happened = Happened::default();
        match self.state {
            State::SynSent | State::SynReceived => {
                let most = match self.state {
                    State::SynSent => config.syn_retries,
                    State::SynReceived | State::Open => config.synack_retries,
                };
                if self.retries >= most {
                    happened.failed = Some(DialError::TimedOut);
                    return happened;
                }
                self.retries += 1;
                self.start(now, config, out);
                self.rtx_at = now + Span::from_secs(1 << self.retries.min(30));
            }
            State::Open => self.on_retransmit(now, config, out, &mut happened),
        }
        happened
    }

    fn on_retransmit(
        &mut self,
        now: Time,
        config: &TcpConfig,
        out: &mut Vec<Segment>,
        happened: &mut Happened,
    ) {
        let rto = self.rto(config);
        if self.flight.is_empty() {
            if self.unsent.is_empty() {
                // The peer never closed its half.
                self.rtx_at = Time::NEVER;
                happened.done = self.owner == Owner::Nobody && self.fin_sent;
                return;
            }
            if self.retries >= config.retries {
                happened.ended = Some(CloseReason::TimedOut);
                return;
            }
            out.push(self.segment(What::Probe, self.snd_nxt, Bytes::new(), config));
            self.note_acked_here(config);
            self.back_off(now, rto, config);
            return;
        }
        if !self.probed {
            self.probed = true;
            self.resend(self.flight.len() - 1, now, config, out);
            self.rtx_at = now + rto;
            return;
        }
        let most = match self.owner {
            Owner::Nobody => config.orphan_retries,
            Owner::Accepting | Owner::Dial(_) | Owner::Process(_) | Owner::Client(_) => {
                config.retries
            }
        };
        let waited = now.since(self.flight[0].first_sent_at);
        let given_up = config.user_timeout.is_some_and(|most| waited >= most);
        if self.retries >= most || given_up {
            happened.ended = Some(CloseReason::TimedOut);
            return;
        }
        self.round += 1;
        self.recover = self.snd_nxt;
        self.resend(0, now, config, out);
        self.back_off(now, rto, config);
    }

    /// The next timer is twice as far away as this one was.
    fn back_off(&mut self, now: Time, rto: Span, config: &TcpConfig) {
        self.retries += 1;
        let wait = rto.0.saturating_mul(1 << self.retries.min(30)).min(config.rto_max.0);
        self.rtx_at = now + Span(wait);
    }

    /// To be called at [`Sock::keepalive_at`], not earlier.
    pub fn on_keepalive(
        &mut self,
        now: Time,
        config: &TcpConfig,
        out: &mut Vec<Segment>,
    ) -> Happened {
        let mut happened = Happened::default();
        let Some(idle) = config.keepalive else {
            self.keep_at = Time::NEVER;
            return happened;
        };
        let interval = Span((idle.0 / 3).max(1_000_000_000));
        let quiet = now.since(self.last_heard);
        if quiet < idle || !self.flight.is_empty() {
            // Heard of meanwhile, or the retransmissions find out.
            self.keep_probes = 0;
            self.keep_at = (self.last_heard + idle).max(now + interval);
            return happened;
        }
        if self.keep_probes >= config.keepalive_probes {
            self.reset(config, out);
            happened.ended = Some(CloseReason::TimedOut);
            return happened;
        }
        self.keep_probes += 1;
        self.keep_at = now + interval;
        out.push(self.segment(What::Probe, self.snd_nxt, Bytes::new(), config));
        self.note_acked_here(config);
        happened
    }
}
