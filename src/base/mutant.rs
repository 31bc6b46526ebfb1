//! Deliberate faults, switched on one at a time by a world's configuration to check the checkers.

/// One rule of the protocol, broken.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mutant {
    /// Equal stamp times are not decided by origin: the value already held stays.
    TieKeepsHeld,
    /// Of two deadlines the later one wins, whatever their stamps.
    LaterDeadlineWins,
    /// A FLUSH that arrives removes everything, also what is newer.
    FlushRemovesNewer,
    /// An increment arriving again is added again.
    IncrementAppliedTwice,
    /// Of two states of a contribution the larger sum wins, not the newer one.
    LargerSumWins,
    /// A contribution keeps its generation across a base write.
    GenerationKept,
    /// A base write does not list the contributions it has seen.
    SeenListIgnored,
    /// A received stamp does not move the clock.
    ClockIgnoresReceived,
    /// The clock steps back with the wall clock.
    ClockFollowsWall,
    /// A unit that waits because its stamp is too far ahead counts as had.
    PausedUnitAcknowledged,
    /// A delete leaves no tombstone.
    TombstoneDropped,
    /// Tombstones are collected on the own vector instead of everybody's.
    TombstoneCollectedEarly,
    /// A key created anew does not carry the horizon as its floor.
    FloorIgnored,
    /// An expired key is dropped as soon as the own clock has passed its deadline.
    ExpiryNotAwaited,
    /// An APPEND is acknowledged but never replicated.
    AppendNotReplicated,
    /// A unit that was taken in is not passed on.
    TakenUnitNotLogged,
    /// A stream goes on at the end of the log, not where the replica stands.
    BacklogSkipped,
    /// Barriers in a stream are ignored.
    BarrierIgnored,
    /// What a resync has brought leaves no barrier in the log.
    BarrierNotLogged,
    /// A live unit met during a resync enters the log at once.
    LiveUnitLoggedInResync,
    /// A state transfer leaves tombstones out.
    ResyncWithoutTombstones,
    /// A state transfer leaves the tombstones of whole databases out.
    ResyncWithoutFlush,
    /// The cells of a broken-off resync stay outside the log, and whoever takes the state does not
    /// get them either.
    BrokenResyncNotLogged,
    /// The vector moves at the start of a resync.
    VectorMovedEarly,
    /// A heartbeat moves the vector though not everything in it has been sent.
    HeartbeatVectorTrusted,
    /// A read does not show what some member may not have yet, not even to who wrote it.
    ReadsStableOnly,
    /// Announced vectors count before what their members had sent has arrived.
    AnnouncementNotAwaited,
    /// A node that joins does not count with what the cluster has collected.
    HorizonNotInherited,
    /// Under `appendfsync always` a write is acknowledged before it is on the device.
    AckBeforeSync,
    /// A snapshot takes the place of the log's beginning before the log is on the device up to what the snapshot shows.
    SnapshotSwitchedUnsynced,
    /// The torn end of a log is not cut off: what is written next follows it.
    TailNotTruncated,
    /// The log says that all of a state transfer is there when the transfer begins.
    VectorPersistedAhead,
    /// A node that starts from its log goes on under the origin it had.
    EpochNotRenewed,
    /// A field written elsewhere keeps the value held here, whatever the stamps.
    FieldKeepsHeld,
    /// An increment of a field that arrives takes the place of those of other nodes.
    FieldCounterTakesLast,
    /// A deleted field leaves no tombstone.
    FieldTombstoneDropped,
    /// A key's delete that arrives leaves the fields it is newer than.
    KeyTombstoneSparesFields,
    /// A key's delete that arrives removes all fields, also what is newer.
    KeyTombstoneTakesNewer,
    /// A string stays what it is, though a newer key cell says that the key is a hash.
    KindKeepsHeld,
    /// A rule of strong mode's protocol.
    Strong(StrongMutant),
}

/// What a broken rule is part of.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Area {
    /// Which of two states of a cell counts, counters among them.
    Merge,
    Clock,
    /// What goes, when, and what it leaves.
    Tombstones,
    /// What goes over a link, live or as a state transfer.
    Stream,
    Vectors,
    Sessions,
    Horizon,
    /// What a log and its snapshots give back.
    Durability,
    /// Strong mode.
    Strong,
}

