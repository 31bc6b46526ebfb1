//! Judges a world whose load has ended: what the core must have reached, and why it has not.

use std::fmt::Write as _;

use quorate::base::time::{Span, UnixMs};
use quorate::base::vector::Vector;
use quorate::node::Inspection;

use super::members::{Member, lagging, members};
use super::player::{Player, name_of};
use super::waits::Waits;
use crate::check::loss::{Keeps, lost_though_durable, lost_unit};
use crate::check::sessions::{match_units, stale_read};
use crate::check::{Property, Violation};
use crate::model::key::{short_time, show, show_cell};
use crate::model::ledger::BootId;
use crate::model::merge::{Coverage, Expected, NodeView, Shown, dishonest_list};
use crate::plan::{Fault, FaultKind, LogPlan, Plan};

/// Heartbeats that collecting may take once everything has converged.
const HEARTBEATS_TO_COLLECT: u64 = 40;

/// What is written is on the device that much later, if the disk is well: a second after the sync before, and what that, the
/// sync itself and a snapshot between them take.
const EVERY_SEC: Span = Span::from_ms(1250);
const NOW_AND_THEN: Span = Span::from_ms(30_250);

/// So many boots that wrote under a shared origin are taken into account.
const SHARERS_MAX: usize = 6;

/// Whether the core shows one and the same data, all of it has all that any of it has, and nobody holds what the others
/// are not about to get.
pub fn has_converged(player: &Player<'_>) -> bool {
    let Some(members) = members(player) else { return false };
    let digest = members[0].inspection.digest;
    members.iter().all(|m| m.inspection.digest == digest)
        && members.iter().all(|m| !m.inspection.unlogged)
        && lagging(player, &members).next().is_none()
        && (!player.plan.heals_all()
            || members
                .iter()
                .all(|m| m.inspection.masters_up == m.inspection.masters && !m.inspection.joins))
}

/// Why the core has not converged within its bound: what waits for what, and what every member has.
pub fn stuck(player: &Player<'_>) -> Violation {
    let property = Property::Convergence;
    let bound = player.plan.bound_ms / 1000;
    let mut evidence = format!("the core has not converged within {bound} s;");
    let Some(members) = members(player) else {
        let down = player.plan.core().into_iter().filter(|&host| player.boot(host).is_none());
        let down: Vec<String> = down.map(name_of).collect();
        let _ = write!(evidence, " {} of the core does not run", down.join(", "));
        return Violation { property, evidence };
    };
    let waits = Waits::new(player, &members);
    let _ = write!(evidence, " {};", waits.headline());
    for line in waits.lines() {
        let _ = write!(evidence, "\n  {line}");
    }
    for member in &members {
        let i = &member.inspection;
        let vector = i.vector.iter().map(|(o, t)| format!("{o} {}", short_time(t)));
        let _ = write!(
            evidence,
            "\n  {}: digest {:016x}, {} of {} masters up, horizon {}, vector [{}]",
            name_of(member.host),
            i.digest,
            i.masters_up,
            i.masters,
            short_time(i.collected),
            vector.collect::<Vec<_>>().join(", ")
        );
    }
    if let Some(differs) = compared(player, &members) {
        let _ = write!(evidence, "\n  {}", differs.evidence);
    }
    let key = evidence.split("for key \"").nth(1).and_then(|rest| rest.split('"').next());
    let key = key.map(str::to_owned);
    for member in &members {
        let id = player.hosts[member.host as usize];
        let Some(machine) = player.world.machine(id) else { continue };
        let _ = write!(evidence, "\n  {} holds", name_of(member.host));
        for cell in machine.node.cells() {
            let name = String::from_utf8_lossy(&cell.key);
            if key.as_deref().is_none_or(|key| key == name) {
                let stamp = show(cell.stamp.unwrap_or_default());
                let _ = write!(evidence, " [{name} {stamp} {}]", show_cell(&cell.cell));
            }
        }
    }
    Violation { property, evidence }
}

/// All checks on a converged core but the bound on memory.
pub fn all_but_memory(player: &mut Player<'_>) -> Option<Violation> {
    for host in 0..player.hosts.len() as u16 {
        player.learn_accepted(host);
    }
    for boot in player.book.boots.clone().into_iter().flatten() {
        player.book.ledger.end_alone(boot);
    }
    let ledger = &player.book.ledger;
    let plan = player.plan;
    let command_of = |client: usize, command: usize| &plan.clients[client].steps[command].command;
    let matched = match match_units(ledger, &player.history, &command_of) {
        Ok(matched) => matched,
        Err(violation) => return Some(violation),
    };
    let members = members(player)?;
    let core: Vec<BootId> = members.iter().filter(|m| !m.replica).map(|m| m.boot).collect();
    let coverage = Coverage::new(ledger, had_by(&members));
    let keeps = |host: u16| {
        let is_master = members.iter().any(|member| member.host == host && !member.replica);
        if is_master { kept_by(player, host) } else { Keeps::Nothing }
    };
    stale_read(ledger, &player.history, &matched, &command_of)
        .or_else(|| dishonest_list(ledger))
        .or_else(|| lost_unit(ledger, &player.history, &matched, &coverage, &core))
        .or_else(|| lost_though_durable(ledger, &player.history, &matched, &coverage, &keeps))
        .or_else(|| compared(player, &members))
}

