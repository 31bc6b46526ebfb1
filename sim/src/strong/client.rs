//! A client that knows the cluster protocol: it follows MOVED, waits for as long as a library does, and tells what it was
//! told as a history.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::ids::ClientConn;
use crate::linear::history::{Event, Function, Process, Stage};
use crate::linear::value::Value;
use crate::plan::strong::{StrongClient, StrongOp, StrongStep};
use crate::workload::command::encode_words;
use crate::workload::resp::{Reply, read_reply};

const MS: u64 = 1_000_000;
/// Libraries give a reply up after so long: later than a server's `write-timeout-ms`.
const REPLY_TIMEOUT: u64 = 5000 * MS;
const CONNECT_TIMEOUT: u64 = 1000 * MS;
/// The time that brief keys have to live.
const BRIEF_MS: &[u8] = b"400";
/// Of a hash that holds a value.
const FIELD: &[u8] = b"field";
/// MOVED is followed so often.
const HOPS_MAX: u32 = 8;

/// What a client wants done.
#[derive(Debug)]
pub enum Action {
    Connect { host: u16 },
    Send { conn: ClientConn, bytes: Bytes },
    Close { conn: ClientConn },
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    /// Until then nothing is sent.
    Idle {
        until: u64,
    },
    Connecting {
        host: u16,
        since: u64,
    },
    /// The connection stands and is being greeted.
    Greeting {
        host: u16,
        conn: ClientConn,
        since: u64,
    },
    Waiting {
        host: u16,
        conn: ClientConn,
        since: u64,
    },
    /// WAIT is to be answered; then, or at `until`, it goes on.
    Counting {
        host: u16,
        conn: ClientConn,
        since: u64,
        until: u64,
    },
    Finished,
}

/// One client under way.
#[derive(Debug)]
pub struct Client {
    plan: StrongClient,
    password: Option<String>,
    hosts: u16,
    next: usize,
    state: State,
    /// The operation under way, invoked and not completed.
    open: Option<(Process, StrongStep, String)>,
    conns: BTreeMap<u16, ClientConn>,
    /// Who was said to have a key.
    known: BTreeMap<u16, u16>,
    hops: u32,
    /// Hosts in a row that could not be connected.
    failures: u32,
    /// The operation is to be sent once more, as another one.
    again: bool,
    /// Answers to come before a connection can be used.
    greetings: u8,
    /// Writes that were acknowledged.
    written: u64,
    /// How often it has given up early: it asks another node then.
    turns: u16,
    inbox: BytesMut,
}

/// What is shared by all clients of a run.
#[derive(Debug, Default)]
pub struct Book {
    pub events: Vec<Event>,
    pub processes: u64,
    pub sent: u64,
    pub answered: u64,
    pub refused: u64,
    pub in_doubt: u64,
}

impl Book {
    /// A read that may be old has seen what was there at any time before: it is told as if it had been invoked when all began.
    fn tell_of_old_read(&mut self, end: Event) {
        if end.stage == Stage::Ok {
            let (value, time) = (Value::Nil, Some(0));
            let begin = Event { stage: Stage::Invoke, value, time, ..end.clone() };
            self.events.insert(0, begin);
            self.events.push(end);
        }
    }
}

impl Client {
    pub fn new(plan: StrongClient, password: Option<String>, hosts: u16, begin: u64) -> Client {
        let until = begin + plan.steps.first().map_or(0, |step| step.wait_ms) * MS;
        Client {
            plan,
            password,
            hosts,
            next: 0,
            state: State::Idle { until },
            open: None,
            conns: BTreeMap::new(),
            known: BTreeMap::new(),
            hops: 0,
            failures: 0,
            again: false,
            greetings: 0,
            written: 0,
            turns: 0,
            inbox: BytesMut::new(),
        }
    }

    /// Whether nothing is asked or on its way.
    pub fn is_quiet(&self) -> bool {
        self.open.is_none()
    }

    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Nothing new is begun.
    pub fn stop(&mut self) {
        self.plan.steps.truncate(self.next);
        self.again = false;
    }

    /// When [`Client::act`] is wanted.
    pub fn wake(&self) -> Option<u64> {
        match self.state {
            State::Idle { until } => Some(until),
            State::Connecting { since, .. } | State::Greeting { since, .. } => {
                Some(since + CONNECT_TIMEOUT)
            }
            State::Waiting { since, .. } | State::Counting { since, .. } => {
                Some(since + self.patience())
            }
            State::Finished => None,
        }
    }

