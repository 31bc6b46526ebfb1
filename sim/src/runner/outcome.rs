//! What one run has shown, in numbers.

use serde::{Deserialize, Serialize};

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
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    pub deliveries: u64,
    pub simulated_ms: u64,
    /// Commands planned, sendings of them, and how those ended.
    pub commands: u64,
    pub sendings: u64,
    pub answered: u64,
    pub refused: u64,
    pub in_doubt: u64,
    /// Operations per key, in the mean over the run's keys.
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
    #[serde(with = "by_class")]
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

/// Seeds by the name of the class of faults they had.
mod by_class {
    use std::collections::BTreeMap;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::plan::FaultClass;

    type Faults = [u64; FaultClass::ALL.len()];

    pub fn serialize<S: Serializer>(faults: &Faults, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(FaultClass::ALL.iter().map(|class| class.name()).zip(faults))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Faults, D::Error> {
        let mut named = BTreeMap::<String, u64>::deserialize(deserializer)?;
        let mut faults = Faults::default();
        for (class, seeds) in FaultClass::ALL.iter().zip(&mut faults) {
            *seeds = named.remove(class.name()).unwrap_or_default();
        }
        match named.into_keys().next() {
            None => Ok(faults),
            Some(stranger) => Err(D::Error::custom(format!("no class of faults {stranger:?}"))),
        }
    }
}
