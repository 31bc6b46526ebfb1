//! What a world writes on its tape, if it has one. Nothing here changes the world, draws a random number
//! or reaches the digest.

use std::fmt;
use std::net::Ipv4Addr;

use crate::firewall::{Chain, ConnState, Outlook, Packet, Protocol};
use crate::ids::{ClientConn, HostId};
use crate::machine::Machine;
use crate::tcp::{Segment, SockRef};
use crate::time::Time;
use crate::trace::{Fate, MarkKind, ProcessChange, Recorder, Tape, WallKind};

use super::World;

/// The port that servers listen on in nearly every plan and scenario.
const SERVER_PORT: u16 = 6379;
/// A port of a dialler.
const DIALLER_PORT: u16 = 40_000;

impl<M: Machine> World<M> {
    /// Writes everything from now on down on a tape.
    pub fn record(&mut self, recorder: &Recorder) {
        recorder.with(|tape| {
            for host in &self.hosts {
                tape.add_host(&host.name, host.ip.to_string());
            }
        });
        self.tape = Some(recorder.clone());
    }

    /// An element of the plan begins.
    pub fn begins(&self, number: u64, what: &dyn fmt::Display) {
        self.tape(|tape, now| tape.begins(now, number, what.to_string()));
    }

    pub fn ends(&self, number: u64) {
        self.tape(|tape, now| tape.ends(now, number));
    }

    /// A line of a scenario is played.
    pub fn line(&self, text: &str) {
        self.tape(|tape, now| tape.line(now, text));
    }

    /// All elements of the plan end.
    pub fn all_end(&self) {
        self.tape(|tape, now| {
            tape.all_end(now);
            tape.mark(
                now,
                None,
                MarkKind::Plan,
                "the load ends, faults heal".to_owned(),
                Vec::new(),
            );
        });
    }

    #[inline]
    pub(super) fn tape(&self, write: impl FnOnce(&mut Tape, Time)) {
        if let Some(recorder) = &self.tape {
            recorder.with(|tape| write(tape, self.now));
        }
    }

    #[inline]
    pub(super) fn tape_sent(&self, segment: &Segment, ends: Time, fate: Fate) {
        self.tape(|tape, now| tape.sent(now, ends, segment, fate));
    }

    #[inline]
    pub(super) fn tape_arrived(&self, segment: &Segment, fate: Fate) {
        self.tape(|tape, now| tape.arrived(now, segment, fate));
    }

    pub(super) fn tape_process(&self, host: HostId, change: ProcessChange<'_>) {
        self.tape(|tape, now| {
            if let ProcessChange::Started { .. } = change {
                tape.identity(host, self.hosts[host.index()].identity.node_id);
            }
            tape.process(now, host, change);
        });
    }

    pub(super) fn tape_client(&self, conn: ClientConn, sock: SockRef) {
        if let Some(sock) = self.socks.get(sock) {
            let (from, to) = (sock.host, sock.peer_host);
            let ports = (sock.local_port, sock.remote_port);
            self.tape(|tape, _| tape.client(conn, from, ports.0, to, ports.1));
        }
    }

    /// Facts, and what they have made of the keys.
    pub(super) fn tape_facts(&self) {
        self.tape(|tape, now| {
            for (host, fact) in &self.facts {
                tape.fact(now, *host, fact);
            }
            for host in tape.to_look_at(now) {
                if let Some(machine) = self.machine(host) {
                    let shows = machine.shows(self.now_at(host));
                    tape.values(now, host, &shows);
                }
            }
        });
    }

    /// Which hosts cannot reach which, after something about it has changed.
    pub(super) fn tape_walls(&mut self) {
        let Some(recorder) = self.tape.clone() else { return };
        for from in self.hosts() {
            for to in self.hosts().filter(|to| *to != from) {
                let met = self.wall_between(from, to);
                recorder.with(|tape| tape.wall(self.now, from, to, met));
            }
        }
    }

    fn wall_between(&mut self, from: HostId, to: HostId) -> Option<(WallKind, String)> {
        let names = (&self.hosts[from.index()].name, &self.hosts[to.index()].name);
        let (from_name, to_name) = (names.0.clone(), names.1.clone());
        if self.links.get(from.index(), to.index()).cut {
            let text = format!("the link from {from_name} to {to_name} is cut");
            return Some((WallKind::Closed, text));
        }
        let worst = [Chain::Output, Chain::Input].into_iter().filter_map(|chain| {
            let outlook = self.outlook(chain, from, to);
            let kind = match outlook {
                Outlook::Passes => return None,
                Outlook::Some => WallKind::Partial,
                Outlook::Refused => WallKind::Refusing,
                Outlook::Dropped => WallKind::Closed,
            };
            let text = match (chain, outlook) {
                (Chain::Output, Outlook::Refused) => {
                    format!("{from_name} rejects what it sends to {to_name}")
                }
                (Chain::Output, _) => format!("{from_name} drops what it sends to {to_name}"),
                (Chain::Input, Outlook::Refused) => {
                    format!("{to_name} rejects what comes from {from_name}")
                }
                (Chain::Input, _) => format!("{to_name} drops what comes from {from_name}"),
            };
            let some = if outlook == Outlook::Some { ", some of it" } else { "" };
            Some((kind, format!("{text} ({chain}){some}")))
        });
        worst.max_by_key(|(kind, _)| *kind)
    }

    /// What a firewall does with segments of servers, in either role, on new and old connections.
    fn outlook(&self, chain: Chain, from: HostId, to: HostId) -> Outlook {
        let at = match chain {
            Chain::Output => from,
            Chain::Input => to,
        };
        let addr = |host: HostId| -> Ipv4Addr { self.hosts[host.index()].ip };
        let packet = |sport, dport, state| Packet {
            src: addr(from),
            dst: addr(to),
            protocol: Protocol::Tcp,
            sport,
            dport,
            loopback: false,
            state,
        };
        let packets = [
            packet(DIALLER_PORT, SERVER_PORT, ConnState::New),
            packet(DIALLER_PORT, SERVER_PORT, ConnState::Established),
            packet(SERVER_PORT, DIALLER_PORT, ConnState::Established),
        ];
        let firewall = &self.hosts[at.index()].firewall;
        let mut outlooks = packets.iter().map(|packet| firewall.outlook(chain, packet));
        let first = outlooks.next().unwrap_or(Outlook::Passes);
        if outlooks.all(|other| other == first) { first } else { Outlook::Some }
    }
}
