//! Links as the dialer sees them: connecting, suspecting, moving over to a second connection.

use crate::base::fact::{Fact, LogLevel};
use crate::base::ids::{ConnId, DialId, NodeId, RunId};
use crate::base::io::{DialError, Effect, HostPort};
use crate::base::time::{Mono, Span};

use super::peer::{Greeting, Peer, Side};
use super::{Active, Core};

/// A configured master and the way to it.
#[derive(Debug)]
pub struct Master {
    pub id: u64,
    pub to: HostPort,
    /// A handshake has succeeded since the start (or since REPLICAOF named it).
    pub met: bool,
    /// Of a plain replica: where what it holds has come from.
    pub source: Source,
    /// The connection the stream comes over.
    pub link: Option<Link>,
    attempt: Attempt,
    backoff: Span,
    /// Since when there has been no link.
    pub down_since: Mono,
    /// What was last wrong, to say each thing once.
    trouble: Option<Trouble>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Link {
    pub conn: ConnId,
    pub node: NodeId,
    suspect: bool,
}

/// Where what a plain replica holds has come from, as far as this master goes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Not from this master: there has been no handshake.
    None,
    /// At the last handshake this process had all of it.
    Process(RunId),
    /// At the last handshake it came in part from another process than that one.
    Several,
}

/// The way to a (second) connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Attempt {
    /// The link is healthy.
    Idle,
    Waiting {
        until: Mono,
    },
    Dialing {
        dial: DialId,
        until: Mono,
    },
    /// Connected; the handshake is under way.
    Greeting {
        conn: ConnId,
    },
}

/// What keeps a link from coming up.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    Dial(DialError),
    /// AUTH was answered with an error, or is missing.
    Password,
    /// The other side does not know QUORATE PEER: a Redis, KeyDB or Valkey server.
    NotQuorate,
    Answer,
    Handshake,
    Lost,
}

impl Master {
    /// When this master wants attention; `None` while it waits for the network.
    pub fn due(&self) -> Option<Mono> {
        match self.attempt {
            Attempt::Idle | Attempt::Greeting { .. } => None,
            Attempt::Waiting { until } | Attempt::Dialing { until, .. } => Some(until),
        }
    }
}

impl Active {
    pub(super) fn add_master(&mut self, to: HostPort, core: &mut Core<'_>) {
        let id = self.next_master;
        self.next_master += 1;
        core.out.facts.log(LogLevel::Notice, format!("Connecting to MASTER {to}"));
        self.masters.push(Master {
            id,
            to,
            met: false,
            source: Source::None,
            link: None,
            attempt: Attempt::Waiting { until: core.now.mono },
            backoff: self.config.limits.backoff_min,
            down_since: core.now.mono,
            trouble: None,
        });
    }

    pub(super) fn remove_masters(&mut self, which: impl Fn(&Master) -> bool, core: &mut Core<'_>) {
        let (gone, stay) = core::mem::take(&mut self.masters).into_iter().partition(which);
        self.masters = stay;
        let gone: Vec<Master> = gone;
        for master in gone {
            core.out.facts.log(LogLevel::Notice, format!("No longer a replica of {}", master.to));
            if let Attempt::Dialing { dial, .. } = master.attempt {
                core.out.push(Effect::CancelDial { dial });
            }
            let greeting = match master.attempt {
                Attempt::Greeting { conn } => Some(conn),
                Attempt::Idle | Attempt::Waiting { .. } | Attempt::Dialing { .. } => None,
            };
            for conn in [greeting, master.link.map(|link| link.conn)].into_iter().flatten() {
                self.close_peer(conn, core);
            }
        }
    }

    pub(super) fn close_peer(&mut self, conn: ConnId, core: &mut Core<'_>) {
        if let Some(mut peer) = self.peers.remove(conn) {
            peer.closing = true;
            self.put_back(peer, core);
        }
    }

    pub(super) fn master_mut(&mut self, id: u64) -> Option<&mut Master> {
        self.masters.iter_mut().find(|master| master.id == id)
    }

    /// Begins what is due: attempts, time-outs of dials, suspicion.
    pub(super) fn drive_masters(&mut self, core: &mut Core<'_>) {
        for at in 0..self.masters.len() {
            self.suspect(at, core);
            let now = core.now.mono;
            match self.masters[at].attempt {
                Attempt::Waiting { until } if now >= until => self.dial(at, core),
                Attempt::Dialing { dial, until } if now >= until => {
                    core.out.push(Effect::CancelDial { dial });
                    self.on_attempt_failed(at, Trouble::Dial(DialError::TimedOut), core);
                }
                Attempt::Idle
                | Attempt::Waiting { .. }
                | Attempt::Dialing { .. }
                | Attempt::Greeting { .. } => {}
            }
        }
    }

