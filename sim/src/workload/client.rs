//! Clients as the real libraries are: when they wait, when they give up, when they send the same
//! command again. Without I/O: the driver carries out [`Action`]s.
//!
//! Source: measurements of redis-py 8.1, ioredis 6.0, node-redis 6.3 and valkey-glide 2.5: how often
//! each sends one INCR when its connection is closed or no reply comes.

use std::collections::VecDeque;
use std::fmt::Write as _;

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::command::{Command, encode_words};
use super::history::{History, SessionId};
use super::resp::{Reply, read_reply};

const MS: u64 = 1_000_000;

/// A client library.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Library {
    RedisPy,
    IoRedis,
    NodeRedis,
    Glide,
}

/// What a library does when things go wrong.
#[derive(Copy, Clone, Debug)]
struct Manners {
    /// How often one command is sent again after its connection was closed.
    resends_on_close: u32,
    /// How often one command is sent again after no reply came in time.
    resends_on_silence: u32,
    /// How long it waits for a reply; `None`: for ever.
    reply_timeout_ms: Option<u64>,
    connect_timeout_ms: u64,
    backoff_ms: u64,
    backoff_max_ms: u64,
    resp3: bool,
}

impl Library {
    pub const ALL: [Library; 4] =
        [Library::RedisPy, Library::IoRedis, Library::NodeRedis, Library::Glide];

    fn manners(self) -> Manners {
        match self {
            Library::RedisPy => Manners {
                resends_on_close: 10,
                resends_on_silence: 3,
                reply_timeout_ms: Some(2000),
                connect_timeout_ms: 2000,
                backoff_ms: 50,
                backoff_max_ms: 500,
                resp3: true,
            },
            Library::IoRedis => Manners {
                resends_on_close: 20,
                resends_on_silence: 0,
                reply_timeout_ms: None,
                connect_timeout_ms: 10_000,
                backoff_ms: 50,
                backoff_max_ms: 2000,
                resp3: true,
            },
            Library::NodeRedis => Manners {
                resends_on_close: 0,
                resends_on_silence: 0,
                reply_timeout_ms: None,
                connect_timeout_ms: 5000,
                backoff_ms: 50,
                backoff_max_ms: 2000,
                resp3: true,
            },
            Library::Glide => Manners {
                resends_on_close: 0,
                resends_on_silence: 0,
                reply_timeout_ms: Some(3000),
                connect_timeout_ms: 2000,
                backoff_ms: 100,
                backoff_max_ms: 1000,
                resp3: false,
            },
        }
    }
}

/// A command and the pause before it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    pub wait_ms: u64,
    pub command: Command,
}

/// One client of one node, as planned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientPlan {
    pub host: u16,
    pub library: Library,
    /// How many commands may be under way at once. Only a client that sends one at a time sends
    /// again.
    pub pipeline: usize,
    pub steps: Vec<Step>,
}

/// What the driver has to do for a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Open a connection to the client's host; the session it will be.
    Connect,
    Send(Bytes),
    /// Close the connection, or give up the attempt to open one.
    Close,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    /// No connection, none wanted before this time.
    Away {
        until: u64,
    },
    Connecting {
        since: u64,
    },
    /// Greeted, so many replies to the greeting outstanding.
    Greeting {
        since: u64,
        replies: usize,
    },
    Ready,
    Finished,
}

#[derive(Clone, Debug)]
struct UnderWay {
    step: usize,
    attempt: usize,
    sent: u64,
    replies: usize,
}

/// A client at work.
#[derive(Debug)]
pub struct Client {
    pub index: usize,
    manners: Manners,
    pipeline: usize,
    password: Option<String>,
    state: State,
    session: Option<SessionId>,
    /// The next step that was never sent, and when it is due.
    next: usize,
    due: u64,
    /// Steps to send again, and how often that has happened.
    again: Option<(usize, u32, u32)>,
    failures: u32,
    stopped: bool,
    under_way: VecDeque<UnderWay>,
    inbox: BytesMut,
    pub actions: VecDeque<Action>,
}

impl Client {
    pub fn new(index: usize, plan: &ClientPlan, password: Option<String>, start: u64) -> Client {
        let due = start + plan.steps.first().map_or(0, |s| s.wait_ms) * MS;
        Client {
            index,
            manners: plan.library.manners(),
            pipeline: plan.pipeline.max(1),
            password,
            state: State::Away { until: start },
            session: None,
            next: 0,
            due,
            again: None,
            failures: 0,
            stopped: false,
            under_way: VecDeque::new(),
            inbox: BytesMut::new(),
            actions: VecDeque::new(),
        }
    }

