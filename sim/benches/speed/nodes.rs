//! Full worlds: three real nodes that follow each other, and clients that write to each of them.

use std::net::Ipv4Addr;

use bytes::Bytes;
use quorate::base::io::HostPort;
use quorate::node::Node;
use quorate::node::config::Config;
use quorate_sim::decide::Decisions;
use quorate_sim::time::Time;
use quorate_sim::world::{Blind, ClientConn, ClientEvent, Notice, World, WorldConfig};

const PORT: u16 = 6379;
const NODES: u8 = 3;
const CLIENTS_PER_NODE: u8 = 4;
const KEYS: u64 = 64;

/// Plays until so many commands were answered; how many segments were delivered.
pub fn play(seed: u64, commands: u64) -> u64 {
    // Nobody listens to facts, and invariants are the checkers' matter.
    let config = WorldConfig { facts: false, check_invariants: false, ..WorldConfig::default() };
    let mut world: World<Node> = World::new(config, Decisions::from_seed(seed));
    let ip = |node: u8| Ipv4Addr::new(10, 0, 0, node + 1);
    let name = |node: u8| format!("node{}", node + 1);
    for node in 0..NODES {
        let host = world.add_host(&name(node), ip(node));
        world.iptables(host, "-A INPUT -s 10.9.9.9 -j DROP").expect("a rule that matches nobody");
        let others = (0..NODES).filter(|&other| other != node);
        let config = Config {
            port: PORT,
            protected_mode: false,
            active_replica: true,
            multi_master: true,
            replicaof: others.map(|other| HostPort { host: name(other), port: PORT }).collect(),
            appendonly: false,
            ..Config::default()
        };
        world.start(host, config);
    }
    let clients = world.add_host("clients", Ipv4Addr::new(10, 0, 1, 1));
    for node in 0..NODES {
        for _ in 0..CLIENTS_PER_NODE {
            world.client_connect(clients, ip(node), PORT);
        }
    }
    let mut answered = 0;
    while answered < commands {
        let notice = world.next(Time::from_secs(3600), &mut Blind).expect("somebody is answered");
        let Notice::Client { conn, event } = notice else { panic!("{notice:?}") };
        match event {
            ClientEvent::Connected => {}
            ClientEvent::Readable => {
                let replies = world.client_buf(conn);
                answered += replies.iter().filter(|&&byte| byte == b'\n').count() as u64;
                replies.clear();
            }
            ClientEvent::Failed(_) | ClientEvent::Closed(_) => panic!("{conn:?}: {event:?}"),
        }
        world.client_send(conn, set(conn, answered));
    }
    std::hint::black_box(world.digest());
    world.stats().deliveries
}

fn set(conn: ClientConn, number: u64) -> Bytes {
    let (key, value) = (format!("key:{:02}", number % KEYS), format!("{:02}-{number:08}", conn.0));
    let (k, v) = (key.len(), value.len());
    format!("*3\r\n$3\r\nSET\r\n${k}\r\n{key}\r\n${v}\r\n{value}\r\n").into()
}
