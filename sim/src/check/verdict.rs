//! What a run has shown.

use serde::{Deserialize, Serialize};

/// A promise; the numbers are those of the design's list of active mode's invariants.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Property {
    /// 1. All nodes of the healed core reach the same data within a bound.
    Convergence,
    /// 2. The data is what the reference merge of all covered writes gives.
    ReferenceMerge,
    /// 3. An acknowledged write is in that merge.
    AcknowledgedLoss,
    /// 4. A deleted or expired key comes back only by a newer write.
    Resurrection,
    /// 5. Every acknowledged increment that the newest base write had not seen counts once.
    Counters,
    /// 6. A client reads its own writes, stamps never step back, replies fit the commands.
    Sessions,
    /// 7. Tombstones and backlog return to a bounded size.
    BoundedMemory,
    /// A node's own assertion failed.
    NodeInvariant,
    /// Of a strong cluster: what clients saw has an order in which it is one copy's.
    Linearizability,
    /// Of a strong cluster: with all nodes back all is served, by the roster's masters and with all copies.
    Availability,
    /// Of a strong cluster: what holds between its nodes at any time, by what they know and have.
    ClusterInvariant,
    /// The same seed gave two different runs.
    Determinism,
}

impl Property {
    pub fn name(self) -> &'static str {
        match self {
            Property::Convergence => "convergence",
            Property::ReferenceMerge => "reference merge",
            Property::AcknowledgedLoss => "no acknowledged loss",
            Property::Resurrection => "no resurrection",
            Property::Counters => "counters",
            Property::Sessions => "sessions",
            Property::BoundedMemory => "bounded memory",
            Property::NodeInvariant => "node invariant",
            Property::Linearizability => "linearizability",
            Property::Availability => "availability",
            Property::ClusterInvariant => "cluster invariant",
            Property::Determinism => "determinism",
        }
    }
}

/// A promise broken, and what shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Violation {
    pub property: Property,
    pub evidence: String,
}

/// What a run has shown; never silently fine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Ok,
    Violated(Violation),
    /// The budget ran out before there was anything to judge.
    Undecided {
        budget: String,
    },
}

impl Verdict {
    pub fn is_ok(&self) -> bool {
        matches!(self, Verdict::Ok)
    }
}
