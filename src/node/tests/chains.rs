//! More than two nodes, or a peer played by the test: what goes on from one node to the next.

use bytes::BytesMut;

use crate::base::ids::{ConnId, DbIndex, Epoch, NodeId, Origin, RunId};
use crate::base::stamp::{Stamp, time_of_ms};
use crate::base::time::{Span, UnixMs, Wall};
use crate::base::unit::{Cell, Change, Seen, Unit};
use crate::base::vector::Vector;
use crate::wire::frame::{Frame, Hello, PEER_VERSION, Record};
use crate::wire::news::Heard;

use super::{Driver, bulk, configured};

/// Nodes each of which follows at most one other.
struct Chain {
    nodes: Vec<Driver>,
    /// Whom each node's dials reach.
    masters: Vec<usize>,
    /// Both ends of every link.
    links: Vec<[(usize, ConnId); 2]>,
}

impl Chain {
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            for node in &mut self.nodes {
                node.pass(Span::from_ms(10));
            }
            self.carry();
        }
    }

    fn carry(&mut self) {
        for at in 0..self.nodes.len() {
            for dial in std::mem::take(&mut self.nodes[at].dials) {
                let master = self.masters[at];
                let ends = [(at, self.nodes[at].answer(dial)), (master, self.nodes[master].open())];
                self.links.push(ends);
            }
        }
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for [one, other] in self.links.clone() {
                for ((from, at), (to, there)) in [(one, other), (other, one)] {
                    let bytes = self.nodes[from].take_bytes(at);
                    moved |= !bytes.is_empty();
                    if !bytes.is_empty() && !self.nodes[to].closed.contains(&there) {
                        self.nodes[to].feed(there, &bytes);
                    }
                }
            }
        }
        // The other end of a closed connection learns of it.
        for ends in std::mem::take(&mut self.links) {
            let closed = ends.map(|(at, conn)| self.nodes[at].closed.contains(&conn));
            match closed {
                [false, false] => self.links.push(ends),
                [true, false] => self.nodes[ends[1].0].hang_up(ends[1].1),
                [false, true] => self.nodes[ends[0].0].hang_up(ends[0].1),
                [true, true] => {}
            }
        }
    }

    fn ask(&mut self, node: usize, command: &str) -> String {
        let conn = self.nodes[node].open();
        self.nodes[node].ask(conn, command)
    }
}

fn node(number: u128, directives: &str) -> Driver {
    let mut config = configured(directives);
    config.identity.node_id = NodeId(number);
    Driver::with(config, 10 + number as u64)
}

#[test]
fn plain_replica_led_to_another_master_and_its_own_replicas_drop_what_that_one_lacks() {
    let nodes = vec![
        node(1, ""),
        node(2, ""),
        node(3, "replicaof 10.0.0.1 6379"),
        node(4, "replicaof 10.0.0.3 6379"),
    ];
    let mut chain = Chain { nodes, masters: vec![0, 0, 0, 2], links: Vec::new() };
    chain.ask(0, "SET first 1");
    chain.ask(1, "SET second 2");
    chain.pass(5000);
    assert_eq!(chain.ask(3, "GET first"), bulk("1"), "it has come down the chain");
    chain.masters[2] = 1;
    assert_eq!(chain.ask(2, "REPLICAOF 10.0.0.2 6379"), "+OK\r\n");
    chain.pass(10_000);
    for replica in [2, 3] {
        assert_eq!(chain.ask(replica, "GET second"), bulk("2"), "replica {replica}");
        assert_eq!(chain.ask(replica, "GET first"), "$-1\r\n", "replica {replica}");
    }
    chain.ask(1, "SET third 3");
    chain.pass(1000);
    assert_eq!(chain.ask(3, "GET third"), bulk("3"));
}

