//! `quorate-sim replay`: one seed again, in words, as JSON or as a page.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use quorate::base::mutant::Mutant;
use serde::Serialize;

use super::args::{duration, mutant, profile};
use super::telling::{reason, written};
use super::{BAD_USAGE, HELD, UNDECIDED, VIOLATED, plan};
use crate::check::Verdict;
use crate::look;
use crate::plan::{Plan, Profile};
use crate::runner::book::Line;
use crate::runner::summary::digest_text;
use crate::time::Time;

#[derive(Debug, clap::Args)]
pub struct Args {
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
}

#[derive(Serialize)]
struct Replayed<'a> {
    plan: &'a Plan,
    trace: &'a [Line],
    verdict: &'a Verdict,
    digest: String,
}

pub fn run(args: Args) -> u8 {
    let Args { seed, profile, json, html, diff, until, mutant, quiet } = args;
    let until = until.map(|d| Time(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)));
    let other = diff.map(|seed| plan(profile, seed, None));
    let plan = &plan(profile, seed, mutant);
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
