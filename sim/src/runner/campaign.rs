//! Many seeds in parallel. The worlds are single-threaded; only here are threads and real clocks.
#![allow(clippy::disallowed_methods)]

use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::labels::LabelSet;
use super::outcome::{Counts, Outcome};
use super::seed_set::SeedSet;
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

/// Why a campaign has run no more seeds.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// All have been run.
    Complete,
    /// Its time was over.
    Time,
    /// Enough of them were violated.
    Failures,
    /// Somebody asked it to end.
    Interrupted,
    /// It has not ended: what is told of it was true on the way.
    #[default]
    Unfinished,
}

/// A campaign's result and how long it took.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub summary: Summary,
    /// The seeds that the summary is of.
    pub done: SeedSet,
    /// The smallest seed that was run, with its digest: another build gives another one.
    pub probe: Option<(u64, u64)>,
    pub ended: Ended,
    pub secs: f64,
    /// Processor time; where the system does not tell, the time the workers took.
    pub cpu_secs: f64,
}

/// What goes between a campaign under way and whoever has started it.
pub struct Control<'a> {
    /// Once it is set, seeds under way are finished and no more are begun.
    pub interrupted: &'a AtomicBool,
    /// Is told what has been run so far, each time so long after the last.
    pub save: &'a (dyn Fn(&Report) + Sync),
    pub save_every: Duration,
}

struct Shared {
    todo: Mutex<SeedSet>,
    report: Mutex<Report>,
    deliveries: AtomicU64,
    failures: AtomicU64,
    /// Enough seeds were violated.
    enough: AtomicBool,
    running: Mutex<usize>,
    done: Condvar,
}

type Run<'a> = dyn Fn(u64) -> Outcome + Sync + 'a;

impl Campaign {
    /// Runs every seed with `run`, which must be a pure function of the seed.
    pub fn run(&self, run: &Run<'_>) -> Report {
        let interrupted = &AtomicBool::new(false);
        let control = Control { interrupted, save: &|_| (), save_every: Duration::MAX };
        self.go_on(Report::default(), &control, run)
    }

    /// The same, without the seeds that `earlier` tells of; its sums are taken in.
    pub fn go_on(&self, earlier: Report, control: &Control<'_>, run: &Run<'_>) -> Report {
        silence_panics();
        let began = Instant::now();
        let cpu_before = process_cpu_secs();
        let (secs_before, cpu_secs_before) = (earlier.secs, earlier.cpu_secs);
        let failures = earlier.summary.failures;
        let shared = Shared {
            todo: Mutex::new(earlier.done.missing_from(self.seeds.clone())),
            report: Mutex::new(Report { ended: Ended::Unfinished, ..earlier }),
            deliveries: AtomicU64::new(0),
            failures: AtomicU64::new(failures),
            enough: AtomicBool::new(failures >= FAILURES_MAX),
            running: Mutex::new(self.jobs),
            done: Condvar::new(),
        };
        let mut busy = 0.0;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs)
                .map(|_| scope.spawn(|| self.work(&shared, control, run, began)))
                .collect();
            self.watch(&shared, control, began);
            for worker in workers {
                busy += worker.join().expect("workers catch the panics of their seeds");
            }
        });
        let mut report = shared.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let (Some(before), Some(after)) = (cpu_before, process_cpu_secs()) {
            busy = after - before;
        }
        report.secs = secs_before + began.elapsed().as_secs_f64();
        report.cpu_secs = cpu_secs_before + busy;
        report.ended = if report.done.missing_from(self.seeds.clone()).is_empty() {
            Ended::Complete
        } else if shared.enough.into_inner() {
            Ended::Failures
        } else if control.interrupted.load(Ordering::Relaxed) {
            Ended::Interrupted
        } else {
            Ended::Time
        };
        report
    }

    /// Runs batches until there are none; how long it took, s.
    fn work(&self, shared: &Shared, control: &Control<'_>, run: &Run<'_>, began: Instant) -> f64 {
        let start = Instant::now();
        let is_over = || {
            control.interrupted.load(Ordering::Relaxed)
                || self.time.is_some_and(|limit| began.elapsed() >= limit)
        };
        while !is_over() && !shared.enough.load(Ordering::Relaxed) {
            let Some(batch) = lock(&shared.todo).take(BATCH) else { break };
            let mut part = Summary::default();
            let mut probe = None;
            let mut end = batch.start;
            for seed in batch.clone() {
                // Batches before that of a violated seed are finished, so that the first one is found.
                if is_over() {
                    break;
                }
                let outcome = self.one(seed, run, &mut part);
                probe = probe.or(Some((seed, outcome.digest)));
                shared.deliveries.fetch_add(outcome.counts.deliveries, Ordering::Relaxed);
                if matches!(outcome.verdict, Verdict::Violated(_)) {
                    let failures = shared.failures.fetch_add(1, Ordering::Relaxed) + 1;
                    if self.first_only || failures >= FAILURES_MAX {
                        shared.enough.store(true, Ordering::Relaxed);
                    }
                }
                part.add(&outcome);
                end = seed + 1;
            }
            let mut report = lock(&shared.report);
            report.summary.merge(part);
            report.done.insert(batch.start..end);
            report.probe = [report.probe, probe].into_iter().flatten().min();
        }
        *lock(&shared.running) -= 1;
        shared.done.notify_all();
        start.elapsed().as_secs_f64()
    }

    fn one(&self, seed: u64, run: &Run<'_>, summary: &mut Summary) -> Outcome {
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

    /// Shows progress, and lets it be saved, until all workers are done.
    fn watch(&self, shared: &Shared, control: &Control<'_>, began: Instant) {
        let total = self.seeds.end - self.seeds.start;
        let bar = if self.progress { ProgressBar::new(total) } else { ProgressBar::hidden() };
        let style =
            ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {per_sec}, ETA {eta}, {msg}");
        bar.set_style(style.expect("the template is well-formed"));
        bar.set_position(lock(&shared.report).done.count());
        bar.reset_eta();
        let (secs_before, mut saved) = (lock(&shared.report).secs, began);
        let mut running = lock(&shared.running);
        while *running > 0 {
            let wait = shared.done.wait_timeout(running, Duration::from_millis(200));
            running = wait.unwrap_or_else(PoisonError::into_inner).0;
            bar.set_position(lock(&shared.report).done.count());
            let rate = shared.deliveries.load(Ordering::Relaxed) as f64
                / began.elapsed().as_secs_f64().max(1e-9);
            let failures = shared.failures.load(Ordering::Relaxed);
            bar.set_message(format!("{:.2} M deliveries/s, {failures} failures", rate / 1e6));
            if saved.elapsed() >= control.save_every {
                let mut so_far = lock(&shared.report).clone();
                so_far.secs = secs_before + began.elapsed().as_secs_f64();
                (control.save)(&so_far);
                saved = Instant::now();
            }
        }
        bar.finish_and_clear();
    }
}

