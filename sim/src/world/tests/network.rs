//! Streams over links and through firewalls.

use bytes::Bytes;
use quorate::base::io::{CloseReason, DialError};
use quorate::base::time::Span;

use crate::link::{Latency, LinkConfig};
use crate::time::Time;
use crate::world::{ClientState, HostId, World};

use super::kit::{Echo, Told, connect, echo, ip, machine, run, run_until, talker, world};

/// node1 sends a number to node2 every 50 ms, over an open link.
fn talking(seed: u64) -> (World<Echo>, HostId, HostId) {
    let (mut world, hosts) = world(seed, 2);
    world.start(hosts[1], echo());
    world.start(hosts[0], talker("node2", Span::from_ms(50)));
    run(&mut world, Span::from_secs(1));
    assert!(machine(&world, hosts[0]).link.is_some());
    (world, hosts[0], hosts[1])
}

fn rule(world: &mut World<Echo>, host: HostId, line: &str) {
    world.iptables(host, line).expect("known words");
}

/// The numbers 1 to n, as a talker sends them.
fn counted(received: &[u8]) -> u64 {
    let text = String::from_utf8(received.to_vec()).expect("digits");
    let whole = text.rsplit_once(';').map_or("", |(whole, _)| whole);
    let mut last = 0;
    for number in whole.split_terminator(';') {
        last += 1;
        assert_eq!(number, last.to_string(), "in order, each once");
    }
    last
}

fn received(world: &World<Echo>, host: HostId) -> u64 {
    counted(&machine(world, host).received())
}

#[test]
fn client_gets_its_bytes_back() {
    for seed in 0..50 {
        let (mut world, hosts) = world(seed, 2);
        world.start(hosts[1], echo());
        let conn = connect(&mut world, hosts[0], ip(3));
        assert_eq!(world.client_state(conn), ClientState::Open);
        let text: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        world.client_send(conn, Bytes::from(text.clone()));
        run(&mut world, Span::from_secs(1));
        assert!(world.client_buf(conn)[..] == text[..], "seed {seed}");
        world.client_send(conn, Bytes::from_static(b"close"));
        run(&mut world, Span::from_secs(1));
        assert!(world.client_buf(conn).ends_with(b"bye"), "seed {seed}");
        let closed = ClientState::Closed(CloseReason::EndOfStream);
        assert_eq!(world.client_state(conn), closed);
    }
}

#[test]
fn dropped_stream_stalls_and_resumes_at_the_next_retransmission() {
    for seed in 0..20 {
        let (mut world, a, b) = talking(seed);
        rule(&mut world, b, "-A INPUT -s 172.18.0.2 -j DROP");
        run(&mut world, Span::from_ms(10));
        let (start, before) = (world.now(), received(&world, b));
        run(&mut world, Span::from_secs(14));
        assert_eq!(received(&world, b), before);
        rule(&mut world, b, "-D INPUT -s 172.18.0.2 -j DROP");
        let resumed =
            run_until(&mut world, Span::from_secs(30), |world| received(world, b) > before);
        let took = resumed.since(start).as_ms();
        // 0.2 s doubled: 12.8 s is over, so 25.6 s; a real kernel took 14 s + 12.6 s.
        assert!((24_000..28_000).contains(&took), "seed {seed}: {took} ms");
        run(&mut world, Span::from_secs(2));
        let (sent, arrived) = (machine(&world, a).sent, received(&world, b));
        assert!(arrived + 4 >= sent, "the rest follows at once: {arrived} of {sent}");
        for host in [a, b] {
            let closed = machine(&world, host).told.iter();
            assert!(!closed.clone().any(|(_, told)| matches!(told, Told::Closed(..))));
        }
    }
}

