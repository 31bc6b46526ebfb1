//! From a seed to a plan.

use quorate::base::rng::Rng;

use super::disks;
use super::load::clients;
use super::{
    Fault, FaultClass, FaultKind, Heal, LimitsPlan, LogPlan, NetworkPlan, NodePlan, Plan, Profile,
    RegionsPlan, Rest, Shape,
};

/// How many of 100 plans have a fault of each rare class.
const RARE_PERCENT: u64 = 4;

/// How many of 100 plans have a slow link that is cut again and again; the same with a plain replica, whose data
/// comes over one link only.
const FLAPPING_PERCENT: u64 = 4;
const FLAPPING_REPLICA_PERCENT: u64 = 30;

/// How many of 100 plans with a plain replica have one that follows it in turn.
const REPLICA_OF_REPLICA_PERCENT: u64 = 30;

/// How many of 100 plans with a plain replica lead it to another master for a while.
const REFOLLOW_PERCENT: u64 = 40;

/// How many of 100 plans with a plain replica have a proxy before its masters.
const PROXIED_PERCENT: u64 = 25;

/// How many of 100 newcomers have been in another cluster before.
const NEWCOMER_PAST_PERCENT: u64 = 40;

/// How many of 100 plans have two regions, and how many of those lose all links between them for a while.
const REGIONS_PERCENT: u64 = 15;
const REGIONS_SPLIT_PERCENT: u64 = 50;

/// How many of 100 plans have two nodes that restart together, away from the others.
const AMNESIA_PERCENT: u64 = 5;

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
        if profile == Profile::Strong {
            return super::strong::generate(seed);
        }
        let mut draw = Draw::new(seed, "cluster");
        let (shape, mut nodes) = cluster(profile, seed, &mut draw);
        let limits = match profile {
            Profile::Smoke => LimitsPlan::Short,
            Profile::Active | Profile::Durability | Profile::Strong => {
                draw.pick(&[LimitsPlan::Production, LimitsPlan::Tiny])
            }
        };
        let backlog_bytes = match draw.below(4) {
            0 => draw.between(100, 400),
            1 => draw.between(400, 4000),
            2 => 16 << 10,
            _ => 1 << 20,
        };
        let password = draw.percent(30).then(|| "secret".to_owned());
        let mut network = network(&mut draw);
        network.regions = regions(profile, seed, nodes.len() as u16);
        let load_ms = match profile {
            Profile::Smoke => draw.between(250, 750),
            Profile::Active | Profile::Durability | Profile::Strong => draw.between(6000, 30_000),
        };
        let clients = clients(profile, seed, &nodes, load_ms);
        let mut faults = faults(profile, seed, &nodes, load_ms);
        faults.extend(network.regions.as_ref().and_then(|r| between(seed, r, &nodes, load_ms)));
        faults.sort_by_key(|f| f.at_ms);
        if faults.iter().any(|fault| matches!(fault.kind, FaultKind::Newcomer { .. })) {
            // The proxy would lead the replica to the newcomer too early: those two would be a cluster.
            for node in nodes.iter_mut().filter(|node| node.proxied) {
                node.proxied = false;
                node.masters.truncate(1);
            }
        }
        let heal = heal(seed, &nodes);
        let mut plan = Plan {
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
            bound_ms: 0,
            mutant: None,
            strong: None,
        };
        plan.bound_ms = 60_000 + 2 * plan.offset_max_ms() + plan.steps_ms();
        plan
    }
}

