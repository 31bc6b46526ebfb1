//! First meetings and new epochs: what nobody has seen yet gets stamps above whatever the others may
//! have collected or written in this node's earlier lives.

use crate::base::fact::{Fact, LogLevel};
use crate::base::ids::{ConnId, Epoch, Origin};
use crate::base::io::Effect;
use crate::base::mutant::Mutant;
use crate::wal;
use crate::wire::frame::{Hello, Record};

use super::peer::{Peer, Side};
use super::{Active, Core};

impl Active {
    /// Meets another node. A life that has announced nothing yet may be joining a cluster that has collected:
    /// what it writes has to count with that, and what it has written so far, or was told by others who did
    /// not know either, is made to. If it is the first meeting of this life, nothing of the own data has been sent yet, and
    /// it can still be moved: always in a later life (an earlier one may have been ahead of this clock), in the first
    /// only where the other's cluster may have collected a newer delete: one that knows, or one whose earlier life was
    /// part of it and that knows nothing any more.
    pub(super) fn on_meeting(&mut self, hello: &Hello, core: &mut Core<'_>) {
        core.clock.advance(hello.horizon_bound);
        if self.alone {
            self.leave_solitude(core);
        }
        let bound = self.members.joining_bound(hello);
        let is_elsewhere = !self.members.has_announced() && self.members.is_elsewhere(hello);
        // What it knows from its past is of another cluster.
        let learns = bound > 0 && (is_elsewhere || self.is_ignorant(core));
        if is_elsewhere {
            core.out.facts.sometimes("a node with a past came to another cluster");
            self.members.forget_past();
        }
        if !self.members.has_announced() && !self.mutants.has(Mutant::HorizonNotInherited) {
            let before = core.store.inherited();
            core.store.inherit(bound);
            if bound > 0 {
                self.members.note_foreign_horizon();
            }
            if core.store.inherited() != before {
                core.journal.put(&wal::Record::Inherited(bound));
            }
        }
        if core::mem::take(&mut self.met_nobody) {
            self.move_unseen(hello, bound, core);
            // Whoever comes back must know that others may have what was written before.
            self.has_met = core.journal.is_on();
            core.journal.put(&wal::Record::Met);
            core.journal.barrier();
        } else if learns && !self.is_plain() {
            // (What a plain replica writes reaches nobody: it takes what its master makes of it.)
            core.out.facts.sometimes("a joiner had met others before it met the cluster");
            self.brought.clone_from(&self.vector);
            // Who has not got what the log holds gets the state as it is from now on.
            self.log.restart(&self.vector);
            self.put_floors(bound, core);
        }
        if learns {
            // Who does not know yet sends what counts with nothing: not to this node from now on. At
            // the next handshake it is told.
            let ignorant = |peer: &&Peer| peer.is_ignorant;
            let conns: Vec<ConnId> = self.peers.iter().filter(ignorant).map(|p| p.conn).collect();
            for conn in conns {
                core.out.facts.sometimes("a link to a node that knew no horizon was closed");
                self.close_peer(conn, core);
            }
        }
    }

    /// From now on others may hold copies: what goes leaves a trace.
    pub(super) fn leave_solitude(&self, core: &mut Core<'_>) {
        if core.store.is_alone() {
            core.store.set_alone(false);
            core.journal.note_break();
            let store = &core.store;
            core.out.fact(|| Fact::StoodAlone { cells: store.cells() });
        }
    }

    /// Whether this life knows nothing of what any cluster may have collected, and none can have counted on it.
    pub(super) fn is_ignorant(&self, core: &Core<'_>) -> bool {
        let knows = core.store.collected() > 0 || core.store.inherited().is_some();
        !self.members.has_announced() && !knows
    }

    /// Up to where anybody this node knows of may have collected.
    pub(super) fn horizon_bound(&self, core: &Core<'_>) -> u64 {
        if self.alone {
            return 0;
        }
        self.members.horizon_bound().max(self.horizon_known(core))
    }

