//! The mesh: one connection between any two nodes of a strong cluster, over the port that clients use. Nodes find each
//! other by the configured seeds and by what they tell each other; of two nodes the one with the smaller name dials.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::{Buf, BytesMut};

use crate::base::fact::LogLevel;
use crate::base::ids::{ConnId, DialId};
use crate::base::io::{Effect, Effects, HostPort};
use crate::base::time::Mono;

use super::frame::{Frame, Hello, MESH_VERSION, Request, put_items};
use super::message::Sent;
use super::regime::{Start, VoterId};
use super::roster::{NodeName, RackId};
use super::target::{Attempt, Target};
use super::{Copies, Desk, Strong};

/// Dials of the mesh are counted from here.
const DIALS_FROM: u64 = 1 << 40;
const ANSWER_BYTES_MAX: usize = 4096;
/// What the mesh is told at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeshConfig {
    pub cluster_name: String,
    pub rack: RackId,
    pub seeds: Vec<HostPort>,
    /// Where clients and nodes reach this one; without a host at the address they see.
    pub announce_host: Option<String>,
    pub announce_port: u16,
    pub masteruser: Option<String>,
    pub masterauth: Option<String>,
}

/// How another node is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contact {
    pub host: String,
    pub port: u16,
    pub rack: RackId,
}

/// A connection.
#[derive(Debug)]
struct Link {
    /// Where it was dialed; an accepted one's address.
    dialed: Option<HostPort>,
    /// As the dialing side counts its connections.
    number: u64,
    ip: Option<IpAddr>,
    stage: Stage,
    since: Mono,
    unsent: Vec<u8>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Stage {
    /// So many lines of answers are to come before frames.
    Greeting {
        lines: u8,
    },
    /// The other side's hello is to come.
    Hello,
    Up {
        name: NodeName,
    },
}

/// All connections to other nodes.
#[derive(Debug)]
pub struct Mesh {
    pub strong: Strong,
    config: MeshConfig,
    targets: BTreeMap<HostPort, Target>,
    links: BTreeMap<ConnId, Link>,
    contacts: BTreeMap<NodeName, Contact>,
    /// The latest connection with each node: the dialing side's start, and its number. An earlier one may show up later. By the
    /// other side's voter id, too: another disk counts its starts anew.
    latest: BTreeMap<(NodeName, VoterId), (Start, u64)>,
    /// The address at which others see this node.
    seen_at: Option<IpAddr>,
    next_dial: u64,
    begun: bool,
    /// What came of clients' requests, for the caller to take.
    pub requests: Vec<Request>,
    sent: Sent,
}

/// What the mesh works with for the length of one call.
pub struct Env<'a> {
    pub now: Mono,
    pub copies: &'a mut dyn Copies,
    pub out: &'a mut Effects,
}

impl Env<'_> {
    fn desk(&mut self) -> Desk<'_> {
        Desk { now: self.now, copies: self.copies, facts: &mut self.out.facts }
    }
}

impl Mesh {
    pub fn new(strong: Strong, config: MeshConfig, now: Mono) -> Mesh {
        let mut targets = BTreeMap::new();
        for seed in &config.seeds {
            let target = Target::seed(now, strong.config.heartbeat_interval);
            targets.insert(seed.clone(), target);
        }
        Mesh {
            strong,
            config,
            targets,
            links: BTreeMap::new(),
            contacts: BTreeMap::new(),
            latest: BTreeMap::new(),
            seen_at: None,
            next_dial: DIALS_FROM,
            begun: false,
            requests: Vec::new(),
            sent: Sent::default(),
        }
    }

    /// The log is read: see [`Strong::begin`].
    pub fn begin(&mut self, lost: bool, always: bool, now: Mono) {
        self.strong.begin(lost, always, now);
        self.begun = true;
    }

    // ----- connections -----------------------------------------------------------------------

    pub fn owns(&self, conn: ConnId) -> bool {
        self.links.contains_key(&conn)
    }

