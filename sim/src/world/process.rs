//! Processes at work: turns (inputs, flush, effects) and timers.

use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;
use quorate::base::ids::{ConnId, DialId, Epoch};
use quorate::base::io::{
    CloseReason, ConnOrigin, DialError, DumpStep, Effect, HostPort, Input, Past, ShellSetting, Snap,
};
use quorate::base::time::Span;
use quorate::node::Scope;

use crate::decide::Kind;
use crate::disk::Request;
use crate::host::{Exit, Process, Program, Todo};
use crate::ids::HostId;
use crate::machine::Machine;
use crate::tcp::{Owner, SockRef, State};
use crate::time::Time;
use crate::trace::ProcessChange;

use super::{Event, Notice, World};

/// How late a batch's flush may be.
const FLUSH_LATE: u64 = 300_000;
/// How late a read may be.
const READ_LATE: u64 = 200_000;
/// How late a timer may be, as tokio's are.
const TIMER_LATE: u64 = 1_000_000;
/// How long the resolver takes to say that it knows no such name.
const NAME_UNKNOWN_AFTER: Span = Span(500_000);
/// How long it takes to write down what the next life has to know, at least, and how much longer.
const STORED_AFTER: Span = Span(500_000);
const STORED_LATE: u64 = 20_000_000;
/// What a server takes before it holds anything.
pub(super) const PROCESS_BYTES: u64 = 8 << 20;
/// What a shell shows of a process that was killed.
const KILLED_CODE: i32 = 137;
/// Why a process ended that had no memory left.
pub const OUT_OF_MEMORY: &str = "out of memory";
/// A timer served so often without its deadline moving is the node's bug.
const SERVED_MAX: u32 = 1_000;

impl<M: Machine> World<M> {
    /// SIGTERM, or `SHUTDOWN` by a supervisor.
    pub fn shutdown(&mut self, at: HostId, save: Option<bool>) {
        self.turn(at, Todo::Shutdown { save });
    }

    /// Tells the process something, now or when it goes on.
    pub(super) fn turn(&mut self, at: HostId, todo: Todo) {
        let Some(process) = &mut self.hosts[at.index()].process else {
            return;
        };
        if process.paused {
            process.waiting.push_back(todo);
            return;
        }
        self.deliver(at, todo);
        self.end_turn(at);
    }

    /// There is something to read: the process may take a moment.
    pub(super) fn readable(&mut self, host: HostId, at: SockRef) {
        let Some(sock) = self.socks.get_mut(at) else {
            return;
        };
        // What has stopped reading looks again when it goes on.
        if sock.offer_queued || sock.reads_paused {
            return;
        }
        if self.hosts[host.index()].process.as_ref().is_some_and(|process| process.paused) {
            sock.offer_queued = true;
            self.turn(host, Todo::Offer { sock: at, again: false });
        } else if self.decisions.chance(Kind::Read, self.config.late_read_one_in) {
            sock.offer_queued = true;
            let late = 1 + self.decisions.decide(Kind::Read, READ_LATE);
            self.queue.push(self.now + Span(late), Event::Offer { sock: at, again: false });
        } else {
            self.turn(host, Todo::Offer { sock: at, again: false });
        }
    }

    pub(super) fn on_offer(&mut self, at: SockRef, again: bool) {
        if let Some(sock) = self.socks.get(at) {
            let host = sock.host;
            self.turn(host, Todo::Offer { sock: at, again });
        }
    }

    pub(super) fn on_name_unknown(&mut self, host: HostId, boot: u32, dial: DialId) {
        if self.hosts[host.index()].boot == boot {
            self.turn(host, Todo::DialFailed { dial, why: DialError::NameUnknown });
        }
    }

    /// The kernel has written it, also for a process that stands still; not if the power went before.
    pub(super) fn on_past_stored(&mut self, at: HostId, boot: u32, past: Past) {
        let host = &mut self.hosts[at.index()];
        if host.boot == boot && host.powered {
            host.identity.past = past;
            self.turn(at, Todo::PastStored);
        }
    }

