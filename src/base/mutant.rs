//! Deliberate faults, switched on one at a time by a world's configuration to check the checkers.

/// One rule of the protocol, broken.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mutant {
    /// Equal stamp times are not decided by origin: the value already held stays.
    TieKeepsHeld,
    /// A delete leaves no tombstone.
    TombstoneDropped,
    /// Tombstones are collected on the own vector instead of everybody's.
    TombstoneCollectedEarly,
    /// A received stamp does not move the clock.
    ClockIgnoresReceived,
    /// An increment arriving again is added again.
    IncrementAppliedTwice,
    /// A contribution keeps its generation across a base write.
    GenerationKept,
    /// A base write does not list the contributions it has seen.
    SeenListIgnored,
    /// A live unit met during a resync enters the log at once.
    LiveUnitLoggedInResync,
    /// A state transfer leaves tombstones out.
    ResyncWithoutTombstones,
    /// The cells of a broken-off resync stay outside the log.
    BrokenResyncNotLogged,
    /// The vector moves at the start of a resync.
    VectorMovedEarly,
    /// Barriers in a stream are ignored.
    BarrierIgnored,
    /// A key created anew does not carry the horizon as its floor.
    FloorIgnored,
    /// An APPEND is acknowledged but never replicated.
    AppendNotReplicated,
}

impl Mutant {
    /// All of them, in the order of the table that `quorate-sim mutants` prints.
    pub const ALL: [Mutant; 14] = [
        Mutant::TieKeepsHeld,
        Mutant::TombstoneDropped,
        Mutant::TombstoneCollectedEarly,
        Mutant::ClockIgnoresReceived,
        Mutant::IncrementAppliedTwice,
        Mutant::GenerationKept,
        Mutant::SeenListIgnored,
        Mutant::LiveUnitLoggedInResync,
        Mutant::ResyncWithoutTombstones,
        Mutant::BrokenResyncNotLogged,
        Mutant::VectorMovedEarly,
        Mutant::BarrierIgnored,
        Mutant::FloorIgnored,
        Mutant::AppendNotReplicated,
    ];

    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mutant::TieKeepsHeld => "tie-keeps-held",
            Mutant::TombstoneDropped => "tombstone-dropped",
            Mutant::TombstoneCollectedEarly => "tombstone-collected-early",
            Mutant::ClockIgnoresReceived => "clock-ignores-received",
            Mutant::IncrementAppliedTwice => "increment-applied-twice",
            Mutant::GenerationKept => "generation-kept",
            Mutant::SeenListIgnored => "seen-list-ignored",
            Mutant::LiveUnitLoggedInResync => "live-unit-logged-in-resync",
            Mutant::ResyncWithoutTombstones => "resync-without-tombstones",
            Mutant::BrokenResyncNotLogged => "broken-resync-not-logged",
            Mutant::VectorMovedEarly => "vector-moved-early",
            Mutant::BarrierIgnored => "barrier-ignored",
            Mutant::FloorIgnored => "floor-ignored",
            Mutant::AppendNotReplicated => "append-not-replicated",
        }
    }

    pub fn from_name(name: &str) -> Option<Mutant> {
        Mutant::ALL.into_iter().find(|m| m.name() == name)
    }
}

/// The fault switched on in one node, if any. Without the feature `mutants` always none, and the
/// compiler removes every test for it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Mutants {
    #[cfg(feature = "mutants")]
    on: Option<Mutant>,
}

impl Mutants {
    pub const NONE: Mutants = Mutants {
        #[cfg(feature = "mutants")]
        on: None,
    };

    #[cfg(feature = "mutants")]
    pub fn only(mutant: Mutant) -> Mutants {
        Mutants { on: Some(mutant) }
    }

    #[inline]
    pub fn has(self, mutant: Mutant) -> bool {
        #[cfg(feature = "mutants")]
        return self.on == Some(mutant);
        #[cfg(not(feature = "mutants"))]
        {
            let _ = mutant;
            false
        }
    }

    /// Whether this build of the library contains deliberate faults.
    pub const fn compiled_in() -> bool {
        cfg!(feature = "mutants")
    }
}