impl Area {
    pub const ALL: [Area; 9] = [
        Area::Merge,
        Area::Clock,
        Area::Tombstones,
        Area::Stream,
        Area::Vectors,
        Area::Sessions,
        Area::Horizon,
        Area::Durability,
        Area::Strong,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Area::Merge => "merge",
            Area::Clock => "clock",
            Area::Tombstones => "tombstones",
            Area::Stream => "stream",
            Area::Vectors => "vectors",
            Area::Sessions => "sessions",
            Area::Horizon => "horizon",
            Area::Durability => "durability",
            Area::Strong => "strong",
        }
    }
}

impl Mutant {
    /// All of them, in the order of the table that `quorate-sim mutants` prints: of strong mode's those that its campaigns
    /// can find.
    pub const ALL: [Mutant; Mutant::OF_ACTIVE.len() + StrongMutant::IN_CAMPAIGNS.len()] = {
        let mut all =
            [Mutant::TieKeepsHeld; Mutant::OF_ACTIVE.len() + StrongMutant::IN_CAMPAIGNS.len()];
        let mut at = 0usize;
        while at < all.len() {
            all[at] = match at.checked_sub(Mutant::OF_ACTIVE.len()) {
                None => Mutant::OF_ACTIVE[at],
                Some(nth) => Mutant::Strong(StrongMutant::IN_CAMPAIGNS[nth]),
            };
            at += 1;
        }
        all
    };

