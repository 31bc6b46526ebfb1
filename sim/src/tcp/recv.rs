//! The receiving half of an endpoint.

use quorate::base::io::{CloseReason, DialError};

use crate::time::Time;

use super::{Happened, Icmp, Owner, Segment, Sock, State, TcpConfig, What};

impl Sock {
    /// Takes a segment that has passed the firewall. Acknowledgements that are due afterwards are in
    /// `ack_pending`: data that leaves anyway carries them.
    pub fn on_segment(
        &mut self,
        now: Time,
        segment: &Segment,
        config: &TcpConfig,
        out: &mut Vec<Segment>,
    ) -> Happened {
        let mut happened = Happened::default();
        match self.state {
            State::SynSent => match segment.what {
                What::SynAck => {
                    self.peer = segment.from;
                    self.peer_window = segment.window;
                    self.become_open(now, config);
                    self.ack_pending = true;
                    happened.opened = true;
                }
                What::Reset | What::Unreachable(Icmp::PortUnreachable) => {
                    happened.failed = Some(DialError::Refused);
                }
                What::Unreachable(Icmp::HostUnreachable) => {
                    happened.failed = Some(DialError::Unreachable);
                }
                What::Syn | What::Data | What::Fin | What::Probe => happened.refuse = true,
            },
            State::SynReceived => match segment.what {
                // The SYN came again, so the answer was lost.
                What::Syn => out.push(self.segment(What::SynAck, 0, bytes::Bytes::new(), config)),
                What::Reset => happened.failed = Some(DialError::Refused),
                What::Unreachable(_) | What::SynAck => {}
                What::Data | What::Fin | What::Probe => {
                    self.peer_window = segment.window;
                    self.become_open(now, config);
                    happened.opened = true;
                    self.on_stream(now, segment, config, out, &mut happened);
                }
            },
            State::Open => match segment.what {
                What::Syn => self.ack_pending = true,
                // The last acknowledgement of the handshake was lost.
                What::SynAck if segment.from == self.peer => self.ack_pending = true,
                What::SynAck => happened.refuse = true,
                What::Reset => happened.ended = Some(CloseReason::Reset),
                // Soft errors: an established stream goes on retrying.
                What::Unreachable(_) => {}
                What::Data | What::Fin | What::Probe => {
                    self.on_stream(now, segment, config, out, &mut happened);
                }
            },
        }
        happened
    }

    fn on_stream(
        &mut self,
        now: Time,
        segment: &Segment,
        config: &TcpConfig,
        out: &mut Vec<Segment>,
        happened: &mut Happened,
    ) {
        self.last_heard = now;
        self.keep_probes = 0;
        happened.acked = self.on_ack(now, segment, config, out);
        if segment.what == What::Probe {
            self.ack_pending = true;
        } else if !segment.data.is_empty() || segment.what == What::Fin {
            self.ack_pending = true;
            // Data for a process that has closed: nobody will ever read it.
            let end = segment.seq + segment.data.len() as u64;
            if self.owner == Owner::Nobody && !segment.data.is_empty() && end > self.rcv_nxt {
                happened.refuse = true;
                happened.done = true;
                return;
            }
            happened.readable = self.on_payload(segment);
        }
        happened.done = self.is_done();
    }

    /// True if the stream went on.
    fn on_payload(&mut self, segment: &Segment) -> bool {
        let fin = segment.what == What::Fin;
        if segment.seq > self.rcv_nxt {
            let held = self.ahead.iter().any(|(seq, _, _)| *seq == segment.seq);
            if !held {
                self.ahead.push((segment.seq, segment.data.clone(), fin));
            }
            return false;
        }
        if segment.seq < self.rcv_nxt || self.rcv_fin {
            return false;
        }
        self.accept(&segment.data, fin);
        while let Some(at) = self.ahead.iter().position(|(seq, _, _)| *seq <= self.rcv_nxt) {
            let (seq, data, fin) = self.ahead.swap_remove(at);
            if seq == self.rcv_nxt {
                self.accept(&data, fin);
            }
        }
        true
    }

