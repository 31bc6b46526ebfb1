//! What clients of lines with a time were told: the commands sent over each connection and their answers, as
//! the checks of sessions want them.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Buf as _, BytesMut};
use quorate::base::ids::ConnId;

use super::ast::HostIndex;
use crate::check::Violation;
use crate::check::sessions::{match_units, stale_read};
use crate::model::ledger::{BootId, Ledger};
use crate::workload::client::{ClientPlan, Library, Step};
use crate::workload::command::Command;
use crate::workload::history::{History, SessionId};
use crate::workload::resp::{Reply, read_reply};

/// Commands that make no unit and whose answers nobody judges.
const HARMLESS: [&str; 9] =
    ["AUTH", "DBSIZE", "EXISTS", "INFO", "PING", "QUORATE", "REPLICAOF", "ROLE", "TTL"];

/// All connections of clients, numbered as the stage numbers them.
#[derive(Default)]
pub struct Told {
    history: History,
    /// One per connection, with the commands sent over it.
    clients: Vec<ClientPlan>,
    conns: Vec<Conn>,
    /// Something was sent whose effect is not known here: nothing is judged any more.
    unknown: bool,
}

struct Conn {
    host: HostIndex,
    port: u16,
    session: SessionId,
    /// What each outstanding reply belongs to: an attempt, or nothing that is judged.
    outstanding: VecDeque<Option<usize>>,
    /// Commands since MULTI.
    queued: Option<Vec<Command>>,
    inbox: BytesMut,
}

impl Told {
    /// The next connection stands; `port` is the client's.
    pub fn connected(&mut self, host: HostIndex, port: u16) {
        let number = u16::try_from(host).expect("fewer than 65,536 hosts");
        let session = self.history.open(self.clients.len(), number);
        let library = Library::NodeRedis;
        self.clients.push(ClientPlan { host: number, library, pipeline: 1, steps: Vec::new() });
        let (outstanding, inbox) = (VecDeque::new(), BytesMut::new());
        self.conns.push(Conn { host, port, session, outstanding, queued: None, inbox });
    }

    /// A command goes out at `now` (ns). Only those of lines with a time are `judged`.
    pub fn sent(&mut self, conn: usize, bytes: &[u8], judged: bool, now: u64) {
        let Some(words) = words_of(bytes) else {
            self.unknown = true;
            return;
        };
        let name = words[0].to_ascii_uppercase();
        let Conn { session, queued, outstanding, .. } = &mut self.conns[conn];
        let command = match (name.as_str(), &mut *queued) {
            (name, _) if HARMLESS.contains(&name) => None,
            (_, _) if !judged => {
                self.unknown = true;
                None
            }
            ("MULTI", None) => {
                *queued = Some(Vec::new());
                None
            }
            ("EXEC", Some(_)) => queued.take().map(|commands| Command::Multi { commands }),
            (_, queued) => match (command_of(&words), queued) {
                (Some(command), Some(queued)) => {
                    queued.push(command);
                    None
                }
                (Some(command), None) => Some(command),
                (None, _) => {
                    self.unknown = true;
                    None
                }
            },
        };
        let attempt = command.map(|command| {
            let steps = &mut self.clients[conn].steps;
            steps.push(Step { wait_ms: 0, command });
            self.history.send(*session, steps.len() - 1, now)
        });
        outstanding.push_back(attempt);
    }

    /// Bytes have arrived.
    pub fn arrived(&mut self, conn: usize, bytes: &[u8], now: u64) {
        let conn = &mut self.conns[conn];
        conn.inbox.extend_from_slice(bytes);
        loop {
            let (reply, length) = match read_reply(&conn.inbox) {
                Ok(Some(found)) => found,
                Ok(None) => return,
                Err(_) => {
                    self.unknown = true;
                    return;
                }
            };
            conn.inbox.advance(length);
            if let Some(Some(attempt)) = conn.outstanding.pop_front() {
                self.history.reply(attempt, now, reply);
            }
        }
    }

