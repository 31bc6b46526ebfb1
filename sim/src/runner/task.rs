//! What to run: a plan, where its choices come from, and whether the order of events is one of them.

use super::book::Line;
use super::campaign::guarded_mut;
use super::ordered::{Bounds, Ordered};
use super::outcome::Outcome;
use super::player::{Pace, Player};
use super::recording::Recording;
use super::run::{Options, outcome_of, run_player};
use crate::decide::{Decision, DecisionLog, Decisions};
use crate::plan::Plan;
use crate::trace::Recorder;
use crate::workload::history::History;

/// A run to be.
#[derive(Clone, Debug)]
pub struct Task<'p> {
    pub plan: &'p Plan,
    /// The order of events is decided within these bounds, instead of drawn from latencies.
    pub order: Option<Bounds>,
    pub decisions: Decisions,
}

/// All that is left of a run, also of one in which a node panicked.
#[derive(Debug)]
pub struct Ran {
    pub outcome: Outcome,
    /// What was printed of it, if that was asked for.
    pub lines: Vec<Line>,
    pub history: History,
    /// The choices made in it, if they were recorded.
    pub decisions: Vec<Decision>,
    /// How they were made over time, if they were recorded.
    pub pace: Vec<Pace>,
}

/// A run under way.
enum Running<'p> {
    Timed(Player<'p>),
    Ordered(Ordered<'p>),
}

impl<'p> Task<'p> {
    /// The plan with choices drawn from its seed.
    pub fn of(plan: &'p Plan) -> Task<'p> {
        Task { plan, order: None, decisions: Decisions::from_seed(plan.seed) }
    }

    pub fn recorded(recording: &'p Recording) -> Task<'p> {
        let Recording { plan, order, .. } = recording;
        Task { plan, order: *order, decisions: recording.source() }
    }

    /// Runs it to its end. A panic is a violation.
    pub fn run(self, record: bool) -> Ran {
        self.run_with(Options::default(), record, None)
    }

    pub fn run_with(mut self, options: Options, record: bool, tape: Option<&Recorder>) -> Ran {
        let log = DecisionLog::default();
        if record {
            self.decisions.record(&log);
        }
        let (seed, mut task, mut running) = (self.plan.seed, Some(self), None);
        let outcome = guarded_mut(seed, &mut || {
            let task = task.take().expect("it is run once");
            let running = running.insert(Running::new(task, options.traced, tape));
            running.player_mut().pace = record.then(Vec::new);
            running.run(options)
        });
        let mut ran = Ran {
            outcome,
            lines: Vec::new(),
            history: History::default(),
            decisions: log.take(),
            pace: Vec::new(),
        };
        if let Some(running) = running {
            let player = running.into_player();
            if let Some(tape) = tape {
                tape.with(|tape| tape.reached(player.world.now()));
            }
            ran.lines = player.book.trace.unwrap_or_default();
            ran.history = player.history;
            ran.pace = player.pace.unwrap_or_default();
        }
        ran
    }
}

impl<'p> Running<'p> {
    fn new(task: Task<'p>, traced: bool, tape: Option<&Recorder>) -> Running<'p> {
        let Task { plan, order, decisions } = task;
        match order {
            Some(bounds) => Running::Ordered(Ordered::new(plan, bounds, decisions, traced, tape)),
            None => Running::Timed(Player::new(plan, traced, tape, decisions)),
        }
    }

    fn run(&mut self, options: Options) -> Outcome {
        match self {
            Running::Timed(player) => run_player(player, options),
            Running::Ordered(ordered) => {
                let verdict = ordered.run(options.until);
                outcome_of(&ordered.player, verdict)
            }
        }
    }

    fn player_mut(&mut self) -> &mut Player<'p> {
        match self {
            Running::Timed(player) => player,
            Running::Ordered(ordered) => &mut ordered.player,
        }
    }

    fn into_player(self) -> Player<'p> {
        match self {
            Running::Timed(player) => player,
            Running::Ordered(ordered) => ordered.player,
        }
    }
}
