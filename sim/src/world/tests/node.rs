//! Real nodes in a world: enough to know that the two fit; everything else is checked by campaigns and
//! scenarios.

use quorate::base::time::Span;
use quorate::node::Node;
use quorate::node::config::Config;

use crate::decide::Decisions;
use crate::resp_client::{Reply, command};
use crate::world::{Blind, HostId, World, WorldConfig};

use super::kit::ip;

fn config(other: &str) -> Config {
    let flags = "--appendonly no --multi-master yes --active-replica yes --requirepass mypass \
                 --masterauth mypass";
    let mut flags: Vec<String> = flags.split(' ').map(str::to_owned).collect();
    flags.extend(["--replicaof", other, "6379"].map(str::to_owned));
    Config::from_flags(&flags).expect("known flags")
}

/// What a client on the node's own host gets, as redis-cli prints it.
fn ask(world: &mut World<Node>, host: HostId, words: &str) -> String {
    let ip = world.host(host).ip;
    let conn = world.client_connect(host, ip, 6379);
    world.client_send(conn, command(&["AUTH", "mypass"]));
    world.client_send(conn, command(&words.split(' ').collect::<Vec<_>>()));
    let end = world.now() + Span::from_secs(5);
    let mut replies = Vec::new();
    while replies.len() < 2 {
        assert!(world.now() < end, "no answer to {words}: {replies:?}");
        let until = world.now() + Span::from_ms(1);
        world.run_until(until, &mut Blind);
        while let Some(reply) = Reply::take(world.client_buf(conn)).expect("RESP") {
            replies.push(reply.to_string());
        }
    }
    world.client_close(conn);
    replies.remove(1)
}

fn pass(world: &mut World<Node>, span: Span) {
    let until = world.now() + span;
    world.run_until(until, &mut Blind);
}

/// Two masters of each other, linked.
fn pair(seed: u64) -> (World<Node>, HostId, HostId) {
    let mut world = World::new(WorldConfig::default(), Decisions::from_seed(seed));
    let a = world.add_host("node1", ip(2));
    let b = world.add_host("node2", ip(3));
    world.start(a, config("node2"));
    world.start(b, config("node1"));
    pass(&mut world, Span::from_secs(5));
    (world, a, b)
}

#[test]
fn split_masters_agree_on_the_newest_write_after_the_heal() {
    let mut digests = Vec::new();
    for seed in [1, 2, 3, 1] {
        let (mut world, a, b) = pair(seed);
        assert_eq!(ask(&mut world, a, "SET testkey before"), "OK");
        pass(&mut world, Span::from_secs(1));
        assert_eq!(ask(&mut world, b, "GET testkey"), "\"before\"");
        world.iptables(a, "-A INPUT -s 172.18.0.3 -j DROP").expect("known");
        world.iptables(b, "-A INPUT -s 172.18.0.2 -j DROP").expect("known");
        assert_eq!(ask(&mut world, a, "SET testkey one"), "OK");
        pass(&mut world, Span::from_ms(10));
        assert_eq!(ask(&mut world, b, "SET testkey two"), "OK");
        pass(&mut world, Span::from_secs(30));
        assert_eq!(ask(&mut world, a, "GET testkey"), "\"one\"");
        world.iptables(a, "-F").expect("known");
        world.iptables(b, "-F").expect("known");
        pass(&mut world, Span::from_secs(5));
        assert_eq!(ask(&mut world, a, "GET testkey"), "\"two\"", "seed {seed}");
        assert_eq!(ask(&mut world, b, "GET testkey"), "\"two\"", "seed {seed}");
        digests.push(world.digest());
    }
    assert_eq!(digests[0], digests[3]);
    assert_ne!(digests[0], digests[1]);
}
