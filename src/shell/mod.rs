//! Floor 4: the tokio driver. It owns sockets, clocks, files and the command line's surroundings, feeds
//! the node with what happened and carries out what the node asks for.
//!
//! One thread, one [`hub::Hub`] behind one lock that is never contended: connection tasks read and call
//! `Node::handle` at once; one flusher task, woken by the first of them in an event-loop turn and hence run
//! after all of them, calls `Node::flush` and writes. No channel lies between a request and its reply.
//!
//! The same source runs under `--cfg madsim`; only `socket` (how bytes reach the kernel) and what needs a
//! real operating system (signals, files, log output, host figures) differ.
#![allow(clippy::disallowed_methods)]

mod conn;
mod dial;
mod hub;
mod listen;
mod socket;
mod waits;

#[cfg(not(madsim))]
pub mod admin;
#[cfg(not(madsim))]
pub mod check;
#[cfg(not(madsim))]
mod disk;
#[cfg(not(madsim))]
mod dump;
#[cfg(not(madsim))]
mod host;
#[cfg(not(madsim))]
mod identity;
#[cfg(not(madsim))]
mod known_dumps;
#[cfg(not(madsim))]
mod log;
#[cfg(not(madsim))]
mod log_file;
#[cfg(not(madsim))]
mod new_voter;
#[cfg(not(madsim))]
pub mod process;
#[cfg(not(madsim))]
mod snapshot;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::Instant;

use crate::base::fact::LogLevel;
use crate::base::ids::Lsn;
use crate::base::io::{DiskError, Past, Recover};
use crate::base::time::{Mono, Now, Wall};
use crate::node::Node;
use crate::node::config::Config;

pub use self::hub::Shared;
pub use self::listen::{BindError, Listeners, bind};

/// A write under way. Nothing is held up by it.
pub type Stored = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// What a server needs from the process around it.
pub trait Surroundings: Send {
    /// Writes the number of the epoch down so that it survives a power failure.
    ///
    /// # Errors
    /// The server halts then.
    fn store_epoch(&mut self, epoch: u32) -> io::Result<()>;

    /// Begins to write down what the next life has to know of this one; ends once it would survive a power failure.
    fn store_past(&mut self, past: Past) -> Stored;

    /// Reads a piece of the snapshot and the log: `each` gets all their contents, in order. The next record's place once all is
    /// read and on the device; from then on it is written.
    ///
    /// # Errors
    /// The server does not start then, and says why.
    fn recover(&mut self, each: &mut dyn FnMut(Recover<'_>)) -> Result<Option<Lsn>, String> {
        let _ = each;
        Err("there is nothing to keep a log on".to_owned())
    }

    /// Writes at the end of the log.
    ///
    /// # Errors
    /// Without room the rest is kept, and goes first when [`Surroundings::retry`] finds some.
    fn append(&mut self, records: &[u8]) -> Result<(), DiskError> {
        let _ = records;
        Err(DiskError::Failed)
    }

    /// Goes on with what there was no room for.
    ///
    /// # Errors
    /// If there still is none.
    fn retry(&mut self) -> Result<(), DiskError> {
        Ok(())
    }

    /// Begins to bring the log onto the device.
    fn sync(&mut self) -> Stored {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    /// Begins a snapshot that stands for all records before `lsn`, the next.
    ///
    /// # Errors
    /// It is not begun then, and the log goes on as before.
    fn begin_snapshot(&mut self, lsn: Lsn) -> io::Result<()> {
        let _ = lsn;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Begins to write more of the snapshot.
    fn put_snapshot(&mut self, bytes: Bytes) -> Stored {
        let _ = bytes;
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    /// Begins to put the snapshot into the place of the one before.
    fn commit_snapshot(&mut self) -> Stored {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    /// Begins a dump beside the one there is. What goes wrong the next chunk's answer tells.
    fn begin_dump(&mut self) {}

    /// Begins to write more of the dump.
    fn put_dump(&mut self, bytes: Bytes) -> Stored {
        let _ = bytes;
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    /// Begins to put the dump into the place of the one before.
    fn commit_dump(&mut self) -> Stored {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    /// So many clients may come from now on.
    fn make_room(&mut self, clients: u32) {
        let _ = clients;
    }

    /// From now on only lines at least this loud are logged.
    fn set_log_level(&mut self, level: LogLevel);
}

/// How a server ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    pub code: i32,
    pub reason: String,
}

/// The clocks of this process.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// Monotonic time starts at one second, so that "a little earlier" can always be expressed.
    const START: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> Clock {
        Clock { start: Instant::now() - Clock::START }
    }

    pub(crate) fn now(&self) -> Now {
        let mono = self.start.elapsed().as_nanos() as u64;
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { mono: Mono(mono), wall: Wall(wall.as_micros() as u64) }
    }

    pub(crate) fn instant(&self, at: Mono) -> Instant {
        self.start + Duration::from_nanos(at.0)
    }
}

/// Starts a node and serves it on `listeners`. Must be called inside the runtime. `seed` feeds everything
/// random in the node.
pub fn start(
    config: Config,
    seed: u64,
    listeners: Listeners,
    surroundings: Box<dyn Surroundings>,
) -> Server {
    let clock = Clock::new();
    let loads = config.appendonly || config.loads_dump;
    let maxclients = config.maxclients;
    let keepalive_secs = config.tcp_keepalive_secs;
    let node = Node::new(config, seed, clock.now());
    let hub = hub::Hub::new(node, clock, surroundings, maxclients, keepalive_secs);
    let shared = Arc::new(Shared::new(hub));
    for listener in listeners.into_iter() {
        tokio::spawn(listen::accept_loop(shared.clone(), listener));
    }
    let flusher = tokio::spawn(hub::flush_loop(shared.clone()));
    if loads {
        tokio::spawn(hub::recover_loop(shared.clone()));
    }
    Server { shared, flusher }
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    flusher: tokio::task::JoinHandle<Ended>,
}

impl Server {
    /// A handle for what comes from outside: signals, host figures.
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Waits until the node halts.
    pub async fn ended(self) -> Ended {
        match self.flusher.await {
            Ok(ended) => ended,
            Err(_) => Ended { code: 1, reason: "the server's main task failed".to_owned() },
        }
    }
}
