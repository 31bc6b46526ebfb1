//! Replies, as far as they are to be compared.

use std::fmt;

/// A reply in RESP2 or RESP3. Shown as the record has it: `+OK`, `:1`, `"text"`, `nil`, `[…, …]`; what only
/// RESP3 has is shown as `_`, `~[…]` and `%[key, value, …]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reply {
    /// A status, an error, an integer, RESP3's null: the whole line.
    Line(String),
    Bulk(Vec<u8>),
    Nil,
    NilArray,
    /// The mark of an array, a set or a map, and what is in it.
    List(u8, Vec<Reply>),
}

impl Reply {
    /// Takes one reply off the front of `bytes`.
    pub fn take(bytes: &mut &[u8]) -> Reply {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a whole line");
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mark = bytes[0];
        *bytes = &bytes[end + 2..];
        let count = line[1..].parse::<i64>();
        let mut list = |count: i64| (0..count).map(|_| Reply::take(bytes)).collect();
        match mark {
            b'$' if count == Ok(-1) => Reply::Nil,
            b'*' if count == Ok(-1) => Reply::NilArray,
            b'$' => {
                let (bulk, rest) = bytes.split_at(count.unwrap() as usize);
                *bytes = &rest[2..];
                Reply::Bulk(bulk.to_vec())
            }
            b'*' | b'~' => Reply::List(mark, list(count.unwrap())),
            b'%' => Reply::List(mark, list(2 * count.unwrap())),
            _ => Reply::Line(line.trim_end().to_owned()),
        }
    }

    /// What is in an array, a set or a map.
    pub fn list_mut(&mut self) -> Option<&mut Vec<Reply>> {
        match self {
            Reply::List(_, list) => Some(list),
            Reply::Line(_) | Reply::Bulk(_) | Reply::Nil | Reply::NilArray => None,
        }
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Reply::Line(line) => line.strip_prefix(':')?.parse().ok(),
            Reply::Bulk(_) | Reply::Nil | Reply::NilArray | Reply::List(..) => None,
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Line(line) => write!(f, "{line}"),
            Reply::Nil => write!(f, "nil"),
            Reply::NilArray => write!(f, "nil-array"),
            Reply::Bulk(bytes) => write!(f, "{}", quoted(bytes)),
            Reply::List(mark, list) => {
                let elements: Vec<String> = list.iter().map(Reply::to_string).collect();
                if *mark != b'*' {
                    write!(f, "{}", char::from(*mark))?;
                }
                write!(f, "[{}]", elements.join(", "))
            }
        }
    }
}

/// Bytes between quotes, as an inline request may have them.
pub fn quoted(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|&byte| shown_byte(byte)).collect();
    format!("\"{text}\"")
}

fn shown_byte(byte: u8) -> String {
    match byte {
        b'"' | b'\\' | 0..=31 | 127..=255 => format!("\\x{byte:02x}"),
        byte => char::from(byte).to_string(),
    }
}
