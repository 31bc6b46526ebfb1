//! One connection: its entry in the hub and the task that reads it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::hub::{Hub, Shared};
use super::socket::{self, Inlet, Outlet};
use crate::base::ids::ConnId;
use crate::base::io::CloseReason;

/// Bytes asked of the kernel in one read.
pub(super) const READ_BYTES: usize = 64 << 10;
/// Most bytes read ahead of a client that is paused. They are kept only so that its end is noticed.
const PAUSED_BYTES_MAX: usize = 1 << 20;
/// Largest step by which the buffer of an unfinished command grows.
const GROW_BYTES_MAX: usize = 8 << 20;

/// What the hub knows of a connection.
pub(super) struct Entry {
    pub(super) id: ConnId,
    pub(super) outlet: Outlet,
    /// Output the kernel has not taken yet, in order.
    pub(super) out: VecDeque<Bytes>,
    /// Bytes the kernel has taken so far.
    pub(super) written: u64,
    /// In the list of connections to write in this turn.
    pub(super) touched: bool,
    /// The kernel would not take more; the task waits until it does.
    pub(super) parked: bool,
    /// The node asked to close: nothing is read any more, the output is still written.
    pub(super) closing: bool,
    /// Its time to read the rest is being watched.
    pub(super) lingers: bool,
    pub(super) paused: bool,
    /// Reads go on after a pause: the buffered bytes are to be offered again.
    pub(super) reoffer: bool,
    /// The turn in which bytes were last offered. Nothing is offered twice in one turn: what the node
    /// asked for meanwhile (a pause, a close) must have been carried out first.
    pub(super) offered_in: u64,
    /// Accepted, and so counted against `maxclients`.
    pub(super) accepted: bool,
    /// Wakes the connection's task.
    pub(super) waker: Option<Waker>,
}

/// The connections. A connection's number says in its lower bits where it is kept, and counts up in the
/// higher ones.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Option<Entry>>,
    free: Vec<usize>,
    accepted: u32,
    opened: u64,
}

/// Bits of a connection's number that are its place.
const SLOT_BITS: u32 = 24;

fn slot_of(id: ConnId) -> usize {
    (id.0 & ((1 << SLOT_BITS) - 1)) as usize
}

