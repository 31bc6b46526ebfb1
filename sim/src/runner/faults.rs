//! What faults do to a world, at their beginning and at their end.

use bytes::BytesMut;
use quorate::base::time::Span;
use quorate::wire::frame::PEER_VERSION;

use super::deeds::Deed;
use super::player::{
    CLIENTS_IP, ELSEWHERE, PORT, Player, STRANGER, config_of, ip_of, link_between, name_of,
    names_followed,
};
use crate::clock::ClockChange;
use crate::plan::FaultKind;
use crate::workload::command::encode_words;

impl Player<'_> {
    /// The fault begins, or ends.
    pub(super) fn fault(&mut self, kind: &FaultKind, begins: bool) {
        let edit = if begins { "-A" } else { "-D" };
        match *kind {
            FaultKind::DropIn { at, from } => {
                self.iptables(at, format!("{edit} INPUT -s {} -j DROP", ip_of(from)));
            }
            FaultKind::DropOut { at, to } => {
                self.iptables(at, format!("{edit} OUTPUT -d {} -j DROP", ip_of(to)));
            }
            FaultKind::Split { ref left, ref right } => {
                for &a in left {
                    for &b in right {
                        self.iptables(a, format!("{edit} INPUT -s {} -j DROP", ip_of(b)));
                        self.iptables(b, format!("{edit} INPUT -s {} -j DROP", ip_of(a)));
                    }
                }
            }
            FaultKind::Reject { at, from, reset } => {
                let with = if reset { " --reject-with tcp-reset" } else { "" };
                let from = ip_of(from);
                self.iptables(at, format!("{edit} INPUT -p tcp -s {from} -j REJECT{with}"));
            }
            FaultKind::Lossy { at, from, permille } => {
                let from = ip_of(from);
                let share = f64::from(permille) / 1000.0;
                let rule = format!(
                    "{edit} INPUT -s {from} -m statistic --mode random --probability {share} -j \
                     DROP"
                );
                self.iptables(at, rule);
            }
            FaultKind::Crash { host, power } if begins => self.stop(host, power),
            FaultKind::Crash { host, .. } => self.start(host),
            FaultKind::Pause { host } if begins => self.pause(host),
            FaultKind::Pause { host } => self.resume(host),
            FaultKind::Step { host, by_ms } => {
                if begins {
                    self.did(Deed::Step { host, by_ms });
                    let change = ClockChange::StepWall(by_ms * 1_000_000);
                    self.world.clock(self.hosts[host as usize], change);
                }
            }
            FaultKind::Slow { a, b, latency_ms } => {
                let mut slow = link_between(self.plan, a, b);
                let ms = begins.then_some(latency_ms);
                self.did(Deed::Latency { a, b, ms });
                if begins {
                    slow.latency.base = Span::from_ms(latency_ms);
                }
                let (a, b) = (self.hosts[a as usize], self.hosts[b as usize]);
                self.world.link(a, b).config = slow;
                self.world.link(b, a).config = slow;
            }
            FaultKind::Reset { a, b } => {
                for (at, from) in [(a, b), (b, a)] {
                    let from = ip_of(from);
                    let rule = "-j REJECT --reject-with tcp-reset";
                    self.iptables(at, format!("{edit} INPUT -p tcp -s {from} {rule}"));
                }
            }
            FaultKind::DeafClients { host } => {
                self.iptables(host, format!("{edit} OUTPUT -d {CLIENTS_IP} -j DROP"));
            }
            // It begins before anything else does: see `Player::new`.
            FaultKind::Newcomer { .. } if begins => {}
            FaultKind::Newcomer { host, .. } => {
                for other in 0..self.hosts.len() as u16 {
                    let masters = &self.plan.nodes[other as usize].masters;
                    if other == host {
                        self.following[other as usize].clone_from(masters);
                    } else if masters.contains(&host)
                        && !self.following[other as usize].contains(&host)
                    {
                        self.following[other as usize].push(host);
                    }
                    self.follow(other);
                }
            }
            FaultKind::Refollow { host, master } => {
                let usual = &self.plan.nodes[host as usize].masters;
                self.following[host as usize] = if begins { vec![master] } else { usual.clone() };
                self.follow(host);
            }
            FaultKind::Unfollow { host, master } => {
                let following = &mut self.following[host as usize];
                following.retain(|&other| other != master);
                if !begins {
                    following.push(master);
                }
                self.follow(host);
            }
            FaultKind::Twin { host, of, copy } if begins => self.become_twin(host, of, copy),
            FaultKind::Twin { host, .. } => self.become_oneself(host),
            FaultKind::Memory { host, bytes } if begins => {
                let at = self.hosts[host as usize];
                let limit = self.world.memory_bytes(at) + bytes;
                self.world.limit_memory(at, Some(limit));
            }
            FaultKind::Memory { host, .. } => {
                self.world.limit_memory(self.hosts[host as usize], None);
                self.start(host);
            }
            FaultKind::Garbage { host, ref bytes } => {
                if begins {
                    self.send_garbage(host, bytes);
                }
            }
            FaultKind::Full { .. }
            | FaultKind::SyncFails { .. }
            | FaultKind::SlowDisk { .. }
            | FaultKind::Rot { .. }
            | FaultKind::OlderImage { .. } => self.disk_fault(kind, begins),
        }
    }

    /// The process starts again as a copy of another, or with the other's luck.
    fn become_twin(&mut self, host: u16, of: u16, copy: bool) {
        if self.twins[host as usize].is_some() {
            return;
        }
        self.did(Deed::Unsayable("a copied identity"));
        let (at, other) = (self.hosts[host as usize], self.hosts[of as usize]);
        self.stop(host, false);
        // With the other's luck it stays who it is, also afterwards.
        self.twins[host as usize] = Some(copy.then(|| self.world.identity(at)));
        if copy {
            self.world.set_identity(at, self.world.identity(other));
        } else {
            self.world.share_seed(at, other);
        }
        self.start(host);
    }

    /// A twin's process ends, and the host's own starts again.
    pub(super) fn become_oneself(&mut self, host: u16) {
        let Some(own) = self.twins[host as usize].take() else { return };
        self.stop(host, false);
        if let Some(own) = own {
            self.world.set_identity(self.hosts[host as usize], own);
        }
        self.start(host);
    }

    /// Tells a process whom it follows, as somebody at its console does.
    pub(super) fn follow(&mut self, host: u16) {
        let node = &self.plan.nodes[host as usize];
        let port = PORT.to_string();
        let names: Vec<String> = (0..self.hosts.len() as u16).map(name_of).collect();
        let mut lines: Vec<Vec<&[u8]>> = Vec::new();
        if let Some(password) = &self.plan.password {
            lines.push(vec![b"AUTH", password.as_bytes()]);
        }
        let past = self.world.identity(self.hosts[host as usize]).past;
        if self.healed && past.members.contains(&ELSEWHERE) {
            // Whom it waits for will never come.
            lines.push(vec![b"REPLICAOF", b"NO", b"ONE"]);
        }
        let following = &self.following[host as usize];
        let followed = names_followed(self.plan, host, following);
        for name in followed.iter().filter(|name| !names.contains(name)) {
            lines.push(vec![b"REPLICAOF", name.as_bytes(), port.as_bytes()]);
        }
        for (other, name) in names.iter().enumerate() {
            if followed.contains(name) {
                lines.push(vec![b"REPLICAOF", name.as_bytes(), port.as_bytes()]);
            } else if !node.replica && other != host as usize {
                lines.push(vec![b"REPLICAOF", b"REMOVE", name.as_bytes(), port.as_bytes()]);
            }
        }
        if following.is_empty() {
            lines.push(vec![b"REPLICAOF", b"NO", b"ONE"]);
        }
        for words in lines.iter().filter(|words| words[0] != b"AUTH") {
            let words = words.iter().map(|word| String::from_utf8_lossy(word).into_owned());
            self.did(Deed::Tell { host, words: words.collect() });
        }
        let lines: Vec<&[&[u8]]> = lines.iter().map(Vec::as_slice).collect();
        self.world.operate(self.hosts[host as usize], &lines);
    }

    /// A stranger upgrades a connection to the peer protocol and sends what is no frame.
    fn send_garbage(&mut self, host: u16, bytes: &[u8]) {
        self.did(Deed::Unsayable("bytes that are no frame"));
        let conn = self.world.client_connect(self.clients_host, ip_of(host), PORT);
        self.opened.push((STRANGER, None, 0));
        let mut out = BytesMut::new();
        if let Some(password) = &self.plan.password {
            encode_words(&mut out, &[b"AUTH", password.as_bytes()]);
        }
        encode_words(&mut out, &[b"QUORATE", b"PEER", PEER_VERSION.to_string().as_bytes()]);
        out.extend_from_slice(bytes);
        self.world.client_send(conn, out.freeze());
    }

    pub(super) fn drop_between(&mut self, a: u16, b: u16, edit: &str) {
        self.iptables(a, format!("{edit} INPUT -s {} -j DROP", ip_of(b)));
        self.iptables(a, format!("{edit} OUTPUT -d {} -j DROP", ip_of(b)));
    }

    pub(super) fn iptables(&mut self, at: u16, rule: String) {
        self.did(Deed::Iptables { host: at, rule: rule.clone() });
        if let Err(error) = self.world.iptables(self.hosts[at as usize], &rule) {
            self.broken = Some(format!("iptables {rule}: {error}"));
        }
    }

    pub(super) fn stop(&mut self, at: u16, power: bool) {
        let host = self.hosts[at as usize];
        if self.world.machine(host).is_none() {
            return;
        }
        self.did(Deed::Kill { host: at });
        // What it has reported so far is its own, not the next boot's.
        self.world.report_facts(&mut self.book);
        self.learn_accepted(at);
        self.note_end(at, power);
        if power {
            self.world.crash(host);
        } else {
            self.world.kill(host);
        }
        self.book.counts.crashes += 1;
        self.book.crashed(at);
    }

    /// The kernel has killed the process, for there was no memory left.
    pub(super) fn ran_out_of_memory(&mut self, at: u16) {
        self.did(Deed::Kill { host: at });
        self.learn_accepted(at);
        self.book.counts.crashes += 1;
        self.book.crashed(at);
    }

    pub(super) fn start(&mut self, at: u16) {
        let host = self.hosts[at as usize];
        if self.world.machine(host).is_none() {
            let masters = self.following[at as usize].clone();
            self.did(Deed::Start { host: at, masters });
            // Who was a member of a cluster waits for it.
            let remembers = !self.world.identity(host).past.members.is_empty();
            let boot = self.book.booted(at, self.following[at as usize].is_empty() && !remembers);
            let known = &mut self.book.ledger.boots[boot.0];
            known.spoilt_at = self.disks[at as usize].spoilt_until;
            let keeps_log = self.plan.nodes[at as usize].log.is_some();
            known.read_log = keeps_log.then(|| self.world.now().0);
            self.world.start(host, config_of(self.plan, at, &self.following[at as usize]));
            self.note_start(at);
        }
    }

    pub(super) fn pause(&mut self, at: u16) {
        self.did(Deed::Pause { host: at });
        self.world.pause(self.hosts[at as usize]);
    }

    pub(super) fn resume(&mut self, at: u16) {
        self.did(Deed::Resume { host: at });
        self.world.resume(self.hosts[at as usize]);
        self.follow_again(at);
    }

    /// A process that stood still has missed what it was told at its console.
    fn follow_again(&mut self, at: u16) {
        if self.following[at as usize] != self.plan.nodes[at as usize].masters {
            self.follow(at);
        }
    }
}
