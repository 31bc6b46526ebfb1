//! The verdict on a history: key by key, the easy ones first.

use std::collections::BTreeMap;

use super::calls::{Calls, Impossible, Outcome};
use super::evidence::{Evidence, gather};
use super::history::{Function, History};
use super::kv::Kv;
use super::model::Model;
use super::problem::{Job, Problem};
use super::register::Register;
use super::search::{Found, search};
use super::value::Value;

/// What may be spent on a history. Where it is not enough the verdict is Undecided.
#[derive(Copy, Clone)]
pub struct Budget<'a> {
    /// Configurations, for all keys together.
    pub states_max: u64,
    /// Memory at any one time, bytes, roughly.
    pub bytes_max: usize,
    /// Asked before each step; true ends the search. A clock belongs here, or nothing at all where
    /// equal histories must get equal verdicts.
    pub stop: &'a dyn Fn() -> bool,
}

/// What was used up.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Limit {
    States,
    Bytes,
    Time,
    /// More operations of one key are open at once than the search has bits for.
    Concurrency,
}

impl Limit {
    pub fn name(self) -> &'static str {
        match self {
            Limit::States => "states",
            Limit::Bytes => "memory",
            Limit::Time => "time",
            Limit::Concurrency => "4096 operations of one key open at once",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undecided {
    pub limit: Limit,
    /// The keys that have no verdict.
    pub keys: Vec<Option<Value>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Linearizable.
    Ok,
    /// Not linearizable.
    Violated(Box<Evidence>),
    /// No violation found, none ruled out.
    Undecided(Undecided),
}

/// A verdict and what it took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub verdict: Verdict,
    pub model: &'static str,
    /// Operations with a result.
    pub answered: usize,
    /// Operations of unknown outcome.
    pub unknown: usize,
    /// Operations without effect.
    pub failed: usize,
    pub keys: usize,
    /// Configurations searched.
    pub states: u64,
}

/// The specifications that histories are written for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Specification {
    Register,
    Kv,
}

impl Specification {
    pub const ALL: [Specification; 2] = [Specification::Register, Specification::Kv];

    pub fn name(self) -> &'static str {
        match self {
            Specification::Register => Register.name(),
            Specification::Kv => Kv.name(),
        }
    }

    /// The one whose operations the first event names.
    pub fn of(history: &History) -> Specification {
        match history.events.first().map(|event| event.function) {
            Some(Function::Get | Function::Append | Function::Put) => Specification::Kv,
            Some(Function::Read | Function::Write | Function::Cas) | None => {
                Specification::Register
            }
        }
    }
}

/// Checks a history. An error names an event that no process or no such object can have made.
pub fn check(
    history: &History,
    specification: Specification,
    budget: &Budget<'_>,
) -> Result<Report, Impossible> {
    match specification {
        Specification::Register => check_with(&Register, history, budget),
        Specification::Kv => check_with(&Kv, history, budget),
    }
}

/// States that each key gets in the first round; eight times as many in each round that follows.
const FIRST_ROUND: u64 = 4096;

/// Checks a history against any model, each key for itself.
pub fn check_with<M: Model>(
    model: &M,
    history: &History,
    budget: &Budget<'_>,
) -> Result<Report, Impossible> {
    let calls = Calls::of(history)?;
    let mut waiting = by_key(model, history, &calls)?;
    let unknown = calls.calls.iter().filter(|call| call.outcome == Outcome::Unknown).count();
    let mut report = Report {
        verdict: Verdict::Ok,
        model: model.name(),
        answered: calls.calls.len() - unknown,
        unknown,
        failed: calls.failed,
        keys: waiting.len(),
        states: 0,
    };
    let (mut given_up, mut limit) = (Vec::new(), Limit::States);
    // A key that takes long must not hide a violation of another one.
    let mut round = FIRST_ROUND;
    while !waiting.is_empty() {
        let slice = if waiting.len() == 1 { u64::MAX } else { round };
        for (key, jobs) in std::mem::take(&mut waiting) {
            let left = budget.states_max.saturating_sub(report.states);
            let tried = Budget { states_max: left.min(slice), ..*budget };
            match one_key(model, &jobs, &tried, &mut report.states) {
                One::Ok => {}
                One::Stuck { problem, at } => {
                    let evidence = gather(history, &calls, key, &problem, at, budget);
                    report.states += evidence.states;
                    report.verdict = Verdict::Violated(Box::new(evidence));
                    return Ok(report);
                }
                One::GaveUp(Limit::States) if slice < left => waiting.push((key, jobs)),
                One::GaveUp(reason) => {
                    limit = reason;
                    given_up.push(key);
                }
            }
        }
        round = round.saturating_mul(8);
    }
    if !given_up.is_empty() {
        report.verdict = Verdict::Undecided(Undecided { limit, keys: given_up });
    }
    Ok(report)
}

type Keyed<Op> = Vec<(Option<Value>, Vec<Job<Op>>)>;

/// The operations of each key, the shortest list first.
fn by_key<M: Model>(
    model: &M,
    history: &History,
    calls: &Calls,
) -> Result<Keyed<M::Op>, Impossible> {
    let mut keys: BTreeMap<Option<Value>, Vec<Job<M::Op>>> = BTreeMap::new();
    for (index, call) in calls.calls.iter().enumerate() {
        let op = model.op(call).map_err(|unfit| {
            let event = call.completed.filter(|_| unfit.completion).unwrap_or(call.invoked);
            let shown = &history.events[event];
            let found = format!(":{} {}", shown.function.name(), shown.value);
            Impossible { event, expected: unfit.expected, found }
        })?;
        let returned = match call.outcome {
            Outcome::Known(_) => call.completed,
            Outcome::Unknown => None,
        };
        let jobs = keys.entry(call.key.clone()).or_default();
        jobs.extend(op.map(|op| Job { op, call: index, invoked: call.invoked, returned }));
    }
    let mut keyed: Keyed<M::Op> = keys.into_iter().collect();
    keyed.sort_by_key(|(_, jobs)| jobs.len());
    Ok(keyed)
}

enum One<'m, M: Model> {
    Ok,
    Stuck { problem: Box<Problem<'m, M>>, at: usize },
    GaveUp(Limit),
}

fn one_key<'m, M: Model>(
    model: &'m M,
    jobs: &[Job<M::Op>],
    budget: &Budget<'_>,
    states: &mut u64,
) -> One<'m, M> {
    let open_max = budget.bytes_max / size_of::<u32>();
    let Ok(problem) = Problem::new(model, jobs.to_vec(), open_max) else {
        return One::GaveUp(Limit::Bytes);
    };
    let searched = search(&problem, problem.moments.len(), None, budget);
    *states += searched.count;
    match searched.found {
        Found::Order => One::Ok,
        Found::Stuck { at } => One::Stuck { problem: Box::new(problem), at },
        Found::GaveUp(limit) => One::GaveUp(limit),
    }
}
