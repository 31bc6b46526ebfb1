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
use crate::explore::strong;
use crate::plan::{Plan, Profile};
use crate::runner::ordered::Bounds;
use crate::runner::seed_set::range;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A strong cluster: its protocol alone, one partition, one split at every point
    #[arg(long)]
    strong: bool,
    #[command(flatten)]
    of_strong: OfStrong,
    /// smoke: short timers; active: a server's
    #[arg(long, default_value = "smoke", value_parser = profile)]
    profile: Profile,
    /// Which writes: A..B, without B. Seed 0 sets the key on both sides and deletes it on one
    #[arg(long, default_value = "0..1", value_parser = range)]
    seeds: Range<u64>,
    #[arg(long, value_parser = value_parser!(u16).range(2..=5), help = "[default: 2; with --strong 3]")]
    nodes: Option<u16>,
    #[arg(long, value_parser = value_parser!(u16).range(1..=12), help = "[default: 3; with --strong 2]")]
    writes: Option<u16>,
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

/// What only `--strong` asks for.
#[derive(Debug, clap::Args)]
struct OfStrong {
    /// With --strong: copies of the partition
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u8).range(1..=5))]
    copies: u8,
    /// With --strong: reads
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u8).range(0..=5))]
    reads: u8,
    /// With --strong: how often time may pass at a node, in all, until its clock makes it say or decide something
    #[arg(long, default_value_t = 3)]
    times: u8,
    /// With --strong: how often it may although something is on its way
    #[arg(long, default_value_t = 0)]
    ahead: u8,
    /// With --strong: how many splits are gone through at the same time
    #[arg(short, long, default_value_t = 2, value_parser = value_parser!(u16).range(1..=5))]
    jobs: u16,
    /// With --strong: memory for states, in megabytes
    #[arg(long, default_value_t = 4096)]
    memory: usize,
}

/// The plans of all seeds, until one does not hold.
pub fn run(args: Args) -> u8 {
    if args.strong {
        let OfStrong { copies, reads, times, ahead, jobs, memory } = args.of_strong;
        let writes = args.writes.map_or(2, |writes| writes as u8);
        let nodes = args.nodes.unwrap_or(3);
        let size =
            strong::world::Size { nodes, copies, writes, reads, times, delays: ahead, cuts_off: 0 };
        return strong::cli::explore(size, args.mutant, jobs, args.time, memory << 20);
    }
    let bounds = Bounds { rounds: args.rounds, delays: args.delays };
    let limits = Limits { bounds, depth: args.depth.unwrap_or(usize::MAX) };
    let size = Size { nodes: args.nodes.unwrap_or(2), writes: args.writes.unwrap_or(3) };
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
