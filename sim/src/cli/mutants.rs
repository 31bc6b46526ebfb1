//! `quorate-sim mutants`: its arguments; what it prints is in [`crate::mutants::cli`].

use std::path::PathBuf;

use quorate::base::mutant::{Area, Mutant};

use super::args::{cores, mutant};
use crate::mutants::SEEDS_MAX;
use crate::mutants::cli::{self, Asked};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this one
    #[arg(long, value_name = "NAME", value_parser = mutant)]
    only: Option<Mutant>,
    /// Only those of one area, as the table names it
    #[arg(long, value_parser = area, conflicts_with = "only")]
    area: Option<Area>,
    /// Look through so many seeds of each profile
    #[arg(long, value_name = "SEEDS", default_value_t = SEEDS_MAX)]
    within: u64,
    /// Look through the seeds that are known to find them (sim/mutants.seeds), instead of searching
    #[arg(long)]
    quick: bool,
    /// Write seeds that find them to this file, in place of its own of the same: sim/mutants.seeds
    #[arg(long, value_name = "FILE", conflicts_with = "quick")]
    write_seeds: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> u8 {
    let Args { only, area, within, quick, write_seeds, json } = args;
    let write_seeds = write_seeds.as_deref();
    cli::run(Asked { only, area, within, quick, write_seeds, json, jobs: cores() })
}

fn area(text: &str) -> Result<Area, String> {
    Area::ALL.into_iter().find(|area| area.name() == text).ok_or_else(|| {
        let names: Vec<&str> = Area::ALL.iter().map(|area| area.name()).collect();
        format!("no such area; there are: {}", names.join(", "))
    })
}