    /// The server's names for the connections from `host`'s loopback device, by the client's port.
    pub fn accepted(&mut self, host: HostIndex, boot: BootId, ports: &[(u16, ConnId)]) {
        for conn in self.conns.iter().filter(|conn| conn.host == host) {
            let session = &mut self.history.sessions[conn.session.0];
            if session.accepted.is_none() {
                let found = ports.iter().find(|(port, _)| *port == conn.port);
                session.accepted = found.map(|(_, name)| (boot, *name));
            }
        }
    }

    /// Whether units and answers fit the commands, and clients have read what they wrote.
    pub fn judge(&self, ledger: &Ledger) -> Option<Violation> {
        if self.unknown || self.history.attempts.is_empty() {
            return None;
        }
        let command_of =
            |client: usize, command: usize| &self.clients[client].steps[command].command;
        match match_units(ledger, &self.history, &command_of) {
            Ok(matched) => stale_read(ledger, &self.history, &matched, &command_of),
            Err(violation) => Some(violation),
        }
    }
}

/// The words of a command in RESP.
fn words_of(bytes: &[u8]) -> Option<Vec<String>> {
    let Ok(Some((Reply::Array(words), _))) = read_reply(bytes) else { return None };
    let text = |word: Reply| match word {
        Reply::Bulk(word) => String::from_utf8(word.to_vec()).ok(),
        Reply::Status(_) | Reply::Error(_) | Reply::Int(_) | Reply::Array(_) | Reply::Null => None,
    };
    words.into_iter().map(text).collect::<Option<Vec<String>>>().filter(|words| !words.is_empty())
}

/// The command, if it is one of those that plans have.
fn command_of(words: &[String]) -> Option<Command> {
    let [name, rest @ ..] = words else { return None };
    let distinct = |keys: &[String]| keys.iter().collect::<BTreeSet<_>>().len() == keys.len();
    match (name.to_ascii_uppercase().as_str(), rest) {
        ("GET", [key]) => Some(Command::Get { key: key.clone() }),
        ("SET", [key, value]) => {
            Some(Command::Set { key: key.clone(), value: value.clone(), px: None })
        }
        ("SET", [key, value, px, ms]) if px.eq_ignore_ascii_case("PX") => {
            let px = Some(ms.parse().ok()?);
            Some(Command::Set { key: key.clone(), value: value.clone(), px })
        }
        ("DEL", keys) if distinct(keys) => Some(Command::Del { keys: keys.to_vec() }),
        ("INCR", [key]) => Some(Command::IncrBy { key: key.clone(), delta: 1 }),
        ("INCRBY", [key, delta]) => {
            Some(Command::IncrBy { key: key.clone(), delta: delta.parse().ok()? })
        }
        ("APPEND", [key, value]) => {
            Some(Command::Append { key: key.clone(), value: value.clone() })
        }
        ("PEXPIRE", [key, ms]) => Some(Command::PExpire { key: key.clone(), ms: ms.parse().ok()? }),
        ("PERSIST", [key]) => Some(Command::Persist { key: key.clone() }),
        ("MSET", pairs) if pairs.len() % 2 == 0 => {
            let pairs = pairs.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            Some(Command::MSet { pairs: pairs.collect() })
        }
        ("MGET", keys) => Some(Command::MGet { keys: keys.to_vec() }),
        ("HSET", [key, pairs @ ..]) if !pairs.is_empty() && pairs.len() % 2 == 0 => {
            let pairs = pairs.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            Some(Command::HSet { key: key.clone(), pairs: pairs.collect() })
        }
        ("HDEL", [key, fields @ ..]) if distinct(fields) => {
            Some(Command::HDel { key: key.clone(), fields: fields.to_vec() })
        }
        ("HINCRBY", [key, field, delta]) => Some(Command::HIncrBy {
            key: key.clone(),
            field: field.clone(),
            delta: delta.parse().ok()?,
        }),
        ("HGET", [key, field]) => Some(Command::HGet { key: key.clone(), field: field.clone() }),
        ("HGETALL", [key]) => Some(Command::HGetAll { key: key.clone() }),
        ("FLUSHDB", []) => Some(Command::FlushDb),
        (_, _) => None,
    }
}
