//! Runs to look at: recorded on a tape, compared, written as a page.

use std::path::Path;

use quorate::base::mutant::Mutant;

use crate::check::Verdict;
use crate::decide::Decision;
use crate::page::{Shown, render};
use crate::plan::Plan;
use crate::runner::book::Line;
use crate::runner::outcome::Outcome;
use crate::runner::run::Options;
use crate::runner::summary::digest_text;
use crate::runner::task::{Ran, Task};
use crate::scenario::{self, outcome};
use crate::time::Time;
use crate::trace::parting::{Column, Event, in_order};
use crate::trace::{End, MessageKind, Recorder, Tape, parting};
use crate::workload::history::History;

/// A run that was recorded.
#[derive(Debug)]
pub struct Looked<O> {
    pub outcome: O,
    /// What was printed of it, if that was asked for.
    pub lines: Vec<Line>,
    /// What its clients asked and were told, if they were a plan's.
    pub history: History,
    /// Its choices, if they were kept.
    pub decisions: Vec<Decision>,
    pub tape: Tape,
    pub label: String,
    pub command: String,
}

/// How to look at a run.
#[derive(Copy, Clone, Debug, Default)]
pub struct Look {
    /// Stop at this simulated time.
    pub until: Option<Time>,
    pub on_tape: bool,
    /// Keep its choices.
    pub record: bool,
}

/// Runs a plan, with its lines of text, and if asked to on a tape.
pub fn run(plan: &Plan, until: Option<Time>, on_tape: bool) -> Looked<Outcome> {
    run_task(Task::of(plan), Look { until, on_tape, record: false }, command_of(plan))
}

/// The same of a run with choices from anywhere; `command` is what shows it again.
pub fn run_task(task: Task<'_>, look: Look, command: String) -> Looked<Outcome> {
    let Look { until, on_tape, record } = look;
    let recorder = Recorder::new();
    let tape = on_tape.then_some(&recorder);
    let label = label_of(task.plan);
    let ran = task.run_with(Options { traced: true, until }, record, tape);
    let Ran { outcome, lines, history, decisions, pace: _ } = ran;
    let mut tape = recorder.take();
    tape.finish(end_of(&outcome));
    Looked { outcome, lines, history, decisions, tape, label, command }
}

fn label_of(plan: &Plan) -> String {
    let with = plan.mutant.as_ref().map_or(String::new(), |m| format!(", mutant {m}"));
    format!("seed {}, profile {}{with}", plan.seed, plan.profile.name())
}

/// The command that runs a seed's plan again.
pub fn command_of(plan: &Plan) -> String {
    let with = plan.mutant.as_ref().map_or(String::new(), |m| format!(" --mutant {m}"));
    format!("cargo sim replay {} --profile {}{with}", plan.seed, plan.profile.name())
}

/// Plays a scenario in the simulated world on a tape.
pub fn scenario_on_tape(
    file: &Path,
    seed: u64,
    mutant: Option<Mutant>,
) -> Looked<outcome::Outcome> {
    let recorder = Recorder::new();
    let outcome = scenario::run_file_taped(file, seed, mutant, &recorder);
    let mut tape = recorder.take();
    tape.finish(end_of_scenario(&outcome.verdict));
    let name = file.file_name().map_or_else(|| file.to_string_lossy(), |n| n.to_string_lossy());
    let label = format!("{name}, seed {seed}");
    let command = format!("cargo sim scenario {} --seed {seed}", file.display());
    let (lines, history, decisions) = (Vec::new(), History::default(), Vec::new());
    Looked { outcome, lines, history, decisions, tape, label, command }
}

impl<O> Looked<O> {
    fn shown(&self) -> Shown<'_> {
        Shown { label: self.label.clone(), command: self.command.clone(), tape: &self.tape }
    }
}

/// Writes the page of a run, or of two.
///
/// # Errors
/// The file cannot be written: why.
pub fn write_page<O>(
    file: &Path,
    run: &Looked<O>,
    other: Option<&Looked<O>>,
) -> Result<(), String> {
    let runs: Vec<Shown<'_>> = std::iter::once(run).chain(other).map(Looked::shown).collect();
    let labels: Vec<&str> = runs.iter().map(|run| run.label.as_str()).collect();
    let html = render(&labels.join(" beside "), &runs);
    std::fs::write(file, html).map_err(|error| format!("{}: {error}", file.display()))
}