    /// `QUORATE MESH version`: the connection is a node's from here on.
    ///
    /// # Errors
    /// The text of the refusal.
    pub fn accept(
        &mut self,
        conn: ConnId,
        version: &[u8],
        ip: IpAddr,
        now: Mono,
    ) -> Result<(), String> {
        if version != MESH_VERSION.to_string().as_bytes() {
            let theirs = String::from_utf8_lossy(version).into_owned();
            return Err(format!(
                "ERR mesh version '{theirs}' is not spoken here, expected {MESH_VERSION}"
            ));
        }
        let mut link = Link {
            dialed: None,
            number: 0,
            ip: Some(ip),
            stage: Stage::Hello,
            since: now,
            unsent: Vec::new(),
        };
        link.unsent.extend_from_slice(b"+MESH\r\n");
        let hello = self.hello(Some(ip), 0);
        hello.encode(&mut link.unsent);
        self.links.insert(conn, link);
        Ok(())
    }

    pub fn on_dialed(&mut self, conn: ConnId, dial: DialId, env: &mut Env<'_>) -> bool {
        let state =
            |target: &Target| matches!(target.state, Attempt::Dialing { dial: d, .. } if d == dial);
        let Some((to, target)) = self.targets.iter_mut().find(|(_, target)| state(target)) else {
            return false;
        };
        target.state = Attempt::Connected { conn };
        let dialed = Some(to.clone());
        let mut text = Vec::new();
        let mut lines = 1;
        if let Some(password) = &self.config.masterauth {
            lines += 1;
            match &self.config.masteruser {
                Some(user) => put_command(&mut text, &["AUTH", user, password]),
                None => put_command(&mut text, &["AUTH", password]),
            }
        }
        put_command(&mut text, &["QUORATE", "MESH", &MESH_VERSION.to_string()]);
        let stage = Stage::Greeting { lines };
        let number = dial.0 - DIALS_FROM + 1;
        let link = Link { dialed, number, ip: None, stage, since: env.now, unsent: text };
        self.links.insert(conn, link);
        true
    }

    pub fn on_dial_failed(&mut self, dial: DialId, now: Mono) -> bool {
        let is = |target: &&mut Target| matches!(target.state, Attempt::Dialing { dial: d, .. } if d == dial);
        let Some(target) = self.targets.values_mut().find(is) else { return false };
        target.wait(now);
        true
    }

    pub fn on_bytes(&mut self, conn: ConnId, buf: &mut BytesMut, env: &mut Env<'_>) {
        loop {
            let Some(link) = self.links.get_mut(&conn) else { return buf.clear() };
            if let Stage::Greeting { lines } = link.stage {
                let Some(end) = buf.windows(2).position(|pair| pair == b"\r\n") else {
                    if buf.len() > ANSWER_BYTES_MAX {
                        self.give_up(conn, "its answer has no end", env);
                    }
                    return;
                };
                let line = buf.split_to(end);
                buf.advance(2);
                let no_password = line.starts_with(b"-ERR AUTH <password> called without");
                if line.first() != Some(&b'+') && !no_password {
                    let said = String::from_utf8_lossy(&line).into_owned();
                    return self.give_up(conn, &format!("it answered: {said}"), env);
                }
                link.stage =
                    if lines > 1 { Stage::Greeting { lines: lines - 1 } } else { Stage::Hello };
                if lines == 1 {
                    let number = link.number;
                    let hello = self.hello(None, number);
                    if let Some(link) = self.links.get_mut(&conn) {
                        hello.encode(&mut link.unsent);
                    }
                }
                continue;
            }
            match Frame::decode(buf) {
                Ok(None) => return,
                Ok(Some(Frame::Hello(hello))) => self.on_hello(conn, *hello, env),
                Ok(Some(Frame::Items(items))) => {
                    if let Stage::Up { name } = link.stage {
                        self.strong.on_items(name, items, &mut env.desk());
                    }
                }
                Ok(Some(Frame::Forward(forward))) => {
                    if let Stage::Up { name } = link.stage {
                        self.requests.push(Request::Forward(name, forward));
                    }
                }
                Ok(Some(Frame::Answer(answer))) => {
                    if let Stage::Up { name } = link.stage {
                        self.requests.push(Request::Answer(name, answer));
                    }
                }
                Err(_) => {
                    env.out.facts.sometimes("a peer sent bytes that are no frame");
                    return self.give_up(conn, "it sent bytes that are no frame", env);
                }
            }
        }
    }

