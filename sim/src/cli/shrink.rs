//! `quorate-sim shrink`: its arguments; what it prints is in [`crate::shrink::cli`].

use std::path::PathBuf;
use std::time::Duration;

use quorate::base::mutant::Mutant;

use super::args::{duration, mutant, profile};
use super::plan;
use crate::plan::Profile;
use crate::shrink;

#[derive(Debug, clap::Args)]
pub struct Args {
    seed: u64,
    #[arg(long, default_value = "smoke", value_parser = profile)]
    profile: Profile,
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
    /// Where the scenario goes; seed-SEED.scn, if not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Stop after this long, e.g. 60s or 5m
    #[arg(long, default_value = "60s", value_parser = duration)]
    time: Duration,
}

pub fn run(args: Args) -> u8 {
    let Args { seed, profile, mutant, output, time } = args;
    if profile == Profile::Strong {
        eprintln!("{}", super::strong::NOT_STRONG);
        return super::BAD_USAGE;
    }
    let output = output.unwrap_or_else(|| PathBuf::from(format!("seed-{seed}.scn")));
    shrink::cli::shrink(&plan(profile, seed, mutant), &output, time)
}