    const OF_ACTIVE: [Mutant; 39] = [
        Mutant::TieKeepsHeld,
        Mutant::LaterDeadlineWins,
        Mutant::FlushRemovesNewer,
        Mutant::IncrementAppliedTwice,
        Mutant::LargerSumWins,
        Mutant::GenerationKept,
        Mutant::SeenListIgnored,
        Mutant::ClockIgnoresReceived,
        Mutant::ClockFollowsWall,
        Mutant::PausedUnitAcknowledged,
        Mutant::TombstoneDropped,
        Mutant::TombstoneCollectedEarly,
        Mutant::FloorIgnored,
        Mutant::ExpiryNotAwaited,
        Mutant::AppendNotReplicated,
        Mutant::TakenUnitNotLogged,
        Mutant::BacklogSkipped,
        Mutant::BarrierIgnored,
        Mutant::BarrierNotLogged,
        Mutant::LiveUnitLoggedInResync,
        Mutant::ResyncWithoutTombstones,
        Mutant::ResyncWithoutFlush,
        Mutant::BrokenResyncNotLogged,
        Mutant::VectorMovedEarly,
        Mutant::HeartbeatVectorTrusted,
        Mutant::ReadsStableOnly,
        Mutant::AnnouncementNotAwaited,
        Mutant::HorizonNotInherited,
        Mutant::AckBeforeSync,
        Mutant::SnapshotSwitchedUnsynced,
        Mutant::TailNotTruncated,
        Mutant::VectorPersistedAhead,
        Mutant::EpochNotRenewed,
        Mutant::FieldKeepsHeld,
        Mutant::FieldCounterTakesLast,
        Mutant::FieldTombstoneDropped,
        Mutant::KeyTombstoneSparesFields,
        Mutant::KeyTombstoneTakesNewer,
        Mutant::KindKeepsHeld,
    ];

    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mutant::TieKeepsHeld => "tie-keeps-held",
            Mutant::LaterDeadlineWins => "later-deadline-wins",
            Mutant::FlushRemovesNewer => "flush-removes-newer",
            Mutant::IncrementAppliedTwice => "increment-applied-twice",
            Mutant::LargerSumWins => "larger-sum-wins",
            Mutant::GenerationKept => "generation-kept",
            Mutant::SeenListIgnored => "seen-list-ignored",
            Mutant::ClockIgnoresReceived => "clock-ignores-received",
            Mutant::ClockFollowsWall => "clock-follows-wall",
            Mutant::PausedUnitAcknowledged => "paused-unit-acknowledged",
            Mutant::TombstoneDropped => "tombstone-dropped",
            Mutant::TombstoneCollectedEarly => "tombstone-collected-early",
            Mutant::FloorIgnored => "floor-ignored",
            Mutant::ExpiryNotAwaited => "expiry-not-awaited",
            Mutant::AppendNotReplicated => "append-not-replicated",
            Mutant::TakenUnitNotLogged => "taken-unit-not-logged",
            Mutant::BacklogSkipped => "backlog-skipped",
            Mutant::BarrierIgnored => "barrier-ignored",
            Mutant::BarrierNotLogged => "barrier-not-logged",
            Mutant::LiveUnitLoggedInResync => "live-unit-logged-in-resync",
            Mutant::ResyncWithoutTombstones => "resync-without-tombstones",
            Mutant::ResyncWithoutFlush => "resync-without-flush",
            Mutant::BrokenResyncNotLogged => "broken-resync-not-logged",
            Mutant::VectorMovedEarly => "vector-moved-early",
            Mutant::HeartbeatVectorTrusted => "heartbeat-vector-trusted",
            Mutant::ReadsStableOnly => "reads-stable-only",
            Mutant::AnnouncementNotAwaited => "announcement-not-awaited",
            Mutant::HorizonNotInherited => "horizon-not-inherited",
            Mutant::AckBeforeSync => "ack-before-sync",
            Mutant::SnapshotSwitchedUnsynced => "snapshot-switched-unsynced",
            Mutant::TailNotTruncated => "tail-not-truncated",
            Mutant::VectorPersistedAhead => "vector-persisted-ahead",
            Mutant::EpochNotRenewed => "epoch-not-renewed",
            Mutant::FieldKeepsHeld => "field-keeps-held",
            Mutant::FieldCounterTakesLast => "field-counter-takes-last",
            Mutant::FieldTombstoneDropped => "field-tombstone-dropped",
            Mutant::KeyTombstoneSparesFields => "key-tombstone-spares-fields",
            Mutant::KeyTombstoneTakesNewer => "key-tombstone-takes-newer",
            Mutant::KindKeepsHeld => "kind-keeps-held",
            Mutant::Strong(mutant) => mutant.name(),
        }
    }

    pub fn area(self) -> Area {
        match self {
            Mutant::TieKeepsHeld
            | Mutant::LaterDeadlineWins
            | Mutant::FlushRemovesNewer
            | Mutant::IncrementAppliedTwice
            | Mutant::LargerSumWins
            | Mutant::GenerationKept
            | Mutant::SeenListIgnored
            | Mutant::FieldKeepsHeld
            | Mutant::FieldCounterTakesLast
            | Mutant::KeyTombstoneSparesFields
            | Mutant::KeyTombstoneTakesNewer
            | Mutant::KindKeepsHeld => Area::Merge,
            Mutant::ClockIgnoresReceived
            | Mutant::ClockFollowsWall
            | Mutant::PausedUnitAcknowledged => Area::Clock,
            Mutant::TombstoneDropped
            | Mutant::TombstoneCollectedEarly
            | Mutant::FloorIgnored
            | Mutant::ExpiryNotAwaited
            | Mutant::FieldTombstoneDropped => Area::Tombstones,
            Mutant::AppendNotReplicated
            | Mutant::TakenUnitNotLogged
            | Mutant::BacklogSkipped
            | Mutant::BarrierIgnored
            | Mutant::BarrierNotLogged
            | Mutant::LiveUnitLoggedInResync
            | Mutant::ResyncWithoutTombstones
            | Mutant::ResyncWithoutFlush
            | Mutant::BrokenResyncNotLogged => Area::Stream,
            Mutant::VectorMovedEarly | Mutant::HeartbeatVectorTrusted => Area::Vectors,
            Mutant::ReadsStableOnly => Area::Sessions,
            Mutant::AnnouncementNotAwaited | Mutant::HorizonNotInherited => Area::Horizon,
            Mutant::AckBeforeSync
            | Mutant::SnapshotSwitchedUnsynced
            | Mutant::TailNotTruncated
            | Mutant::VectorPersistedAhead
            | Mutant::EpochNotRenewed => Area::Durability,
            Mutant::Strong(_) => Area::Strong,
        }
    }

    pub fn from_name(name: &str) -> Option<Mutant> {
        let strong = StrongMutant::ALL.into_iter().map(Mutant::Strong);
        Mutant::OF_ACTIVE.into_iter().chain(strong).find(|m| m.name() == name)
    }
}

