//! Many seeds in parallel. The worlds are single-threaded; only here are threads and real clocks.
#![allow(clippy::disallowed_methods)]

use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::labels::LabelSet;
use super::outcome::{Counts, Outcome};
use super::summary::Summary;
use crate::check::{Property, Verdict, Violation};

/// One in so many seeds is run twice and must give the same digest.
const RERUN_ONE_IN: u64 = 64;
/// After so many violated seeds a campaign ends.
const FAILURES_MAX: u64 = 200;
/// Seeds that a worker takes at once.
const BATCH: u64 = 4;

/// What to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    pub seeds: Range<u64>,
    pub jobs: usize,
    pub time: Option<Duration>,
    /// Stop at the first violated seed; smaller seeds already under way are finished.
    pub first_only: bool,
    pub progress: bool,
}

/// A campaign's result and how long it took.
#[derive(Clone, Debug)]
pub struct Report {
    pub summary: Summary,
    pub secs: f64,
    /// Processor time; where the system does not tell, the time the workers took.
    pub cpu_secs: f64,
}

struct Shared {
    next: AtomicU64,
    deliveries: AtomicU64,
    failures: AtomicU64,
    stop: AtomicBool,
    running: Mutex<usize>,
    done: Condvar,
}

impl Campaign {
    /// Runs every seed with `run`, which must be a pure function of the seed.
    pub fn run(&self, run: &(dyn Fn(u64) -> Outcome + Sync)) -> Report {
        silence_panics();
        let began = Instant::now();
        let cpu_before = process_cpu_secs();
        let shared = Shared {
            next: AtomicU64::new(self.seeds.start),
            deliveries: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            running: Mutex::new(self.jobs),
            done: Condvar::new(),
        };
        let mut summary = Summary::default();
        let mut cpu_secs = 0.0;
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..self.jobs).map(|_| scope.spawn(|| self.work(&shared, run, began))).collect();
            self.watch(&shared, began);
            for worker in workers {
                let (part, busy) = worker.join().expect("workers catch the panics of their seeds");
                summary.merge(part);
                cpu_secs += busy;
            }
        });
        if let (Some(before), Some(after)) = (cpu_before, process_cpu_secs()) {
            cpu_secs = after - before;
        }
        Report { summary, secs: began.elapsed().as_secs_f64(), cpu_secs }
    }

    fn work(
        &self,
        shared: &Shared,
        run: &(dyn Fn(u64) -> Outcome + Sync),
        began: Instant,
    ) -> (Summary, f64) {
        let mut summary = Summary::default();
        let start = Instant::now();
        loop {
            let late = self.time.is_some_and(|limit| began.elapsed() >= limit);
            if late || shared.stop.load(Ordering::Relaxed) {
                break;
            }
            let from = shared.next.fetch_add(BATCH, Ordering::Relaxed);
            if from >= self.seeds.end {
                break;
            }
            for seed in from..(from + BATCH).min(self.seeds.end) {
                let outcome = self.one(seed, run, &mut summary);
                shared.deliveries.fetch_add(outcome.counts.deliveries, Ordering::Relaxed);
                if matches!(outcome.verdict, Verdict::Violated(_)) {
                    let failures = shared.failures.fetch_add(1, Ordering::Relaxed) + 1;
                    if self.first_only || failures >= FAILURES_MAX {
                        shared.stop.store(true, Ordering::Relaxed);
                    }
                }
                summary.add(&outcome);
            }
        }
        let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running -= 1;
        shared.done.notify_all();
        (summary, start.elapsed().as_secs_f64())
    }

    fn one(
        &self,
        seed: u64,
        run: &(dyn Fn(u64) -> Outcome + Sync),
        summary: &mut Summary,
    ) -> Outcome {
        let mut outcome = guarded(seed, run);
        if seed % RERUN_ONE_IN == self.seeds.start % RERUN_ONE_IN && outcome.verdict.is_ok() {
            summary.rerun += 1;
            let again = guarded(seed, run);
            if again.digest != outcome.digest {
                let evidence = format!(
                    "two runs in one process gave digests {:016x} and {:016x}",
                    outcome.digest, again.digest
                );
                let property = Property::Determinism;
                outcome.verdict = Verdict::Violated(Violation { property, evidence });
            }
        }
        outcome
    }

    /// Shows progress until all workers are done.
    fn watch(&self, shared: &Shared, began: Instant) {
        let total = self.seeds.end - self.seeds.start;
        let bar = if self.progress { ProgressBar::new(total) } else { ProgressBar::hidden() };
        let style =
            ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {per_sec}, ETA {eta}, {msg}");
        bar.set_style(style.expect("the template is well-formed"));
        let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        while *running > 0 {
            let wait = shared.done.wait_timeout(running, Duration::from_millis(200));
            running = wait.unwrap_or_else(PoisonError::into_inner).0;
            let position = shared.next.load(Ordering::Relaxed).min(self.seeds.end);
            bar.set_position(position - self.seeds.start);
            let rate = shared.deliveries.load(Ordering::Relaxed) as f64
                / began.elapsed().as_secs_f64().max(1e-9);
            let failures = shared.failures.load(Ordering::Relaxed);
            bar.set_message(format!("{:.2} M deliveries/s, {failures} failures", rate / 1e6));
        }
        bar.finish_and_clear();
    }
}

