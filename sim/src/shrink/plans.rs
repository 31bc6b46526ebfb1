//! Makes plans smaller, for those whose run a file does not repeat as it is, and for property tests.

use super::bench::Bench;
use super::ddmin::Ddmin;
use crate::plan::{Heal, NetworkPlan, Plan};

/// A network without losses, clocks without errors, nobody left out of the healing.
const CALMER: [fn(&mut Plan); 8] = [
    |plan| plan.heal = Heal::All,
    |plan| plan.network.regions = None,
    |plan| {
        for node in plan.nodes.iter_mut().filter(|node| node.proxied) {
            node.proxied = false;
            node.masters.truncate(1);
        }
    },
    |plan| {
        plan.network.loss_permille = 0;
        plan.network.reorder_permille = 0;
    },
    |plan| {
        let latency_min_us = plan.network.latency_min_us;
        let latency_mean_us = latency_min_us;
        plan.network = NetworkPlan { latency_min_us, latency_mean_us, ..plan.network.clone() };
    },
    |plan| plan.nodes.iter_mut().for_each(|node| node.drift_ppm = 0),
    |plan| plan.nodes.iter_mut().for_each(|node| node.offset_ms = 0),
    |plan| plan.password = None,
];

/// A kind of elements that are taken out.
struct Parts {
    count: fn(&Plan) -> usize,
    /// What is left of a plan with some of them, told by their indexes in rising order.
    with: fn(&Plan, &[usize]) -> Plan,
}

const PARTS: [Parts; 3] = [
    Parts { count: |plan| plan.faults.len(), with: with_faults },
    Parts { count: |plan| plan.clients.len(), with: with_clients },
    Parts { count: Plan::commands, with: with_commands },
];

/// From a plan that fails to smaller and smaller ones, step by step: whoever drives it tries each candidate out.
#[derive(Clone, Debug)]
pub struct PlanShrinker {
    best: Plan,
    candidate: Plan,
    /// Index into [`CALMER`], and behind its end into [`PARTS`].
    pass: usize,
    /// The elements of a plan under way.
    under_way: Option<(Plan, Ddmin)>,
    /// Something went in this round of passes.
    changed: bool,
}

impl PlanShrinker {
    /// The plan is taken to fail.
    pub fn new(plan: Plan) -> PlanShrinker {
        let candidate = plan.clone();
        PlanShrinker { best: plan, candidate, pass: 0, under_way: None, changed: false }
    }

    /// The smallest plan so far that fails.
    pub fn best(&self) -> &Plan {
        &self.best
    }

    /// The plan to try.
    pub fn candidate(&self) -> &Plan {
        &self.candidate
    }

    /// Goes on to the next plan to try; false if nothing more can go.
    pub fn advance(&mut self) -> bool {
        loop {
            if let Some(calm) = CALMER.get(self.pass) {
                self.pass += 1;
                let mut candidate = self.best.clone();
                calm(&mut candidate);
                if candidate != self.best {
                    self.candidate = candidate;
                    return true;
                }
            } else if let Some(Parts { count, with }) = PARTS.get(self.pass - CALMER.len()) {
                let best = &self.best;
                let begin = || (best.clone(), Ddmin::new(count(best)));
                let (whole, search) = self.under_way.get_or_insert_with(begin);
                match search.candidate() {
                    Some(kept) => {
                        self.candidate = with(whole, kept);
                        return true;
                    }
                    None => {
                        self.under_way = None;
                        self.pass += 1;
                    }
                }
            } else if self.changed {
                (self.pass, self.changed) = (0, false);
            } else {
                return false;
            }
        }
    }

    /// The candidate fails as well: the search goes on from it.
    pub fn accept(&mut self) {
        if let Some((_, search)) = &mut self.under_way {
            search.accept();
        }
        self.changed |= self.candidate != self.best;
        self.best = self.candidate.clone();
    }
}

/// The plan and smaller and smaller ones that fail in the same way, down to where nothing more can go.
pub fn smaller_plans(plan: &Plan, bench: &mut Bench) -> Vec<Plan> {
    let mut trail = vec![plan.clone()];
    let mut shrinker = PlanShrinker::new(plan.clone());
    while !bench.is_over() && shrinker.advance() {
        if bench.plan_fails(shrinker.candidate()) {
            shrinker.accept();
            if trail.last() != Some(shrinker.best()) {
                trail.push(shrinker.best().clone());
            }
        }
    }
    trail
}

fn with_faults(plan: &Plan, kept: &[usize]) -> Plan {
    let faults = kept.iter().map(|&k| plan.faults[k].clone()).collect();
    Plan { faults, ..plan.clone() }
}

fn with_clients(plan: &Plan, kept: &[usize]) -> Plan {
    let clients = kept.iter().map(|&k| plan.clients[k].clone()).collect();
    Plan { clients, ..plan.clone() }
}

/// What is left is sent about when it was: pauses before commands that go become part of the next one's.
fn with_commands(plan: &Plan, kept: &[usize]) -> Plan {
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
}
