//! The command line. Exit codes: 0 all held; 1 a property was violated; 2 bad usage or input; 3
//! undecided.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use quorate::base::mutant::Mutant;
use serde::Serialize;

use crate::check::Verdict;
use crate::linear::{self, Specification};
use crate::look;
use crate::plan::{Plan, Profile};
use crate::runner::book::Line;
use crate::runner::campaign::{Campaign, Report};
use crate::runner::outcome::Outcome;
use crate::runner::run::{Options, run_plan};
use crate::runner::summary::digest_text;
use crate::scenario;
use crate::shrink;
use crate::time::Time;

pub const HELD: u8 = 0;
pub const VIOLATED: u8 = 1;
pub const BAD_USAGE: u8 = 2;
pub const UNDECIDED: u8 = 3;

/// Seeds within which every deliberate fault must be found.
const MUTANT_SEEDS: u64 = 5000;

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
    Run {
        /// smoke or active
        #[arg(long, default_value = "smoke", value_parser = profile)]
        profile: Profile,
        /// A..B, without B
        #[arg(long, default_value = "0..1000", value_parser = seeds)]
        seeds: Range<u64>,
        /// Threads; as many as there are cores, if not given
        #[arg(long)]
        jobs: Option<NonZeroUsize>,
        /// Stop after this long, e.g. 60s or 5m
        #[arg(long, value_parser = duration)]
        time: Option<Duration>,
        /// Print the summary as JSON
        #[arg(long)]
        json: bool,
        /// Switch a deliberate fault on in every node
        #[arg(long, value_parser = mutant)]
        mutant: Option<Mutant>,
    },
    /// Runs one seed again and prints what happened
    Replay {
        seed: u64,
        #[arg(long, default_value = "smoke", value_parser = profile)]
        profile: Profile,
        /// Write plan, trace and verdict to this file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Write a page to look at to this file
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// Say where the run of this seed, without `--mutant`, parts from it; with `--html` the page
        /// shows both
        #[arg(long, value_name = "SEED")]
        diff: Option<u64>,
        /// Stop at this simulated time, e.g. 12s
        #[arg(long, value_parser = duration)]
        until: Option<Duration>,
        #[arg(long, value_parser = mutant)]
        mutant: Option<Mutant>,
        /// Print the verdict and the digest only
        #[arg(long)]
        quiet: bool,
    },
    /// Plays a scenario file
    Scenario {
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
    },
    /// Tells whether a recorded history is linearizable (EDN, or lines of Jepsen's log)
    Check {
        file: PathBuf,
        /// register or kv; by the first operation, if not given
        #[arg(long, value_parser = linear::cli::specification)]
        model: Option<Specification>,
        /// Give up after this long
        #[arg(long, default_value = "5s", value_parser = duration)]
        budget: Duration,
    },
    /// Turns a failing seed into a short scenario file that fails in the same way
    Shrink {
        seed: u64,
        #[arg(long, default_value = "smoke", value_parser = profile)]
        profile: Profile,
        #[arg(long, value_parser = mutant)]
        mutant: Option<Mutant>,
        /// Where the scenario goes; seed-SEED.scn, if not given
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Stop after this long, e.g. 60s or 5m
        #[arg(long, default_value = "60s", value_parser = duration)]
        time: Duration,
    },
    /// Checks the checkers: each deliberate fault must be found
    Mutants {
        /// Only this one
        #[arg(long, value_name = "NAME", value_parser = mutant)]
        only: Option<Mutant>,
    },
}

/// Runs a command line; the exit code.
pub fn run(cli: Cli) -> u8 {
    match cli.command {
        Command::Run { profile, seeds, jobs, time, json, mutant } => {
            let jobs = jobs.map_or_else(cores, NonZeroUsize::get);
            campaign(profile, seeds, jobs, time, json, mutant)
        }
        Command::Replay { seed, profile, json, html, diff, until, mutant, quiet } => {
            let until = until.map(|d| Time(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)));
            let other = diff.map(|seed| plan(profile, seed, None));
            replay(&plan(profile, seed, mutant), other, json, html, until, quiet)
        }
        Command::Shrink { seed, profile, mutant, output, time } => {
            let output = output.unwrap_or_else(|| PathBuf::from(format!("seed-{seed}.scn")));
            shrink::cli::shrink(&plan(profile, seed, mutant), &output, time)
        }
        Command::Scenario { file, seed, html: Some(html), mutant, .. } => {
            let looked = look::scenario_on_tape(&file, seed, mutant);
            println!("{}", looked.outcome);
            written(look::write_page(&html, &looked, None), looked.outcome.exit_code())
        }
        Command::Scenario { file, real, seed, html: None, mutant } => {
            let outcome = match mutant {
                Some(mutant) => scenario::run_file_faulty(&file, seed, mutant),
                None => scenario::run_file(&file, real, seed),
            };
            println!("{outcome}");
            outcome.exit_code()
        }
        Command::Check { file, model, budget } => linear::cli::run(&file, model, budget),
        Command::Mutants { only } => mutants(only),
    }
}