    /// Does what is due.
    pub fn act(&mut self, now: u64, book: &mut Book, out: &mut Vec<Action>) {
        match self.state {
            State::Idle { until } if now >= until => self.begin(now, book, out),
            State::Connecting { host, since } if now >= since + CONNECT_TIMEOUT => {
                self.conns.remove(&host);
                self.on_unreachable(host, now, book, out);
            }
            State::Greeting { host, conn, since } if now >= since + CONNECT_TIMEOUT => {
                self.conns.remove(&host);
                out.push(Action::Close { conn });
                self.on_unreachable(host, now, book, out);
            }
            State::Waiting { host, conn, since } if now >= since + self.patience() => {
                self.turns += u16::from(self.plan.patience_ms > 0);
                self.conns.remove(&host);
                out.push(Action::Close { conn });
                self.known.clear();
                self.end(Stage::Info, Value::Nil, now, book);
            }
            State::Counting { host, conn, since, until } if now >= since + self.patience() => {
                self.conns.remove(&host);
                out.push(Action::Close { conn });
                self.state = State::Idle { until };
            }
            State::Idle { .. }
            | State::Connecting { .. }
            | State::Greeting { .. }
            | State::Waiting { .. }
            | State::Counting { .. }
            | State::Finished => {}
        }
    }

    fn patience(&self) -> u64 {
        if self.plan.patience_ms == 0 { REPLY_TIMEOUT } else { self.plan.patience_ms * MS }
    }

    /// Whether what is read by a step may be old.
    fn is_weak(&self, step: &StrongStep) -> bool {
        self.plan.reads_copies && step.what == StrongOp::Get
    }

    /// The operation begins.
    fn begin(&mut self, now: u64, book: &mut Book, out: &mut Vec<Action>) {
        let Some(step) = self.plan.steps.get(self.next).cloned() else {
            for (_, conn) in core::mem::take(&mut self.conns) {
                out.push(Action::Close { conn });
            }
            self.state = State::Finished;
            return;
        };
        let process = Process(book.processes);
        book.processes += 1;
        let text = match step.what {
            StrongOp::Get => String::new(),
            StrongOp::Set => format!("s{}.", process.0),
            StrongOp::Append => format!("{}.", process.0),
            StrongOp::Del => String::new(),
            StrongOp::Brief => format!("b{}.", process.0),
        };
        let (function, value) = match step.what {
            StrongOp::Get => (Function::Get, Value::Nil),
            StrongOp::Set | StrongOp::Del | StrongOp::Brief => {
                (Function::Put, Value::Str(text.clone()))
            }
            StrongOp::Append => (Function::Append, Value::Str(text.clone())),
        };
        let key = Some(Value::Str(name_of(step.key)));
        let weak = self.is_weak(&step);
        if !weak && step.what != StrongOp::Brief {
            book.events.push(Event {
                process,
                stage: Stage::Invoke,
                function,
                key,
                value,
                time: Some(now),
            });
        }
        let host = if weak {
            (self.plan.host + self.next as u16) % self.hosts
        } else {
            let first = (self.plan.host + self.turns) % self.hosts;
            self.known.get(&step.key).copied().unwrap_or(first)
        };
        self.open = Some((process, step, text));
        self.hops = 0;
        self.failures = 0;
        self.ask(host, now, book, out);
    }

    fn ask(&mut self, host: u16, now: u64, book: &mut Book, out: &mut Vec<Action>) {
        match self.conns.get(&host) {
            Some(&conn) => self.send(host, conn, now, book, out),
            None => {
                self.state = State::Connecting { host, since: now };
                out.push(Action::Connect { host });
            }
        }
    }

    fn send(
        &mut self,
        host: u16,
        conn: ClientConn,
        now: u64,
        book: &mut Book,
        out: &mut Vec<Action>,
    ) {
        let Some((_, step, text)) = &self.open else { return };
        let key = name_of(step.key);
        let mut bytes = BytesMut::new();
        let (key, text) = (key.as_bytes(), text.as_bytes());
        match step.what {
            StrongOp::Get if self.plan.in_hashes => {
                encode_words(&mut bytes, &[b"HGET", key, FIELD]);
            }
            StrongOp::Set if self.plan.in_hashes => {
                encode_words(&mut bytes, &[b"HSET", key, FIELD, text]);
            }
            StrongOp::Del if self.plan.in_hashes => {
                encode_words(&mut bytes, &[b"HDEL", key, FIELD]);
            }
            StrongOp::Get => encode_words(&mut bytes, &[b"GET", key]),
            StrongOp::Set => encode_words(&mut bytes, &[b"SET", key, text]),
            StrongOp::Append => encode_words(&mut bytes, &[b"APPEND", key, text]),
            StrongOp::Del => encode_words(&mut bytes, &[b"DEL", key]),
            StrongOp::Brief => {
                let beside = brief_name_of(step.key);
                encode_words(&mut bytes, &[b"SET", beside.as_bytes(), text, b"PX", BRIEF_MS]);
            }
        }
        book.sent += 1;
        self.inbox.clear();
        self.state = State::Waiting { host, conn, since: now };
        out.push(Action::Send { conn, bytes: bytes.freeze() });
    }

