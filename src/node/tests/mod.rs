//! Tests of the node through its boundary: a driver in memory that opens connections, feeds bytes in
//! pieces and collects what leaves.

mod admin;
mod chains;
mod clusters;
mod connections;
mod dumps;
mod durability;
mod limits;
mod pairs;
mod pipelines;
mod proxies;
mod shutdown;
mod strong;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;

use crate::base::fact::Fact;
use crate::base::ids::{ConnId, DialId};
use crate::base::io::{
    CloseReason, ConnOrigin, Effect, Effects, HostPort, Input, Past, ShellSetting,
};
use crate::base::time::{Mono, Now, Span, Wall};

use super::config::Config;
use super::{Node, Scope};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A driver and its node. Carries out effects at once; invariants are checked after every input.
pub struct Driver {
    pub node: Node,
    pub now: Now,
    out: Effects,
    next_conn: u64,
    sent: BTreeMap<ConnId, Vec<u8>>,
    buffers: BTreeMap<ConnId, BytesMut>,
    paused: BTreeSet<ConnId>,
    pub closed: BTreeSet<ConnId>,
    /// Those of them whose output was to be let go of.
    pub aborted: BTreeSet<ConnId>,
    pub settings: Vec<ShellSetting>,
    pub log: Vec<String>,
    pub halted: Option<i32>,
    /// Connections asked for and not yet answered.
    pub dials: Vec<DialId>,
    /// Where all of them were to lead.
    pub asked: BTreeMap<DialId, HostPort>,
    /// Reports what was sent as written out.
    pub drains: bool,
    pub disk: durability::Disk,
    pub dump: dumps::DumpFile,
    /// What the next life is told, once somebody has asked for it to be kept.
    pub past: Option<Past>,
}

/// A configuration without a log, unless the directives say otherwise.
pub fn configured(directives: &str) -> Config {
    let text = format!("appendonly no\n{directives}");
    Config::load(Some(("test.conf", &text)), &[]).expect("a configuration")
}

impl Driver {
    pub fn new(directives: &str) -> Driver {
        Driver::with(configured(directives), 7)
    }

