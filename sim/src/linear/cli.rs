//! `quorate-sim check FILE`: the verdict on a recorded history.

// People wait for this verdict, so it is theirs to say how long.
#![allow(clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::check::{Budget, Report, Specification, Verdict, check};
use super::read::{Notation, Recorded, read};
use crate::cli::{BAD_USAGE, HELD, UNDECIDED, VIOLATED};

/// Memory for the search, bytes.
const BYTES_MAX: usize = 1 << 30;
/// Keys named when there is no verdict.
const KEYS_SHOWN: usize = 5;

/// Reads a file, checks it and prints the verdict; the exit code.
pub fn run(file: &Path, specification: Option<Specification>, budget: Duration) -> u8 {
    match judge(file, specification, budget) {
        Ok((text, code)) => {
            print!("{text}");
            code
        }
        Err(error) => {
            eprintln!("{error}");
            BAD_USAGE
        }
    }
}

/// The model that a command line names.
pub fn specification(text: &str) -> Result<Specification, String> {
    Specification::ALL.into_iter().find(|one| one.name() == text).ok_or_else(|| {
        let names: Vec<&str> = Specification::ALL.iter().map(|one| one.name()).collect();
        format!("no such model; there are: {}", names.join(", "))
    })
}

/// What to print, and the exit code; what is wrong with the input.
pub fn judge(
    file: &Path,
    specification: Option<Specification>,
    budget: Duration,
) -> Result<(String, u8), String> {
    let name = file.display();
    let text = std::fs::read(file).map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8(text).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("{name}:{line}: expected UTF-8, found other bytes")
    })?;
    let notation = Notation::of(&file.to_string_lossy(), &text);
    let recorded = read(&text, notation)
        .map_err(|e| format!("{name}:{}: expected {}, found {}", e.line, e.expected, e.found))?;
    let specification = specification.unwrap_or(Specification::of(&recorded.history));
    let started = Instant::now();
    let budget_of_search = Budget {
        states_max: u64::MAX,
        bytes_max: BYTES_MAX,
        stop: &|| started.elapsed() >= budget,
    };
    let report = check(&recorded.history, specification, &budget_of_search).map_err(|e| {
        let line = recorded.lines[e.event];
        format!("{name}:{line}: expected {}, found {}", e.expected, e.found)
    })?;
    let took = started.elapsed();
    let text = format!("{name}: {}", describe(&recorded, &report, took));
    Ok((text, code(&report.verdict)))
}

fn code(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Ok => HELD,
        Verdict::Violated(_) => VIOLATED,
        Verdict::Undecided(_) => UNDECIDED,
    }
}

fn describe(recorded: &Recorded, report: &Report, took: Duration) -> String {
    let mut text = String::new();
    let word = match &report.verdict {
        Verdict::Ok => "linearizable",
        Verdict::Violated(_) => "NOT linearizable",
        Verdict::Undecided(_) => "undecided",
    };
    let Report { model, answered, unknown, failed, keys, states, .. } = report;
    let total = answered + unknown + failed;
    let _ = writeln!(text, "{word}");
    let _ = writeln!(
        text,
        "model {model}; {} ({answered} answered, {unknown} of unknown outcome, {failed} failed \
         without effect), {}",
        counted(total, "operation"),
        counted(*keys, "key"),
    );
    let secs = took.as_secs_f64();
    let _ = writeln!(text, "searched {states} states in {secs:.3} s");
    if recorded.skipped > 0 {
        let _ = writeln!(
            text,
            "skipped {} that say nothing of a client",
            counted(recorded.skipped, "entry")
        );
    }
    if recorded.commands > 0 {
        let keys = recorded.touched.len();
        let _ = writeln!(
            text,
            "left out {} that other commands than reads and writes may have changed, with {}",
            counted(keys, "key"),
            counted(recorded.commands, "entry")
        );
    }
    if let Some(event) = recorded.time_steps_back() {
        let line = recorded.lines[event];
        let _ = writeln!(text, "note: :time steps back on line {line}; the order of lines counts");
    }
    match &report.verdict {
        Verdict::Ok => {}
        Verdict::Violated(evidence) => text.push_str(&evidence.text(Some(&recorded.lines))),
        Verdict::Undecided(undecided) => {
            let keys = undecided.keys.iter().flatten().map(ToString::to_string);
            let keys: Vec<String> = keys.take(KEYS_SHOWN).collect();
            let of = match undecided.keys.len() {
                _ if keys.is_empty() => String::new(),
                n if n > keys.len() => format!(" for {n} keys, such as {}", keys.join(" ")),
                _ => format!(" for {}", keys.join(" ")),
            };
            let limit = undecided.limit.name();
            let _ =
                writeln!(text, "the budget ran out{of}: {limit}; --budget 60s allows more time");
        }
    }
    text
}

fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y').filter(|_| noun != "key")) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}