    fn hello(&self, seen_at: Option<IpAddr>, number: u64) -> Frame {
        let (voter, start) = (self.strong.voter, self.strong.start);
        let contacts = self.contacts.iter();
        Frame::Hello(Box::new(Hello {
            version: MESH_VERSION,
            cluster_name: self.config.cluster_name.clone(),
            name: self.strong.config.name,
            rack: self.config.rack,
            voter,
            start,
            cluster: self.strong.cluster(),
            host: self.config.announce_host.clone(),
            at: self.seen_at,
            port: self.config.announce_port,
            seen_at,
            number,
            contacts: contacts.map(|(&name, c)| (name, c.host.clone(), c.port)).collect(),
        }))
    }

    fn on_hello(&mut self, conn: ConnId, hello: Hello, env: &mut Env<'_>) {
        let me = self.strong.config.name;
        let Some(link) = self.links.get(&conn).filter(|link| link.stage == Stage::Hello) else {
            return self.give_up(conn, "it said hello twice", env);
        };
        let (ours, theirs) = (&self.config.cluster_name, &hello.cluster_name);
        if hello.version != MESH_VERSION {
            return self.give_up(conn, &format!("it speaks version {}", hello.version), env);
        }
        if ours != theirs {
            let what = format!("its cluster-name is '{theirs}', expected '{ours}'");
            return self.give_up(conn, &what, env);
        }
        if hello.name == me {
            let itself = hello.voter == self.strong.voter;
            let what = if itself { "it is this node" } else { "it has this node's node-id" };
            return self.give_up(conn, what, env);
        }
        if let (Some(ours), Some(theirs)) = (self.strong.cluster(), hello.cluster)
            && ours != theirs
        {
            return self.give_up(conn, "it belongs to another cluster", env);
        }
        let dialed = link.dialed.clone();
        let ip = link.ip;
        self.seen_at = hello.seen_at.or(self.seen_at);
        let host = hello
            .host
            .clone()
            .or_else(|| ip.or(hello.at).map(|ip| ip.to_string()))
            .or_else(|| dialed.as_ref().map(|to| to.host.clone()));
        if let Some(host) = host {
            let contact = Contact { host, port: hello.port, rack: hello.rack };
            self.contacts.insert(hello.name, contact);
        }
        if let Some(target) = dialed.as_ref().and_then(|to| self.targets.get_mut(to)) {
            target.name = Some(hello.name);
            target.said = false;
        }
        self.aim(hello.name, env.now);
        for (name, host, port) in hello.contacts {
            if name != me && !self.contacts.contains_key(&name) {
                let rack = RackId::default();
                self.contacts.insert(name, Contact { host, port, rack });
                self.aim(name, env.now);
            }
        }
        // The one with the smaller name dials; the other has only shown where it is.
        let stays = if dialed.is_some() { me < hello.name } else { hello.name < me };
        let name = hello.name;
        if !stays {
            if dialed.is_some() {
                self.strong.on_shown(name, env.now);
                self.close(conn, env);
            } else {
                self.dial_at_once(name, (hello.voter, hello.start), env);
            }
            return;
        }
        let (start, number) = match self.links.get(&conn) {
            Some(link) if link.dialed.is_some() => (self.strong.start, link.number),
            Some(_) | None => (hello.start, hello.number),
        };
        let latest = self.latest.entry((name, hello.voter)).or_default();
        if (start, number) < *latest {
            // An earlier connection, whose hello was longer on its way. What was said over it since is known.
            env.out.facts.sometimes("a connection of the mesh came behind a later one");
            return self.close(conn, env);
        }
        *latest = (start, number);
        let earlier = self.links.iter().find(|(_, link)| link.stage == Stage::Up { name });
        if let Some((&earlier, _)) = earlier {
            self.close(earlier, env);
        }
        if let Some(link) = self.links.get_mut(&conn) {
            link.stage = Stage::Up { name };
        }
        env.out.facts.log(LogLevel::Notice, format!("Node {name} is connected"));
        self.strong.on_peer_up(name, hello.voter, hello.start, &mut env.desk());
    }

