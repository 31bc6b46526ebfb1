//! A plain replica takes its master's data in place of its own.

use crate::base::fact::{Fact, LogLevel};
use crate::base::time::Span;
use crate::base::vector::Vector;
use crate::wal::Record;
use crate::wire::frame::Frame;

use super::inbound::Resync;
use super::peer::{Peer, Side};
use super::{Active, Core};

/// A plain replica may have what its master lacks for so many ping periods: until then it may be on its way there from
/// whoever was the master before.
const AHEAD_PERIODS_MAX: u64 = 10;

impl Active {
    /// The master has `vector`. What this plain replica has beyond that came from elsewhere: units of a past epoch, which
    /// nobody will bring to the master; or of a master before, which the new one may never reach.
    pub(super) fn compare_with_master(
        &self,
        peer: &mut Peer,
        vector: &Vector,
        core: &mut Core<'_>,
    ) {
        let mut ahead = Vector::new();
        let mut for_good = false;
        for (origin, time) in self.vector.iter() {
            if origin != core.clock.origin() && time > vector.get(origin) {
                ahead.raise(origin, time);
                for_good |= !self.members.is_current(origin);
            }
        }
        if peer.ahead.as_ref().is_some_and(|(_, lack)| vector.covers_all(lack)) {
            peer.ahead = None;
        }
        if peer.ahead.is_none() && !ahead.is_empty() {
            peer.ahead = Some((core.now.mono, ahead));
        }
        let bound = Span(AHEAD_PERIODS_MAX * self.config.limits.ping_period.0);
        let for_long = peer.ahead.as_ref().is_some_and(|a| core.now.mono.since(a.0) >= bound);
        if for_good {
            core.out.facts.sometimes("a plain replica had what its master will never get");
        } else if for_long {
            core.out.facts.sometimes("a plain replica had what its new master does not get");
        }
        if for_good || for_long {
            self.start_over(peer);
            peer.ahead = None;
        }
    }

    /// A plain replica has what its master will never get: it takes the master's data anew.
    pub(super) fn start_over(&self, peer: &mut Peer) {
        let Side::Master { inbound, .. } = &mut peer.side else { return };
        if inbound.resync.is_none() {
            inbound.resync = Some(Resync::of_everything());
            peer.send(&Frame::ResyncRequest { presented: Vector::new(), whole: true });
        }
    }

    /// A plain replica forgets its own data; called when the first bytes of the master's arrive.
    pub(super) fn drop_data(&mut self, core: &mut Core<'_>) {
        core.out.facts.log(LogLevel::Notice, "MASTER <-> REPLICA sync: Flushing old data");
        core.store.clear(&mut core.out.facts);
        core.out.fact(|| Fact::DataDropped);
        self.vector = Vector::new();
        self.vector.raise(core.clock.origin(), core.clock.last());
        core.journal.put(&Record::Dropped);
        core.journal.vector(&self.vector);
        self.log.restart(&self.vector);
        self.members.unsettle();
        // A plain replica of this one must not keep what is gone here: at the next handshake it sees that.
        let follows =
            |peer: &Peer| matches!(&peer.side, Side::Replica(outbound) if !outbound.keeps);
        for conn in self.peers.conns(follows) {
            core.out
                .facts
                .sometimes("a plain replica dropped its data and its own replicas' links");
            self.close_peer(conn, core);
        }
    }
}
