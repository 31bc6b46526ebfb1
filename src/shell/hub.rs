//! The hub: the node, its connections, and the flusher that carries out what the node asks for.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

use super::conn::{self, Table, close_reason};
use super::socket;
use super::waits::{
    await_dump, await_snap, await_stored, await_synced, input_of_sync, look_for_room, wait_briefly,
};
use super::{Clock, Ended, Stored, Surroundings, dial};
use crate::base::fact::{Fact, LogLevel};
use crate::base::ids::{ConnId, DialId, Lsn};
use crate::base::io::{
    CloseReason, ConnOrigin, DialError, DiskError, DumpStep, Effect, Effects, HostPort, HostStats,
    Input, Recover, ShellSetting, Snap,
};
use crate::base::time::{Mono, Now, Span};
use crate::node::Node;

/// Rounds of flush and write in one turn before the other tasks get their chance again.
const ROUNDS_MAX: u32 = 8;
/// How long the other side of a closed connection may read nothing of what was sent before.
const LINGER: Duration = Duration::from_secs(10);
/// How many such spans it may take to read all of it.
const LINGERS_MAX: u32 = 6;
/// Of how many peers the way is remembered.
const ROUTES_MAX: usize = 1000;
/// After a sync that was waited for in vain so many are not waited for.
const SYNCS_PASSED: u32 = 32;
/// Precision of the timers.
const TICK: Span = Span::from_ms(1);

/// The hub behind its lock. All tasks run on one thread, and none holds the lock across an await.
pub struct Shared {
    hub: Mutex<Hub>,
}

impl Shared {
    pub(super) fn new(hub: Hub) -> Shared {
        Shared { hub: Mutex::new(hub) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().expect("a task that panicked has ended the process")
    }

    /// Asks the node to shut down, as SIGTERM does.
    pub fn shutdown(&self) {
        self.lock().input(Input::Shutdown { save: None });
    }

    /// Hands the node new figures of its host.
    pub fn host_stats(&self, stats: HostStats) {
        self.lock().input(Input::Host(stats));
    }

    /// Looks at the node, for tests.
    pub fn with_node<T>(&self, look: impl FnOnce(&Node, Now) -> T) -> T {
        let hub = self.lock();
        look(&hub.node, hub.clock.now())
    }
}

/// Reads the log at the start; clients and signals come between the pieces.
pub(super) async fn recover_loop(shared: Arc<Shared>) {
    while shared.lock().recover_step() {
        tokio::task::yield_now().await;
    }
}

/// Everything the tasks share.
pub(super) struct Hub {
    pub(super) node: Node,
    effects: Effects,
    clock: Clock,
    /// The time of this turn, once somebody has asked for it.
    now: Option<Now>,
    pub(super) conns: Table,
    /// The connections with something to write.
    pub(super) touched: Vec<ConnId>,
    dials: BTreeMap<DialId, JoinHandle<()>>,
    routes: BTreeMap<HostPort, Arc<dial::Route>>,
    /// The buffer that connections without an unfinished command read into.
    pub(super) scratch: BytesMut,
    /// Counts the flusher's turns, from 1.
    pub(super) turn: u64,
    flush_wanted: bool,
    flusher: Option<Waker>,
    /// When the flusher's timer goes off.
    armed: Option<Mono>,
    /// The latest turn led to something to carry out.
    progressed: bool,
    /// A sync that was begun, through this.
    syncing: Option<(Stored, Lsn)>,
    /// So many syncs are not waited for.
    syncs_to_pass: u32,
    ended: Option<Ended>,
    /// The latest write of what the next life has to know failed.
    pub(super) past_lost: bool,
    pub(super) surroundings: Box<dyn Surroundings>,
    maxclients: u32,
    pub(super) keepalive_secs: u32,
    /// The log's device has no room.
    pub(super) is_full: bool,
}

impl Hub {
    pub(super) fn new(
        node: Node,
        clock: Clock,
        surroundings: Box<dyn Surroundings>,
        maxclients: u32,
        keepalive_secs: u32,
    ) -> Hub {
        Hub {
            node,
            effects: Effects::new(false),
            clock,
            now: None,
            conns: Table::default(),
            touched: Vec::new(),
            dials: BTreeMap::new(),
            routes: BTreeMap::new(),
            scratch: BytesMut::with_capacity(conn::READ_BYTES),
            turn: 1,
            flush_wanted: true,
            flusher: None,
            armed: None,
            progressed: false,
            syncing: None,
            syncs_to_pass: 0,
            ended: None,
            past_lost: false,
            surroundings,
            maxclients,
            keepalive_secs,
            is_full: false,
        }
    }