    /// Makes sure that a node is dialed while there is no link with it: also by the one with the larger name, to show the
    /// other where it is.
    fn aim(&mut self, name: NodeName, now: Mono) {
        let Some(contact) = self.contacts.get(&name) else { return };
        let to = HostPort { host: contact.host.clone(), port: contact.port };
        let known = self.targets.values().any(|target| target.name == Some(name));
        if !known {
            let target = Target::of(name, now, self.strong.config.heartbeat_interval);
            self.targets.entry(to).or_insert(target);
        }
    }

    /// A node that this one is to dial has shown itself: it waits for that, and what is left of a link with an earlier life of
    /// its, or a long pause between attempts, does not keep it waiting.
    fn dial_at_once(&mut self, name: NodeName, life: (VoterId, Start), env: &mut Env<'_>) {
        let up = Stage::Up { name };
        let earlier = self.links.iter().find(|(_, link)| link.stage == up).map(|(&conn, _)| conn);
        if let Some(earlier) = earlier {
            if self.strong.is_linked_since(name, life) {
                return;
            }
            env.out.facts.sometimes("a link with an earlier life of a node was closed");
            env.out.push(Effect::Abort { conn: earlier });
            self.on_closed(earlier, env.now);
        }
        let backoff = self.strong.config.heartbeat_interval;
        for target in self.targets.values_mut().filter(|target| target.name == Some(name)) {
            target.hurry(env.now, backoff);
        }
    }

    fn give_up(&mut self, conn: ConnId, why: &str, env: &mut Env<'_>) {
        let to = self.links.get(&conn).and_then(|link| link.dialed.clone());
        let said = to.as_ref().and_then(|to| self.targets.get_mut(to));
        let already = said.is_some_and(|target| core::mem::replace(&mut target.said, true));
        if !already {
            let whom = to.map_or("a node that has dialed".to_owned(), |to| to.to_string());
            env.out.facts.log(LogLevel::Warning, format!("No link with {whom}: {why}"));
        }
        self.close(conn, env);
    }

    /// Closes a connection once what was said over it has left.
    fn close(&mut self, conn: ConnId, env: &mut Env<'_>) {
        if let Some(link) = self.links.get_mut(&conn)
            && !link.unsent.is_empty()
        {
            let bytes = core::mem::take(&mut link.unsent).into();
            env.out.push(Effect::Send { conn, bytes });
        }
        env.out.push(Effect::Close { conn });
        self.on_closed(conn, env.now);
    }

    /// A connection is gone.
    pub fn on_closed(&mut self, conn: ConnId, now: Mono) -> bool {
        let Some(link) = self.links.remove(&conn) else { return false };
        if let Some(target) = link.dialed.and_then(|to| self.targets.get_mut(&to)) {
            target.wait(now);
        }
        if let Stage::Up { name } = link.stage {
            self.strong.on_peer_down(name);
            self.requests.push(Request::Lost(name));
        }
        true
    }

    // ----- time ------------------------------------------------------------------------------

    pub fn poll_timeout(&self) -> Option<Mono> {
        if !self.begun {
            return None;
        }
        let dials = self.targets.values().filter_map(|target| match target.state {
            Attempt::Waiting { until } if !self.is_idle(target) => Some(until),
            Attempt::Dialing { until, .. } => Some(until),
            Attempt::Waiting { .. } | Attempt::Connected { .. } => None,
        });
        dials.chain([self.strong.poll_timeout()]).min()
    }

    /// Whether there is no reason to dial a target now.
    fn is_idle(&self, target: &Target) -> bool {
        target.name.is_some_and(|name| self.is_up(name))
    }

    fn is_up(&self, name: NodeName) -> bool {
        self.links.values().any(|link| link.stage == Stage::Up { name })
    }

