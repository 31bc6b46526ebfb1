//! Any bytes as a snapshot and what follows it in the log: what can be read of them is read again the same, and a node that
//! loads it, whatever it says, never panics; if it takes it, it keeps its invariants and serves.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use quorate::base::ids::{ConnId, Lsn};
use quorate::base::time::{Mono, Now, Wall};
use quorate::node::config::Config;
use quorate::node::io::{ConnOrigin, Effects, Input, Recover};
use quorate::node::{Node, Scope};
use quorate::wal::Record;
use quorate::wal::snapshot::Piece;

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000_000), wall: Wall(1_700_000_000_000_000 + ms * 1000) }
}

fuzz_target!(|data: &[u8]| {
    // Contents of pieces up to an empty one, then of records: a length, and so many bytes.
    let config = Config { appendonly: true, ..Config::default() };
    let mut node = Node::new(config, 1, at(1));
    let mut out = Effects::new(true);
    let (mut rest, mut next, mut pieces) = (data, Lsn(1), true);
    while let Some((&length, after)) = rest.split_first() {
        let (contents, after) = after.split_at(after.len().min(usize::from(length)));
        rest = after;
        if pieces {
            pieces = length > 0;
            let Ok(piece) = Piece::read(contents) else { continue };
            let mut again = Vec::new();
            piece.put(&mut again);
            assert_eq!(Piece::read(&again).as_ref(), Ok(&piece));
            if let Piece::Head(head) = &piece {
                next = head.lsn;
            }
            node.handle(at(1), Input::Recover(Recover::Piece(contents)), &mut out);
            continue;
        }
        let Ok(record) = Record::read(contents) else { continue };
        let mut again = Vec::new();
        record.put(&mut again);
        assert_eq!(Record::read(&again), Ok(record));
        node.handle(at(1), Input::Recover(Recover::Record(contents)), &mut out);
        next = next.next();
    }
    node.handle(at(2), Input::Recover(Recover::Done { next }), &mut out);
    node.flush(at(2), &mut out);
    node.check_invariants(Scope::All);
    let (conn, ip) = (ConnId(1), IpAddr::V4(Ipv4Addr::LOCALHOST));
    node.handle(
        at(3),
        Input::Opened { conn, origin: ConnOrigin::Accepted { ip, port: 9 } },
        &mut out,
    );
    let mut commands = BytesMut::from(&b"SET k v\r\nINCR n\r\nDEL k\r\nGET k\r\nDBSIZE\r\n"[..]);
    node.handle(at(3), Input::Bytes { conn, buf: &mut commands }, &mut out);
    for ms in [200, 1500, 3000] {
        node.handle(at(ms), Input::Timeout, &mut out);
        node.flush(at(ms), &mut out);
    }
    node.check_invariants(Scope::All);
});
