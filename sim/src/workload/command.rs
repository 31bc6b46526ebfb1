//! The commands of a plan, as data.

use std::fmt;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

/// One command of a client. Values, deltas and deadlines are unique in a plan, so that what is read
/// names the write it comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    Get {
        key: String,
    },
    Set {
        key: String,
        value: String,
        px: Option<u64>,
    },
    Del {
        keys: Vec<String>,
    },
    IncrBy {
        key: String,
        delta: i64,
    },
    Append {
        key: String,
        value: String,
    },
    PExpire {
        key: String,
        ms: i64,
    },
    Persist {
        key: String,
    },
    MSet {
        pairs: Vec<(String, String)>,
    },
    MGet {
        keys: Vec<String>,
    },
    HSet {
        key: String,
        pairs: Vec<(String, String)>,
    },
    HDel {
        key: String,
        fields: Vec<String>,
    },
    HIncrBy {
        key: String,
        field: String,
        delta: i64,
    },
    HGet {
        key: String,
        field: String,
    },
    HGetAll {
        key: String,
    },
    FlushDb,
    /// Waits until so many replicas have acknowledged what this client wrote last.
    Wait {
        replicas: u64,
        timeout_ms: u64,
    },
    /// MULTI, these, EXEC, sent in one piece.
    Multi {
        commands: Vec<Command>,
    },
}

/// Families that a plan switches on and off as a whole.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Set,
    SetEx,
    Get,
    Del,
    Incr,
    Append,
    Expire,
    Persist,
    Multiple,
    Transaction,
    Flush,
}

impl Family {
    pub const ALL: [Family; 11] = [
        Family::Set,
        Family::SetEx,
        Family::Get,
        Family::Del,
        Family::Incr,
        Family::Append,
        Family::Expire,
        Family::Persist,
        Family::Multiple,
        Family::Transaction,
        Family::Flush,
    ];
}

impl Command {
    /// Writes the command as clients send it; a transaction with its MULTI and EXEC.
    pub fn encode(&self, out: &mut BytesMut) {
        if let Command::Multi { commands } = self {
            encode_words(out, &[b"MULTI"]);
            for command in commands {
                command.encode(out);
            }
            encode_words(out, &[b"EXEC"]);
            return;
        }
        let (itoa, other);
        let mut words: Vec<&[u8]> = Vec::with_capacity(5);
        match self {
            Command::Get { key } => words.extend([b"GET".as_slice(), key.as_bytes()]),
            Command::Set { key, value, px } => {
                words.extend([b"SET".as_slice(), key.as_bytes(), value.as_bytes()]);
                if let Some(px) = px {
                    itoa = px.to_string();
                    words.extend([b"PX".as_slice(), itoa.as_bytes()]);
                }
            }
            Command::Del { keys } => {
                words.push(b"DEL");
                words.extend(keys.iter().map(|k| k.as_bytes()));
            }
            Command::IncrBy { key, delta } => {
                itoa = delta.to_string();
                words.extend([b"INCRBY".as_slice(), key.as_bytes(), itoa.as_bytes()]);
            }
            Command::Append { key, value } => {
                words.extend([b"APPEND".as_slice(), key.as_bytes(), value.as_bytes()]);
            }
            Command::PExpire { key, ms } => {
                itoa = ms.to_string();
                words.extend([b"PEXPIRE".as_slice(), key.as_bytes(), itoa.as_bytes()]);
            }
            Command::Persist { key } => words.extend([b"PERSIST".as_slice(), key.as_bytes()]),
            Command::MSet { pairs } => {
                words.push(b"MSET");
                words.extend(pairs.iter().flat_map(|(k, v)| [k.as_bytes(), v.as_bytes()]));
            }
            Command::MGet { keys } => {
                words.push(b"MGET");
                words.extend(keys.iter().map(|k| k.as_bytes()));
            }
            Command::HSet { key, pairs } => {
                words.extend([b"HSET".as_slice(), key.as_bytes()]);
                words.extend(pairs.iter().flat_map(|(f, v)| [f.as_bytes(), v.as_bytes()]));
            }
            Command::HDel { key, fields } => {
                words.extend([b"HDEL".as_slice(), key.as_bytes()]);
                words.extend(fields.iter().map(|f| f.as_bytes()));
            }
            Command::HIncrBy { key, field, delta } => {
                itoa = delta.to_string();
                let (key, field) = (key.as_bytes(), field.as_bytes());
                words.extend([b"HINCRBY".as_slice(), key, field, itoa.as_bytes()]);
            }
            Command::HGet { key, field } => {
                words.extend([b"HGET".as_slice(), key.as_bytes(), field.as_bytes()]);
            }
            Command::HGetAll { key } => words.extend([b"HGETALL".as_slice(), key.as_bytes()]),
            Command::FlushDb => words.push(b"FLUSHDB"),
            Command::Wait { replicas, timeout_ms } => {
                (itoa, other) = (replicas.to_string(), timeout_ms.to_string());
                words.extend([b"WAIT".as_slice(), itoa.as_bytes(), other.as_bytes()]);
            }
            Command::Multi { .. } => {}
        }
        encode_words(out, &words);
    }

