//! The checkers checked: each deliberate fault must be found, by a seed that holds without it.

pub mod cli;
pub mod kept;

use std::ops::Range;

use quorate::base::mutant::{Area, Mutant};

use self::kept::Kept;
use crate::check::{Verdict, Violation};
use crate::plan::{Plan, Profile};
use crate::runner::campaign::{Campaign, guarded};
use crate::runner::outcome::Outcome;
use crate::runner::parallel::in_parallel;
use crate::runner::run::{Options, run_plan};

/// Seeds of each profile within which every deliberate fault must be found.
pub const SEEDS_MAX: u64 = 5000;
/// Seeds that are kept of each fault: one may go with any change of the protocol.
const KEPT_EACH: usize = 3;

/// A fault that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub profile: Profile,
    pub seed: u64,
    pub violation: Violation,
}

/// What a fault's kept seeds have shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rechecked {
    pub mutant: Mutant,
    /// By the first seed that still finds it.
    pub found: Option<Found>,
    /// Seeds before it that do not find it any more.
    pub stale: Vec<Kept>,
    /// Seeds that fail without the fault, and how: that is no fault of the list.
    pub unsound: Vec<(Kept, Verdict)>,
}

impl Rechecked {
    pub fn is_well(&self) -> bool {
        self.found.is_some() && self.unsound.is_empty()
    }
}

/// Plans of the profiles that may find the fault, one profile after the other, until one finds it; None if none of the
/// first `within` does.
pub fn search(mutant: Mutant, within: u64, jobs: usize, progress: bool) -> Option<Found> {
    let whole = || 0..within;
    let profiles = profiles_of(mutant).iter();
    profiles.copied().find_map(|profile| first(mutant, profile, whole(), jobs, progress))
}

/// Where a fault is looked for: what concerns logs only where there are any.
fn profiles_of(mutant: Mutant) -> &'static [Profile] {
    match mutant.area() {
        Area::Durability => &[Profile::Durability],
        Area::Strong => &[Profile::Strong],
        Area::Merge
        | Area::Clock
        | Area::Tombstones
        | Area::Stream
        | Area::Vectors
        | Area::Sessions
        | Area::Horizon => &[Profile::Smoke, Profile::Active, Profile::Durability],
    }
}

/// The first seeds that find the fault, at most [`KEPT_EACH`], all of one profile.
pub fn search_some(mutant: Mutant, within: u64, jobs: usize, progress: bool) -> Vec<Found> {
    let mut found: Vec<Found> = search(mutant, within, jobs, progress).into_iter().collect();
    while let Some(Found { profile, seed, .. }) = found.last()
        && found.len() < KEPT_EACH
    {
        match first(mutant, *profile, seed + 1..within, jobs, progress) {
            Some(next) => found.push(next),
            None => break,
        }
    }
    found
}

/// The seeds of a list that still find the fault.
pub fn still_found(mutant: Mutant, kept: &[Kept]) -> Vec<Found> {
    let of_mutant = kept.iter().filter(|kept| kept.mutant == mutant);
    of_mutant.filter_map(|one| recheck_one(mutant, &[*one]).found).collect()
}

/// Looks whether every fault is still found by a seed that was kept of it.
pub fn recheck(mutants: &[Mutant], kept: &[Kept], jobs: usize) -> Vec<Rechecked> {
    in_parallel(mutants.len(), jobs, "mutants", &|nth| recheck_one(mutants[nth], kept))
}

fn recheck_one(mutant: Mutant, kept: &[Kept]) -> Rechecked {
    let mut rechecked = Rechecked { mutant, found: None, stale: Vec::new(), unsound: Vec::new() };
    for kept in kept.iter().filter(|kept| kept.mutant == mutant) {
        let Kept { profile, seed, .. } = *kept;
        let sound = outcome(profile, seed, None).verdict;
        if !sound.is_ok() {
            rechecked.unsound.push((*kept, sound));
            continue;
        }
        match outcome(profile, seed, Some(mutant)).verdict {
            Verdict::Violated(violation) => {
                rechecked.found = Some(Found { profile, seed, violation });
                break;
            }
            Verdict::Ok | Verdict::Undecided { .. } => rechecked.stale.push(*kept),
        }
    }
    rechecked
}

/// The first seed of a range that finds the fault.
fn first(
    mutant: Mutant,
    profile: Profile,
    seeds: Range<u64>,
    jobs: usize,
    progress: bool,
) -> Option<Found> {
    let campaign = Campaign { seeds, jobs, time: None, first_only: true, progress };
    let run = |seed| {
        let faulty = outcome(profile, seed, Some(mutant));
        // A seed that fails without the fault says nothing about it.
        let counts = faulty.verdict.is_ok() || outcome(profile, seed, None).verdict.is_ok();
        if counts { faulty } else { Outcome { verdict: Verdict::Ok, ..faulty } }
    };
    let report = campaign.run(&run);
    let worst = report.summary.worst()?.clone();
    match worst.verdict {
        Verdict::Violated(violation) => Some(Found { profile, seed: worst.seed, violation }),
        Verdict::Ok | Verdict::Undecided { .. } => None,
    }
}

fn outcome(profile: Profile, seed: u64, mutant: Option<Mutant>) -> Outcome {
    let mutant = mutant.map(|m| m.name().to_owned());
    let plan = Plan { mutant, ..Plan::generate(profile, seed) };
    guarded(seed, &|_| run_plan(&plan, Options::default()).outcome)
}
