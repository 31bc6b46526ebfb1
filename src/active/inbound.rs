//! The receiving side of a stream: units, barriers, state transfers, paused origins.

use std::collections::{BTreeSet, VecDeque};

use crate::base::fact::{Fact, LogLevel};
use crate::base::ids::{ConnId, NodeId, Origin};
use crate::base::mutant::Mutant;
use crate::base::stamp::Stamp;
use crate::base::unit::{Change, Unit};
use crate::base::vector::Vector;
use crate::store::Admission;
use crate::wire::frame::Frame;

use super::adopt::{journal_cells, journal_unit, unit_bytes};
use super::paused::Paused;
use super::peer::{Peer, Side};
use super::strays::Strays;
use super::{Active, Core};

/// So many sweeps cells wait for a resync that does not begin: about as long as a link may be silent.
const SWEEPS_WAITED_MAX: u32 = 20;

/// The state of one stream, receiving side.
#[derive(Debug, Default)]
pub struct Inbound {
    pub(super) resync: Option<Resync>,
    /// Origins whose stamps lie too far ahead, with what waits of them, in order.
    pub(super) paused: Vec<Paused>,
    /// Ask for the cells beyond the own vector as soon as possible.
    pub(super) wants_resync: bool,
    /// The store has cells or units of this stream that the log does not have yet.
    pub unlogged: bool,
    /// Of whom a transfer has brought cells that its sender's vector did not cover: they are in no log that counts
    /// until this node's does.
    pub beyond: Vector,
    /// Of whom cells have come that do not count yet.
    pub(super) met: BTreeSet<Origin>,
    /// At how many sweeps on end it was so and no transfer was under way.
    sweeps_waited: u32,
    /// Bytes of units held for the resync, and for paused origins.
    held_bytes: usize,
    pub(super) paused_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Resync {
    /// The sender's vector when the transfer began; `None` until it has begun.
    begun: Option<Vector>,
    /// Everything is to be dropped when the first bytes of the new set arrive (plain replica).
    replaces: bool,
    held: VecDeque<Held>,
    /// Cells held before it that it has not brought.
    strays: Strays,
    /// It brings everything that the sender has.
    whole: bool,
    /// When it began everything that was here was in the log.
    logged: bool,
    /// Held units were let go for their size: another resync has to follow.
    overflowed: bool,
    /// Cells of these origins were left out, because they are paused.
    skipped: Vec<Origin>,
    /// The last transfer lacked such cells: the next is asked for when one of these origins goes on.
    pub(super) blocked: bool,
    /// The sender has been asked for it.
    asked: bool,
}

#[derive(Debug)]
enum Held {
    Unit(Unit),
    Barrier(Vector),
    CaughtUp(Vector),
}

impl Inbound {
    pub fn new(whole: bool) -> Inbound {
        let mut inbound = Inbound::default();
        if whole {
            inbound.resync = Some(Resync::of_everything());
        }
        inbound
    }

    pub fn is_resyncing(&self) -> bool {
        self.resync.is_some() || self.wants_resync
    }

    /// Whether a resync waits for a paused origin to go on.
    pub fn is_blocked(&self) -> bool {
        self.resync.as_ref().is_some_and(|resync| resync.blocked)
    }

    /// Whether the store has cells of this stream that neither the vector covers nor the log has.
    pub fn holds_unlogged(&self) -> bool {
        self.unlogged || !self.beyond.is_empty()
    }

    /// What was met beyond the sender's vector is gone from the account once `vector` covers it.
    pub fn settle(&mut self, vector: &Vector) {
        if !self.beyond.is_empty() && vector.covers_all(&self.beyond) {
            self.beyond.clear();
        }
    }