    /// Up to where this store has collected, or was told that others may have.
    pub(super) fn horizon_known(&self, core: &Core<'_>) -> u64 {
        core.store.collected().max(core.store.inherited().unwrap_or(0))
    }

    /// What an earlier life has announced was on the device, and others have collected counting on that. If the log does not
    /// have it all, it was damaged since, or is an older image: what it holds may have been deleted since without a trace.
    pub(super) fn compare_with_announced(&mut self, hello: &Hello, core: &mut Core<'_>) {
        let Some(read) = &self.read else { return };
        let (node, own, lives) = (self.life.node, core.clock.origin(), &self.lives);
        let is_earlier = |origin| origin != own && !self.past_origins.contains(&origin);
        let lacks = |r: &Record| {
            let mut others = r.vector.iter().filter(|(origin, _)| !lives.contains(origin));
            r.node == node
                && is_earlier(r.origin)
                && others.any(|(origin, time)| read.get(origin) < time)
        };
        if hello.members.iter().any(lacks) {
            self.read = None;
            self.is_log_older = true;
            core.out.facts.sometimes("the log lacked what an earlier life had announced");
            let text = "The log is older than what this node has announced: everything is compared with others";
            core.out.facts.log(LogLevel::Warning, text);
            self.close_masters(core);
        }
    }

