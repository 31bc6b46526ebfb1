//! The simulator's command line.

use std::process::ExitCode;

use clap::Parser as _;
use quorate_sim::cli::{Cli, run};

/// Worlds come and go by the thousand; the system's allocator gives their memory back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(run(Cli::parse()))
}