    pub fn on_timeout(&mut self, env: &mut Env<'_>) {
        if !self.begun {
            return;
        }
        self.close_silent(env);
        let names: Vec<HostPort> = self.targets.keys().cloned().collect();
        for to in names {
            let Some(target) = self.targets.get(&to) else { continue };
            match target.state {
                Attempt::Waiting { until } if env.now >= until && !self.is_idle(target) => {
                    let dial = DialId(self.next_dial);
                    self.next_dial += 1;
                    let until = env.now + self.strong.config.heartbeat_timeout;
                    env.out.push(Effect::Dial { dial, to: to.clone() });
                    if let Some(target) = self.targets.get_mut(&to) {
                        target.state = Attempt::Dialing { dial, until };
                    }
                }
                Attempt::Dialing { dial, until } if env.now >= until => {
                    env.out.push(Effect::CancelDial { dial });
                    if let Some(target) = self.targets.get_mut(&to) {
                        target.wait(env.now);
                    }
                }
                Attempt::Waiting { .. } | Attempt::Dialing { .. } | Attempt::Connected { .. } => {}
            }
        }
        if env.now >= self.strong.poll_timeout() {
            self.strong.on_timeout(&mut env.desk());
        }
    }

    /// Closes connections over which nothing has come for the heartbeat timeout: the next is likely to be better.
    fn close_silent(&mut self, env: &mut Env<'_>) {
        let timeout = self.strong.config.heartbeat_timeout;
        let silent = |link: &Link| match link.stage {
            Stage::Greeting { .. } | Stage::Hello => env.now.since(link.since) >= timeout,
            Stage::Up { name } => self.strong.silence(name, env.now) >= timeout,
        };
        let silent: Vec<ConnId> =
            self.links.iter().filter(|(_, link)| silent(link)).map(|(&conn, _)| conn).collect();
        for conn in silent {
            env.out.facts.sometimes("a silent link of the mesh was closed");
            env.out.push(Effect::Abort { conn });
            self.on_closed(conn, env.now);
        }
    }

    // ----- what leaves -----------------------------------------------------------------------

    /// End of a batch, before what was written down is taken.
    pub fn work(&mut self, env: &mut Env<'_>) {
        if self.begun {
            self.strong.flush(&mut env.desk());
        }
    }

    /// What is to be said leaves, behind what was written down.
    pub fn send(&mut self, out: &mut Effects) {
        let mut items = self.strong.take_items();
        for (&conn, link) in &mut self.links {
            if let Stage::Up { name } = link.stage
                && let Some(items) = items.remove(&name)
            {
                self.sent.batches += 1;
                self.sent.items += items.len() as u64;
                put_items(items, &mut link.unsent);
            }
            if !link.unsent.is_empty() {
                let bytes = core::mem::take(&mut link.unsent).into();
                out.push(Effect::Send { conn, bytes });
            }
        }
    }

    /// Passes something on over the link with a node; false if there is none.
    pub fn pass(&mut self, to: NodeName, frame: &Frame) -> bool {
        let up = Stage::Up { name: to };
        let Some(link) = self.links.values_mut().find(|link| link.stage == up) else {
            return false;
        };
        frame.encode(&mut link.unsent);
        true
    }

    // ----- what is known ---------------------------------------------------------------------

    /// Where a node is reached by clients; `None` for this one while nobody has told.
    pub fn contact(&self, name: NodeName) -> Option<Contact> {
        if name != self.strong.config.name {
            return self.contacts.get(&name).cloned();
        }
        let host = self.config.announce_host.clone();
        let host = host.or_else(|| self.seen_at.map(|ip| ip.to_string()))?;
        Some(Contact { host, port: self.config.announce_port, rack: self.config.rack })
    }

    /// Where the other nodes are reached that this one has met.
    pub fn contacts(&self) -> impl Iterator<Item = (NodeName, &Contact)> {
        self.contacts.iter().map(|(&name, contact)| (name, contact))
    }

    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// The port at which this node is reached.
    pub fn port(&self) -> u16 {
        self.config.announce_port
    }

    /// Whether a node was heard lately.
    pub fn hears(&self, name: NodeName, now: Mono) -> bool {
        self.is_up(name) && self.strong.silence(name, now) < self.strong.config.heartbeat_timeout
    }

    /// The nodes connected, with this one, and their racks.
    pub fn observed(&self) -> Vec<(NodeName, RackId)> {
        let up = self.contacts.iter().filter(|(name, _)| self.is_up(**name));
        let mut all: Vec<(NodeName, RackId)> = up.map(|(&name, c)| (name, c.rack)).collect();
        all.push((self.strong.config.name, self.config.rack));
        all.sort_unstable();
        all
    }
}

fn put_command(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}
