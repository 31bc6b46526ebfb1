//! A TCP proxy before servers, as HAProxy is one in mode `tcp`: takes connections, opens one to a healthy server for
//! each, and carries the bytes. Health is what answers `PING` (also one that wants a password first), asked every so
//! often over a connection of its own. No I/O: it lives behind the same boundary as a server.

mod config;
mod health;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::BytesMut;
use quorate::base::ids::{ConnId, DialId};
use quorate::base::io::{CloseReason, ConnOrigin, Effect, Effects, HostPort, Input};
use quorate::base::time::{Mono, Now};

pub use config::{Balance, ProxyConfig, ProxyError};

use health::Health;

/// What waits to be written to one side before the other is no longer read, and when it is again.
const HELD_BYTES_MAX: u64 = 64 << 10;
const HELD_BYTES_LOW: u64 = 16 << 10;

/// How often a connection is tried with another server after the first one could not be reached.
const RETRIES: u32 = 3;

const PING: &[u8] = b"PING\r\n";

/// A running proxy.
pub struct Proxy {
    config: ProxyConfig,
    servers: Vec<Server>,
    /// Index of the server that `roundrobin` looks at next.
    turn: usize,
    conns: BTreeMap<ConnId, Conn>,
    dials: BTreeMap<DialId, Dial>,
    dialled: u64,
}

struct Server {
    to: HostPort,
    health: Health,
    next_check: Mono,
    check: Option<Check>,
}

/// A check under way.
#[derive(Copy, Clone)]
struct Check {
    gives_up_at: Mono,
    via: CheckVia,
}

#[derive(Copy, Clone)]
enum CheckVia {
    Dial(DialId),
    Conn(ConnId),
}

/// An attempt to connect: for a client's connection, or to see how a server is.
#[derive(Copy, Clone)]
enum Dial {
    Client { client: ConnId, server: usize, retries: u32 },
    Check { server: usize },
}

/// A connection that is open.
enum Conn {
    /// A client's, while its server is dialled.
    Waiting { dial: DialId },
    /// One of two that belong together.
    Joined(Side),
    /// Of a check, with what has been answered so far.
    Check { server: usize, answer: BytesMut },
}

/// One side of a pair.
struct Side {
    other: ConnId,
    /// Sent and not written out yet.
    held_bytes: u64,
    /// The other side is not read because of it.
    pauses_other: bool,
}

