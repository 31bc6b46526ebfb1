//! What a `link` line says of one direction between two hosts.

use std::time::Duration;

use quorate::base::time::Span;

use crate::link::{Flap, Link};
use crate::time::Time;

/// What waits for a line of limited bandwidth at most, unless a line says it.
pub const LINE_QUEUE_BYTES: u64 = 256 << 10;

/// What is not named stays as it is.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct LinkQuality {
    pub latency: Option<Duration>,
    /// Latency varies by up to this, uniformly.
    pub jitter: Option<Duration>,
    /// A share of the packets, 0.0 to 1.0, takes up to so much longer.
    pub tail: Option<(f64, Duration)>,
    /// 0.0 to 1.0.
    pub loss: Option<f64>,
    /// A share of the packets may be overtaken, by up to so much.
    pub reorder: Option<(f64, Duration)>,
    pub bits_per_sec: Option<u64>,
    pub queue_bytes: Option<u64>,
    pub state: Option<LinkState>,
}

/// Whether anything passes at all.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum LinkState {
    Up,
    Down,
    /// By turns, beginning with up.
    Flaps {
        up: Duration,
        down: Duration,
    },
}

impl LinkQuality {
    /// Everything that concerns when packets arrive, and nothing that concerns how many do.
    pub fn delay(&self, link: &mut Link, now: Time) {
        let latency = &mut link.config.latency;
        if let Some(base) = self.latency {
            latency.base = span(base);
        }
        if let Some(jitter) = self.jitter {
            latency.jitter = span(jitter);
        }
        if let Some((share, tail)) = self.tail {
            (latency.tail_ppm, latency.tail) = (ppm(share), span(tail));
        }
        if let Some((share, by)) = self.reorder {
            (link.config.reorder_ppm, link.config.reorder_by) = (ppm(share), span(by));
        }
        match self.state {
            Some(LinkState::Flaps { up, down }) => link.flap = Some(flap(up, down, now)),
            Some(LinkState::Up | LinkState::Down) => link.flap = None,
            None => {}
        }
    }

    /// Loss, bandwidth and what waits for it.
    pub fn thin(&self, link: &mut Link) {
        let config = &mut link.config;
        if let Some(share) = self.loss {
            config.loss_ppm = ppm(share);
        }
        if let Some(bits) = self.bits_per_sec {
            config.bandwidth_bytes_per_sec = (bits / 8).max(1);
        }
        if let Some(bytes) = self.queue_bytes {
            config.queue_bytes = bytes;
        }
    }

    /// Whether the link is cut from now on, or mended, if the line says it.
    pub fn cut(&self) -> Option<bool> {
        match self.state? {
            LinkState::Up | LinkState::Flaps { .. } => Some(false),
            LinkState::Down => Some(true),
        }
    }

    /// Whether packets of the link must be held back, or let through by turns.
    pub fn delays(&self) -> bool {
        let long = |span: Option<Duration>| span.is_some_and(|span| !span.is_zero());
        let some = |shared: Option<(f64, Duration)>| shared.is_some_and(|(share, _)| share > 0.0);
        let flaps = match self.state {
            Some(LinkState::Flaps { .. }) => true,
            Some(LinkState::Up | LinkState::Down) | None => false,
        };
        long(self.latency) || long(self.jitter) || some(self.tail) || some(self.reorder) || flaps
    }
}

fn flap(up: Duration, down: Duration, now: Time) -> Flap {
    let (up, down) = (span(up), span(down));
    let period = (up.0 + down.0).max(1);
    // The first of its periods begins now.
    Flap { up, down, phase: Span(period - now.0 % period) }
}

fn ppm(share: f64) -> u32 {
    (share * 1e6).round() as u32
}

fn span(of: Duration) -> Span {
    Span(u64::try_from(of.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkConfig;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let mut link = Link::new(LinkConfig::lan());
        let quality = LinkQuality { latency: Some(40 * MS), ..LinkQuality::default() };
        quality.delay(&mut link, Time(5));
        quality.thin(&mut link);
        let LinkConfig { latency, .. } = link.config;
        assert_eq!(latency.base, Span::from_ms(40));
        let rest = crate::link::Latency { base: LinkConfig::lan().latency.base, ..latency };
        assert_eq!(LinkConfig { latency: rest, ..link.config }, LinkConfig::lan());
        assert_eq!((link.cut, link.flap, quality.cut()), (false, None, None));
    }

    #[test]
    fn a_link_that_flaps_begins_with_being_up() {
        let mut link = Link::new(LinkConfig::lan());
        let state = Some(LinkState::Flaps { up: 20 * MS, down: 10 * MS });
        let quality = LinkQuality { state, ..LinkQuality::default() };
        let now = Time::from_ms(12_345);
        quality.delay(&mut link, now);
        let flap = link.flap.unwrap();
        let up: Vec<bool> = (0..8).map(|n| flap.is_up(now + Span::from_ms(5 * n + 1))).collect();
        assert_eq!(up, [true, true, true, true, false, false, true, true]);
        LinkQuality { state: Some(LinkState::Up), ..LinkQuality::default() }.delay(&mut link, now);
        assert_eq!(link.flap, None);
    }

    #[test]
    fn only_what_takes_time_needs_holding_back() {
        let plain = LinkQuality { loss: Some(0.1), bits_per_sec: Some(1), ..Default::default() };
        assert!(!plain.delays());
        assert!(!LinkQuality { latency: Some(Duration::ZERO), ..plain }.delays());
        assert!(LinkQuality { jitter: Some(MS), ..plain }.delays());
        assert!(LinkQuality { tail: Some((0.01, MS)), ..plain }.delays());
        assert!(LinkQuality { reorder: Some((0.01, MS)), ..plain }.delays());
    }
}
