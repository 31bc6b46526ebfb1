//! Plans of strong clusters: a roster, partitions, clients that know the cluster protocol, faults.

use quorate::base::ids::PARTITION_COUNT;
use serde::{Deserialize, Serialize};

use super::ambush::{self, Ambush};
use super::generate::Draw;
use super::is_false;
use super::{
    Fault, FaultKind, Heal, LimitsPlan, LogPlan, NetworkPlan, NodePlan, Plan, Profile, Remedy,
    Shape,
};

/// Load and faults begin so late, ms: the cluster stands by then.
pub const BEGIN_MS: u64 = 3000;

/// One seed in so many has all partitions; the others have few, in which more happens.
const EACH_WITH_ALL_PARTITIONS: u64 = 200;
/// How many of 100 plans keep values in hashes.
const HASHES_PERCENT: u64 = 20;

/// What a plan of a strong cluster has beside all others.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StrongPlan {
    pub copies: u8,
    /// Each node's rack.
    pub racks: Vec<u16>,
    pub partitions: u16,
    pub interval_ms: u64,
    pub timeout_intervals: u64,
    pub clients: Vec<StrongClient>,
    /// Nodes that pass on what is not theirs, by their numbers: `cluster-redirect proxy`.
    #[serde(default)]
    pub proxies: Vec<u16>,
    /// The nodes of the first roster; empty: all.
    #[serde(default)]
    pub first: Vec<u16>,
    #[serde(default)]
    pub changes: Vec<RosterChange>,
    /// In the end an operator has this node open what does not open by itself.
    #[serde(default)]
    pub revive: Option<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ambushes: Vec<Ambush>,
}

/// What an operator asks of a node: this roster, and to admit new disks of its nodes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RosterChange {
    pub at_ms: u64,
    pub host: u16,
    /// Empty: those that node has in force.
    pub nodes: Vec<u16>,
}

/// A client that follows MOVED.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StrongClient {
    /// It asks this node first.
    pub host: u16,
    /// What was lost with a connection is sent again, once.
    pub resends: bool,
    pub steps: Vec<StrongStep>,
    /// It has sent READONLY, and asks one node after the other: its reads may be old.
    #[serde(default)]
    pub reads_copies: bool,
    /// It sends WAIT after each so many-th write; 0: never.
    #[serde(default)]
    pub waits_every: u8,
    /// It gives a reply up after so long, and asks another node the next time; 0: as libraries do.
    #[serde(default)]
    pub patience_ms: u64,
    /// A key's value is a field of a hash. So it is for all clients of a plan.
    #[serde(default, skip_serializing_if = "is_false")]
    pub in_hashes: bool,
}

/// One operation, so long after the one before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StrongStep {
    pub wait_ms: u64,
    pub key: u16,
    pub what: StrongOp,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StrongOp {
    Get,
    /// SET of a value of its own.
    Set,
    /// APPEND of a text of its own.
    Append,
    Del,
    /// SET, with a time to live, of a key beside that one: what becomes of it no history tells, but copies have to agree.
    Brief,
}