    /// Whether what is not in the log should not wait any longer for the resync that brings it; called at every sweep.
    pub fn stands_still(&mut self) -> bool {
        // (What is too far ahead here may be so elsewhere: there it would keep this node's own units waiting.)
        let waits = self.holds_unlogged() && !self.has_begun() && self.paused.is_empty();
        self.sweeps_waited = if waits { self.sweeps_waited + 1 } else { 0 };
        self.is_blocked() || self.sweeps_waited > SWEEPS_WAITED_MAX
    }

    fn has_begun(&self) -> bool {
        self.resync.as_ref().is_some_and(|resync| resync.begun.is_some())
    }

    pub fn paused_origins(&self) -> impl Iterator<Item = Origin> + '_ {
        self.paused.iter().map(|paused| paused.origin)
    }

    fn is_paused(&self, origin: Origin) -> bool {
        self.paused.iter().any(|paused| paused.origin == origin)
            || self.resync.as_ref().is_some_and(|resync| resync.skipped.contains(&origin))
    }
}

impl Resync {
    /// One that has been asked for, and takes the place of what is here.
    pub(super) fn of_everything() -> Resync {
        Resync { asked: true, ..Resync::awaited(true) }
    }

    fn awaited(replaces: bool) -> Resync {
        Resync {
            begun: None,
            replaces,
            held: VecDeque::new(),
            strays: Strays::default(),
            whole: false,
            logged: false,
            overflowed: false,
            skipped: Vec::new(),
            blocked: false,
            asked: false,
        }
    }
}

/// A stream's connection and state, taken out of the table while it is worked on.
pub(super) struct Stream<'a> {
    pub(super) conn: ConnId,
    pub(super) node: NodeId,
    pub(super) inbound: &'a mut Inbound,
}

impl Active {
    /// A frame of a master's stream.
    pub(super) fn on_stream_frame(&mut self, peer: &mut Peer, frame: Frame, core: &mut Core<'_>) {
        let Peer { conn, node: Some(node), side: Side::Master { inbound, .. }, .. } = peer else {
            return;
        };
        let mut stream = Stream { conn: *conn, node: node.node, inbound };
        match frame {
            Frame::Unit(unit) => self.on_unit(&mut stream, unit, core),
            Frame::Barrier(vector) => self.on_barrier(&mut stream, vector, core),
            Frame::StateBegin { vector, whole } => {
                self.on_state_begin(&mut stream, vector, whole, core);
            }
            Frame::StateChunk(changes) => self.on_state_chunk(&mut stream, &changes, core),
            Frame::StateEnd => self.on_state_end(&mut stream, core),
            Frame::Hello(_)
            | Frame::Refuse(_)
            | Frame::ResyncRequest { .. }
            | Frame::Ack(_)
            | Frame::Heartbeat(_) => {
                let text = format!("{} sent a frame that no master sends", self.name_of(peer));
                core.out.facts.log(LogLevel::Warning, text);
                peer.closing = true;
            }
        }
        self.ask_for_resync(peer);
    }

    /// The master's heartbeat says that everything in `vector` has been sent before.
    pub(super) fn on_stream_caught_up(
        &mut self,
        peer: &mut Peer,
        vector: &Vector,
        core: &mut Core<'_>,
    ) {
        if let Peer { conn, node: Some(node), side: Side::Master { inbound, .. }, .. } = peer {
            let mut stream = Stream { conn: *conn, node: node.node, inbound };
            self.on_caught_up(&mut stream, vector, core);
            self.ask_for_resync(peer);
        }
    }

    pub(super) fn ask_for_resync(&self, peer: &mut Peer) {
        let Side::Master { inbound, .. } = &mut peer.side else { return };
        if inbound.wants_resync && inbound.resync.is_none() {
            inbound.wants_resync = false;
            inbound.resync = Some(Resync::awaited(false));
        }
        let Some(resync) = &mut inbound.resync else { return };
        if !resync.asked && !resync.blocked {
            resync.asked = true;
            let whole = self.is_log_older && !self.is_plain();
            let presented = if whole { Vector::new() } else { self.vector.clone() };
            peer.send(&Frame::ResyncRequest { presented, whole });
        }
    }