/// What a worker that has panicked leaves is still true: sums are changed at once.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
pub fn guarded(seed: u64, run: &Run<'_>) -> Outcome {
    guarded_mut(seed, &mut || run(seed))
}

/// As [`guarded`], for a run that leaves something behind.
pub fn guarded_mut(seed: u64, run: &mut dyn FnMut() -> Outcome) -> Outcome {
    caught(run).unwrap_or_else(|violation| {
        let (counts, labels) = (Counts::default(), LabelSet::default());
        Outcome { seed, verdict: Verdict::Violated(violation), digest: 0, counts, labels }
    })
}

/// Runs something in which a panic is a violated invariant of a node.
///
/// # Errors
/// It panicked.
pub fn caught<T>(run: &mut dyn FnMut() -> T) -> Result<T, Violation> {
    silently(|| catch_unwind(AssertUnwindSafe(run))).map_err(|_| {
        let evidence = PANIC.with(|p| p.borrow().replace('\n', " "));
        Violation { property: Property::NodeInvariant, evidence }
    })
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

    fn whole(seeds: Range<u64>) -> Report {
        campaign(seeds).run(&held_or_not)
    }

    /// Every ninth seed is violated.
    fn held_or_not(seed: u64) -> Outcome {
        assert!(!seed.is_multiple_of(9), "seed {seed}");
        Outcome { counts: Counts { units: seed, ..Counts::default() }, ..held(seed) }
    }

    #[test]
    fn interrupted_campaign_goes_on_where_it_stopped() {
        let interrupted = AtomicBool::new(false);
        let (save, save_every) = (&|_: &Report| (), Duration::MAX);
        let control = Control { interrupted: &interrupted, save, save_every };
        let first = campaign(100..400).go_on(Report::default(), &control, &|seed| {
            if seed == 250 {
                interrupted.store(true, Ordering::Relaxed);
            }
            held_or_not(seed)
        });
        assert_eq!(first.ended, Ended::Interrupted);
        let done = first.done.count();
        assert_eq!(done, first.summary.seeds);
        assert!((140..300).contains(&done), "{done}");

        let again = AtomicU64::new(0);
        interrupted.store(false, Ordering::Relaxed);
        let last = campaign(100..400).go_on(first.clone(), &control, &|seed| {
            again.fetch_add(1, Ordering::Relaxed);
            held_or_not(seed)
        });
        assert_eq!(last.ended, Ended::Complete);
        let expected = whole(100..400);
        assert_eq!(
            (last.summary, last.done, last.probe),
            (expected.summary, expected.done, Some((100, 100)))
        );
        // Some of these are run a second time to compare.
        assert!(again.into_inner() < 300 - done + 10);
    }

    #[test]
    fn progress_is_saved_on_the_way() {
        let saved = Mutex::new(Vec::new());
        let save = |report: &Report| lock(&saved).push((report.done.count(), report.ended));
        let interrupted = &AtomicBool::new(false);
        let control = Control { interrupted, save: &save, save_every: Duration::ZERO };
        let slow = |seed| {
            std::thread::sleep(Duration::from_millis(30));
            held(seed)
        };
        campaign(0..40).go_on(Report::default(), &control, &slow);
        let saved = saved.into_inner().expect("nobody panicked");
        let on_the_way = saved.iter().find(|s| (1..40).contains(&s.0));
        assert_eq!(on_the_way.map(|s| s.1), Some(Ended::Unfinished), "{saved:?}");
    }

    #[test]
    fn campaign_ends_for_its_time_or_its_failures() {
        let campaign = Campaign { time: Some(Duration::ZERO), ..campaign(0..10) };
        assert_eq!(campaign.run(&held).ended, Ended::Time);
        let report = whole(0..9 * 500);
        assert_eq!(report.ended, Ended::Failures);
        assert!((FAILURES_MAX..FAILURES_MAX + 8).contains(&report.summary.failures));
        let first = Campaign { first_only: true, ..campaign };
        let first = Campaign { time: None, seeds: 1..100, ..first }.run(&held_or_not);
        assert_eq!(first.summary.worst().map(|g| g.seed), Some(9));
    }
}
