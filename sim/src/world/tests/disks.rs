//! Real nodes with logs on simulated disks: what a kill and a loss of power leave.

use quorate::base::time::Span;
use quorate::node::Node;
use quorate::node::config::Config;

use crate::decide::Decisions;
use crate::host::ProcessState;
use crate::resp_client::{Reply, command};
use crate::world::disks::DAMAGED;
use crate::world::{Blind, HostId, World, WorldConfig};

use super::kit::ip;

fn started(policy: &str, seed: u64) -> (World<Node>, HostId) {
    let flags = ["--appendonly", "yes", "--appendfsync", policy, "--protected-mode", "no"];
    let flags = flags.map(str::to_owned);
    let mut world = World::new(WorldConfig::default(), Decisions::from_seed(seed));
    let host = world.add_host("node1", ip(2));
    world.start(host, Config::from_flags(&flags).expect("known flags"));
    (world, host)
}

/// Sends `SET k 1`, `SET k 2`, … and lets so much time pass: the last one that was answered.
fn write(world: &mut World<Node>, host: HostId, from: u64, span: Span) -> u64 {
    let ip = world.host(host).ip;
    let conn = world.client_connect(host, ip, 6379);
    let end = world.now() + span;
    let (mut sent, mut answered) = (from, from);
    while world.now() < end {
        if sent == answered {
            sent += 1;
            world.client_send(conn, command(&["SET", "k", &sent.to_string()]));
        }
        let until = world.now() + Span(100_000);
        world.run_until(until, &mut Blind);
        if let Some(reply) = Reply::take(world.client_buf(conn)).expect("RESP") {
            assert_eq!(reply.to_string(), "OK");
            answered = sent;
        }
    }
    answered
}

fn read(world: &mut World<Node>, host: HostId) -> u64 {
    let ip = world.host(host).ip;
    let conn = world.client_connect(host, ip, 6379);
    world.client_send(conn, command(&["GET", "k"]));
    for _ in 0..1000 {
        let until = world.now() + Span::from_ms(1);
        world.run_until(until, &mut Blind);
        if let Some(reply) = Reply::take(world.client_buf(conn)).expect("RESP") {
            return reply.to_string().trim_matches('"').parse().unwrap_or(0);
        }
    }
    panic!("no answer");
}

#[test]
fn under_always_nothing_acknowledged_is_lost_with_the_power() {
    for seed in 0..8 {
        let (mut world, host) = started("always", seed);
        let mut answered = 0;
        for round in 0..5 {
            answered = write(&mut world, host, answered, Span::from_ms(20 + 3 * round));
            if (seed + round) % 3 == 0 {
                world.kill(host)
            } else {
                world.crash(host)
            }
            world.restart(host);
            let held = read(&mut world, host);
            // The one that was under way may have come through.
            assert!((answered..=answered + 1).contains(&held), "{seed}: {held}, not {answered}");
            answered = held;
        }
        assert!(answered > 30, "{answered} writes");
    }
}

#[test]
fn a_kill_loses_nothing_and_a_power_failure_no_more_than_a_second_under_everysec() {
    let mut lost = 0;
    for seed in 0..8 {
        let (mut world, host) = started("everysec", seed);
        let before = write(&mut world, host, 0, Span::from_ms(500));
        world.kill(host);
        world.restart(host);
        let held = read(&mut world, host);
        assert!(held >= before, "{seed}: a kill took {before}, {held} are left");
        // So much of this is on the device at the end of a second after it.
        let safe = write(&mut world, host, held, Span::from_ms(300));
        let answered = write(&mut world, host, safe, Span::from_ms(1100));
        world.crash(host);
        world.restart(host);
        let held = read(&mut world, host);
        assert!(held >= safe && held <= answered + 1, "{seed}: {safe} {held} {answered}");
        lost += u64::from(held < answered);
    }
    assert!(lost > 0, "no power failure took anything");
}

#[test]
fn a_log_that_has_rotted_in_the_middle_is_not_started_from() {
    let (mut world, host) = started("always", 3);
    write(&mut world, host, 0, Span::from_ms(100));
    world.kill(host);
    let disk = &mut world.hosts[host.index()].disk;
    let before = disk.recover().log;
    // Somewhere before the last record.
    while disk.recover().log[..before.len() / 2] == before[..before.len() / 2] {
        assert!(disk.rot(&mut world.decisions), "something is stored");
    }
    world.restart(host);
    match world.host(host).state() {
        ProcessState::Exited(exit) => assert_eq!((exit.code, &exit.reason[..]), (1, DAMAGED)),
        other => panic!("{other:?}"),
    }
}
