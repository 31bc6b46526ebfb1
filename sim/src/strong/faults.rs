//! What faults do to a world of a strong cluster.

use quorate::node::Node;

use super::player::{config_of, ip_of};
use crate::clock::ClockChange;
use crate::disk::DiskFaults;
use crate::ids::HostId;
use crate::plan::{FaultKind, Plan};
use crate::world::World;

/// The fault begins, or ends.
pub fn fault(world: &mut World<Node>, plan: &Plan, kind: &FaultKind, begins: bool) {
    let edit = if begins { "-A" } else { "-D" };
    match *kind {
        FaultKind::DropIn { at, from } => {
            rule(world, at, &format!("{edit} INPUT -s {} -j DROP", ip_of(from)));
        }
        FaultKind::DropOut { at, to } => {
            rule(world, at, &format!("{edit} OUTPUT -d {} -j DROP", ip_of(to)));
        }
        FaultKind::Split { ref left, ref right } => {
            for &a in left {
                for &b in right {
                    rule(world, a, &format!("{edit} INPUT -s {} -j DROP", ip_of(b)));
                    rule(world, b, &format!("{edit} INPUT -s {} -j DROP", ip_of(a)));
                }
            }
        }
        FaultKind::Crash { host, power } => {
            let at = HostId(host);
            if begins {
                if power { world.crash(at) } else { world.kill(at) }
            } else {
                start(world, plan, host);
            }
        }
        FaultKind::Pause { host } => {
            let at = HostId(host);
            if begins { world.pause(at) } else { world.resume(at) }
        }
        FaultKind::Step { host, by_ms } => {
            if begins {
                world.clock(HostId(host), ClockChange::StepWall(by_ms * 1_000_000));
            }
        }
        FaultKind::Reset { a, b } => {
            for (at, from) in [(a, b), (b, a)] {
                let from = ip_of(from);
                let line =
                    format!("{edit} INPUT -p tcp -s {from} -j REJECT --reject-with tcp-reset");
                rule(world, at, &line);
            }
        }
        FaultKind::SlowDisk { host, times } => {
            let faults = if begins {
                DiskFaults { slower_by: times, ..DiskFaults::default() }
            } else {
                DiskFaults::default()
            };
            world.set_disk_faults(HostId(host), faults);
        }
        FaultKind::Reject { .. }
        | FaultKind::Lossy { .. }
        | FaultKind::Slow { .. }
        | FaultKind::DeafClients { .. }
        | FaultKind::Newcomer { .. }
        | FaultKind::Unfollow { .. }
        | FaultKind::Refollow { .. }
        | FaultKind::Twin { .. }
        | FaultKind::Memory { .. }
        | FaultKind::Garbage { .. }
        | FaultKind::Full { .. }
        | FaultKind::SyncFails { .. }
        | FaultKind::Rot { .. }
        | FaultKind::OlderImage { .. } => unreachable!("no plan of a strong cluster has it"),
    }
}

/// Everything that was broken is whole again.
pub fn heal(world: &mut World<Node>, plan: &Plan) {
    world.heal_network();
    for host in 0..plan.nodes.len() as u16 {
        world.set_disk_faults(HostId(host), DiskFaults::default());
        world.resume(HostId(host));
        start(world, plan, host);
    }
}

/// Starts a process where none runs.
fn start(world: &mut World<Node>, plan: &Plan, host: u16) {
    let at = HostId(host);
    if world.machine(at).is_none() {
        world.start(at, config_of(plan, host));
    }
}

fn rule(world: &mut World<Node>, host: u16, line: &str) {
    // Taking away a rule that another fault's end has taken already is no error here.
    let _ = world.iptables(HostId(host), line);
}
