//! Links: what the network between two hosts does to segments, per direction.

use std::fmt::Write as _;

use quorate::base::time::Span;

use super::decide::{Decisions, Kind};
use super::time::Time;

/// How long a segment takes: `base`, plus uniform `jitter`, plus with probability `tail_ppm` something
/// between nothing and `tail`, small more often than large.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Latency {
    pub base: Span,
    pub jitter: Span,
    pub tail_ppm: u32,
    pub tail: Span,
}

/// What a link is like while it is well.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct LinkConfig {
    pub latency: Latency,
    /// Lost segments in a million.
    pub loss_ppm: u32,
    /// Segments in a million that later ones may overtake, by up to `reorder_by`.
    pub reorder_ppm: u32,
    pub reorder_by: Span,
    /// Zero: unlimited.
    pub bandwidth_bytes_per_sec: u64,
    /// What waits for the line at most; more is lost. Only with a bandwidth.
    pub queue_bytes: u64,
}

/// A link that goes up and down by itself.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Flap {
    pub up: Span,
    pub down: Span,
    pub phase: Span,
}

/// One direction between two hosts.
#[derive(Clone, Debug)]
pub struct Link {
    pub config: LinkConfig,
    /// Nothing passes, and nobody is told.
    pub cut: bool,
    pub flap: Option<Flap>,
    busy_until: Time,
    last_arrival: Time,
}

/// What became of a segment.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Passage {
    Lost,
    Arrives {
        at: Time,
        /// It took the tail, or waited for the line.
        delayed: bool,
    },
}

impl LinkConfig {
    /// A switch between machines of one room.
    pub const fn lan() -> LinkConfig {
        LinkConfig::of_latency(Span(50_000), Span(50_000))
    }

    /// Within one machine.
    pub const fn loopback() -> LinkConfig {
        LinkConfig::of_latency(Span(10_000), Span(0))
    }

    pub const fn of_latency(base: Span, jitter: Span) -> LinkConfig {
        LinkConfig {
            latency: Latency { base, jitter, tail_ppm: 0, tail: Span(0) },
            loss_ppm: 0,
            reorder_ppm: 0,
            reorder_by: Span(0),
            bandwidth_bytes_per_sec: 0,
            queue_bytes: 256 << 10,
        }
    }
}

impl Link {
    pub const fn new(config: LinkConfig) -> Link {
        Link { config, cut: false, flap: None, busy_until: Time::ZERO, last_arrival: Time::ZERO }
    }

    /// Sends so many bytes at `now`.
    #[inline]
    pub fn pass(&mut self, now: Time, bytes: usize, decisions: &mut Decisions) -> Passage {
        if self.cut || self.flap.is_some_and(|flap| !flap.is_up(now)) {
            return Passage::Lost;
        }
        let config = &self.config;
        if decisions.ppm(Kind::Loss, config.loss_ppm) {
            return Passage::Lost;
        }
        let mut delayed = false;
        let mut departs = now;
        if config.bandwidth_bytes_per_sec > 0 {
            let rate = config.bandwidth_bytes_per_sec;
            let waiting_ns = self.busy_until.since(now).0;
            let waiting = u128::from(waiting_ns) * u128::from(rate) / 1_000_000_000;
            if waiting > u128::from(config.queue_bytes) {
                return Passage::Lost;
            }
            delayed = waiting_ns > 0;
            let takes = (bytes as u64).saturating_mul(1_000_000_000) / rate;
            departs = now.max(self.busy_until) + Span(takes);
            self.busy_until = departs;
        }
        let latency = &config.latency;
        let mut takes = latency.base.0 + decisions.decide(Kind::Latency, latency.jitter.0 + 1);
        if decisions.ppm(Kind::Tail, latency.tail_ppm) {
            let most = latency.tail.0 >> decisions.decide(Kind::Tail, 6);
            takes += decisions.decide(Kind::Tail, most + 1);
            delayed = true;
        }
        let mut at = departs + Span(takes);
        if decisions.ppm(Kind::Reorder, config.reorder_ppm) {
            // Later segments do not wait for this one.
            at = at + Span(decisions.decide(Kind::Reorder, config.reorder_by.0 + 1));
            return Passage::Arrives { at, delayed: true };
        }
        at = at.max(self.last_arrival);
        self.last_arrival = at;
        Passage::Arrives { at, delayed }
    }
}