/// One rule of strong mode's protocol, broken. The worlds beside the protocol's core find them all.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StrongMutant {
    /// A promise is not durable before it is told.
    PromiseNotDurable,
    /// One voter too few is a quorum, too.
    QuorumOffByOne,
    /// A read is answered at once: a master that is none any more does not find out.
    ReadWithoutRound,
    /// An entry is committed though a member of the ISR may lack it.
    MemberSkipped,
    /// An open write is acknowledged before the ISR has it.
    AckBeforeMembers,
    /// The master's own copy counts before an entry is on its device.
    OwnCopyUnsynced,
    /// What was acknowledged in an earlier regime counts in a later one.
    AcksAcrossRegimes,
    /// Transfers and rounds of a regime below the one promised are answered as if it were not.
    LowerRegimeHeard,
    /// A caught-up node is named without having been brought to the candidate's state under its promise.
    JoinUnconfirmed,
    /// Members of the ISR are known by their names, whatever the voter id and the start.
    MemberByName,
    /// A wiped node votes.
    WipedVotes,
    /// A copy that may have lost its end counts as intact.
    LostTailIntact,
    /// A disk that is older than what its voter has said is taken for what it was.
    OlderDiskTrusted,
    /// A regime serves before those that joined have the master's state.
    CoreOnlyEqualised,
    /// A regime serves before anybody has the master's state.
    StepFiveSkipped,
    /// A member of the ISR keeps what it has behind the master's state.
    LongerTailKept,
    /// Who has accepted a newer configuration counts for an older one when one is passed over.
    PassOverCountsNewer,
    /// A voter remembers only the newest configuration it has accepted.
    OnlyNewestAccepted,
    /// A partition is handed back before the copy has caught up.
    HandBackEarly,
    /// A frozen copy is dropped before the configuration without it is chosen.
    FrozenDroppedEarly,
    /// On the way from one roster to another a quorum of the new one is enough.
    OldRosterIgnored,
    /// A partition goes from one roster to another without a configuration that stands under both.
    JointSkipped,
    /// A node that passes a client's write on does so once more if it hears nothing.
    ForwardedTwice,
    /// A copy that is read shows what is not committed.
    CopyShowsOpen,
    /// An open write is acknowledged when its time is over.
    AckOnTimeout,
    /// A read that has seen what is not committed is answered at once.
    OpenWriteVisible,
    /// What a whole copy does not have stays where it is taken.
    CopyMerged,
    /// A master whose disk lacks what it has made is not taken for one on an older disk.
    OwnEntriesIgnored,
    /// Who answers a round does not remember where the disk of who asks stands.
    RoundMarksIgnored,
    /// What a life writes down itself counts as what stood on its disk before it.
    StartHidesLoss,
    /// Disks in whose place others were named go on counting.
    ReplacedCounted,
    /// A roster is decided by its own nodes, not by those of the one before.
    CouncilOfNew,
    /// Numbers of what is passed on are given again while answers may be on their way.
    PassedIdsReused,
    /// A copy deletes by itself what is past its deadline.
    ExpiredByReplica,
}

impl StrongMutant {
    /// Those that runs of profile `strong` find within a thousand seeds; the worlds beside the core find the others.
    pub const IN_CAMPAIGNS: [StrongMutant; 24] = [
        StrongMutant::PromiseNotDurable,
        StrongMutant::QuorumOffByOne,
        StrongMutant::ReadWithoutRound,
        StrongMutant::MemberSkipped,
        StrongMutant::AckBeforeMembers,
        StrongMutant::AcksAcrossRegimes,
        StrongMutant::LowerRegimeHeard,
        StrongMutant::JoinUnconfirmed,
        StrongMutant::MemberByName,
        StrongMutant::WipedVotes,
        StrongMutant::LostTailIntact,
        StrongMutant::OlderDiskTrusted,
        StrongMutant::StepFiveSkipped,
        StrongMutant::LongerTailKept,
        StrongMutant::HandBackEarly,
        StrongMutant::FrozenDroppedEarly,
        StrongMutant::JointSkipped,
        StrongMutant::ForwardedTwice,
        StrongMutant::CopyShowsOpen,
        StrongMutant::AckOnTimeout,
        StrongMutant::OpenWriteVisible,
        StrongMutant::CopyMerged,
        StrongMutant::PassedIdsReused,
        StrongMutant::ExpiredByReplica,
    ];