    /// The driver has begun to connect.
    pub fn on_connecting(&mut self, conn: ClientConn) {
        if let State::Connecting { host, .. } = self.state {
            self.conns.insert(host, conn);
        }
    }

    pub fn on_connected(
        &mut self,
        conn: ClientConn,
        now: u64,
        book: &mut Book,
        out: &mut Vec<Action>,
    ) {
        let State::Connecting { host, .. } = self.state else { return };
        if self.conns.get(&host) != Some(&conn) {
            return;
        }
        let mut bytes = BytesMut::new();
        if let Some(password) = &self.password {
            encode_words(&mut bytes, &[b"AUTH", password.as_bytes()]);
        }
        if self.plan.reads_copies {
            encode_words(&mut bytes, &[b"READONLY"]);
        }
        if bytes.is_empty() {
            return self.send(host, conn, now, book, out);
        }
        self.greetings = u8::from(self.password.is_some()) + u8::from(self.plan.reads_copies);
        self.inbox.clear();
        self.state = State::Greeting { host, conn, since: now };
        out.push(Action::Send { conn, bytes: bytes.freeze() });
    }

    pub fn on_closed(
        &mut self,
        conn: ClientConn,
        now: u64,
        book: &mut Book,
        out: &mut Vec<Action>,
    ) {
        let Some(host) = self.conns.iter().find(|(_, c)| **c == conn).map(|(&host, _)| host) else {
            return;
        };
        self.conns.remove(&host);
        match self.state {
            State::Connecting { host: at, .. } | State::Greeting { host: at, .. } if at == host => {
                self.on_unreachable(host, now, book, out);
            }
            State::Waiting { host: at, .. } if at == host => {
                self.known.clear();
                self.again = self.plan.resends && !self.again;
                self.end(Stage::Info, Value::Nil, now, book);
            }
            State::Counting { host: at, until, .. } if at == host => {
                self.state = State::Idle { until };
            }
            State::Connecting { .. }
            | State::Greeting { .. }
            | State::Waiting { .. }
            | State::Counting { .. }
            | State::Idle { .. }
            | State::Finished => {}
        }
    }

    /// Nothing was sent: another host is asked, for a while.
    fn on_unreachable(&mut self, host: u16, now: u64, book: &mut Book, out: &mut Vec<Action>) {
        self.failures += 1;
        self.known.clear();
        if self.failures > u32::from(self.hosts) {
            return self.end(Stage::Fail, Value::Nil, now, book);
        }
        self.ask((host + 1) % self.hosts, now, book, out);
    }

    /// Bytes came.
    ///
    /// # Errors
    /// They are no reply, or one that no such command gets.
    pub fn on_bytes(
        &mut self,
        conn: ClientConn,
        data: &[u8],
        now: u64,
        book: &mut Book,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let of = match self.state {
            State::Waiting { conn, .. }
            | State::Greeting { conn, .. }
            | State::Counting { conn, .. } => Some(conn),
            State::Idle { .. } | State::Connecting { .. } | State::Finished => None,
        };
        if of != Some(conn) {
            return Ok(());
        }
        self.inbox.extend_from_slice(data);
        loop {
            let read =
                read_reply(&self.inbox).map_err(|_| format!("no reply: {:?}", self.inbox))?;
            let Some((reply, bytes)) = read else { return Ok(()) };
            let State::Greeting { host, conn, .. } = self.state else {
                return self.on_reply(reply, now, book, out);
            };
            if !reply.is_ok() {
                return Err(format!("AUTH or READONLY was answered {reply:?}"));
            }
            self.greetings -= 1;
            if self.greetings == 0 {
                self.send(host, conn, now, book, out);
                return Ok(());
            }
            let _ = self.inbox.split_to(bytes);
        }
    }