    pub fn with(config: Config, seed: u64) -> Driver {
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_700_000_000_000_000) };
        Driver::at(config, seed, now)
    }

    pub fn at(config: Config, seed: u64, now: Now) -> Driver {
        Driver {
            node: Node::new(config, seed, now),
            now,
            out: Effects::new(true),
            next_conn: 1,
            sent: BTreeMap::new(),
            buffers: BTreeMap::new(),
            paused: BTreeSet::new(),
            closed: BTreeSet::new(),
            aborted: BTreeSet::new(),
            settings: Vec::new(),
            log: Vec::new(),
            halted: None,
            dials: Vec::new(),
            asked: BTreeMap::new(),
            drains: true,
            disk: durability::Disk::default(),
            dump: dumps::DumpFile::default(),
            past: None,
        }
    }

    pub fn open(&mut self) -> ConnId {
        self.open_from(LOOPBACK)
    }

    pub fn open_from(&mut self, ip: IpAddr) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.buffers.insert(conn, BytesMut::new());
        let origin = ConnOrigin::Accepted { ip, port: 50_000 };
        self.input(Input::Opened { conn, origin });
        conn
    }

    /// Connects what the node has dialed.
    pub fn answer(&mut self, dial: DialId) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.buffers.insert(conn, BytesMut::new());
        self.input(Input::Opened { conn, origin: ConnOrigin::Dialed { dial } });
        conn
    }

    /// What has been sent to a connection since the last call, as bytes.
    pub fn take_bytes(&mut self, conn: ConnId) -> Vec<u8> {
        self.sent.remove(&conn).unwrap_or_default()
    }

    /// Bytes arrive; everything that follows from them is carried out.
    pub fn feed(&mut self, conn: ConnId, bytes: &[u8]) {
        self.buffers.get_mut(&conn).expect("open").extend_from_slice(bytes);
        self.offer(conn);
    }

    /// Sends one command and returns all that came back.
    pub fn ask(&mut self, conn: ConnId, command: &str) -> String {
        self.feed(conn, &request(&words(command)));
        self.take(conn)
    }

    /// What has been sent to a connection since the last call.
    pub fn take(&mut self, conn: ConnId) -> String {
        let bytes = self.sent.remove(&conn).unwrap_or_default();
        String::from_utf8(bytes).expect("text")
    }

    pub fn hang_up(&mut self, conn: ConnId) {
        self.buffers.remove(&conn);
        self.input(Input::Closed { conn, why: CloseReason::EndOfStream });
    }

    /// Lets time pass, calling the node whenever it asks for it.
    pub fn pass(&mut self, span: Span) {
        let end = self.now.mono + span;
        while let Some(due) = self.node.poll_timeout().filter(|&due| due <= end) {
            self.set_time(due.max(self.now.mono));
            self.input(Input::Timeout);
        }
        self.set_time(end);
    }

    /// The clocks go on, but nobody calls the node.
    pub fn sleep(&mut self, span: Span) {
        self.set_time(self.now.mono + span);
    }

    pub fn drain(&mut self, conn: ConnId, bytes: u64) {
        self.input(Input::Drained { conn, bytes });
    }

    pub fn is_paused(&self, conn: ConnId) -> bool {
        self.paused.contains(&conn)
    }

    fn set_time(&mut self, mono: Mono) {
        let ahead_us = mono.since(self.now.mono).0 / 1000;
        self.now = Now { mono, wall: Wall(self.now.wall.0 + ahead_us) };
    }

    fn offer(&mut self, conn: ConnId) {
        if self.paused.contains(&conn) || self.closed.contains(&conn) {
            return;
        }
        let mut buf = self.buffers.remove(&conn).expect("open");
        self.node.handle(self.now, Input::Bytes { conn, buf: &mut buf }, &mut self.out);
        self.buffers.insert(conn, buf);
        self.settle();
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input, &mut self.out);
        self.settle();
    }

    /// Ends the batch and carries out the effects.
    fn settle(&mut self) {
        self.node.flush(self.now, &mut self.out);
        self.node.check_invariants(Scope::All);
        for fact in self.out.facts.drain() {
            if let Fact::Log { text, .. } = fact {
                self.log.push(text);
            }
        }
        let mut again = Vec::new();
        while let Some(effect) = self.out.pop() {
            match effect {
                Effect::Send { conn, bytes } => {
                    assert!(!self.closed.contains(&conn), "sent after the close");
                    self.sent.entry(conn).or_default().extend_from_slice(&bytes);
                    if self.drains {
                        let bytes = bytes.len() as u64;
                        let input = Input::Drained { conn, bytes };
                        self.node.handle(self.now, input, &mut self.out);
                    }
                }
                Effect::PauseReads { conn, paused: true } => {
                    self.paused.insert(conn);
                }
                Effect::PauseReads { conn, paused: false } => {
                    self.paused.remove(&conn);
                    again.push(conn);
                }
                Effect::Close { conn } => {
                    assert!(self.closed.insert(conn), "closed twice");
                }
                Effect::Abort { conn } => {
                    assert!(self.closed.insert(conn), "closed twice");
                    self.aborted.insert(conn);
                }
                Effect::Setting(setting) => self.settings.push(setting),
                Effect::Halt { code, .. } => self.halted = Some(code),
                Effect::Dial { dial, to } => {
                    self.dials.push(dial);
                    self.asked.insert(dial, to);
                }
                Effect::CancelDial { dial } => self.dials.retain(|&asked| asked != dial),
                Effect::StoreEpoch { .. } => {}
                Effect::StorePast(told) => {
                    if let Some(past) = &mut self.past {
                        *past = told;
                        self.node.handle(
                            self.now,
                            Input::PastStored { durable: true },
                            &mut self.out,
                        );
                    }
                }
                Effect::Append { lsn, records } => self.disk.append(lsn, &records),
                Effect::Sync { through } => self.disk.sync(through),
                Effect::SnapBegin { lsn } => self.disk.begin_snapshot(lsn),
                Effect::SnapChunk { bytes } => self.disk.put_snapshot(&bytes),
                Effect::SnapCommit => self.disk.commits = true,
                Effect::Dump(step) => self.dump.take(step),
            }
        }
        for conn in again {
            self.offer(conn);
        }
        if self.disk.at_once {
            self.sync();
        }
    }
}

/// The words of a line; `''` is the empty word.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().map(|word| if word == "''" { "" } else { word }).collect()
}

/// A command as clients send it.
pub fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// A bulk string reply.
pub fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}
