//! A host: address, clocks, packet filter, kernel settings, and the server process on it.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use quorate::base::ids::{ConnId, DialId, Epoch, NodeId};
use quorate::base::io::{CloseReason, DialError, Effects, Input, Past};
use quorate::base::time::{Mono, Now};
use quorate::node::Scope;
use quorate::node::config::Identity;

use super::clock::HostClock;
use super::disk::{Disk, DiskConfig, Report};
use super::firewall::Firewall;
use super::machine::Machine;
use super::proxy::Proxy;
use super::tcp::{SockRef, TcpConfig};
use super::time::Time;

/// How a process ended by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    pub code: i32,
    pub reason: String,
}

/// What can be seen of a host's process from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProcessState {
    /// Never started, killed, or its host crashed.
    Down,
    Running,
    Paused,
    /// It stopped by itself.
    Exited(Exit),
}

pub struct Host<M: Machine> {
    pub name: String,
    pub ip: Ipv4Addr,
    pub clock: HostClock,
    pub firewall: Firewall,
    pub tcp: TcpConfig,
    /// What a restart starts with.
    pub config: Option<M::Config>,
    /// Survives kills and crashes, and so does what is on the disk; all else a process knew does not.
    pub identity: Identity,
    /// Where a process keeps its log, if it keeps one.
    pub(crate) disk: Disk,
    pub(crate) powered: bool,
    /// Counts starts: events meant for an earlier process find it gone.
    pub(crate) boot: u32,
    /// What the present or last process drew its random numbers from, and what the next one will, if not what is drawn then.
    pub(crate) seed: u64,
    pub(crate) next_seed: Option<u64>,
    pub(crate) process: Option<Process<M>>,
    pub(crate) last_exit: Option<Exit>,
    /// What ran in a process that has ended by itself, until the next start.
    pub(crate) fallen: Option<M>,
    /// What a server on this host may take before the kernel kills it.
    pub(crate) memory_limit_bytes: Option<u64>,
    next_port: u16,
}

/// What a process is to be told next.
#[derive(Clone, Debug)]
pub(crate) enum Todo {
    Opened(SockRef),
    /// There is something to read, or the end of the stream. `again`: bytes the process has left lying
    /// count as something.
    Offer {
        sock: SockRef,
        again: bool,
    },
    Closed {
        conn: ConnId,
        why: CloseReason,
    },
    DialFailed {
        dial: DialId,
        why: DialError,
    },
    Shutdown {
        save: Option<bool>,
    },
    /// What it wanted to be written down is.
    PastStored,
    /// Of the log's disk.
    Disk(Report),
    Timeout,
}

/// What runs in a process.
pub(crate) enum Program<M> {
    Server(M),
    Proxy(Box<Proxy>),
}

/// A running process and what its driver keeps for it.
pub(crate) struct Process<M> {
    pub program: Program<M>,
    pub out: Effects,
    pub port: u16,
    pub paused: bool,
    /// What happened while it was paused.
    pub waiting: VecDeque<Todo>,
    /// By connection number: `ConnId(n)` is the n-th.
    pub conns: Vec<SockRef>,
    pub dials: Vec<(DialId, SockRef)>,
    /// Bytes written out that it has not been told of.
    pub drains: Vec<(ConnId, u64)>,
    /// Endpoints it has written to in this turn.
    pub touched: Vec<SockRef>,
    /// A flush event waits: inputs until then make one batch.
    pub flush_due: bool,
    /// Time of the timer event that waits.
    pub timer_at: Time,
    /// The last deadline that was served, to notice a process that asks for the past for ever.
    pub served: Option<(Mono, u32)>,
    pub inputs: u64,
}

impl<M: Machine> Host<M> {
    pub(crate) fn new(name: String, ip: Ipv4Addr, node_id: NodeId, tcp: TcpConfig) -> Host<M> {
        let mono_start = 1_000_000_000 * (1 + (node_id.0 as u64 & 0xffff));
        Host {
            name,
            ip,
            clock: HostClock::new(mono_start),
            firewall: Firewall::new(),
            tcp,
            config: None,
            identity: Identity { node_id, epoch: Epoch(0), past: Past::default() },
            disk: Disk::new(DiskConfig::ssd()),
            powered: true,
            boot: 0,
            seed: 0,
            next_seed: None,
            process: None,
            last_exit: None,
            fallen: None,
            memory_limit_bytes: None,
            next_port: 32_768,
        }
    }

