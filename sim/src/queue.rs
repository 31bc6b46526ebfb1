//! The event queue: a heap of small integers over a slab of events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::time::Time;

const SLOT_BITS: u32 = 24;
const SEQUENCE_BITS: u32 = 40;

/// Events in the order of their times, and of their arrival within one time.
#[derive(Debug)]
pub struct Queue<E> {
    /// time (64 bits) | sequence (40) | slot (24).
    heap: BinaryHeap<Reverse<u128>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    sequence: u64,
}

impl<E> Queue<E> {
    pub fn new() -> Queue<E> {
        Queue { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), sequence: 0 }
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
        self.heap.push(Reverse(key));
    }

    /// The next event, unless it lies after `until`.
    #[inline]
    pub fn pop_until(&mut self, until: Time) -> Option<(Time, E)> {
        let &Reverse(key) = self.heap.peek()?;
        let at = Time((key >> 64) as u64);
        if at > until {
            return None;
        }
        self.heap.pop();
        let slot = (key as u32) & ((1 << SLOT_BITS) - 1);
        let event = self.slots[slot as usize].take().expect("a slot in the heap holds an event");
        self.free.push(slot);
        Some((at, event))
    }

    /// The time of the next event.
    pub fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|&Reverse(key)| Time((key >> 64) as u64))
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
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
}
