//! The command line. Exit codes: 0 all held; 1 a property was violated; 2 bad usage or input; 3
//! undecided.

mod args;
mod check;
mod commit;
mod explore;
mod interrupt;
mod lab;
mod mutants;
mod replay;
mod run;
mod scenario;
mod shrink;
mod source;
mod strong;
mod telling;

use clap::{Parser, Subcommand};
use quorate::base::mutant::Mutant;

use crate::plan::{Plan, Profile};

pub const HELD: u8 = 0;
pub const VIOLATED: u8 = 1;
pub const BAD_USAGE: u8 = 2;
pub const UNDECIDED: u8 = 3;

/// The deterministic simulator of Quorate.
#[derive(Debug, Parser)]
#[command(name = "quorate-sim", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs many seeds and checks every promise on each
    Run(run::Args),
    /// Runs one seed again and prints what happened
    Replay(replay::Args),
    /// Plays a scenario file
    Scenario(scenario::Args),
    /// Tells whether a recorded history is linearizable (EDN, or lines of Jepsen's log)
    Check(check::Args),
    /// Turns a failing seed into a short scenario file that fails in the same way
    Shrink(shrink::Args),
    /// Goes through all orders in which the events of a small plan can happen
    Explore(explore::Args),
    /// Checks the checkers: each deliberate fault must be found
    Mutants(mutants::Args),
    /// Opens a live split-brain lab for the browser
    Lab(lab::Args),
}

/// Runs a command line; the exit code.
pub fn run(cli: Cli) -> u8 {
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Scenario(args) => scenario::run(args),
        Command::Check(args) => check::run(args),
        Command::Shrink(args) => shrink::run(args),
        Command::Explore(args) => explore::run(args),
        Command::Mutants(args) => mutants::run(args),
        Command::Lab(args) => lab::run(args),
    }
}

/// The plan of a seed, with a deliberate fault in every node if one is named.
fn plan(profile: Profile, seed: u64, mutant: Option<Mutant>) -> Plan {
    let mutant = mutant.map(|m| m.name().to_owned());
    Plan { mutant, ..Plan::generate(profile, seed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn merging_runs_nothing() {
        for other in ["--seeds=0..9", "--profile=smoke", "--shard=0/2", "--resume=x", "--time=1s"] {
            let args = ["quorate-sim", "run", other, "--merge", "a.json", "b.json"];
            let error = Cli::try_parse_from(args).expect_err("bad usage");
            assert!(error.to_string().contains("cannot be used with"), "{error}");
        }
        let merge = ["quorate-sim", "run", "--json", "--merge", "a.json", "b.json"];
        assert!(Cli::try_parse_from(merge).is_ok());
    }

    #[test]
    fn bad_values_are_named() {
        for (args, wanted) in [
            (["run", "--seeds", "9..3"], "9 is not below 3"),
            (["run", "--seeds", "9..x"], "\"x\" is not a number"),
            (["run", "--seeds", "9"], "A..B"),
            (["run", "--seeds", "commit:x"], "expected commit:N"),
            (["run", "--seeds", "commit:0"], "expected commit:N"),
            (["run", "--shard", "4/4"], "0/4 to 3/4"),
            (["run", "--shard", "4"], "expected i/n"),
            (["run", "--profile", "nice"], "there are: smoke, active"),
            (["run", "--time", "5y"], "unknown unit"),
            (["run", "--mutant", "x"], "tie-keeps-held"),
            (["run", "--jobs", "0"], "--jobs"),
        ] {
            let all = ["quorate-sim"].into_iter().chain(args);
            let error = Cli::try_parse_from(all).expect_err("bad usage");
            assert!(error.to_string().contains(wanted), "{error}");
            assert_eq!(error.exit_code(), i32::from(BAD_USAGE));
        }
    }
}