#[test]
fn plain_replica_led_to_a_master_that_has_its_data_already_keeps_them() {
    let mesh = "active-replica yes\n";
    let nodes = vec![
        node(1, mesh),
        node(2, &format!("{mesh}replicaof 10.0.0.1 6379")),
        node(3, "replicaof 10.0.0.1 6379"),
    ];
    let mut chain = Chain { nodes, masters: vec![0, 0, 0], links: Vec::new() };
    chain.ask(0, "SET k 1");
    chain.pass(5000);
    let drops = |chain: &Chain| {
        let drops = |line: &&String| line.contains("Flushing old data");
        chain.nodes[2].log.iter().filter(drops).count()
    };
    let before = drops(&chain);
    chain.masters[2] = 1;
    assert_eq!(chain.ask(2, "REPLICAOF 10.0.0.2 6379"), "+OK\r\n");
    chain.pass(3000);
    chain.ask(0, "SET k 2");
    chain.pass(1000);
    assert_eq!(chain.ask(2, "GET k"), bulk("2"));
    assert_eq!(drops(&chain), before, "nothing was flushed");
}

/// What the test says as a master, and hears as a replica, of a node.
struct Played {
    node: Driver,
    /// The node takes the stream the test sends here.
    as_master: ConnId,
    /// The node sends its stream here.
    as_replica: ConnId,
    news: Heard,
}

/// Origin of the played master, and of a node beyond it.
const MASTER: Origin = Origin(77);
const BEYOND: Origin = Origin(99);

impl Played {
    fn new() -> Played {
        let mut node = node(1, "active-replica yes\nreplicaof 10.0.0.9 6379");
        node.pass(Span::from_ms(10));
        let dial = node.dials.pop().expect("it dials its master");
        let as_master = node.answer(dial);
        let wall = node.now.wall;
        let mut played = Played { node, as_master, as_replica: ConnId(0), news: Heard::default() };
        played.node.feed(as_master, format!("+PEER {PEER_VERSION}\r\n").as_bytes());
        let base = time_of_ms(wall.ms());
        let has = Vector::from(vec![(MASTER, base)]);
        played.say(as_master, &hello(7, MASTER, wall, has.clone()));
        played.say(as_master, &Frame::StateBegin { vector: has.clone(), whole: false });
        played.say(as_master, &Frame::StateEnd);
        let replica = played.node.open();
        played.as_replica = replica;
        played.node.feed(replica, format!("QUORATE PEER {PEER_VERSION}\r\n").as_bytes());
        let has = Vector::from(vec![(MASTER, base), (BEYOND, base)]);
        played.say(replica, &hello(8, Origin(88), wall, has));
        played.heard();
        played
    }

    fn say(&mut self, conn: ConnId, frame: &Frame) {
        self.node.feed(conn, &frame.to_bytes());
    }

    /// A stamp time `ms` from now.
    fn time(&self, ms: i64) -> u64 {
        time_of_ms(UnixMs(self.node.now.wall.ms().0.saturating_add_signed(ms)))
    }

    /// Keys of the cells that the node has passed on since the last call, in order.
    fn heard(&mut self) -> Vec<String> {
        let bytes = self.node.take_bytes(self.as_replica);
        let mut buf = BytesMut::from(&bytes[..]);
        if buf.starts_with(b"+PEER") {
            let _ = buf.split_to(format!("+PEER {PEER_VERSION}\r\n").len());
        }
        let (mut keys, heard) = (Vec::new(), &mut self.news);
        while let Some(frame) = Frame::decode(&mut buf, 1 << 20, heard).expect("frames") {
            match frame {
                Frame::Unit(Unit { changes, .. }) | Frame::StateChunk(changes) => {
                    keys.extend(changes.iter().map(|c| String::from_utf8_lossy(&c.key).into()));
                }
                Frame::Hello(_)
                | Frame::Refuse(_)
                | Frame::Barrier(_)
                | Frame::StateBegin { .. }
                | Frame::StateEnd
                | Frame::ResyncRequest { .. }
                | Frame::Ack(_)
                | Frame::Heartbeat(_) => {}
            }
        }
        keys
    }
}

fn hello(number: u128, origin: Origin, wall: Wall, vector: Vector) -> Frame {
    let (node, run) = (NodeId(number), RunId(number));
    let record = Record {
        node,
        run,
        epoch: Epoch(1),
        origin,
        seq: 1,
        brings: true,
        met_all: true,
        vector: Vector::new(),
        clock: UnixMs(0),
        announced_to: Vec::new(),
        joined: true,
        collected: 0,
        lists: vec![(node, origin)],
    };
    Frame::Hello(Box::new(Hello {
        node,
        run,
        epoch: Epoch(1),
        origin,
        port: 6379,
        whole: false,
        brings: true,
        joining: true,
        wall,
        clock: 0,
        vector,
        horizon_bound: 0,
        strays: Vec::new(),
        horizon_needs: Vec::new(),
        holds: Vec::new(),
        members: vec![record],
    }))
}

