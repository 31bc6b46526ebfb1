//! What the targets that load something have in common: a node at its start, records given to it, and the end of it.

use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;
use quorate::base::ids::{ConnId, Lsn};
use quorate::base::time::{Mono, Now, Wall};
use quorate::node::config::Config;
use quorate::node::io::{ConnOrigin, Effects, Input, Recover};
use quorate::node::{Node, Scope};
use quorate::wal::Record;

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000_000), wall: Wall(1_700_000_000_000_000 + ms * 1000) }
}

/// A node that loads what it is given.
pub struct Loading {
    node: Node,
    out: Effects,
    /// The place of the next record.
    pub next: Lsn,
}

impl Loading {
    pub fn new() -> Loading {
        let config = Config { appendonly: true, ..Config::default() };
        Loading { node: Node::new(config, 1, at(1)), out: Effects::new(true), next: Lsn(1) }
    }

    pub fn give(&mut self, found: Recover<'_>) {
        self.node.handle(at(1), Input::Recover(found), &mut self.out);
    }

    /// Contents that may be a record's: read again the same if they are.
    pub fn record(&mut self, contents: &[u8]) {
        let Ok(record) = Record::read(contents) else { return };
        let mut again = Vec::new();
        record.put(&mut again);
        assert_eq!(Record::read(&again), Ok(record));
        self.give(Recover::Record(contents));
        self.next = self.next.next();
    }

    /// That was all: the node keeps its invariants and serves.
    pub fn serve(self) {
        let Loading { mut node, mut out, next } = self;
        node.handle(at(2), Input::Recover(Recover::Done { next }), &mut out);
        node.flush(at(2), &mut out);
        node.check_invariants(Scope::All);
        let (conn, ip) = (ConnId(1), IpAddr::V4(Ipv4Addr::LOCALHOST));
        node.handle(
            at(3),
            Input::Opened { conn, origin: ConnOrigin::Accepted { ip, port: 9 } },
            &mut out,
        );
        let mut commands =
            BytesMut::from(&b"SET k v\r\nINCR n\r\nDEL k\r\nGET k\r\nDBSIZE\r\n"[..]);
        node.handle(at(3), Input::Bytes { conn, buf: &mut commands }, &mut out);
        for ms in [200, 1500, 3000] {
            node.handle(at(ms), Input::Timeout, &mut out);
            node.flush(at(ms), &mut out);
        }
        node.check_invariants(Scope::All);
    }
}

/// Contents one after the other: a length, and so many bytes.
pub fn contents(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (&length, after) = rest.split_first()?;
        let (contents, after) = after.split_at(after.len().min(usize::from(length)));
        rest = after;
        Some(contents)
    })
}
