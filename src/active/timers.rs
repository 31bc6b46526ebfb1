//! What happens by itself: heartbeats, horizon work, silence, and the end of a batch.

use crate::base::fact::Fact;
use crate::base::io::Effect;
use crate::base::mutant::Mutant;
use crate::base::time::{Mono, UnixMs};
use crate::wire::frame::Pulse;

use super::dial::Master;
use super::peer::{Peer, Side};
use super::{Active, Core};

impl Active {
    pub fn on_timeout(&mut self, core: &mut Core<'_>) {
        let now = core.now.mono;
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.config.limits.ping_period;
            self.beat(core);
        }
        self.drive_masters(core);
        self.drop_silent_peers(core);
        if now >= self.next_sweep {
            self.next_sweep = now + self.config.limits.sweep_period;
            self.sweep(core);
        }
    }

    /// The next heartbeat is due now: whoever has everything says so.
    pub fn beat_soon(&mut self, now: Mono) {
        self.next_heartbeat = now;
    }

    /// One heartbeat on every link.
    fn beat(&mut self, core: &mut Core<'_>) {
        self.promise(core);
        self.announce(core);
        let wall = self.skew.wall(core.now);
        let vector = self.members.outgoing(&self.vector);
        self.telling.renew(&vector, self.members.records());
        let log_end = self.log.end();
        for peer in self.peers.iter_mut() {
            if !peer.is_established() {
                continue;
            }
            let caught_up = match &peer.side {
                Side::Replica(outbound) => outbound.is_caught_up(log_end),
                Side::Master { .. } | Side::Guest | Side::Greeting { .. } => false,
            };
            // A window that is full stays as it is: nothing is queued for a silent link.
            if peer.unsent_bytes() < 4 * self.config.limits.link_window_bytes as u64 + 4096 {
                let now = core.now.mono;
                let echo = peer.echo.map(|(sent, came)| (sent, now.since(came)));
                let pulse = Pulse { wall, sent: now, echo, caught_up };
                peer.send_heartbeat(&pulse, &mut self.telling);
            }
        }
    }

    /// Promises to give no stamp at or below the clock's from now on: an idle origin advances.
    pub(super) fn promise(&mut self, core: &mut Core<'_>) {
        let origin = core.clock.origin();
        self.durable.note_own(self.vector.get(origin));
        let last = core.clock.promise(self.skew.wall(core.now).ms());
        if self.vector.raise(origin, last) {
            self.durable.note_idle(last);
        }
    }

    /// Begins or ends being alone: nothing was logged meanwhile.
    pub(super) fn note_company(&mut self, core: &mut Core<'_>) {
        let alone = self.is_alone();
        if alone != self.alone {
            self.alone = alone;
            self.log.restart(&self.vector);
            if alone {
                core.store.set_alone(true);
                core.journal.note_break();
                core.out.fact(|| Fact::StandsAlone);
            } else {
                self.leave_solitude(core);
            }
        }
    }

    fn announce(&mut self, core: &mut Core<'_>) {
        let clock = self.skew.expiry(core.now);
        let met_all = self.masters.iter().all(|master| master.met);
        self.members.settle(&self.vector);
        let collected = core.store.collected();
        let bound = if self.alone { 0 } else { self.horizon_known(core) };
        let joined = core.store.inherited().is_none();
        if !self.alone {
            let origin = core.clock.origin();
            self.durable.promise(origin, self.vector.get(origin), core.journal);
        }
        let present = if core.journal.is_settled() {
            (!self.holds_unlogged()).then_some((&self.vector, clock, joined))
        } else {
            self.durable.present()
        };
        if let Some(past) = self.members.announce(present, met_all, collected, bound) {
            core.out.push(Effect::StorePast(past));
        }
    }

    /// Whether the store has cells that neither the vector covers nor the log has: nobody may collect as if they were not
    /// about. (Nobody gets a plain replica's.)
    pub fn holds_unlogged(&self) -> bool {
        let unlogged = |peer: &Peer| match &peer.side {
            Side::Master { inbound, .. } => inbound.holds_unlogged(),
            Side::Guest | Side::Replica(_) | Side::Greeting { .. } => false,
        };
        !self.is_plain() && self.peers.iter().any(unlogged)
    }

    /// The answer to [`Effect::StorePast`].
    pub fn on_past_stored(&mut self, durable: bool) {
        self.members.on_past_stored(durable);
    }

    /// Horizon work, in bounded pieces.
    fn sweep(&mut self, core: &mut Core<'_>) {
        self.members.settle(&self.vector);
        let clock = self.skew.expiry(core.now);
        let keys_max = self.config.limits.sweep_keys_max;
        self.take_over_horizon(core);
        let joins = core.store.inherited().is_some();
        let resyncs = core::mem::replace(&mut self.resyncs_seen, self.resyncs_complete);
        if joins && !self.is_plain() && resyncs != self.resyncs_complete {
            self.begin_anew(core);
        }
        let (horizon, expired_before) = if self.is_alone() {
            (core.clock.last(), clock)
        } else if self.mutants.has(Mutant::TombstoneCollectedEarly) {
            (self.vector.get(core.clock.origin()), clock)
        } else if joins {
            (0, UnixMs(0))
        } else {
            if self.mutants.has(Mutant::AnnouncementNotAwaited) {
                self.members.settle_all();
            }
            let horizon = self.members.horizon(&self.vector);
            if self.mutants.has(Mutant::ExpiryNotAwaited) {
                (horizon, clock)
            } else {
                (horizon, self.members.expired_before(&self.vector, clock))
            }
        };
        let before = core.store.collected();
        self.collecting =
            core.store.collect(horizon, expired_before, keys_max, &mut core.out.facts);
        let horizon = core.store.collected();
        if horizon != before {
            core.out.fact(|| Fact::Collected { horizon });
            // What one that is alone collects nobody else has ever had.
            if !self.alone {
                core.journal.collected(horizon);
            }
        }
        for conn in self.peers.conns(|peer| matches!(peer.side, Side::Master { .. })) {
            if let Some(mut peer) = self.peers.remove(conn) {
                self.resume_paused(&mut peer, core);
                let silent =
                    core.now.mono.since(peer.last_heard) >= self.config.limits.suspect_after;
                let still = match &mut peer.side {
                    Side::Master { inbound, .. } => {
                        inbound.settle(&self.vector);
                        inbound.stands_still() || silent
                    }
                    Side::Guest | Side::Replica(_) | Side::Greeting { .. } => false,
                };
                self.put_back(peer, core);
                if still {
                    self.keep_unlogged(conn, core);
                }
            }
        }
    }

    /// Closes links that have been silent for `repl-timeout`, and handshakes that do not end.
    fn drop_silent_peers(&mut self, core: &mut Core<'_>) {
        let now = core.now.mono;
        let limits = &self.config.limits;
        let silent = |peer: &Peer| {
            if peer.is_established() {
                now.since(peer.last_heard) >= self.config.repl_timeout
            } else {
                now.since(peer.since) >= limits.handshake_timeout
            }
        };
        for conn in self.peers.conns(silent) {
            if let Some(mut peer) = self.peers.remove(conn) {
                core.out.facts.sometimes("a link was given up for its silence");
                peer.closing = true;
                self.put_back(peer, core);
            }
        }
    }

    /// End of a batch: streams move on, acks and what was gathered leave.
    pub fn flush(&mut self, core: &mut Core<'_>) {
        if self.peers.is_empty() || !(self.stirred || self.busy || self.waits_for_room) {
            return;
        }
        self.stirred = false;
        self.waits_for_room = false;
        if self.members.take_news() {
            core.out.facts.sometimes("news of a member were passed on at once");
            self.next_heartbeat = core.now.mono;
        }
        self.busy = false;
        let log_end = self.log.end();
        let mut needed = u64::MAX;
        for place in 0..self.peers.len() {
            self.flush_peer(place, log_end, core);
            if let Some(Side::Replica(outbound)) = self.peers.at(place).map(|peer| &peer.side) {
                needed = needed.min(outbound.cursor);
            }
        }
        self.log.set_needed(needed);
    }

    fn flush_peer(&mut self, place: usize, log_end: u64, core: &mut Core<'_>) {
        let Some(peer) = self.peers.at(place) else { return };
        let mut acks = false;
        match &peer.side {
            Side::Replica(outbound) => {
                let streams = !outbound.is_caught_up(log_end);
                if streams && let Some(mut peer) = self.peers.remove(peer.conn) {
                    self.pump(&mut peer, core);
                    self.peers.insert(peer);
                }
            }
            Side::Master { .. } => {
                let window = self.config.limits.link_window_bytes as u64;
                // Having taken something: the vector has moved for another reason than the own clock.
                let taken = self.vector.passes(&peer.told, core.clock.origin());
                acks = taken && peer.unsent_bytes() < window;
                self.waits_for_room |= taken && !acks;
            }
            Side::Guest | Side::Greeting { .. } => {}
        }
        let Some(peer) = self.peers.at_mut(place) else { return };
        if acks {
            peer.told.clone_from(&self.vector);
            peer.send_ack(&self.vector);
        }
        peer.flush(core.out);
    }

    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.busy {
            return Some(Mono(0));
        }
        if self.alone && self.peers.is_empty() {
            return self.collecting.then_some(self.next_sweep);
        }
        let next = self.next_heartbeat.min(self.next_sweep);
        Some(self.masters.iter().filter_map(Master::due).fold(next, Mono::min))
    }
}
