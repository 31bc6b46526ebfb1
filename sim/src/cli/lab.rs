//! `quorate-sim lab`.

use std::io::Write as _;

use quorate::base::mutant::Mutant;

use super::{BAD_USAGE, HELD, args};
use crate::lab::server::serve;
use crate::lab::setup::Setup;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// On 127.0.0.1; 0: any free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Hosts, 2 to 5
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=5))]
    nodes: u8,
    /// Between any two hosts, one way, in milliseconds; 0: as in one rack
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    latency_ms: u32,
    /// Feeds every random choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Switch a deliberate fault on in every node
    #[arg(long, value_parser = args::mutant)]
    mutant: Option<Mutant>,
}

/// Serves the lab until Ctrl-C.
pub fn run(args: Args) -> u8 {
    let Args { port, nodes, latency_ms, seed, mutant } = args;
    let setup = Setup { nodes, seed, latency_ms, mutant };
    let served = serve(setup, port, |address| {
        // Whoever started the lab may have closed its output.
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "the lab is open at {address}   (Ctrl-C ends it)");
        let _ = out.flush();
    });
    match served {
        Ok(()) => HELD,
        Err(error) => {
            eprintln!("{error}");
            BAD_USAGE
        }
    }
}