fn cluster(profile: Profile, seed: u64, draw: &mut Draw) -> (Shape, Vec<NodePlan>) {
    let count = match profile {
        Profile::Smoke => 3,
        Profile::Active | Profile::Durability | Profile::Strong => draw.between(2, 5),
    } as u16;
    let shape = draw.pick(&[Shape::Mesh, Shape::Mesh, Shape::Ring, Shape::Chain, Shape::Star]);
    let replica = profile != Profile::Smoke && draw.percent(25);
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
            proxied: false,
            offset_ms: skewed.below(2 * offset_max + 1) as i64 - offset_max as i64,
            drift_ppm: skewed.below(401) as i32 - 200,
            log: None,
        })
        .collect();
    if replica {
        let plain = |master: u16| NodePlan {
            masters: vec![master],
            replica: true,
            proxied: false,
            offset_ms: 0,
            drift_ppm: 0,
            log: None,
        };
        nodes.push(plain(draw.below(u64::from(count)) as u16));
        if Draw::new(seed, "proxy").percent(PROXIED_PERCENT) {
            let node = &mut nodes[usize::from(count)];
            node.proxied = true;
            node.masters = (0..count).collect();
        }
        if Draw::new(seed, "replica of a replica").percent(REPLICA_OF_REPLICA_PERCENT) {
            nodes.push(plain(count));
        }
    }
    if profile == Profile::Durability {
        let mut draw = Draw::new(seed, "logs");
        let one = [LogPlan::Always, LogPlan::EverySec, LogPlan::No];
        // Most clusters have the same everywhere.
        let same = draw.percent(60).then(|| draw.pick(&one[..2]));
        for node in &mut nodes {
            let drawn = draw.pick(&one);
            node.log = Some(same.unwrap_or(drawn));
        }
    }
    (shape, nodes)
}

/// Processes and hosts end often, several at once now and then.
fn ends(seed: u64, hosts: u16, load_ms: u64) -> Vec<Fault> {
    let mut draw = Draw::new(seed, "ends");
    let mut faults = Vec::new();
    for _ in 0..draw.between(1, 5) {
        let at_ms = draw.below(load_ms);
        let together = draw.percent(25);
        for host in 0..hosts {
            if draw.below(u64::from(hosts)) == 0 || together {
                let until_ms = at_ms + draw.magnitude(5, 4000);
                let power = draw.percent(60);
                faults.push(Fault { at_ms, until_ms, kind: FaultKind::Crash { host, power } });
            }
        }
    }
    faults
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
        regions: None,
    }
}

fn regions(profile: Profile, seed: u64, hosts: u16) -> Option<RegionsPlan> {
    let mut draw = Draw::new(seed, "regions");
    if profile == Profile::Smoke || !draw.percent(REGIONS_PERCENT) {
        return None;
    }
    let first_of_second = draw.between(1, u64::from(hosts) - 1) as u16;
    Some(RegionsPlan {
        second: (first_of_second..hosts).collect(),
        farther_us: draw.magnitude(5000, 200_000),
        bytes_per_sec: if draw.percent(30) { draw.magnitude(20_000, 1_000_000) } else { 0 },
    })
}

/// The regions lose each other.
fn between(seed: u64, regions: &RegionsPlan, nodes: &[NodePlan], load_ms: u64) -> Option<Fault> {
    let mut draw = Draw::new(seed, "between regions");
    if !draw.percent(REGIONS_SPLIT_PERCENT) {
        return None;
    }
    let at_ms = draw.below(load_ms);
    let until_ms = at_ms + draw.magnitude(10, load_ms);
    let hosts = 0..nodes.len() as u16;
    let (right, left) = hosts.partition(|host| regions.second.contains(host));
    Some(Fault { at_ms, until_ms, kind: FaultKind::Split { left, right } })
}

