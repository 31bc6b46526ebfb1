//! `quorate-sim replay`: a run again, in words, as JSON or as a page.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::args::{cores, duration};
use super::source::{Found, Source};
use super::telling::reason;
use super::{BAD_USAGE, HELD, UNDECIDED, VIOLATED, plan, strong};
use crate::check::Verdict;
use crate::export::{edn, shiviz, write_text};
use crate::likelihood::cli::Files;
use crate::likelihood::{self, Effort};
use crate::look::{self, Look, Looked};
use crate::plan::Plan;
use crate::runner::book::Line;
use crate::runner::outcome::Outcome;
use crate::runner::recording::{Recording, write_json, write_plan};
use crate::runner::summary::digest_text;
use crate::time::Time;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Write plan, trace and verdict to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page to look at to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write what clients asked and were told to this file, as a history in Jepsen's EDN
    #[arg(long, value_name = "FILE")]
    edn: Option<PathBuf>,
    /// Write a log with vector clocks for ShiViz to this file
    #[arg(long, value_name = "FILE")]
    shiviz: Option<PathBuf>,
    /// Write the plan to this file, for --plan
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Write the plan and every choice to this file, for --decisions
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Say where the run of this seed, without `--mutant`, parts from it; with `--html` the page
    /// shows both
    #[arg(long, value_name = "SEED")]
    diff: Option<u64>,
    /// Stop at this simulated time, e.g. 12s
    #[arg(long, value_parser = duration)]
    until: Option<Duration>,
    /// Print the verdict and the digest only
    #[arg(long)]
    quiet: bool,
    /// Say where a failing run went wrong: rewind it to many points, draw the choices after each afresh,
    /// and count how often the same property fails; --json and
    /// --html write that
    #[arg(long, conflicts_with_all = ["edn", "shiviz", "save", "record", "diff", "until", "quiet"])]
    likelihood: bool,
    /// Points to rewind to
    #[arg(long, value_name = "N", default_value_t = 32, requires = "likelihood",
          value_parser = clap::value_parser!(u16).range(2..=1000))]
    points: u16,
    /// Runs from each point
    #[arg(long, value_name = "N", default_value_t = 16, requires = "likelihood",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    redraws: u16,
}

#[derive(Serialize)]
struct Replayed<'a> {
    plan: &'a Plan,
    trace: &'a [Line],
    verdict: &'a Verdict,
    digest: String,
}

pub fn run(args: Args) -> u8 {
    let found = match args.source.find() {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            return BAD_USAGE;
        }
    };
    if found.plan().strong.is_some() {
        return replay_strong(&args, &found);
    }
    if args.likelihood {
        let effort = Effort {
            points: usize::from(args.points),
            redraws: u32::from(args.redraws),
            jobs: cores(),
        };
        let files = Files { json: args.json.as_deref(), html: args.html.as_deref() };
        return likelihood::cli::run(&found.task(), effort, files, &found.command);
    }
    match replay(&args, &found) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            BAD_USAGE
        }
    }
}

fn replay_strong(args: &Args, found: &Found) -> u8 {
    let others = [&args.json, &args.html, &args.shiviz, &args.save, &args.record];
    if args.likelihood || args.diff.is_some() || others.into_iter().any(Option::is_some) {
        eprintln!("{}", strong::NOT_STRONG);
        return BAD_USAGE;
    }
    strong::replay(found.plan(), until_of(args), args.quiet, args.edn.as_deref())
}

fn until_of(args: &Args) -> Option<Time> {
    args.until.map(|d| Time(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
}

/// The exit code; what is wrong with a file that could not be written.
fn replay(args: &Args, found: &Found) -> Result<u8, String> {
    let until = until_of(args);
    let on_tape = args.html.is_some() || args.diff.is_some() || args.shiviz.is_some();
    let look = Look { until, on_tape, record: args.record.is_some() };
    let looked = look::run_task(found.task(), look, found.command.clone());
    let outcome = &looked.outcome;
    // Whoever reads may have read enough: a closed pipe is no failure.
    let mut out = std::io::stdout().lock();
    for line in looked.lines.iter().filter(|_| !args.quiet) {
        let at = Time(line.at).to_string();
        if writeln!(out, "{at:>14} {:<9} {}", line.who, line.what).is_err() {
            break;
        }
    }
    let other = args.diff.map(|seed| {
        let plan = plan(found.plan().profile, seed, None);
        look::run(&plan, until, true)
    });
    if let Some(other) = &other {
        let _ = writeln!(out, "{}", look::parting_text(&looked, other));
    }
    let digest = digest_text(outcome.digest);
    let _ = writeln!(out, "verdict {}\ndigest {digest}", reason(&outcome.verdict));
    write_files(args, found, &looked, other.as_ref())?;
    Ok(match outcome.verdict {
        Verdict::Ok => HELD,
        Verdict::Violated(_) => VIOLATED,
        // Stopping where one was asked to stop is no failure.
        Verdict::Undecided { .. } if until.is_some() => HELD,
        Verdict::Undecided { .. } => UNDECIDED,
    })
}

fn write_files(
    args: &Args,
    found: &Found,
    looked: &Looked<Outcome>,
    other: Option<&Looked<Outcome>>,
) -> Result<(), String> {
    let plan = found.plan();
    if let Some(file) = &args.json {
        let (trace, verdict) = (&looked.lines[..], &looked.outcome.verdict);
        let digest = digest_text(looked.outcome.digest);
        write_json(file, &Replayed { plan, trace, verdict, digest })?;
    }
    if let Some(file) = &args.save {
        write_plan(file, plan)?;
    }
    if let Some(file) = &args.record {
        Recording::new(plan, found.order(), &looked.decisions).write(file)?;
    }
    if let Some(file) = &args.edn {
        write_text(file, &edn::text(plan, &looked.history))?;
    }
    if let Some(file) = &args.shiviz {
        write_text(file, &shiviz::text(&looked.tape))?;
    }
    if let Some(file) = &args.html {
        look::write_page(file, looked, other)?;
    }
    Ok(())
}