    /// How many replies the command is answered with on the wire.
    pub fn replies(&self) -> usize {
        match self {
            Command::Multi { commands } => commands.len() + 2,
            Command::Get { .. }
            | Command::Set { .. }
            | Command::Del { .. }
            | Command::IncrBy { .. }
            | Command::Append { .. }
            | Command::PExpire { .. }
            | Command::Persist { .. }
            | Command::MSet { .. }
            | Command::MGet { .. }
            | Command::Wait { .. }
            | Command::HSet { .. }
            | Command::HDel { .. }
            | Command::HIncrBy { .. }
            | Command::HGet { .. }
            | Command::HGetAll { .. }
            | Command::FlushDb => 1,
        }
    }

    /// Whether the command may change anything.
    pub fn writes(&self) -> bool {
        match self {
            Command::Get { .. }
            | Command::MGet { .. }
            | Command::HGet { .. }
            | Command::HGetAll { .. }
            | Command::Wait { .. } => false,
            Command::Multi { commands } => commands.iter().any(Command::writes),
            Command::Set { .. }
            | Command::Del { .. }
            | Command::IncrBy { .. }
            | Command::Append { .. }
            | Command::PExpire { .. }
            | Command::Persist { .. }
            | Command::MSet { .. }
            | Command::HSet { .. }
            | Command::HDel { .. }
            | Command::HIncrBy { .. }
            | Command::FlushDb => true,
        }
    }

    /// The keys it names, in the order given.
    pub fn keys(&self) -> Vec<&str> {
        match self {
            Command::Get { key }
            | Command::Set { key, .. }
            | Command::IncrBy { key, .. }
            | Command::Append { key, .. }
            | Command::PExpire { key, .. }
            | Command::HSet { key, .. }
            | Command::HDel { key, .. }
            | Command::HIncrBy { key, .. }
            | Command::HGet { key, .. }
            | Command::HGetAll { key }
            | Command::Persist { key } => vec![key],
            Command::Del { keys } | Command::MGet { keys } => {
                keys.iter().map(String::as_str).collect()
            }
            Command::MSet { pairs } => pairs.iter().map(|(k, _)| k.as_str()).collect(),
            Command::FlushDb | Command::Wait { .. } => Vec::new(),
            Command::Multi { commands } => commands.iter().flat_map(Command::keys).collect(),
        }
    }
}