    pub const ALL: [StrongMutant; 34] = [
        StrongMutant::PromiseNotDurable,
        StrongMutant::QuorumOffByOne,
        StrongMutant::ReadWithoutRound,
        StrongMutant::MemberSkipped,
        StrongMutant::AckBeforeMembers,
        StrongMutant::OwnCopyUnsynced,
        StrongMutant::AcksAcrossRegimes,
        StrongMutant::LowerRegimeHeard,
        StrongMutant::JoinUnconfirmed,
        StrongMutant::MemberByName,
        StrongMutant::WipedVotes,
        StrongMutant::LostTailIntact,
        StrongMutant::OlderDiskTrusted,
        StrongMutant::CoreOnlyEqualised,
        StrongMutant::StepFiveSkipped,
        StrongMutant::LongerTailKept,
        StrongMutant::PassOverCountsNewer,
        StrongMutant::OnlyNewestAccepted,
        StrongMutant::HandBackEarly,
        StrongMutant::FrozenDroppedEarly,
        StrongMutant::OldRosterIgnored,
        StrongMutant::JointSkipped,
        StrongMutant::ForwardedTwice,
        StrongMutant::CopyShowsOpen,
        StrongMutant::AckOnTimeout,
        StrongMutant::OpenWriteVisible,
        StrongMutant::CopyMerged,
        StrongMutant::OwnEntriesIgnored,
        StrongMutant::RoundMarksIgnored,
        StrongMutant::StartHidesLoss,
        StrongMutant::ReplacedCounted,
        StrongMutant::CouncilOfNew,
        StrongMutant::PassedIdsReused,
        StrongMutant::ExpiredByReplica,
    ];

    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            StrongMutant::PromiseNotDurable => "promise-not-durable",
            StrongMutant::QuorumOffByOne => "quorum-off-by-one",
            StrongMutant::ReadWithoutRound => "read-without-round",
            StrongMutant::MemberSkipped => "member-skipped",
            StrongMutant::AckBeforeMembers => "ack-before-members",
            StrongMutant::OwnCopyUnsynced => "own-copy-unsynced",
            StrongMutant::AcksAcrossRegimes => "acks-across-regimes",
            StrongMutant::LowerRegimeHeard => "lower-regime-heard",
            StrongMutant::JoinUnconfirmed => "join-unconfirmed",
            StrongMutant::MemberByName => "member-by-name",
            StrongMutant::WipedVotes => "wiped-votes",
            StrongMutant::LostTailIntact => "lost-tail-intact",
            StrongMutant::OlderDiskTrusted => "older-disk-trusted",
            StrongMutant::CoreOnlyEqualised => "core-only-equalised",
            StrongMutant::StepFiveSkipped => "step-five-skipped",
            StrongMutant::LongerTailKept => "longer-tail-kept",
            StrongMutant::PassOverCountsNewer => "pass-over-counts-newer",
            StrongMutant::OnlyNewestAccepted => "only-newest-accepted",
            StrongMutant::HandBackEarly => "hand-back-early",
            StrongMutant::FrozenDroppedEarly => "frozen-dropped-early",
            StrongMutant::OldRosterIgnored => "old-roster-ignored",
            StrongMutant::JointSkipped => "joint-skipped",
            StrongMutant::ForwardedTwice => "forwarded-twice",
            StrongMutant::CopyShowsOpen => "copy-shows-open",
            StrongMutant::AckOnTimeout => "ack-on-timeout",
            StrongMutant::OpenWriteVisible => "open-write-visible",
            StrongMutant::CopyMerged => "copy-merged",
            StrongMutant::OwnEntriesIgnored => "own-entries-ignored",
            StrongMutant::RoundMarksIgnored => "round-marks-ignored",
            StrongMutant::StartHidesLoss => "start-hides-loss",
            StrongMutant::ReplacedCounted => "replaced-counted",
            StrongMutant::CouncilOfNew => "council-of-new",
            StrongMutant::PassedIdsReused => "passed-ids-reused",
            StrongMutant::ExpiredByReplica => "expired-by-replica",
        }
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

    #[cfg(feature = "mutants")]
    pub fn only_strong(mutant: StrongMutant) -> Mutants {
        Mutants::only(Mutant::Strong(mutant))
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

    #[inline]
    pub fn has_strong(self, mutant: StrongMutant) -> bool {
        self.has(Mutant::Strong(mutant))
    }

    /// Whether this build of the library contains deliberate faults.
    pub const fn compiled_in() -> bool {
        cfg!(feature = "mutants")
    }
}
