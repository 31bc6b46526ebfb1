//! What waits for the log: under `appendfsync always` nothing that tells of a record leaves before the record is on the
//! device; what a client of strong mode is told of has been committed, which waits for that, too. One queue in the order
//! in which it was said; a connection's output keeps its order whatever waits.

use std::collections::VecDeque;

use crate::base::ids::{ConnId, Lsn};
use crate::base::io::{Effect, Effects};

/// Effects that wait, each with the record it waits for, rising.
#[derive(Debug, Default)]
pub struct Hold {
    queue: VecDeque<(Lsn, Effect)>,
}

impl Hold {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes what has been asked for behind the first `before` effects and must wait: for the record `until`, or behind what
    /// waits already. With `only_behind` a connection of which nothing waits does not begin to.
    pub fn take(
        &mut self,
        before: usize,
        until: Option<Lsn>,
        only_behind: impl Fn(ConnId) -> bool,
        out: &mut Effects,
    ) {
        if out.len() == before || (until.is_none() && self.queue.is_empty()) {
            return;
        }
        let last = self.queue.back().map_or(Lsn(0), |held| held.0);
        let until = until.map_or(last, |until| until.max(last));
        for effect in out.split_off(before) {
            match effect {
                Effect::Send { conn, .. } | Effect::Close { conn } => {
                    if only_behind(conn) && !self.waits(conn) {
                        out.push(effect);
                    } else {
                        self.queue.push_back((until, effect));
                    }
                }
                Effect::Abort { conn } => {
                    self.forget(conn);
                    out.push(effect);
                }
                Effect::Halt { code: 0, .. } => self.queue.push_back((until, effect)),
                Effect::PauseReads { .. }
                | Effect::Dial { .. }
                | Effect::CancelDial { .. }
                | Effect::Setting(_)
                | Effect::StoreEpoch { .. }
                | Effect::StorePast(_)
                | Effect::Append { .. }
                | Effect::Sync { .. }
                | Effect::SnapBegin { .. }
                | Effect::SnapChunk { .. }
                | Effect::SnapCommit
                | Effect::Dump(_)
                | Effect::Halt { .. } => out.push(effect),
            }
        }
    }

    /// Lets go what waits for records up to `through`.
    pub fn release(&mut self, through: Lsn, out: &mut Effects) {
        while self.queue.front().is_some_and(|held| held.0 <= through) {
            if let Some((_, effect)) = self.queue.pop_front() {
                out.push(effect);
            }
        }
    }

    /// The connection is gone: nothing that waits for it is wanted.
    pub fn forget(&mut self, conn: ConnId) {
        self.queue.retain(|(_, effect)| written_to(effect) != Some(conn));
    }

    fn waits(&self, conn: ConnId) -> bool {
        self.queue.iter().any(|(_, effect)| written_to(effect) == Some(conn))
    }
}

/// The connection that an effect writes to, or closes once that has been written.
fn written_to(effect: &Effect) -> Option<ConnId> {
    match effect {
        Effect::Send { conn, .. } | Effect::Close { conn } => Some(*conn),
        Effect::PauseReads { .. }
        | Effect::Abort { .. }
        | Effect::Dial { .. }
        | Effect::CancelDial { .. }
        | Effect::Setting(_)
        | Effect::StoreEpoch { .. }
        | Effect::StorePast(_)
        | Effect::Append { .. }
        | Effect::Sync { .. }
        | Effect::SnapBegin { .. }
        | Effect::SnapChunk { .. }
        | Effect::SnapCommit
        | Effect::Dump(_)
        | Effect::Halt { .. } => None,
    }
}