    fn on_reply(
        &mut self,
        reply: Reply,
        now: u64,
        book: &mut Book,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        if let State::Counting { until, .. } = self.state {
            // (Nobody has more copies than there are other nodes.)
            return match reply {
                Reply::Int(copies) if (0..i64::from(self.hosts)).contains(&copies) => {
                    self.state = State::Idle { until: until.max(now) };
                    Ok(())
                }
                other => Err(format!("WAIT was answered {other:?}")),
            };
        }
        let at = self.state;
        let Some((_, step, _)) = &self.open else { return Err("a reply to nothing".to_owned()) };
        let weak = self.is_weak(step);
        let what = step.what;
        match reply {
            Reply::Error(text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                if let Some(to) = text.strip_prefix("MOVED ").and_then(host_of) {
                    self.hops += 1;
                    if !weak {
                        self.known.insert(step.key, to);
                    }
                    if self.hops > HOPS_MAX {
                        self.end(Stage::Fail, Value::Nil, now, book);
                    } else {
                        self.ask(to, now, book, out);
                    }
                } else if text.starts_with("INDOUBT ") {
                    self.known.clear();
                    self.end(Stage::Info, Value::Nil, now, book);
                } else if ["CLUSTERDOWN ", "TRYAGAIN ", "LOADING ", "MISCONF "]
                    .iter()
                    .any(|word| text.starts_with(word))
                {
                    self.known.clear();
                    self.end(Stage::Fail, Value::Nil, now, book);
                } else {
                    return Err(format!("{what:?} was answered -{text}"));
                }
            }
            Reply::Bulk(text) if what == StrongOp::Get => {
                let text = String::from_utf8_lossy(&text).into_owned();
                self.end(Stage::Ok, Value::Str(text), now, book);
            }
            Reply::Null if what == StrongOp::Get => self.end(Stage::Ok, Value::Nil, now, book),
            Reply::Int(_)
                if matches!(what, StrongOp::Append | StrongOp::Del)
                    || (what == StrongOp::Set && self.plan.in_hashes) =>
            {
                self.end(Stage::Ok, Value::Nil, now, book);
                self.count_copies(at, now, out);
            }
            Reply::Status(_)
                if matches!(what, StrongOp::Set | StrongOp::Brief) && reply.is_ok() =>
            {
                self.end(Stage::Ok, Value::Nil, now, book);
                self.count_copies(at, now, out);
            }
            Reply::Status(_) | Reply::Int(_) | Reply::Bulk(_) | Reply::Null | Reply::Array(_) => {
                return Err(format!("{what:?} was answered {reply:?}"));
            }
        }
        Ok(())
    }

    /// A write was acknowledged: how many copies have it is asked now and then, over the same connection.
    fn count_copies(&mut self, at: State, now: u64, out: &mut Vec<Action>) {
        let (State::Waiting { host, conn, .. }, State::Idle { until }) = (at, self.state) else {
            return;
        };
        self.written += 1;
        let every = u64::from(self.plan.waits_every);
        if every == 0 || !self.written.is_multiple_of(every) {
            return;
        }
        let mut bytes = BytesMut::new();
        encode_words(&mut bytes, &[b"WAIT", b"1", b"50"]);
        self.inbox.clear();
        self.state = State::Counting { host, conn, since: now, until };
        out.push(Action::Send { conn, bytes: bytes.freeze() });
    }

    /// The operation is over: with this result, without effect, or nobody knows.
    fn end(&mut self, stage: Stage, result: Value, now: u64, book: &mut Book) {
        let Some((process, step, text)) = self.open.take() else { return };
        let function = match step.what {
            StrongOp::Get => Function::Get,
            StrongOp::Set | StrongOp::Del | StrongOp::Brief => Function::Put,
            StrongOp::Append => Function::Append,
        };
        let value = match step.what {
            StrongOp::Get => result,
            StrongOp::Set | StrongOp::Del | StrongOp::Append | StrongOp::Brief => Value::Str(text),
        };
        let key = Some(Value::Str(name_of(step.key)));
        let end = Event { process, stage, function, key, value, time: Some(now) };
        if self.is_weak(&step) {
            book.tell_of_old_read(end);
        } else if step.what != StrongOp::Brief {
            book.events.push(end);
        }
        match stage {
            Stage::Ok => book.answered += 1,
            Stage::Fail => book.refused += 1,
            Stage::Info | Stage::Invoke => book.in_doubt += 1,
        }
        if !self.again {
            self.next = (self.next + 1).min(self.plan.steps.len());
        }
        if stage != Stage::Info {
            self.again = false;
        }
        let wait = self.plan.steps.get(self.next).map_or(0, |step| step.wait_ms);
        self.state = State::Idle { until: now + wait.max(1) * MS };
    }
}

/// Keys are of different slots, and of one partition in many plans.
pub fn name_of(key: u16) -> String {
    format!("key:{key}")
}

/// One of the same slot.
fn brief_name_of(key: u16) -> String {
    format!("{{{}}}:brief", name_of(key))
}

/// The host of `slot host:port`, named or by its address.
fn host_of(rest: &str) -> Option<u16> {
    let host = rest.split(' ').nth(1)?.rsplit_once(':')?.0;
    let number = host.strip_prefix("node").or_else(|| Some(host.rsplit_once('.')?.1))?;
    number.parse::<u16>().ok()?.checked_sub(1)
}
