//! Property tests over plans: those that fail are made smaller.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use quorate::base::mutant::Mutant;
use quorate_sim::check::{Property, Verdict};
use quorate_sim::look::command_of;
use quorate_sim::plan::{Plan, Profile};
use quorate_sim::runner::campaign::guarded;
use quorate_sim::runner::run::{Options, run_plan};
use quorate_sim::shrink::strategy::plans;

/// What a plan's run breaks.
fn broken(plan: &Plan) -> Option<Property> {
    match guarded(plan.seed, &|_| run_plan(plan, Options::default()).outcome).verdict {
        Verdict::Violated(violation) => Some(violation.property),
        Verdict::Ok | Verdict::Undecided { .. } => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plans_of_any_seed_hold(plan in plans(Profile::Smoke, 0..1000, None)) {
        // The plan that is printed may be a part of the seed's.
        prop_assert_eq!(broken(&plan), None, "{}", command_of(&plan));
    }
}

#[test]
fn a_failing_plan_is_made_so_small_that_no_command_can_go() {
    let config =
        ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let all = plans(Profile::Smoke, 0..1000, Some(Mutant::SeenListIgnored));
    let fails = |plan: &Plan| broken(plan) == Some(Property::Counters);
    let error = runner
        .run(&all, |plan| {
            prop_assert!(!fails(&plan));
            Ok(())
        })
        .expect_err("the fault is found");
    let TestError::Fail(_, plan) = error else { panic!("{error}") };
    assert!(fails(&plan), "it is the last plan that failed");
    assert_eq!(broken(&Plan { mutant: None, ..plan.clone() }), None);
    assert!(plan.commands() <= 8, "{} commands", plan.commands());
    for client in 0..plan.clients.len() {
        for step in 0..plan.clients[client].steps.len() {
            let mut smaller = plan.clone();
            let gone = smaller.clients[client].steps.remove(step);
            // As when a plan is made smaller: the others are sent when they were.
            if let Some(next) = smaller.clients[client].steps.get_mut(step) {
                next.wait_ms += gone.wait_ms;
            }
            assert!(!fails(&smaller), "{} can go", gone.command);
        }
    }
}