/// Processor time of this process so far, as Linux counts it: in hundredths of a second.
fn process_cpu_secs() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

thread_local! {
    /// Where and why this thread panicked last.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics within a run become its evidence instead of lines on the screen.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let standard = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let guarded = GUARDED.with(|g| *g.borrow());
            if guarded {
                PANIC.with(|p| *p.borrow_mut() = info.to_string());
            } else {
                standard(info);
            }
        }));
    });
}

thread_local! {
    static GUARDED: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs one seed; a panic in it is a violated invariant of the node.
pub fn guarded(seed: u64, run: &(dyn Fn(u64) -> Outcome + Sync)) -> Outcome {
    guarded_mut(seed, &mut || run(seed))
}

/// As [`guarded`], for a run that leaves something behind.
pub fn guarded_mut(seed: u64, run: &mut dyn FnMut() -> Outcome) -> Outcome {
    match silently(|| catch_unwind(AssertUnwindSafe(run))) {
        Ok(outcome) => outcome,
        Err(_) => {
            let evidence = PANIC.with(|p| p.borrow().replace('\n', " "));
            let violation = Violation { property: Property::NodeInvariant, evidence };
            let (counts, labels) = (Counts::default(), LabelSet::default());
            Outcome { seed, verdict: Verdict::Violated(violation), digest: 0, counts, labels }
        }
    }
}

/// Runs something that catches its panics: they are not shown.
pub fn silently<T>(run: impl FnOnce() -> T) -> T {
    silence_panics();
    GUARDED.with(|g| *g.borrow_mut() = true);
    let result = run();
    GUARDED.with(|g| *g.borrow_mut() = false);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(seeds: Range<u64>) -> Campaign {
        Campaign { seeds, jobs: 2, time: None, first_only: false, progress: false }
    }

    fn held(seed: u64) -> Outcome {
        let (counts, labels) = (Counts::default(), LabelSet::default());
        Outcome { seed, verdict: Verdict::Ok, digest: seed, counts, labels }
    }

    #[test]
    fn every_seed_runs_once_and_a_panic_is_a_violation_with_its_message() {
        let report = campaign(10..110).run(&|seed| {
            assert!(seed != 77, "seed {seed} breaks a rule");
            held(seed)
        });
        assert_eq!((report.summary.seeds, report.summary.failures), (100, 1));
        let worst = report.summary.worst().expect("one failed");
        assert_eq!(worst.seed, 77);
        let Verdict::Violated(violation) = &worst.verdict else { panic!("{worst:?}") };
        assert_eq!(violation.property, Property::NodeInvariant);
        assert!(violation.evidence.contains("seed 77 breaks a rule"), "{violation:?}");
    }

    #[test]
    fn a_run_that_differs_from_its_first_is_not_deterministic() {
        let calls = AtomicU64::new(0);
        let report = campaign(0..1)
            .run(&|seed| Outcome { digest: calls.fetch_add(1, Ordering::Relaxed), ..held(seed) });
        let Some(Verdict::Violated(v)) = report.summary.worst().map(|k| &k.verdict) else {
            panic!("{report:?}")
        };
        assert_eq!(v.property, Property::Determinism);
    }
}
