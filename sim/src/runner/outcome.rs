//! What one run has shown, in numbers.

use serde::Serialize;

use super::labels::LabelSet;
use crate::check::Verdict;
use crate::plan::FaultClass;

/// The result of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub seed: u64,
    pub verdict: Verdict,
    /// Digest of every event of the world and of the verdict.
    pub digest: u64,
    pub counts: Counts,
    pub labels: LabelSet,
}

/// What happened in a run; sums of these describe a campaign.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    pub deliveries: u64,
    pub simulated_ms: u64,
    /// Commands planned, sendings of them, and how those ended.
    pub commands: u64,
    pub sendings: u64,
    pub answered: u64,
    pub refused: u64,
    pub in_doubt: u64,
    /// Fewest operations per key, over the run's keys.
    pub per_key: u64,
    pub units: u64,
    pub conflicts: u64,
    pub crashes: u64,
    pub resyncs: u64,
    pub resyncs_broken: u64,
    pub adopted: u64,
    pub moved: u64,
    /// 0 or 1: whether it happened in the run at all.
    pub peer_bytes_hit: u64,
    pub concurrent_writes: u64,
    pub whole_healed: u64,
    /// By class, in the order of `FaultClass::ALL`: 0 or 1.
    pub faults: [u64; FaultClass::ALL.len()],
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.deliveries += other.deliveries;
        self.simulated_ms += other.simulated_ms;
        self.commands += other.commands;
        self.sendings += other.sendings;
        self.answered += other.answered;
        self.refused += other.refused;
        self.in_doubt += other.in_doubt;
        self.per_key += other.per_key;
        self.units += other.units;
        self.conflicts += other.conflicts;
        self.crashes += other.crashes;
        self.resyncs += other.resyncs;
        self.resyncs_broken += other.resyncs_broken;
        self.adopted += other.adopted;
        self.moved += other.moved;
        self.peer_bytes_hit += other.peer_bytes_hit;
        self.concurrent_writes += other.concurrent_writes;
        self.whole_healed += other.whole_healed;
        for (sum, one) in self.faults.iter_mut().zip(other.faults) {
            *sum += one;
        }
    }
}