    /// Sends nothing from now on, not even again; what is under way may still be answered.
    pub fn stop(&mut self, plan: &ClientPlan) {
        self.next = plan.steps.len();
        self.again = None;
        self.stopped = true;
        if self.under_way.is_empty() {
            self.finish();
        }
    }

    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Whether a command is out and unanswered.
    pub fn is_waiting(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// The connection stands.
    pub fn on_connected(&mut self, now: u64, session: SessionId) {
        self.session = Some(session);
        self.inbox.clear();
        let mut out = BytesMut::new();
        let mut replies = 0;
        let password = self.password.as_deref();
        if self.manners.resp3 {
            replies += 1;
            match password {
                Some(password) => {
                    encode_words(
                        &mut out,
                        &[b"HELLO", b"3", b"AUTH", b"default", password.as_bytes()],
                    );
                }
                None => encode_words(&mut out, &[b"HELLO", b"3"]),
            }
        } else if let Some(password) = password {
            replies += 1;
            encode_words(&mut out, &[b"AUTH", password.as_bytes()]);
        }
        encode_words(&mut out, &[b"CLIENT", b"SETINFO", b"LIB-NAME", b"sim"]);
        replies += 1;
        self.actions.push_back(Action::Send(out.freeze()));
        self.state = State::Greeting { since: now, replies };
    }

    /// No connection came about.
    pub fn on_refused(&mut self, now: u64, plan: &ClientPlan) {
        self.session = None;
        self.failures += 1;
        // Libraries tell their callers sooner or later; the command was never sent.
        if self.failures > self.manners.resends_on_close.clamp(3, 10) {
            self.failures = 1;
            if self.again.take().is_none() && self.next < plan.steps.len() {
                self.advance(now, plan);
            }
        }
        self.retreat(now, plan);
    }

    /// Bytes came. `Err` if they are no replies.
    pub fn on_bytes(
        &mut self,
        now: u64,
        data: &[u8],
        plan: &ClientPlan,
        history: &mut History,
    ) -> Result<(), String> {
        self.inbox.extend_from_slice(data);
        loop {
            let (reply, length) = match read_reply(&self.inbox) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(_) => {
                    let shown = self.inbox.len().min(60);
                    return Err(format!("no reply: {:?}", self.inbox.split_to(shown)));
                }
            };
            self.inbox.advance(length);
            self.on_reply(now, reply, history)?;
        }
        self.act(now, plan, history);
        Ok(())
    }

    /// The connection is gone.
    pub fn on_closed(&mut self, now: u64, plan: &ClientPlan) {
        if self.state == State::Finished {
            return;
        }
        let lost = self.session.take().is_some();
        if lost {
            self.lose(self.manners.resends_on_close);
        } else {
            self.failures += 1;
        }
        self.retreat(now, plan);
    }

    /// Does what is due.
    pub fn act(&mut self, now: u64, plan: &ClientPlan, history: &mut History) {
        match self.state {
            State::Finished => {}
            State::Away { until } => {
                let wanted = self.again.is_some() || self.next < plan.steps.len();
                if wanted && now >= until.max(self.due) {
                    self.state = State::Connecting { since: now };
                    self.actions.push_back(Action::Connect);
                } else if !wanted {
                    self.finish();
                }
            }
            State::Connecting { since } => {
                if now >= since + self.manners.connect_timeout_ms * MS {
                    self.actions.push_back(Action::Close);
                    self.on_refused(now, plan);
                }
            }
            State::Greeting { since, .. } => {
                if now >= since + self.manners.connect_timeout_ms * MS {
                    self.actions.push_back(Action::Close);
                    self.session = None;
                    self.failures += 1;
                    self.retreat(now, plan);
                }
            }
            State::Ready => {
                if self.reply_overdue(now) {
                    self.actions.push_back(Action::Close);
                    self.session = None;
                    self.lose(self.manners.resends_on_silence);
                    self.retreat(now, plan);
                } else {
                    self.send_due(now, plan, history);
                }
            }
        }
    }