    pub(super) fn on_flush(&mut self, at: HostId, boot: u32) {
        let host = &mut self.hosts[at.index()];
        if host.boot != boot {
            return;
        }
        if let Some(process) = &mut host.process
            && process.flush_due
            && !process.paused
        {
            process.flush_due = false;
            self.flush(at);
            self.serve_drains(at);
            self.arm_process(at);
        }
    }

    pub(super) fn on_wake(&mut self, at: HostId, boot: u32, early: bool) {
        let host = &mut self.hosts[at.index()];
        let Some(process) = &mut host.process else {
            return;
        };
        if host.boot != boot || process.timer_at != self.now {
            return;
        }
        process.timer_at = Time::NEVER;
        if process.paused {
            return;
        }
        let now = host.clock.now(self.now).mono;
        let due = process.program.poll_timeout().is_some_and(|deadline| deadline <= now);
        if due || early {
            let twice = self.decisions.chance(Kind::Timer, self.config.odd_timer_one_in);
            self.turn(at, Todo::Timeout);
            if twice {
                self.turn(at, Todo::Timeout);
            }
        } else {
            self.arm_process(at);
        }
    }

    /// Tells the process of bytes that have left, as one batch, until there is nothing to tell.
    pub(super) fn serve_drains(&mut self, at: HostId) {
        loop {
            let Some(process) = &mut self.hosts[at.index()].process else {
                return;
            };
            if process.paused || process.drains.is_empty() {
                return;
            }
            let flush_due = process.flush_due;
            let mut drains = std::mem::take(&mut process.drains);
            for (conn, bytes) in drains.drain(..) {
                self.call(at, Input::Drained { conn, bytes });
            }
            if let Some(process) = &mut self.hosts[at.index()].process {
                process.drains = drains;
            }
            self.carry_out(at);
            if !flush_due {
                self.flush(at);
            }
        }
    }

    /// Sets the process's timer as it asks for.
    pub(super) fn arm_process(&mut self, at: HostId) {
        let host = &mut self.hosts[at.index()];
        let Some(process) = &mut host.process else {
            return;
        };
        let Some(deadline) = process.program.poll_timeout() else {
            return;
        };
        let soonest = self.now + self.config.timer_gap;
        // What waits fires soon enough, and looks again then.
        if soonest >= process.timer_at || !host.clock.is_mono_due(deadline, process.timer_at) {
            return;
        }
        let Some(due) = host.clock.when_mono(deadline) else {
            return;
        };
        let mut wake = due.max(soonest);
        let early = self.decisions.chance(Kind::Timer, self.config.odd_timer_one_in);
        if early {
            wake = soonest + Span(self.decisions.decide(Kind::Timer, wake.since(soonest).0 + 1));
        } else if self.config.odd_timer_one_in > 0 {
            wake = wake + Span(self.decisions.decide(Kind::Timer, TIMER_LATE));
        }
        if wake < process.timer_at {
            process.timer_at = wake;
            self.queue.push(wake, Event::Wake { host: at, boot: host.boot, early });
        }
    }

    /// Resolves a name as the host does.
    pub fn resolve(&self, name: &str) -> Option<Ipv4Addr> {
        if name == "localhost" {
            return Some(Ipv4Addr::LOCALHOST);
        }
        name.parse().ok().or_else(|| self.names.get(name).copied())
    }

    pub(super) fn end_turn(&mut self, at: HostId) {
        let Some(process) = &mut self.hosts[at.index()].process else {
            return;
        };
        if !process.flush_due {
            if self.decisions.chance(Kind::Flush, self.config.late_flush_one_in) {
                process.flush_due = true;
                let boot = self.hosts[at.index()].boot;
                let late = 1 + self.decisions.decide(Kind::Flush, FLUSH_LATE);
                self.queue.push(self.now + Span(late), Event::Flush { host: at, boot });
            } else {
                self.flush(at);
            }
        }
        self.serve_drains(at);
        self.arm_process(at);
        self.end_if_too_large(at);
    }