#[test]
fn input_drop_at_a_for_b_lets_data_of_a_through_and_no_acknowledgement_back() {
    let (mut world, a, b) = talking(3);
    let conn = connect(&mut world, a, ip(3));
    rule(&mut world, a, "-A INPUT -s 172.18.0.3 -j DROP");
    world.client_send(conn, Bytes::from_static(b"over there"));
    let before = received(&world, b);
    run(&mut world, Span::from_secs(2));
    // Data goes out until the first retransmission timeout; then only what was not acknowledged.
    let arrived = received(&world, b);
    assert!((before + 3..before + 10).contains(&arrived), "{before} then {arrived}");
    let there = quorate::base::ids::ConnId(2);
    assert_eq!(machine(&world, b).received_on(there), b"over there");
    let at_a = world.stats().segments_filtered;
    assert!(at_a > 8, "acknowledgements were dropped: {at_a}");
    assert!(world.client_buf(conn).is_empty(), "the echo does not come back");
    rule(&mut world, a, "-F INPUT");
    run(&mut world, Span::from_secs(4));
    assert_eq!(&world.client_buf(conn)[..], b"over there");
}

#[test]
fn reject_refuses_new_connections_and_stalls_streams() {
    let (mut world, a, b) = talking(4);
    rule(&mut world, b, "-A INPUT -s 172.18.0.2 -j REJECT");
    run(&mut world, Span::from_ms(10));
    let before = received(&world, b);
    let start = world.now();
    let conn = connect(&mut world, a, ip(3));
    assert_eq!(world.client_state(conn), ClientState::Failed(DialError::Refused));
    assert!(world.now().since(start) < Span::from_ms(5), "at once");
    run(&mut world, Span::from_secs(10));
    assert_eq!(received(&world, b), before);
    assert!(machine(&world, a).link.is_some(), "the stream only stalls");
    rule(&mut world, b, "-F");
    run(&mut world, Span::from_secs(15));
    assert!(received(&world, b) > before + 200);
}

#[test]
fn reject_with_tcp_reset_resets_streams_and_refuses_connections() {
    let (mut world, a, b) = talking(5);
    rule(&mut world, b, "-A INPUT -p tcp -s 172.18.0.2 -j REJECT --reject-with tcp-reset");
    run(&mut world, Span::from_ms(100));
    let link = quorate::base::ids::ConnId(1);
    assert!(machine(&world, a).was_told(&Told::Closed(link, CloseReason::Reset)));
    let conn = connect(&mut world, a, ip(3));
    assert_eq!(world.client_state(conn), ClientState::Failed(DialError::Refused));
    // The other side was told nothing: it finds out when it sends.
    assert!(!machine(&world, b).told.iter().any(|(_, told)| matches!(told, Told::Closed(..))));
}

#[test]
fn reject_in_the_own_output_refuses_and_drop_there_says_nothing() {
    let (mut world, a, _) = talking(6);
    rule(&mut world, a, "-A OUTPUT -d node2 -j REJECT");
    let conn = connect(&mut world, a, ip(3));
    assert_eq!(world.client_state(conn), ClientState::Failed(DialError::Refused));
    rule(&mut world, a, "-F");
    rule(&mut world, a, "-P OUTPUT DROP");
    let conn = world.client_connect(a, ip(3), super::kit::PORT);
    run(&mut world, Span::from_secs(20));
    assert_eq!(world.client_state(conn), ClientState::Connecting);
}

#[test]
fn rule_on_new_connections_leaves_the_old_ones_alone() {
    let (mut world, a, b) = talking(7);
    rule(&mut world, b, "-A INPUT -m state --state NEW -j REJECT");
    let before = received(&world, b);
    let conn = connect(&mut world, a, ip(3));
    assert_eq!(world.client_state(conn), ClientState::Failed(DialError::Refused));
    run(&mut world, Span::from_secs(1));
    assert!(received(&world, b) > before + 15);
    rule(&mut world, b, "-F");
    rule(&mut world, b, "-P INPUT DROP");
    rule(&mut world, b, "-A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT");
    let before = received(&world, b);
    run(&mut world, Span::from_secs(1));
    assert!(received(&world, b) > before + 15);
}

#[test]
fn rules_about_other_hosts_do_not_touch_the_own_clients() {
    let (mut world, _, b) = talking(8);
    rule(&mut world, b, "-A INPUT -s 172.18.0.2 -j DROP");
    for to in [ip(3), std::net::Ipv4Addr::LOCALHOST] {
        let conn = connect(&mut world, b, to);
        assert_eq!(world.client_state(conn), ClientState::Open);
    }
    rule(&mut world, b, "-A INPUT -i lo -j DROP");
    let conn = world.client_connect(b, ip(3), super::kit::PORT);
    run(&mut world, Span::from_secs(1));
    assert_eq!(world.client_state(conn), ClientState::Connecting);
}