fn campaign(
    profile: Profile,
    seeds: Range<u64>,
    jobs: usize,
    time: Option<Duration>,
    json: bool,
    mutant: Option<Mutant>,
) -> u8 {
    let campaign = Campaign { seeds, jobs, time, first_only: false, progress: true };
    let report = campaign.run(&|seed| run_plan(&plan(profile, seed, mutant), options()).outcome);
    let Report { summary, secs, cpu_secs } = &report;
    if json {
        match serde_json::to_string_pretty(summary) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("cannot write the summary: {error}"),
        }
    } else {
        print!("{}", summary.text(profile, *secs, *cpu_secs));
    }
    let dull = if mutant.is_none() { summary.dull() } else { Vec::new() };
    for complaint in &dull {
        eprintln!("dull campaign: {complaint}");
    }
    let Some(worst) = summary.worst() else {
        return if dull.is_empty() { HELD } else { VIOLATED };
    };
    for kept in summary.kept.iter().skip(1).rev() {
        eprintln!("seed {}: {}", kept.seed, reason(&kept.verdict));
    }
    failing(profile, worst.seed, &worst.verdict, &worst.digest, mutant)
}

/// The last lines about a seed that did not hold, and its exit code.
fn failing(
    profile: Profile,
    seed: u64,
    verdict: &Verdict,
    digest: &str,
    mutant: Option<Mutant>,
) -> u8 {
    let with = mutant.map_or(String::new(), |m| format!(" --mutant {}", m.name()));
    eprintln!("{}", reason(verdict));
    eprintln!("digest {digest}, commit {}", commit());
    eprintln!("cargo sim shrink {seed} --profile {}{with}", profile.name());
    eprintln!("cargo sim replay {seed} --profile {}{with}", profile.name());
    match verdict {
        Verdict::Violated(_) => VIOLATED,
        Verdict::Undecided { .. } => UNDECIDED,
        Verdict::Ok => HELD,
    }
}

fn reason(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Ok => "held".to_owned(),
        Verdict::Violated(v) => format!("violated: {}: {}", v.property.name(), v.evidence),
        Verdict::Undecided { budget } => format!("undecided: {budget}"),
    }
}

#[derive(Serialize)]
struct Replayed<'a> {
    plan: &'a Plan,
    trace: &'a [Line],
    verdict: &'a Verdict,
    digest: String,
}

fn replay(
    plan: &Plan,
    other: Option<Plan>,
    json: Option<PathBuf>,
    html: Option<PathBuf>,
    until: Option<Time>,
    quiet: bool,
) -> u8 {
    let looked = look::run(plan, until, html.is_some() || other.is_some());
    let (outcome, trace) = (&looked.outcome, &looked.lines);
    // Whoever reads may have read enough: a closed pipe is no failure.
    let mut out = std::io::stdout().lock();
    for line in trace.iter().filter(|_| !quiet) {
        let at = Time(line.at).to_string();
        if writeln!(out, "{at:>14} {:<9} {}", line.who, line.what).is_err() {
            break;
        }
    }
    let digest = digest_text(outcome.digest);
    if let Some(file) = json {
        let verdict = &outcome.verdict;
        let all = Replayed { plan, trace, verdict, digest: digest.clone() };
        let written = serde_json::to_string(&all)
            .map_err(|e| e.to_string())
            .and_then(|text| std::fs::write(&file, text).map_err(|e| e.to_string()));
        if let Err(error) = written {
            eprintln!("{}: {error}", file.display());
            return BAD_USAGE;
        }
    }
    let other = other.map(|plan| look::run(&plan, until, true));
    if let Some(other) = &other {
        let _ = writeln!(out, "{}", look::parting_text(&looked, other));
    }
    let page = html.map_or(Ok(()), |file| look::write_page(&file, &looked, other.as_ref()));
    let _ = writeln!(out, "verdict {}\ndigest {digest}", reason(&outcome.verdict));
    let code = match outcome.verdict {
        Verdict::Ok => HELD,
        Verdict::Violated(_) => VIOLATED,
        // Stopping where one was asked to stop is no failure.
        Verdict::Undecided { .. } if until.is_some() => HELD,
        Verdict::Undecided { .. } => UNDECIDED,
    };
    written(page, code)
}

