//! The client's side of RESP2 and RESP3: builds commands, reads replies. Written independently of the
//! server's own parser and writer, so that a mistake in those cannot hide here.

use std::fmt;

use bytes::{Buf as _, Bytes, BytesMut};

/// A reply as a client library would hand it on.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR …`: the whole line, its first word included.
    Error(String),
    Integer(i64),
    /// `$5…`
    Bulk(Bytes),
    /// `$-1`, `*-1` and RESP3's `_`.
    Nil,
    /// Arrays; RESP3's sets too.
    Array(Vec<Reply>),
    /// RESP3's `%`.
    Map(Vec<(Reply, Reply)>),
    /// RESP3's `>`: not an answer to a command.
    Push(Vec<Reply>),
    Double(f64),
    Bool(bool),
    /// RESP3's `(`.
    BigNumber(String),
    /// RESP3's `=txt:`, without the format.
    Verbatim(Bytes),
}

/// The server broke the protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadReply {
    pub what: &'static str,
    /// The line that does not parse, as text.
    pub line: String,
}

/// Nesting deeper than this is no reply of ours.
const DEPTH_MAX: u32 = 32;

impl Reply {
    /// Takes one whole reply off the front; `None`: there is not yet a whole one, and nothing is taken.
    ///
    /// # Errors
    /// The bytes are no RESP; the buffer is unchanged.
    pub fn take(buf: &mut BytesMut) -> Result<Option<Reply>, BadReply> {
        if buf.is_empty() {
            return Ok(None);
        }
        let mut cursor = Cursor { bytes: buf, at: 0 };
        match cursor.reply(0)? {
            Some(reply) => {
                let taken = cursor.at;
                buf.advance(taken);
                Ok(Some(reply))
            }
            None => Ok(None),
        }
    }

    /// The first word of an error.
    pub fn error_code(&self) -> Option<&str> {
        match self {
            Reply::Error(line) => Some(line.split(' ').next().unwrap_or(line)),
            Reply::Simple(_)
            | Reply::Integer(_)
            | Reply::Bulk(_)
            | Reply::Nil
            | Reply::Array(_)
            | Reply::Map(_)
            | Reply::Push(_)
            | Reply::Double(_)
            | Reply::Bool(_)
            | Reply::BigNumber(_)
            | Reply::Verbatim(_) => None,
        }
    }
}

/// A command as every client library sends it.
pub fn command<A: AsRef<[u8]>>(args: &[A]) -> Bytes {
    let mut out =
        Vec::with_capacity(16 + args.iter().map(|a| a.as_ref().len() + 16).sum::<usize>());
    push_length(&mut out, b'*', args.len());
    for arg in args {
        let arg = arg.as_ref();
        push_length(&mut out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    Bytes::from(out)
}

fn push_length(out: &mut Vec<u8>, mark: u8, length: usize) {
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
    out.push(mark);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn reply(&mut self, depth: u32) -> Result<Option<Reply>, BadReply> {
        let Some(line) = self.line() else {
            return Ok(None);
        };
        let Some((&mark, rest)) = line.split_first() else {
            return Err(bad("an empty line", line));
        };
        if depth > DEPTH_MAX {
            return Err(bad("nested too deeply", line));
        }
        Ok(Some(match mark {
            b'+' => Reply::Simple(text(rest)),
            b'-' => Reply::Error(text(rest)),
            b':' => Reply::Integer(parsed("an integer", line)?),
            b'_' if rest.is_empty() => Reply::Nil,
            b'#' => match rest {
                b"t" => Reply::Bool(true),
                b"f" => Reply::Bool(false),
                _ => return Err(bad("a boolean", line)),
            },
            b',' => Reply::Double(parsed("a double", line)?),
            b'(' => Reply::BigNumber(text(rest)),
            b'$' | b'=' | b'!' => match length(line)? {
                None => Reply::Nil,
                Some(length) => match self.bulk(length)? {
                    None => return Ok(None),
                    Some(bytes) => match mark {
                        b'!' => Reply::Error(text(bytes)),
                        b'=' => Reply::Verbatim(Bytes::copy_from_slice(
                            bytes.get(4..).ok_or_else(|| bad("a verbatim string", line))?,
                        )),
                        _ => Reply::Bulk(Bytes::copy_from_slice(bytes)),
                    },
                },
            },
            b'*' | b'~' | b'>' => match length(line)? {
                None => Reply::Nil,
                Some(length) => {
                    let Some(items) = self.items(length, depth)? else {
                        return Ok(None);
                    };
                    if mark == b'>' { Reply::Push(items) } else { Reply::Array(items) }
                }
            },
            b'%' => {
                let length = length(line)?.ok_or_else(|| bad("a map", line))?;
                let Some(items) = self.items(length * 2, depth)? else {
                    return Ok(None);
                };
                let mut pairs = Vec::with_capacity(items.len() / 2);
                let mut items = items.into_iter();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    pairs.push((key, value));
                }
                Reply::Map(pairs)
            }
            _ => return Err(bad("an unknown type", line)),
        }))
    }

    /// The bytes up to the next CRLF, which is taken.
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let length = rest.windows(2).position(|pair| pair == b"\r\n")?;
        self.at += length + 2;
        Some(&rest[..length])
    }

    fn bulk(&mut self, length: usize) -> Result<Option<&'a [u8]>, BadReply> {
        let rest = &self.bytes[self.at..];
        if rest.len() < length + 2 {
            return Ok(None);
        }
        if &rest[length..length + 2] != b"\r\n" {
            return Err(bad("a bulk string without its end", &rest[..length.min(40)]));
        }
        self.at += length + 2;
        Ok(Some(&rest[..length]))
    }

    fn items(&mut self, count: usize, depth: u32) -> Result<Option<Vec<Reply>>, BadReply> {
        let mut items = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            match self.reply(depth + 1)? {
                Some(item) => items.push(item),
                None => return Ok(None),
            }
        }
        Ok(Some(items))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn bad(what: &'static str, line: &[u8]) -> BadReply {
    BadReply { what, line: text(&line[..line.len().min(200)]) }
}

