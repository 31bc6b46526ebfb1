//! The simulator's command line.

use std::process::ExitCode;

use clap::Parser as _;
use quorate_sim::cli::{Cli, run};

fn main() -> ExitCode {
    ExitCode::from(run(Cli::parse()))
}
