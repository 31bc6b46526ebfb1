//! How bytes reach and leave the kernel, or madsim's network: the two halves of a connection.
//!
//! Both kinds offer the same three things: reading with a waker ([`Inlet`] is an `AsyncRead`), a write that
//! never waits ([`Outlet::try_write`]), and being told when writing may go on ([`Outlet::poll_ready`]).

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;

pub(super) use self::kind::{Inlet, Outlet, split};

/// Takes `count` written bytes off the front of `queue`.
fn advance(queue: &mut VecDeque<Bytes>, mut count: usize) {
    while count > 0 {
        let front = queue.front_mut().expect("no more is written than was queued");
        if front.len() > count {
            front.advance(count);
            return;
        }
        count -= front.len();
        queue.pop_front();
    }
}

#[cfg(not(madsim))]
mod kind {
    use std::io::IoSlice;

    use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

    use super::{Bytes, Context, Poll, TcpStream, VecDeque, advance, io};

    /// The most buffers handed to the kernel in one call.
    const SLICES_MAX: usize = 64;

    pub(crate) type Inlet = OwnedReadHalf;

    /// The writing half of a kernel socket.
    pub(crate) struct Outlet {
        half: OwnedWriteHalf,
    }

    pub(crate) fn split(stream: TcpStream) -> (Inlet, Outlet) {
        let (inlet, half) = stream.into_split();
        (inlet, Outlet { half })
    }

    /// Whether more can be read at once. If not, the task is woken when it can.
    pub(crate) fn poll_more(inlet: &Inlet, cx: &mut Context<'_>) -> bool {
        inlet.as_ref().poll_read_ready(cx).is_ready()
    }

    impl Outlet {
        /// Writes as much as the kernel takes now and says how much that was.
        pub(crate) fn try_write(&mut self, queue: &mut VecDeque<Bytes>) -> io::Result<usize> {
            let mut total = 0;
            while !queue.is_empty() {
                let queued: usize;
                let result = if queue.len() == 1 {
                    queued = queue[0].len();
                    self.half.try_write(&queue[0])
                } else {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    let mut count = 0;
                    let mut bytes = 0;
                    for (slice, piece) in slices.iter_mut().zip(queue.iter()) {
                        *slice = IoSlice::new(piece);
                        bytes += piece.len();
                        count += 1;
                    }
                    queued = bytes;
                    self.half.try_write_vectored(&slices[..count])
                };
                match result {
                    Ok(0) if queued > 0 => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        total += written;
                        if queued == 0 {
                            queue.pop_front();
                        }
                        advance(queue, written);
                        if written < queued {
                            return Ok(total);
                        }
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(total),
                    Err(e) => return Err(e),
                }
            }
            Ok(total)
        }

        /// Ready when the kernel takes more; otherwise the task is woken then.
        pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
            self.half.as_ref().poll_write_ready(cx).map(|_| ())
        }
    }
}

#[cfg(madsim)]
mod kind {
    use std::pin::Pin;
    use std::task::Waker;

    use tokio::io::{AsyncWrite, ReadHalf, WriteHalf};

    use super::{Bytes, Context, Poll, TcpStream, VecDeque, advance, io};

    /// The simulated "kernel" takes so much per call: longer output is parked and taken up again.
    const PIECE_BYTES: usize = 4096;

    pub(crate) type Inlet = ReadHalf<TcpStream>;

    /// The writing half of a simulated socket.
    pub(crate) struct Outlet {
        half: WriteHalf<TcpStream>,
    }

    pub(crate) fn split(stream: TcpStream) -> (Inlet, Outlet) {
        let (inlet, half) = tokio::io::split(stream);
        (inlet, Outlet { half })
    }

    /// Unknown here: the task comes again and looks.
    pub(crate) fn poll_more(_inlet: &Inlet, _cx: &mut Context<'_>) -> bool {
        true
    }

    impl Outlet {
        /// Writes one piece. madsim's streams buffer without bound and never make a writer wait.
        pub(crate) fn try_write(&mut self, queue: &mut VecDeque<Bytes>) -> io::Result<usize> {
            let mut cx = Context::from_waker(Waker::noop());
            let Some(front) = queue.front() else { return Ok(0) };
            let piece = &front[..front.len().min(PIECE_BYTES)];
            let written = match Pin::new(&mut self.half).poll_write(&mut cx, piece) {
                Poll::Ready(result) => result?,
                Poll::Pending => return Ok(0),
            };
            if let Poll::Ready(result) = Pin::new(&mut self.half).poll_flush(&mut cx) {
                result?;
            }
            if front.is_empty() {
                queue.pop_front();
            }
            advance(queue, written);
            Ok(written)
        }

        pub(crate) fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }
}

pub(super) use self::kind::poll_more;
