//! From a seed to a plan.

use quorate::base::rng::Rng;

use super::load::clients;
use super::{
    Fault, FaultClass, FaultKind, Heal, LimitsPlan, NetworkPlan, NodePlan, Plan, Profile, Rest,
    Shape,
};

/// A stream of the plan's random numbers, with the few distributions it needs.
pub(super) struct Draw(Rng);

impl Draw {
    pub fn new(seed: u64, purpose: &str) -> Draw {
        Draw(Rng::fork(seed, purpose))
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0.below(n)
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.0.below(from.len() as u64) as usize]
    }

    /// Each value in `low..=high` about as often as each of its magnitudes.
    pub fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let steps = 64 - (high / low.max(1)).leading_zeros();
        let top = low.max(1) << self.0.below(u64::from(steps) + 1).min(62);
        self.between(low, top.clamp(low, high))
    }
}

impl Plan {
    /// The plan of a seed; the same for ever as long as this file and the workload's stay.
    pub fn generate(profile: Profile, seed: u64) -> Plan {
        let mut draw = Draw::new(seed, "cluster");
        let (shape, nodes) = cluster(profile, seed, &mut draw);
        let limits = match profile {
            Profile::Smoke => LimitsPlan::Short,
            Profile::Active => draw.pick(&[LimitsPlan::Production, LimitsPlan::Tiny]),
        };
        let backlog_bytes = match draw.below(4) {
            0 => draw.between(100, 400),
            1 => draw.between(400, 4000),
            2 => 16 << 10,
            _ => 1 << 20,
        };
        let password = draw.percent(30).then(|| "secret".to_owned());
        let network = network(&mut draw);
        let load_ms = match profile {
            Profile::Smoke => draw.between(1500, 4000),
            Profile::Active => draw.between(6000, 30_000),
        };
        let clients = clients(profile, seed, &nodes, load_ms);
        let faults = faults(seed, nodes.len() as u16, load_ms);
        let heal = heal(seed, &nodes);
        let steps = faults.iter().map(|f| match f.kind {
            FaultKind::Step { by_ms, .. } => by_ms.unsigned_abs(),
            FaultKind::DropIn { .. }
            | FaultKind::DropOut { .. }
            | FaultKind::Split { .. }
            | FaultKind::Reject { .. }
            | FaultKind::Lossy { .. }
            | FaultKind::Crash { .. }
            | FaultKind::Pause { .. }
            | FaultKind::Slow { .. }
            | FaultKind::Reset { .. }
            | FaultKind::DeafClients { .. } => 0,
        });
        let skew = nodes.iter().map(|n| n.offset_ms.unsigned_abs()).max().unwrap_or(0);
        let bound_ms = 60_000 + 2 * skew + steps.sum::<u64>();
        Plan {
            profile,
            seed,
            shape,
            nodes,
            password,
            limits,
            backlog_bytes,
            network,
            clients,
            faults,
            load_ms,
            heal,
            bound_ms,
            mutant: None,
        }
    }
}

fn cluster(profile: Profile, seed: u64, draw: &mut Draw) -> (Shape, Vec<NodePlan>) {
    let count = match profile {
        Profile::Smoke => 3,
        Profile::Active => draw.between(2, 5),
    } as u16;
    let shape = draw.pick(&[Shape::Mesh, Shape::Mesh, Shape::Ring, Shape::Chain, Shape::Star]);
    let replica = profile == Profile::Active && draw.percent(25);
    let mut skewed = Draw::new(seed, "clocks");
    // Most clusters keep time within a second; some clocks are far off.
    let offset_max = match skewed.below(10) {
        0..=3 => 20,
        4..=6 => 1000,
        7..=8 => 4000,
        _ => 12_000,
    };
    let mut nodes: Vec<NodePlan> = (0..count)
        .map(|host| NodePlan {
            masters: masters_of(shape, host, count),
            replica: false,
            offset_ms: skewed.below(2 * offset_max + 1) as i64 - offset_max as i64,
            drift_ppm: skewed.below(401) as i32 - 200,
        })
        .collect();
    if replica {
        nodes.push(NodePlan {
            masters: vec![draw.below(u64::from(count)) as u16],
            replica: true,
            offset_ms: 0,
            drift_ppm: 0,
        });
    }
    (shape, nodes)
}

fn masters_of(shape: Shape, host: u16, count: u16) -> Vec<u16> {
    match shape {
        Shape::Mesh => (0..count).filter(|&other| other != host).collect(),
        Shape::Ring => vec![(host + 1) % count],
        Shape::Chain => {
            let before = host.checked_sub(1);
            let after = Some(host + 1).filter(|&h| h < count);
            before.into_iter().chain(after).collect()
        }
        Shape::Star if host == 0 => (1..count).collect(),
        Shape::Star => vec![0],
    }
}

