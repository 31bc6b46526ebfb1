//! A run as a file: its plan, and every choice that was made in it. It can be run again when seeds make
//! other plans or draw other numbers.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ordered::Bounds;
use crate::decide::{Decision, Decisions, Kind};
use crate::plan::Plan;

/// A plan, and the choices of a run of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recording {
    pub plan: Plan,
    /// The order of events was decided within these bounds, instead of drawn from latencies.
    pub order: Option<Bounds>,
    /// In the order in which they were made, kind by kind.
    pub decisions: Vec<OfKind>,
}

/// The choices of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OfKind {
    pub kind: Kind,
    pub values: Vec<u64>,
}

/// What a file that holds a plan may hold besides is not looked at.
#[derive(Deserialize)]
struct Planned {
    plan: Plan,
}

impl Recording {
    pub fn new(plan: &Plan, order: Option<Bounds>, made: &[Decision]) -> Recording {
        let mut decisions: Vec<OfKind> = Vec::new();
        for decision in made {
            match decisions.iter_mut().find(|of| of.kind == decision.kind) {
                Some(of) => of.values.push(decision.value),
                None => {
                    let (kind, values) = (decision.kind, vec![decision.value]);
                    decisions.push(OfKind { kind, values });
                }
            }
        }
        decisions.sort_by_key(|of| of.kind);
        for of in &mut decisions {
            // Where a recording has run out, choices are zeros.
            let needed = of.values.iter().rposition(|&value| value != 0).map_or(0, |last| last + 1);
            of.values.truncate(needed);
        }
        decisions.retain(|of| !of.values.is_empty());
        Recording { plan: plan.clone(), order, decisions }
    }

    /// The source that makes these choices again.
    pub fn source(&self) -> Decisions {
        let lists = self.decisions.iter();
        Decisions::from_lists(lists.map(|of| (of.kind, of.values.iter().copied())))
    }

    /// # Errors
    /// The file cannot be written: why.
    pub fn write(&self, file: &Path) -> Result<(), String> {
        write_json(file, self)
    }

    /// # Errors
    /// It cannot be read, or holds something else: which line, and what was expected there.
    pub fn read(file: &Path) -> Result<Recording, String> {
        read_json(file)
    }
}

/// The plan in a file: one written with `--save`, `--json` or `--record`.
///
/// # Errors
/// It cannot be read, or holds no plan: which line, and what was expected there.
pub fn read_plan(file: &Path) -> Result<Plan, String> {
    let Planned { plan } = read_json(file)?;
    Ok(plan)
}

/// Writes a plan alone.
///
/// # Errors
/// The file cannot be written: why.
pub fn write_plan(file: &Path, plan: &Plan) -> Result<(), String> {
    #[derive(Serialize)]
    struct Planned<'p> {
        plan: &'p Plan,
    }
    write_json(file, &Planned { plan })
}

/// Writes something as JSON, in one line.
///
/// # Errors
/// The file cannot be written: why.
pub fn write_json(file: &Path, what: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_string(what).map_err(|error| error.to_string())?;
    fs::write(file, text + "\n").map_err(|error| format!("{}: {error}", file.display()))
}

fn read_json<T: for<'a> Deserialize<'a>>(file: &Path) -> Result<T, String> {
    let name = file.display();
    let text = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("{name}:{}: {error}", error.line()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Profile;
    use crate::runner::task::Task;

    #[test]
    fn a_recorded_run_is_the_same_run_again() {
        for seed in 0..4 {
            let plan = Plan::generate(Profile::Smoke, seed);
            let first = Task::of(&plan).run(true);
            let recording = Recording::new(&plan, None, &first.decisions);
            let text = serde_json::to_string(&recording).expect("plain data");
            let back: Recording = serde_json::from_str(&text).expect("what was written");
            assert_eq!(back, recording);
            let again = Task::recorded(&back).run(true);
            assert_eq!(again.outcome.digest, first.outcome.digest, "seed {seed}");
            assert_eq!(again.decisions, first.decisions);
            // With other choices it is another run.
            let mut other = back.clone();
            other.decisions.retain(|of| of.kind != Kind::Latency);
            assert_ne!(Task::recorded(&other).run(false).outcome.digest, first.outcome.digest);
        }
    }
}
