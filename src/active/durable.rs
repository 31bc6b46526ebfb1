//! What may be announced while part of the log is not on the device: what was here when the last sync began that has come
//! to its end. Others collect counting on what is announced, and what is announced must outlive this process.

use crate::base::ids::Lsn;
use crate::base::time::UnixMs;
use crate::base::vector::Vector;

use super::{Active, Core};

/// What an announcement says, at one moment.
#[derive(Clone, Debug)]
struct Present {
    vector: Vector,
    clock: UnixMs,
    joined: bool,
}

/// The moments at which syncs began.
#[derive(Debug, Default)]
pub(super) struct Durable {
    /// Of the sync under way; without a moment if nothing could have been announced then.
    asked: Option<(Lsn, Option<Present>)>,
    present: Option<Present>,
}

impl Durable {
    /// Vector, expiry clock, and whether the node had all that others may have collected.
    pub fn present(&self) -> Option<(&Vector, UnixMs, bool)> {
        self.present.as_ref().map(|p| (&p.vector, p.clock, p.joined))
    }

    /// Who is to be told has changed: what was there before says nothing to them.
    pub fn forget(&mut self) {
        self.present = None;
        if let Some((_, present)) = &mut self.asked {
            *present = None;
        }
    }
}

impl Active {
    /// A sync of everything in the log begins; it ends at `through`.
    pub fn on_sync_asked(&mut self, through: Lsn, core: &mut Core<'_>) {
        let present = (!self.holds_unlogged()).then(|| Present {
            vector: self.vector.clone(),
            clock: self.skew.expiry(core.now),
            joined: core.store.inherited().is_none(),
        });
        self.durable.asked = Some((through, present));
    }

    /// Everything up to `through` is on the device.
    pub fn on_synced(&mut self, through: Lsn) {
        if let Some((_, present)) = self.durable.asked.take_if(|asked| asked.0 <= through)
            && present.is_some()
        {
            self.durable.present = present;
        }
    }
}