fn network(draw: &mut Draw) -> NetworkPlan {
    let latency_min_us = draw.magnitude(50, 20_000);
    NetworkPlan {
        latency_min_us,
        latency_mean_us: latency_min_us + draw.magnitude(10, 5000),
        loss_permille: if draw.percent(30) { draw.between(1, 30) as u32 } else { 0 },
        reorder_permille: if draw.percent(30) { draw.between(1, 100) as u32 } else { 0 },
    }
}

fn faults(seed: u64, hosts: u16, load_ms: u64) -> Vec<Fault> {
    let mut swarm = Draw::new(seed, "fault classes");
    let mut faults = Vec::new();
    let rate = swarm.between(15, 50);
    // A run without any fault is worth having, rarely.
    let none = swarm.percent(3);
    let certain = swarm.below(FaultClass::ALL.len() as u64) as usize;
    for (index, class) in FaultClass::ALL.into_iter().enumerate() {
        let on = swarm.percent(rate) || index == certain;
        let count = swarm.between(1, 3);
        if !on || none {
            continue;
        }
        for element in 0..count {
            let mut draw = Draw::new(seed, &format!("fault {} {element}", class.name()));
            faults.push(fault(class, &mut draw, hosts, load_ms));
        }
    }
    faults.sort_by_key(|f| f.at_ms);
    faults
}

fn fault(class: FaultClass, draw: &mut Draw, hosts: u16, load_ms: u64) -> Fault {
    let at_ms = draw.below(load_ms);
    // About a third outlasts the load.
    let until_ms = at_ms + draw.magnitude(20, load_ms);
    let at = draw.below(u64::from(hosts)) as u16;
    let other = (at + 1 + draw.below(u64::from(hosts) - 1) as u16) % hosts;
    let kind = match class {
        FaultClass::Drop => FaultKind::Split { left: vec![at], right: vec![other] },
        FaultClass::OneWay if draw.percent(50) => FaultKind::DropIn { at, from: other },
        FaultClass::OneWay => FaultKind::DropOut { at, to: other },
        FaultClass::Split => {
            let mut sides = [vec![at], vec![other]];
            for host in (0..hosts).filter(|&h| h != at && h != other) {
                sides[draw.below(2) as usize].push(host);
            }
            let [left, right] = sides;
            FaultKind::Split { left, right }
        }
        FaultClass::Reject => FaultKind::Reject { at, from: other, reset: draw.percent(50) },
        FaultClass::Loss => {
            FaultKind::Lossy { at, from: other, permille: draw.between(20, 600) as u32 }
        }
        FaultClass::Crash => FaultKind::Crash { host: at, power: draw.percent(40) },
        FaultClass::Pause => FaultKind::Pause { host: at },
        FaultClass::Step => {
            let size = draw.magnitude(5, 8000) as i64;
            FaultKind::Step { host: at, by_ms: if draw.percent(50) { size } else { -size } }
        }
        FaultClass::Slow => FaultKind::Slow { a: at, b: other, latency_ms: draw.magnitude(5, 800) },
        FaultClass::Reset => FaultKind::Reset { a: at, b: other },
        FaultClass::Clients => FaultKind::DeafClients { host: at },
    };
    Fault { at_ms, until_ms, kind }
}

fn heal(seed: u64, nodes: &[NodePlan]) -> Heal {
    let mut draw = Draw::new(seed, "heal");
    let rest = draw.pick(&[Rest::Crashed, Rest::Paused, Rest::Cut]);
    if draw.percent(50) {
        return Heal::All;
    }
    // A few tries find a part of the masters that is connected both ways without the others.
    for _ in 0..8 {
        let chosen: Vec<u16> = (0..nodes.len() as u16).filter(|_| draw.percent(60)).collect();
        let masters = chosen.iter().filter(|&&h| !nodes[h as usize].replica).count();
        if masters >= 2 && chosen.len() < nodes.len() && connected(nodes, &chosen) {
            return Heal::Core { hosts: chosen, rest };
        }
    }
    Heal::All
}

/// Whether what any master of `hosts` writes reaches all of `hosts` along links among them only.
pub(super) fn connected(nodes: &[NodePlan], hosts: &[u16]) -> bool {
    let writers = hosts.iter().filter(|&&h| !nodes[h as usize].replica);
    writers.into_iter().all(|&start| {
        let mut reached = vec![start];
        let mut at = 0;
        while at < reached.len() {
            let from = reached[at];
            at += 1;
            for &host in hosts {
                let follows = nodes[host as usize].masters.contains(&from);
                let passes = !nodes[from as usize].replica;
                if follows && passes && !reached.contains(&host) {
                    reached.push(host);
                }
            }
        }
        reached.len() == hosts.len()
    })
}