fn faults(profile: Profile, seed: u64, nodes: &[NodePlan], load_ms: u64) -> Vec<Fault> {
    let hosts = nodes.len() as u16;
    let mut swarm = Draw::new(seed, "fault classes");
    let mut faults = Vec::new();
    let rate = swarm.between(15, 50);
    // A run without any fault is worth having, rarely.
    let none = swarm.percent(3);
    let certain = swarm.below(FaultClass::COMMON as u64) as usize;
    let (common, rare) = FaultClass::ALL[..FaultClass::WITHOUT_DISKS].split_at(FaultClass::COMMON);
    for (index, &class) in common.iter().enumerate() {
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
    if profile == Profile::Active && !none {
        for &class in rare {
            let mut draw = Draw::new(seed, &format!("rare fault {}", class.name()));
            if draw.percent(RARE_PERCENT) {
                faults.extend(rare_fault(class, &mut draw, nodes, load_ms));
            }
        }
        let mut draw = Draw::new(seed, "flapping link");
        let plain = nodes.iter().any(|node| node.replica);
        if draw.percent(if plain { FLAPPING_REPLICA_PERCENT } else { FLAPPING_PERCENT }) {
            faults.extend(flapping(&mut draw, nodes, load_ms));
        }
        let mut draw = Draw::new(seed, "other master");
        if plain && draw.percent(REFOLLOW_PERCENT) {
            faults.extend(refollow(&mut draw, nodes, load_ms));
        }
        let mut draw = Draw::new(seed, "amnesia");
        if draw.percent(AMNESIA_PERCENT) {
            faults.extend(amnesia(&mut draw, nodes, load_ms));
        }
    }
    if profile == Profile::Durability {
        faults.extend(ends(seed, hosts, load_ms));
        faults.extend(disks::faults(seed, hosts, load_ms));
        let mut draw = Draw::new(seed, "flapping link");
        if draw.percent(FLAPPING_PERCENT) {
            faults.extend(flapping(&mut draw, nodes, load_ms));
        }
    }
    faults.sort_by_key(|f| f.at_ms);
    // Two nodes that go by one origin learn of it from whoever knows both: not if one has passed it on to others and the
    // other goes by a new one by then, nor if those who knew it had restarted. Nothing could tell their writes apart any more.
    let restarts: Vec<(u16, u64, u64)> =
        faults.iter().filter_map(|f| Some((restarts(&f.kind)?, f.at_ms, f.until_ms))).collect();
    faults.retain(|fault| {
        let FaultKind::Twin { host, copy: false, .. } = fault.kind else { return true };
        let meets = |at, until| at < fault.until_ms && fault.at_ms < until;
        !restarts.iter().any(|&(other, at, until)| other != host && meets(at, until))
    });
    faults
}

/// The host whose process begins anew during this.
fn restarts(kind: &FaultKind) -> Option<u16> {
    if let FaultKind::Crash { host, .. }
    | FaultKind::Twin { host, .. }
    | FaultKind::Newcomer { host, .. }
    | FaultKind::Memory { host, .. } = *kind
    {
        return Some(host);
    }
    None
}

/// What operators do, mistakes and strangers among it.
fn rare_fault(
    class: FaultClass,
    draw: &mut Draw,
    nodes: &[NodePlan],
    load_ms: u64,
) -> Option<Fault> {
    let hosts = nodes.len() as u64;
    let mut at_ms = draw.below(load_ms);
    let until_ms = at_ms + draw.magnitude(20, load_ms);
    let host = draw.below(hosts) as u16;
    let other = (host + 1 + draw.below(hosts - 1) as u16) % hosts as u16;
    let kind = match class {
        FaultClass::Newcomer => {
            // What is left must be one cluster: two that have both collected cannot be joined.
            let others: Vec<u16> = (0..hosts as u16).filter(|&other| other != host).collect();
            if !connected(nodes, &others) {
                return None;
            }
            at_ms = 0;
            let past_ms = draw.percent(NEWCOMER_PAST_PERCENT).then(|| draw.magnitude(1, 10_000));
            FaultKind::Newcomer { host, past_ms }
        }
        FaultClass::Twin => FaultKind::Twin { host, of: other, copy: draw.percent(70) },
        FaultClass::Garbage => {
            let mut bytes: Vec<u8> =
                (0..draw.between(5, 60)).map(|_| draw.below(256) as u8).collect();
            // Half of them are frames of a fitting length.
            if draw.percent(50) {
                let length = bytes.len() as u32 - 4;
                bytes[..4].copy_from_slice(&length.to_le_bytes());
                bytes[4] = draw.below(12) as u8;
            }
            FaultKind::Garbage { host, bytes }
        }
        FaultClass::Memory => FaultKind::Memory { host, bytes: draw.magnitude(50, 20_000) },
        FaultClass::Unfollow
        | FaultClass::Drop
        | FaultClass::OneWay
        | FaultClass::Split
        | FaultClass::Reject
        | FaultClass::Loss
        | FaultClass::Crash
        | FaultClass::Pause
        | FaultClass::Step
        | FaultClass::Slow
        | FaultClass::Reset
        | FaultClass::Clients
        | FaultClass::Full
        | FaultClass::SyncFails
        | FaultClass::SlowDisk
        | FaultClass::Rot
        | FaultClass::OlderImage => {
            let masters = &nodes[host as usize].masters;
            FaultKind::Unfollow { host, master: draw.pick(masters) }
        }
    };
    Some(Fault { at_ms, until_ms, kind })
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
        FaultClass::Clients
        | FaultClass::Newcomer
        | FaultClass::Unfollow
        | FaultClass::Twin
        | FaultClass::Garbage
        | FaultClass::Memory
        | FaultClass::Full
        | FaultClass::SyncFails
        | FaultClass::SlowDisk
        | FaultClass::Rot
        | FaultClass::OlderImage => FaultKind::DeafClients { host: at },
    };
    Fault { at_ms, until_ms, kind }
}