    pub fn state(&self) -> ProcessState {
        match (&self.process, &self.last_exit) {
            (Some(process), _) if process.paused => ProcessState::Paused,
            (Some(_), _) => ProcessState::Running,
            (None, Some(exit)) => ProcessState::Exited(exit.clone()),
            (None, None) => ProcessState::Down,
        }
    }

    /// Off after a crash, until the process is restarted.
    pub fn is_powered(&self) -> bool {
        self.powered
    }

    /// The process's machine, if it runs and is no proxy.
    pub fn machine(&self) -> Option<&M> {
        match &self.process.as_ref()?.program {
            Program::Server(machine) => Some(machine),
            Program::Proxy(_) => None,
        }
    }

    /// The proxy, if one runs here.
    pub fn proxy(&self) -> Option<&Proxy> {
        match &self.process.as_ref()?.program {
            Program::Server(_) => None,
            Program::Proxy(proxy) => Some(proxy),
        }
    }

    /// Linux's range of ephemeral ports, one after the other.
    pub(crate) fn take_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port >= 60_999 { 32_768 } else { port + 1 };
        port
    }
}

impl<M: Machine> Program<M> {
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        match self {
            Program::Server(machine) => machine.handle(now, input, out),
            Program::Proxy(proxy) => proxy.handle(now, input, out),
        }
    }

    pub fn flush(&mut self, now: Now, out: &mut Effects) {
        match self {
            Program::Server(machine) => machine.flush(now, out),
            Program::Proxy(_) => {}
        }
    }

    pub fn poll_timeout(&self) -> Option<Mono> {
        match self {
            Program::Server(machine) => machine.poll_timeout(),
            Program::Proxy(proxy) => proxy.poll_timeout(),
        }
    }

    pub fn check(&self, scope: Scope) {
        match self {
            Program::Server(machine) => machine.check(scope),
            Program::Proxy(proxy) => proxy.check_invariants(),
        }
    }

    pub fn memory_bytes(&self) -> u64 {
        match self {
            Program::Server(machine) => machine.memory_bytes(),
            Program::Proxy(_) => 0,
        }
    }
}

impl<M: Machine + fmt::Debug> Host<M> {
    /// Writes everything that bears on what happens next.
    pub(crate) fn write_state(&self, out: &mut String) {
        // Whoever adds a field says here whether it does. (What a restart starts with is its plan's matter.)
        let Host {
            name,
            ip: _,
            clock,
            firewall,
            tcp,
            config: _,
            identity,
            disk,
            powered,
            boot,
            seed,
            next_seed,
            process,
            last_exit,
            fallen: _,
            memory_limit_bytes,
            next_port,
        } = self;
        let _ = write!(
            out,
            "\n{name} {clock:?} {firewall:?} {tcp:?} {identity:?} {disk:?} {powered} {boot} \
             {seed} {next_seed:?} {last_exit:?} {memory_limit_bytes:?} {next_port}"
        );
        let Some(process) = process else { return };
        let Process {
            program,
            out: effects,
            port,
            paused,
            waiting,
            conns,
            dials,
            drains,
            touched,
            flush_due,
            timer_at,
            served: _,
            inputs: _,
        } = process;
        let machine = match program {
            Program::Server(machine) => machine,
            Program::Proxy(_) => unreachable!("no plan has a proxy"),
        };
        let _ = write!(
            out,
            " {machine:?} {effects:?} {port} {paused} {waiting:?} {conns:?} {dials:?} {drains:?} \
             {touched:?} {flush_due} {timer_at:?}"
        );
    }
}

impl<M> Process<M> {
    pub fn new(program: Program<M>, port: u16, facts: bool) -> Process<M> {
        Process {
            program,
            out: Effects::new(facts),
            port,
            paused: false,
            waiting: VecDeque::new(),
            // Connection numbers begin at 1.
            conns: vec![SockRef::NONE],
            dials: Vec::new(),
            drains: Vec::new(),
            touched: Vec::new(),
            flush_due: false,
            timer_at: Time::NEVER,
            served: None,
            inputs: 0,
        }
    }

    pub fn sock_of(&self, conn: ConnId) -> SockRef {
        self.conns.get(conn.0 as usize).copied().unwrap_or(SockRef::NONE)
    }
}