    pub(super) fn on_unit(&mut self, stream: &mut Stream<'_>, unit: Unit, core: &mut Core<'_>) {
        let inbound = &mut *stream.inbound;
        let origin = unit.dot.origin;
        if self.vector.covers(unit.dot) {
            core.out.facts.sometimes("a unit arrived twice");
            return;
        }
        let waits = inbound.paused.iter().position(|paused| paused.origin == origin);
        let too_far = self.is_too_far_ahead(core, &unit);
        if waits.is_some() || too_far {
            let at = waits.unwrap_or_else(|| {
                self.say_paused(origin, unit.newest_time(), core);
                let units = VecDeque::new();
                inbound.paused.push(Paused { origin, time: 0, units, overflowed: false });
                inbound.paused.len() - 1
            });
            let bytes = inbound.paused_bytes + unit_bytes(&unit);
            let paused = &mut inbound.paused[at];
            paused.time = paused.time.max(unit.newest_time());
            if paused.overflowed {
                // What follows a gap cannot count: the resync brings it.
            } else if bytes > self.held_bytes_max() {
                core.out.facts.sometimes("a paused origin overran the bound of what is held");
                inbound.paused_bytes -=
                    paused.units.drain(..).map(|u| unit_bytes(&u)).sum::<usize>();
                paused.overflowed = true;
            } else {
                inbound.paused_bytes = bytes;
                if self.mutants.has(Mutant::PausedUnitAcknowledged) {
                    self.vector.raise(origin, unit.dot.time);
                }
                paused.units.push_back(unit);
            }
            return;
        }
        self.take_unit(stream, unit, core);
    }

    /// Applies a unit, and logs and counts it unless a resync is under way.
    fn take_unit(&mut self, stream: &mut Stream<'_>, unit: Unit, core: &mut Core<'_>) {
        if self.vector.covers(unit.dot) {
            return;
        }
        let waits = stream.inbound.is_blocked();
        let unit = if waits { Active::without_held(unit, core) } else { unit };
        let left_out = self.merge_unit(&unit, core);
        let inbound = &mut *stream.inbound;
        let log_at_once = self.mutants.has(Mutant::LiveUnitLoggedInResync);
        if let Some(resync) = &mut inbound.resync
            && !log_at_once
        {
            core.out.facts.sometimes("a live unit was met during a resync");
            journal_cells(&unit, &left_out, core.journal);
            if resync.blocked && !self.leaves_unlogged() {
                // The next transfer brings it again; others get it at once, and once only.
                self.adopt_unit(unit, core);
                return;
            }
            inbound.unlogged = true;
            inbound.met.insert(unit.dot.origin);
            if resync.blocked {
                return;
            }
            inbound.held_bytes += unit_bytes(&unit);
            if inbound.held_bytes > self.held_bytes_max() {
                core.out.facts.sometimes("a resync overran the bound of what is held");
                resync.overflowed = true;
                inbound.held_bytes = 0;
                resync.held.clear();
            } else if !resync.overflowed {
                resync.held.push_back(Held::Unit(unit));
            }
            return;
        }
        journal_unit(&unit, &left_out, core.journal);
        self.count_unit(stream.conn, &unit, core);
    }

    /// Merges all changes of a unit. Those with a stamp of their own may concern cells that were collected here: which were
    /// not let in is returned, by their places.
    fn merge_unit(&mut self, unit: &Unit, core: &mut Core<'_>) -> Vec<usize> {
        core.clock.observe(unit.newest_time());
        let clock = self.skew.expiry(core.now);
        let mut left_out = Vec::new();
        for (at, change) in unit.changes.iter().enumerate() {
            let stamp = change.stamp_in(unit.dot);
            if change.stamp.is_some() {
                if !self.admits(change, stamp, false, core) {
                    left_out.push(at);
                    continue;
                }
                self.note_stray(stamp);
            }
            core.store.apply(change, stamp, clock, &mut core.out.facts);
        }
        left_out
    }