    /// Whether one more client may be accepted.
    pub(super) fn has_room(&self) -> bool {
        self.conns.accepted() < self.maxclients
    }

    /// Takes a new connection in and starts its task.
    pub(super) fn open(&mut self, shared: &Arc<Shared>, stream: TcpStream, origin: ConnOrigin) {
        let (inlet, outlet) = socket::split(stream);
        let accepted = matches!(origin, ConnOrigin::Accepted { .. });
        let conn = self.conns.insert(outlet, accepted);
        self.input(Input::Opened { conn, origin });
        tokio::spawn(conn::serve(shared.clone(), conn, inlet));
    }

    /// The end of an attempt to connect, unless it was cancelled meanwhile.
    pub(super) fn on_dialed(
        &mut self,
        shared: &Arc<Shared>,
        dial: DialId,
        result: Result<TcpStream, DialError>,
    ) {
        if self.dials.remove(&dial).is_none() {
            return;
        }
        match result {
            Ok(stream) => self.open(shared, stream, ConnOrigin::Dialed { dial }),
            Err(why) => self.input(Input::DialFailed { dial, why }),
        }
    }

    /// Tells the node that there was no room for a client.
    pub(super) fn refused(&mut self) {
        self.input(Input::Refused);
    }

    /// Tells the node that a connection is gone.
    pub(super) fn closed(&mut self, conn: ConnId, why: CloseReason) {
        self.input(Input::Closed { conn, why });
    }

    /// Hands over received bytes: those in `tail`, or without one those in the shared buffer.
    #[inline]
    pub(super) fn hand_over(&mut self, conn: ConnId, tail: Option<&mut BytesMut>) {
        let now = self.now();
        let buf = tail.unwrap_or(&mut self.scratch);
        self.node.handle(now, Input::Bytes { conn, buf }, &mut self.effects);
        self.want_flush();
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        let now = self.now();
        self.node.handle(now, input, &mut self.effects);
        self.want_flush();
    }

    /// What the clocks said at this turn's first input: one turn is one moment.
    #[inline]
    fn now(&mut self) -> Now {
        *self.now.get_or_insert_with(|| self.clock.now())
    }

    /// Makes the flusher run after the tasks that are ready now.
    #[inline]
    pub(super) fn want_flush(&mut self) {
        if !self.flush_wanted {
            self.flush_wanted = true;
            if let Some(waker) = &self.flusher {
                waker.wake_by_ref();
            }
        }
    }