/// The plan of a seed of profile `strong`.
pub(super) fn generate(seed: u64) -> Plan {
    let mut draw = Draw::new(seed, "strong");
    let count = draw.between(3, 7) as u16;
    let copies = draw.between(1, 4).min(u64::from(count)) as u8;
    let racks_count = draw.between(1, 3);
    let racks: Vec<u16> = (0..count).map(|n| 1 + n % racks_count as u16).collect();
    let few = draw.pick(&[1, 2, 4, 8, 8, 16, 64]);
    let all = Draw::new(seed, "strong partitions").below(EACH_WITH_ALL_PARTITIONS) == 0;
    let partitions = if all { PARTITION_COUNT } else { few };
    let interval_ms = draw.pick(&[20, 50, 150]);
    let timeout_intervals = draw.pick(&[5, 10, 10]);
    let log = draw.pick(&[LogPlan::Always, LogPlan::Always, LogPlan::EverySec]);
    let nodes = (0..count)
        .map(|_| NodePlan {
            masters: Vec::new(),
            replica: false,
            proxied: false,
            offset_ms: draw.between(0, 4000) as i64 - 2000,
            drift_ppm: draw.between(0, 200) as i32 - 100,
            log: Some(log),
        })
        .collect();
    let latency_min_us = draw.magnitude(50, 2000);
    let network = NetworkPlan {
        latency_min_us,
        latency_mean_us: latency_min_us + draw.magnitude(10, 1000),
        loss_permille: if draw.percent(20) { draw.between(1, 20) as u32 } else { 0 },
        reorder_permille: if draw.percent(20) { draw.between(1, 50) as u32 } else { 0 },
        regions: None,
    };
    let load_ms = BEGIN_MS + draw.between(3000, 15_000);
    let keys = draw.between(1, 5) as u16;
    let clients = (0..draw.between(2, 6))
        .map(|_| StrongClient {
            host: draw.below(u64::from(count)) as u16,
            resends: draw.percent(30),
            steps: steps(&mut draw, keys, load_ms),
            reads_copies: false,
            waits_every: 0,
            patience_ms: 0,
            in_hashes: false,
        })
        .collect();
    let (first, changes) = roster_changes(seed, count, load_ms);
    let mut faults = faults(seed, count, copies, load_ms);
    if !changes.is_empty() {
        // (A roster may come to be of one node: what that has acknowledged nobody else knows.)
        faults.retain(|fault| !matches!(fault.kind, FaultKind::OlderImage { .. }));
    }
    let mut strong = StrongPlan {
        copies,
        racks,
        partitions,
        interval_ms,
        timeout_intervals,
        clients,
        first,
        changes,
        proxies: Vec::new(),
        revive: revive(seed, count),
        ambushes: Vec::new(),
    };
    vary(&mut strong, seed, count, load_ms);
    let mut plan = Plan {
        profile: Profile::Strong,
        seed,
        shape: Shape::Mesh,
        nodes,
        password: draw.percent(20).then(|| "secret".to_owned()),
        limits: draw.pick(&[LimitsPlan::Production, LimitsPlan::Tiny]),
        backlog_bytes: 1 << 20,
        network,
        clients: Vec::new(),
        faults,
        load_ms,
        heal: Heal::All,
        bound_ms: 60_000,
        mutant: None,
        strong: Some(strong),
    };
    ambush::lay(&mut plan, seed);
    if Draw::new(seed, "strong hashes").percent(HASHES_PERCENT) {
        for client in plan.strong.iter_mut().flat_map(|strong| &mut strong.clients) {
            client.in_hashes = true;
            for step in client.steps.iter_mut().filter(|step| step.what == StrongOp::Append) {
                // Nothing is appended to a field.
                step.what = StrongOp::Set;
            }
        }
    }
    plan
}

/// In half of the seeds.
fn revive(seed: u64, count: u16) -> Option<u16> {
    let mut draw = Draw::new(seed, "strong revive");
    draw.percent(50).then(|| draw.below(u64::from(count)) as u16)
}

/// In half of the seeds: nodes that pass commands on, clients that read from copies, and WAIT.
fn vary(strong: &mut StrongPlan, seed: u64, count: u16, load_ms: u64) {
    let mut draw = Draw::new(seed, "strong clients");
    if draw.percent(50) {
        return;
    }
    let (proxied, read) = (draw.percent(70), draw.percent(70));
    for host in 0..count {
        if draw.percent(80) && proxied {
            strong.proxies.push(host);
        }
    }
    for client in &mut strong.clients {
        client.reads_copies = draw.percent(40) && read;
        let every = draw.pick(&[0, 0, 0, 1, 5]);
        client.waits_every = every;
    }
    if !read {
        return;
    }
    // One that does nothing but read, from all nodes: also from those that nobody hears.
    let keys = strong.clients.iter().flat_map(|client| &client.steps).map(|step| step.key);
    let keys = u64::from(keys.max().unwrap_or(0)) + 1;
    let gap = draw.magnitude(20, 100);
    let (mut at, mut steps) = (0, Vec::new());
    while at < load_ms - BEGIN_MS && steps.len() < 150 {
        let wait_ms = draw.between(0, 2 * gap);
        at += wait_ms;
        steps.push(StrongStep { wait_ms, key: draw.below(keys) as u16, what: StrongOp::Get });
    }
    strong.clients.push(StrongClient {
        host: draw.below(u64::from(count)) as u16,
        resends: false,
        steps,
        reads_copies: true,
        waits_every: 0,
        patience_ms: 0,
        in_hashes: false,
    });
}

