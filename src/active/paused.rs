//! Origins whose stamps lie too far ahead of this node's clock: what they send waits.

use std::collections::VecDeque;

use crate::base::fact::{Fact, LogLevel};
use crate::base::ids::Origin;
use crate::base::stamp::Stamp;
use crate::base::unit::Unit;

use super::adopt::unit_bytes;
use super::inbound::Stream;
use super::peer::{Peer, Side};
use super::{Active, Core};

/// One such origin, on one stream.
#[derive(Debug)]
pub(super) struct Paused {
    pub origin: Origin,
    /// Newest stamp time among what waits, for telling when it may go on.
    pub time: u64,
    pub units: VecDeque<Unit>,
    pub overflowed: bool,
}

impl Active {
    /// Lets those paused origins go on whose stamps are no longer too far ahead.
    pub(super) fn resume_paused(&mut self, peer: &mut Peer, core: &mut Core<'_>) {
        let (conn, Some(node)) = (peer.conn, peer.node) else { return };
        let Side::Master { inbound, .. } = &mut peer.side else { return };
        let mut at = 0;
        while at < inbound.paused.len() {
            let paused = &inbound.paused[at];
            let next = paused.units.front().map_or(paused.time, Unit::newest_time);
            // Until the resync that brings what was let go is under way, nothing newer may count.
            let waits = paused.overflowed && inbound.resync.as_ref().is_some_and(|r| !r.blocked);
            let accepted = self.accepted.contains(&paused.origin);
            let due = next == u64::MAX && !self.is_origin_too_far_ahead(core, paused.origin);
            if waits
                || (!accepted
                    && !due
                    && self.skew.is_too_far_ahead(core.now, Stamp::new(next, paused.origin).ms()))
            {
                at += 1;
                continue;
            }
            let mut paused = inbound.paused.remove(at);
            let origin = paused.origin;
            core.out.facts.sometimes("a paused origin went on");
            self.far_ahead.remove(&origin);
            core.out.fact(|| Fact::OriginResumed { origin });
            inbound.wants_resync |= paused.overflowed;
            if let Some(resync) = &mut inbound.resync {
                resync.blocked = false;
            }
            inbound.paused_bytes -= paused.units.iter().map(unit_bytes).sum::<usize>();
            while let Some(unit) = paused.units.pop_front() {
                let mut stream = Stream { conn, node: node.node, inbound: &mut *inbound };
                self.on_unit(&mut stream, unit, core);
            }
        }
        self.ask_for_resync(peer);
    }

    pub(super) fn say_paused(&mut self, origin: Origin, time: u64, core: &mut Core<'_>) {
        if let Some(newest) = self.far_ahead.get_mut(&origin) {
            *newest = time.max(*newest);
            return;
        }
        self.far_ahead.insert(origin, time);
        core.out.facts.sometimes("an origin was paused for its clock");
        core.out.fact(|| Fact::OriginPaused { origin });
        core.out.facts.log(
            LogLevel::Warning,
            format!(
                "origin {origin} stamps more than {} ms ahead of this node's clock: its writes wait \
                 (QUORATE CLOCK ACCEPT {origin} lets them in)",
                self.skew.max_skew_ms()
            ),
        );
    }

    pub(super) fn is_too_far_ahead(&self, core: &Core<'_>, unit: &Unit) -> bool {
        self.skew.is_too_far_ahead(core.now, Stamp::new(unit.newest_time(), unit.dot.origin).ms())
            && !self.accepted.contains(&unit.dot.origin)
    }

    pub(super) fn is_stamp_too_far_ahead(&self, core: &Core<'_>, stamp: Stamp) -> bool {
        self.skew.is_too_far_ahead(core.now, stamp.ms()) && !self.accepted.contains(&stamp.origin)
    }

    /// Whether the newest stamp met of a paused origin still lies too far ahead.
    fn is_origin_too_far_ahead(&self, core: &Core<'_>, origin: Origin) -> bool {
        self.far_ahead
            .get(&origin)
            .is_some_and(|&time| self.is_stamp_too_far_ahead(core, Stamp::new(time, origin)))
    }
}
