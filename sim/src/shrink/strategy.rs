//! Plans for property tests: proptest draws a seed, and makes the plan of one that fails smaller by the passes
//! that [`super::shrink_plan`] uses.

use std::ops::Range;

use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use quorate::base::mutant::Mutant;

use super::plans::PlanShrinker;
use crate::plan::{Plan, Profile};

/// The plans of some seeds.
#[derive(Clone, Debug)]
pub struct Plans {
    profile: Profile,
    seeds: Range<u64>,
    mutant: Option<Mutant>,
}

/// The plans of a profile and of these seeds, with a deliberate fault in every node if one is named. They lose
/// what is not needed for a test to fail: losses and errors of clocks, faults, clients, commands.
pub fn plans(profile: Profile, seeds: Range<u64>, mutant: Option<Mutant>) -> Plans {
    Plans { profile, seeds, mutant }
}

/// One plan and the smaller ones it leads to.
#[derive(Clone, Debug)]
pub struct PlanTree {
    shrinker: PlanShrinker,
    /// The test is being run with the shrinker's candidate, not with its best plan.
    trying: bool,
}

impl Strategy for Plans {
    type Tree = PlanTree;
    type Value = Plan;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Plans> {
        let seed = self.seeds.new_tree(runner)?.current();
        let mutant = self.mutant.map(|m| m.name().to_owned());
        let plan = Plan { mutant, ..Plan::generate(self.profile, seed) };
        Ok(PlanTree { shrinker: PlanShrinker::new(plan), trying: false })
    }
}

impl ValueTree for PlanTree {
    type Value = Plan;

    fn current(&self) -> Plan {
        let plan = if self.trying { self.shrinker.candidate() } else { self.shrinker.best() };
        plan.clone()
    }

    /// The plan that was current fails.
    fn simplify(&mut self) -> bool {
        if self.trying {
            self.shrinker.accept();
        }
        self.trying = self.shrinker.advance();
        self.trying
    }

    /// The plan that was current holds: another part goes instead. In the end the smallest that fails is current.
    fn complicate(&mut self) -> bool {
        self.trying = self.trying && self.shrinker.advance();
        self.trying
    }
}