#[test]
fn syn_comes_again_after_one_and_three_seconds() {
    let (mut world, hosts) = world(9, 2);
    world.start(hosts[1], echo());
    rule(&mut world, hosts[1], "-P INPUT DROP");
    let conn = world.client_connect(hosts[0], ip(3), super::kit::PORT);
    run(&mut world, Span::from_ms(1500));
    rule(&mut world, hosts[1], "-P INPUT ACCEPT");
    let at = run_until(&mut world, Span::from_secs(5), |world| {
        world.client_state(conn) == ClientState::Open
    });
    assert!((3000..3010).contains(&at.as_ms()), "{at}");
}

#[test]
fn attempts_end_as_in_a_real_network() {
    let (mut world, hosts) = world(10, 2);
    let dead = connect(&mut world, hosts[0], ip(3));
    assert_eq!(world.client_state(dead), ClientState::Failed(DialError::Refused));
    assert!(world.now() < Time::from_ms(10), "a host without the process refuses at once");
    let start = world.now();
    let nobody = connect(&mut world, hosts[0], ip(99));
    assert_eq!(world.client_state(nobody), ClientState::Failed(DialError::Unreachable));
    assert!(world.now().since(start) >= Span::from_secs(3));
    world.crash(hosts[1]);
    let start = world.now();
    let silent = connect(&mut world, hosts[0], ip(3));
    assert_eq!(world.client_state(silent), ClientState::Failed(DialError::TimedOut));
    assert_eq!(world.now().since(start).as_ms() / 1000, 127);
    // A process learns the same, and that a name is unknown.
    world.start(hosts[0], talker("node7", Span::from_secs(1)));
    run(&mut world, Span::from_ms(10));
    assert!(machine(&world, hosts[0]).was_told(&Told::Failed(DialError::NameUnknown)));
}

#[test]
fn lossy_reordering_narrow_link_delivers_everything_in_order() {
    for seed in 0..20 {
        let (mut world, hosts) = world(seed, 2);
        let link = LinkConfig {
            latency: Latency {
                base: Span::from_ms(5),
                jitter: Span::from_ms(3),
                tail_ppm: 50_000,
                tail: Span::from_ms(300),
            },
            loss_ppm: 150_000,
            reorder_ppm: 100_000,
            reorder_by: Span::from_ms(20),
            bandwidth_bytes_per_sec: 300_000,
            queue_bytes: 30_000,
        };
        world.link(hosts[0], hosts[1]).config = link;
        world.link(hosts[1], hosts[0]).config = link;
        world.tcp(hosts[0]).segment_bytes_max = 700;
        world.tcp(hosts[1]).segment_bytes_max = 700;
        world.start(hosts[1], echo());
        world.start(hosts[0], talker("node2", Span::from_ms(20)));
        let conn = connect(&mut world, hosts[0], ip(3));
        let text: Vec<u8> = (0..50_000u32).map(|i| (i % 249) as u8).collect();
        world.client_send(conn, Bytes::from(text.clone()));
        run(&mut world, Span::from_secs(240));
        assert!(world.client_buf(conn)[..] == text[..], "seed {seed}");
        assert!(world.stats().segments_lost > 20);
        assert!(world.stats().peer_bytes_lost > 0 && world.stats().peer_bytes_delayed > 0);
    }
}

#[test]
fn link_cut_in_one_direction_is_one_way() {
    let (mut world, a, b) = talking(11);
    world.cut(b, a, true);
    let before = received(&world, b);
    run(&mut world, Span::from_secs(1));
    assert!(received(&world, b) > before + 3);
    world.cut(b, a, false);
    run(&mut world, Span::from_secs(2));
    world.cut(a, b, true);
    run(&mut world, Span::from_ms(10));
    let before = received(&world, b);
    run(&mut world, Span::from_secs(5));
    assert_eq!(received(&world, b), before);
    world.heal_network();
    run(&mut world, Span::from_secs(8));
    assert!(received(&world, b) > before + 100);
}