impl Command {
    /// The fields it names, in the order given.
    pub fn fields(&self) -> Vec<&str> {
        match self {
            Command::HSet { pairs, .. } => pairs.iter().map(|(f, _)| f.as_str()).collect(),
            Command::HDel { fields, .. } => fields.iter().map(String::as_str).collect(),
            Command::HIncrBy { field, .. } | Command::HGet { field, .. } => vec![field],
            Command::Multi { commands } => commands.iter().flat_map(Command::fields).collect(),
            Command::Get { .. }
            | Command::Set { .. }
            | Command::Del { .. }
            | Command::IncrBy { .. }
            | Command::Append { .. }
            | Command::PExpire { .. }
            | Command::Persist { .. }
            | Command::MSet { .. }
            | Command::MGet { .. }
            | Command::HGetAll { .. }
            | Command::FlushDb
            | Command::Wait { .. } => Vec::new(),
        }
    }
}

/// One command in RESP: an array of bulk strings.
pub fn encode_words(out: &mut BytesMut, words: &[&[u8]]) {
    // A length takes a sign, four digits or fewer, and an end; so does a word without them.
    out.reserve(words.iter().map(|word| word.len() + 9).sum::<usize>() + 7);
    put_length(out, b'*', words.len());
    for word in words {
        put_length(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn put_length(out: &mut BytesMut, sign: u8, length: usize) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = length;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&[sign]);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Get { key } => write!(f, "GET {key}"),
            Command::Set { key, value, px: None } => write!(f, "SET {key} {value}"),
            Command::Set { key, value, px: Some(px) } => write!(f, "SET {key} {value} PX {px}"),
            Command::Del { keys } => write!(f, "DEL {}", keys.join(" ")),
            Command::IncrBy { key, delta } => write!(f, "INCRBY {key} {delta}"),
            Command::Append { key, value } => write!(f, "APPEND {key} {value}"),
            Command::PExpire { key, ms } => write!(f, "PEXPIRE {key} {ms}"),
            Command::Persist { key } => write!(f, "PERSIST {key}"),
            Command::MSet { pairs } => {
                write!(f, "MSET")?;
                pairs.iter().try_for_each(|(k, v)| write!(f, " {k} {v}"))
            }
            Command::MGet { keys } => write!(f, "MGET {}", keys.join(" ")),
            Command::HSet { key, pairs } => {
                write!(f, "HSET {key}")?;
                pairs.iter().try_for_each(|(field, value)| write!(f, " {field} {value}"))
            }
            Command::HDel { key, fields } => write!(f, "HDEL {key} {}", fields.join(" ")),
            Command::HIncrBy { key, field, delta } => write!(f, "HINCRBY {key} {field} {delta}"),
            Command::HGet { key, field } => write!(f, "HGET {key} {field}"),
            Command::HGetAll { key } => write!(f, "HGETALL {key}"),
            Command::FlushDb => write!(f, "FLUSHDB"),
            Command::Wait { replicas, timeout_ms } => write!(f, "WAIT {replicas} {timeout_ms}"),
            Command::Multi { commands } => {
                write!(f, "MULTI")?;
                commands.iter().try_for_each(|c| write!(f, "; {c}"))?;
                write!(f, "; EXEC")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_sent_as_arrays_of_bulk_strings() {
        let mut out = BytesMut::new();
        Command::Set { key: "k".into(), value: "value-0001".into(), px: Some(5) }.encode(&mut out);
        assert_eq!(
            &out[..],
            b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\nvalue-0001\r\n$2\r\nPX\r\n$1\r\n5\r\n"
        );
    }

    #[test]
    fn a_transaction_is_one_piece_with_its_multi_and_exec() {
        let inner = vec![Command::Get { key: "a".into() }, Command::FlushDb];
        let command = Command::Multi { commands: inner };
        let mut out = BytesMut::new();
        command.encode(&mut out);
        assert_eq!(
            &out[..],
            b"*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$7\r\nFLUSHDB\r\n*1\r\n\
              $4\r\nEXEC\r\n"
        );
        assert_eq!(command.replies(), 4);
        assert!(command.writes());
    }
}