fn set(key: &'static str, stamp: Option<Stamp>) -> Change {
    let seen = Seen { list: Vec::new(), horizon: 0 };
    let cell = Cell::Register { value: "v".into(), resets: true, seen };
    Change { db: DbIndex(0), key: key.into(), stamp, cell }
}

fn unit(key: &'static str, dot: Stamp) -> Frame {
    Frame::Unit(Unit { dot, changes: vec![set(key, None)] })
}

#[test]
fn transfer_begun_anew_after_one_that_lacked_cells_counts_what_is_met_live() {
    let mut played = Played::new();
    let master = played.as_master;
    let base = played.time(0);
    let has = |time, beyond| Vector::from(vec![(MASTER, time), (BEYOND, beyond)]);
    // 1. The first transfer has a cell from a clock far ahead: it is left out, and the vector stays.
    let far = Stamp::new(played.time(3_600_000), BEYOND);
    played.say(master, &Frame::StateBegin { vector: has(base, far.time), whole: false });
    played.say(master, &Frame::StateChunk(vec![set("far", Some(far))]));
    played.say(master, &Frame::StateEnd);
    // 2. The log overran: the master begins again by itself. The cell has been overwritten there meanwhile.
    played.say(master, &Frame::StateBegin { vector: has(base, base), whole: false });
    played.say(master, &unit("met", Stamp::new(base + 1, MASTER)));
    played.say(master, &Frame::StateEnd);
    played.say(master, &unit("after", Stamp::new(base + 2, MASTER)));
    assert_eq!(played.heard(), ["met", "after"], "no gap before what counts");
}

#[test]
fn cells_of_a_paused_origin_that_no_entry_covers_are_adopted_when_the_link_breaks() {
    let mut played = Played::new();
    let master = played.as_master;
    let base = played.time(0);
    let ahead = Stamp::new(played.time(5_500), BEYOND);
    played.say(master, &unit("ahead", ahead));
    assert!(played.heard().is_empty(), "it waits");
    let vector = Vector::from(vec![(MASTER, base + 1), (BEYOND, ahead.time)]);
    played.say(master, &Frame::StateBegin { vector, whole: false });
    // By the time its cell comes it is no longer too far ahead.
    played.node.pass(Span::from_ms(800));
    played.say(master, &Frame::StateChunk(vec![set("ahead", Some(ahead))]));
    played.say(master, &Frame::StateEnd);
    played.node.hang_up(master);
    played.node.pass(Span::from_ms(10));
    assert_eq!(played.heard(), ["ahead"], "nobody else may bring it");
}

#[test]
fn units_met_while_a_resync_waits_for_a_paused_origin_are_passed_on_once() {
    let mut played = Played::new();
    let master = played.as_master;
    let base = played.time(0);
    let far = Stamp::new(played.time(3_600_000), BEYOND);
    let vector = Vector::from(vec![(MASTER, base), (BEYOND, far.time)]);
    played.say(master, &Frame::StateBegin { vector, whole: false });
    played.say(master, &Frame::StateChunk(vec![set("far", Some(far))]));
    played.say(master, &Frame::StateEnd);
    // What the transfer has brought is looked for once.
    played.node.pass(Span::from_ms(250));
    for (time, key) in (base + 1..).zip(["one", "two", "three"]) {
        played.say(master, &unit(key, Stamp::new(time, MASTER)));
        played.node.pass(Span::from_ms(250));
    }
    assert_eq!(played.heard(), ["one", "two", "three"]);
    // Another node that waits has adopted the same cell: it must not go to and fro between the two.
    let again = set("one", Some(Stamp::new(base + 1, MASTER)));
    let adopted = Unit { dot: Stamp::new(played.time(0), Origin(55)), changes: vec![again] };
    played.say(master, &Frame::Unit(adopted));
    played.node.pass(Span::from_ms(250));
    assert!(played.heard().is_empty(), "it is here already");
}
