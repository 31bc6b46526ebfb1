//! Determinism, batches and timers.

use bytes::Bytes;
use quorate::base::time::Span;

use crate::decide::{Decision, DecisionLog, Decisions};
use crate::time::Time;
use crate::world::{Blind, Notice, World, WorldConfig};

use super::kit::{Echo, Told, connect, echo, ip, machine, run, talker, world};

/// A few seconds with everything in them.
fn eventful(mut world: World<Echo>) -> (u64, u64, World<Echo>) {
    let hosts: Vec<_> = world.hosts().collect();
    for (at, &host) in hosts.iter().enumerate() {
        let to = format!("node{}", (at + 1) % hosts.len() + 1);
        world.start(host, talker(&to, Span::from_ms(30)));
    }
    let conn = connect(&mut world, hosts[0], ip(3));
    for i in 0..20 {
        world.client_send(conn, Bytes::from(vec![i; 1 + 100 * usize::from(i)]));
        run(&mut world, Span::from_ms(20));
    }
    let lossy = "-A INPUT -m statistic --mode random --probability 0.3 -j DROP";
    world.iptables(hosts[0], lossy).expect("known");
    world.kill(hosts[2]);
    run(&mut world, Span::from_secs(2));
    world.restart(hosts[2]);
    world.pause(hosts[1]);
    run(&mut world, Span::from_secs(1));
    world.resume(hosts[1]);
    run(&mut world, Span::from_secs(2));
    let inputs = world.stats().inputs;
    (world.digest(), inputs, world)
}

#[test]
fn same_seed_is_the_same_world_and_another_seed_another() {
    for seed in 0..20 {
        let (first, inputs, _) = eventful(world(seed, 3).0);
        let (second, again, _) = eventful(world(seed, 3).0);
        assert_eq!((first, inputs), (second, again), "seed {seed}");
        assert_ne!(first, eventful(world(seed + 1000, 3).0).0, "seed {seed}");
    }
}

#[test]
fn recorded_decisions_make_the_same_world() {
    let build = |mut decisions: Decisions| {
        let log = DecisionLog::default();
        decisions.record(&log);
        let mut world = World::new(WorldConfig::default(), decisions);
        for n in 1..=3 {
            world.add_host(&format!("node{n}"), ip(n + 1));
        }
        let (digest, _, _) = eventful(world);
        (digest, log.take())
    };
    let (digest, recording) = build(Decisions::from_seed(77));
    assert!(recording.len() > 500);
    let (again, recorded_again) = build(Decisions::from_recorded(&recording));
    assert_eq!(digest, again);
    assert_eq!(recording, recorded_again);
    // Without some of them it is another world, and still runs.
    let half: Vec<Decision> = recording.iter().copied().step_by(2).collect();
    assert_ne!(build(Decisions::from_recorded(&half)).0, digest);
    assert_ne!(build(Decisions::from_bytes(vec![9; 5000])).0, digest);
}

#[test]
fn inputs_come_in_batches_and_timers_early_and_twice() {
    let (mut batched, mut odd) = (0, 0);
    for seed in 0..30 {
        let (mut world, hosts) = world(seed, 2);
        world.start(hosts[1], echo());
        world.start(hosts[0], talker("node2", Span::from_ms(20)));
        let conn = connect(&mut world, hosts[0], ip(3));
        for _ in 0..50 {
            world.client_send(conn, Bytes::from_static(b"a"));
            world.client_send(conn, Bytes::from_static(b"b"));
            run(&mut world, Span::from_ms(1));
        }
        run(&mut world, Span::from_secs(2));
        assert_eq!(world.client_buf(conn).len(), 100);
        let echo = machine(&world, hosts[1]);
        batched += u32::from(echo.flushes < echo.inputs);
        let talker = machine(&world, hosts[0]);
        let timeouts = talker.told.iter().filter(|(_, told)| *told == Told::Timeout).count();
        odd += u32::from(timeouts as u64 > talker.sent + 1);
    }
    assert!(batched > 20, "{batched}");
    assert!(odd > 20, "{odd}");
}

#[test]
fn alarms_come_at_their_time_and_in_order() {
    let (mut world, _) = world(1, 1);
    world.alarm(Time::from_ms(20), 2);
    world.alarm(Time::from_ms(10), 1);
    world.alarm(Time::from_ms(20), 3);
    let mut seen = Vec::new();
    while let Some(notice) = world.next(Time::from_ms(30), &mut Blind) {
        if let Notice::Alarm { token } = notice {
            seen.push((world.now().as_ms(), token));
        }
    }
    assert_eq!(seen, [(10, 1), (20, 2), (20, 3)]);
    assert_eq!(world.now(), Time::from_ms(30));
}
