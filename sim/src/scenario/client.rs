//! A client of a scenario: one connection, opened when it is needed, authenticated by itself.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;

use super::ast::{Expect, HostIndex};
use super::reply::{is_as, show};
use super::stage::{Stage, StageConn, Trouble};
use super::words::Numbers;
use crate::resp_client::{Reply, command};

/// The longest a single attempt of a `within` line waits for its answer.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(1);

/// What came of a command.
#[derive(Clone, PartialEq, Debug)]
pub enum Asked {
    Answer(Reply),
    /// No answer: why.
    Nothing(String),
}

/// An `async` line whose answer has not been looked at: line number, text, expectation, numbers.
pub type Owed = (usize, String, Expect, Numbers);

/// An `async` line that was not answered as it expects: line number, text, expected, got.
pub type Late = (usize, String, String, String);

/// A connection to the server of one host.
#[derive(Clone, Debug)]
pub struct Client {
    host: HostIndex,
    port: u16,
    password: Option<String>,
    conn: Option<StageConn>,
    buf: BytesMut,
    /// `None`: an answer that nobody looks at.
    owed: VecDeque<Option<Owed>>,
    late: Option<Late>,
}

impl Client {
    pub fn new(host: HostIndex, port: u16, password: Option<String>) -> Client {
        Client {
            host,
            port,
            password,
            conn: None,
            buf: BytesMut::new(),
            owed: VecDeque::new(),
            late: None,
        }
    }

    pub fn host(&self) -> HostIndex {
        self.host
    }

    pub fn skip_auth(&mut self) {
        self.password = None;
    }

    /// Sends a command and waits for its answer; answers owed before come first.
    pub fn ask(
        &mut self,
        stage: &mut dyn Stage,
        words: &[Vec<u8>],
        until: Duration,
    ) -> Result<Asked, Trouble> {
        self.wait_for_owed(stage, until)?;
        if let Err(why) = self.open(stage, until)? {
            return Ok(Asked::Nothing(why));
        }
        self.send(stage, words);
        let asked = self.answer(stage, until)?;
        let shutdown = words.first().is_some_and(|w| w.eq_ignore_ascii_case(b"SHUTDOWN"));
        match asked {
            // A server that shuts down closes the connection instead of answering.
            Asked::Nothing(_) if shutdown && self.conn.is_none() => {
                Ok(Asked::Answer(Reply::Simple("OK".to_owned())))
            }
            asked => Ok(asked),
        }
    }

    /// Sends without waiting; the answer is looked at by the next [`Client::ask`] or
    /// [`Client::wait_for_owed`]. The inner error says why there is no connection.
    pub fn send_later(
        &mut self,
        stage: &mut dyn Stage,
        words: &[Vec<u8>],
        owed: Owed,
        until: Duration,
    ) -> Result<Result<(), String>, Trouble> {
        self.collect(stage);
        if let Err(why) = self.open(stage, until)? {
            return Ok(Err(why));
        }
        self.send(stage, words);
        self.owed.push_back(Some(owed));
        Ok(Ok(()))
    }

    /// Sends a command whose answer nobody looks at, and does not even wait for AUTH's. Without a connection the
    /// command is lost.
    pub fn send_unasked(
        &mut self,
        stage: &mut dyn Stage,
        words: &[Vec<u8>],
    ) -> Result<(), Trouble> {
        self.collect(stage);
        if let Some(conn) = self.conn
            && !stage.take(conn, &mut self.buf)
        {
            self.hang_up(stage);
        }
        if self.conn.is_none() {
            let Ok(conn) = stage.connect(self.host, self.port)? else { return Ok(()) };
            self.conn = Some(conn);
            if let Some(password) = &self.password {
                stage.send(conn, command(&["AUTH", password]));
                self.owed.push_back(None);
            }
        }
        if let Some(conn) = self.conn {
            stage.send_unasked(conn, command(words));
            self.owed.push_back(None);
        }
        Ok(())
    }

    /// Waits for the answers of `async` lines.
    pub fn wait_for_owed(&mut self, stage: &mut dyn Stage, until: Duration) -> Result<(), Trouble> {
        while !self.owed.is_empty() {
            let asked = self.answer(stage, until)?;
            self.settle(asked);
        }
        Ok(())
    }

