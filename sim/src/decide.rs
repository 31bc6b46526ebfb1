//! The choice stream: every random choice of a world goes through [`Decisions::decide`].
//!
//! Choices of one kind come from a stream of their own, so that drawing one more of a kind moves no
//! other. Zero is always the dull choice (smallest latency, no loss, no rare event): a recording that
//! has run out, and a fuzzer's input that has, go on with zeros.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use quorate::base::rng::Rng;
use serde::{Deserialize, Serialize};

/// What a choice is about.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Seeds of nodes, their identities.
    Seed,
    /// How long a segment takes.
    Latency,
    /// Whether a segment takes much longer, and how long.
    Tail,
    /// Whether a link loses a segment.
    Loss,
    /// Whether a segment may overtake.
    Reorder,
    /// Where a stream is cut into segments.
    Chunk,
    /// When a process reads what has arrived.
    Read,
    /// When a process ends its batch.
    Flush,
    /// How late, early or often a timer fires.
    Timer,
    /// `-m statistic` of a firewall.
    Statistic,
    /// Shape, configuration and faults of a plan.
    Plan,
    /// What clients do.
    Workload,
    /// When faults happen.
    Fault,
    /// Timing of clients.
    Client,
    /// Whatever else a driver of a world chooses.
    Other,
    /// How long a disk takes, and what it loses.
    Disk,
    /// What happens next, in runs whose order is decided.
    Order,
}

const KINDS: [(Kind, &str); 17] = [
    (Kind::Seed, "seed"),
    (Kind::Latency, "latency"),
    (Kind::Tail, "tail"),
    (Kind::Loss, "loss"),
    (Kind::Reorder, "reorder"),
    (Kind::Chunk, "chunk"),
    (Kind::Read, "read"),
    (Kind::Flush, "flush"),
    (Kind::Timer, "timer"),
    (Kind::Statistic, "statistic"),
    (Kind::Plan, "plan"),
    (Kind::Workload, "workload"),
    (Kind::Fault, "fault"),
    (Kind::Client, "client"),
    (Kind::Other, "other"),
    (Kind::Disk, "disk"),
    (Kind::Order, "order"),
];

/// One recorded choice.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    pub kind: Kind,
    /// The choice was among `0..n`.
    pub n: u64,
    pub value: u64,
}

/// The source of all choices, with an optional recording.
#[derive(Clone, Debug)]
pub struct Decisions {
    source: Source,
    recording: Option<DecisionLog>,
}

/// Where choices are kept; it outlives the world they are made in.
#[derive(Clone, Debug, Default)]
pub struct DecisionLog(Arc<Mutex<Vec<Decision>>>);

impl DecisionLog {
    fn push(&self, decision: Decision) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(decision);
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The choices so far; they are forgotten here.
    pub fn take(&self) -> Vec<Decision> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A stream of random numbers for each kind. They are made when first used: most worlds use few.
#[derive(Clone, Debug)]
struct Streams {
    seed: u64,
    streams: Box<[Option<Rng>; KINDS.len()]>,
}

#[derive(Clone, Debug)]
enum Source {
    Seed(Streams),
    /// Per kind, in the order they were made.
    Recorded(Vec<VecDeque<u64>>),
    /// The same, and where there are no more of a kind, drawn.
    Rewound(Vec<VecDeque<u64>>, Streams),
    Bytes {
        bytes: Vec<u8>,
        at: usize,
    },
    /// Choices of order as given, zeros after their end and for every other kind; seeds drawn, since no
    /// two nodes may have the same.
    Order {
        order: VecDeque<u64>,
        seeds: Box<Rng>,
    },
}

impl Decisions {
    /// Choices drawn from a seed.
    pub fn from_seed(seed: u64) -> Decisions {
        Decisions { source: Source::Seed(Streams::new(seed)), recording: None }
    }

    /// Choices as they were made before; zeros where there are no more of a kind.
    pub fn from_recorded(recorded: &[Decision]) -> Decisions {
        Decisions::from_lists(recorded.iter().map(|d| (d.kind, [d.value])))
    }

    /// The same, by kind; several lists of one kind follow each other.
    pub fn from_lists(
        recorded: impl IntoIterator<Item = (Kind, impl IntoIterator<Item = u64>)>,
    ) -> Decisions {
        Decisions { source: Source::Recorded(lists_of(recorded)), recording: None }
    }

