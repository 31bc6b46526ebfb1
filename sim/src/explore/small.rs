//! Small plans, of which all orders can be gone through.

use quorate::base::rng::Rng;

use crate::plan::{
    Fault, FaultKind, Heal, LimitsPlan, NetworkPlan, NodePlan, Plan, Profile, Shape,
};
use crate::workload::client::{ClientPlan, Library, Step};
use crate::workload::command::Command;

/// When commands and faults come to be possible: links are up, and everybody has heard of everybody.
const START_MS: u64 = 310;
/// Later than anything in an order.
const LOAD_MS: u64 = 600_000;
const KEY: &str = "k";

/// How large a plan to make.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Size {
    /// Masters in a mesh.
    pub nodes: u16,
    /// Writes of one key.
    pub writes: u16,
}

/// A plan with one client per node, which write one key, and one split that cuts the first node off. Seed 0
/// has the writes that say most; others draw them.
pub fn small_plan(profile: Profile, seed: u64, size: Size) -> Plan {
    let Size { nodes, writes } = size;
    let mut clients: Vec<ClientPlan> = (0..nodes)
        .map(|host| ClientPlan {
            host,
            // It neither gives up waiting for a reply nor sends anything twice.
            library: Library::NodeRedis,
            pipeline: 1,
            steps: Vec::new(),
        })
        .collect();
    let mut rng = Rng::fork(seed, "small plan");
    for number in 0..writes {
        let (host, command) = match (seed, number) {
            (0, 0) => (0, set(0)),
            (0, 1) => (1, set(1)),
            (0, 2) => (1, Command::Del { keys: vec![KEY.to_owned()] }),
            (0, _) => (number % nodes, increment(number)),
            (_, _) => (rng.below(u64::from(nodes)) as u16, drawn(&mut rng, number)),
        };
        let steps = &mut clients[usize::from(host)].steps;
        let wait_ms = if steps.is_empty() { START_MS - 1 } else { 0 };
        steps.push(Step { wait_ms, command });
    }
    clients.retain(|client| !client.steps.is_empty());
    let node = |host| NodePlan {
        masters: (0..nodes).filter(|&other| other != host).collect(),
        replica: false,
        proxied: false,
        offset_ms: 0,
        drift_ppm: 0,
        log: None,
    };
    let split = FaultKind::Split { left: vec![0], right: (1..nodes).collect() };
    Plan {
        profile,
        seed,
        shape: Shape::Mesh,
        nodes: (0..nodes).map(node).collect(),
        password: None,
        limits: match profile {
            Profile::Smoke => LimitsPlan::Short,
            Profile::Active | Profile::Durability | Profile::Strong => LimitsPlan::Production,
        },
        backlog_bytes: 1 << 20,
        network: NetworkPlan {
            latency_min_us: 0,
            latency_mean_us: 0,
            regions: None,
            loss_permille: 0,
            reorder_permille: 0,
        },
        clients,
        faults: vec![Fault { at_ms: START_MS, until_ms: START_MS + 1, kind: split }],
        load_ms: LOAD_MS,
        heal: Heal::All,
        bound_ms: 60_000,
        mutant: None,
        strong: None,
    }
}

fn drawn(rng: &mut Rng, number: u16) -> Command {
    match rng.below(6) {
        0 | 1 => set(number),
        2 => Command::Del { keys: vec![KEY.to_owned()] },
        3 | 4 => increment(number),
        _ => Command::Append { key: KEY.to_owned(), value: format!("+{number}") },
    }
}

fn set(number: u16) -> Command {
    Command::Set { key: KEY.to_owned(), value: format!("v{number}"), px: None }
}

fn increment(number: u16) -> Command {
    Command::IncrBy { key: KEY.to_owned(), delta: 10i64.pow(u32::from(number % 12)) }
}
