//! The sending side of a stream: the log from where the replica stands, or the whole state.

use crate::base::fact::LogLevel;
use crate::base::ids::Origin;
use crate::base::mutant::Mutant;
use crate::base::stamp::Stamp;
use crate::base::unit::Change;
use crate::base::vector::Vector;
use crate::store::WalkPosition;
use crate::wire::frame::{Frame, Hello};

use super::log::{Entry, Log};
use super::peer::{Outbound, Peer, Side, Transfer};
use super::{Active, Core};

/// Most steps of a walk over the store between two looks at everything else.
const WALK_STEPS_MAX: usize = 16;

impl Outbound {
    pub fn new(hello: &Hello, cursor: u64) -> Outbound {
        Outbound {
            presented: hello.vector.clone(),
            whole: hello.whole,
            acked: hello.vector.clone(),
            acked_position: 0,
            acked_bytes: 0,
            keeps: hello.brings,
            cursor,
            transfer: None,
            overrun: false,
            port: hello.port,
        }
    }

    /// The replica is to keep nothing that is not sent now, as far as this node has seen it: everything is sent.
    pub fn replace_all(&mut self) {
        self.presented = Vector::new();
        self.acked = Vector::new();
        self.whole = true;
    }

    /// The replica (whose origin this is) says that it has all of `vector`.
    pub fn on_ack(&mut self, vector: &Vector, origin: Origin, log: &Log) {
        self.acked.merge(vector);
        let acked = &self.acked;
        // What it has written itself it has.
        let has = |dot: Stamp| dot.origin == origin || acked.covers(dot);
        let has_all =
            |vector: &Vector| vector.iter().all(|(from, time)| has(Stamp::new(time, from)));
        if self.acked_position < log.first() {
            if !has_all(log.start()) {
                return;
            }
            self.acked_position = log.first();
            self.acked_bytes = log.first_bytes();
        }
        while let Some(entry) = log.get(self.acked_position) {
            let acknowledged = match entry {
                Entry::Unit { dot, .. } => has(*dot),
                Entry::Barrier { vector, .. } => has_all(vector),
            };
            if !acknowledged {
                return;
            }
            self.acked_position += 1;
            self.acked_bytes += entry.frame_bytes();
        }
    }

    /// Whether everything in the log has been sent and no transfer is under way.
    pub fn is_caught_up(&self, log_end: u64) -> bool {
        self.cursor == log_end && self.transfer.is_none() && !self.overrun
    }

    /// Whether the replica is known to have all of `vector`.
    fn has_all(&self, vector: &Vector) -> bool {
        self.keeps && self.acked.covers_all(vector)
    }

    /// Whether the replica is known to have the unit with this dot.
    fn has(&self, dot: Stamp) -> bool {
        self.presented.covers(dot) || (self.keeps && self.acked.covers(dot))
    }
}

impl Active {
    /// After a handshake: from the log if it covers, else with a state transfer.
    pub(super) fn start_stream(&mut self, peer: &mut Peer, transfer: bool, core: &mut Core<'_>) {
        let skips = self.mutants.has(Mutant::BacklogSkipped);
        let first = if skips { self.log.end() } else { self.log.first() };
        if let Side::Replica(outbound) = &mut peer.side {
            outbound.cursor = first;
        }
        if transfer {
            self.begin_transfer(peer, core);
        } else {
            core.out.facts.sometimes("a stream went on from the backlog");
        }
    }

    pub(super) fn on_resync_request(
        &mut self,
        peer: &mut Peer,
        presented: Vector,
        whole: bool,
        core: &mut Core<'_>,
    ) {
        if let Side::Replica(outbound) = &mut peer.side {
            if !whole && outbound.whole && outbound.transfer.is_some() {
                // It was asked for before the replica knew that everything comes, and is answered by that.
                return;
            }
            if whole {
                outbound.replace_all();
            } else {
                outbound.acked.merge(&presented);
            }
            outbound.presented = presented;
            outbound.whole = whole;
            self.begin_transfer(peer, core);
        }
    }