    /// A run rewound: choices as they were made before, and where there are no more of a kind, drawn from
    /// a seed.
    pub fn rewound(recorded: &[Decision], seed: u64) -> Decisions {
        let lists = lists_of(recorded.iter().map(|d| (d.kind, [d.value])));
        Decisions { source: Source::Rewound(lists, Streams::new(seed)), recording: None }
    }

    /// Choices read off a fuzzer's bytes; zeros after their end.
    pub fn from_bytes(bytes: Vec<u8>) -> Decisions {
        Decisions { source: Source::Bytes { bytes, at: 0 }, recording: None }
    }

    /// One of all orders in which things can happen: which of `n` comes next, again and again, the first
    /// one after the end of the list. Everything else is as dull as can be.
    pub fn from_order(seed: u64, order: impl IntoIterator<Item = u64>) -> Decisions {
        let seeds = Box::new(Rng::fork(seed, KINDS[Kind::Seed as usize].1));
        let order = order.into_iter().collect();
        Decisions { source: Source::Order { order, seeds }, recording: None }
    }

    /// From now on choices are kept in this log, too.
    pub fn record(&mut self, log: &DecisionLog) {
        self.recording = Some(log.clone());
    }

    /// How many choices have been kept so far; 0, if none are.
    pub fn kept(&self) -> usize {
        self.recording.as_ref().map_or(0, DecisionLog::count)
    }

    /// A choice among `0..n`. A choice among one thing is none and draws nothing.
    ///
    /// # Panics
    /// If `n` is 0.
    #[inline]
    pub fn decide(&mut self, kind: Kind, n: u64) -> u64 {
        if n == 1 {
            return 0;
        }
        let value = if let Source::Seed(streams) = &mut self.source {
            streams.draw(kind, n)
        } else {
            self.source.draw(kind, n)
        };
        if let Some(recording) = &self.recording {
            recording.push(Decision { kind, n, value });
        }
        value
    }

    /// Whether something that happens once in `one_in` times happens. Never for zero.
    #[inline]
    pub fn chance(&mut self, kind: Kind, one_in: u64) -> bool {
        one_in != 0 && self.decide(kind, one_in) == one_in - 1
    }

    /// Whether something happens whose probability is `ppm` in a million.
    #[inline]
    pub fn ppm(&mut self, kind: Kind, ppm: u32) -> bool {
        ppm != 0 && self.decide(kind, 1_000_000) >= 1_000_000 - u64::from(ppm.min(1_000_000))
    }
}

fn lists_of(
    recorded: impl IntoIterator<Item = (Kind, impl IntoIterator<Item = u64>)>,
) -> Vec<VecDeque<u64>> {
    let mut lists = vec![VecDeque::new(); KINDS.len()];
    for (kind, values) in recorded {
        lists[kind as usize].extend(values);
    }
    lists
}

impl Streams {
    fn new(seed: u64) -> Streams {
        Streams { seed, streams: Box::new([const { None }; KINDS.len()]) }
    }

    #[inline]
    fn draw(&mut self, kind: Kind, n: u64) -> u64 {
        match &mut self.streams[kind as usize] {
            Some(stream) => stream.below(n),
            None => self.begin(kind).below(n),
        }
    }

