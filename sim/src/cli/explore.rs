//! `quorate-sim explore`: its arguments; what it prints is in [`crate::explore::cli`].

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::value_parser;
use quorate::base::mutant::Mutant;

use super::HELD;
use super::args::{duration, mutant, profile};
use crate::explore::cli::explore;
use crate::explore::search::Limits;
use crate::explore::small::{Size, small_plan};
use crate::plan::{Plan, Profile};
use crate::runner::ordered::Bounds;
use crate::runner::seed_set::range;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// smoke: short timers; active: a server's
    #[arg(long, default_value = "smoke", value_parser = profile)]
    profile: Profile,
    /// Which writes: A..B, without B. Seed 0 sets the key on both sides and deletes it on one
    #[arg(long, default_value = "0..1", value_parser = range)]
    seeds: Range<u64>,
    /// Masters that follow each other
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u16).range(2..=5))]
    nodes: u16,
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u16).range(1..=12))]
    writes: u16,
    /// How often time may pass, to the next moment at which a timer makes a server send something
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// How often it may pass although something is on its way between servers
    #[arg(long, default_value_t = 0)]
    delays: u32,
    /// Choices in one order that are gone through; all, if not given
    #[arg(long, value_name = "N")]
    depth: Option<usize>,
    /// Stop after this long, e.g. 60s or 5m
    #[arg(long, default_value = "10m", value_parser = duration)]
    time: Duration,
    /// Switch a deliberate fault on in every node
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
    /// Where an order goes that fails; explore-SEED.json, if not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The plans of all seeds, until one does not hold.
pub fn run(args: Args) -> u8 {
    let bounds = Bounds { rounds: args.rounds, delays: args.delays };
    let limits = Limits { bounds, depth: args.depth.unwrap_or(usize::MAX) };
    let size = Size { nodes: args.nodes, writes: args.writes };
    for seed in args.seeds {
        let mutant = args.mutant.map(|m| m.name().to_owned());
        let plan = Plan { mutant, ..small_plan(args.profile, seed, size) };
        let default = || PathBuf::from(format!("explore-{seed}.json"));
        let output = args.output.clone().unwrap_or_else(default);
        let code = explore(&plan, limits, args.time, &output);
        if code != HELD {
            return code;
        }
    }
    HELD
}