    /// One step of the flusher's task.
    fn poll_flusher(
        &mut self,
        shared: &Arc<Shared>,
        mut timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<Ended> {
        if !self.flusher.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            self.flusher = Some(cx.waker().clone());
        }
        // A turn that began a moment ago needs no second look at the clocks; but a timer that has gone off
        // will not do so again, whatever they showed then.
        let now = self.now();
        if self.armed.is_some_and(|at| at <= now.mono || timer.is_elapsed()) {
            self.armed = None;
            self.node.handle(now, Input::Timeout, &mut self.effects);
            self.flush_wanted = true;
        }
        self.progressed = false;
        if self.flush_wanted {
            self.run_turn(shared, now);
        }
        if let Some(ended) = self.ended.take() {
            return Poll::Ready(ended);
        }
        self.now = None;
        let Some(at) = self.node.poll_timeout() else { return Poll::Pending };
        if at <= now.mono && self.progressed {
            // There is more to do at once; the other tasks get their chance before.
            self.armed = Some(now.mono);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Compared after rounding: a time long past must not push the timer further and further away.
        let at = at.max(now.mono + TICK);
        if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            timer.as_mut().reset(self.clock.instant(at));
            if timer.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    /// Carries out what this turn's inputs led to.
    fn run_turn(&mut self, shared: &Arc<Shared>, now: Now) {
        self.flush_wanted = false;
        self.turn += 1;
        for _ in 0..ROUNDS_MAX {
            self.node.flush(now, &mut self.effects);
            if self.effects.is_empty() && self.touched.is_empty() {
                self.log_facts();
                return;
            }
            self.progressed = true;
            while let Some(effect) = self.effects.pop() {
                self.carry_out(shared, effect);
            }
            self.write_touched(shared, now);
            self.wait_for_sync(shared, now);
            self.log_facts();
        }
        // The node always has more to send; let the connections be read in between.
        self.want_flush();
    }

    /// Waits for the sync that this turn has begun; if it takes long the others go on meanwhile.
    fn wait_for_sync(&mut self, shared: &Arc<Shared>, now: Now) {
        let Some((mut stored, through)) = self.syncing.take() else { return };
        // One that has taken long is likely to be followed by others.
        let waits = self.syncs_to_pass == 0;
        self.syncs_to_pass = self.syncs_to_pass.saturating_sub(1);
        if let Some(result) = waits.then(|| wait_briefly(&mut stored)).flatten() {
            let input = input_of_sync(result, through);
            return self.node.handle(now, input, &mut self.effects);
        }
        if waits {
            self.syncs_to_pass = SYNCS_PASSED;
        }
        tokio::spawn(await_synced(shared.clone(), stored, through));
    }

    fn carry_out(&mut self, shared: &Arc<Shared>, effect: Effect) {
        match effect {
            Effect::Send { conn, bytes } => self.send(conn, bytes),
            Effect::PauseReads { conn, paused } => self.pause(conn, paused),
            Effect::Close { conn } => self.close(shared, conn),
            Effect::Abort { conn } => self.conns.remove(conn),
            Effect::Dial { dial, to } => {
                if self.routes.len() >= ROUTES_MAX {
                    self.routes.clear();
                }
                let route = self.routes.entry(to.clone()).or_default().clone();
                let secs = self.keepalive_secs;
                let task = tokio::spawn(dial::dial(shared.clone(), dial, to, route, secs));
                self.dials.insert(dial, task);
            }
            Effect::CancelDial { dial } => {
                if let Some(task) = self.dials.remove(&dial) {
                    task.abort();
                }
            }
            Effect::Setting(setting) => match setting {
                ShellSetting::LogLevel(level) => self.surroundings.set_log_level(level),
                ShellSetting::MaxClients(count) => {
                    self.surroundings.make_room(count);
                    self.maxclients = count;
                }
                ShellSetting::TcpKeepalive { secs } => self.keepalive_secs = secs,
            },
            Effect::StoreEpoch { epoch } => {
                if let Err(e) = self.surroundings.store_epoch(epoch) {
                    let reason = format!("cannot write the node's identity down: {e}");
                    self.ended.get_or_insert(Ended { code: 1, reason });
                }
            }
            Effect::StorePast(past) => {
                let stored = self.surroundings.store_past(past);
                tokio::spawn(await_stored(shared.clone(), stored));
            }
            Effect::Append { records, .. } => {
                if let Err(why) = self.surroundings.append(&records) {
                    self.on_disk_failed(shared, why);
                }
            }
            Effect::Sync { through } => {
                // Without room nothing can be said of what has not been written; the node asks again.
                if !self.is_full {
                    self.syncing = Some((self.surroundings.sync(), through));
                }
            }
            Effect::SnapBegin { lsn } => {
                if let Err(e) = self.surroundings.begin_snapshot(lsn) {
                    tracing::warn!("The snapshot cannot be begun: {e}");
                }
            }
            Effect::SnapChunk { bytes } => {
                let written = self.surroundings.put_snapshot(bytes);
                tokio::spawn(await_snap(shared.clone(), written, Snap::Written));
            }
            Effect::SnapCommit => {
                let done = self.surroundings.commit_snapshot();
                tokio::spawn(await_snap(shared.clone(), done, Snap::Committed));
            }
            Effect::Dump(DumpStep::Begin) => self.surroundings.begin_dump(),
            Effect::Dump(DumpStep::Chunk(bytes)) => {
                let written = self.surroundings.put_dump(bytes);
                tokio::spawn(await_dump(shared.clone(), written, Snap::Written));
            }
            Effect::Dump(DumpStep::Commit) => {
                let done = self.surroundings.commit_dump();
                tokio::spawn(await_dump(shared.clone(), done, Snap::Committed));
            }
            Effect::Halt { code, reason } => {
                self.ended.get_or_insert(Ended { code, reason });
            }
        }
    }

    /// Tells the node, and looks for room from time to time.
    fn on_disk_failed(&mut self, shared: &Arc<Shared>, why: DiskError) {
        let now = self.now();
        self.node.handle(now, Input::DiskFailed { why }, &mut self.effects);
        if why == DiskError::Full && !std::mem::replace(&mut self.is_full, true) {
            tokio::spawn(look_for_room(shared.clone()));
        }
    }

    /// Reads a piece of the log. True if there is more.
    fn recover_step(&mut self) -> bool {
        let now = self.now();
        let (node, effects) = (&mut self.node, &mut self.effects);
        let mut each = |found: Recover<'_>| node.handle(now, Input::Recover(found), effects);
        match self.surroundings.recover(&mut each) {
            Ok(None) => {
                self.want_flush();
                return true;
            }
            Ok(Some(next)) => self.input(Input::Recover(Recover::Done { next })),
            Err(reason) => {
                self.ended.get_or_insert(Ended { code: 1, reason });
            }
        }
        self.want_flush();
        false
    }

    fn send(&mut self, conn: ConnId, bytes: Bytes) {
        // After a failed write of an identity nothing more may leave.
        if self.ended.as_ref().is_some_and(|e| e.code != 0) {
            return;
        }
        let Some(entry) = self.conns.get_mut(conn) else { return };
        entry.out.push_back(bytes);
        if !entry.touched && !entry.parked {
            entry.touched = true;
            self.touched.push(conn);
        }
    }

    fn pause(&mut self, conn: ConnId, paused: bool) {
        let Some(entry) = self.conns.get_mut(conn) else { return };
        entry.paused = paused;
        entry.reoffer = !paused;
        if let Some(waker) = entry.waker.as_ref().filter(|_| !paused) {
            waker.wake_by_ref();
        }
    }

    /// Closes a connection as soon as what was sent before is written, or nothing more of it can be for a
    /// while. The node knows it no more.
    pub(super) fn close(&mut self, shared: &Arc<Shared>, conn: ConnId) {
        let Some(entry) = self.conns.get_mut(conn) else { return };
        if entry.out.is_empty() {
            self.conns.remove(conn);
            return;
        }
        entry.closing = true;
        if entry.parked && !std::mem::replace(&mut entry.lingers, true) {
            tokio::spawn(linger(shared.clone(), conn, entry.written));
        }
    }

    /// Writes each touched connection once and tells the node how far it came.
    fn write_touched(&mut self, shared: &Arc<Shared>, now: Now) {
        let mut touched = std::mem::take(&mut self.touched);
        for conn in touched.drain(..) {
            let Some(entry) = self.conns.get_mut(conn).filter(|e| e.touched) else { continue };
            entry.touched = false;
            let closing = entry.closing;
            match entry.outlet.try_write(&mut entry.out) {
                Ok(bytes) => {
                    entry.written += bytes as u64;
                    if !entry.out.is_empty() {
                        entry.parked = true;
                        if closing && !std::mem::replace(&mut entry.lingers, true) {
                            tokio::spawn(linger(shared.clone(), conn, entry.written));
                        }
                        if let Some(waker) = &entry.waker {
                            waker.wake_by_ref();
                        }
                    } else if closing {
                        self.conns.remove(conn);
                    }
                    if bytes > 0 && !closing {
                        let drained = Input::Drained { conn, bytes: bytes as u64 };
                        self.node.handle(now, drained, &mut self.effects);
                    }
                }
                Err(e) => {
                    self.conns.remove(conn);
                    if !closing {
                        let why = close_reason(&e);
                        self.node.handle(now, Input::Closed { conn, why }, &mut self.effects);
                    }
                }
            }
        }
        debug_assert!(self.touched.is_empty(), "the node does not write by itself");
        self.touched = touched;
    }

    fn log_facts(&mut self) {
        if self.effects.facts.is_empty() {
            return;
        }
        for fact in self.effects.facts.drain() {
            if let Fact::Log { level, text } = fact {
                log_line(level, &text);
            }
        }
    }
}

/// Gives a connection that is to be closed its time to read what was sent before.
async fn linger(shared: Arc<Shared>, conn: ConnId, mut written: u64) {
    for _ in 0..LINGERS_MAX {
        sleep(LINGER).await;
        match shared.lock().conns.get_mut(conn) {
            None => return,
            Some(entry) if entry.written > written => written = entry.written,
            Some(_) => break,
        }
    }
    shared.lock().conns.remove(conn);
}

/// Flushes once per event-loop turn, keeps the node's timer, and ends when the node halts.
pub(super) async fn flush_loop(shared: Arc<Shared>) -> Ended {
    let mut timer = pin!(sleep(Duration::from_secs(3600)));
    poll_fn(|cx| shared.lock().poll_flusher(&shared, timer.as_mut(), cx)).await
}

/// Redis's four levels on tracing's.
fn log_line(level: LogLevel, text: &str) {
    match level {
        LogLevel::Debug => tracing::trace!("{text}"),
        LogLevel::Verbose => tracing::debug!("{text}"),
        LogLevel::Notice => tracing::info!("{text}"),
        LogLevel::Warning => tracing::warn!("{text}"),
    }
}
