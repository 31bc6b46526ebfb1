//! What faults do to a world of a strong cluster.

use std::collections::BTreeMap;

use quorate::base::ids::NodeId;
use quorate::node::Node;
use quorate::node::config::Identity;

use super::player::config_of;
use crate::clock::ClockChange;
use crate::disk::DiskFaults;
use crate::ids::HostId;
use crate::plan::{FaultKind, Plan};
use crate::runner::player::ip_of;
use crate::world::{Backup, World};

/// What disks held when a fault began that brings it back.
pub type Backups = BTreeMap<u16, Backup>;

/// The fault begins, or ends.
pub fn fault(
    world: &mut World<Node>,
    plan: &Plan,
    backups: &mut Backups,
    kind: &FaultKind,
    begins: bool,
) {
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
        FaultKind::OlderImage { host } => {
            let at = HostId(host);
            if begins {
                backups.insert(host, world.backup(at));
            } else if let Some(backup) = backups.remove(&host) {
                world.kill(at);
                world.restore(at, &backup);
                start(world, plan, host);
            }
        }
        // The directory is moved away: the node comes back with a new voter id.
        FaultKind::Rot { host, .. } => {
            let at = HostId(host);
            if begins {
                world.kill(at);
                world.wipe_log(at);
                let node_id = NodeId(!world.identity(at).node_id.0);
                world.set_identity(at, Identity { node_id, ..world.identity(at) });
            } else {
                start(world, plan, host);
            }
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
        | FaultKind::SyncFails { .. } => unreachable!("no plan of a strong cluster has it"),
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