    /// `whole`: the sender gives everything it has, to one whose log may be older than what was announced. What that has seen
    /// and lacks is gone all the same; but of what it has not seen nobody can tell it that it was collected.
    fn admits(&self, change: &Change, stamp: Stamp, whole: bool, core: &mut Core<'_>) -> bool {
        match core.store.admits(change, stamp, self.vector.covers(stamp)) {
            Admission::Merge => true,
            Admission::Ignore => {
                core.out.facts.sometimes("a cell arrived that had been collected here");
                false
            }
            Admission::BelowHorizon if whole => true,
            Admission::BelowHorizon => {
                // 1. Of a life that has ended: whoever had the cell outside the log announced nothing until it had
                //    logged it, so its outcome has been here.
                // 2. Or of one that joins and was told no horizon before: it lifts what survives.
                core.out.facts.sometimes("an unseen cell arrived from below the horizon");
                false
            }
        }
    }

    /// The unit is in the store: now it enters the log and counts.
    fn count_unit(&mut self, conn: ConnId, unit: &Unit, core: &mut Core<'_>) {
        self.vector.raise(unit.dot.origin, unit.dot.time);
        if !self.mutants.has(Mutant::TakenUnitNotLogged) {
            self.log.append_unit(unit);
        }
        self.units_taken += 1;
        let dot = unit.dot;
        core.out.fact(|| Fact::UnitTaken { dot, conn });
    }

    fn on_barrier(&mut self, stream: &mut Stream<'_>, vector: Vector, core: &mut Core<'_>) {
        if let Some(resync) = &mut stream.inbound.resync {
            core.out.facts.sometimes("a barrier was met during a resync");
            if !resync.overflowed && !resync.blocked {
                resync.held.push_back(Held::Barrier(vector));
            }
            return;
        }
        if self.vector.covers_all(&vector) || self.mutants.has(Mutant::BarrierIgnored) {
            return;
        }
        core.out.facts.sometimes("a barrier was not covered");
        stream.inbound.wants_resync = true;
    }

    fn on_caught_up(&mut self, stream: &mut Stream<'_>, vector: &Vector, core: &mut Core<'_>) {
        if stream.inbound.wants_resync {
            return;
        }
        if let Some(resync) = &mut stream.inbound.resync {
            if resync.overflowed || resync.blocked {
                // What follows a gap does not count.
            } else if let Some(Held::CaughtUp(last)) = resync.held.back_mut() {
                last.merge(vector);
            } else {
                resync.held.push_back(Held::CaughtUp(vector.clone()));
            }
            return;
        }
        self.raise_vector(stream.inbound, vector, core);
    }

    /// The vector becomes the maximum with `vector`, but for paused origins. The entries that moved.
    fn raise_vector(&mut self, inbound: &Inbound, vector: &Vector, core: &mut Core<'_>) -> Vector {
        let mut moved = Vector::new();
        for (origin, time) in vector.iter() {
            // One's own entry is the own clock's; a paused origin's units are still to come.
            let open = origin != core.clock.origin() && !inbound.is_paused(origin);
            if open && self.vector.raise(origin, time) {
                moved.raise(origin, time);
            }
        }
        if !moved.is_empty() {
            core.journal.vector(&moved);
            let vector = &self.vector;
            core.out.fact(|| Fact::VectorMoved { vector: vector.clone() });
        }
        moved
    }

