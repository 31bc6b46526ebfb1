//! Crashes, kills, pauses, clocks.

use bytes::Bytes;
use quorate::base::ids::{ConnId, Epoch, NodeId};
use quorate::base::io::{CloseReason, DialError};
use quorate::base::time::Span;
use quorate::node::config::Identity;

use crate::clock::ClockChange;
use crate::host::ProcessState;
use crate::world::{Blind, ClientState, Exit, Notice};

use super::kit::{
    EchoConfig, PORT, Told, connect, echo, ip, machine, run, run_until, talker, world,
};

#[test]
fn crash_leaves_half_open_connections_that_the_restarted_host_resets() {
    let (mut world, hosts) = world(1, 2);
    world.start(hosts[1], echo());
    let conn = connect(&mut world, hosts[0], ip(3));
    world.crash(hosts[1]);
    run(&mut world, Span::from_secs(5));
    assert_eq!(world.client_state(conn), ClientState::Open, "nobody was told");
    world.client_send(conn, Bytes::from_static(b"hello?"));
    run(&mut world, Span::from_secs(5));
    assert_eq!(world.client_state(conn), ClientState::Open);
    world.restart(hosts[1]);
    let start = world.now();
    let at = run_until(&mut world, Span::from_secs(20), |world| {
        world.client_state(conn) == ClientState::Closed(CloseReason::Reset)
    });
    // At the next retransmission, not before.
    assert!(at.since(start) > Span::from_ms(500), "{at}");
    assert_eq!(machine(&world, hosts[1]).identity.epoch, Epoch(2));
}

#[test]
fn idle_half_open_connection_is_found_out_by_keepalive() {
    let (mut world, hosts) = world(2, 2);
    world.tcp(hosts[0]).keepalive = Some(Span::from_secs(30));
    world.start(hosts[1], echo());
    let conn = connect(&mut world, hosts[0], ip(3));
    run(&mut world, Span::from_secs(100));
    assert_eq!(world.client_state(conn), ClientState::Open, "probes were answered");
    world.crash(hosts[1]);
    let start = world.now();
    let at = run_until(&mut world, Span::from_secs(100), |world| {
        world.client_state(conn) == ClientState::Closed(CloseReason::TimedOut)
    });
    let took = at.since(start).as_ms();
    assert!((30_000..=70_000).contains(&took), "{took}");
}

#[test]
fn user_timeout_ends_a_stream_that_is_not_acknowledged() {
    let (mut world, hosts) = world(3, 2);
    world.tcp(hosts[0]).user_timeout = Some(Span::from_secs(10));
    world.start(hosts[1], echo());
    let conn = connect(&mut world, hosts[0], ip(3));
    world.iptables(hosts[1], "-P INPUT DROP").expect("known");
    world.client_send(conn, Bytes::from_static(b"x"));
    let start = world.now();
    let at = run_until(&mut world, Span::from_secs(60), |world| {
        world.client_state(conn) == ClientState::Closed(CloseReason::TimedOut)
    });
    let took = at.since(start).as_ms();
    assert!((10_000..16_000).contains(&took), "{took}");
}

#[test]
fn killed_process_closes_its_connections_and_refuses_new_ones() {
    let (mut world, hosts) = world(4, 2);
    world.start(hosts[1], echo());
    let conn = connect(&mut world, hosts[0], ip(3));
    world.kill(hosts[1]);
    run(&mut world, Span::from_ms(10));
    assert_eq!(world.client_state(conn), ClientState::Closed(CloseReason::EndOfStream));
    let late = connect(&mut world, hosts[0], ip(3));
    assert_eq!(world.client_state(late), ClientState::Failed(DialError::Refused));
    assert_eq!(world.host(hosts[1]).state(), ProcessState::Down);
    world.restart(hosts[1]);
    let again = connect(&mut world, hosts[0], ip(3));
    assert_eq!(world.client_state(again), ClientState::Open);
}

#[test]
fn killed_process_with_unread_bytes_resets() {
    let (mut world, hosts) = world(5, 2);
    world.start(hosts[1], echo());
    let conn = connect(&mut world, hosts[0], ip(3));
    world.pause(hosts[1]);
    world.client_send(conn, Bytes::from_static(b"never read"));
    run(&mut world, Span::from_ms(10));
    world.kill(hosts[1]);
    run(&mut world, Span::from_ms(10));
    assert_eq!(world.client_state(conn), ClientState::Closed(CloseReason::Reset));
}

#[test]
fn close_hidden_by_a_drop_arrives_after_the_heal() {
    let (mut world, hosts) = world(6, 2);
    world.start(hosts[1], echo());
    let conn = connect(&mut world, hosts[0], ip(3));
    world.iptables(hosts[1], "-A OUTPUT -j DROP").expect("known");
    world.kill(hosts[1]);
    run(&mut world, Span::from_secs(5));
    assert_eq!(world.client_state(conn), ClientState::Open);
    world.iptables(hosts[1], "-F").expect("known");
    run(&mut world, Span::from_secs(5));
    assert_eq!(world.client_state(conn), ClientState::Closed(CloseReason::EndOfStream));
}

