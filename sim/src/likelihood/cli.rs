//! `quorate-sim replay --likelihood`: the table, the step, and what happened there.

use std::io::Write as _;
use std::path::Path;

use super::curve::{Curve, Point, Step};
use super::page::page;
use super::{Effort, NotFailing, likelihood};
use crate::cli::{BAD_USAGE, UNDECIDED, VIOLATED};
use crate::export::write_text;
use crate::look::told_between;
use crate::runner::recording::write_json;
use crate::runner::run::Options;
use crate::runner::task::Task;
use crate::time::Time;
use crate::trace::Recorder;

/// Characters of a bar that stands for always.
const BAR: usize = 40;
/// Events of what happened at a place that are shown, and characters of each.
const EVENTS_MAX: usize = 16;
const CHARS_MAX: usize = 150;

/// Where the curve goes besides, if it is to.
#[derive(Copy, Clone, Debug, Default)]
pub struct Files<'a> {
    pub json: Option<&'a Path>,
    pub html: Option<&'a Path>,
}

/// When and what.
pub type Events = Vec<(Time, String)>;

/// Prints the curve of a run, which `command` replays; the exit code. It is 1, as the run fails, and 2 if there is
/// nothing to look for.
pub fn run(task: &Task<'_>, effort: Effort, files: Files<'_>, command: &str) -> u8 {
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
    let events = |[before, after]: [Point; 2]| events_between(task, before.at, after.at);
    let text = text(&curve, &events, command);
    // Whoever reads may have read enough: a closed pipe is no failure.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    let json = files.json.map_or(Ok(()), |file| write_json(file, &curve.to_json()));
    let html = || match files.html {
        Some(file) => write_text(file, &page(&curve, &events, command)),
        None => Ok(()),
    };
    match json.and_then(|()| html()) {
        Ok(()) => VIOLATED,
        Err(error) => {
            eprintln!("{error}");
            BAD_USAGE
        }
    }
}

/// What happened in a stretch of time.
fn events_between(task: &Task<'_>, from: Time, to: Time) -> Events {
    let until = Some(Time(to.0 + 1));
    let recorder = Recorder::new();
    task.clone().run_with(Options { traced: false, until }, false, Some(&recorder));
    told_between(&recorder.take(), from, to)
}

/// The table, the step, from where on the run always fails, and what happened at both places, which `events` tells.
pub fn text(curve: &Curve, events: &dyn Fn([Point; 2]) -> Events, command: &str) -> String {
    let Curve { violation, choices, redraws, points, step, sealed, .. } = curve;
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
        let is_step = step.is_some_and(|s| s.after.made == point.made);
        let is_sealed = step.is_some() && sealed.is_some_and(|[_, p]| p.made == point.made);
        let edge = match (is_step, is_sealed) {
            (true, _) => " <- the step",
            (false, true) => " <- no way back",
            (false, false) => "",
        };
        let (at, percent) = (point.at.to_string(), 100.0 * fraction);
        let made = point.made;
        text +=
            &format!("{at:>14} {made:>9}  {percent:>3.0} % {bar:<BAR$}{edge}{other}{undecided}");
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.push('\n');
    if step.is_none() {
        text += "no step: the plan makes it fail about as often whatever is drawn; look at its \
                 faults and commands (shrink)\n";
    }
    for place in places(curve) {
        text += &told(&place, events);
    }
    let until = sealed.map(|[_, after]| after.at.as_ms() + 1);
    match until {
        Some(until) => text + &format!("{command} --until {until}ms\n"),
        None => text + &format!("{command}\n"),
    }
}

/// A place of the curve that is worth a look.
pub struct Place {
    pub name: &'static str,
    pub between: [Point; 2],
    pub how: String,
}

/// The step, and from where on there is no way back, if that is another place.
pub fn places(curve: &Curve) -> Vec<Place> {
    let Some(Step { before, after, low, high }) = curve.step else { return Vec::new() };
    let how = format!("{:.0} % before, {:.0} % after", 100.0 * low, 100.0 * high);
    let mut places = vec![Place { name: "the step", between: [before, after], how }];
    if let Some(between) = curve.sealed.filter(|sealed| *sealed != [before, after]) {
        let how = "from there on every run fails".to_owned();
        places.push(Place { name: "no way back", between, how });
    }
    places
}

/// A place of the curve and what happened there.
fn told(place: &Place, events: &dyn Fn([Point; 2]) -> Events) -> String {
    let Place { name, between: [before, after], how } = place;
    let mut text = format!(
        "{name}: between {} (choice {}) and {} (choice {}): {how}\n",
        before.at, before.made, after.at, after.made
    );
    let events = events(place.between);
    let shown = &events[events.len().saturating_sub(EVENTS_MAX)..];
    text += &match events.len() - shown.len() {
        0 => "what happened there:\n".to_owned(),
        _ => format!("what happened there, the last {EVENTS_MAX} of {} events:\n", events.len()),
    };
    for (at, what) in shown {
        let cut = what.char_indices().nth(CHARS_MAX).map(|(at, _)| at);
        let (what, more) = cut.map_or((what.as_str(), ""), |cut| (&what[..cut], "…"));
        text += &format!("{:>14} {what}{more}\n", at.to_string());
    }
    text
}
