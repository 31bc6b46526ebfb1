//! Goes through all orders of a plan, depth first. Each run begins at the beginning and follows a list of
//! choices; where it comes to a state in which the search has been before, it ends.

use std::collections::BTreeMap;

use crate::check::{Property, Verdict, Violation};
use crate::decide::Decisions;
use crate::digest::fingerprint;
use crate::plan::Plan;
use crate::runner::campaign::caught;
use crate::runner::ordered::{Bounds, Ordered};
use crate::time::Time;

/// An order with more steps goes round in circles.
const STEPS_MAX: u64 = 100_000;

/// How far to go.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    pub bounds: Bounds,
    /// Choices in one order; beyond them the first one is taken always.
    pub depth: usize,
}

/// What has been gone through.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// States in which more than one thing may happen next.
    pub states: u64,
    /// States in which an order ends: all judged.
    pub ends: u64,
    /// Ways on from the states.
    pub transitions: u64,
    /// Orders from the beginning to an end. Stays at its maximum once it is there.
    pub orders: u128,
    pub runs: u64,
    /// Choices in the longest order, and steps of the longest, forced ones included.
    pub choices_max: usize,
    pub steps_max: u64,
}

/// An order that breaks something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    pub violation: Violation,
    pub order: Vec<u64>,
}

/// How a search stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    More,
    Failed(Failed),
    /// `exhausted`: no order is left out.
    Over {
        exhausted: bool,
    },
}

/// A search under way.
pub struct Search<'p> {
    plan: &'p Plan,
    limits: Limits,
    seen: BTreeMap<u128, Known>,
    /// From the beginning to where the search is.
    path: Vec<Branching>,
    counts: Counts,
    text: String,
}

/// A state on the path.
#[derive(Debug)]
struct Branching {
    state: u128,
    ways: u64,
    /// The way that is gone at present.
    at: u64,
    behind: Behind,
}

/// What lies behind a state, as far as it has been gone through.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Behind {
    orders: u128,
    /// Something was left out for its depth.
    cut: bool,
}

/// A state that has been left.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Known {
    behind: Behind,
    /// How many choices more there could be when it was gone through.
    depth_left: usize,
}

/// How a run ended.
enum End {
    /// Its last state is new, and was judged.
    Judged(Verdict),
    Known(Behind),
    Circles,
}

impl<'p> Search<'p> {
    pub fn new(plan: &'p Plan, limits: Limits) -> Search<'p> {
        Search {
            plan,
            limits,
            seen: BTreeMap::new(),
            path: Vec::new(),
            counts: Counts::default(),
            text: String::new(),
        }
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// One more run.
    pub fn go_on(&mut self) -> Progress {
        self.counts.runs += 1;
        let mut cut = false;
        let behind = match caught(&mut || self.run(&mut cut)) {
            Ok(End::Judged(Verdict::Ok)) => Behind { orders: 1, cut },
            Ok(End::Known(behind)) => Behind { orders: behind.orders, cut: behind.cut || cut },
            Ok(End::Judged(Verdict::Violated(violation))) | Err(violation) => {
                return Progress::Failed(Failed { violation, order: self.order() });
            }
            Ok(End::Judged(Verdict::Undecided { budget })) => {
                let violation = Violation { property: Property::Convergence, evidence: budget };
                return Progress::Failed(Failed { violation, order: self.order() });
            }
            Ok(End::Circles) => {
                let evidence = format!("after {STEPS_MAX} steps there is still something to do");
                let violation = Violation { property: Property::Convergence, evidence };
                return Progress::Failed(Failed { violation, order: self.order() });
            }
        };
        self.turn_back(behind)
    }

    /// The choices on the path.
    fn order(&self) -> Vec<u64> {
        self.path.iter().map(|branching| branching.at).collect()
    }

    /// Follows the path, and from its end on the first way everywhere.
    fn run(&mut self, cut: &mut bool) -> End {
        let decisions = Decisions::from_order(self.plan.seed, self.order());
        let mut run = Ordered::new(self.plan, self.limits.bounds, decisions, false, None);
        let mut choices = 0;
        loop {
            let steps = run.choices();
            if steps.is_empty() {
                break;
            }
            if steps.len() > 1 {
                if choices == self.path.len()
                    && let Some(behind) = self.arrive(&run, steps.len() as u64, cut)
                {
                    return End::Known(behind);
                }
                choices += 1;
            }
            if run.steps() > STEPS_MAX {
                return End::Circles;
            }
            run.choose(&steps);
        }
        self.counts.choices_max = self.counts.choices_max.max(choices);
        self.counts.steps_max = self.counts.steps_max.max(run.steps());
        if let Some(verdict) = run.broken() {
            return End::Judged(verdict);
        }
        let state = self.state_of(&run);
        let behind = Behind { orders: 1, cut: false };
        if self.seen.insert(state, Known { behind, depth_left: usize::MAX }).is_some() {
            return End::Known(behind);
        }
        self.counts.ends += 1;
        End::Judged(run.finish(Time::NEVER))
    }

    /// At a state with several ways on, beyond the path. What lies behind it, if that is known.
    fn arrive(&mut self, run: &Ordered<'_>, ways: u64, cut: &mut bool) -> Option<Behind> {
        let depth_left = self.limits.depth - self.path.len();
        if depth_left == 0 {
            *cut = true;
            return None;
        }
        let state = self.state_of(run);
        let known = self.seen.get(&state);
        if let Some(known) = known.filter(|k| !k.behind.cut || k.depth_left >= depth_left) {
            return Some(known.behind);
        }
        self.counts.states += u64::from(known.is_none());
        self.counts.transitions += ways;
        let behind = Behind { orders: 0, cut: false };
        self.path.push(Branching { state, ways, at: 0, behind });
        None
    }

    fn state_of(&mut self, run: &Ordered<'_>) -> u128 {
        self.text.clear();
        run.write_state(&mut self.text);
        fingerprint(&self.text)
    }

    /// The way gone last is done with: on to the next one, of the last state that has any.
    fn turn_back(&mut self, mut behind: Behind) -> Progress {
        while let Some(last) = self.path.last_mut() {
            last.behind.orders = last.behind.orders.saturating_add(behind.orders);
            last.behind.cut |= behind.cut;
            last.at += 1;
            if last.at < last.ways {
                return Progress::More;
            }
            behind = last.behind;
            let state = last.state;
            self.path.pop();
            let depth_left = self.limits.depth - self.path.len();
            self.seen.insert(state, Known { behind, depth_left });
        }
        self.counts.orders = behind.orders;
        Progress::Over { exhausted: !behind.cut }
    }
}