    /// Takes the answers that have arrived, without waiting.
    fn collect(&mut self, stage: &mut dyn Stage) {
        while !self.owed.is_empty() {
            match self.arrived(stage) {
                Some(asked) => self.settle(asked),
                None => return,
            }
        }
    }

    /// The first `async` line that was not answered as it expects.
    pub fn unmet_before(&mut self) -> Option<Late> {
        self.late.take()
    }

    /// Opens the connection if there is none. The inner error says why there is still none.
    pub fn open(
        &mut self,
        stage: &mut dyn Stage,
        until: Duration,
    ) -> Result<Result<(), String>, Trouble> {
        if let Some(conn) = self.conn {
            if stage.take(conn, &mut self.buf) {
                return Ok(Ok(()));
            }
            self.hang_up(stage);
        }
        let conn = match stage.connect(self.host, self.port)? {
            Ok(conn) => conn,
            Err(why) => return Ok(Err(why)),
        };
        self.conn = Some(conn);
        let Some(password) = &self.password else { return Ok(Ok(())) };
        stage.send(conn, command(&["AUTH", password]));
        match self.answer(stage, until)? {
            Asked::Answer(Reply::Simple(_)) => Ok(Ok(())),
            Asked::Answer(other) => {
                self.hang_up(stage);
                Ok(Err(format!("AUTH answered {}", show(&other))))
            }
            Asked::Nothing(why) => Ok(Err(why)),
        }
    }

    pub fn hang_up(&mut self, stage: &mut dyn Stage) {
        if let Some(conn) = self.conn.take() {
            stage.hang_up(conn);
        }
        self.buf.clear();
    }

    /// The next answer; the connection is given up if there is none.
    fn answer(&mut self, stage: &mut dyn Stage, until: Duration) -> Result<Asked, Trouble> {
        let began = stage.now();
        loop {
            if let Some(asked) = self.arrived(stage) {
                return Ok(asked);
            }
            let now = stage.now();
            if now >= until {
                self.hang_up(stage);
                let waited = (now - began).as_secs_f64();
                return Ok(Asked::Nothing(format!("no answer within {waited:.3} s")));
            }
            stage.pass(until - now, self.conn)?;
        }
    }

    /// The next answer if it has arrived, or what ended the connection.
    fn arrived(&mut self, stage: &mut dyn Stage) -> Option<Asked> {
        let Some(conn) = self.conn else {
            return Some(Asked::Nothing("the connection was given up".to_owned()));
        };
        let open = stage.take(conn, &mut self.buf);
        match Reply::take(&mut self.buf) {
            Ok(Some(reply)) => Some(Asked::Answer(reply)),
            Ok(None) if open => None,
            Ok(None) => {
                self.hang_up(stage);
                Some(Asked::Nothing("the connection was closed".to_owned()))
            }
            Err(bad) => {
                self.hang_up(stage);
                Some(Asked::Nothing(format!("bytes that are no answer: {bad:?}")))
            }
        }
    }

    fn settle(&mut self, asked: Asked) {
        let Some(Some((line, text, expect, numbers))) = self.owed.pop_front() else { return };
        let got = match asked {
            Asked::Answer(reply) if is_as(&reply, &expect, &numbers) => return,
            Asked::Answer(reply) => show(&reply),
            Asked::Nothing(why) => why,
        };
        if self.late.is_none() {
            self.late = Some((line, text, expect.show(&numbers), got));
        }
    }

    /// Takes an answer that nobody waits for, if one has arrived.
    pub fn take_any(&mut self, stage: &mut dyn Stage) -> Option<Asked> {
        self.conn?;
        self.arrived(stage)
    }

    /// Answers that have not been looked at.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// The next answer to what was sent unasked, if it has come or never will; then messages nobody asked for.
    pub fn take_unasked(&mut self, stage: &mut dyn Stage) -> Option<Asked> {
        if self.owed.is_empty() {
            let asked = self.take_any(stage)?;
            // That a connection ends which owes nothing is found out by the next command.
            return matches!(asked, Asked::Answer(_)).then_some(asked);
        }
        let asked = self.arrived(stage)?;
        self.owed.pop_front();
        Some(asked)
    }

    /// Sends a command if the connection is open.
    pub fn send(&mut self, stage: &mut dyn Stage, words: &[Vec<u8>]) {
        if let Some(conn) = self.conn {
            stage.send(conn, command(words));
        }
    }

    pub fn is_open(&self) -> bool {
        self.conn.is_some()
    }
}