#[test]
fn paused_process_is_connected_to_and_learns_everything_when_it_goes_on() {
    let (mut world, hosts) = world(7, 2);
    world.start(hosts[1], EchoConfig { every: Some(Span::from_secs(1)), ..echo() });
    world.pause(hosts[1]);
    let conn = connect(&mut world, hosts[0], ip(3));
    assert_eq!(world.client_state(conn), ClientState::Open, "the kernel answers");
    for _ in 0..10 {
        world.client_send(conn, Bytes::from_static(b"0123456789"));
        run(&mut world, Span::from_ms(500));
    }
    let gone = connect(&mut world, hosts[0], ip(3));
    world.client_abort(gone);
    run(&mut world, Span::from_ms(500));
    assert!(machine(&world, hosts[1]).told.is_empty());
    assert_eq!(world.host(hosts[1]).state(), ProcessState::Paused);
    world.resume(hosts[1]);
    run(&mut world, Span::from_ms(10));
    let told = &machine(&world, hosts[1]).told;
    let bytes = told.iter().filter(|(_, told)| matches!(told, Told::Bytes(..))).count();
    assert_eq!(bytes, 1, "all bytes in one read");
    assert!(machine(&world, hosts[1]).was_told(&Told::Timeout), "the timer is overdue");
    assert_eq!(world.client_buf(conn).len(), 100);
}

#[test]
fn sender_to_a_process_that_does_not_read_stalls_and_loses_nothing() {
    let (mut world, hosts) = world(8, 2);
    world.tcp(hosts[1]).recv_buffer_bytes = 5_000;
    world.tcp(hosts[0]).send_buffer_bytes = 4_000;
    let patient = EchoConfig { paused_until: Some(Span::from_secs(30)), ..echo() };
    world.start(hosts[1], patient);
    let conn = connect(&mut world, hosts[0], ip(3));
    let text: Vec<u8> = (0..40_000u32).map(|i| (i % 247) as u8).collect();
    world.client_send(conn, Bytes::from(text.clone()));
    run(&mut world, Span::from_secs(20));
    assert!(machine(&world, hosts[1]).received().is_empty());
    run(&mut world, Span::from_secs(60));
    assert!(machine(&world, hosts[1]).received() == text);
    assert!(world.client_buf(conn)[..] == text[..]);
}

#[test]
fn process_is_told_of_bytes_that_left_and_not_of_those_that_wait() {
    let (mut world, hosts) = world(9, 2);
    world.tcp(hosts[1]).send_buffer_bytes = 3_000;
    world.start(hosts[1], echo());
    let conn = connect(&mut world, hosts[0], ip(3));
    world.tcp(hosts[0]).recv_buffer_bytes = 2_000;
    world.client_pause_reads(conn, true);
    world.client_send(conn, Bytes::from(vec![7; 20_000]));
    run(&mut world, Span::from_secs(10));
    let echo = machine(&world, hosts[1]);
    assert_eq!(echo.sent, 20_000);
    assert!(echo.drained >= 3_000 && echo.drained <= 5_000 + 2_000, "{}", echo.drained);
    world.client_pause_reads(conn, false);
    run(&mut world, Span::from_secs(100));
    assert_eq!(world.client_buf(conn).len(), 20_000);
    assert_eq!(machine(&world, hosts[1]).drained, 20_000);
}

#[test]
fn half_closed_and_busy_closes_end_without_leaving_anything() {
    let (mut world, hosts) = world(10, 2);
    world.start(hosts[1], echo());
    let conn = connect(&mut world, hosts[0], ip(3));
    world.client_send(conn, Bytes::from_static(b"last words"));
    world.client_close(conn);
    run(&mut world, Span::from_secs(1));
    let echo = machine(&world, hosts[1]);
    assert_eq!(echo.received(), b"last words");
    // The echo came for a socket that was closed: the kernel answers with a reset.
    let why = echo.told.iter().rev().find_map(|(_, told)| match told {
        Told::Closed(conn, why) => Some((*conn, *why)),
        Told::Opened(..) | Told::Failed(_) | Told::Bytes(..) | Told::Timeout | Told::Shutdown => {
            None
        }
    });
    let ended = why.expect("it was told");
    assert_eq!(ended.0, ConnId(1));
    assert!(matches!(ended.1, CloseReason::EndOfStream | CloseReason::Reset));
    run(&mut world, Span::from_secs(100));
    assert_eq!(world.endpoints(), 0);
}

