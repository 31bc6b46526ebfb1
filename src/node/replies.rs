//! Ordered reply slots: a reply may be filled in later and still leaves in the order of the requests.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A reply longer than this takes its whole buffer along, so that an idle client does not hold the memory of
/// what it once got.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// A reply that is not there yet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SlotId(u64);

/// The replies of one connection. As long as none waits, they are appended to one buffer; behind one that
/// waits they queue.
#[derive(Debug, Default)]
pub struct ReplyQueue {
    /// What may leave.
    ready: BytesMut,
    slots: VecDeque<Slot>,
    next: u64,
}

#[derive(Debug)]
struct Slot {
    id: SlotId,
    /// The reply itself, once it is there.
    reply: Option<BytesMut>,
    /// Replies to the requests between this slot and the next.
    behind: BytesMut,
}

impl ReplyQueue {
    pub fn new() -> ReplyQueue {
        ReplyQueue::default()
    }

    /// Where the next reply goes.
    #[inline]
    pub fn writer(&mut self) -> &mut BytesMut {
        match self.slots.back_mut() {
            None => &mut self.ready,
            Some(slot) => &mut slot.behind,
        }
    }

    /// Where the next reply begins, for [`ReplyQueue::take_since`].
    pub fn mark(&self) -> usize {
        self.slots.back().map_or(self.ready.len(), |slot| slot.behind.len())
    }

    /// Takes what was written since the mark: nothing was deferred or taken meanwhile.
    pub fn take_since(&mut self, mark: usize) -> BytesMut {
        self.writer().split_off(mark)
    }

    /// The next reply comes later, by [`ReplyQueue::fill`].
    pub fn defer(&mut self) -> SlotId {
        let id = SlotId(self.next);
        self.next += 1;
        self.slots.push_back(Slot { id, reply: None, behind: BytesMut::new() });
        id
    }

    /// Fills a slot with a whole reply; what it held up becomes ready.
    ///
    /// # Panics
    /// If the slot has been filled before, or is of another queue.
    pub fn fill(&mut self, id: SlotId, reply: BytesMut) {
        let slot = self.slots.iter_mut().find(|slot| slot.id == id);
        let slot = slot.expect("a slot that waits");
        assert!(slot.reply.is_none(), "a slot is filled once");
        slot.reply = Some(reply);
        while self.slots.front().is_some_and(|slot| slot.reply.is_some()) {
            let Some(slot) = self.slots.pop_front() else { break };
            self.ready.extend_from_slice(&slot.reply.unwrap_or_default());
            self.ready.extend_from_slice(&slot.behind);
        }
    }

    /// Takes what may leave; empty if nothing may.
    #[inline]
    pub fn take_ready(&mut self) -> Bytes {
        if self.ready.len() > KEPT_BYTES_MAX {
            return std::mem::take(&mut self.ready).freeze();
        }
        self.ready.split().freeze()
    }

    /// Lets go of everything written: nobody will read it.
    pub fn drop_ready(&mut self) {
        self.ready = BytesMut::new();
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a reply is still to come.
    pub fn is_waiting(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Bytes held back or ready, not yet taken.
    pub fn bytes(&self) -> usize {
        let slot = |slot: &Slot| slot.behind.len() + slot.reply.as_ref().map_or(0, BytesMut::len);
        self.ready.len() + self.slots.iter().map(slot).sum::<usize>()
    }

    /// The first slot waits, else it would have left.
    pub fn first_slot_waits(&self) {
        if let Some(first) = self.slots.front() {
            assert!(first.reply.is_none(), "a filled reply stayed behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reply_behind_a_waiting_one_waits_too() {
        let mut queue = ReplyQueue::new();
        queue.writer().extend_from_slice(b"1");
        let second = queue.defer();
        queue.writer().extend_from_slice(b"3");
        assert_eq!(&queue.take_ready()[..], b"1");
        assert!(!queue.has_ready());
        queue.fill(second, BytesMut::from(&b"2"[..]));
        queue.writer().extend_from_slice(b"4");
        assert_eq!(&queue.take_ready()[..], b"234");
        assert!(!queue.is_waiting());
    }

    #[test]
    fn an_idle_client_does_not_hold_what_it_once_got() {
        let mut queue = ReplyQueue::new();
        for bytes in [10, KEPT_BYTES_MAX, 1 << 20, 10] {
            queue.writer().extend_from_slice(&vec![b'v'; bytes]);
            assert_eq!(queue.take_ready().len(), bytes);
            // What is left can be the rest of a buffer at most twice as long as what is kept.
            assert!(queue.ready.capacity() <= 2 * KEPT_BYTES_MAX, "after {bytes} bytes");
        }
        queue.writer().extend_from_slice(&vec![b'v'; 1 << 20]);
        drop(queue.take_ready());
        assert_eq!(queue.ready.capacity(), 0);
    }

    proptest! {
        /// Requests are answered at once or later, later ones in any order: the replies leave in order.
        #[test]
        fn replies_leave_in_request_order(
            later in proptest::collection::vec(any::<bool>(), 1..40),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let mut queue = ReplyQueue::new();
            let mut waiting = Vec::new();
            let mut left = Vec::new();
            for (request, &later) in (0u8..).zip(&later) {
                if later {
                    waiting.push((queue.defer(), request));
                } else {
                    queue.writer().extend_from_slice(&[request]);
                }
            }
            for index in order {
                left.extend_from_slice(&queue.take_ready());
                if waiting.is_empty() {
                    break;
                }
                let (slot, request) = waiting.remove(index.index(waiting.len()));
                queue.fill(slot, BytesMut::from(&[request][..]));
                queue.first_slot_waits();
            }
            left.extend_from_slice(&queue.take_ready());
            let all: Vec<u8> = (0..later.len() as u8).collect();
            prop_assert_eq!(left, all);
            prop_assert_eq!(queue.bytes(), 0);
        }
    }
}
