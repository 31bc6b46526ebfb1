//! Bytes become a dump, with stamps or without: the same pieces in parts as whole, each of which a log's snapshot could
//! hold; a node that begins with it keeps its invariants and serves.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use quorate::base::content::Content;
use quorate::base::ids::{Epoch, Lsn, NodeId, Origin};
use quorate::base::time::{Mono, Now, UnixMs, Wall};
use quorate::base::unit::Kind;
use quorate::node::config::Config;
use quorate::node::io::{Effects, Input, Recover};
use quorate::node::{Node, Scope};
use quorate::rdb::writer::{Header, Writer, WriterOptions};
use quorate::wal::dump::{DumpError, DumpLoader, Terms};
use quorate::wal::snapshot::Piece;

fn load(file: &[u8], part: usize, terms: &Terms) -> Result<Vec<Piece>, DumpError> {
    let mut loader = DumpLoader::new(terms.clone());
    let mut pieces = Vec::new();
    for bytes in file.chunks(part) {
        loader.push(bytes)?;
        pieces.extend(std::iter::from_fn(|| loader.take()));
    }
    loader.finish()?;
    pieces.extend(std::iter::from_fn(|| loader.take()));
    Ok(pieces)
}

/// Fields of this server's, keys and databases, as the input says.
fn file_of(mut input: &[u8]) -> Vec<u8> {
    let header = Header { redis_version: "7.2.4", created_s: 1, used_bytes: 1 };
    let options = WriterOptions { compression: false, checksum: true };
    let mut out = BytesMut::new();
    let mut writer = Writer::new(options, &header, &mut out);
    writer.aux(b"quorate-node", format!("{:032x}", 5).as_bytes(), &mut out);
    let mut in_database = false;
    while let [what, length, rest @ ..] = input {
        let (contents, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        input = rest;
        match what % 7 {
            0 => writer.aux(b"quorate-head", contents, &mut out),
            1 => writer.aux(b"quorate-cells", contents, &mut out),
            2 => writer.aux(b"quorate-traces", contents, &mut out),
            3 => writer.aux(b"quorate-tail", contents, &mut out),
            4 => {
                in_database = true;
                writer.database(quorate::base::ids::DbIndex(u16::from(*length)), 1, 1, &mut out);
            }
            _ if in_database => {
                let bytes = Bytes::copy_from_slice(contents);
                let value = if what % 2 == 0 {
                    Content::String(bytes)
                } else {
                    Content::Elements { kind: Kind::Hash, list: vec![(bytes.clone(), bytes)] }
                };
                writer.key(contents, &value, Some(UnixMs(7)), &mut out);
            }
            _ => {}
        }
    }
    writer.finish(&mut out);
    out.to_vec()
}

fuzz_target!(|input: &[u8]| {
    let [choice, part, rest @ ..] = input else { return };
    let terms = Terms {
        node: NodeId(u128::from(choice >> 4)),
        epoch: Epoch(2),
        has_past: choice & 2 == 2,
        origin: Origin(77),
        wall: UnixMs(1_700_000_000_000),
        databases: 16,
    };
    let file = if choice & 1 == 1 { file_of(rest) } else { [b"REDIS0010", rest].concat() };
    let whole = load(&file, usize::MAX, &terms);
    assert_eq!(load(&file, usize::from(*part).max(1), &terms), whole);
    let Ok(pieces) = whole else { return };
    let at =
        |ms: u64| Now { mono: Mono(ms * 1_000_000), wall: Wall(1_700_000_000_000_000 + ms * 1000) };
    let config = Config { appendonly: false, loads_dump: true, ..Config::default() };
    let (mut node, mut out) = (Node::new(config, 1, at(1)), Effects::new(true));
    for piece in pieces {
        let mut contents = Vec::new();
        piece.put(&mut contents);
        assert_eq!(Piece::read(&contents).as_ref(), Ok(&piece));
        node.handle(at(1), Input::Recover(Recover::Piece(&contents)), &mut out);
    }
    node.handle(at(2), Input::Recover(Recover::Done { next: Lsn(1) }), &mut out);
    node.check_invariants(Scope::All);
    for ms in [200, 1500, 3000] {
        node.handle(at(ms), Input::Timeout, &mut out);
        node.flush(at(ms), &mut out);
    }
    node.check_invariants(Scope::All);
});