#[test]
fn process_that_halts_exits_with_its_code() {
    let (mut world, hosts) = world(11, 2);
    world.start(hosts[1], echo());
    let conn = connect(&mut world, hosts[0], ip(3));
    world.client_send(conn, Bytes::from_static(b"halt"));
    let exit = Exit { code: 3, reason: "told to".into() };
    let end = world.now() + Span::from_secs(1);
    let mut notices = Vec::new();
    while let Some(notice) = world.next(end, &mut Blind) {
        notices.push(notice);
    }
    assert!(notices.contains(&Notice::Exited { host: hosts[1], exit: exit.clone() }));
    assert_eq!(world.host(hosts[1]).state(), ProcessState::Exited(exit));
}

#[test]
fn identity_survives_and_the_epoch_counts_starts() {
    let (mut world, hosts) = world(12, 2);
    world.start(hosts[1], echo());
    let first = machine(&world, hosts[1]).identity.clone();
    assert_eq!(first.epoch, Epoch(1));
    let conn = connect(&mut world, hosts[0], ip(3));
    world.client_send(conn, Bytes::from_static(b"epoch"));
    run(&mut world, Span::from_ms(10));
    world.kill(hosts[1]);
    world.restart(hosts[1]);
    let second = machine(&world, hosts[1]).identity.clone();
    assert_eq!((second.node_id, second.epoch), (first.node_id, Epoch(51)));
    assert_eq!(world.host(hosts[1]).tcp.keepalive, Some(Span::from_secs(9)));
    world.kill(hosts[1]);
    let identity = Identity { node_id: NodeId(5), ..world.identity(hosts[1]) };
    world.set_identity(hosts[1], identity);
    world.restart(hosts[1]);
    assert_eq!(machine(&world, hosts[1]).identity.node_id, NodeId(5));
}

#[test]
fn what_the_next_life_has_to_know_survives_once_it_is_written() {
    let (mut world, hosts) = world(14, 2);
    for (wait, written) in [(Span(0), false), (Span::from_ms(100), true)] {
        world.start(hosts[1], echo());
        let conn = connect(&mut world, hosts[0], ip(3));
        world.client_send(conn, Bytes::from_static(b"past"));
        while !machine(&world, hosts[1]).told.iter().any(|(_, t)| matches!(t, Told::Bytes(..))) {
            run(&mut world, Span(100_000));
        }
        run(&mut world, wait);
        world.crash(hosts[1]);
        run(&mut world, Span::from_ms(100));
        assert_eq!(world.identity(hosts[1]).past.horizon == 77, written);
    }
}

#[test]
fn timers_follow_the_monotonic_clock_and_not_the_wall() {
    let timeouts = |change: Option<ClockChange>| {
        let (mut world, hosts) = world(13, 1);
        world.start(hosts[0], talker("node1", Span::from_ms(100)));
        if let Some(change) = change {
            world.clock(hosts[0], change);
        }
        run(&mut world, Span::from_secs(20));
        machine(&world, hosts[0]).sent
    };
    let plain = timeouts(None);
    assert!((190..=200).contains(&plain), "{plain}");
    let stepped = timeouts(Some(ClockChange::StepWall(-3_600_000_000_000)));
    assert!(plain.abs_diff(stepped) <= 2, "{stepped}");
    let fast = timeouts(Some(ClockChange::DriftMono(250_000)));
    assert!((235..=250).contains(&fast), "{fast}");
    assert!(timeouts(Some(ClockChange::FreezeMono(true))) <= 1);
}

#[test]
fn process_sees_the_clocks_of_its_host() {
    let (mut world, hosts) = world(14, 2);
    world.start(hosts[1], echo());
    let conn = connect(&mut world, hosts[0], ip(3));
    let at = |world: &mut crate::world::World<super::kit::Echo>| {
        world.client_send(conn, Bytes::from_static(b"x"));
        run(world, Span::from_ms(5));
        machine(world, hosts[1]).told.last().expect("bytes").0
    };
    let first = at(&mut world);
    world.clock(hosts[1], ClockChange::StepWall(2_000_000_000));
    let second = at(&mut world);
    assert!((2_000_000..2_100_000).contains(&(second.wall.0 - first.wall.0)));
    assert!(second.mono.0 - first.mono.0 < 100_000_000);
    world.clock(hosts[1], ClockChange::FreezeWall(true));
    let third = at(&mut world);
    run(&mut world, Span::from_secs(9));
    let fourth = at(&mut world);
    assert_eq!(third.wall, fourth.wall);
    assert!(fourth.mono.0 - third.mono.0 > 9_000_000_000);
}

#[test]
fn client_on_a_crashed_host_is_gone() {
    let (mut world, hosts) = world(15, 2);
    world.start(hosts[1], echo());
    let conn = connect(&mut world, hosts[0], ip(3));
    world.crash(hosts[0]);
    assert_eq!(world.client_state(conn), ClientState::Closed(CloseReason::Reset));
    let late = world.client_connect(hosts[0], ip(3), PORT);
    assert_eq!(world.client_state(late), ClientState::Failed(DialError::Other));
}