impl Flap {
    pub fn is_up(&self, now: Time) -> bool {
        let period = self.up.0 + self.down.0;
        period == 0 || (now.0 + self.phase.0) % period < self.up.0
    }
}

/// All links of a world, by index.
#[derive(Debug)]
pub struct Links {
    links: Vec<Link>,
    stride: usize,
    standard: LinkConfig,
}

impl Links {
    pub fn new(standard: LinkConfig) -> Links {
        Links { links: Vec::new(), stride: 0, standard }
    }

    /// Makes room for `hosts` hosts; what is there stays.
    pub fn grow(&mut self, hosts: usize) {
        if hosts <= self.stride {
            return;
        }
        let stride = hosts.next_power_of_two().max(4);
        let mut links = Vec::with_capacity(stride * stride);
        for from in 0..stride {
            for to in 0..stride {
                links.push(if from < self.stride && to < self.stride {
                    self.links[from * self.stride + to].clone()
                } else if from == to {
                    Link::new(LinkConfig::loopback())
                } else {
                    Link::new(self.standard)
                });
            }
        }
        self.links = links;
        self.stride = stride;
    }

    /// Writes how the links between the first hosts are.
    pub fn write_state(&self, hosts: usize, out: &mut String) {
        for from in 0..hosts {
            for to in 0..hosts {
                let Link { config, cut, flap, busy_until, last_arrival } =
                    &self.links[from * self.stride + to];
                let _ = write!(out, "\n{cut} {flap:?} {busy_until:?} {last_arrival:?}");
                if *config != self.standard {
                    let _ = write!(out, " {config:?}");
                }
            }
        }
    }

    #[inline]
    pub fn get(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from * self.stride + to]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(link: &mut Link, now: Time, bytes: usize, d: &mut Decisions) -> Option<Time> {
        match link.pass(now, bytes, d) {
            Passage::Lost => None,
            Passage::Arrives { at, .. } => Some(at),
        }
    }

    #[test]
    fn segments_keep_their_order_unless_the_link_reorders() {
        let mut d = Decisions::from_seed(5);
        let mut link = Link::new(LinkConfig::of_latency(Span::from_ms(1), Span::from_ms(20)));
        let mut last = Time::ZERO;
        for i in 0..1000 {
            let at = arrival(&mut link, Time(i * 1000), 100, &mut d).expect("no loss");
            assert!(at >= last && at >= Time(i * 1000 + 1_000_000));
            last = at;
        }
        link.config.reorder_ppm = 100_000;
        link.config.reorder_by = Span::from_ms(50);
        let arrivals: Vec<Time> = (0..1000)
            .filter_map(|i| arrival(&mut link, Time(1_000_000_000 + i * 1000), 100, &mut d))
            .collect();
        assert!(!arrivals.is_sorted());
    }

    #[test]
    fn bandwidth_queues_and_then_loses() {
        let mut d = Decisions::from_seed(5);
        let mut link = Link::new(LinkConfig {
            bandwidth_bytes_per_sec: 1_000_000,
            queue_bytes: 3_000,
            ..LinkConfig::of_latency(Span(0), Span(0))
        });
        let arrivals: Vec<Option<Time>> =
            (0..6).map(|_| arrival(&mut link, Time(0), 1000, &mut d)).collect();
        let ms = |ms| Some(Time::from_ms(ms));
        assert_eq!(arrivals, [ms(1), ms(2), ms(3), ms(4), None, None]);
    }

    #[test]
    fn flapping_and_cut_links_lose_everything_while_down() {
        let mut d = Decisions::from_seed(5);
        let mut link = Link::new(LinkConfig::lan());
        link.flap = Some(Flap { up: Span(100), down: Span(50), phase: Span(0) });
        assert!(arrival(&mut link, Time(99), 1, &mut d).is_some());
        assert!(arrival(&mut link, Time(120), 1, &mut d).is_none());
        assert!(arrival(&mut link, Time(160), 1, &mut d).is_some());
        link.flap = None;
        link.cut = true;
        assert!(arrival(&mut link, Time(170), 1, &mut d).is_none());
    }

    #[test]
    fn loss_is_about_as_often_as_said() {
        let mut d = Decisions::from_seed(5);
        let mut link = Link::new(LinkConfig { loss_ppm: 50_000, ..LinkConfig::lan() });
        let lost = (0..10_000).filter(|i| arrival(&mut link, Time(*i), 1, &mut d).is_none());
        let lost = lost.count();
        assert!((400..600).contains(&lost), "{lost}");
    }
}