    fn on_state_begin(
        &mut self,
        stream: &mut Stream<'_>,
        vector: Vector,
        whole: bool,
        core: &mut Core<'_>,
    ) {
        let from = stream.node;
        core.out.fact(|| Fact::ResyncBegan { from });
        let mut resync = stream.inbound.resync.take().unwrap_or_else(|| Resync::awaited(false));
        if resync.begun.is_some() {
            core.out.facts.sometimes("a state transfer began anew before its end");
        }
        if resync.replaces && !whole {
            // It began before the request for everything arrived there, and brings a part only.
            core.out.facts.sometimes("a transfer of a part came in place of everything");
            stream.inbound.resync = Some(Resync { begun: None, ..resync });
            return;
        }
        resync.replaces &= !whole;
        if whole && self.is_plain() {
            self.drop_data(core);
        }
        // The stream goes on from here: what a paused origin sent between its last held unit and now
        // comes as cells, or, too far ahead as well, not at all. From here on there is a gap.
        for paused in &mut stream.inbound.paused {
            paused.units.clear();
            paused.overflowed = true;
        }
        stream.inbound.paused_bytes = 0;
        if self.mutants.has(Mutant::VectorMovedEarly) {
            self.raise_vector(stream.inbound, &vector, core);
        }
        if self.mutants.has(Mutant::VectorPersistedAhead) {
            core.journal.vector(&vector);
        }
        resync.begun = Some(vector);
        resync.logged = !self.holds_unlogged() && !stream.inbound.holds_unlogged();
        resync.whole = whole;
        let node = stream.node;
        resync.strays = if whole { self.all_cells(core) } else { self.strays(node, core) };
        resync.asked = true;
        // What an earlier transfer lacked comes again with this one, and what is met live during it counts at its end.
        resync.blocked = false;
        resync.skipped.clear();
        resync.held.clear();
        resync.overflowed = false;
        stream.inbound.held_bytes = 0;
        stream.inbound.resync = Some(resync);
        stream.inbound.wants_resync = false;
    }

    fn on_state_chunk(&mut self, stream: &mut Stream<'_>, changes: &[Change], core: &mut Core<'_>) {
        if !stream.inbound.has_begun() {
            return;
        }
        let clock = self.skew.expiry(core.now);
        let whole = stream.inbound.resync.as_ref().is_some_and(|resync| resync.whole);
        let mut merged = Vec::new();
        for change in changes {
            let Some(stamp) = change.stamp else { continue };
            let paused = self.is_stamp_too_far_ahead(core, stamp);
            if paused {
                self.say_paused(stamp.origin, stamp.time, core);
                let resync = stream.inbound.resync.as_mut();
                let skipped = &mut resync.expect("it has begun").skipped;
                if !skipped.contains(&stamp.origin) {
                    skipped.push(stamp.origin);
                }
                continue;
            }
            core.clock.observe(stamp.time);
            stream.inbound.unlogged = true;
            if let Some(resync) = &mut stream.inbound.resync {
                resync.strays.confirm(change, stamp);
                let covered = resync.begun.as_ref().is_some_and(|vector| vector.covers(stamp));
                // What this node has adopted comes again with every transfer, and is not adopted again: nodes whose
                // backlog is too small for it would do so in turn and for ever.
                let adopted = resync.logged && core.store.holds(change, stamp);
                if !covered && !adopted && !self.vector.covers(stamp) {
                    stream.inbound.beyond.raise(stamp.origin, stamp.time);
                    self.strays.insert(stamp.origin);
                }
            }
            if !self.vector.covers(stamp) {
                stream.inbound.met.insert(stamp.origin);
            }
            if self.admits(change, stamp, whole, core) {
                self.cells_taken += 1;
                core.store.apply(change, stamp, clock, &mut core.out.facts);
                if core.journal.is_on() {
                    merged.push(change.clone());
                }
            }
        }
        core.journal.cells(merged);
    }