/// What a host must have kept.
fn kept_by(player: &Player<'_>, host: u16) -> Keeps {
    let disk = &player.disks[host as usize];
    let after = disk.spoilt_until.unwrap_or(0);
    let paused = |fault: &Fault| matches!(fault.kind, FaultKind::Pause { host: h } if h == host);
    let regular = !disk.irregular && !player.plan.faults.iter().any(paused);
    match player.plan.nodes[host as usize].log {
        Some(LogPlan::Always) => Keeps::All { after },
        Some(LogPlan::EverySec) if regular => Keeps::Older { after, than: EVERY_SEC.0 },
        Some(LogPlan::No) if regular => Keeps::Older { after, than: NOW_AND_THEN.0 },
        Some(LogPlan::EverySec | LogPlan::No) | None => Keeps::Nothing,
    }
}

/// Whether every node of the core shows what the reference merge gives.
pub fn merged(player: &Player<'_>) -> Option<Violation> {
    compared(player, &members(player)?)
}

fn had_by(members: &[Member]) -> Vector {
    let mut had = Vector::new();
    for member in members.iter().filter(|m| !m.replica) {
        had.merge(&member.inspection.vector);
    }
    had
}

fn compared(player: &Player<'_>, members: &[Member]) -> Option<Violation> {
    let ledger = &player.book.ledger;
    // Of two nodes that wrote under one origin one may have ended before anybody had its writes: no vector tells.
    let sharers: Vec<BootId> = ledger.ended_sharers().into_iter().take(SHARERS_MAX).collect();
    let mut first = None;
    for choice in 0..1usize << sharers.len() {
        let lost = (0..sharers.len()).filter(|at| choice >> at & 1 == 1).map(|at| sharers[at]);
        let lost: Vec<BootId> = lost.collect();
        let coverage = Coverage::new(ledger, had_by(members)).without(ledger, &lost);
        let violation = compared_with(player, members, &Expected::new(ledger, &coverage))?;
        first.get_or_insert(violation);
    }
    first
}

/// Whether every one of them shows what is expected.
fn compared_with(
    player: &Player<'_>,
    members: &[Member],
    expected: &Expected,
) -> Option<Violation> {
    let ledger = &player.book.ledger;
    let clock = expiry_clocks(player);
    // One that stays away may have had no time to give its keys their floor.
    let joins = !player.plan.heals_all() || members.iter().any(|m| m.inspection.joins);
    members.iter().find_map(|member| {
        let id = player.hosts[member.host as usize];
        let machine = player.world.machine(id)?;
        let visible = machine.node.visible(player.world.now_at(id));
        let keys = visible
            .into_iter()
            .map(|v| Shown { db: v.db, key: v.key, value: v.value, deadline: v.deadline })
            .collect();
        expected.compare(ledger, &NodeView { name: name_of(member.host), keys, clock, joins })
    })
}

/// Between which times all expiry clocks stand: they follow wall clocks, or those of their peers, and
/// never step back.
fn expiry_clocks(player: &Player<'_>) -> (UnixMs, UnixMs) {
    let slack = 1000 + player.plan.steps_ms();
    let walls = || player.hosts.iter().map(|&h| player.world.now_at(h).wall.ms().0);
    let low = walls().min().unwrap_or(0).saturating_sub(slack);
    let high = walls().max().unwrap_or(0) + slack;
    (UnixMs(low), UnixMs(high))
}

/// How long after convergence everything that can be collected must be.
pub fn collection_bound(plan: &Plan) -> Span {
    let period = plan.limits.limits().ping_period.as_ms();
    // What is announced has been synced.
    let syncs = plan.nodes.iter().map(|node| match node.log {
        None | Some(LogPlan::Always) => 0,
        Some(LogPlan::EverySec) => 3000,
        Some(LogPlan::No) => 35_000,
    });
    let skew = 2 * (plan.offset_max_ms() + plan.steps_ms());
    Span::from_ms(HEARTBEATS_TO_COLLECT * period + skew + syncs.max().unwrap_or(0))
}

/// What a member still holds that it should have let go.
pub fn uncollected(player: &Player<'_>) -> Option<String> {
    members(player)?.into_iter().find_map(|member| {
        let Inspection { stats, backlog_bytes, .. } = member.inspection;
        let name = name_of(member.host);
        if backlog_bytes > player.plan.backlog_bytes {
            let bound = player.plan.backlog_bytes;
            return Some(format!("{name}: backlog of {backlog_bytes} bytes, {bound} allowed"));
        }
        (stats.tombstones + stats.hidden > 0).then(|| {
            format!(
                "{name}: {} tombstones and {} expired keys are left",
                stats.tombstones, stats.hidden
            )
        })
    })
}

/// What holds the horizon of the core back, and with it whatever is to be collected.
pub fn held_back(player: &Player<'_>) -> String {
    match members(player) {
        Some(members) => Waits::new(player, &members).horizon(),
        None => "a host of the core does not run".to_owned(),
    }
}