    #[cold]
    fn begin(&mut self, kind: Kind) -> &mut Rng {
        let at = kind as usize;
        self.streams[at].insert(Rng::fork(self.seed, KINDS[at].1))
    }
}

impl Source {
    fn draw(&mut self, kind: Kind, n: u64) -> u64 {
        assert!(n > 0, "a choice among nothing");
        match self {
            Source::Seed(streams) => streams.draw(kind, n),
            // A recording may have been cut by a shrinker, or n may have changed with the code.
            Source::Recorded(lists) => lists[kind as usize].pop_front().unwrap_or(0) % n,
            Source::Rewound(lists, streams) => match lists[kind as usize].pop_front() {
                Some(value) => value % n,
                None => streams.draw(kind, n),
            },
            Source::Order { order, .. } if kind == Kind::Order => {
                order.pop_front().unwrap_or(0) % n
            }
            Source::Order { seeds, .. } if kind == Kind::Seed => seeds.below(n),
            Source::Order { .. } => 0,
            Source::Bytes { bytes, at } => {
                let width = (64 - (n - 1).leading_zeros()).div_ceil(8) as usize;
                let mut value = 0u64;
                for _ in 0..width {
                    value = value << 8 | u64::from(bytes.get(*at).copied().unwrap_or(0));
                    *at = (*at + 1).min(bytes.len());
                }
                value % n
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_in_the_order_of_their_streams() {
        for (at, (kind, _)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, at);
        }
    }

    #[test]
    fn drawing_more_of_one_kind_moves_no_other() {
        let mut a = Decisions::from_seed(7);
        let mut b = Decisions::from_seed(7);
        for _ in 0..100 {
            a.decide(Kind::Loss, 1000);
        }
        let of_a: Vec<u64> = (0..50).map(|_| a.decide(Kind::Latency, 1 << 40)).collect();
        let of_b: Vec<u64> = (0..50).map(|_| b.decide(Kind::Latency, 1 << 40)).collect();
        assert_eq!(of_a, of_b);
        let mut c = Decisions::from_seed(8);
        let of_c: Vec<u64> = (0..50).map(|_| c.decide(Kind::Latency, 1 << 40)).collect();
        assert_ne!(of_a, of_c);
    }

    #[test]
    fn recorded_choices_come_back_and_then_zeros() {
        let mut a = Decisions::from_seed(3);
        let log = DecisionLog::default();
        a.record(&log);
        let made: Vec<u64> = (0..20).map(|i| a.decide(Kind::Chunk, 10 + i)).collect();
        a.decide(Kind::Loss, 9);
        let mut b = Decisions::from_recorded(&log.take());
        let again: Vec<u64> = (0..20).map(|i| b.decide(Kind::Chunk, 10 + i)).collect();
        assert_eq!(made, again);
        assert_eq!(b.decide(Kind::Chunk, 100), 0);
        assert!(!b.chance(Kind::Chunk, 2));
    }

    #[test]
    fn a_rewound_run_goes_on_with_fresh_choices() {
        let mut a = Decisions::from_seed(3);
        let log = DecisionLog::default();
        a.record(&log);
        let made: Vec<u64> = (0..20).map(|_| a.decide(Kind::Chunk, 1 << 40)).collect();
        assert_eq!(a.kept(), 20);
        let mut b = Decisions::rewound(&log.take()[..8], 4);
        let mut drawn = Decisions::from_seed(4);
        assert_eq!(drawn.decide(Kind::Loss, 99), b.decide(Kind::Loss, 99));
        let again: Vec<u64> = (0..20).map(|_| b.decide(Kind::Chunk, 1 << 40)).collect();
        assert_eq!(again[..8], made[..8]);
        let fresh: Vec<u64> = (8..20).map(|_| drawn.decide(Kind::Chunk, 1 << 40)).collect();
        assert_eq!(again[8..], fresh);
    }

    #[test]
    fn fuzz_bytes_are_choices_and_zeros_after_their_end() {
        let mut d = Decisions::from_bytes(vec![5, 1, 2]);
        assert_eq!(d.decide(Kind::Other, 256), 5);
        assert_eq!(d.decide(Kind::Other, 65_536), 258);
        assert_eq!(d.decide(Kind::Other, u64::MAX), 0);
    }

    #[test]
    fn an_order_is_as_given_and_all_else_dull_but_for_seeds() {
        let mut d = Decisions::from_order(4, [2, 1]);
        assert_eq!(d.decide(Kind::Loss, 1000), 0);
        assert_eq!([3, 2, 5].map(|n| d.decide(Kind::Order, n)), [2, 1, 0]);
        let mut drawn = Decisions::from_seed(4);
        for _ in 0..3 {
            assert_eq!(d.decide(Kind::Seed, u64::MAX), drawn.decide(Kind::Seed, u64::MAX));
        }
    }

    #[test]
    fn chances_are_about_as_often_as_said() {
        let mut d = Decisions::from_seed(1);
        let hits = (0..100_000).filter(|_| d.chance(Kind::Flush, 8)).count();
        assert!((11_500..13_500).contains(&hits), "{hits}");
        let hits = (0..100_000).filter(|_| d.ppm(Kind::Loss, 10_000)).count();
        assert!((850..1150).contains(&hits), "{hits}");
        assert!(!d.ppm(Kind::Loss, 0) && d.ppm(Kind::Loss, 1_000_000));
        assert!(!d.chance(Kind::Loss, 0) && d.chance(Kind::Loss, 1));
    }
}
