//! Tries drafts out: whether a file fails as it is to fail.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use quorate::base::mutant::Mutant;

use super::draft::Draft;
use crate::check::{Property, Verdict};
use crate::plan::Plan;
use crate::runner::campaign::{guarded, silently};
use crate::runner::run::{Options, run_plan};
use crate::scenario::outcome::Verdict as Played;
use crate::scenario::run_text;

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// What a file must do to count: break `property`, and with a deliberate fault hold without it.
pub struct Bench {
    pub property: Property,
    pub mutant: Option<Mutant>,
    began: Instant,
    deadline: Instant,
    shown: Option<Instant>,
    quiet: bool,
    tried: u64,
    known: BTreeMap<String, Option<Property>>,
}

impl Bench {
    pub fn new(property: Property, mutant: Option<Mutant>, time: Duration, quiet: bool) -> Bench {
        let began = Instant::now();
        Bench {
            property,
            mutant,
            began,
            deadline: began + time,
            shown: None,
            quiet,
            tried: 0,
            known: BTreeMap::new(),
        }
    }

    /// Whether the draft's file fails as it is to; never, once the time is over.
    pub fn fails(&mut self, draft: &Draft) -> bool {
        self.breaks(draft) == Some(self.property)
    }

    /// What the draft's file breaks; with a deliberate fault nothing, if it does not hold without it.
    pub fn breaks(&mut self, draft: &Draft) -> Option<Property> {
        let text = draft.text();
        if let Some(&known) = self.known.get(&text) {
            return known;
        }
        if self.is_over() {
            return None;
        }
        self.show(|| format!("{} lines", draft.lines()));
        self.tried += 1;
        let broken = self.judge(&text);
        self.known.insert(text, broken);
        broken
    }

    fn judge(&self, text: &str) -> Option<Property> {
        let broken = match silently(|| run_text(text, 0, self.mutant)) {
            Played::Failed(failure) => failure.property?,
            Played::Held(_)
            | Played::BadFile { .. }
            | Played::Unavailable { .. }
            | Played::Interrupted { .. } => return None,
        };
        let sound = || matches!(silently(|| run_text(text, 0, None)), Played::Held(_));
        (self.mutant.is_none() || sound()).then_some(broken)
    }

    /// Whether a plan fails as it is to.
    pub fn plan_fails(&mut self, plan: &Plan) -> bool {
        if self.is_over() {
            return false;
        }
        self.show(|| format!("{} commands, {} faults", plan.commands(), plan.faults.len()));
        self.tried += 1;
        let verdict = |plan: &Plan| {
            guarded(plan.seed, &|_| run_plan(plan, Options::default()).outcome).verdict
        };
        let broken = match verdict(plan) {
            Verdict::Violated(violation) => Some(violation.property),
            Verdict::Ok | Verdict::Undecided { .. } => None,
        };
        let sound = || Plan { mutant: None, ..plan.clone() };
        broken == Some(self.property) && (plan.mutant.is_none() || verdict(&sound()).is_ok())
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    pub fn tried(&self) -> u64 {
        self.tried
    }

    fn show(&mut self, what: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.quiet || self.shown.is_some_and(|at| now < at + SHOW_EVERY) {
            return;
        }
        self.shown = Some(now);
        let (what, tried) = (what(), self.tried);
        let secs = self.began.elapsed().as_secs();
        let mut err = std::io::stderr().lock();
        // A file of progress lines is better not one long line.
        let (from, to) = if err.is_terminal() { ("\r", "   ") } else { ("", "\n") };
        let _ = write!(err, "{from}shrinking: {what}, {tried} tried, {secs} s{to}");
    }

    /// Ends the line of progress.
    pub fn done(&self) {
        let mut err = std::io::stderr().lock();
        if self.shown.is_some() && err.is_terminal() {
            let _ = writeln!(err);
        }
    }
}