/// The exit code, if the page could be written.
fn written(page: Result<(), String>, code: u8) -> u8 {
    match page {
        Ok(()) => code,
        Err(error) => {
            eprintln!("{error}");
            BAD_USAGE
        }
    }
}

fn mutants(only: Option<Mutant>) -> u8 {
    let chosen: Vec<Mutant> =
        Mutant::ALL.into_iter().filter(|m| only.is_none_or(|o| o == *m)).collect();
    println!("{:<28} {:>6}  {:<8} property", "mutant", "seeds", "profile");
    let mut missed = 0;
    for mutant in chosen {
        let found = [Profile::Smoke, Profile::Active].into_iter().find_map(|profile| {
            let seeds = match profile {
                Profile::Smoke => 0..MUTANT_SEEDS,
                Profile::Active => 0..MUTANT_SEEDS / 5,
            };
            let campaign =
                Campaign { seeds, jobs: cores(), time: None, first_only: true, progress: true };
            let run = |seed| {
                let faulty = run_plan(&plan(profile, seed, Some(mutant)), options()).outcome;
                if faulty.verdict.is_ok() {
                    return faulty;
                }
                // A seed that fails without the fault says nothing about it.
                let sound = run_plan(&plan(profile, seed, None), options()).outcome;
                if sound.verdict.is_ok() {
                    faulty
                } else {
                    Outcome { verdict: Verdict::Ok, ..faulty }
                }
            };
            let report = campaign.run(&run);
            let worst = report.summary.worst()?.clone();
            match worst.verdict {
                Verdict::Violated(violation) => Some((worst.seed, profile, violation)),
                Verdict::Ok | Verdict::Undecided { .. } => None,
            }
        });
        match found {
            Some((seed, profile, violation)) => println!(
                "{:<28} {:>6}  {:<8} {}",
                mutant.name(),
                seed + 1,
                profile.name(),
                violation.property.name()
            ),
            None => {
                missed += 1;
                println!("{:<28} {:>6}  {:<8} NOT FOUND", mutant.name(), "-", "-");
            }
        }
    }
    if missed == 0 { HELD } else { VIOLATED }
}

fn plan(profile: Profile, seed: u64, mutant: Option<Mutant>) -> Plan {
    let mutant = mutant.map(|m| m.name().to_owned());
    Plan { mutant, ..Plan::generate(profile, seed) }
}

fn options() -> Options {
    Options::default()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The commit of the sources, if git can tell.
fn commit() -> String {
    let asked = std::process::Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .stderr(std::process::Stdio::null())
        .output();
    match asked {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

fn profile(text: &str) -> Result<Profile, String> {
    Profile::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Profile::ALL.iter().map(|p| p.name()).collect();
        format!("no such profile; there are: {}", names.join(", "))
    })
}

fn mutant(text: &str) -> Result<Mutant, String> {
    Mutant::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Mutant::ALL.iter().map(|m| m.name()).collect();
        format!("no such mutant; there are: {}", names.join(", "))
    })
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("expected A..B")?;
    let number = |part: &str| {
        part.trim().parse::<u64>().map_err(|_| format!("{part:?} is not a number of a seed"))
    };
    let (from, to) = (number(from)?, number(to)?);
    if from >= to {
        return Err(format!("the range is empty: {from} is not below {to}"));
    }
    Ok(from..to)
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let secs = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("unknown unit {other:?}; there are ms, s, m, h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    Duration::try_from_secs_f64(number * secs).map_err(|_| "not a duration".to_owned())
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
    fn bad_values_are_named() {
        for (args, wanted) in [
            (["run", "--seeds", "9..3"], "9 is not below 3"),
            (["run", "--seeds", "9..x"], "\"x\" is not a number"),
            (["run", "--seeds", "9"], "A..B"),
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

    #[test]
    fn durations_and_ranges_are_read() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(seeds("3..9"), Ok(3..9));
    }
}