impl Proxy {
    /// A proxy that takes all its servers for healthy, as HAProxy does: the first check that fails changes that.
    pub fn new(config: ProxyConfig, now: Now) -> Proxy {
        let server = |to: &HostPort| Server {
            to: to.clone(),
            health: Health::new(config.rise, config.fall),
            next_check: now.mono,
            check: None,
        };
        let servers = config.servers.iter().map(server).collect();
        Proxy {
            servers,
            config,
            turn: 0,
            conns: BTreeMap::new(),
            dials: BTreeMap::new(),
            dialled: 0,
        }
    }

    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        match input {
            Input::Opened { conn, origin: ConnOrigin::Accepted { .. } } => {
                // What the client sends meanwhile stays where it is.
                out.push(Effect::PauseReads { conn, paused: true });
                match self.pick(None) {
                    Some(server) => self.dial_for(conn, server, RETRIES, out),
                    None => out.push(Effect::Close { conn }),
                }
            }
            Input::Opened { conn, origin: ConnOrigin::Dialed { dial } } => {
                self.on_dialled(conn, dial, out);
            }
            Input::DialFailed { dial, .. } => match self.dials.remove(&dial) {
                Some(Dial::Client { client, server, retries }) => {
                    match self.pick(Some(server)).filter(|_| retries > 0) {
                        Some(next) => self.dial_for(client, next, retries - 1, out),
                        None => {
                            self.conns.remove(&client);
                            out.push(Effect::Close { conn: client });
                        }
                    }
                }
                Some(Dial::Check { server }) => self.checked(server, false),
                None => {}
            },
            Input::Bytes { conn, buf } => self.on_bytes(conn, buf, out),
            Input::Drained { conn, bytes } => {
                if let Some(Conn::Joined(side)) = self.conns.get_mut(&conn) {
                    side.held_bytes = side.held_bytes.saturating_sub(bytes);
                    if side.pauses_other && side.held_bytes <= HELD_BYTES_LOW {
                        side.pauses_other = false;
                        out.push(Effect::PauseReads { conn: side.other, paused: false });
                    }
                }
            }
            Input::Closed { conn, why } => self.on_closed(conn, why, out),
            Input::Shutdown { .. } => {
                out.push(Effect::Halt { code: 0, reason: "shut down".to_owned() });
            }
            Input::Timeout => self.on_timeout(now, out),
            Input::Refused
            | Input::Host(_)
            | Input::PastStored { .. }
            | Input::Synced { .. }
            | Input::DiskFailed { .. }
            | Input::DiskRoom
            | Input::Snap(_)
            | Input::Dump(_)
            | Input::Recover(_) => {}
        }
    }

    pub fn poll_timeout(&self) -> Option<Mono> {
        let due = |server: &Server| server.check.map_or(server.next_check, |c| c.gives_up_at);
        self.servers.iter().map(due).min()
    }

    /// Which servers it takes for healthy, in their order.
    pub fn healthy(&self) -> Vec<bool> {
        self.servers.iter().map(|server| server.health.is_up()).collect()
    }

    /// # Panics
    /// If a named invariant does not hold.
    pub fn check_invariants(&self) {
        self.sides_belong_together();
    }

    fn sides_belong_together(&self) {
        for (conn, of) in &self.conns {
            if let Conn::Joined(side) = of {
                let Some(Conn::Joined(other)) = self.conns.get(&side.other) else {
                    panic!("{conn:?} has no other side");
                };
                assert_eq!(other.other, *conn);
            }
        }
    }

    /// A healthy server for a new connection, other than this one if there is another.
    fn pick(&mut self, not: Option<usize>) -> Option<usize> {
        let count = self.servers.len();
        let from = match self.config.balance {
            Balance::First => 0,
            Balance::RoundRobin => self.turn,
        };
        let order = (0..count).map(|step| (from + step) % count);
        let up: Vec<usize> = order.filter(|&server| self.servers[server].health.is_up()).collect();
        let other = up.iter().find(|&&server| Some(server) != not);
        let server = other.or(up.first()).copied()?;
        self.turn = (server + 1) % count;
        Some(server)
    }

    fn dial_for(&mut self, client: ConnId, server: usize, retries: u32, out: &mut Effects) {
        let dial = self.dial(server, out);
        self.dials.insert(dial, Dial::Client { client, server, retries });
        self.conns.insert(client, Conn::Waiting { dial });
    }

    fn dial(&mut self, server: usize, out: &mut Effects) -> DialId {
        self.dialled += 1;
        let dial = DialId(self.dialled);
        out.push(Effect::Dial { dial, to: self.servers[server].to.clone() });
        dial
    }

    fn on_dialled(&mut self, conn: ConnId, dial: DialId, out: &mut Effects) {
        match self.dials.remove(&dial) {
            Some(Dial::Client { client, .. }) => {
                let side = |other| Conn::Joined(Side { other, held_bytes: 0, pauses_other: false });
                self.conns.insert(client, side(conn));
                self.conns.insert(conn, side(client));
                out.push(Effect::PauseReads { conn: client, paused: false });
            }
            Some(Dial::Check { server }) => {
                if let Some(check) = &mut self.servers[server].check {
                    check.via = CheckVia::Conn(conn);
                }
                self.conns.insert(conn, Conn::Check { server, answer: BytesMut::new() });
                out.push(Effect::Send { conn, bytes: PING.into() });
            }
            None => out.push(Effect::Abort { conn }),
        }
    }

    fn on_bytes(&mut self, conn: ConnId, buf: &mut BytesMut, out: &mut Effects) {
        match self.conns.get_mut(&conn) {
            Some(Conn::Joined(side)) => {
                let (bytes, other) = (buf.split().freeze(), side.other);
                let length = bytes.len() as u64;
                out.push(Effect::Send { conn: other, bytes });
                if let Some(Conn::Joined(to)) = self.conns.get_mut(&other) {
                    to.held_bytes += length;
                    if to.held_bytes > HELD_BYTES_MAX && !to.pauses_other {
                        to.pauses_other = true;
                        out.push(Effect::PauseReads { conn, paused: true });
                    }
                }
            }
            Some(Conn::Check { server, answer }) => {
                answer.unsplit(buf.split());
                let server = *server;
                if answer.contains(&b'\n') {
                    let well = answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH");
                    self.conns.remove(&conn);
                    out.push(Effect::Close { conn });
                    self.checked(server, well);
                }
            }
            Some(Conn::Waiting { .. }) | None => {}
        }
    }

    fn on_closed(&mut self, conn: ConnId, why: CloseReason, out: &mut Effects) {
        match self.conns.remove(&conn) {
            Some(Conn::Joined(Side { other, .. })) => {
                self.conns.remove(&other);
                out.push(match why {
                    CloseReason::EndOfStream => Effect::Close { conn: other },
                    CloseReason::Reset | CloseReason::TimedOut | CloseReason::Asked => {
                        Effect::Abort { conn: other }
                    }
                });
            }
            Some(Conn::Waiting { dial }) => {
                self.dials.remove(&dial);
                out.push(Effect::CancelDial { dial });
            }
            Some(Conn::Check { server, .. }) => self.checked(server, false),
            None => {}
        }
    }

    fn on_timeout(&mut self, now: Now, out: &mut Effects) {
        for server in 0..self.servers.len() {
            let check = self.servers[server].check;
            if let Some(check) = check.filter(|check| check.gives_up_at <= now.mono) {
                match check.via {
                    CheckVia::Dial(dial) => {
                        self.dials.remove(&dial);
                        out.push(Effect::CancelDial { dial });
                    }
                    CheckVia::Conn(conn) => {
                        self.conns.remove(&conn);
                        out.push(Effect::Abort { conn });
                    }
                }
                self.checked(server, false);
            }
            if self.servers[server].check.is_none() && self.servers[server].next_check <= now.mono {
                let dial = self.dial(server, out);
                self.dials.insert(dial, Dial::Check { server });
                // A check that takes as long as the time between two has failed.
                let gives_up_at = now.mono + self.config.inter;
                let via = CheckVia::Dial(dial);
                self.servers[server].check = Some(Check { gives_up_at, via });
                self.servers[server].next_check = gives_up_at;
            }
        }
    }

    fn checked(&mut self, server: usize, well: bool) {
        self.servers[server].check = None;
        self.servers[server].health.checked(well);
    }
}