    /// A kernel without memory left kills whoever has the most.
    fn end_if_too_large(&mut self, at: HostId) {
        let host = &self.hosts[at.index()];
        let (Some(limit), Some(process)) = (host.memory_limit_bytes, &host.process) else {
            return;
        };
        if process.program.memory_bytes() + PROCESS_BYTES > limit {
            self.end_by_itself(at, KILLED_CODE, OUT_OF_MEMORY.to_owned(), false);
        }
    }

    pub(super) fn deliver(&mut self, at: HostId, todo: Todo) {
        match todo {
            Todo::Opened(sock) => self.deliver_opened(at, sock),
            Todo::Offer { sock, again } => self.deliver_bytes(at, sock, again),
            Todo::Closed { conn, why } => self.call(at, Input::Closed { conn, why }),
            Todo::DialFailed { dial, why } => {
                if let Some(process) = &mut self.hosts[at.index()].process {
                    process.dials.retain(|(other, _)| *other != dial);
                }
                self.call(at, Input::DialFailed { dial, why });
            }
            Todo::Shutdown { save } => self.call(at, Input::Shutdown { save }),
            Todo::PastStored => self.call(at, Input::PastStored { durable: true }),
            Todo::Disk(report) => self.deliver_report(at, report),
            Todo::Timeout => self.deliver_timeout(at),
        }
        self.carry_out(at);
    }

    fn deliver_opened(&mut self, at: HostId, sock: SockRef) {
        let (Some(sock), Some(process)) =
            (self.socks.get_mut(sock), &mut self.hosts[at.index()].process)
        else {
            return;
        };
        let conn = ConnId(process.conns.len() as u64);
        let dialed = match sock.owner {
            Owner::Accepting => None,
            Owner::Dial(dial) => Some(dial),
            Owner::Process(_) | Owner::Client(_) | Owner::Nobody => return,
        };
        process.conns.push(sock.me);
        sock.owner = Owner::Process(conn);
        let origin = match dialed {
            Some(dial) => {
                process.dials.retain(|(other, _)| *other != dial);
                ConnOrigin::Dialed { dial }
            }
            None => {
                let port = sock.remote_port;
                let ip = if sock.localhost {
                    Ipv4Addr::LOCALHOST
                } else {
                    self.hosts[sock.peer_host.index()].ip
                };
                ConnOrigin::Accepted { ip: IpAddr::V4(ip), port }
            }
        };
        self.call(at, Input::Opened { conn, origin });
    }

    fn deliver_bytes(&mut self, at: HostId, from: SockRef, again: bool) {
        let Some(sock) = self.socks.get_mut(from) else {
            return;
        };
        sock.offer_queued = false;
        let Owner::Process(conn) = sock.owner else {
            return;
        };
        if sock.reads_paused {
            return;
        }
        if sock.unread > 0 || again && !sock.buf.is_empty() {
            sock.unread = 0;
            let mut buf: BytesMut = std::mem::take(&mut sock.buf);
            self.call(at, Input::Bytes { conn, buf: &mut buf });
            if let Some(sock) = self.socks.get_mut(from) {
                sock.buf = buf;
                if sock.window_reopened(&self.hosts[at.index()].tcp) {
                    sock.ack_pending = true;
                    self.acknowledge_if_pending(from);
                }
            }
            self.carry_out(at);
        }
        let Some(sock) = self.socks.get_mut(from) else {
            return;
        };
        if sock.at_end() && !sock.reads_paused && sock.owner == Owner::Process(conn) {
            sock.owner = Owner::Nobody;
            sock.finish();
            self.call(at, Input::Closed { conn, why: CloseReason::EndOfStream });
            self.carry_out(at);
            self.pump(from);
        }
    }

    fn acknowledge_if_pending(&mut self, at: SockRef) {
        self.with_sock(at, |sock, _, config, out| {
            if sock.ack_pending {
                sock.acknowledge(config, out);
            }
        });
    }

