//! `quorate-sim mutants`: each deliberate fault must be found.

use quorate::base::mutant::Mutant;

use super::args::{cores, mutant};
use super::{HELD, VIOLATED, plan};
use crate::check::Verdict;
use crate::plan::Profile;
use crate::runner::campaign::Campaign;
use crate::runner::outcome::Outcome;
use crate::runner::run::{Options, run_plan};

/// Seeds within which every deliberate fault must be found.
const MUTANT_SEEDS: u64 = 5000;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this one
    #[arg(long, value_name = "NAME", value_parser = mutant)]
    only: Option<Mutant>,
}

pub fn run(args: Args) -> u8 {
    let Args { only } = args;
    let chosen: Vec<Mutant> =
        Mutant::ALL.into_iter().filter(|m| only.is_none_or(|o| o == *m)).collect();
    println!("{:<28} {:<10} {:>6}  {:<8} property", "mutant", "area", "seeds", "profile");
    let mut missed = 0;
    for mutant in chosen {
        let found = [Profile::Smoke, Profile::Active].into_iter().find_map(|profile| {
            let campaign = Campaign {
                seeds: 0..MUTANT_SEEDS,
                jobs: cores(),
                time: None,
                first_only: true,
                progress: true,
            };
            let run = |seed| {
                let faulty =
                    run_plan(&plan(profile, seed, Some(mutant)), Options::default()).outcome;
                if faulty.verdict.is_ok() {
                    return faulty;
                }
                // A seed that fails without the fault says nothing about it.
                let sound = run_plan(&plan(profile, seed, None), Options::default()).outcome;
                if sound.verdict.is_ok() {
                    faulty
                } else {
                    Outcome { verdict: Verdict::Ok, ..faulty }
                }
            };
            let report = campaign.run(&run);
            let worst = report.summary.worst()?.clone();
            match worst.verdict {
                Verdict::Violated(violation) => Some((worst.seed, profile, violation)),
                Verdict::Ok | Verdict::Undecided { .. } => None,
            }
        });
        match found {
            Some((seed, profile, violation)) => println!(
                "{:<28} {:<10} {:>6}  {:<8} {}",
                mutant.name(),
                mutant.area().name(),
                seed + 1,
                profile.name(),
                violation.property.name()
            ),
            None => {
                missed += 1;
                let (name, area) = (mutant.name(), mutant.area().name());
                println!("{name:<28} {area:<10} {:>6}  {:<8} NOT FOUND", "-", "-");
            }
        }
    }
    if missed == 0 { HELD } else { VIOLATED }
}
