//! What the node has asked its driver for, and waits for: how it ends becomes an input.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Stored;
use super::hub::Shared;
use crate::base::ids::Lsn;
use crate::base::io::{DiskError, Input, Snap};

/// How often room is looked for on a device that is full.
const ROOM_PERIOD: Duration = Duration::from_secs(1);
/// How long everything else waits for the log's device. What has come in meanwhile is done in one go, and shares the next
/// sync: that spares most of the work of both.
const SYNC_WAIT: Duration = Duration::from_millis(1);

/// Tells the node how the write went.
pub(super) async fn await_stored(shared: Arc<Shared>, stored: Stored) {
    let result = stored.await;
    let mut hub = shared.lock();
    match (&result, hub.past_lost) {
        (Err(e), false) => {
            tracing::warn!("node.id cannot be written: traces of deletes stay until it can: {e}");
        }
        (Ok(()), true) => tracing::warn!("node.id can be written again"),
        (Err(_), true) | (Ok(()), false) => {}
    }
    hub.past_lost = result.is_err();
    hub.input(Input::PastStored { durable: result.is_ok() });
}

/// Tells the node that the log is on the device, or that it cannot be brought there.
pub(super) async fn await_synced(shared: Arc<Shared>, synced: Stored, through: Lsn) {
    let input = input_of_sync(synced.await, through);
    shared.lock().input(input);
}

pub(super) fn input_of_sync(result: io::Result<()>, through: Lsn) -> Input<'static> {
    match result {
        Ok(()) => Input::Synced { through },
        Err(e) => {
            tracing::warn!("The log cannot be brought onto its device: {e}");
            Input::DiskFailed { why: DiskError::Failed }
        }
    }
}

/// Wakes a thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread. `None` if it takes too long.
pub(super) fn wait_briefly(stored: &mut Stored) -> Option<io::Result<()>> {
    // (Under madsim no other thread could bring it about.)
    let end = Instant::now() + if cfg!(madsim) { Duration::ZERO } else { SYNC_WAIT };
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match stored.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return Some(result),
            Poll::Pending => {}
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

/// Tells the node how the snapshot has got on.
pub(super) async fn await_snap(shared: Arc<Shared>, stored: Stored, then: Snap) {
    let snap = match stored.await {
        Ok(()) => then,
        Err(e) => {
            tracing::warn!("The snapshot cannot be written: {e}");
            Snap::Failed
        }
    };
    // What has arrived meanwhile comes first: the next chunk keeps everybody waiting again.
    tokio::task::yield_now().await;
    shared.lock().input(Input::Snap(snap));
}

/// Tells the node how the dump has got on; why not, its writer has said.
pub(super) async fn await_dump(shared: Arc<Shared>, stored: Stored, then: Snap) {
    let snap = if stored.await.is_ok() { then } else { Snap::Failed };
    // As above.
    tokio::task::yield_now().await;
    shared.lock().input(Input::Dump(snap));
}

/// Tries again what there was no room for, until there is.
pub(super) async fn look_for_room(shared: Arc<Shared>) {
    loop {
        sleep(ROOM_PERIOD).await;
        let mut hub = shared.lock();
        match hub.surroundings.retry() {
            Ok(()) => {
                hub.is_full = false;
                return hub.input(Input::DiskRoom);
            }
            Err(DiskError::Full) => {}
            Err(why @ DiskError::Failed) => return hub.input(Input::DiskFailed { why }),
        }
    }
}
