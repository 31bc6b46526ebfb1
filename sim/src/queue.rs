//! The event queue: small integers in order over a slab of events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::time::Time;

const SLOT_BITS: u32 = 24;
const SEQUENCE_BITS: u32 = 40;
/// What comes so soon after the last event is near, if not too much is: segments on their way, mostly.
const NEAR_NS: u64 = 1_000_000;
const NEAR_MAX: usize = 32;
/// So many others are kept in order too: below that a list costs less than a heap.
const FAR_MAX: usize = 64;

/// Events in the order of their times, and of their arrival within one time.
#[derive(Debug)]
pub struct Queue<E> {
    /// Keys of events that come soon, the next one last: a short list is kept in order sooner than a heap.
    near: Vec<u128>,
    /// The same of later ones: time (64 bits) | sequence (40) | slot (24).
    far: Vec<u128>,
    /// Those for which both lists had no room.
    rest: BinaryHeap<Reverse<u128>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    sequence: u64,
    /// Time of the last event that left.
    last: u64,
}

impl<E> Queue<E> {
    pub fn new() -> Queue<E> {
        Queue {
            near: Vec::with_capacity(NEAR_MAX),
            far: Vec::with_capacity(FAR_MAX),
            rest: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            last: 0,
        }
    }

    /// # Panics
    /// If more than 2^24 events wait, or after 2^40 events.
    #[inline]
    pub fn push(&mut self, at: Time, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(event);
                slot
            }
            None => {
                assert!(self.slots.len() < 1 << SLOT_BITS, "too many events wait");
                self.slots.push(Some(event));
                (self.slots.len() - 1) as u32
            }
        };
        self.sequence += 1;
        assert!(self.sequence < 1 << SEQUENCE_BITS, "too many events");
        let key =
            u128::from(at.0) << 64 | u128::from(self.sequence << SLOT_BITS) | u128::from(slot);
        if self.near.len() < NEAR_MAX && at.0.saturating_sub(self.last) < NEAR_NS {
            let sooner = self.near.iter().rev().take_while(|&&other| other < key).count();
            self.near.insert(self.near.len() - sooner, key);
        } else if self.far.len() < FAR_MAX {
            let place = self.far.partition_point(|&other| other > key);
            self.far.insert(place, key);
        } else {
            self.rest.push(Reverse(key));
        }
    }

    /// The next event, unless it lies after `until`.
    #[inline]
    pub fn pop_until(&mut self, until: Time) -> Option<(Time, E)> {
        let key = self.next_key()?;
        let at = time_of(key);
        if at > until {
            return None;
        }
        if self.near.last() == Some(&key) {
            self.near.pop();
        } else if self.far.last() == Some(&key) {
            self.far.pop();
        } else {
            self.rest.pop();
        }
        self.last = at.0;
        let slot = slot_of(key);
        let event = self.slots[slot].take().expect("a slot in the queue holds an event");
        self.free.push(slot as u32);
        Some((at, event))
    }

    /// All that waits, in no order, with the keys by which [`Queue::take`] knows them: smaller ones are
    /// due first.
    pub fn iter(&self) -> impl Iterator<Item = (u128, Time, &E)> {
        let listed = self.near.iter().chain(&self.far).copied();
        let keys = listed.chain(self.rest.iter().map(|&Reverse(key)| key));
        keys.filter_map(|key| Some((key, time_of(key), self.slots[slot_of(key)].as_ref()?)))
    }

    /// Takes an event out of its turn. Looks through the whole queue.
    pub fn take(&mut self, key: u128) -> Option<E> {
        let before = self.len();
        self.near.retain(|&other| other != key);
        self.far.retain(|&other| other != key);
        self.rest.retain(|&Reverse(other)| other != key);
        if self.len() == before {
            return None;
        }
        self.free.push(slot_of(key) as u32);
        self.slots[slot_of(key)].take()
    }

    /// How many events there have been. The next one's number: see [`number_of`].
    pub fn count(&self) -> u64 {
        self.sequence
    }

    /// The time of the next event.
    pub fn next_at(&self) -> Option<Time> {
        self.next_key().map(time_of)
    }

    pub fn len(&self) -> usize {
        self.near.len() + self.far.len() + self.rest.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn next_key(&self) -> Option<u128> {
        let listed = match (self.near.last(), self.far.last()) {
            (Some(&near), Some(&far)) => Some(near.min(far)),
            (near, far) => near.or(far).copied(),
        };
        match (listed, self.rest.peek()) {
            (Some(listed), Some(&Reverse(rest))) => Some(listed.min(rest)),
            (Some(listed), None) => Some(listed),
            (None, rest) => rest.map(|&Reverse(rest)| rest),
        }
    }
}