fn steps(draw: &mut Draw, keys: u16, load_ms: u64) -> Vec<StrongStep> {
    let gap = draw.magnitude(20, 400);
    let (mut at, mut steps) = (0, Vec::new());
    loop {
        let wait_ms = draw.between(0, 2 * gap);
        at += wait_ms;
        if at >= load_ms - BEGIN_MS || steps.len() >= 60 {
            return steps;
        }
        let what = match draw.below(20) {
            0..=7 => StrongOp::Get,
            8..=13 => StrongOp::Append,
            14..=18 => StrongOp::Set,
            _ => StrongOp::Del,
        };
        steps.push(StrongStep { wait_ms, key: draw.below(u64::from(keys)) as u16, what });
    }
}

/// In a quarter of the seeds nodes come and go for good, or wiped ones are admitted again.
fn roster_changes(seed: u64, count: u16, load_ms: u64) -> (Vec<u16>, Vec<RosterChange>) {
    let mut draw = Draw::new(seed, "strong rosters");
    if !draw.percent(25) {
        return (Vec::new(), Vec::new());
    }
    let some = |draw: &mut Draw| {
        let all: Vec<u16> = (0..count).filter(|_| draw.percent(65)).collect();
        if all.is_empty() { vec![0] } else { all }
    };
    let first = some(&mut draw);
    let changes = (0..draw.between(1, 4))
        .map(|_| RosterChange {
            at_ms: draw.between(BEGIN_MS, load_ms),
            host: draw.below(u64::from(count)) as u16,
            nodes: if draw.percent(30) { Vec::new() } else { some(&mut draw) },
        })
        .collect();
    (first, changes)
}

fn faults(seed: u64, count: u16, copies: u8, load_ms: u64) -> Vec<Fault> {
    let mut draw = Draw::new(seed, "strong faults");
    let host = |draw: &mut Draw| draw.below(u64::from(count)) as u16;
    let mut faults = Vec::new();
    // Each seed has some classes only.
    let classes: Vec<u64> = (0..9).filter(|_| draw.percent(50)).collect();
    for _ in 0..draw.between(1, 8) {
        let Some(&class) = classes.get(draw.below(classes.len().max(1) as u64) as usize) else {
            break;
        };
        let at_ms = draw.between(BEGIN_MS, load_ms);
        let until_ms = at_ms + draw.magnitude(50, 8000);
        let (a, b) = (host(&mut draw), host(&mut draw));
        let kind = match class {
            0 | 1 => {
                let sides = draw.below(1 << count);
                let (left, right) = (0..count).partition(|n| sides >> n & 1 == 1);
                FaultKind::Split { left, right }
            }
            2 => FaultKind::DropIn { at: a, from: b },
            3 => FaultKind::DropOut { at: a, to: b },
            4 => FaultKind::Crash { host: a, power: draw.percent(50) },
            5 => FaultKind::Pause { host: a },
            6 => FaultKind::Step { host: a, by_ms: draw.between(0, 20_000) as i64 - 10_000 },
            7 => FaultKind::Reset { a, b },
            _ => FaultKind::SlowDisk { host: a, times: draw.between(2, 200) as u32 },
        };
        faults.push(Fault { at_ms, until_ms, kind });
    }
    // A disk that is lost, or put back to what it was: of one node at most, since that is one copy less for good.
    let (host, at_ms) = (host(&mut draw), draw.between(BEGIN_MS, load_ms));
    let until_ms = at_ms + draw.magnitude(50, 8000);
    let kind = match draw.below(100) {
        // (What the only copy has acknowledged since its last heartbeat nobody else can know: no older image of that.)
        0..8 if copies > 1 => Some(FaultKind::OlderImage { host }),
        8..16 => Some(FaultKind::Rot { host, bits: 1, remedy: Remedy::Wipe }),
        _ => None,
    };
    faults.extend(kind.map(|kind| Fault { at_ms, until_ms, kind }));
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}