    fn accept(&mut self, data: &[u8], fin: bool) {
        self.buf.extend_from_slice(data);
        self.unread += data.len() as u64;
        self.rcv_nxt += data.len() as u64 + u64::from(fin);
        self.rcv_fin |= fin;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::decide::Decisions;
    use crate::ids::HostId;
    use crate::tcp::{Owner, Segment, Sock, SockRef, State, TcpConfig};
    use crate::time::Time;

    fn pair(config: &TcpConfig) -> (Sock, Sock) {
        let mut a = Sock::new(HostId(0), HostId(1), Owner::Nobody, State::SynSent, Time(0));
        let mut b = Sock::new(HostId(1), HostId(0), Owner::Accepting, State::SynReceived, Time(0));
        a.owner = Owner::Accepting;
        a.me = SockRef { index: 0, generation: 0 };
        b.me = SockRef { index: 1, generation: 0 };
        b.peer = a.me;
        let mut out = Vec::new();
        b.start(Time(0), config, &mut out);
        let opened = a.on_segment(Time(1000), &out.remove(0), config, &mut out);
        assert!(opened.opened && a.ack_pending);
        a.acknowledge(config, &mut out);
        let opened = b.on_segment(Time(2000), &out.remove(0), config, &mut out);
        assert!(opened.opened && out.is_empty());
        (a, b)
    }

    fn send(sock: &mut Sock, text: &str, config: &TcpConfig, d: &mut Decisions) -> Vec<Segment> {
        let mut out = Vec::new();
        sock.push(Bytes::copy_from_slice(text.as_bytes()));
        sock.transmit(Time(3000), config, d, &mut out);
        out
    }

    #[test]
    fn stream_is_in_order_whatever_the_segments_order_and_doubles() {
        let config = TcpConfig { segment_bytes_max: 3, ..TcpConfig::linux() };
        for seed in 0..200 {
            let mut d = Decisions::from_seed(seed);
            let (mut a, mut b) = pair(&config);
            let mut segments = send(&mut a, "the quick brown fox", &config, &mut d);
            let mut again = segments.clone();
            segments.append(&mut again);
            let mut out = Vec::new();
            while !segments.is_empty() {
                let at = d.decide(crate::decide::Kind::Other, segments.len() as u64) as usize;
                let segment = segments.swap_remove(at);
                b.on_segment(Time(4000), &segment, &config, &mut out);
                assert!(b.ack_pending);
            }
            assert_eq!(&b.buf[..], b"the quick brown fox", "seed {seed}");
            assert_eq!(b.unread, 19);
            b.acknowledge(&config, &mut out);
            let ack = out.pop().expect("an acknowledgement");
            a.on_segment(Time(5000), &ack, &config, &mut out);
            assert_eq!(a.unacknowledged(), 0);
            assert!(a.deadline() > Time::from_secs(100), "no retransmission is due");
        }
    }

    #[test]
    fn sender_stops_at_the_window_and_goes_on_when_it_opens() {
        let config = TcpConfig { recv_buffer_bytes: 8, cut_one_in: 0, ..TcpConfig::linux() };
        let mut d = Decisions::from_seed(1);
        let (mut a, mut b) = pair(&config);
        let sent = send(&mut a, "0123456789", &config, &mut d);
        assert_eq!(sent.len(), 1);
        assert_eq!(&sent[0].data[..], b"01234567");
        let mut out = Vec::new();
        b.on_segment(Time(4000), &sent[0], &config, &mut out);
        b.acknowledge(&config, &mut out);
        let shut = out.pop().expect("an acknowledgement");
        assert_eq!(shut.window, 0);
        assert!(a.on_segment(Time(5000), &shut, &config, &mut out).acked);
        a.transmit(Time(5000), &config, &mut d, &mut out);
        assert!(out.is_empty());
        // The update may be lost: the sender asks.
        a.on_timer(a.deadline(), &config, &mut out);
        assert_eq!(out.pop().map(|s| s.what), Some(crate::tcp::What::Probe));
        b.unread = 0;
        assert!(b.window_reopened(&config));
        b.acknowledge(&config, &mut out);
        let open = out.pop().expect("an update");
        assert!(a.on_segment(Time(6000), &open, &config, &mut out).acked);
        a.transmit(Time(6000), &config, &mut d, &mut out);
        assert_eq!(&out[0].data[..], b"89");
    }

    #[test]
    fn retransmissions_double_their_distance_from_200_ms() {
        let config = TcpConfig { cut_one_in: 0, ..TcpConfig::linux() };
        let mut d = Decisions::from_seed(1);
        let (mut a, _) = pair(&config);
        let sent = send(&mut a, "x", &config, &mut d);
        assert_eq!(sent.len(), 1);
        let mut at = Vec::new();
        let mut out = Vec::new();
        loop {
            let now = a.deadline();
            if a.on_timer(now, &config, &mut out).ended.is_some() {
                at.push(now.as_ms());
                break;
            }
            at.push(now.as_ms());
        }
        // The tail loss probe, then the retransmissions proper.
        assert_eq!(at[..9], [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200]);
        // Given up as Linux does with 15 retries, after about 924 s.
        let given_up = at.last().copied().unwrap_or(0);
        assert!((900_000..960_000).contains(&given_up), "{given_up}");
    }
}
