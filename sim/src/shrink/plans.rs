//! Makes plans smaller, for those whose run a file does not repeat as it is.

use super::bench::Bench;
use super::ddmin::ddmin;
use crate::plan::{Heal, NetworkPlan, Plan};

/// The plan and smaller and smaller ones that fail in the same way, down to where nothing more can go.
pub fn smaller_plans(plan: &Plan, bench: &mut Bench) -> Vec<Plan> {
    let mut trail = vec![plan.clone()];
    loop {
        let before = trail.len();
        calmer(&mut trail, bench);
        fewer_faults(&mut trail, bench);
        fewer_clients(&mut trail, bench);
        fewer_commands(&mut trail, bench);
        if trail.len() == before || bench.is_over() {
            return trail;
        }
    }
}

fn last(trail: &[Plan]) -> &Plan {
    trail.last().expect("it begins with the whole plan")
}

fn attempt(trail: &mut Vec<Plan>, bench: &mut Bench, change: impl FnOnce(&mut Plan)) {
    let mut candidate = last(trail).clone();
    change(&mut candidate);
    if candidate != *last(trail) && bench.plan_fails(&candidate) {
        trail.push(candidate);
    }
}

/// A network without losses, clocks without errors, nobody left out of the healing.
fn calmer(trail: &mut Vec<Plan>, bench: &mut Bench) {
    attempt(trail, bench, |plan| plan.heal = Heal::All);
    attempt(trail, bench, |plan| {
        plan.network.loss_permille = 0;
        plan.network.reorder_permille = 0;
    });
    attempt(trail, bench, |plan| {
        let latency_min_us = plan.network.latency_min_us;
        let latency_mean_us = latency_min_us;
        plan.network = NetworkPlan { latency_min_us, latency_mean_us, ..plan.network.clone() };
    });
    attempt(trail, bench, |plan| plan.nodes.iter_mut().for_each(|node| node.drift_ppm = 0));
    attempt(trail, bench, |plan| plan.nodes.iter_mut().for_each(|node| node.offset_ms = 0));
    attempt(trail, bench, |plan| plan.password = None);
}

/// Keeps what `ddmin` leaves of a plan's elements.
fn minimized(
    trail: &mut Vec<Plan>,
    bench: &mut Bench,
    count: usize,
    of: impl Fn(&Plan, &[usize]) -> Plan,
) {
    let whole = last(trail).clone();
    ddmin(count, &mut |kept| {
        let candidate = of(&whole, kept);
        let fails = bench.plan_fails(&candidate);
        if fails && candidate != *last(trail) {
            trail.push(candidate);
        }
        fails
    });
}

fn fewer_faults(trail: &mut Vec<Plan>, bench: &mut Bench) {
    let count = last(trail).faults.len();
    minimized(trail, bench, count, |plan, kept| {
        let faults = kept.iter().map(|&k| plan.faults[k].clone()).collect();
        Plan { faults, ..plan.clone() }
    });
}

fn fewer_clients(trail: &mut Vec<Plan>, bench: &mut Bench) {
    let count = last(trail).clients.len();
    minimized(trail, bench, count, |plan, kept| {
        let clients = kept.iter().map(|&k| plan.clients[k].clone()).collect();
        Plan { clients, ..plan.clone() }
    });
}

/// What is left is sent about when it was: pauses before commands that go become part of the next one's.
fn fewer_commands(trail: &mut Vec<Plan>, bench: &mut Bench) {
    let count = last(trail).commands();
    minimized(trail, bench, count, |plan, kept| {
        let mut plan = plan.clone();
        let mut index = 0;
        for client in &mut plan.clients {
            let mut pause = 0;
            let mut steps = Vec::new();
            for mut step in std::mem::take(&mut client.steps) {
                pause += step.wait_ms;
                if kept.binary_search(&index).is_ok() {
                    step.wait_ms = std::mem::take(&mut pause);
                    steps.push(step);
                }
                index += 1;
            }
            client.steps = steps;
        }
        plan
    });
}
