//! Any bytes from an authenticated peer are frames or a refusal: a frame that is read is written again
//! the same, the node never panics, keeps its invariants and goes on serving its other clients. Frames of a strong
//! cluster are read and written again, too.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use quorate::base::ids::{ConnId, Epoch, NodeId};
use quorate::base::limits::Limits;
use quorate::base::time::{Mono, Now, Wall};
use quorate::node::config::{Config, Identity};
use quorate::node::io::{ConnOrigin, Effect, Effects, Input, Past};
use quorate::node::{Node, Scope};
use quorate::strong::frame;
use quorate::wire::frame::Frame;
use quorate::wire::news::Heard;

const PEER: ConnId = ConnId(1);
const CLIENT: ConnId = ConnId(2);

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000_000), wall: Wall(1_700_000_000_000_000 + ms * 1000) }
}

fn open(node: &mut Node, conn: ConnId, out: &mut Effects) {
    let origin = ConnOrigin::Accepted { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 9 };
    node.handle(at(0), Input::Opened { conn, origin }, out);
}

fn answers(out: &mut Effects, conn: ConnId) -> Vec<u8> {
    let mut answer = Vec::new();
    while let Some(effect) = out.pop() {
        if let Effect::Send { conn: to, bytes } = effect
            && to == conn
        {
            answer.extend_from_slice(&bytes);
        }
    }
    answer
}

fuzz_target!(|data: &[u8]| {
    let mut buf = BytesMut::from(data);
    let mut heard = Heard::default();
    while let Ok(Some(frame)) = Frame::decode(&mut buf, 1 << 16, &mut heard) {
        let mut again = BytesMut::from(&frame.to_bytes()[..]);
        assert_eq!(Frame::decode(&mut again, 1 << 20, &mut Heard::default()), Ok(Some(frame)));
    }

    let mut buf = BytesMut::from(data);
    while let Ok(Some(frame)) = frame::Frame::decode(&mut buf) {
        let mut again = Vec::new();
        frame.encode(&mut again);
        assert_eq!(frame::Frame::decode(&mut BytesMut::from(&again[..])), Ok(Some(frame)));
    }

    let identity = Identity { node_id: NodeId(7), epoch: Epoch(1), past: Past::default() };
    let config =
        Config { identity, appendonly: false, limits: Limits::tiny(), ..Config::default() };
    let mut node = Node::new(config, 1, at(0));
    let mut out = Effects::new(true);
    open(&mut node, PEER, &mut out);
    open(&mut node, CLIENT, &mut out);
    let mut upgrade = BytesMut::from(&b"QUORATE PEER 2\r\n"[..]);
    node.handle(at(1), Input::Bytes { conn: PEER, buf: &mut upgrade }, &mut out);
    node.flush(at(1), &mut out);
    assert!(answers(&mut out, PEER).starts_with(b"+PEER 2\r\n"));

    let mut bytes = BytesMut::from(data);
    node.handle(at(2), Input::Bytes { conn: PEER, buf: &mut bytes }, &mut out);
    node.check_invariants(Scope::All);
    node.flush(at(2), &mut out);
    for ms in [1500, 3000, 61_000] {
        node.handle(at(ms), Input::Timeout, &mut out);
        node.flush(at(ms), &mut out);
    }
    node.check_invariants(Scope::All);
    answers(&mut out, CLIENT);
    let mut ping = BytesMut::from(&b"PING\r\n"[..]);
    node.handle(at(61_001), Input::Bytes { conn: CLIENT, buf: &mut ping }, &mut out);
    node.flush(at(61_001), &mut out);
    assert_eq!(answers(&mut out, CLIENT), b"+PONG\r\n");
});
