//! What clients saw: every sending of every command and its outcome.

use std::fmt::Write as _;

use quorate::base::ids::ConnId;

use super::resp::Reply;
use crate::model::ledger::BootId;

/// A connection of a client, counted over the whole run.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SessionId(pub usize);

/// How a sending ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Answered. An error reply means: without effect.
    Replied(Reply),
    /// No answer (yet): in doubt.
    InDoubt,
}

/// One sending of one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    pub client: usize,
    /// Index among the client's commands.
    pub command: usize,
    pub session: SessionId,
    /// Simulated times, ns.
    pub sent: u64,
    pub done: u64,
    /// Which of all sendings and answers of the run these were: their order, also within one moment. Without an
    /// answer both are the sending.
    pub sent_nth: u64,
    pub done_nth: u64,
    pub outcome: Outcome,
}

/// A connection of a client as both ends know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    pub client: usize,
    pub host: u16,
    /// The server's name for it and the boot it went to, once accepted.
    pub accepted: Option<(BootId, ConnId)>,
    /// Indexes of the attempts made over it, in order.
    pub attempts: Vec<usize>,
}

/// All sessions and attempts of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub sessions: Vec<Session>,
    pub attempts: Vec<Attempt>,
    /// Sendings and answers so far.
    events: u64,
}

impl History {
    pub fn open(&mut self, client: usize, host: u16) -> SessionId {
        self.sessions.push(Session { client, host, accepted: None, attempts: Vec::new() });
        SessionId(self.sessions.len() - 1)
    }

    /// A command goes out; its index.
    pub fn send(&mut self, session: SessionId, command: usize, at: u64) -> usize {
        let index = self.attempts.len();
        let client = self.sessions[session.0].client;
        let outcome = Outcome::InDoubt;
        let nth = self.next_nth();
        self.attempts.push(Attempt {
            client,
            command,
            session,
            sent: at,
            done: at,
            sent_nth: nth,
            done_nth: nth,
            outcome,
        });
        self.sessions[session.0].attempts.push(index);
        index
    }

    /// Writes what was asked and answered, whatever the order of attempts over different sessions.
    pub fn write_state(&self, out: &mut String) {
        for session in &self.sessions {
            let Session { client, host, accepted, attempts } = session;
            let _ = write!(out, "\n{client} {host} {accepted:?}");
            for &attempt in attempts {
                let Attempt { command, sent, done, outcome, .. } = &self.attempts[attempt];
                let _ = write!(out, " {command} {sent} {done} {outcome:?}");
            }
        }
    }

    pub fn reply(&mut self, attempt: usize, at: u64, reply: Reply) {
        let nth = self.next_nth();
        let attempt = &mut self.attempts[attempt];
        attempt.done = at;
        attempt.done_nth = nth;
        attempt.outcome = Outcome::Replied(reply);
    }

    fn next_nth(&mut self) -> u64 {
        self.events += 1;
        self.events
    }
}
