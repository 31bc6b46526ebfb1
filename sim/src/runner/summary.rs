//! What a campaign's seeds add up to.

use std::fmt::Write as _;

use super::group::Group;
use super::labels::{KNOWN, can_be_reached};
use super::outcome::{Counts, Outcome};
use crate::check::Verdict;
use crate::plan::{FaultClass, Profile};

/// Groups of failing seeds that are kept with their evidence; the seeds of further ones are counted.
const GROUPS_MAX: usize = 50;

/// Sums over seeds, of bounded size whatever their number.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub seeds: u64,
    pub failures: u64,
    pub undecided: u64,
    pub rerun: u64,
    pub counts: Counts,
    /// Seeds that reached each label, in the order of the known labels.
    pub reached: Vec<u64>,
    /// Failing and undecided seeds by property and place, those with the smallest seeds; violated
    /// ones first, then by their smallest seed.
    pub groups: Vec<Group>,
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
        self.group(Group::of(outcome));
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
        for group in other.groups {
            self.group(group);
        }
    }

    fn group(&mut self, mut group: Group) {
        if let Some(at) = self.groups.iter().position(|g| g.is_alike(&group)) {
            group.join(self.groups.remove(at));
        }
        let at = self.groups.partition_point(|g| g.rank() < group.rank());
        self.groups.insert(at, group);
        self.groups.truncate(GROUPS_MAX);
    }

    /// The seed to look at first: the smallest violated one, else the smallest undecided one.
    pub fn worst(&self) -> Option<&Group> {
        self.groups.first()
    }

    /// Failing and undecided seeds that belong to no group that is kept.
    pub fn ungrouped(&self) -> u64 {
        let grouped: u64 = self.groups.iter().map(|g| g.count).sum();
        self.failures + self.undecided - grouped
    }

    /// The labels with the number of seeds that reached each.
    pub fn rare_paths(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let reached = self.reached.iter().copied().chain(std::iter::repeat(0));
        KNOWN.iter().copied().zip(reached)
    }

    /// Why the campaign's mix proves too little, if it does.
    pub fn dull(&self, profile: Profile) -> Vec<String> {
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
            let rare = self.rare_paths().filter(|r| r.1 * 10_000 < self.seeds);
            let rare = rare.filter(|r| can_be_reached(profile, r.0));
            complaints.extend(rare.map(|(label, n)| {
                format!("rare path {label:?}: {n} of {} seeds (10 in 100,000 wanted)", self.seeds)
            }));
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
            "{} seeds of profile {} in {secs:.1} s: {:.0} seeds/s ({:.0} per CPU-second), {:.2} M \
             deliveries/s; {} run twice",
            self.seeds,
            profile.name(),
            self.seeds as f64 / secs.max(1e-9),
            self.seeds as f64 / cpu_secs.max(1e-9),
            c.deliveries as f64 / secs.max(1e-9) / 1e6,
            self.rerun
        );
        let _ = writeln!(
            out,
            "per seed: {:.1} s simulated, {:.0} deliveries, {:.1} commands, {:.1} sendings ({:.1} \
             answered, {:.2} refused, {:.2} in doubt), {:.1} units, {:.1} operations per key, \
             {:.1} conflicts, {:.2} crashes, {:.2} resyncs ({:.2} broken off), {:.2} adoptions, \
             {:.2} moves",
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
            "seeds that lost or delayed a peer's byte {:.1} %, wrote one key concurrently \
             {:.1} %, healed everything {:.1} %",
            share(c.peer_bytes_hit),
            share(c.concurrent_writes),
            share(c.whole_healed)
        );
        let _ = write!(out, "faults, in % of the seeds:");
        for (class, n) in FaultClass::ALL.iter().zip(c.faults) {
            let _ = write!(out, " {} {:.0}", class.name(), share(n));
        }
        let _ = writeln!(out);
        let mut rare: Vec<(u64, &str)> = self.rare_paths().map(|(label, n)| (n, label)).collect();
        rare.sort_unstable();
        let _ = writeln!(out, "rare paths, seeds that reached each:");
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

    fn violated(property: Property, evidence: &str) -> Verdict {
        Verdict::Violated(Violation { property, evidence: evidence.to_owned() })
    }

    fn sum(outcomes: impl IntoIterator<Item = Outcome>) -> Summary {
        let mut summary = Summary::default();
        outcomes.into_iter().for_each(|outcome| summary.add(&outcome));
        summary
    }

    #[test]
    fn summary_stays_bounded_and_names_the_smallest_violated_seed() {
        let undecided = outcome(0, Verdict::Undecided { budget: "time".into() });
        let place =
            |seed: u64| "way ".repeat(seed as usize / 2 % 8) + &"on ".repeat(seed as usize / 16);
        let failing = (1..128).rev().map(|seed| {
            let evidence = format!("{}host{seed} differs", place(seed));
            outcome(seed, violated(Property::Convergence, &evidence))
        });
        let summary = sum([undecided].into_iter().chain(failing));
        assert_eq!(summary.worst().map(|k| k.seed), Some(1));
        assert_eq!((summary.failures, summary.undecided), (127, 1));
        // There are 64 places and one undecided seed.
        assert_eq!((summary.groups.len(), summary.ungrouped()), (GROUPS_MAX, 29));
    }

    #[test]
    fn failing_seeds_are_grouped_by_property_and_place() {
        let seeds = [
            (9, Property::Counters, "node1 shows 7"),
            (4, Property::Counters, "node3 shows 12"),
            (5, Property::Counters, "node3 lacks key 3"),
            (6, Property::ReferenceMerge, "node1 shows 7"),
        ];
        let of = |picked: &[usize]| {
            sum(picked.iter().map(|&i| {
                let (seed, property, evidence) = seeds[i];
                outcome(seed, violated(property, evidence))
            }))
        };
        let whole = of(&[0, 1, 2, 3]);
        let told: Vec<(u64, u64)> = whole.groups.iter().map(|g| (g.seed, g.count)).collect();
        assert_eq!(told, [(4, 2), (5, 1), (6, 1)]);
        assert_eq!(whole.groups[0].also, [9]);
        for parts in [[&[0, 3][..], &[1, 2]], [&[2, 1], &[3, 0]], [&[], &[3, 2, 1, 0]]] {
            let mut merged = of(parts[0]);
            merged.merge(of(parts[1]));
            assert_eq!(merged, whole);
        }
    }

    #[test]
    fn campaign_without_concurrency_is_called_dull() {
        let complaints = sum((0..1000).map(|seed| outcome(seed, Verdict::Ok)))
            .dull(Profile::Durability)
            .join("\n");
        assert!(complaints.contains("concurrently"), "{complaints}");
        assert!(!complaints.contains("peer's byte"), "{complaints}");
    }

    /// A campaign whose mix is just lively enough.
    fn lively(seeds: u64) -> Summary {
        let counts = Counts {
            peer_bytes_hit: seeds * 9 / 10,
            concurrent_writes: seeds / 2,
            per_key: seeds * 20,
            ..Counts::default()
        };
        Summary { seeds, counts, reached: vec![seeds / 10_000; KNOWN.len()], ..Summary::default() }
    }

    #[test]
    fn thresholds_are_those_of_the_design() {
        assert_eq!(lively(100_000).dull(Profile::Durability), Vec::<String>::new());
        let dull = |change: &dyn Fn(&mut Summary)| {
            let mut summary = lively(100_000);
            change(&mut summary);
            summary.dull(Profile::Durability).join("\n")
        };
        let wanted = "only 89999 of 100000 seeds lost or delayed a peer's byte (90 % wanted)";
        assert_eq!(dull(&|s| s.counts.peer_bytes_hit -= 1), wanted);
        let wanted = "only 49999 of 100000 seeds wrote one key concurrently (half wanted)";
        assert_eq!(dull(&|s| s.counts.concurrent_writes -= 1), wanted);
        assert_eq!(dull(&|s| s.counts.per_key -= 1), "20.0 operations per hot key (20 wanted)");
        let reachable = |label: &str| can_be_reached(Profile::Durability, label);
        let nth = KNOWN.iter().position(|label| reachable(label)).expect("one can be reached");
        let rare = dull(&|s| s.reached[nth] -= 1);
        assert_eq!(
            rare,
            format!("rare path {:?}: 9 of 100000 seeds (10 in 100,000 wanted)", KNOWN[nth])
        );
        let zeros_too = dull(&|s| s.reached.clear());
        assert_eq!(
            zeros_too.lines().count(),
            KNOWN.iter().filter(|label| reachable(label)).count()
        );
    }

    #[test]
    fn rare_paths_are_judged_from_a_hundred_thousand_seeds_on() {
        let mut few = lively(99_999);
        few.reached.clear();
        few.counts = Counts { peer_bytes_hit: 99_999, concurrent_writes: 99_999, ..few.counts };
        assert_eq!(few.dull(Profile::Durability), Vec::<String>::new());
    }
}
