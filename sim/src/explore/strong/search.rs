//! Goes through all orders of a small strong cluster, depth first. Each state is gone on from once.

// A table of numbers that are as good as random: nothing is ever read from it in its order.
#![allow(clippy::disallowed_types)]

use std::collections::{BTreeMap, HashSet};
use std::mem::size_of;

use foldhash::fast::FixedState;
use quorate::base::mutant::Mutants;

use super::world::{Size, Step, World};
use crate::check::Violation;
use crate::runner::campaign::caught;

/// What has been gone through.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub states: u64,
    /// Steps from one state to another, known ones included.
    pub transitions: u64,
    /// States in which nothing may happen any more, by how many writes were acknowledged.
    pub ends: BTreeMap<usize, u64>,
    /// Of these, by how many regimes have served.
    pub regimes: BTreeMap<usize, u64>,
    /// Of these, in how many a read was answered.
    pub reads: u64,
    /// Steps in the longest order that was gone through.
    pub depth: usize,
    /// Rare paths of the protocol, by how many steps have taken them.
    pub labels: BTreeMap<&'static str, u64>,
}

/// An order that breaks something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    pub what: String,
    pub order: Vec<Step>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    More,
    Failed(Failed),
    Exhausted,
    /// Memory for so many states only.
    Full,
}

/// A search under way.
pub struct Search {
    seen: HashSet<u128, FixedState>,
    states_max: usize,
    /// From the beginning to where the search is.
    path: Vec<Branching>,
    counts: Counts,
    text: String,
}

/// A state on the path.
struct Branching {
    world: World,
    /// What has led to it.
    step: Option<Step>,
    steps: Vec<Step>,
    /// Which of them comes next.
    next: usize,
    /// One of them has led somewhere.
    goes_on: bool,
}

impl Search {
    /// # Errors
    /// What does not hold before anything happens.
    pub fn new(size: Size, mutants: Mutants, memory_bytes: usize) -> Result<Search, String> {
        let world = World::at_rest(size, mutants)?;
        let mut search = Search {
            seen: HashSet::default(),
            // A table is at most seven eighths full, and doubled then: both are there for a moment.
            states_max: memory_bytes / (2 * size_of::<u128>()),
            path: Vec::new(),
            counts: Counts::default(),
            text: String::new(),
        };
        search.arrive(world, None);
        Ok(search)
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// So many more steps.
    pub fn go_on(&mut self, count: u32) -> Progress {
        let mut progress = Progress::More;
        let outcome = caught(&mut || {
            for _ in 0..count {
                match self.step() {
                    Progress::More => {}
                    end @ (Progress::Failed(_) | Progress::Exhausted | Progress::Full) => {
                        progress = end;
                        break;
                    }
                }
            }
        });
        match outcome {
            Ok(()) => progress,
            // (The protocol's own assertions are checks, too.)
            Err(Violation { evidence, .. }) => {
                Progress::Failed(Failed { what: evidence, order: self.order() })
            }
        }
    }

    fn step(&mut self) -> Progress {
        let Some(last) = self.path.last_mut() else { return Progress::Exhausted };
        let Some(&step) = last.steps.get(last.next) else {
            let last = self.path.pop();
            if let Some(ended) = last.filter(|last| !last.goes_on) {
                self.end(&ended.world);
            }
            return if self.path.is_empty() { Progress::Exhausted } else { Progress::More };
        };
        last.next += 1;
        match last.world.after(step) {
            Ok(None) => Progress::More,
            Ok(Some(world)) => {
                last.goes_on = true;
                self.counts.transitions += 1;
                for label in &world.labels {
                    *self.counts.labels.entry(label).or_default() += 1;
                }
                self.arrive(world, Some(step));
                if self.seen.len() > self.states_max { Progress::Full } else { Progress::More }
            }
            Err(what) => Progress::Failed(Failed { what, order: self.order() }),
        }
    }

    /// The steps that have led to where the search is, with the one that was being taken.
    fn order(&self) -> Vec<Step> {
        let mut order: Vec<Step> = self.path.iter().filter_map(|state| state.step).collect();
        let last = self.path.last();
        order.extend(last.and_then(|last| last.steps.get(last.next.checked_sub(1)?)));
        order
    }

    fn arrive(&mut self, world: World, step: Option<Step>) {
        let print = world.print(&mut self.text);
        if self.seen.insert(print) {
            self.counts.states += 1;
            // Each state begins with another of its ways: the first orders are not all of one kind.
            let mut steps = world.steps();
            let first = print % steps.len().max(1) as u128;
            steps.rotate_left(first as usize);
            self.path.push(Branching { world, step, steps, next: 0, goes_on: false });
            self.counts.depth = self.counts.depth.max(self.path.len() - 1);
        }
    }

    fn end(&mut self, world: &World) {
        let checks = world.checks();
        *self.counts.ends.entry(checks.acked.len()).or_default() += 1;
        *self.counts.regimes.entry(world.regimes()).or_default() += 1;
        self.counts.reads += u64::from(checks.reads_done > 0);
    }
}
