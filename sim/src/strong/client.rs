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
            State::Waiting { since, .. } => Some(since + REPLY_TIMEOUT),
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
            State::Waiting { host, conn, since } if now >= since + REPLY_TIMEOUT => {
                self.conns.remove(&host);
                out.push(Action::Close { conn });
                self.known.clear();
                self.end(Stage::Info, Value::Nil, now, book);
            }
            State::Idle { .. }
            | State::Connecting { .. }
            | State::Greeting { .. }
            | State::Waiting { .. }
            | State::Finished => {}
        }
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
        };
        let (function, value) = match step.what {
            StrongOp::Get => (Function::Get, Value::Nil),
            StrongOp::Set | StrongOp::Del => (Function::Put, Value::Str(text.clone())),
            StrongOp::Append => (Function::Append, Value::Str(text.clone())),
        };
        let key = Some(Value::Str(name_of(step.key)));
        book.events.push(Event {
            process,
            stage: Stage::Invoke,
            function,
            key,
            value,
            time: Some(now),
        });
        let host = self.known.get(&step.key).copied().unwrap_or(self.plan.host);
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
            StrongOp::Get => encode_words(&mut bytes, &[b"GET", key]),
            StrongOp::Set => encode_words(&mut bytes, &[b"SET", key, text]),
            StrongOp::Append => encode_words(&mut bytes, &[b"APPEND", key, text]),
            StrongOp::Del => encode_words(&mut bytes, &[b"DEL", key]),
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
        match &self.password {
            None => self.send(host, conn, now, book, out),
            Some(password) => {
                let mut bytes = BytesMut::new();
                encode_words(&mut bytes, &[b"AUTH", password.as_bytes()]);
                self.inbox.clear();
                self.state = State::Greeting { host, conn, since: now };
                out.push(Action::Send { conn, bytes: bytes.freeze() });
            }
        }
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
            State::Connecting { .. }
            | State::Greeting { .. }
            | State::Waiting { .. }
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
            State::Waiting { conn, .. } | State::Greeting { conn, .. } => Some(conn),
            State::Idle { .. } | State::Connecting { .. } | State::Finished => None,
        };
        if of != Some(conn) {
            return Ok(());
        }
        self.inbox.extend_from_slice(data);
        let read = read_reply(&self.inbox).map_err(|_| format!("no reply: {:?}", self.inbox))?;
        let Some((reply, _)) = read else { return Ok(()) };
        if let State::Greeting { host, conn, .. } = self.state {
            if reply.is_ok() {
                self.send(host, conn, now, book, out);
                return Ok(());
            }
            return Err(format!("AUTH was answered {reply:?}"));
        }
        self.on_reply(reply, now, book, out)
    }

    fn on_reply(
        &mut self,
        reply: Reply,
        now: u64,
        book: &mut Book,
        out: &mut Vec<Action>,
    ) -> Result<(), String> {
        let Some((_, step, _)) = &self.open else { return Err("a reply to nothing".to_owned()) };
        let what = step.what;
        match reply {
            Reply::Error(text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                if let Some(to) = text.strip_prefix("MOVED ").and_then(host_of) {
                    self.hops += 1;
                    self.known.insert(step.key, to);
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
            Reply::Int(_) if matches!(what, StrongOp::Append | StrongOp::Del) => {
                self.end(Stage::Ok, Value::Nil, now, book);
            }
            Reply::Status(_) if what == StrongOp::Set && reply.is_ok() => {
                self.end(Stage::Ok, Value::Nil, now, book);
            }
            Reply::Status(_) | Reply::Int(_) | Reply::Bulk(_) | Reply::Null | Reply::Array(_) => {
                return Err(format!("{what:?} was answered {reply:?}"));
            }
        }
        Ok(())
    }

    /// The operation is over: with this result, without effect, or nobody knows.
    fn end(&mut self, stage: Stage, result: Value, now: u64, book: &mut Book) {
        let Some((process, step, text)) = self.open.take() else { return };
        let function = match step.what {
            StrongOp::Get => Function::Get,
            StrongOp::Set | StrongOp::Del => Function::Put,
            StrongOp::Append => Function::Append,
        };
        let value = match step.what {
            StrongOp::Get => result,
            StrongOp::Set | StrongOp::Del | StrongOp::Append => Value::Str(text),
        };
        let key = Some(Value::Str(name_of(step.key)));
        book.events.push(Event { process, stage, function, key, value, time: Some(now) });
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

/// The host of `slot host:port`, named or by its address.
fn host_of(rest: &str) -> Option<u16> {
    let host = rest.split(' ').nth(1)?.rsplit_once(':')?.0;
    let number = host.strip_prefix("node").or_else(|| Some(host.rsplit_once('.')?.1))?;
    number.parse::<u16>().ok()?.checked_sub(1)
}
