//! What a campaign's seeds add up to.

use std::fmt::Write as _;

use serde::Serialize;

use super::labels::KNOWN;
use super::outcome::{Counts, Outcome};
use crate::check::Verdict;
use crate::plan::{FaultClass, Profile};

/// Failing seeds that are kept with their evidence; further ones are counted.
const KEPT: usize = 20;

/// Sums over seeds, of bounded size whatever their number.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    pub seeds: u64,
    pub failures: u64,
    pub undecided: u64,
    pub rerun: u64,
    pub counts: Counts,
    /// Seeds that reached each label, in the order of the known labels.
    pub reached: Vec<u64>,
    /// Failing and undecided seeds, the smallest ones.
    pub kept: Vec<Kept>,
}

/// A seed that did not hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Kept {
    pub seed: u64,
    pub digest: String,
    pub verdict: Verdict,
}

impl Summary {
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.counts.add(&outcome.counts);
        self.reached.resize(KNOWN.len(), 0);
        for (number, reached) in self.reached.iter_mut().enumerate() {
            *reached += u64::from(outcome.labels.has(number));
        }
        match outcome.verdict {
            Verdict::Ok => return,
            Verdict::Violated(_) => self.failures += 1,
            Verdict::Undecided { .. } => self.undecided += 1,
        }
        self.keep(Kept {
            seed: outcome.seed,
            digest: digest_text(outcome.digest),
            verdict: outcome.verdict.clone(),
        });
    }

    pub fn merge(&mut self, other: Summary) {
        self.seeds += other.seeds;
        self.failures += other.failures;
        self.undecided += other.undecided;
        self.rerun += other.rerun;
        self.counts.add(&other.counts);
        self.reached.resize(KNOWN.len(), 0);
        for (sum, one) in self.reached.iter_mut().zip(other.reached) {
            *sum += one;
        }
        for kept in other.kept {
            self.keep(kept);
        }
    }

    fn keep(&mut self, kept: Kept) {
        let at = self.kept.partition_point(|k| (rank(k), k.seed) < (rank(&kept), kept.seed));
        self.kept.insert(at, kept);
        self.kept.truncate(KEPT);
    }

    /// The seed to look at first: the smallest violated one, else the smallest undecided one.
    pub fn worst(&self) -> Option<&Kept> {
        self.kept.first()
    }

    /// Why the campaign's mix proves too little, if it does.
    pub fn dull(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.seeds >= 1000 {
            if self.counts.peer_bytes_hit * 10 < self.seeds * 9 {
                complaints.push(format!(
                    "only {} of {} seeds lost or delayed a peer's byte (90 % wanted)",
                    self.counts.peer_bytes_hit, self.seeds
                ));
            }
            if self.counts.concurrent_writes * 2 < self.seeds {
                complaints.push(format!(
                    "only {} of {} seeds wrote one key concurrently (half wanted)",
                    self.counts.concurrent_writes, self.seeds
                ));
            }
            if self.counts.per_key < self.seeds * 20 {
                complaints.push(format!(
                    "{:.1} operations per hot key (20 wanted)",
                    self.counts.per_key as f64 / self.seeds as f64
                ));
            }
        }
        if self.seeds >= 100_000 {
            let rare = KNOWN.iter().zip(&self.reached).filter(|r| *r.1 * 10_000 < self.seeds);
            complaints.extend(rare.map(|(label, n)| format!("rare path {label:?}: {n} seeds")));
        }
        complaints
    }

    /// The table a campaign ends with.
    pub fn text(&self, profile: Profile, secs: f64, cpu_secs: f64) -> String {
        let c = &self.counts;
        let share = |n: u64| 100.0 * n as f64 / self.seeds.max(1) as f64;
        let each = |n: u64| n as f64 / self.seeds.max(1) as f64;
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{} seeds of profile {} in {secs:.1} s: {:.0} seeds/s ({:.0} per CPU-second), {:.2} M deliveries/s; {} run twice",
            self.seeds,
            profile.name(),
            self.seeds as f64 / secs.max(1e-9),
            self.seeds as f64 / cpu_secs.max(1e-9),
            c.deliveries as f64 / secs.max(1e-9) / 1e6,
            self.rerun
        );
        let _ = writeln!(
            out,
            "per seed: {:.1} s simulated, {:.0} deliveries, {:.1} commands, {:.1} sendings ({:.1} answered, {:.2} refused, {:.2} in doubt), {:.1} units, {:.1} operations per key, {:.1} conflicts, {:.2} crashes, {:.2} resyncs ({:.2} broken off), {:.2} adoptions, {:.2} moves",
            each(c.simulated_ms) / 1000.0,
            each(c.deliveries),
            each(c.commands),
            each(c.sendings),
            each(c.answered),
            each(c.refused),
            each(c.in_doubt),
            each(c.units),
            each(c.per_key),
            each(c.conflicts),
            each(c.crashes),
            each(c.resyncs),
            each(c.resyncs_broken),
            each(c.adopted),
            each(c.moved)
        );
        let _ = writeln!(
            out,
            "seeds that lost or delayed a peer's byte {:.1} %, wrote one key concurrently {:.1} %, healed everything {:.1} %",
            share(c.peer_bytes_hit),
            share(c.concurrent_writes),
            share(c.whole_healed)
        );
        let _ = write!(out, "faults, in % of the seeds:");
        for (class, n) in FaultClass::ALL.iter().zip(c.faults) {
            let _ = write!(out, " {} {:.0}", class.name(), share(n));
        }
        let _ = writeln!(out);
        let mut rare: Vec<(u64, &str)> =
            self.reached.iter().copied().zip(KNOWN.iter().copied()).collect();
        rare.sort_unstable();
        if !rare.is_empty() {
            let _ = writeln!(out, "rare paths, seeds that reached each:");
        }
        for (n, label) in rare {
            let _ = writeln!(out, "{n:>9}  {label}");
        }
        let _ = writeln!(
            out,
            "{} violated, {} undecided, {} held",
            self.failures,
            self.undecided,
            self.seeds - self.failures - self.undecided
        );
        out
    }
}

