//! `quorate-sim check`: its arguments; the verdict is given in [`crate::linear::cli`].

use std::path::PathBuf;
use std::time::Duration;

use super::args::duration;
use crate::linear::{self, Specification};

#[derive(Debug, clap::Args)]
pub struct Args {
    file: PathBuf,
    /// register or kv; by the first operation, if not given
    #[arg(long, value_parser = linear::cli::specification)]
    model: Option<Specification>,
    /// Give up after this long
    #[arg(long, default_value = "5s", value_parser = duration)]
    budget: Duration,
}

pub fn run(args: Args) -> u8 {
    linear::cli::run(&args.file, args.model, args.budget)
}
