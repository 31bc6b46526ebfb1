//! Seeds as a campaign runs them.

use std::ops::Range;

use quorate_sim::check::Verdict;
use quorate_sim::plan::{Plan, Profile};
use quorate_sim::runner::run::{Options, run_plan};

/// Runs all of them; how many.
///
/// # Panics
/// If one does not hold.
pub fn play(seeds: Range<u64>) -> u64 {
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let plan = Plan::generate(Profile::Smoke, seed);
        let outcome = run_plan(&plan, Options::default()).outcome;
        assert!(matches!(outcome.verdict, Verdict::Ok), "seed {seed}: {:?}", outcome.verdict);
    }
    count
}