    /// A link that shows no sign of life gets a second connection beside it; one that does again, keeps the first.
    fn suspect(&mut self, at: usize, core: &mut Core<'_>) {
        let Some(link) = self.masters[at].link else { return };
        let Some(peer) = self.peers.get(link.conn) else { return };
        let silent = core.now.mono.since(peer.last_heard) >= self.config.limits.suspect_after;
        let master = &mut self.masters[at];
        if silent && !link.suspect {
            core.out.fact(|| Fact::LinkSuspect { peer: link.node });
            core.out.facts.sometimes("a silent link was suspected");
            master.link = Some(Link { suspect: true, ..link });
            master.backoff = self.config.limits.backoff_min;
            master.attempt = Attempt::Waiting { until: core.now.mono };
            self.keep_unlogged(link.conn, core);
        } else if !silent && link.suspect {
            core.out.facts.sometimes("a suspect link came back to life");
            master.link = Some(Link { suspect: false, ..link });
            match core::mem::replace(&mut master.attempt, Attempt::Idle) {
                Attempt::Idle | Attempt::Waiting { .. } => {}
                Attempt::Dialing { dial, .. } => core.out.push(Effect::CancelDial { dial }),
                Attempt::Greeting { conn } => self.close_peer(conn, core),
            }
        }
    }

    fn dial(&mut self, at: usize, core: &mut Core<'_>) {
        let dial = DialId(self.next_dial);
        self.next_dial += 1;
        let until = core.now.mono + self.config.limits.dial_timeout;
        let master = &mut self.masters[at];
        master.attempt = Attempt::Dialing { dial, until };
        core.out.push(Effect::Dial { dial, to: master.to.clone() });
    }

    /// The next attempt comes after a pause that doubles, with jitter.
    fn on_attempt_failed(&mut self, at: usize, trouble: Trouble, core: &mut Core<'_>) {
        let limits = &self.config.limits;
        let base = self.masters[at].backoff.0;
        let jitter = self.rng.below(base / 2 + 1);
        let until = core.now.mono + Span(base / 2 + jitter);
        let backoff = Span((base * 2).min(limits.backoff_max.0));
        let master = &mut self.masters[at];
        master.backoff = backoff;
        master.attempt = Attempt::Waiting { until };
        if master.trouble != Some(trouble) {
            master.trouble = Some(trouble);
            let level = match trouble {
                Trouble::Dial(_) | Trouble::Lost | Trouble::Handshake => LogLevel::Notice,
                Trouble::Password | Trouble::NotQuorate | Trouble::Answer => LogLevel::Warning,
            };
            let text = format!("MASTER {}: {}", master.to, trouble.text());
            core.out.facts.log(level, text);
        }
    }

    pub fn on_dial_failed(&mut self, dial: DialId, why: DialError, core: &mut Core<'_>) {
        if let Some(at) = self.dialing(dial) {
            self.on_attempt_failed(at, Trouble::Dial(why), core);
        }
    }

    fn dialing(&self, dial: DialId) -> Option<usize> {
        self.masters.iter().position(|master| match master.attempt {
            Attempt::Dialing { dial: waiting, .. } => waiting == dial,
            Attempt::Idle | Attempt::Waiting { .. } | Attempt::Greeting { .. } => false,
        })
    }

    pub(super) fn on_dial_answered(
        &mut self,
        conn: ConnId,
        dial: DialId,
        core: &mut Core<'_>,
    ) -> bool {
        let Some(at) = self.dialing(dial) else { return false };
        self.masters[at].attempt = Attempt::Greeting { conn };
        let master = self.masters[at].id;
        let stage = Greeting::Authenticating;
        let mut peer = Peer::new(conn, Side::Greeting { master, stage }, core.now.mono);
        self.begin_greeting(&mut peer);
        self.peers.insert(Box::new(peer));
        true
    }

