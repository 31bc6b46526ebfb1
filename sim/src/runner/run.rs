//! One run: plan in, verdict out.

use std::collections::BTreeSet;

use quorate::base::time::Span;

use super::book::Line;
use super::judge;
use super::outcome::{Counts, Outcome};
use super::player::Player;
use crate::check::{Property, Verdict, Violation};
use crate::decide::Decisions;
use crate::plan::{FaultClass, LimitsPlan, Plan};
use crate::strong;
use crate::time::Time;
use crate::trace::Recorder;
use crate::workload::history;
use crate::workload::resp::Reply;

/// Events after which a run is given up as undecided.
const EVENTS_MAX: u64 = 30_000_000;

/// How to run.
#[derive(Copy, Clone, Debug, Default)]
pub struct Options {
    pub traced: bool,
    /// Stop at this simulated time, whatever has been decided by then.
    pub until: Option<Time>,
}

/// A run's outcome and its trace, if one was asked for.
#[derive(Debug)]
pub struct Played {
    pub outcome: Outcome,
    pub trace: Vec<Line>,
}

/// Plays a plan to its end and judges it: a pure function of the plan.
pub fn run_plan(plan: &Plan, options: Options) -> Played {
    run_taped(plan, options, None)
}

/// The same, written down on a tape for whoever wants to look at it; nothing else is different.
pub fn run_taped(plan: &Plan, options: Options, tape: Option<&Recorder>) -> Played {
    if plan.strong.is_some() {
        let decisions = Decisions::from_seed(plan.seed);
        let played = strong::play(plan, options.traced, options.until, decisions);
        return Played { outcome: played.outcome, trace: played.trace };
    }
    let mut player = Player::new(plan, options.traced, tape, Decisions::from_seed(plan.seed));
    let outcome = run_player(&mut player, options);
    if let Some(tape) = tape {
        tape.with(|tape| tape.reached(player.world.now()));
    }
    Played { outcome, trace: player.book.trace.take().unwrap_or_default() }
}

/// Plays what a player was set up for and judges it.
pub(super) fn run_player(player: &mut Player<'_>, options: Options) -> Outcome {
    let verdict = decide(player, options.until.unwrap_or(Time::NEVER));
    outcome_of(player, verdict)
}

/// What is left of a run that has ended with this verdict.
pub(super) fn outcome_of(player: &Player<'_>, verdict: Verdict) -> Outcome {
    Outcome {
        seed: player.plan.seed,
        verdict,
        digest: player.world.digest(),
        counts: count(player),
        labels: player.book.labels,
    }
}

fn decide(player: &mut Player<'_>, until: Time) -> Verdict {
    player.play_load(until);
    if let Some(verdict) = early(player, until) {
        return verdict;
    }
    converge(player, until)
}

/// The second phase: the load ends, what the plan says heals, and the core must converge.
pub(super) fn converge(player: &mut Player<'_>, until: Time) -> Verdict {
    player.heal();
    let deadline = player.world.now() + Span::from_ms(player.plan.bound_ms);
    let poll = match player.plan.limits {
        LimitsPlan::Short => Span::from_ms(50),
        LimitsPlan::Tiny | LimitsPlan::Production => Span::from_ms(250),
    };
    loop {
        if let Some(verdict) = early(player, until) {
            return verdict;
        }
        if judge::has_converged(player) {
            break;
        }
        if player.world.now() >= deadline {
            return Verdict::Violated(judge::stuck(player));
        }
        let next = (player.world.now() + poll).min(until);
        player.run(next);
    }
    player.say(|| "the core has converged".to_owned());
    if let Some(violation) = judge::all_but_memory(player) {
        return Verdict::Violated(violation);
    }
    if !player.plan.heals_all() {
        return Verdict::Ok;
    }
    let deadline = player.world.now() + judge::collection_bound(player.plan);
    loop {
        // A command that was long on its way may have come after all.
        let left = judge::uncollected(player);
        if left.is_none() && judge::has_converged(player) {
            break;
        }
        if let Some(verdict) = early(player, until) {
            return verdict;
        }
        if player.world.now() >= deadline {
            let property = Property::BoundedMemory;
            return Verdict::Violated(match left {
                Some(left) => {
                    let evidence = format!("{left}; {}", judge::held_back(player));
                    Violation { property, evidence }
                }
                // It had converged, and does not any more.
                None => judge::stuck(player),
            });
        }
        let next = (player.world.now() + poll).min(until);
        player.run(next);
    }
    // What was collected must not have been needed.
    match judge::merged(player).or_else(|| player.book.ledger.violations.first().cloned()) {
        Some(violation) => Verdict::Violated(violation),
        None => Verdict::Ok,
    }
}

/// A verdict that need not wait for the end.
pub(super) fn early(player: &mut Player<'_>, until: Time) -> Option<Verdict> {
    if let Some(evidence) = player.broken.take() {
        let property = if evidence.contains("stopped by itself") {
            Property::NodeInvariant
        } else {
            Property::Sessions
        };
        return Some(Verdict::Violated(Violation { property, evidence }));
    }
    if let Some(violation) = player.book.ledger.violations.first() {
        return Some(Verdict::Violated(violation.clone()));
    }
    if player.world.now() >= until {
        let budget = format!("stopped at {} as asked", until);
        return Some(Verdict::Undecided { budget });
    }
    let events = player.world.stats().events;
    (events > EVENTS_MAX)
        .then(|| Verdict::Undecided { budget: format!("{events} events without a verdict") })
}

fn count(player: &Player<'_>) -> Counts {
    let stats = player.world.stats();
    let mut counts = player.book.counts;
    counts.deliveries = stats.deliveries;
    counts.simulated_ms = player.world.now().as_ms();
    counts.commands = player.plan.commands() as u64;
    counts.sendings = player.history.attempts.len() as u64;
    let (mut named, mut keys) = (0u64, BTreeSet::new());
    for attempt in &player.history.attempts {
        match &attempt.outcome {
            history::Outcome::Replied(Reply::Error(_)) => counts.refused += 1,
            history::Outcome::Replied(_) => counts.answered += 1,
            history::Outcome::InDoubt => counts.in_doubt += 1,
        }
        let command = &player.plan.clients[attempt.client].steps[attempt.command].command;
        for key in command.keys() {
            named += 1;
            keys.insert(key);
        }
    }
    counts.per_key = named / (keys.len() as u64).max(1);
    counts.units = player.book.ledger.units.len() as u64;
    counts.conflicts = player.book.ledger.conflicts;
    counts.peer_bytes_hit = u64::from(stats.peer_bytes_lost + stats.peer_bytes_delayed > 0);
    counts.concurrent_writes = u64::from(player.book.ledger.is_concurrent());
    counts.whole_healed = u64::from(player.plan.heals_all());
    for (class, seen) in FaultClass::ALL.iter().zip(&mut counts.faults) {
        *seen = u64::from(player.plan.faults.iter().any(|f| f.kind.class() == *class));
    }
    counts
}
