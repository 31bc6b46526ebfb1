//! `quorate-sim shrink`: what it prints, and its exit codes.

use std::path::Path;
use std::time::Duration;

use super::{NotShrunk, Shrunk, shrink_plan};
use crate::check::Verdict;
use crate::cli::{BAD_USAGE, HELD, UNDECIDED, VIOLATED};
use crate::plan::Plan;

/// Shrinks the run of a plan into a file. Like any other run of a failing seed it ends with 1; with 0 if the plan
/// holds and there is nothing to shrink.
pub fn shrink(plan: &Plan, output: &Path, time: Duration) -> u8 {
    let with = plan.mutant.as_ref().map_or(String::new(), |m| format!(" --mutant {m}"));
    match shrink_plan(plan, time, false) {
        Ok(shrunk) => written(&shrunk, output, &with),
        Err(NotShrunk::Holds(Verdict::Undecided { budget })) => {
            eprintln!("undecided: {budget}");
            UNDECIDED
        }
        Err(NotShrunk::Holds(Verdict::Ok | Verdict::Violated(_))) => {
            println!("seed {} holds{with}: there is nothing to shrink", plan.seed);
            HELD
        }
        Err(NotShrunk::Lost { property, unsayable }) => {
            let (seed, profile) = (plan.seed, plan.profile.name());
            eprintln!("violated: {}: but no scenario file does the same", property.name());
            if !unsayable.is_empty() {
                eprintln!("scenario files have no words for: {}", unsayable.join(", "));
            }
            eprintln!("cargo sim replay {seed} --profile {profile}{with}");
            UNDECIDED
        }
    }
}

fn written(shrunk: &Shrunk, output: &Path, with: &str) -> u8 {
    if let Err(error) = std::fs::write(output, &shrunk.text) {
        eprintln!("{}: {error}", output.display());
        return BAD_USAGE;
    }
    let file = output.display();
    print!("{}", shrunk.text);
    eprintln!("violated: {}", shrunk.property.name());
    if shrunk.shows != shrunk.property {
        eprintln!("the file shows it by another property: {}", shrunk.shows.name());
    }
    eprintln!("{file}: {} lines, {} files tried", shrunk.text.lines().count(), shrunk.tried);
    if shrunk.cut_short {
        eprintln!("the time was over before nothing more could go: --time gives it more");
    }
    if !with.is_empty() {
        eprintln!("cargo sim scenario {file}    # holds");
    }
    eprintln!("cargo sim scenario {file}{with}");
    VIOLATED
}
