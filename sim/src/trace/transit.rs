//! Segments on their way: found again when they arrive.

use super::Fate;
use super::tape::Tape;
use crate::tcp::Segment;
use crate::time::Time;

/// Finds a segment under way when it arrives.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Transit {
    arrives: u64,
    hosts: (u16, u16),
    ports: (u16, u16),
    seq: u64,
    ack: u64,
}

impl Transit {
    pub fn of(arrives: Time, segment: &Segment) -> Transit {
        Transit {
            arrives: arrives.0,
            hosts: (segment.from_host.0, segment.to_host.0),
            ports: (segment.sport, segment.dport),
            seq: segment.seq,
            ack: segment.ack,
        }
    }
}

impl Tape {
    /// A segment has arrived, or is stopped at the receiver.
    pub fn arrived(&mut self, now: Time, segment: &Segment, fate: Fate) {
        let transit = Transit::of(now, segment);
        let Some(waiting) = self.under_way.get_mut(&transit) else { return };
        if let Some(index) = waiting.pop_front() {
            self.messages[index].fate = fate;
        }
        if waiting.is_empty() {
            self.under_way.remove(&transit);
        }
    }

    /// A segment meant to arrive at `meant` arrives now.
    pub fn arrives_at(&mut self, meant: Time, now: Time, segment: &Segment) {
        if meant == now {
            return;
        }
        let Some(mut waiting) = self.under_way.remove(&Transit::of(meant, segment)) else { return };
        if let Some(index) = waiting.pop_front() {
            self.messages[index].ends = now.0;
            self.under_way.entry(Transit::of(now, segment)).or_default().push_back(index);
        }
        if !waiting.is_empty() {
            self.under_way.insert(Transit::of(meant, segment), waiting);
        }
    }

    /// What a segment says that is to arrive at `arrives`.
    pub fn words_under_way(&self, arrives: Time, segment: &Segment) -> Option<String> {
        let waiting = self.under_way.get(&Transit::of(arrives, segment))?;
        let message = &self.messages[*waiting.front()?];
        Some(self.texts()[message.text.0 as usize].clone())
    }
}