/// The how manyth event of its queue one was, by its key.
pub fn number_of(key: u128) -> u64 {
    (key as u64) >> SLOT_BITS
}

fn time_of(key: u128) -> Time {
    Time((key >> 64) as u64)
}

fn slot_of(key: u128) -> usize {
    (key as usize) & ((1 << SLOT_BITS) - 1)
}

impl<E> Default for Queue<E> {
    fn default() -> Queue<E> {
        Queue::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_leave_by_time_and_then_in_the_order_they_came() {
        let mut queue = Queue::new();
        queue.push(Time(5), 'c');
        queue.push(Time(1), 'a');
        queue.push(Time(5), 'd');
        queue.push(Time(2), 'b');
        assert_eq!(queue.pop_until(Time(0)), None);
        let mut seen = String::new();
        while let Some((_, event)) = queue.pop_until(Time(4)) {
            seen.push(event);
        }
        // A slot that was freed is used again without changing the order.
        queue.push(Time(5), 'e');
        while let Some((_, event)) = queue.pop_until(Time::NEVER) {
            seen.push(event);
        }
        assert_eq!(seen, "abcde");
        assert!(queue.is_empty());
    }

    #[test]
    fn near_and_far_events_leave_in_one_order() {
        let mut rng = quorate::base::rng::Rng::new(7);
        let mut queue = Queue::new();
        let (mut pushed, mut left, mut now) = (Vec::new(), Vec::new(), 0);
        for number in 0..20_000u32 {
            let scale = rng.below(4) as usize;
            let ahead = rng.below([3, 50, 2 * NEAR_NS, 90 * NEAR_NS][scale]);
            queue.push(Time(now + ahead), number);
            pushed.push((now + ahead, number));
            // Sometimes more waits than the list of near events holds.
            if rng.below(if number % 1000 < 500 { 4 } else { 1 }) == 0
                && let Some((at, event)) = queue.pop_until(Time(now + 100 * NEAR_NS))
            {
                now = at.0;
                left.push((now, event));
            }
        }
        while let Some((at, event)) = queue.pop_until(Time::NEVER) {
            left.push((at.0, event));
        }
        pushed.sort_unstable();
        assert_eq!(left, pushed);
    }

    #[test]
    fn what_is_taken_out_of_its_turn_is_gone_and_the_rest_keeps_its_order() {
        let mut queue = Queue::new();
        for (at, event) in [(5, 'c'), (1, 'a'), (9 * NEAR_NS, 'f'), (5, 'd'), (2, 'b')] {
            queue.push(Time(at), event);
        }
        for wanted in ['c', 'f'] {
            let (key, ..) = queue.iter().find(|(_, _, event)| **event == wanted).expect("it waits");
            assert_eq!((queue.take(key), queue.take(key)), (Some(wanted), None));
        }
        queue.push(Time(5), 'e');
        let mut seen = String::new();
        while let Some((_, event)) = queue.pop_until(Time::NEVER) {
            seen.push(event);
        }
        assert_eq!(seen, "abde");
    }
}