    /// # Panics
    /// If the node asks for one and the same moment for ever.
    fn deliver_timeout(&mut self, at: HostId) {
        let host = &mut self.hosts[at.index()];
        let Some(process) = &mut host.process else {
            return;
        };
        let now = host.clock.now(self.now).mono;
        let due = process.program.poll_timeout().filter(|deadline| *deadline <= now);
        process.served = match (due, process.served) {
            (Some(due), Some((before, times))) if due == before => Some((due, times + 1)),
            (Some(due), Some(_) | None) => Some((due, 1)),
            (None, before) => before,
        };
        let times = process.served.map_or(0, |(_, times)| times);
        assert!(times < SERVED_MAX, "{} asks for one past moment for ever", host.name);
        self.call(at, Input::Timeout);
    }

    fn flush(&mut self, at: HostId) {
        let host = &mut self.hosts[at.index()];
        let Some(process) = &mut host.process else {
            return;
        };
        let now = host.clock.now(self.now);
        process.program.flush(now, &mut process.out);
        self.carry_out(at);
    }

    /// One input. Its effects are still to be carried out.
    pub(super) fn call(&mut self, at: HostId, input: Input<'_>) {
        let host = &mut self.hosts[at.index()];
        let Some(process) = &mut host.process else {
            return;
        };
        let now = host.clock.now(self.now);
        process.program.handle(now, input, &mut process.out);
        process.inputs += 1;
        self.stats.inputs += 1;
        if self.config.check_invariants {
            let scope =
                if process.inputs.is_multiple_of(1000) { Scope::All } else { Scope::Touched };
            process.program.check(scope);
        }
    }

    #[inline]
    pub(super) fn carry_out(&mut self, at: HostId) {
        if let Some(process) = &self.hosts[at.index()].process
            && !(process.out.is_empty() && process.out.facts.is_empty())
        {
            self.carry_out_all(at);
        }
    }

    fn carry_out_all(&mut self, at: HostId) {
        loop {
            let Some(process) = &mut self.hosts[at.index()].process else {
                return;
            };
            let effect = process.out.pop();
            self.collect_facts(at);
            let Some(effect) = effect else {
                break;
            };
            self.carry_out_one(at, effect);
        }
        while let Some(process) = &mut self.hosts[at.index()].process {
            let Some(sock) = process.touched.pop() else {
                break;
            };
            self.pump(sock);
        }
    }

    /// What the process has told so far, also if its next effect ends it.
    pub(super) fn collect_facts(&mut self, at: HostId) {
        if let Some(process) = &mut self.hosts[at.index()].process
            && !process.out.facts.is_empty()
        {
            self.facts.extend(process.out.facts.drain().map(|fact| (at, fact)));
        }
    }

