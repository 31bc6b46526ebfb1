//! From a failing seed to a short scenario file that fails in the same way without the seed.

mod bench;
pub mod cli;
mod convert;
mod ddmin;
mod draft;
mod passes;
mod plans;
#[cfg(feature = "proptest")]
pub mod strategy;

use std::time::Duration;

use quorate::base::mutant::Mutant;

use self::bench::Bench;
use self::convert::{draft_of, unsayable};
use self::draft::Draft;
use self::plans::smaller_plans;
use crate::check::{Property, Verdict};
use crate::plan::Plan;
use crate::runner::deeds::record_plan;

/// Seeds of the scenario that are tried before the file is given one of its own.
const SEEDS_TRIED: u64 = 50;

/// A short file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shrunk {
    pub text: String,
    /// What the seed breaks, and what the file does: if possible the same.
    pub property: Property,
    pub shows: Property,
    /// Files and plans that were played.
    pub tried: u64,
    /// Whether the time was over before nothing more could go.
    pub cut_short: bool,
}

/// Why there is no file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotShrunk {
    /// The seed holds, or could not be decided.
    Holds(Verdict),
    /// The property is broken by the plan's run only: what the file has no words for.
    Lost { property: Property, unsayable: Vec<&'static str> },
}

/// Shrinks the run of a plan, with its deliberate fault if it has one, for about `time`.
///
/// # Errors
/// The plan does not fail, or no file was found that fails in the same way.
pub fn shrink_plan(plan: &Plan, time: Duration, quiet: bool) -> Result<Shrunk, NotShrunk> {
    let recorded = record_plan(plan);
    let Verdict::Violated(violation) = &recorded.outcome.verdict else {
        return Err(NotShrunk::Holds(recorded.outcome.verdict));
    };
    let property = violation.property;
    let mutant = plan.mutant.as_deref().and_then(Mutant::from_name);
    let mut bench = Bench::new(property, mutant, time, quiet);
    let as_it_is = draft_of(plan, &recorded, property, title(plan, property));
    let found = failing_seed(&as_it_is, &mut bench)
        .or_else(|| from_a_smaller_plan(plan, &mut bench))
        .or_else(|| failing_otherwise(&as_it_is, &mut bench));
    let Some(mut draft) = found else {
        let unsayable = unsayable(plan, &recorded).into_iter().collect();
        return Err(NotShrunk::Lost { property, unsayable });
    };
    passes::shrink(&mut draft, &mut bench);
    bench.done();
    let (tried, cut_short) = (bench.tried(), bench.is_over());
    Ok(Shrunk { text: draft.text(), property, shows: bench.property, tried, cut_short })
}

/// The draft and its like with other seeds; first without a seed of its own.
fn seeded(draft: &Draft) -> impl Iterator<Item = Draft> {
    let seeds = std::iter::once(None).chain((1..SEEDS_TRIED).map(Some));
    seeds.map(|seed| Draft { seed, ..draft.clone() })
}

fn failing_seed(draft: &Draft, bench: &mut Bench) -> Option<Draft> {
    seeded(draft).find(|candidate| bench.fails(candidate))
}

/// A draft of the smallest of the plan's parts that a file repeats.
fn from_a_smaller_plan(plan: &Plan, bench: &mut Bench) -> Option<Draft> {
    let trail = smaller_plans(plan, bench);
    trail.iter().rev().find_map(|smaller| {
        let recorded = record_plan(smaller);
        let draft = draft_of(smaller, &recorded, bench.property, title(plan, bench.property));
        failing_seed(&draft, bench)
    })
}

/// A draft that breaks another promise by the same mistake: what clients were told, which the plan's run is judged
/// by, files do not tell.
fn failing_otherwise(draft: &Draft, bench: &mut Bench) -> Option<Draft> {
    seeded(draft).find_map(|mut candidate| {
        bench.property = bench.breaks(&candidate)?;
        let end = candidate.title.len() - 1;
        candidate.title.truncate(end);
        candidate.title.push_str(&format!("; here: {}.", bench.property.name()));
        Some(candidate)
    })
}

fn title(plan: &Plan, property: Property) -> String {
    let (seed, profile) = (plan.seed, plan.profile.name());
    let with = plan.mutant.as_ref().map_or(String::new(), |m| format!(" with mutant {m}"));
    format!("Seed {seed} of {profile}{with}: {}.", property.name())
}

#[cfg(test)]
mod tests;
