use quorate::base::mutant::Mutant;

use super::cli::text;
use super::{Curve, Effort, NotFailing, Point, likelihood};
use crate::plan::{Plan, Profile};
use crate::runner::task::Task;
use crate::time::Time;

const EFFORT: Effort = Effort { points: 8, redraws: 4, jobs: 2 };

/// The first seed of smoke that the mutant makes fail, and that holds without it.
fn failing_plan(mutant: Mutant) -> Plan {
    let with = |mutant: Option<Mutant>, seed| {
        let mutant = mutant.map(|m| m.name().to_owned());
        Plan { mutant, ..Plan::generate(Profile::Smoke, seed) }
    };
    let holds = |plan: &Plan| Task::of(plan).run(false).outcome.verdict.is_ok();
    let fails = |seed: &u64| !holds(&with(Some(mutant), *seed)) && holds(&with(None, *seed));
    with(Some(mutant), (0..2000).find(fails).expect("some seed catches it"))
}

fn curve(plan: &Plan, effort: Effort) -> Curve {
    likelihood(&Task::of(plan), effort).expect("it fails")
}

fn point(made: usize, same: u32) -> Point {
    Point { at: Time(made as u64), made, same, held: 16 - same, ..Point::default() }
}

#[test]
fn from_the_end_on_a_run_always_fails_and_from_the_beginning_no_more_often() {
    for mutant in [Mutant::SeenListIgnored, Mutant::ClockIgnoresReceived] {
        let plan = failing_plan(mutant);
        let curve = curve(&plan, EFFORT);
        let (first, last) = (curve.points[0], curve.points[curve.points.len() - 1]);
        assert_eq!((first.made, last.made), (0, curve.choices));
        assert_eq!(last.same, EFFORT.redraws, "the whole run was replayed");
        assert!(first.same <= last.same);
        assert!(curve.points.is_sorted_by(|a, b| a.made < b.made && a.at <= b.at));
        if let Some([before, after]) = curve.sealed {
            assert!(before.same < EFFORT.redraws && after.same == EFFORT.redraws);
        }
        if let Some(step) = curve.step {
            assert!(step.low < step.high && step.before.made < step.after.made);
        }
    }
}

#[test]
fn the_curve_does_not_depend_on_the_number_of_threads() {
    let plan = failing_plan(Mutant::SeenListIgnored);
    let told = [1, 3].map(|jobs| {
        let curve = curve(&plan, Effort { jobs, ..EFFORT });
        let json = serde_json::to_string(&curve.to_json()).expect("plain data");
        (text(&curve, &|_| Vec::new(), "cargo sim replay"), json)
    });
    assert_eq!(told[0], told[1]);
}

#[test]
fn a_run_that_holds_has_no_curve() {
    let plan = Plan::generate(Profile::Smoke, 1);
    assert_eq!(likelihood(&Task::of(&plan), EFFORT).err(), Some(NotFailing::Holds));
}

#[test]
fn the_step_is_where_two_levels_fit_best() {
    let points = [(0, 1), (10, 0), (20, 2), (30, 14), (40, 16), (50, 15)].map(|(m, s)| point(m, s));
    let step = super::curve::step_of(&points).expect("a step");
    assert_eq!((step.before.made, step.after.made), (20, 30));
    let part = [point(20, 2), point(22, 3), point(25, 1), point(27, 12), point(30, 14)];
    let closer = super::curve::edge(&part, step);
    assert_eq!((closer.before.made, closer.after.made), (25, 27));
    let flat = [point(0, 15), point(10, 16), point(20, 16)];
    assert_eq!(super::curve::step_of(&flat), None);
    assert_eq!(super::curve::sealed(&points).map(|[a, b]| (a.made, b.made)), None);
    assert_eq!(super::curve::sealed(&flat).map(|[a, b]| (a.made, b.made)), Some((0, 10)));
}
