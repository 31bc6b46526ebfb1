//! `quorate-sim mutants`: its arguments; what it prints is in [`crate::mutants::cli`].

use std::path::PathBuf;

use quorate::base::mutant::Mutant;

use super::args::{cores, mutant};
use crate::mutants::cli::{self, Asked};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this one
    #[arg(long, value_name = "NAME", value_parser = mutant)]
    only: Option<Mutant>,
    /// Look through the seeds that are known to find them (sim/mutants.seeds), instead of searching
    #[arg(long)]
    quick: bool,
    /// Write seeds that find them to this file: sim/mutants.seeds
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "quick"])]
    write_seeds: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> u8 {
    let Args { only, quick, write_seeds, json } = args;
    cli::run(Asked { only, quick, write_seeds: write_seeds.as_deref(), json, jobs: cores() })
}
