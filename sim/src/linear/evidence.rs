//! Why a history is not linearizable: the shortest prefix that has no order, and what its last
//! operation should have met instead.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use super::calls::{Call, Calls};
use super::check::Budget;
use super::history::{History, Process};
use super::model::Model;
use super::problem::{Job, Moment, Problem};
use super::search::{Found, Searched, search};
use super::value::Value;

/// Results tried instead of the one that does not fit, at most.
const RESULTS_MAX: usize = 24;
/// Operations listed under one heading, at most.
const LISTED_MAX: usize = 6;

/// An operation in plain words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Concerned {
    pub process: Process,
    pub what: String,
    /// Indexes among the history's events.
    pub invoked: usize,
    pub completed: Option<usize>,
    /// False: nobody knows whether it took effect.
    pub known: bool,
    /// Times of invocation and completion, ns, where the history has them.
    pub times: (Option<u64>, Option<u64>),
}

/// Operations of one kind, the first few of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct List {
    pub first: Vec<Concerned>,
    pub more: usize,
}

/// What shows that a key's operations have no order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    pub key: Option<Value>,
    /// Operations of the key that begin within the prefix.
    pub operations: usize,
    /// The event that ends the prefix: a completion.
    pub event: usize,
    /// False: the budget ended before it was certain that no shorter prefix has no order.
    pub shortest: bool,
    /// The operation of that completion.
    pub culprit: Concerned,
    /// What it could have met instead, each proved to have an order.
    pub expected: Vec<String>,
    /// True: it could have met nothing else.
    pub complete: bool,
    /// Operations that could have made the culprit's result right, had they come at another time.
    pub sources: List,
    /// Operations open when the culprit ended.
    pub meanwhile: List,
    /// Configurations searched to find all this.
    pub states: u64,
}

/// Finds the evidence for a key whose search got stuck at moment `at` of `problem`.
pub fn gather<M: Model>(
    history: &History,
    calls: &Calls,
    key: Option<Value>,
    problem: &Problem<'_, M>,
    at: usize,
    budget: &Budget<'_>,
) -> Evidence {
    let mut trials = Trials { budget, states: 0 };
    let (at, shortest) = trials.shortest_prefix(problem, at);
    let event = problem.events[at];
    let job = problem.jobs.iter().find(|job| job.returned == Some(event));
    let job = job.expect("a search gets stuck where an operation ends");
    let (expected, complete) = trials.alternatives(problem, job, at);
    let concerned = |job: &Job<M::Op>| {
        concerned(history, &calls.calls[job.call], problem.model.describe(&job.op), job)
    };
    let within = || problem.jobs.iter().filter(|other| other.invoked < event);
    let others = || within().filter(|other| other.call != job.call);
    let meanwhile = others().filter(|other| other.returned.is_none_or(|end| end > event));
    let sources = others().filter(|other| problem.model.concerns(&job.op, &expected, &other.op));
    Evidence {
        key,
        operations: within().count(),
        event,
        shortest,
        culprit: concerned(job),
        // The nearer the more telling.
        sources: List::of(sources.map(concerned).rev()),
        meanwhile: List::of(meanwhile.map(concerned).rev()),
        expected: expected.iter().map(|s| problem.model.contrast(&job.op, s)).collect(),
        complete,
        states: trials.states,
    }
}

/// Searches for the sake of the evidence.
struct Trials<'a> {
    budget: &'a Budget<'a>,
    states: u64,
}

impl Trials<'_> {
    /// Searches all moments before `end`.
    fn search<M: Model>(
        &mut self,
        problem: &Problem<'_, M>,
        end: usize,
        after: Option<usize>,
    ) -> Searched<M::State> {
        let states_max = self.budget.states_max.saturating_sub(self.states);
        let searched = search(problem, end, after, &Budget { states_max, ..*self.budget });
        self.states += searched.count;
        searched
    }

    /// The end of the shortest prefix without an order, and whether that is certain. All moments
    /// before `at` have an order; the whole has none.
    fn shortest_prefix<M: Model>(&mut self, problem: &Problem<'_, M>, at: usize) -> (usize, bool) {
        if !problem.model.looks_ahead() {
            return (at, true);
        }
        // A search that looks ahead stops earlier than it would have to.
        let (mut good, mut bad) = (at, problem.moments.len());
        while good + 1 < bad {
            let middle = usize::midpoint(good, bad);
            match self.search(problem, middle, None).found {
                Found::Order => good = middle,
                Found::Stuck { at } => (good, bad) = (good.max(at), middle),
                Found::GaveUp(_) => return (ending_before(problem, bad), false),
            }
        }
        (bad - 1, true)
    }

    /// States in one of which the job should have found the object, and whether these are all.
    fn alternatives<M: Model>(
        &mut self,
        problem: &Problem<'_, M>,
        job: &Job<M::Op>,
        at: usize,
    ) -> (Vec<M::State>, bool) {
        let invoked = problem.events.partition_point(|event| *event < job.invoked);
        let mut candidates = BTreeSet::new();
        for end in [at, at + 1] {
            candidates.extend(self.search(problem, end, Some(invoked)).states);
        }
        // The search leaves out states that nobody needs; but they may have been there.
        candidates.insert(problem.model.initial());
        let before = problem.jobs.iter().filter(|other| other.invoked < problem.events[at]);
        candidates.extend(before.filter_map(|other| problem.model.leaves(&other.op).cloned()));
        let mut candidates: Vec<M::State> = candidates.into_iter().collect();
        candidates.sort_by_key(|state| Reverse(problem.model.closeness(&job.op, state)));
        let mut complete = candidates.len() <= RESULTS_MAX && !problem.model.looks_ahead();
        let mut possible = Vec::new();
        for state in candidates.into_iter().take(RESULTS_MAX) {
            let Some(op) = problem.model.result_in(&job.op, &state) else { continue };
            let mut jobs = problem.jobs.clone();
            for other in jobs.iter_mut().filter(|other| other.call == job.call) {
                other.op = op.clone();
            }
            let Ok(changed) = Problem::new(problem.model, jobs, usize::MAX) else { continue };
            let end = changed.events.partition_point(|event| *event <= problem.events[at]);
            match self.search(&changed, end, None).found {
                Found::Order => possible.push(state),
                Found::Stuck { .. } => {}
                Found::GaveUp(_) => complete = false,
            }
        }
        (possible, complete)
    }
}