    fn carry_out_one(&mut self, at: HostId, effect: Effect) {
        let host = &mut self.hosts[at.index()];
        let Some(process) = &mut host.process else {
            return;
        };
        match effect {
            Effect::Send { conn, bytes } => {
                let to = process.sock_of(conn);
                if let Some(sock) = self.socks.get_mut(to)
                    && sock.owner == Owner::Process(conn)
                {
                    sock.push(bytes);
                    if !process.touched.contains(&to) {
                        process.touched.push(to);
                    }
                }
            }
            Effect::PauseReads { conn, paused } => {
                let of = process.sock_of(conn);
                if let Some(sock) = self.socks.get_mut(of)
                    && sock.owner == Owner::Process(conn)
                {
                    sock.reads_paused = paused;
                    if !paused {
                        self.queue.push(self.now, Event::Offer { sock: of, again: true });
                    }
                }
            }
            Effect::Close { conn } => {
                let of = process.sock_of(conn);
                if self.socks.get(of).is_some_and(|sock| sock.owner == Owner::Process(conn)) {
                    self.close(of);
                }
            }
            Effect::Abort { conn } => {
                let of = process.sock_of(conn);
                if let Some(sock) = self.socks.get_mut(of)
                    && sock.owner == Owner::Process(conn)
                {
                    sock.lose_user_space();
                    self.close(of);
                }
            }
            Effect::Dial { dial, to } => self.dial(at, dial, &to),
            Effect::CancelDial { dial } => {
                let place = process.dials.iter().position(|(other, _)| *other == dial);
                if let Some(place) = place {
                    let (_, sock) = process.dials.remove(place);
                    self.abort(sock);
                }
            }
            Effect::Setting(ShellSetting::TcpKeepalive { secs }) => {
                host.tcp.keepalive = (secs > 0).then(|| Span::from_secs(u64::from(secs)));
            }
            Effect::Setting(ShellSetting::LogLevel(_) | ShellSetting::MaxClients(_)) => {}
            Effect::StoreEpoch { epoch } => host.identity.epoch = Epoch(epoch),
            Effect::StorePast(past) => {
                let boot = host.boot;
                let takes = STORED_AFTER.0 + self.decisions.decide(Kind::Disk, STORED_LATE);
                let when = self.now + Span(takes);
                self.queue.push(when, Event::PastStored { host: at, boot, past: Box::new(past) });
            }
            Effect::Append { lsn, records } => self.append(at, lsn, &records),
            Effect::Sync { through } => self.ask_disk(at, Request::Sync { through }),
            Effect::SnapBegin { lsn } => self.ask_disk(at, Request::SnapBegin { lsn }),
            Effect::SnapChunk { bytes } => self.ask_disk(at, Request::SnapChunk { bytes }),
            Effect::SnapCommit => self.ask_disk(at, Request::SnapCommit),
            // No host has a place for dumps.
            Effect::Dump(DumpStep::Begin) => {}
            Effect::Dump(DumpStep::Chunk(_) | DumpStep::Commit) => {
                self.call(at, Input::Dump(Snap::Failed));
            }
            Effect::Halt { code, reason } => self.end_by_itself(at, code, reason, true),
        }
    }

    /// The process ends although nobody has ended it. An orderly end has written everything out.
    pub(super) fn end_by_itself(&mut self, at: HostId, code: i32, reason: String, orderly: bool) {
        let exit = Exit { code, reason };
        self.note(6, at);
        let reason = &exit.reason;
        self.tape_process(at, ProcessChange::Exited { code, reason });
        if let Some(Process { program: Program::Server(machine), .. }) =
            self.hosts[at.index()].process.take()
        {
            self.hosts[at.index()].fallen = Some(machine);
        }
        self.end_process(at, orderly);
        self.hosts[at.index()].last_exit = Some(exit.clone());
        self.notices.push_back(Notice::Exited { host: at, exit });
    }

    fn dial(&mut self, at: HostId, dial: DialId, to: &HostPort) {
        let Some(ip) = self.resolve(&to.host) else {
            let boot = self.hosts[at.index()].boot;
            let when = self.now + NAME_UNKNOWN_AFTER;
            self.queue.push(when, Event::NameUnknown { host: at, boot, dial });
            return;
        };
        let sock = self.connect(at, Owner::Dial(dial), ip, to.port);
        if let Some(process) = &mut self.hosts[at.index()].process {
            process.dials.push((dial, sock));
        }
    }

    /// `close(2)`: what was sent before still leaves; a reset if something was not read.
    pub(super) fn close(&mut self, at: SockRef) {
        let Some(sock) = self.socks.get_mut(at) else {
            return;
        };
        if sock.state != State::Open || sock.unread > 0 {
            self.abort(at);
            return;
        }
        sock.owner = Owner::Nobody;
        sock.finish();
        self.pump(at);
    }

    /// Ends a connection with a reset, or an attempt with nothing.
    pub(super) fn abort(&mut self, at: SockRef) {
        self.with_sock(at, |sock, _, config, out| {
            if sock.state == State::Open {
                sock.reset(config, out);
            }
        });
        self.socks.remove(at);
    }

    /// Puts something done from outside into the digest.
    pub(super) fn note(&mut self, what: u64, host: HostId) {
        self.digest.word(what << 56 | u64::from(host.0));
    }
}