    /// The handshake with a configured master has succeeded: the stream moves over to this connection.
    pub(super) fn on_master_established(
        &mut self,
        id: u64,
        conn: ConnId,
        node: NodeId,
        core: &mut Core<'_>,
    ) {
        let backoff = self.config.limits.backoff_min;
        let Some(master) = self.master_mut(id) else { return };
        master.met = true;
        master.trouble = None;
        master.attempt = Attempt::Idle;
        master.backoff = backoff;
        let old = master.link.replace(Link { conn, node, suspect: false });
        let text = format!("MASTER <-> REPLICA link with {} is up", master.to);
        if let Some(old) = old {
            core.out.facts.sometimes("a stream moved over to a second connection");
            self.close_peer(old.conn, core);
        }
        core.out.facts.log(LogLevel::Notice, text);
        core.out.fact(|| Fact::LinkUp { peer: node });
    }

    /// A dialed connection has ended, or is about to.
    pub(super) fn on_master_gone(&mut self, peer: &Peer, core: &mut Core<'_>) {
        let (id, trouble) = match peer.side {
            Side::Greeting { master, .. } => (master, Trouble::Handshake),
            Side::Master { master, .. } => (master, Trouble::Lost),
            Side::Guest | Side::Replica(_) => return,
        };
        let Some(at) = self.masters.iter().position(|master| master.id == id) else { return };
        let was_link = self.masters[at].link.is_some_and(|link| link.conn == peer.conn);
        if was_link {
            let node = self.masters[at].link.take().map(|link| link.node);
            self.masters[at].down_since = core.now.mono;
            if let Some(node) = node {
                core.out.fact(|| Fact::LinkDown { peer: node });
            }
            if self.masters[at].attempt == Attempt::Idle {
                self.masters[at].backoff = self.config.limits.backoff_min;
                self.on_attempt_failed(at, trouble, core);
            }
        } else if self.masters[at].attempt == (Attempt::Greeting { conn: peer.conn }) {
            let trouble = self.masters[at].trouble.filter(|t| t.is_lasting()).unwrap_or(trouble);
            self.on_attempt_failed(at, trouble, core);
        }
    }

    /// Notes why a handshake did not come about; the connection is closed by the caller.
    pub(super) fn note_trouble(&mut self, id: u64, trouble: Trouble, core: &mut Core<'_>) {
        let Some(master) = self.master_mut(id) else { return };
        if master.trouble != Some(trouble) {
            master.trouble = Some(trouble);
            let text = format!("MASTER {}: {}", master.to, trouble.text());
            core.out.facts.log(LogLevel::Warning, text);
        }
    }

    /// Who is on the other side, for the log: a master as it was configured, anybody else by its address.
    pub(super) fn name_of(&self, peer: &Peer) -> String {
        let master = match peer.side {
            Side::Greeting { master, .. } | Side::Master { master, .. } => {
                self.masters.iter().find(|known| known.id == master)
            }
            Side::Guest | Side::Replica(_) => None,
        };
        match (master, peer.ip) {
            (Some(master), _) => format!("MASTER {}", master.to),
            (None, Some(ip)) => format!("the peer at {ip}"),
            (None, None) => "a peer".to_owned(),
        }
    }

    pub(super) fn is_streaming(&self, master: &Master) -> bool {
        let peer = master.link.and_then(|link| self.peers.get(link.conn));
        match peer.map(|peer| &peer.side) {
            Some(Side::Master { inbound, .. }) => !inbound.is_resyncing(),
            Some(Side::Guest | Side::Replica(_) | Side::Greeting { .. }) | None => false,
        }
    }
}

impl Trouble {
    /// Whether it is the other side's answer, which closing the connection does not explain better.
    fn is_lasting(self) -> bool {
        match self {
            Trouble::Password | Trouble::NotQuorate | Trouble::Answer => true,
            Trouble::Dial(_) | Trouble::Handshake | Trouble::Lost => false,
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Trouble::Dial(DialError::Refused) => "connection refused",
            Trouble::Dial(DialError::Unreachable) => "no route to host",
            Trouble::Dial(DialError::TimedOut) => "connecting timed out",
            Trouble::Dial(DialError::NameUnknown) => "host name not known",
            Trouble::Dial(DialError::Other) => "connecting failed",
            Trouble::Password => {
                "the master refused the password (masterauth here, requirepass there)"
            }
            Trouble::NotQuorate => "not a Quorate peer (the server does not know QUORATE PEER)",
            Trouble::Answer => "the master refused the link",
            Trouble::Handshake => "the handshake did not come to an end",
            Trouble::Lost => "connection lost",
        }
    }
}