/// The last moment before `end` at which an operation ends.
fn ending_before<M: Model>(problem: &Problem<'_, M>, end: usize) -> usize {
    let ends = |at: &usize| matches!(problem.moments[*at], Moment::Returned(_));
    (0..end).rev().find(ends).expect("without an end there is an order")
}

fn concerned<Op>(history: &History, call: &Call, what: String, job: &Job<Op>) -> Concerned {
    let time = |event: usize| history.events[event].time;
    Concerned {
        process: call.process,
        what,
        invoked: call.invoked,
        completed: call.completed,
        known: job.returned.is_some(),
        times: (time(call.invoked), call.completed.and_then(time)),
    }
}

impl List {
    fn of(all: impl Iterator<Item = Concerned>) -> List {
        let mut list = List::default();
        for one in all {
            if list.first.len() < LISTED_MAX {
                list.first.push(one);
            } else {
                list.more += 1;
            }
        }
        list
    }
}

impl Evidence {
    /// In words. Events are named by their lines if there are `lines`, else by number from 1.
    pub fn text(&self, lines: Option<&[usize]>) -> String {
        let place = Place(lines);
        let mut text = String::new();
        let key = self.key.as_ref().map_or(String::new(), |key| format!(" of key {key}"));
        let shortest = if self.shortest {
            "the shortest prefix without an order"
        } else {
            "a prefix without an order (the budget did not last to look for a shorter one)"
        };
        let _ = writeln!(
            text,
            "{shortest} ends at {}: {} operations{key}",
            place.name(self.event),
            self.operations
        );
        let _ = writeln!(text, "  {}", place.describe(&self.culprit));
        match self.expected.as_slice() {
            [] => {}
            [one] if self.complete => {
                let _ = writeln!(text, "expected at that time, and nothing else: {one}");
            }
            all => {
                let other = if self.complete { "one of" } else { "for example" };
                let _ = writeln!(text, "expected at that time, {other}: {}", all.join(" | "));
            }
        }
        for (title, list) in [
            ("operations that bear on the result:", &self.sources),
            ("still running when it ended:", &self.meanwhile),
        ] {
            if list.first.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{title}");
            for one in &list.first {
                let _ = writeln!(text, "  {}", place.describe(one));
            }
            if list.more > 0 {
                let _ = writeln!(text, "  and {} more", list.more);
            }
        }
        text
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(None).trim_end())
    }
}

/// How events are named.
struct Place<'a>(Option<&'a [usize]>);

impl Place<'_> {
    fn number(&self, event: usize) -> usize {
        self.0.and_then(|lines| lines.get(event)).copied().unwrap_or(event + 1)
    }

    fn word(&self) -> &'static str {
        if self.0.is_some() { "line" } else { "event" }
    }

    fn name(&self, event: usize) -> String {
        format!("{} {}", self.word(), self.number(event))
    }

    fn describe(&self, one: &Concerned) -> String {
        let secs = |ns: u64| format!(" at {}.{:06} s", ns / 1_000_000_000, ns / 1000 % 1_000_000);
        let time = |ns: Option<u64>| ns.map_or(String::new(), secs);
        let mut text = format!(
            "process {}: {} (invoked {}{}",
            one.process.0,
            one.what,
            self.name(one.invoked),
            time(one.times.0)
        );
        match one.completed {
            Some(event) if one.known => {
                let _ = write!(text, ", completed {}{})", self.name(event), time(one.times.1));
            }
            Some(event) => {
                let at = time(one.times.1);
                let _ = write!(text, ", outcome unknown, given up {}{at})", self.name(event));
            }
            None => text.push_str(", outcome unknown, no completion)"),
        }
        text
    }
}
