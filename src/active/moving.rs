//! First meetings and new epochs: what nobody has seen yet gets stamps above whatever the others may
//! have collected or written in this node's earlier lives.

use crate::base::fact::Fact;
use crate::base::ids::{Epoch, Origin};
use crate::base::io::Effect;
use crate::wire::frame::Hello;

use super::{Active, Core};

impl Active {
    /// Meets another node. If it is the first of this life, nothing of the own data has been sent yet, and
    /// it can still be moved: always in a later life (an earlier one may have been ahead of this clock), in the first
    /// only where the other's cluster may have collected a newer delete.
    pub(super) fn on_first_meeting(&mut self, hello: &Hello, core: &mut Core<'_>) {
        core.clock.advance(hello.horizon_bound);
        if !core::mem::take(&mut self.met_nobody) {
            return;
        }
        let own = core.clock.origin();
        let times = core.store.stamp_times(own);
        let Some(&oldest) = times.first() else { return };
        let later_life = self.life.epoch.0 > 1;
        if later_life {
            core.out.facts.sometimes("writes of a later life were moved before anybody saw them");
        } else if oldest <= hello.horizon_bound {
            core.out.facts.sometimes("writes older than the others' horizon were moved");
        } else {
            return;
        }
        core.clock.advance(hello.clock);
        self.move_stamps(own, own, &times, core);
    }

    /// Gives every stamp in `times` (all of origin `from`, rising) a new one of origin `to` above the clock.
    fn move_stamps(&mut self, from: Origin, to: Origin, times: &[u64], core: &mut Core<'_>) {
        let base = core.clock.last();
        let pairs: Vec<(u64, u64)> =
            times.iter().zip(base + 1..).map(|(&old, new)| (old, new)).collect();
        core.clock.advance(base + times.len() as u64);
        core.store.move_stamps(from, to, &pairs);
        self.vector.raise(to, core.clock.last());
        // The log holds the old stamps: whoever comes takes the state instead.
        self.log.restart(&self.vector);
        core.out.fact(|| Fact::StampsMoved { from, to, times: pairs });
    }

    /// Goes on under another epoch and origin. What nobody has seen yet goes along.
    pub(super) fn become_epoch(&mut self, epoch: Epoch, core: &mut Core<'_>) {
        let from = core.clock.origin();
        let to = Origin(self.rng.next_u64() as u32);
        self.life.epoch = epoch;
        self.life.origin = to;
        core.out.push(Effect::StoreEpoch { epoch: epoch.0 });
        core.clock.become_origin(to);
        self.members.become_origin(epoch, to);
        if self.met_nobody {
            let times = core.store.stamp_times(from);
            self.vector.remove(from);
            self.move_stamps(from, to, &times, core);
        }
        self.vector.raise(to, core.clock.last());
        if self.is_alone() {
            self.log.restart(&self.vector);
        }
    }
}