fn parsed<T: std::str::FromStr>(what: &'static str, line: &[u8]) -> Result<T, BadReply> {
    let number = std::str::from_utf8(&line[1..]).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| bad(what, line))
}

/// `None` for -1.
fn length(line: &[u8]) -> Result<Option<usize>, BadReply> {
    let length: i64 = parsed("a length", line)?;
    match usize::try_from(length) {
        Ok(length) if length <= 1 << 30 => Ok(Some(length)),
        Ok(_) => Err(bad("a length", line)),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(bad("a length", line)),
    }
}

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not RESP: {} in {:?}", self.what, self.line)
    }
}

impl std::error::Error for BadReply {}

/// As redis-cli prints it.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Simple(text) | Reply::BigNumber(text) => f.write_str(text),
            Reply::Error(line) => write!(f, "(error) {line}"),
            Reply::Integer(value) => write!(f, "(integer) {value}"),
            Reply::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Reply::Verbatim(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Reply::Nil => f.write_str("(nil)"),
            Reply::Double(value) => write!(f, "(double) {value}"),
            Reply::Bool(value) => write!(f, "({value})"),
            Reply::Array(items) | Reply::Push(items) => {
                if items.is_empty() {
                    return f.write_str("(empty array)");
                }
                for (at, item) in items.iter().enumerate() {
                    let end = if at + 1 < items.len() { "\n" } else { "" };
                    write!(f, "{}) {item}{end}", at + 1)?;
                }
                Ok(())
            }
            Reply::Map(pairs) => {
                if pairs.is_empty() {
                    return f.write_str("(empty hash)");
                }
                for (at, (key, value)) in pairs.iter().enumerate() {
                    let end = if at + 1 < pairs.len() { "\n" } else { "" };
                    write!(f, "{}# {key} => {value}{end}", at + 1)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(text: &[u8]) -> Vec<Reply> {
        let mut buf = BytesMut::from(text);
        let mut replies = Vec::new();
        while let Some(reply) = Reply::take(&mut buf).expect("RESP") {
            replies.push(reply);
        }
        assert!(buf.is_empty());
        replies
    }

    #[test]
    fn every_type_is_read() {
        let bulk = |text: &'static str| Reply::Bulk(Bytes::from_static(text.as_bytes()));
        let text = b"+OK\r\n-ERR no\r\n:-7\r\n$5\r\nhe\r\no\r\n$0\r\n\r\n$-1\r\n*-1\r\n_\r\n#t\r\n\
            ,1.5\r\n*2\r\n:1\r\n*1\r\n$1\r\na\r\n%1\r\n+k\r\n:2\r\n~1\r\n:3\r\n>1\r\n+p\r\n=7\r\n\
            txt:abc\r\n(12\r\n!3\r\nE x\r\n";
        let replies = take_all(text);
        assert_eq!(
            replies,
            vec![
                Reply::Simple("OK".into()),
                Reply::Error("ERR no".into()),
                Reply::Integer(-7),
                bulk("he\r\no"),
                bulk(""),
                Reply::Nil,
                Reply::Nil,
                Reply::Nil,
                Reply::Bool(true),
                Reply::Double(1.5),
                Reply::Array(vec![Reply::Integer(1), Reply::Array(vec![bulk("a")])]),
                Reply::Map(vec![(Reply::Simple("k".into()), Reply::Integer(2))]),
                Reply::Array(vec![Reply::Integer(3)]),
                Reply::Push(vec![Reply::Simple("p".into())]),
                Reply::Verbatim(Bytes::from_static(b"abc")),
                Reply::BigNumber("12".into()),
                Reply::Error("E x".into()),
            ]
        );
        assert_eq!(replies[1].error_code(), Some("ERR"));
    }

    #[test]
    fn part_of_a_reply_is_left_alone() {
        let whole = b"*2\r\n$3\r\nabc\r\n%1\r\n+a\r\n:10\r\n";
        for cut in 0..whole.len() {
            let mut buf = BytesMut::from(&whole[..cut]);
            assert_eq!(Reply::take(&mut buf), Ok(None), "{cut}");
            assert_eq!(buf.len(), cut);
        }
        assert_eq!(take_all(whole).len(), 1);
    }

    #[test]
    fn what_is_not_resp_is_said() {
        for text in
            [&b"hello\r\n"[..], b":x\r\n", b"$-2\r\n", b"$3\r\nabcd\r\n", b"#x\r\n", b"\r\n"]
        {
            assert!(Reply::take(&mut BytesMut::from(text)).is_err(), "{text:?}");
        }
    }

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let bytes = command(&["SET", "k", "a longer value"]);
        assert_eq!(&bytes[..], b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$14\r\na longer value\r\n");
    }
}
