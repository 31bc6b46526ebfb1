//! `quorate-sim replay` of a strong cluster's run.

use std::io::Write as _;
use std::path::Path;

use super::telling::reason;
use super::{BAD_USAGE, HELD, UNDECIDED, VIOLATED};
use crate::check::Verdict;
use crate::decide::Decisions;
use crate::export::write_text;
use crate::plan::Plan;
use crate::runner::summary::digest_text;
use crate::strong;
use crate::time::Time;

/// What is said of whatever works for the other profiles only.
pub const NOT_STRONG: &str =
    "not available for profile strong yet: expected replay with --edn, --until or --quiet only";

/// Runs a plan again: prints its trace and verdict, and writes the history of its clients if a file is named.
pub fn replay(plan: &Plan, until: Option<Time>, quiet: bool, edn: Option<&Path>) -> u8 {
    let played = strong::play(plan, !quiet, until, Decisions::from_seed(plan.seed));
    // Whoever reads may have read enough: a closed pipe is no failure.
    let mut out = std::io::stdout().lock();
    for line in &played.trace {
        let at = Time(line.at).to_string();
        if writeln!(out, "{at:>14} {:<9} {}", line.who, line.what).is_err() {
            break;
        }
    }
    let outcome = &played.outcome;
    let digest = digest_text(outcome.digest);
    let _ = writeln!(out, "verdict {}\ndigest {digest}", reason(&outcome.verdict));
    if let Some(file) = edn
        && let Err(error) = write_text(file, &played.history.to_string())
    {
        eprintln!("{error}");
        return BAD_USAGE;
    }
    match outcome.verdict {
        Verdict::Ok => HELD,
        Verdict::Violated(_) => VIOLATED,
        Verdict::Undecided { .. } if until.is_some() => HELD,
        Verdict::Undecided { .. } => UNDECIDED,
    }
}