impl Table {
    pub(super) fn insert(&mut self, outlet: Outlet, accepted: bool) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        assert!(slot >> SLOT_BITS == 0, "fewer files can be open");
        self.opened += 1;
        let id = ConnId(self.opened << SLOT_BITS | slot as u64);
        let entry = Entry {
            id,
            outlet,
            out: VecDeque::new(),
            written: 0,
            touched: false,
            parked: false,
            closing: false,
            lingers: false,
            paused: false,
            reoffer: false,
            offered_in: 0,
            accepted,
            waker: None,
        };
        self.slots[slot] = Some(entry);
        self.accepted += u32::from(accepted);
        id
    }

    /// Forgets a connection; its socket closes as soon as its task notices.
    pub(super) fn remove(&mut self, id: ConnId) {
        let slot = slot_of(id);
        let kept = self.slots.get_mut(slot);
        let Some(entry) = kept.and_then(|kept| kept.take_if(|entry| entry.id == id)) else {
            return;
        };
        self.free.push(slot);
        self.accepted -= u32::from(entry.accepted);
        if let Some(waker) = entry.waker {
            waker.wake();
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Entry> {
        self.slots.get_mut(slot_of(id))?.as_mut().filter(|entry| entry.id == id)
    }

    pub(super) fn accepted(&self) -> u32 {
        self.accepted
    }
}

/// Serves one connection until it is closed by either side.
pub(super) async fn serve(shared: Arc<Shared>, id: ConnId, mut inlet: Inlet) {
    let mut tail = BytesMut::new();
    poll_fn(|cx| shared.lock().poll_conn(&shared, id, &mut inlet, &mut tail, cx)).await;
}

impl Hub {
    /// One step of a connection's task. Ready when the connection is no more.
    fn poll_conn(
        &mut self,
        shared: &Arc<Shared>,
        id: ConnId,
        inlet: &mut Inlet,
        tail: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(entry) = self.conns.get_mut(id) else { return Poll::Ready(()) };
        if !entry.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            entry.waker = Some(cx.waker().clone());
        }
        if entry.parked && entry.outlet.poll_ready(cx).is_ready() {
            entry.parked = false;
            if !entry.touched {
                entry.touched = true;
                self.touched.push(id);
            }
            self.want_flush();
        }
        let turn = self.turn;
        let Some(entry) = self.conns.get_mut(id) else { return Poll::Ready(()) };
        if entry.closing {
            return Poll::Pending;
        }
        if entry.paused {
            return self.poll_paused(shared, id, inlet, tail, cx);
        }
        if entry.offered_in == turn {
            // The flusher was woken when the bytes were offered and stands before this task in line.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if std::mem::take(&mut entry.reoffer) && !tail.is_empty() {
            entry.offered_in = turn;
            self.offer(id, tail);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.poll_read(id, inlet, tail, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) => self.on_ended(shared, id, CloseReason::EndOfStream),
            Poll::Ready(Ok(_)) => {
                if let Some(entry) = self.conns.get_mut(id) {
                    entry.offered_in = turn;
                }
                if socket::poll_more(inlet, cx) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Poll::Ready(Err(e)) => self.on_ended(shared, id, close_reason(&e)),
        }
    }

    /// Keeps what comes during a pause, and notices if the other side is gone. Beyond a bound nothing is
    /// read: the kernel makes the sender wait.
    fn poll_paused(
        &mut self,
        shared: &Arc<Shared>,
        id: ConnId,
        inlet: &mut Inlet,
        tail: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if tail.len() >= PAUSED_BYTES_MAX {
            return Poll::Pending;
        }
        match pin!(inlet.read_buf(&mut self.scratch)).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) => self.on_ended(shared, id, CloseReason::EndOfStream),
            Poll::Ready(Ok(_)) => {
                tail.extend_from_slice(&self.scratch);
                self.renew_scratch();
                if socket::poll_more(inlet, cx) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Poll::Ready(Err(e)) => self.on_ended(shared, id, close_reason(&e)),
        }
    }

    /// Reads once and offers what came. A connection without an unfinished command borrows the hub's
    /// buffer, so that thousands of idle connections hold none.
    fn poll_read(
        &mut self,
        id: ConnId,
        inlet: &mut Inlet,
        tail: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if tail.is_empty() {
            let read = pin!(inlet.read_buf(&mut self.scratch)).poll(cx);
            if let Poll::Ready(Ok(1..)) = read {
                self.hand_over(id, None);
                if !self.scratch.is_empty() {
                    tail.extend_from_slice(&self.scratch);
                }
                self.renew_scratch();
            }
            return read;
        }
        if tail.capacity() - tail.len() < READ_BYTES / 4 {
            tail.reserve(tail.len().clamp(READ_BYTES, GROW_BYTES_MAX));
        }
        let read = pin!(inlet.read_buf(tail)).poll(cx);
        if let Poll::Ready(Ok(1..)) = read {
            self.offer(id, tail);
        }
        read
    }

    fn offer(&mut self, id: ConnId, tail: &mut BytesMut) {
        self.hand_over(id, Some(tail));
        if tail.is_empty() {
            *tail = BytesMut::new();
        }
    }

    fn renew_scratch(&mut self) {
        self.scratch.clear();
        if self.scratch.capacity() < READ_BYTES {
            self.scratch.reserve(READ_BYTES);
        }
    }

    /// The other side has ended the stream. Who only stopped sending still gets what was answered before.
    fn on_ended(&mut self, shared: &Arc<Shared>, id: ConnId, why: CloseReason) -> Poll<()> {
        if why == CloseReason::EndOfStream {
            self.close(shared, id);
        } else {
            self.conns.remove(id);
        }
        self.closed(id, why);
        if self.conns.get_mut(id).is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// The reason behind an error of a socket.
pub(super) fn close_reason(e: &io::Error) -> CloseReason {
    match e.kind() {
        io::ErrorKind::TimedOut => CloseReason::TimedOut,
        io::ErrorKind::UnexpectedEof => CloseReason::EndOfStream,
        _ => CloseReason::Reset,
    }
}
