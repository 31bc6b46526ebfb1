//! What a driver of a world changes from outside: firewalls, links, clocks, names.

use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;
use quorate::base::ids::ConnId;
use quorate::base::io::{CloseReason, ConnOrigin, Input};
use quorate::node::config::Identity;

use crate::clock::ClockChange;
use crate::firewall::FirewallError;
use crate::ids::HostId;
use crate::link::Link;
use crate::machine::Machine;
use crate::tcp::TcpConfig;
use crate::trace::MarkKind;
use crate::workload::command::encode_words;

use super::World;
use super::process::PROCESS_BYTES;

/// The connection of whoever sits at a process's console: no socket's.
const CONSOLE: ConnId = ConnId(0);

impl<M: Machine> World<M> {
    /// Carries out an iptables command on a host; returns what it prints.
    ///
    /// # Errors
    /// Names the word that is wrong; nothing has changed then.
    pub fn iptables(&mut self, host: HostId, line: &str) -> Result<String, FirewallError> {
        let names = &self.names;
        let resolve = |name: &str| names.get(name).copied();
        let printed = self.hosts[host.index()].firewall.apply(line, &resolve)?;
        self.digest.bytes(line.as_bytes());
        self.note(7, host);
        self.tape(|tape, now| tape.firewall(now, host, line));
        self.tape_walls();
        Ok(printed)
    }

    /// The link from one host to another, to be changed. Segments under way stay under way.
    pub fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        self.note(8, from);
        self.links.get(from.index(), to.index())
    }

    /// Cuts or mends the link in one direction.
    pub fn cut(&mut self, from: HostId, to: HostId, cut: bool) {
        self.link(from, to).cut = cut;
        self.tape_walls();
    }

    pub fn clock(&mut self, host: HostId, change: ClockChange) {
        self.note(9, host);
        self.tape(|tape, now| tape.clock(now, host, change));
        self.hosts[host.index()].clock.change(self.now, change);
        // A timer may be due sooner than its event: the event of the old deadline finds out otherwise.
        self.arm_process(host);
    }

    /// Kernel settings of a host, for connections from now on.
    pub fn tcp(&mut self, host: HostId) -> &mut TcpConfig {
        &mut self.hosts[host.index()].tcp
    }

    /// What a server on the host may take of its memory; the kernel kills one that takes more.
    pub fn limit_memory(&mut self, host: HostId, bytes: Option<u64>) {
        if self.hosts[host.index()].memory_limit_bytes != bytes {
            self.note(14, host);
            self.hosts[host.index()].memory_limit_bytes = bytes;
        }
    }

    /// What the server on the host takes of its memory, its own 8 MiB included; without one, just those.
    pub fn memory_bytes(&self, host: HostId) -> u64 {
        self.machine(host).map_or(0, Machine::memory_bytes) + PROCESS_BYTES
    }

    /// What a name resolves to from now on; `None`: to nothing.
    pub fn set_name(&mut self, name: &str, ip: Option<Ipv4Addr>) {
        match ip {
            Some(ip) => {
                self.names.insert(name.to_owned(), ip);
            }
            None => {
                self.names.remove(name);
            }
        }
    }

    /// What the process on a host identifies itself by.
    pub fn identity(&self, host: HostId) -> Identity {
        self.hosts[host.index()].identity.clone()
    }

    /// Gives a host another identity for its next start, as copying a data directory does.
    pub fn set_identity(&mut self, host: HostId, identity: Identity) {
        self.note(10, host);
        self.hosts[host.index()].identity = identity;
    }

    /// The next process on `host` draws the random numbers that the one on `of` has drawn since its start.
    pub fn share_seed(&mut self, host: HostId, of: HostId) {
        self.note(11, host);
        self.hosts[host.index()].next_seed = Some(self.hosts[of.index()].seed);
    }

    /// Gives the process commands as somebody at its console does, past the network. Answers are not
    /// shown; nothing happens if no process runs or it stands still.
    pub fn operate(&mut self, host: HostId, words: &[&[&[u8]]]) {
        let Some(process) = &self.hosts[host.index()].process else { return };
        if process.paused {
            return;
        }
        self.note(12, host);
        self.tape(|tape, now| {
            for words in words {
                let said =
                    format!("at the console: {}", String::from_utf8_lossy(&words.join(&b' ')));
                tape.mark(now, Some(host.0), MarkKind::Process, said, Vec::new());
            }
        });
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let origin = ConnOrigin::Accepted { ip, port: 0 };
        let mut buf = BytesMut::new();
        words.iter().for_each(|words| encode_words(&mut buf, words));
        self.call(host, Input::Opened { conn: CONSOLE, origin });
        self.call(host, Input::Bytes { conn: CONSOLE, buf: &mut buf });
        self.call(host, Input::Closed { conn: CONSOLE, why: CloseReason::EndOfStream });
        self.carry_out(host);
        self.end_turn(host);
    }

    /// Takes every fault of the network away: rules, policies, cuts, flapping.
    pub fn heal_network(&mut self) {
        let hosts: Vec<HostId> = self.hosts().collect();
        for &from in &hosts {
            for line in ["-F", "-P INPUT ACCEPT", "-P OUTPUT ACCEPT"] {
                let healed = self.iptables(from, line);
                debug_assert!(healed.is_ok());
            }
            for &to in &hosts {
                let link = self.link(from, to);
                link.cut = false;
                link.flap = None;
            }
        }
        self.tape_walls();
    }
}
