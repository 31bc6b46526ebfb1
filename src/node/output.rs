//! Output of clients: it leaves at the end of a batch, and who leaves too much of it unread is closed.

use crate::base::fact::LogLevel;
use crate::base::ids::ConnId;
use crate::base::io::{Effect, Effects};
use crate::base::time::{Mono, Now, Span};

use super::Node;
use super::config::Config;
use super::dispatch::Turn;
use super::server::{Server, UNAUTHENTICATED_UNREAD_BYTES_MAX};
use super::session::{Session, State};

impl Turn<'_> {
    /// Closes a client whose answers pile up beyond the hard limit within one batch: what it has
    /// sent is not looked at any further. True if so.
    pub(super) fn check_output_limit(&mut self) -> bool {
        if matches!(self.session.state(), State::Peer | State::Closing { .. }) {
            return false;
        }
        let over = self.session.output_bytes() > self.session.reply_bytes_max as u64;
        if over {
            say_given_up(self.server, self.session, self.out);
            self.session.become_aborted();
        }
        over
    }
}

impl Node {
    /// Sends what is ready, checks how much is unread, closes what is to be closed.
    pub(super) fn flush_session(&mut self, now: Now, conn: ConnId, out: &mut Effects) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.is_listed = false;
        let unread_before = session.undrained_bytes;
        if session.replies.has_ready() {
            let bytes = session.replies.take_ready();
            session.undrained_bytes += bytes.len() as u64;
            self.server.stats.output_bytes += bytes.len() as u64;
            out.push(Effect::Send { conn, bytes });
        }
        // (Who has a write under way is told what became of it: a closed connection would be taken for no effect.)
        let waits = session.replies.is_waiting() && self.server.strong.is_some();
        if let State::Closing { discards } = *session.state()
            && (discards || !waits)
        {
            out.push(if discards { Effect::Abort { conn } } else { Effect::Close { conn } });
            return self.forget_session(conn);
        }
        let config = &self.server.config;
        let unread = session.output_bytes();
        let (hard, soft) = (config.client_output_bytes_max, config.client_output_soft_bytes);
        let mut over = hard > 0 && unread > hard;
        // To a batch of its commands it gets the answers; who then does not read gets no more.
        over |= unread_before > UNAUTHENTICATED_UNREAD_BYTES_MAX as u64
            && self.server.asks_password_of(session);
        if soft > 0 && unread > soft {
            let since = *session.soft_limit_since.get_or_insert(now.mono);
            let due = since + soft_span(config);
            over |= now.mono >= due;
            self.timers.soft_limit = Some(self.timers.soft_limit.map_or(due, |at| at.min(due)));
        }
        if over {
            self.give_up(conn, out);
        }
    }

    /// Closes clients that have been beyond the soft limit for too long, whether or not they say anything.
    pub(super) fn close_unread(&mut self, now: Now, out: &mut Effects) {
        if self.timers.soft_limit.is_none_or(|due| now.mono < due) {
            return;
        }
        let soft = self.server.config.client_output_soft_bytes;
        let span = soft_span(&self.server.config);
        let mut next: Option<Mono> = None;
        let mut over = Vec::new();
        for session in self.sessions.iter() {
            let Some(since) = session.soft_limit_since else { continue };
            let ends = matches!(session.state(), State::Peer | State::Closing { .. });
            if ends || soft == 0 || session.output_bytes() <= soft {
                continue;
            }
            let due = since + span;
            if due <= now.mono {
                over.push(session.conn);
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        self.timers.soft_limit = next;
        for conn in over {
            self.give_up(conn, out);
        }
    }

    /// Closes a client for what it has left unread.
    fn give_up(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(session) = self.sessions.get(conn) else { return };
        say_given_up(&mut self.server, session, out);
        out.push(Effect::Abort { conn });
        self.forget_session(conn);
    }
}

/// How long a client may be beyond the soft limit. Not for no time at all: it could not read anything.
fn soft_span(config: &Config) -> Span {
    Span::from_secs(config.client_output_soft_secs).max(Span::from_ms(1))
}

fn say_given_up(server: &mut Server, session: &Session, out: &mut Effects) {
    let (ip, port) = session.address;
    let text = format!(
        "Client id={} addr={ip}:{port} closed for overcoming of output buffer limits: {} bytes \
         not read",
        session.client_id,
        session.output_bytes()
    );
    out.facts.log(LogLevel::Warning, text);
    server.stats.output_limit_disconnections += 1;
}
