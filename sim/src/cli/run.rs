//! `quorate-sim run`: a campaign over many seeds.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::Duration;

use quorate::base::mutant::Mutant;

use super::args::{cores, duration, mutant, profile, seeds};
use super::telling::{failing, reason};
use super::{HELD, VIOLATED, plan};
use crate::plan::Profile;
use crate::runner::campaign::{Campaign, Report};
use crate::runner::run::{Options, run_plan};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// smoke or active
    #[arg(long, default_value = "smoke", value_parser = profile)]
    profile: Profile,
    /// A..B, without B
    #[arg(long, default_value = "0..1000", value_parser = seeds)]
    seeds: Range<u64>,
    /// Threads; as many as there are cores, if not given
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Stop after this long, e.g. 60s or 5m
    #[arg(long, value_parser = duration)]
    time: Option<Duration>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Switch a deliberate fault on in every node
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
}

pub fn run(args: Args) -> u8 {
    let Args { profile, seeds, jobs, time, json, mutant } = args;
    let jobs = jobs.map_or_else(cores, NonZeroUsize::get);
    let campaign = Campaign { seeds, jobs, time, first_only: false, progress: true };
    let report =
        campaign.run(&|seed| run_plan(&plan(profile, seed, mutant), Options::default()).outcome);
    let Report { summary, secs, cpu_secs } = &report;
    if json {
        match serde_json::to_string_pretty(summary) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("cannot write the summary: {error}"),
        }
    } else {
        print!("{}", summary.text(profile, *secs, *cpu_secs));
    }
    let dull = if mutant.is_none() { summary.dull() } else { Vec::new() };
    for complaint in &dull {
        eprintln!("dull campaign: {complaint}");
    }
    let Some(worst) = summary.worst() else {
        return if dull.is_empty() { HELD } else { VIOLATED };
    };
    for kept in summary.kept.iter().skip(1).rev() {
        eprintln!("seed {}: {}", kept.seed, reason(&kept.verdict));
    }
    failing(profile, worst.seed, &worst.verdict, &worst.digest, mutant)
}