/// Where two runs part, for the terminal.
pub fn parting_text<O>(left: &Looked<O>, right: &Looked<O>) -> String {
    let Some(parting) = parting(&left.tape, &right.tape) else {
        return format!("{} and {} do not part", left.label, right.label);
    };
    let side = |run: &Looked<O>, event: Option<Event>| match event {
        Some(event) => format!("{} {}", Time(event.at), event_text(&run.tape, event)),
        None => "has ended".to_owned(),
    };
    format!(
        "the runs part after {} events\n  {}: {}\n  {}: {}",
        parting.same,
        left.label,
        side(left, parting.left),
        right.label,
        side(right, parting.right),
    )
}

/// What a tape tells of a stretch of time, both ends included: when and what. Acknowledgements are left out.
pub fn told_between(tape: &Tape, from: Time, until: Time) -> Vec<(Time, String)> {
    let is_ack = |event: &Event| match event.column {
        Column::Message => tape.messages[event.index].kind == MessageKind::TcpAck,
        Column::Mark | Column::Op => false,
    };
    let within = |event: &Event| (from.0..=until.0).contains(&event.at) && !is_ack(event);
    let events = in_order(tape).into_iter().filter(within);
    events.map(|event| (Time(event.at), event_text(tape, event))).collect()
}

fn event_text(tape: &Tape, event: Event) -> String {
    let host = |host: u16| tape.hosts[usize::from(host)].name.as_str();
    let text = |text: crate::trace::Text| tape.texts()[text.0 as usize].as_str();
    match event.column {
        Column::Mark => {
            let mark = &tape.marks[event.index];
            format!("{} {}", mark.host.map_or("plan", host), text(mark.text))
        }
        Column::Message => {
            let m = &tape.messages[event.index];
            format!("{} -> {} {:?}: {}", host(m.from), host(m.to), m.fate, text(m.text))
        }
        Column::Op => {
            let op = &tape.ops[event.index];
            format!("client of {}: {} -> {}", host(op.host), text(op.text), text(op.reply))
        }
    }
}

fn end_of(outcome: &Outcome) -> End {
    let (kind, title, evidence) = match &outcome.verdict {
        Verdict::Ok => ("held", "held: every property".to_owned(), String::new()),
        Verdict::Violated(violation) => {
            let title = format!("violated: {}", violation.property.name());
            ("violated", title, violation.evidence.clone())
        }
        Verdict::Undecided { budget } => ("undecided", "undecided".to_owned(), budget.clone()),
    };
    let digest = digest_text(outcome.digest);
    End { kind: kind.to_owned(), title, evidence, digest }
}

fn end_of_scenario(verdict: &outcome::Verdict) -> End {
    let end = |kind: &str, title: String, evidence: String, digest: String| End {
        kind: kind.to_owned(),
        title,
        evidence,
        digest,
    };
    match verdict {
        outcome::Verdict::Held(summary) => {
            let digest = summary.digest.map(digest_text).unwrap_or_default();
            let title = format!("held: all {} lines", summary.lines);
            end("held", title, String::new(), digest)
        }
        outcome::Verdict::Failed(failure) => {
            let title = format!("violated: line {}: {}", failure.line, failure.text);
            let evidence = format!("expected {}, got {}", failure.expected, failure.got);
            end("violated", title, evidence, String::new())
        }
        outcome::Verdict::BadFile { line, found, expected } => {
            let evidence = format!("line {line}: found {found}, expected {expected}");
            end("undecided", "the file cannot be played".to_owned(), evidence, String::new())
        }
        outcome::Verdict::Unavailable { line, why } => {
            let evidence = format!("line {line}: {why}");
            end("undecided", "not played to its end".to_owned(), evidence, String::new())
        }
        outcome::Verdict::Interrupted { line } => {
            let evidence = format!("line {line}: interrupted");
            end("undecided", "not played to its end".to_owned(), evidence, String::new())
        }
    }
}
