//! `quorate-sim scenario`: a scenario file, simulated or on real processes.

use std::path::PathBuf;

use quorate::base::mutant::Mutant;

use super::args::mutant;
use super::telling::written;
use crate::look;
use crate::scenario;

#[derive(Debug, clap::Args)]
pub struct Args {
    file: PathBuf,
    /// On real processes in network namespaces with the real iptables
    #[arg(long)]
    real: bool,
    /// Feeds every random choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write a page to look at to this file
    #[arg(long, value_name = "FILE", conflicts_with = "real")]
    html: Option<PathBuf>,
    /// Switch a deliberate fault on in every simulated node
    #[arg(long, value_parser = mutant, conflicts_with = "real")]
    mutant: Option<Mutant>,
}

pub fn run(args: Args) -> u8 {
    let Args { file, real, seed, html, mutant } = args;
    if let Some(html) = html {
        let looked = look::scenario_on_tape(&file, seed, mutant);
        println!("{}", looked.outcome);
        return written(look::write_page(&html, &looked, None), looked.outcome.exit_code());
    }
    let outcome = match mutant {
        Some(mutant) => scenario::run_file_faulty(&file, seed, mutant),
        None => scenario::run_file(&file, real, seed),
    };
    println!("{outcome}");
    outcome.exit_code()
}