/// A plain replica is led to another master and back, the two being cut off from each other for some of the time.
fn refollow(draw: &mut Draw, nodes: &[NodePlan], load_ms: u64) -> Vec<Fault> {
    let Some(host) = (0..nodes.len() as u16).find(|&host| nodes[host as usize].replica) else {
        return Vec::new();
    };
    let usual = nodes[host as usize].masters[0];
    let others: Vec<u16> = (0..nodes.len() as u16)
        .filter(|&other| other != usual && !nodes[other as usize].replica)
        .collect();
    let master = draw.pick(&others);
    let at_ms = draw.below(load_ms);
    let until_ms = at_ms + draw.magnitude(100, load_ms);
    let cut_ms = at_ms.saturating_sub(draw.magnitude(10, 3000));
    let whole_ms = cut_ms + draw.magnitude(100, load_ms);
    let kind = FaultKind::Split { left: vec![usual], right: vec![master] };
    vec![
        Fault { at_ms, until_ms, kind: FaultKind::Refollow { host, master } },
        Fault { at_ms: cut_ms, until_ms: whole_ms, kind },
    ]
}

/// Two masters that restart at once, and meet each other before they meet the others.
fn amnesia(draw: &mut Draw, nodes: &[NodePlan], load_ms: u64) -> Vec<Fault> {
    let masters: Vec<u16> =
        (0..nodes.len() as u16).filter(|&host| !nodes[host as usize].replica).collect();
    let a = draw.pick(&masters);
    let b = draw.pick(&masters);
    let rest: Vec<u16> = masters.iter().copied().filter(|&host| host != a && host != b).collect();
    if a == b || rest.is_empty() {
        return Vec::new();
    }
    let at_ms = load_ms / 4 + draw.below(load_ms / 2);
    let until_ms = at_ms + draw.magnitude(5, 500);
    let crash = |host| Fault { at_ms, until_ms, kind: FaultKind::Crash { host, power: false } };
    let apart_ms = until_ms + draw.magnitude(200, 8000);
    let kind = FaultKind::Split { left: vec![a, b], right: rest };
    vec![Fault { at_ms, until_ms: apart_ms, kind }, crash(a), crash(b)]
}

/// A slow link between a node and one of its masters, a plain replica's if there is one, that is cut or reset again and
/// again: handshakes and transfers are outlived by what they began with.
fn flapping(draw: &mut Draw, nodes: &[NodePlan], load_ms: u64) -> Vec<Fault> {
    let hosts = nodes.len() as u64;
    let plain = (0..hosts as u16).find(|&host| nodes[host as usize].replica);
    let a = plain.unwrap_or_else(|| draw.below(hosts) as u16);
    let b = draw.pick(&nodes[a as usize].masters);
    let begin_ms = draw.below(load_ms);
    let latency_ms = draw.magnitude(5, 300);
    let mut faults = Vec::new();
    let mut at_ms = begin_ms;
    for _ in 0..draw.between(3, 10) {
        let until_ms = at_ms + draw.magnitude(5, 3000);
        let kind = match draw.below(if plain.is_some() { 5 } else { 3 }) {
            0 => FaultKind::DropIn { at: a, from: b },
            1 => FaultKind::Reset { a, b },
            2 => FaultKind::Split { left: vec![a], right: vec![b] },
            _ => FaultKind::Crash { host: b, power: draw.percent(40) },
        };
        faults.push(Fault { at_ms, until_ms, kind });
        at_ms = until_ms + draw.magnitude(5, 1500);
    }
    let kind = FaultKind::Slow { a, b, latency_ms };
    faults.push(Fault { at_ms: begin_ms, until_ms: at_ms, kind });
    faults
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
                // (A plain replica passes on what it gets.)
                let follows = nodes[host as usize].masters.contains(&from);
                if follows && !reached.contains(&host) {
                    reached.push(host);
                }
            }
        }
        reached.len() == hosts.len()
    })
}
