//! How likely a failing run is to fail from each of its points on: it is rewound to many of them, the
//! choices after each are drawn afresh several times, and it is counted how often the same property fails.
//! Where the curve steps up is where the run went wrong.

pub mod cli;
mod curve;
mod page;
#[cfg(test)]
mod tests;

use quorate::base::rng::Rng;

pub use self::curve::{Curve, Point, Step};
use crate::check::{Property, Verdict};
use crate::decide::{Decision, Decisions};
use crate::runner::parallel::in_parallel;
use crate::runner::player::Pace;
use crate::runner::task::Task;
use crate::time::Time;

/// How often the curve is looked at more closely where it steps.
const ZOOMS: usize = 2;

/// How closely to look.
#[derive(Copy, Clone, Debug)]
pub struct Effort {
    /// Points the run is rewound to; a quarter as many more between the two where the curve steps, twice, and
    /// between those from where on it always fails.
    pub points: usize,
    /// Runs from each point.
    pub redraws: u32,
    /// Threads.
    pub jobs: usize,
}

/// Why there is no curve.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotFailing {
    Holds,
    /// What ran out.
    Undecided(String),
}

/// The curve of a failing run. The plan stays as it is; only choices after a point are others. The same
/// task and effort give the same curve, whatever the number of threads.
///
/// # Errors
/// The run does not fail.
pub fn likelihood(task: &Task<'_>, effort: Effort) -> Result<Curve, NotFailing> {
    let ran = task.clone().run(true);
    let violation = match ran.outcome.verdict {
        Verdict::Violated(violation) => violation,
        Verdict::Ok => return Err(NotFailing::Holds),
        Verdict::Undecided { budget } => return Err(NotFailing::Undecided(budget)),
    };
    let rewinder = Rewinder { task, made: &ran.decisions, property: violation.property, effort };
    let load_ends = Time::from_ms(task.plan.load_ms);
    let places = places(&ran.pace, ran.decisions.len(), load_ends, effort.points);
    let mut points = rewinder.points(&places);
    let closer = |before: Point, after: Point| {
        let is_within = |p: &&Pace| before.made < p.made && p.made < after.made;
        let within: Vec<Pace> = ran.pace.iter().filter(is_within).copied().collect();
        rewinder.points(&thinned(&within, effort.points.div_ceil(4)))
    };
    let mut step = curve::step_of(&points);
    for _ in 0..ZOOMS {
        let Some(found) = step else { break };
        let new = closer(found.before, found.after);
        let part: Vec<Point> =
            [found.before].into_iter().chain(new.iter().copied()).chain([found.after]).collect();
        step = Some(curve::edge(&part, found));
        add(&mut points, new);
    }
    for _ in 0..ZOOMS {
        let Some([before, after]) = curve::sealed(&points) else { break };
        add(&mut points, closer(before, after));
    }
    let step = step.map(|step| step.with_means(&points));
    let sealed = curve::sealed(&points);
    let (choices, redraws) = (ran.decisions.len(), effort.redraws);
    Ok(Curve { violation, digest: ran.outcome.digest, choices, redraws, points, step, sealed })
}

/// From the beginning to the end, about so many points with the same number of choices between them; but at
/// least three in four while load and faults last: a run that waits for its core to converge may wait for long.
fn places(pace: &[Pace], made: usize, load_ends: Time, count: usize) -> Vec<Pace> {
    let of_load = pace.partition_point(|p| p.at <= load_ends);
    let until = if of_load == pace.len() { made } else { pace[of_load].made };
    let before = (count * until / made.max(1)).max(3 * count / 4).max(1);
    let after = if until < made { (count - before.min(count)).max(1) } else { 0 };
    let wanted = (1..=before).map(|nth| nth * until / before);
    let wanted = wanted.chain((1..=after).map(|nth| until + nth * (made - until) / after));
    let mut places = vec![Pace { made: 0, at: Time::ZERO }];
    for wanted in wanted {
        places.extend(pace.get(pace.partition_point(|p| p.made < wanted)).copied());
    }
    let at = pace.last().map_or(Time::ZERO, |last| last.at);
    places.push(Pace { made, at });
    places.sort_unstable();
    places.dedup_by_key(|place| place.made);
    places
}

/// Puts more points among others, in the order of the run.
fn add(points: &mut Vec<Point>, more: Vec<Point>) {
    points.extend(more);
    points.sort_by_key(|point| point.made);
}

/// At most so many of them, evenly.
fn thinned(pace: &[Pace], count: usize) -> Vec<Pace> {
    if pace.len() <= count {
        return pace.to_vec();
    }
    (0..count).map(|nth| pace[(2 * nth + 1) * pace.len() / (2 * count)]).collect()
}

/// Runs a task again from points of it.
struct Rewinder<'a> {
    task: &'a Task<'a>,
    made: &'a [Decision],
    property: Property,
    effort: Effort,
}

impl Rewinder<'_> {
    fn points(&self, places: &[Pace]) -> Vec<Point> {
        let each = self.effort.redraws as usize;
        let verdicts = in_parallel(places.len() * each, self.effort.jobs, "runs", &|number| {
            self.redrawn(places[number / each].made, number % each)
        });
        let mut points = Vec::with_capacity(places.len());
        for (place, verdicts) in places.iter().zip(verdicts.chunks(each)) {
            let mut point = Point { at: place.at, made: place.made, ..Point::default() };
            for verdict in verdicts {
                match verdict {
                    Verdict::Violated(v) if v.property == self.property => point.same += 1,
                    Verdict::Violated(_) => point.other += 1,
                    Verdict::Ok => point.held += 1,
                    Verdict::Undecided { .. } => point.undecided += 1,
                }
            }
            points.push(point);
        }
        points
    }

    /// The verdict on a run with the first choices as they were, and the others drawn from the number.
    fn redrawn(&self, made: usize, number: usize) -> Verdict {
        let mut seeds = Rng::fork(self.task.plan.seed, &format!("redraw {made} {number}"));
        let decisions = Decisions::rewound(&self.made[..made], seeds.below(u64::MAX));
        Task { decisions, ..self.task.clone() }.run(false).outcome.verdict
    }
}
