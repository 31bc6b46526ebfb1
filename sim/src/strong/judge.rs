//! Verdicts on runs of strong clusters: by what clients saw, and by who serves what in the end.

use quorate::base::ids::Partition;
use quorate::node::Node;
use quorate::strong::{Strong, VoterSet, may_decide};

use crate::check::{Property, Verdict, Violation};
use crate::ids::HostId;
use crate::linear::check::{Budget, Specification};
use crate::linear::history::{Event, Function, History, Stage};
use crate::linear::{self, Verdict as Linear};
use crate::plan::{FaultClass, LogPlan, Plan};
use crate::world::World;

/// Configurations that a judge looks at before he gives up.
const STATES_MAX: u64 = 4_000_000;

/// Whether what clients saw is one copy's.
pub fn linearizable(history: &History) -> Verdict {
    let budget = Budget { states_max: STATES_MAX, bytes_max: 512 << 20, stop: &|| false };
    let property = Property::Linearizability;
    match linear::check(history, Specification::Kv, &budget) {
        Err(impossible) => {
            let evidence = format!("the history is none: {impossible:?}");
            Verdict::Violated(Violation { property, evidence })
        }
        Ok(report) => match report.verdict {
            Linear::Ok => Verdict::Ok,
            Linear::Violated(evidence) => {
                let evidence = format!("{evidence:?}");
                Verdict::Violated(Violation { property, evidence })
            }
            Linear::Undecided(undecided) => Verdict::Undecided { budget: format!("{undecided:?}") },
        },
    }
}

/// Whether a node has lost its disk, or was given an older one: it does not vote any more, and is not re-admitted yet.
pub fn lacks_a_disk(plan: &Plan) -> bool {
    plan.has_fault(FaultClass::Rot) || plan.has_fault(FaultClass::OlderImage)
}

/// With all nodes back every partition is served by its roster-master, and all its roster-replicas are in sync.
///
/// Where the end of a log may be lost with its process nobody may be left with everything that was acknowledged: such a
/// partition stays unavailable.
///
/// # Errors
/// What is not as it should be.
pub fn available(world: &World<Node>, plan: &Plan) -> Result<(), String> {
    let all: Vec<&Strong> = (0..plan.nodes.len() as u16)
        .filter_map(|host| world.machine(HostId(host)).and_then(Node::strong))
        .collect();
    if all.len() < plan.nodes.len() {
        return Err("a node does not run".to_owned());
    }
    let always = plan.nodes.iter().all(|node| node.log == Some(LogPlan::Always));
    let crashes = plan.has_fault(FaultClass::Crash);
    let newest = all.iter().max_by_key(|strong| strong.standing().map(|s| s.version));
    let Some(newest) = newest.filter(|newest| newest.standing().is_some()) else {
        return Err("no roster".to_owned());
    };
    let Some((succession, standing)) = newest.succession().zip(newest.standing()) else {
        return Err("no roster".to_owned());
    };
    if newest.moving() > 0 && (always || !crashes) {
        let late = (0..newest.partition_count()).map(Partition).find(|&of| !newest.has_arrived(of));
        let told: String =
            late.iter().flat_map(|&of| all.iter().map(move |s| s.told(of))).collect();
        let moving = newest.moving();
        return Err(format!(
            "{moving} partitions have not come to the newest roster, {late:?}:{told}"
        ));
    }
    let nodes = standing.now.roster.nodes();
    for at in 0..all[0].partition_count() {
        let of = Partition(at);
        let order = succession.order(of);
        // (A check of the rule on the way: all of the roster may decide.)
        assert!(may_decide(VoterSet::all(nodes.len()), order, succession.copies()));
        let replicas: Vec<_> =
            succession.replicas(of).iter().map(|&place| nodes[usize::from(place)].name).collect();
        let masters: Vec<&&Strong> = all.iter().filter(|strong| strong.serves(of)).collect();
        let [master] = masters[..] else {
            if masters.is_empty() && !always && crashes {
                continue;
            }
            let told: String = all.iter().map(|strong| strong.told(of)).collect();
            return Err(format!("{of:?} is served by {} nodes:{told}", masters.len()));
        };
        let named = &master.chosen(of).isr;
        if let Some(gone) = named.iter().find(|member| !all.iter().any(|s| s.is_member(member))) {
            return Err(format!(
                "{of:?} is served with {gone:?}, which is not there:{}",
                all.iter().map(|strong| strong.told(of)).collect::<String>()
            ));
        }
        let mut isr: Vec<_> = master.chosen(of).isr.iter().map(|member| member.name).collect();
        let mut wanted = replicas.clone();
        isr.sort_unstable();
        wanted.sort_unstable();
        if master.name() != replicas[0] || isr != wanted {
            return Err(format!(
                "{of:?} is served by {:?} with {isr:?}, expected {:?} with {wanted:?}:{}",
                master.name(),
                replicas[0],
                all.iter().map(|strong| strong.told(of)).collect::<String>()
            ));
        }
    }
    Ok(())
}

/// Whether two writes to one key were under way at once.
pub fn overlaps(events: &[Event]) -> bool {
    let mut open: Vec<(u64, &Event)> = Vec::new();
    for event in events {
        if event.function == Function::Get {
            continue;
        }
        if event.stage == Stage::Invoke {
            if open.iter().any(|(_, other)| other.key == event.key) {
                return true;
            }
            open.push((event.process.0, event));
        } else {
            open.retain(|(process, _)| *process != event.process.0);
        }
    }
    false
}
