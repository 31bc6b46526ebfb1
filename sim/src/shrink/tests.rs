use std::time::Duration;

use quorate::base::mutant::Mutant;

use super::convert::draft_of;
use super::draft::time_text;
use super::{Shrunk, shrink_plan};
use crate::check::Property;
use crate::plan::{Plan, Profile};
use crate::runner::deeds::record_plan;
use crate::scenario::ast::{Scenario, What};
use crate::scenario::outcome::Verdict;
use crate::scenario::parse::parse;
use crate::scenario::run_text;

const LINES_MAX: usize = 25;

fn read(text: &str) -> Scenario {
    parse(text).unwrap_or_else(|e| panic!("line {}: {e} in\n{text}", e.line))
}

#[test]
fn the_draft_of_any_run_is_a_file_that_says_the_same() {
    for (profile, seeds) in [(Profile::Smoke, 0..12), (Profile::Active, 0..6)] {
        for seed in seeds {
            let plan = Plan::generate(profile, seed);
            let recorded = record_plan(&plan);
            for property in [Property::Convergence, Property::BoundedMemory] {
                let draft = draft_of(&plan, &recorded, property, format!("Seed {seed}."));
                let text = draft.text();
                let scenario = read(&text);
                assert_eq!(scenario.limits, plan.limits);
                assert_eq!(scenario.hosts.len(), plan.nodes.len());
                let printed: Vec<&str> = text.lines().collect();
                for step in &scenario.steps {
                    assert_eq!(step.text, printed[step.line - 1]);
                    if let What::At { at, .. } = step.what {
                        let shown = format!("at {} ", time_text(at.as_micros() as u64));
                        assert!(step.text.starts_with(&shown), "{shown}: {}", step.text);
                    }
                }
            }
        }
    }
}

/// Runs of plans that hold are files that hold: what the file says is judged as the plan's run is.
#[test]
fn the_drafts_of_runs_that_hold_hold() {
    for seed in 0..20 {
        let plan = Plan::generate(Profile::Smoke, seed);
        let recorded = record_plan(&plan);
        let draft = draft_of(&plan, &recorded, Property::Convergence, format!("Seed {seed}."));
        let verdict = run_text(&draft.text(), 0, None);
        assert!(matches!(verdict, Verdict::Held(_)), "{verdict:?} of\n{}", draft.text());
    }
}

fn shrunk(seed: u64, mutant: Mutant) -> Shrunk {
    let mutant = Some(mutant.name().to_owned());
    let plan = Plan { mutant, ..Plan::generate(Profile::Smoke, seed) };
    shrink_plan(&plan, Duration::from_secs(600), true).expect("it fails, and a file does too")
}

#[track_caller]
fn fails_with_the_mutant_only(shrunk: &Shrunk, mutant: Mutant, property: Property) {
    let text = &shrunk.text;
    let lines = text.lines().count();
    assert!(lines <= LINES_MAX, "{lines} lines:\n{text}");
    assert_eq!((shrunk.property, shrunk.shows), (property, property));
    let Verdict::Failed(failure) = run_text(text, 0, Some(mutant)) else {
        panic!("holds with the mutant:\n{text}")
    };
    assert_eq!(failure.property, Some(property), "{text}");
    let sound = run_text(text, 0, None);
    assert!(matches!(sound, Verdict::Held(_)), "{sound:?} of\n{text}");
}

#[test]
fn a_tie_not_broken_is_shrunk_to_a_few_lines() {
    let shrunk = shrunk(507, Mutant::TieKeepsHeld);
    fails_with_the_mutant_only(&shrunk, Mutant::TieKeepsHeld, Property::Convergence);
    assert!(!shrunk.cut_short);
}

/// What only the answers of clients show.
#[test]
fn a_write_that_its_writer_cannot_see_is_shrunk_to_a_few_lines() {
    let shrunk = shrunk(0, Mutant::ClockIgnoresReceived);
    fails_with_the_mutant_only(&shrunk, Mutant::ClockIgnoresReceived, Property::Sessions);
}

#[test]
fn shrinking_the_same_seed_gives_the_same_file() {
    let both = [0, 1].map(|_| shrunk(0, Mutant::SeenListIgnored));
    assert_eq!(both[0], both[1]);
    fails_with_the_mutant_only(&both[0], Mutant::SeenListIgnored, Property::Counters);
}
