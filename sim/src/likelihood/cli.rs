//! `quorate-sim replay --likelihood`: the table, the step, and what happened there.

use std::io::Write as _;
use std::path::Path;

use super::curve::{Curve, Step};
use super::{Effort, NotFailing, likelihood};
use crate::cli::{BAD_USAGE, UNDECIDED, VIOLATED};
use crate::look::told_between;
use crate::runner::recording::write_json;
use crate::runner::run::Options;
use crate::runner::task::Task;
use crate::time::Time;
use crate::trace::Recorder;

/// Characters of a bar that stands for always.
const BAR: usize = 40;
/// Events of what happened at the step that are shown, and characters of each.
const LINES_MAX: usize = 24;
const CHARS_MAX: usize = 150;

/// Prints the curve of a run, which `command` replays; the exit code. It is 1, as the run fails, and 2 if there is
/// nothing to look for.
pub fn run(task: &Task<'_>, effort: Effort, json: Option<&Path>, command: &str) -> u8 {
    let curve = match likelihood(task, effort) {
        Ok(curve) => curve,
        Err(NotFailing::Holds) => {
            eprintln!("the run holds: --likelihood asks where a failing run went wrong");
            return BAD_USAGE;
        }
        Err(NotFailing::Undecided(budget)) => {
            eprintln!("undecided: {budget}: --likelihood asks where a failing run went wrong");
            return UNDECIDED;
        }
    };
    let events = curve.step.map_or_else(Vec::new, |step| events_at(task, &step));
    // Whoever reads may have read enough: a closed pipe is no failure.
    let _ = std::io::stdout().lock().write_all(text(&curve, &events, command).as_bytes());
    if let Some(file) = json
        && let Err(error) = write_json(file, &curve.to_json())
    {
        eprintln!("{error}");
        return BAD_USAGE;
    }
    VIOLATED
}

/// What happened in the time of the step.
fn events_at(task: &Task<'_>, step: &Step) -> Vec<(Time, String)> {
    let until = Some(Time(step.after.at.0 + 1));
    let recorder = Recorder::new();
    task.clone().run_with(Options { traced: false, until }, false, Some(&recorder));
    told_between(&recorder.take(), step.before.at, step.after.at)
}

/// The table, the step, and what happened there.
pub fn text(curve: &Curve, events: &[(Time, String)], command: &str) -> String {
    let Curve { violation, choices, redraws, points, step, .. } = curve;
    let mut text = format!(
        "violated: {}: {}\n{choices} choices; rewound to {} points, {redraws} runs from each\n\n\
         {:>14} {:>9}  fails again\n",
        violation.property.name(),
        violation.evidence,
        points.len(),
        "time",
        "choices"
    );
    for point in points {
        let fraction = point.fraction();
        let bar = "#".repeat((fraction * BAR as f64).round() as usize);
        let other = match point.other {
            0 => String::new(),
            count => format!("  ({count} otherwise)"),
        };
        let undecided = match point.undecided {
            0 => String::new(),
            count => format!("  ({count} undecided)"),
        };
        let edge = if step.is_some_and(|s| s.after.made == point.made) { " <- here" } else { "" };
        let (at, percent) = (point.at.to_string(), 100.0 * fraction);
        let made = point.made;
        text +=
            &format!("{at:>14} {made:>9}  {percent:>3.0} % {bar:<BAR$}{edge}{other}{undecided}");
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.push('\n');
    text += &match step {
        Some(step) => told_step(step, events, command),
        None => "no step: the plan makes it fail about as often whatever is drawn; look at its \
                 faults and commands (shrink)\n"
            .to_owned(),
    };
    text
}

fn told_step(step: &Step, events: &[(Time, String)], command: &str) -> String {
    let Step { before, after, low, high } = step;
    let mut text = format!(
        "the step: between {} (choice {}) and {} (choice {}): {:.0} % before, {:.0} % after\n",
        before.at,
        before.made,
        after.at,
        after.made,
        100.0 * low,
        100.0 * high
    );
    let shown = &events[events.len().saturating_sub(LINES_MAX)..];
    if shown.len() < events.len() {
        text += &format!("what happened there, the last {LINES_MAX} of {} events:\n", events.len());
    } else {
        text += "what happened there:\n";
    }
    for (at, what) in shown {
        let cut = what.char_indices().nth(CHARS_MAX).map(|(at, _)| at);
        let (what, more) = cut.map_or((what.as_str(), ""), |cut| (&what[..cut], "…"));
        text += &format!("{:>14} {what}{more}\n", at.to_string());
    }
    let ms = after.at.0 / 1_000_000 + 1;
    text + &format!("{command} --until {ms}ms\n")
}