    /// The log says of its last lives that they met nobody, and the peer knows one of them, or a later one: the log is an older
    /// image, or its end was lost. What it holds of them has been sent since, under the stamps it got at that meeting, and
    /// would count twice. (That a life has said hello proves nothing: only then it met the first other, and what it had of that
    /// life was on the device before anything of it left.)
    ///
    /// Told at the first meeting only: from then on what the log holds is sent. True if so: what this node has said to have, here
    /// and to others, it has no longer.
    pub(super) fn drop_known(&mut self, hello: &Hello, core: &mut Core<'_>) -> bool {
        if !hello.brings && !self.is_plain() {
            // A plain replica gives nothing back.
            return false;
        }
        let Some(&(first, _)) = self.unmet.first().filter(|_| self.met_nobody) else {
            return false;
        };
        let (node, lives) = (self.life.node, &self.lives);
        // (Also of a transfer that broke off.)
        let has_any = |origin| hello.vector.get(origin) > 0 || hello.strays.contains(&origin);
        let is_later = |r: &Record| {
            let known = lives.contains(&r.origin) || self.past_origins.contains(&r.origin);
            let is_held = has_any(r.origin);
            r.node == node && r.epoch >= first && is_held && !known
        };
        let is_known = |life: &&(Epoch, Origin)| has_any(life.1);
        let known = self.unmet.iter().filter(is_known).map(|&(epoch, _)| epoch);
        let before = |r: &Record| Epoch(r.epoch.0.saturating_sub(1));
        let later = hello.members.iter().filter(|&r| is_later(r)).map(before);
        // At its first meeting a life has sent what earlier ones had left, too; those after it have met nobody.
        let Some(last) = known.chain(later).max() else { return false };
        let (sent, unmet): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.unmet).into_iter().partition(|&(epoch, _)| epoch <= last);
        self.unmet = unmet;
        let sent: Vec<Origin> = sent.into_iter().map(|(_, origin)| origin).collect();
        self.unseen.retain(|origin| !sent.contains(origin));
        core.out.facts.sometimes("an older image held what others had got since");
        let text = "The log is older than what others have of this node: what they have is taken from them";
        core.out.facts.log(LogLevel::Warning, text);
        // The log must not go on to say that it has them: a loss of power may leave this as its end.
        for &from in &sent {
            self.vector.remove(from);
            let (to, times, horizon) = (core.clock.origin(), Vec::new(), 0);
            core.journal.put(&wal::Record::Moved { from, to, times, horizon });
        }
        self.drop_lives(&sent, core);
        self.log.restart(&self.vector);
        // Also what lies below the horizon comes again.
        self.is_log_older = true;
        self.needs_whole = true;
        self.close_masters(core);
        true
    }

    /// Links that bring what this node lacked when they began: they begin anew.
    fn close_masters(&mut self, core: &mut Core<'_>) {
        for conn in self.peers.conns(|peer| matches!(peer.side, Side::Master { .. })) {
            self.close_peer(conn, core);
        }
    }

    /// Nobody has seen anything of this life: its stamps move above what the other may have had of an earlier one,
    /// or have collected.
    fn move_unseen(&mut self, hello: &Hello, bound: u64, core: &mut Core<'_>) {
        let own = core.clock.origin();
        let mut lives = core::mem::take(&mut self.unseen);
        lives.push(own);
        let times = |origin| (origin, core.store.stamp_times(origin));
        let mut lives: Vec<(Origin, Vec<u64>)> = lives.into_iter().map(times).collect();
        lives.retain(|(_, times)| !times.is_empty());
        if lives.is_empty() {
            return;
        }
        if self.life.epoch.0 > 1 && !self.is_unbroken {
            core.out.facts.sometimes("writes of a later life were moved before anybody saw them");
        } else if bound > 0 || (hello.joining && hello.epoch.0 > 1) {
            core.out.facts.sometimes("writes were moved above the others' horizon");
        } else {
            return;
        }
        core.clock.advance(hello.clock);
        // The newest life first, to what lies above the others: none is moved twice.
        let mut above: u64 = lives.iter().map(|(_, times)| times.len() as u64).sum();
        let base = core.clock.last();
        for (origin, times) in lives.into_iter().rev() {
            above -= times.len() as u64;
            if origin != own {
                self.vector.remove(origin);
            }
            self.move_stamps(origin, own, &times, base + above, core);
        }
    }

    /// Gives every stamp in `times` (all of origin `from`, rising) a new one of origin `to` above `base`, which is not below
    /// any stamp there is.
    fn move_stamps(
        &mut self,
        from: Origin,
        to: Origin,
        times: &[u64],
        base: u64,
        core: &mut Core<'_>,
    ) {
        let pairs: Vec<(u64, u64)> =
            times.iter().zip(base + 1..).map(|(&old, new)| (old, new)).collect();
        core.clock.advance(base + times.len() as u64);
        let horizon = core.store.inherited().unwrap_or(0);
        core.store.move_stamps(from, to, &pairs, horizon);
        self.vector.raise(to, core.clock.last());
        if core.journal.is_on() {
            core.journal.put(&wal::Record::Moved { from, to, times: pairs.clone(), horizon });
        }
        // The log holds the old stamps: whoever comes takes the state instead.
        self.log.restart(&self.vector);
        core.out.fact(|| Fact::StampsMoved { from, to, times: pairs, horizon });
    }

    /// Goes on under another epoch and origin. What nobody has seen yet goes along.
    pub(super) fn become_epoch(&mut self, epoch: Epoch, core: &mut Core<'_>) {
        let from = core.clock.origin();
        let to = Origin(1 + self.rng.below(u64::from(u32::MAX)) as u32);
        self.past_origins.push(from);
        self.lives.push(to);
        self.life.epoch = epoch;
        self.life.origin = to;
        core.out.push(Effect::StoreEpoch { epoch: epoch.0 });
        core.clock.become_origin(to);
        core.journal.put(&wal::Record::Epoch { epoch, origin: to });
        self.durable.forget();
        self.members.become_origin(epoch, to);
        if self.met_nobody {
            let times = core.store.stamp_times(from);
            self.vector.remove(from);
            self.move_stamps(from, to, &times, core.clock.last(), core);
        }
        if self.vector.raise(to, core.clock.last()) {
            self.durable.note_idle(core.clock.last());
        }
        if self.is_alone() {
            self.log.restart(&self.vector);
        }
    }
}
