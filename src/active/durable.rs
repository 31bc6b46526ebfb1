//! What may be announced while part of the log is not on the device: what was here when the last sync began that has come
//! to its end. Others collect counting on what is announced, and what is announced must outlive this process.

use crate::base::ids::{Lsn, Origin};
use crate::base::time::UnixMs;
use crate::base::vector::Vector;
use crate::wal::Journal;

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
    /// Up to here the log says that no unit of this life is missing in it: what has been announced is in a log that has
    /// not been damaged, and is not an older image.
    promised: u64,
    /// The own entry when it was raised last without a record: by the clock. One that differs is of a record.
    idle: u64,
    /// Of the sync under way; without a moment if nothing could have been announced then.
    asked: Option<(Lsn, Option<Present>)>,
    present: Option<Present>,
}

impl Durable {
    /// Vector, expiry clock, and whether the node had all that others may have collected.
    pub fn present(&self) -> Option<(&Vector, UnixMs, bool)> {
        self.present.as_ref().map(|p| (&p.vector, p.clock, p.joined))
    }

    /// What this life is about to announce of itself goes into the log first.
    pub fn promise(&mut self, origin: Origin, time: u64, journal: &mut Journal) {
        if time > self.promised && journal.is_on() {
            self.promised = time;
            journal.vector(&Vector::from(vec![(origin, time)]));
        }
    }

    /// The own entry is at `time`: what has brought it there is in the log, unless it was the clock alone.
    pub fn note_own(&mut self, time: u64) {
        if time != self.idle {
            self.promised = self.promised.max(time);
        }
    }

    /// The clock alone has brought the own entry to `time`.
    pub fn note_idle(&mut self, time: u64) {
        self.idle = time;
    }

    /// Who is to be told has changed: what was there before says nothing to them.
    pub fn forget(&mut self) {
        self.promised = 0;
        self.present = None;
        if let Some((_, present)) = &mut self.asked {
            *present = None;
        }
    }
}

impl Active {
    /// A sync of everything in the log begins; it ends at `through`.
    pub fn on_sync_asked(&mut self, through: Lsn, core: &mut Core<'_>) {
        let present = (!self.holds_unlogged()).then(|| {
            let origin = core.clock.origin();
            // 1. Who counts on this announcement waits for all that was sent before it: up to the own entry.
            // 2. So that must not lie below a unit that was written before all else in it had come.
            self.durable.note_own(self.vector.get(origin));
            let promised = self.durable.promised;
            let mut vector = self.vector.clone();
            if vector.get(origin) > promised {
                vector.remove(origin);
                vector.raise(origin, promised);
            }
            let joined = core.store.inherited().is_none();
            Present { vector, clock: self.skew.expiry(core.now), joined }
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
