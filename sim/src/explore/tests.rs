use std::collections::BTreeSet;

use quorate::base::mutant::Mutant;

use super::cli::explore;
use super::search::{Counts, Failed, Limits, Progress, Search};
use super::small::{Size, small_plan};
use crate::check::{Property, Verdict};
use crate::cli::{HELD, UNDECIDED, VIOLATED};
use crate::decide::Decisions;
use crate::digest::fingerprint;
use crate::plan::{Plan, Profile};
use crate::runner::ordered::{Bounds, Ordered};
use crate::runner::recording::Recording;
use crate::runner::task::Task;

fn limits(rounds: u32, delays: u32) -> Limits {
    Limits { bounds: Bounds { rounds, delays }, depth: usize::MAX }
}

fn plan(seed: u64, writes: u16, mutant: Option<Mutant>) -> Plan {
    let mutant = mutant.map(|m| m.name().to_owned());
    Plan { mutant, ..small_plan(Profile::Smoke, seed, Size { nodes: 2, writes }) }
}

fn to_the_end(search: &mut Search<'_>) -> Progress {
    loop {
        match search.go_on() {
            Progress::More => {}
            end @ (Progress::Failed(_) | Progress::Over { .. }) => return end,
        }
    }
}

fn exhausted(plan: &Plan, limits: Limits) -> Counts {
    let mut search = Search::new(plan, limits);
    assert_eq!(to_the_end(&mut search), Progress::Over { exhausted: true });
    *search.counts()
}

fn failed(plan: &Plan, limits: Limits) -> Failed {
    match to_the_end(&mut Search::new(plan, limits)) {
        Progress::Failed(failed) => failed,
        other @ (Progress::More | Progress::Over { .. }) => panic!("{other:?}"),
    }
}

/// Every order one after the other, without a look at states: how many there are, and the states at their ends.
fn one_by_one(plan: &Plan, bounds: Bounds) -> (u128, BTreeSet<u128>) {
    let (mut orders, mut ends) = (0, BTreeSet::new());
    let mut order: Vec<(u64, u64)> = Vec::new();
    loop {
        let decisions = Decisions::from_order(plan.seed, order.iter().map(|way| way.0));
        let mut run = Ordered::new(plan, bounds, decisions, false, None);
        let mut choices = 0;
        loop {
            let steps = run.choices();
            if steps.is_empty() {
                break;
            }
            if steps.len() > 1 {
                if choices == order.len() {
                    order.push((0, steps.len() as u64));
                }
                choices += 1;
            }
            run.choose(&steps);
        }
        assert_eq!(run.broken(), None);
        let mut text = String::new();
        run.write_state(&mut text);
        ends.insert(fingerprint(&text));
        orders += 1;
        while order.last().is_some_and(|(way, ways)| way + 1 == *ways) {
            order.pop();
        }
        match order.last_mut() {
            Some((way, _)) => *way += 1,
            None => return (orders, ends),
        }
    }
}

#[test]
fn states_met_again_leave_out_no_order_and_no_end() {
    for (seed, writes, rounds, delays) in [(0, 1, 0, 0), (0, 2, 0, 0), (0, 1, 1, 0)] {
        let plan = plan(seed, writes, None);
        let limits = limits(rounds, delays);
        let counts = exhausted(&plan, limits);
        let (orders, ends) = one_by_one(&plan, limits.bounds);
        assert_eq!(counts.orders, orders, "{writes} writes, {rounds} rounds, {delays} delays");
        assert_eq!(counts.ends, ends.len() as u64);
        assert!(u128::from(counts.runs) < orders || orders < 10, "{counts:?}");
    }
}

#[test]
fn two_nodes_three_writes_one_split_hold_in_every_order() {
    let counts = exhausted(&plan(0, 3, None), limits(0, 0));
    assert!(counts.orders > 4000 && counts.states > 200 && counts.ends > 50, "{counts:?}");
    // The same search again is the same.
    assert_eq!(exhausted(&plan(0, 3, None), limits(0, 0)), counts);
}

#[test]
fn faults_are_found_and_their_orders_hold_without_them() {
    for (mutant, property) in [
        (Mutant::TieKeepsHeld, Property::Convergence),
        (Mutant::TombstoneDropped, Property::Convergence),
        (Mutant::ClockIgnoresReceived, Property::Sessions),
    ] {
        let plan = plan(0, 3, Some(mutant));
        let limits = limits(0, 0);
        let failed = failed(&plan, limits);
        assert_eq!(failed.violation.property, property, "{}", mutant.name());
        let decisions = Decisions::from_order(plan.seed, failed.order.iter().copied());
        let order = Some(limits.bounds);
        let ran = Task { plan: &plan, order, decisions }.run(true);
        assert_eq!(ran.outcome.verdict, Verdict::Violated(failed.violation.clone()));
        // What was written down is the same order, and it holds without the fault.
        let mut recording = Recording::new(&plan, order, &ran.decisions);
        let again = Task::recorded(&recording).run(false).outcome;
        assert_eq!((again.verdict, again.digest), (ran.outcome.verdict, ran.outcome.digest));
        recording.plan.mutant = None;
        assert_eq!(Task::recorded(&recording).run(false).outcome.verdict, Verdict::Ok);
    }
}

#[test]
fn what_is_left_out_for_its_depth_or_time_is_said() {
    let plan = plan(0, 2, None);
    let bounds = Bounds { rounds: 0, delays: 0 };
    let cut = Limits { bounds, depth: 3 };
    assert_eq!(to_the_end(&mut Search::new(&plan, cut)), Progress::Over { exhausted: false });
    let whole = exhausted(&plan, limits(0, 0));
    let enough = Limits { bounds, depth: whole.choices_max };
    assert_eq!(exhausted(&plan, enough).orders, whole.orders);
    let (hour, none) = (std::time::Duration::from_secs(3600), std::time::Duration::ZERO);
    let nowhere = std::path::Path::new("/nonexistent/order.json");
    assert_eq!(explore(&plan, limits(0, 0), hour, nowhere), HELD);
    assert_eq!(explore(&plan, cut, hour, nowhere), UNDECIDED);
    assert_eq!(explore(&plan, limits(0, 0), none, nowhere), UNDECIDED);
}

#[test]
fn a_failing_order_is_written_down() {
    let plan = plan(0, 3, Some(Mutant::TombstoneDropped));
    let file = std::env::temp_dir().join(format!("quorate-explore-{}.json", std::process::id()));
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(explore(&plan, limits(0, 0), hour, &file), VIOLATED);
    let recording = Recording::read(&file).expect("it was written");
    std::fs::remove_file(&file).expect("it is there");
    let verdict = Task::recorded(&recording).run(false).outcome.verdict;
    assert!(matches!(verdict, Verdict::Violated(_)), "{verdict:?}");
}

#[test]
fn small_plans_have_the_size_asked_for() {
    for seed in 0..20 {
        for nodes in 2..4 {
            let plan = small_plan(Profile::Active, seed, Size { nodes, writes: 4 });
            assert_eq!((plan.nodes.len(), plan.commands()), (usize::from(nodes), 4));
            assert!(plan.clients.iter().all(|client| client.host < nodes));
        }
    }
}