    /// The transfer is complete: the vector moves, a barrier stands in the log, and what was held counts.
    fn on_state_end(&mut self, stream: &mut Stream<'_>, core: &mut Core<'_>) {
        if !stream.inbound.has_begun() {
            return;
        }
        let Some(resync) = stream.inbound.resync.take() else { return };
        let Some(vector) = resync.begun else { return };
        let from = stream.node;
        stream.inbound.held_bytes = 0;
        for &origin in &resync.skipped {
            let waits = stream.inbound.paused.iter().any(|paused| paused.origin == origin);
            if !waits {
                let time = u64::MAX;
                let units = VecDeque::new();
                stream.inbound.paused.push(Paused { origin, time, units, overflowed: true });
            }
        }
        if !resync.skipped.is_empty() {
            // 1. The sender's cell of a paused origin has taken the place of an older one of another.
            // 2. Neither is here, and the sender may be gone before the origin goes on.
            // 3. So the vector must not say that the older one has been seen: nothing counts yet.
            self.strays.append(&mut stream.inbound.met);
            core.out.facts.sometimes("a state transfer lacked cells of a paused origin");
            core.out.fact(|| Fact::ResyncEnded { from, complete: false });
            stream.inbound.unlogged = true;
            stream.inbound.resync = Some(Resync { blocked: true, ..Resync::awaited(false) });
            return;
        }
        self.is_log_older &= !resync.whole;
        if self.drop_strays(resync.strays, &vector, core) {
            self.close_replicas(core);
        }
        // The barrier names what is not in the log; entries that did not move are.
        let moved = self.raise_vector(stream.inbound, &vector, core);
        if !moved.is_empty() && !self.mutants.has(Mutant::BarrierNotLogged) {
            self.log.append_barrier(&moved);
        }
        self.resyncs_complete += 1;
        // Of a paused origin cells may have come that no entry covers. (A plain replica adopts none.)
        let covers_all = stream.inbound.paused.is_empty() || self.is_plain();
        stream.inbound.unlogged = resync.overflowed || !covers_all;
        if !stream.inbound.unlogged {
            stream.inbound.met.clear();
        }
        core.out.fact(|| Fact::ResyncEnded { from, complete: true });
        core.out.facts.sometimes("a resync was completed");
        let mut held = resync.held;
        while let Some(next) = held.pop_front() {
            match next {
                Held::Unit(unit) => {
                    if !self.vector.covers(unit.dot) {
                        // Its cells were merged when it came.
                        core.journal.vector(&Vector::from(vec![(unit.dot.origin, unit.dot.time)]));
                        self.count_unit(stream.conn, &unit, core);
                    }
                }
                Held::Barrier(barrier) if self.vector.covers_all(&barrier) => {}
                Held::Barrier(_) => {
                    core.out.facts.sometimes("a held barrier was not covered");
                    stream.inbound.wants_resync = true;
                    stream.inbound.unlogged = true;
                    return;
                }
                Held::CaughtUp(vector) => {
                    self.raise_vector(stream.inbound, &vector, core);
                }
            }
        }
        stream.inbound.wants_resync |= resync.overflowed;
    }

    /// The stream has ended. A resync under way has not completed: what it brought goes into the log under own dots.
    pub(super) fn on_stream_end(&mut self, peer: &mut Peer, core: &mut Core<'_>) {
        let (Side::Master { inbound, .. }, Some(node)) = (&mut peer.side, peer.node) else {
            return;
        };
        inbound.settle(&self.vector);
        let unlogged = inbound.holds_unlogged();
        self.needs_whole |= inbound.resync.as_ref().is_some_and(|resync| resync.replaces);
        let mut met = core::mem::take(inbound).met;
        if unlogged {
            self.strays.append(&mut met);
            let from = node.node;
            core.out.fact(|| Fact::ResyncEnded { from, complete: false });
            core.out.facts.sometimes("a resync broke off");
            if self.is_plain() {
                // Nothing flows from here into the master; downstream gets the barrier of the next resync.
                self.needs_whole = true;
            } else if !self.mutants.has(Mutant::BrokenResyncNotLogged) {
                self.adopt_uncovered(core);
            }
        }
    }

    fn held_bytes_max(&self) -> usize {
        self.config.limits.held_bytes_max
    }
}