    pub(super) fn on_ack(&mut self, peer: &mut Peer, vector: Vector, _core: &mut Core<'_>) {
        if let (Side::Replica(outbound), Some(node)) = (&mut peer.side, peer.node) {
            outbound.on_ack(&vector, node.origin, &self.log);
        }
    }

    fn begin_transfer(&mut self, peer: &mut Peer, core: &mut Core<'_>) {
        let vector = self.members.outgoing(&self.vector).into_owned();
        let end = self.log.end();
        let Side::Replica(outbound) = &mut peer.side else { return };
        core.out.facts.sometimes("a state transfer began");
        core.out.facts.log(LogLevel::Notice, "Sending the state to a replica");
        self.transfers_begun += 1;
        outbound.cursor = end;
        outbound.overrun = false;
        if outbound.keeps && !outbound.whole {
            // What it has said to have since need not be sent again.
            outbound.presented.merge(&outbound.acked);
        }
        let whole = outbound.whole;
        outbound.transfer = Some(Transfer { position: WalkPosition::default() });
        peer.send(&Frame::StateBegin { vector, whole });
    }

    /// Sends what the window has room for.
    pub(super) fn pump(&mut self, peer: &mut Peer, core: &mut Core<'_>) {
        let window = self.config.limits.link_window_bytes as u64;
        let mut steps = 0;
        loop {
            let unsent = peer.unsent_bytes();
            let Side::Replica(outbound) = &mut peer.side else { return };
            if unsent >= window {
                core.out.facts.sometimes("a stream waited for its window");
                self.waits_for_room = true;
                return;
            }
            let behind = outbound.cursor < self.log.first();
            if let Some(transfer) = outbound.transfer {
                if steps == WALK_STEPS_MAX {
                    self.busy = true;
                    return;
                }
                steps += 1;
                if behind {
                    core.out.facts.sometimes("the backlog overran a state transfer");
                    outbound.overrun = true;
                    outbound.cursor = self.log.end();
                }
                self.send_chunk(peer, transfer, core);
                self.send_live(peer, window);
            } else if behind || outbound.overrun {
                self.begin_transfer(peer, core);
            } else if outbound.cursor < self.log.end() {
                self.send_live(peer, window);
            } else {
                return;
            }
        }
    }

    /// Log entries from the cursor on, until the window is full.
    fn send_live(&self, peer: &mut Peer, window: u64) {
        let origin = peer.node.map(|node| node.origin);
        loop {
            if peer.unsent_bytes() >= window {
                return;
            }
            let Side::Replica(outbound) = &mut peer.side else { return };
            if outbound.overrun {
                return;
            }
            let Some(entry) = self.log.get(outbound.cursor) else { return };
            outbound.cursor += 1;
            let frame = match entry {
                // A live node has all of its own; what it is known to have need not travel.
                Entry::Unit { dot, .. } if Some(dot.origin) == origin || outbound.has(*dot) => {
                    continue;
                }
                Entry::Barrier { vector, .. } if outbound.has_all(vector) => continue,
                Entry::Unit { frame, .. } | Entry::Barrier { frame, .. } => frame.clone(),
            };
            peer.send_encoded(&frame);
        }
    }

    /// The next piece of the state: cells the replica's vector does not cover.
    fn send_chunk(&mut self, peer: &mut Peer, transfer: Transfer, core: &mut Core<'_>) {
        let Side::Replica(outbound) = &mut peer.side else { return };
        let mut changes: Vec<Change> = Vec::new();
        let budget = self.config.limits.state_chunk_bytes;
        let next = core.store.walk(transfer.position, budget, &mut changes);
        outbound.transfer = next.map(|position| Transfer { position });
        // What comes later is added to this. (A plain replica asks for everything again if it has to.)
        outbound.whole &= next.is_some() || !outbound.keeps;
        changes
            .retain(|change| change.stamp.is_some_and(|stamp| !outbound.presented.covers(stamp)));
        if self.mutants.has(Mutant::BrokenResyncNotLogged) {
            changes.retain(|change| change.stamp.is_some_and(|stamp| self.vector.covers(stamp)));
        }
        if !changes.is_empty() {
            peer.send(&Frame::StateChunk(changes));
        }
        if next.is_none() {
            peer.send(&Frame::StateEnd);
        }
    }
}