/// Violated before undecided.
fn rank(kept: &Kept) -> u8 {
    match kept.verdict {
        Verdict::Violated(_) => 0,
        Verdict::Undecided { .. } => 1,
        Verdict::Ok => 2,
    }
}

pub fn digest_text(digest: u64) -> String {
    format!("{digest:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Property, Violation};
    use crate::runner::labels::LabelSet;

    fn outcome(seed: u64, verdict: Verdict) -> Outcome {
        let counts = Counts { peer_bytes_hit: 1, ..Counts::default() };
        Outcome { seed, verdict, digest: seed, counts, labels: LabelSet::default() }
    }

    #[test]
    fn summary_stays_bounded_and_names_the_smallest_violated_seed() {
        let mut summary = Summary::default();
        summary.add(&outcome(0, Verdict::Undecided { budget: "time".into() }));
        for seed in (1..100).rev() {
            let evidence = "differs".to_owned();
            let violation = Violation { property: Property::Convergence, evidence };
            summary.add(&outcome(seed, Verdict::Violated(violation)));
        }
        assert_eq!(summary.kept.len(), KEPT);
        assert_eq!(summary.worst().map(|k| k.seed), Some(1));
        assert_eq!((summary.failures, summary.undecided), (99, 1));
    }

    #[test]
    fn campaign_without_concurrency_is_called_dull() {
        let mut summary = Summary::default();
        (0..1000).for_each(|seed| summary.add(&outcome(seed, Verdict::Ok)));
        let complaints = summary.dull().join("\n");
        assert!(complaints.contains("concurrently"), "{complaints}");
        assert!(!complaints.contains("peer's byte"), "{complaints}");
    }
}