    /// When [`Client::act`] is wanted next.
    pub fn wake(&self, plan: &ClientPlan) -> Option<u64> {
        let patience = self.manners.connect_timeout_ms * MS;
        match self.state {
            State::Finished => None,
            State::Away { until } => Some(until.max(self.due)),
            State::Connecting { since } | State::Greeting { since, .. } => Some(since + patience),
            State::Ready => {
                let overdue = self
                    .manners
                    .reply_timeout_ms
                    .and_then(|ms| self.under_way.front().map(|u| u.sent + ms * MS));
                let open = self.under_way.len() < self.pipeline && self.next < plan.steps.len();
                let due = open.then_some(self.due);
                match (overdue, due) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                }
            }
        }
    }

    /// Writes all that the client will go by, but for the numbers of its attempts in the history.
    pub fn write_state(&self, out: &mut String) {
        let Client {
            index,
            manners: _,
            pipeline: _,
            password: _,
            state,
            session,
            next,
            due,
            again,
            failures,
            stopped,
            under_way,
            inbox,
            actions,
        } = self;
        let _ = write!(
            out,
            "\n{index} {state:?} {session:?} {next} {due} {again:?} {failures} {stopped} \
             {inbox:?} {actions:?}"
        );
        for UnderWay { step, attempt: _, sent, replies } in under_way {
            let _ = write!(out, " {step} {sent} {replies}");
        }
    }

    fn on_reply(&mut self, now: u64, reply: Reply, history: &mut History) -> Result<(), String> {
        match self.state {
            State::Greeting { since, replies } => {
                if let Reply::Error(text) = &reply
                    && !text.starts_with(b"LOADING")
                    && !text.starts_with(b"ERR unknown")
                {
                    return Err(format!("greeting refused: {text:?}"));
                }
                if replies > 1 {
                    self.state = State::Greeting { since, replies: replies - 1 };
                } else {
                    self.state = State::Ready;
                    self.failures = 0;
                }
                Ok(())
            }
            State::Ready => {
                let Some(front) = self.under_way.front_mut() else {
                    return Err(format!("reply to nothing: {reply:?}"));
                };
                front.replies -= 1;
                if front.replies == 0 {
                    history.reply(front.attempt, now, reply);
                    self.under_way.pop_front();
                    self.again = None;
                }
                Ok(())
            }
            State::Away { .. } | State::Connecting { .. } | State::Finished => Ok(()),
        }
    }

    fn send_due(&mut self, now: u64, plan: &ClientPlan, history: &mut History) {
        let Some(session) = self.session else { return };
        let mut out = BytesMut::new();
        while self.under_way.len() < self.pipeline {
            let step = match self.again {
                Some((step, _, _)) if self.under_way.is_empty() => step,
                Some(_) => break,
                None if self.next < plan.steps.len() && now >= self.due => self.next,
                None => break,
            };
            let command = &plan.steps[step].command;
            command.encode(&mut out);
            let attempt = history.send(session, step, now);
            let replies = command.replies();
            self.under_way.push_back(UnderWay { step, attempt, sent: now, replies });
            if self.again.is_none() {
                self.advance(now, plan);
            } else {
                break;
            }
        }
        if !out.is_empty() {
            self.actions.push_back(Action::Send(out.freeze()));
        }
        if self.under_way.is_empty() && self.again.is_none() && self.next >= plan.steps.len() {
            self.actions.push_back(Action::Close);
            self.finish();
        }
    }

    fn advance(&mut self, now: u64, plan: &ClientPlan) {
        self.next += 1;
        self.due = now + plan.steps.get(self.next).map_or(0, |s| s.wait_ms) * MS;
    }

    fn reply_overdue(&self, now: u64) -> bool {
        match (self.manners.reply_timeout_ms, self.under_way.front()) {
            (Some(ms), Some(front)) => now >= front.sent + ms * MS,
            (None, _) | (_, None) => false,
        }
    }

    /// What was under way is in doubt; sent again if the library does that.
    fn lose(&mut self, resends: u32) {
        let repeated = self.again.take();
        if self.pipeline == 1
            && let Some(lost) = self.under_way.front()
        {
            let times = match repeated {
                Some((step, times, _)) if step == lost.step => times + 1,
                Some(_) | None => 1,
            };
            if times <= resends && !self.stopped {
                self.again = Some((lost.step, times, resends));
            }
        } else if self.under_way.is_empty() && !self.stopped {
            self.again = repeated;
        }
        self.under_way.clear();
    }

    fn retreat(&mut self, now: u64, plan: &ClientPlan) {
        if self.again.is_none() && self.next >= plan.steps.len() {
            self.finish();
            return;
        }
        let tries = self.failures + self.again.map_or(0, |a| a.1);
        let wait = (self.manners.backoff_ms << tries.min(8)).min(self.manners.backoff_max_ms);
        self.state = State::Away { until: now + wait * MS };
    }

    fn finish(&mut self) {
        self.state = State::Finished;
        self.under_way.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::history::Outcome;

    fn plan(library: Library, pipeline: usize, count: usize) -> ClientPlan {
        let step = |i: usize| Step {
            wait_ms: 1,
            command: Command::IncrBy { key: "k".into(), delta: i as i64 + 1 },
        };
        ClientPlan { host: 0, library, pipeline, steps: (0..count).map(step).collect() }
    }

    /// A server that takes connections and greetings and then closes, or is silent.
    fn sendings(library: Library, closes: bool) -> usize {
        let plan = plan(library, 1, 1);
        let mut history = History::default();
        let mut client = Client::new(0, &plan, None, 0);
        let mut now = 0;
        let mut greeted = 0;
        for _ in 0..200 {
            now = match client.wake(&plan) {
                Some(at) => now.max(at),
                None => break,
            };
            client.act(now, &plan, &mut history);
            while let Some(action) = client.actions.pop_front() {
                match action {
                    Action::Connect => {
                        let session = history.open(0, 0);
                        client.on_connected(now, session);
                        greeted = 0;
                    }
                    Action::Send(_) if greeted == 0 => {
                        greeted = 1;
                        let ok: &[u8] =
                            if client.manners.resp3 { b"+OK\r\n+OK\r\n" } else { b"+OK\r\n" };
                        client.on_bytes(now, ok, &plan, &mut history).unwrap();
                    }
                    Action::Send(_) if closes => client.on_closed(now, &plan),
                    Action::Send(_) | Action::Close => {}
                }
            }
        }
        history.attempts.len()
    }

    #[test]
    fn libraries_send_again_as_often_as_was_measured() {
        assert_eq!(sendings(Library::RedisPy, true), 11);
        assert_eq!(sendings(Library::RedisPy, false), 4);
        assert_eq!(sendings(Library::IoRedis, true), 21);
        assert_eq!(sendings(Library::IoRedis, false), 1);
        assert_eq!(sendings(Library::NodeRedis, true), 1);
        assert_eq!(sendings(Library::Glide, true), 1);
        assert_eq!(sendings(Library::Glide, false), 1);
    }

    #[test]
    fn a_command_sent_again_and_answered_is_not_sent_once_more() {
        let plan = plan(Library::RedisPy, 1, 2);
        let mut history = History::default();
        let mut client = Client::new(0, &plan, None, 0);
        for (now, closes) in [(MS, true), (1000 * MS, false)] {
            client.act(now, &plan, &mut history);
            let session = history.open(0, 0);
            client.on_connected(now, session);
            client.on_bytes(now, b"+OK\r\n+OK\r\n", &plan, &mut history).unwrap();
            if closes {
                client.on_closed(now, &plan);
            }
        }
        client.on_bytes(1001 * MS, b":1\r\n", &plan, &mut history).unwrap();
        client.on_bytes(1003 * MS, b"", &plan, &mut history).unwrap();
        let sent: Vec<usize> = history.attempts.iter().map(|a| a.command).collect();
        assert_eq!(sent, [0, 0, 1]);
    }

    #[test]
    fn pipelined_replies_go_to_their_commands_in_order() {
        let plan = plan(Library::Glide, 3, 3);
        let mut history = History::default();
        let mut client = Client::new(0, &plan, None, 0);
        client.act(MS, &plan, &mut history);
        let session = history.open(0, 0);
        client.on_connected(MS, session);
        client.on_bytes(MS, b"+OK\r\n", &plan, &mut history).unwrap();
        client.act(10 * MS, &plan, &mut history);
        client.act(20 * MS, &plan, &mut history);
        client.on_bytes(30 * MS, b":1\r\n:3\r", &plan, &mut history).unwrap();
        client.on_bytes(31 * MS, b"\n-ERR x\r\n", &plan, &mut history).unwrap();
        let outcomes: Vec<_> = history.attempts.iter().map(|a| a.outcome.clone()).collect();
        assert_eq!(outcomes[0], Outcome::Replied(Reply::Int(1)));
        assert_eq!(outcomes[1], Outcome::Replied(Reply::Int(3)));
        assert_eq!(outcomes[2], Outcome::Replied(Reply::Error(Bytes::from_static(b"ERR x"))));
    }
}
