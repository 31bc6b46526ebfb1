//! `quorate-sim explore`: what it prints, and its exit codes.

// People wait for this verdict, so it is theirs to say how long.
#![allow(clippy::disallowed_methods)]

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::search::{Counts, Failed, Limits, Progress, Search};
use crate::cli::{BAD_USAGE, HELD, UNDECIDED, VIOLATED};
use crate::decide::Decisions;
use crate::look::{Look, run_task};
use crate::plan::Plan;
use crate::runner::player::name_of;
use crate::runner::recording::Recording;
use crate::runner::task::Task;

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// Goes through the orders of one plan for at most `time`. One that fails is written to `output`.
pub fn explore(plan: &Plan, limits: Limits, time: Duration, output: &Path) -> u8 {
    print!("{}", told(plan, limits));
    let began = Instant::now();
    let mut progress = Shown { began, last: began };
    let mut search = Search::new(plan, limits);
    let end = loop {
        match search.go_on() {
            Progress::More if began.elapsed() < time => progress.show(search.counts()),
            end @ (Progress::More | Progress::Failed(_) | Progress::Over { .. }) => break end,
        }
    };
    progress.clear();
    let secs = began.elapsed().as_secs_f64();
    let code = match end {
        Progress::Over { exhausted: true } => {
            println!("exhausted: every order holds");
            HELD
        }
        Progress::Over { exhausted: false } => {
            let depth = limits.depth;
            println!(
                "not exhausted: orders with more than {depth} choices were not gone through; \
                 --depth allows more"
            );
            UNDECIDED
        }
        Progress::More => {
            println!("not exhausted: the time is over; --time allows more");
            UNDECIDED
        }
        Progress::Failed(failed) => {
            println!("{}", figures(search.counts(), secs));
            return told_failed(plan, limits, &failed, output);
        }
    };
    println!("{}", figures(search.counts(), secs));
    code
}

/// What is gone through.
fn told(plan: &Plan, limits: Limits) -> String {
    let with = plan.mutant.as_ref().map_or(String::new(), |m| format!(", mutant {m}"));
    let mut text = format!("seed {}, profile {}{with}\n", plan.seed, plan.profile.name());
    for client in &plan.clients {
        let commands: Vec<String> = client.steps.iter().map(|s| s.command.to_string()).collect();
        text.push_str(&format!("  at {}: {}\n", name_of(client.host), commands.join("; ")));
    }
    for fault in &plan.faults {
        text.push_str(&format!("  {}, from and until any time\n", fault.kind));
    }
    let bounds = limits.bounds;
    text.push_str(&format!(
        "  time passes {}; while something is on its way between servers {}\n",
        times(bounds.rounds),
        times(bounds.delays.min(bounds.rounds))
    ));
    text
}

fn times(count: u32) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once at most".to_owned(),
        2 => "twice at most".to_owned(),
        _ => format!("{count} times at most"),
    }
}

fn figures(counts: &Counts, secs: f64) -> String {
    let Counts { states, ends, transitions, orders, runs, choices_max, steps_max } = counts;
    let orders = match *orders {
        0 => String::new(),
        u128::MAX => "more orders than can be counted, ".to_owned(),
        orders => format!("{orders} orders, "),
    };
    format!(
        "{states} states with a choice, {transitions} ways on from them, {ends} ends, each judged\n\
         {orders}at most {choices_max} choices and {steps_max} steps long; {runs} runs in \
         {secs:.1} s"
    )
}

/// Runs the order again, to tell it and to write it down.
fn told_failed(plan: &Plan, limits: Limits, failed: &Failed, output: &Path) -> u8 {
    let order = Some(limits.bounds);
    let decisions = Decisions::from_order(plan.seed, failed.order.iter().copied());
    let command = format!("cargo sim replay --decisions {}", output.display());
    let look = Look { until: None, on_tape: true, record: true };
    let looked = run_task(Task { plan, order, decisions }, look, command.clone());
    println!("the order:");
    for line in looked.lines.iter().filter(|line| line.who == "order") {
        println!("  {}", line.what);
    }
    eprintln!("violated: {}: {}", failed.violation.property.name(), failed.violation.evidence);
    if let Err(error) = Recording::new(plan, order, &looked.decisions).write(output) {
        eprintln!("{error}");
        return BAD_USAGE;
    }
    eprintln!("{command}");
    VIOLATED
}

/// Progress on a terminal.
struct Shown {
    began: Instant,
    last: Instant,
}

impl Shown {
    fn show(&mut self, counts: &Counts) {
        let now = Instant::now();
        let mut err = std::io::stderr().lock();
        if now < self.last + SHOW_EVERY || !err.is_terminal() {
            return;
        }
        self.last = now;
        let secs = now.duration_since(self.began).as_secs();
        let Counts { states, ends, runs, .. } = counts;
        let _ = write!(err, "\rexploring: {states} states, {ends} ends, {runs} runs, {secs} s   ");
        let _ = err.flush();
    }

    fn clear(&self) {
        let mut err = std::io::stderr().lock();
        if self.last > self.began {
            let _ = write!(err, "\r{:70}\r", "");
        }
    }
}
