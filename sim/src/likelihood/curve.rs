//! The curve and where it steps.

use serde::Serialize;

use crate::check::Violation;
use crate::time::Time;

/// By so much, of 1, the curve must rise for a step.
const RISE_MIN: f64 = 0.2;

/// A point of a run and what came of it from there.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Point {
    /// Simulated time.
    pub at: Time,
    /// Choices made before it, which stay as they were.
    pub made: usize,
    /// Runs from here in which the same property failed, another one, none, or that were not decided.
    pub same: u32,
    pub other: u32,
    pub held: u32,
    pub undecided: u32,
}

/// Where the curve steps up: between two points next to each other.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Step {
    pub before: Point,
    pub after: Point,
    /// How likely the run is to fail from points before and from points after, of 1: means.
    pub low: f64,
    pub high: f64,
}

/// How likely a run is to fail from each of its points on.
#[derive(Clone, Debug)]
pub struct Curve {
    /// What the run breaks.
    pub violation: Violation,
    pub digest: u64,
    /// Choices made in it.
    pub choices: usize,
    /// Runs from each point.
    pub redraws: u32,
    /// In the order of the run.
    pub points: Vec<Point>,
    /// None: it fails about as often from the beginning as from the end.
    pub step: Option<Step>,
    /// Two points next to each other: from the second one on all runs fail, but not from the first. None if all fail
    /// from the beginning.
    pub sealed: Option<[Point; 2]>,
}

/// The curve for programs. Times in ns.
#[derive(Serialize)]
struct Told<'c> {
    #[serde(flatten)]
    violation: &'c Violation,
    digest: String,
    choices: usize,
    redraws: u32,
    points: Vec<ToldPoint>,
    step: Option<ToldStep>,
    sealed: Option<ToldBetween>,
}

#[derive(Serialize)]
struct ToldPoint {
    at_ns: u64,
    choices: usize,
    same: u32,
    other: u32,
    held: u32,
    undecided: u32,
}

#[derive(Serialize)]
struct ToldStep {
    #[serde(flatten)]
    between: ToldBetween,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct ToldBetween {
    from_ns: u64,
    from_choices: usize,
    to_ns: u64,
    to_choices: usize,
}

impl Point {
    /// How likely the same property fails from here, of 1.
    pub fn fraction(&self) -> f64 {
        f64::from(self.same) / f64::from(self.runs().max(1))
    }

    fn runs(&self) -> u32 {
        self.same + self.other + self.held + self.undecided
    }
}

impl Curve {
    /// As JSON: `property`, `evidence`, `digest`, `choices`, `redraws`, `points`, `step` or null, `sealed` or null.
    pub fn to_json(&self) -> impl Serialize + '_ {
        let point = |p: &Point| ToldPoint {
            at_ns: p.at.0,
            choices: p.made,
            same: p.same,
            other: p.other,
            held: p.held,
            undecided: p.undecided,
        };
        let between = |[before, after]: &[Point; 2]| ToldBetween {
            from_ns: before.at.0,
            from_choices: before.made,
            to_ns: after.at.0,
            to_choices: after.made,
        };
        let step = |s: &Step| {
            let between = between(&[s.before, s.after]);
            ToldStep { between, low: s.low, high: s.high }
        };
        Told {
            violation: &self.violation,
            digest: format!("{:016x}", self.digest),
            choices: self.choices,
            redraws: self.redraws,
            points: self.points.iter().map(point).collect(),
            step: self.step.as_ref().map(step),
            sealed: self.sealed.as_ref().map(between),
        }
    }
}

impl Step {
    /// The same step with the means of all points of a curve, in order.
    pub(super) fn with_means(self, points: &[Point]) -> Step {
        let at = points.partition_point(|p| p.made < self.after.made);
        if at == 0 || at == points.len() {
            return self;
        }
        Step { low: mean(&points[..at]), high: mean(&points[at..]), ..self }
    }
}

fn mean(points: &[Point]) -> f64 {
    points.iter().map(Point::fraction).sum::<f64>() / points.len() as f64
}

/// How far points are from their mean, squared and added up.
fn spread(points: &[Point]) -> f64 {
    let mean = mean(points);
    points.iter().map(|p| (p.fraction() - mean).powi(2)).sum()
}

/// Where a line of two levels fits best; the first such place.
fn best_split(points: &[Point]) -> Option<usize> {
    let misfit = |at: &usize| spread(&points[..*at]) + spread(&points[*at..]);
    (1..points.len()).min_by(|a, b| misfit(a).total_cmp(&misfit(b)))
}

/// The step of a whole curve, in order, if it has one.
pub(super) fn step_of(points: &[Point]) -> Option<Step> {
    let at = best_split(points)?;
    let (low, high) = (mean(&points[..at]), mean(&points[at..]));
    let step = Step { before: points[at - 1], after: points[at], low, high };
    (high - low >= RISE_MIN).then_some(step)
}

/// From where on, of points in order, all runs fail: the last point from which one does not, and the next.
pub(super) fn sealed(points: &[Point]) -> Option<[Point; 2]> {
    let last = points.iter().rposition(|point| point.same < point.runs())?;
    Some([points[last], *points.get(last + 1)?])
}

/// The same step between closer points: those of one part of the curve, in order, of which the first is to be low
/// and the last one high.
pub(super) fn edge(part: &[Point], step: Step) -> Step {
    let level = |point: &Point| (point.fraction() - step.low) / (step.high - step.low);
    // Points before the split are to be low, those after it high.
    let misfit = |at: &usize| {
        let low: f64 = part[..*at].iter().map(|p| level(p).powi(2)).sum();
        let high: f64 = part[*at..].iter().map(|p| (1.0 - level(p)).powi(2)).sum();
        low + high
    };
    match (1..part.len()).min_by(|a, b| misfit(a).total_cmp(&misfit(b))) {
        Some(at) => Step { before: part[at - 1], after: part[at], ..step },
        None => step,
    }
}
