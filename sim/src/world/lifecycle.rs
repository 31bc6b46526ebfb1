//! Processes begin, stand still, go on and end.

use quorate::base::ids::Epoch;
use quorate::base::io::{CloseReason, HostStats, Input};

use crate::decide::Kind;
use crate::host::{Process, Program};
use crate::ids::HostId;
use crate::machine::Machine;
use crate::proxy::{Proxy, ProxyConfig};
use crate::tcp::{Owner, SockRef};
use crate::trace::ProcessChange;

use super::World;

impl<M: Machine> World<M> {
    /// Starts the process (switching the host on if it is off): a new epoch of the same identity, with the data of its
    /// log if it keeps one.
    ///
    /// # Panics
    /// If it runs already.
    pub fn start(&mut self, at: HostId, config: M::Config) {
        let host = &mut self.hosts[at.index()];
        assert!(host.process.is_none(), "{} runs already", host.name);
        host.powered = true;
        host.last_exit = None;
        host.fallen = None;
        host.boot += 1;
        host.identity.epoch = Epoch(host.identity.epoch.0 + 1);
        let drawn = self.decisions.decide(Kind::Seed, u64::MAX);
        let seed = host.next_seed.take().unwrap_or(drawn);
        host.seed = seed;
        let now = host.clock.now(self.now);
        let machine = M::boot(&config, host.identity.clone(), seed, now);
        let keeps_log = M::keeps_log(&config);
        let program = Program::Server(machine);
        host.process = Some(Process::new(program, M::port(&config), self.config.facts));
        host.config = Some(config);
        self.note(1, at);
        let epoch = self.hosts[at.index()].identity.epoch.0;
        self.tape_process(at, ProcessChange::Started { epoch });
        let stats = HostStats {
            rss_bytes: 64 << 20,
            cpu_user_us: 0,
            cpu_sys_us: 0,
            memory_total_bytes: self.hosts[at.index()].memory_limit_bytes.unwrap_or(8 << 30),
        };
        self.call(at, Input::Host(stats));
        self.carry_out(at);
        if keeps_log {
            self.recover(at);
        }
        self.end_turn(at);
    }

    /// Starts a proxy, switching the host on if it is off.
    ///
    /// # Panics
    /// If a process runs already.
    pub fn start_proxy(&mut self, at: HostId, config: ProxyConfig) {
        let host = &mut self.hosts[at.index()];
        assert!(host.process.is_none(), "{} runs already", host.name);
        host.powered = true;
        host.last_exit = None;
        host.boot += 1;
        let (port, now) = (config.port, host.clock.now(self.now));
        let program = Program::Proxy(Box::new(Proxy::new(config, now)));
        host.process = Some(Process::new(program, port, self.config.facts));
        self.note(13, at);
        self.tape_process(at, ProcessChange::Started { epoch: 0 });
        self.end_turn(at);
    }

    /// Starts the process with the configuration it had.
    ///
    /// # Panics
    /// If it runs, or never ran.
    pub fn restart(&mut self, at: HostId) {
        let config = self.hosts[at.index()].config.clone().expect("it has run before");
        self.start(at, config);
    }

    /// `kill -9`: the kernel closes the connections (FIN, or RST where something was unread).
    pub fn kill(&mut self, at: HostId) {
        if self.hosts[at.index()].process.is_some() {
            self.stats.kills += 1;
            self.note(2, at);
            self.tape_process(at, ProcessChange::Killed);
            self.end_process(at, false);
        }
    }

    /// Power off: nobody is told, and the host answers nothing until the process is started again.
    /// Clients on the host are gone too.
    pub fn crash(&mut self, at: HostId) {
        self.stats.crashes += 1;
        self.note(3, at);
        self.tape_process(at, ProcessChange::PoweredOff);
        self.hosts[at.index()].process = None;
        self.hosts[at.index()].last_exit = None;
        self.hosts[at.index()].powered = false;
        self.end_disk(at, true);
        for sock in self.socks_of(at) {
            match self.socks.get(sock).map(|sock| sock.owner) {
                Some(Owner::Client(_)) => self.lose(sock, CloseReason::Reset),
                Some(Owner::Accepting | Owner::Dial(_) | Owner::Process(_) | Owner::Nobody)
                | None => {
                    self.socks.remove(sock);
                }
            }
        }
    }

    /// SIGSTOP: the kernel goes on taking connections and bytes.
    pub fn pause(&mut self, at: HostId) {
        if let Some(process) = &mut self.hosts[at.index()].process {
            process.paused = true;
            self.stats.pauses += 1;
            self.note(4, at);
            self.tape_process(at, ProcessChange::Paused);
        }
    }

    /// SIGCONT: the process learns everything that happened meanwhile.
    pub fn resume(&mut self, at: HostId) {
        let Some(process) = &mut self.hosts[at.index()].process else {
            return;
        };
        if !process.paused {
            return;
        }
        process.paused = false;
        process.flush_due = false;
        self.note(5, at);
        self.tape_process(at, ProcessChange::Resumed);
        while let Some(process) = &mut self.hosts[at.index()].process {
            let Some(todo) = process.waiting.pop_front() else {
                break;
            };
            self.deliver(at, todo);
        }
        self.end_turn(at);
    }

    /// What the kernel does for a process that is gone. An orderly exit has written everything out.
    pub(super) fn end_process(&mut self, at: HostId, orderly: bool) {
        self.hosts[at.index()].process = None;
        self.hosts[at.index()].last_exit = None;
        self.end_disk(at, false);
        for at in self.socks_of(at) {
            let Some(sock) = self.socks.get_mut(at) else {
                continue;
            };
            match sock.owner {
                Owner::Accepting | Owner::Dial(_) => self.abort(at),
                Owner::Process(_) => {
                    if !orderly {
                        sock.lose_user_space();
                    }
                    self.close(at);
                }
                Owner::Client(_) | Owner::Nobody => {}
            }
        }
    }

    fn socks_of(&self, host: HostId) -> Vec<SockRef> {
        self.socks.iter().filter(|sock| sock.host == host).map(|sock| sock.me).collect()
    }
}
