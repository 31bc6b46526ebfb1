//! What happens by itself: keys expire, waits end, idle clients are closed; and when that is due.

use bytes::BytesMut;

use crate::base::fact::LogLevel;
use crate::base::ids::ConnId;
use crate::base::io::{Effect, Effects};
use crate::base::time::{Mono, Now, Span};
use crate::wire::reply::Reply;

use super::session::{Session, State};
use super::{Node, Timers};

impl Node {
    /// When [`crate::base::io::Input::Timeout`] is wanted next.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.halted {
            return None;
        }
        let Timers { idle, soft_limit, .. } = self.timers;
        let end = self.server.stopping.as_ref().and_then(|stopping| stopping.due());
        let mut next: Option<Mono> = None;
        let mut consider = |due: Option<Mono>| {
            if let Some(due) = due {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        };
        if self.server.loading.is_none() {
            consider(self.server.active.poll_timeout());
            // (In strong mode nothing expires by itself.)
            match &self.server.strong {
                None => consider(self.expire_due()),
                Some(strong) => {
                    consider(strong.mesh.poll_timeout());
                    consider(strong.passed_due());
                }
            }
            consider(self.data.journal.due());
            consider(self.server.dump_due());
        }
        consider(idle);
        consider(soft_limit);
        consider(end);
        for conn in &self.blocked {
            let wait = self.sessions.get(*conn).and_then(|session| session.wait());
            consider(wait.and_then(|wait| wait.deadline));
        }
        next
    }

    pub(super) fn on_timeout(&mut self, now: Now, out: &mut Effects) {
        self.close_idle(now, out);
        self.close_unread(now, out);
        if self.server.loading.is_some() {
            return self.end_if_ready(now, out);
        }
        if self.server.strong.is_none() {
            self.hide_expired(now, out);
        }
        self.with_mesh(now, out, |mesh, env| mesh.on_timeout(env));
        self.expire_passed(now.mono, out);
        self.delete_expired(now);
        let (server, mut core) = self.core(now, out);
        server.active.on_timeout(&mut core);
        self.after_merges(now, out);
        self.end_if_ready(now, out);
    }

    /// When the next key expires, by what the clocks showed last; not sooner than a sweep's period after
    /// the last sweep.
    fn expire_due(&self) -> Option<Mono> {
        let deadline = self.data.store.next_due()?;
        let (mono, clock) = self.timers.clock_seen;
        let due = mono + Span::from_ms(deadline.0.saturating_sub(clock.0));
        Some(due.max(self.timers.expire_from))
    }

    /// Hides keys whose time has come, no more than a bounded number at once.
    fn hide_expired(&mut self, now: Now, out: &mut Effects) {
        let clock = self.server.active.expiry_clock(now);
        self.timers.clock_seen = (now.mono, clock);
        if self.expire_due().is_none_or(|due| now.mono < due) {
            return;
        }
        let limits = &self.server.config.limits;
        let next = self.data.store.expire(clock, limits.sweep_keys_max, &mut out.facts);
        let pause = if next.is_some_and(|deadline| deadline <= clock) {
            // More than one sweep's worth: the rest follows soon, clients come between.
            out.facts.sometimes("expired keys are left over after a sweep");
            Span::from_ms(1)
        } else {
            limits.sweep_period
        };
        self.timers.expire_from = now.mono + pause;
    }

    /// A client has come: its idle time starts.
    pub(super) fn expect_idle(&mut self, now: Now) {
        let timeout = self.server.config.timeout_secs;
        if timeout > 0 {
            let due = now.mono + Span::from_secs(u64::from(timeout));
            self.timers.idle = Some(self.timers.idle.map_or(due, |idle| idle.min(due)));
        }
    }

    /// The directive `timeout` has changed: look at all clients soon.
    pub(super) fn reset_idle(&mut self, now: Now) {
        let on = self.server.config.timeout_secs > 0;
        self.timers.idle = on.then_some(now.mono);
    }

    /// Closes clients that have sent nothing for too long. A client's last command only moves its
    /// time further away, so all need looking at only when the earliest may have come.
    fn close_idle(&mut self, now: Now, out: &mut Effects) {
        if self.timers.idle.is_none_or(|due| now.mono < due) {
            return;
        }
        let timeout = Span::from_secs(u64::from(self.server.config.timeout_secs));
        let mut next: Option<Mono> = None;
        let mut idle: Vec<ConnId> = Vec::new();
        for session in self.sessions.iter() {
            match session.state() {
                // A link has a silence of its own; who waits is not idle.
                State::Peer | State::Blocked(_) | State::Closing { .. } => continue,
                State::Command | State::Transaction(_) if session.is_postponed => continue,
                State::Command | State::Transaction(_) => {}
            }
            // Who waits for an answer is not idle either.
            let waits = session.replies.is_waiting();
            let due = if waits { now.mono } else { session.last_seen } + timeout;
            if due <= now.mono {
                idle.push(session.conn);
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        for conn in idle {
            out.facts.log(LogLevel::Verbose, "Closing idle client");
            out.push(Effect::Abort { conn });
            self.forget_session(conn);
        }
        self.timers.idle = next.filter(|_| timeout > Span(0));
    }

    /// Answers the WAITs whose replicas have acknowledged, or whose time is over.
    pub(super) fn wake_waiting(&mut self, now: Now, out: &mut Effects) {
        if self.blocked.is_empty() {
            return;
        }
        let mut woken = Vec::new();
        for conn in &self.blocked {
            let Some(session) = self.sessions.get_mut(*conn) else { continue };
            let Some(wait) = session.wait() else { continue };
            let acked = self.server.acked_by(session, wait.dot);
            if acked >= wait.replicas || wait.deadline.is_some_and(|due| due <= now.mono) {
                wake(session, acked);
                // What it sent meanwhile waits in the driver's buffer.
                session.last_seen = now.mono;
                out.push(Effect::PauseReads { conn: *conn, paused: false });
                Node::list(&mut self.listed, session);
                woken.push(*conn);
            }
        }
        for conn in woken {
            self.blocked.remove(&conn);
            self.expect_idle(now);
        }
        self.server.stats.clients_blocked = self.blocked.len() as u64;
    }
}

/// Fills in the reply of a WAIT.
fn wake(session: &mut Session, acked: u64) {
    let Some(slot) = session.become_unblocked() else { return };
    let mut bytes = BytesMut::new();
    Reply::new(&mut bytes, session.protocol).count(acked);
    session.replies.fill(slot, bytes);
}
