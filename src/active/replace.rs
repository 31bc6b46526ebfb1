//! A plain replica takes its master's data in place of its own.

use crate::base::fact::{Fact, LogLevel};
use crate::base::vector::Vector;
use crate::wal::Record;
use crate::wire::frame::Frame;

use super::inbound::Resync;
use super::peer::{Peer, Side};
use super::{Active, Core};

impl Active {
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
