//! Answers as redis-cli prints them, and whether they are what a line expects. A reader and writer of
//! RESP2 of its own: the client must not share a fault with the server it watches.

use std::fmt;

use super::ast::Expect;
use super::words::{Numbers, Word};

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
}

/// Bytes that are no RESP2 answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotResp {
    pub near: String,
}

/// Writes a command as an array of bulk strings.
pub fn write_command(words: &[Vec<u8>], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Takes one whole answer off the front of `buf`; `None` while it is unfinished.
///
/// # Errors
/// The bytes are no RESP2.
pub fn take_reply(buf: &mut Vec<u8>) -> Result<Option<Reply>, NotResp> {
    let mut reader = Reader { buf, at: 0 };
    let reply = reader.reply()?;
    let at = reader.at;
    if reply.is_some() {
        buf.drain(..at);
    }
    Ok(reply)
}

struct Reader<'a> {
    buf: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn reply(&mut self) -> Result<Option<Reply>, NotResp> {
        let Some(line) = self.line() else { return Ok(None) };
        let (kind, rest) = (line.first().copied(), line.get(1..).unwrap_or_default().to_vec());
        match kind {
            Some(b'+') => Ok(Some(Reply::Simple(rest))),
            Some(b'-') => Ok(Some(Reply::Error(rest))),
            Some(b':') => Ok(Some(Reply::Integer(self.number(&rest)?))),
            Some(b'$') => match usize::try_from(self.number(&rest)?) {
                Ok(len) => {
                    let Some(bulk) = self.buf.get(self.at..self.at + len + 2) else {
                        return Ok(None);
                    };
                    let bulk = bulk[..len].to_vec();
                    self.at += len + 2;
                    Ok(Some(Reply::Bulk(bulk)))
                }
                Err(_) => Ok(Some(Reply::Nil)),
            },
            Some(b'*') => match usize::try_from(self.number(&rest)?) {
                Ok(len) => {
                    let mut items = Vec::new();
                    for _ in 0..len {
                        let Some(item) = self.reply()? else { return Ok(None) };
                        items.push(item);
                    }
                    Ok(Some(Reply::Array(items)))
                }
                Err(_) => Ok(Some(Reply::Nil)),
            },
            Some(_) | None => Err(self.not_resp()),
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let rest = &self.buf[self.at..];
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        self.at += end + 2;
        Some(rest[..end].to_vec())
    }

    fn number(&self, digits: &[u8]) -> Result<i64, NotResp> {
        let number = std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok());
        number.ok_or_else(|| self.not_resp())
    }

    fn not_resp(&self) -> NotResp {
        let near = &self.buf[..self.buf.len().min(60)];
        NotResp { near: String::from_utf8_lossy(near).into_owned() }
    }
}

impl Reply {
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }

    /// True if the answer is what the line expects.
    pub fn is_as(&self, expect: &Expect, numbers: &Numbers) -> bool {
        match expect {
            Expect::NoError => !self.is_error(),
            Expect::Error(pattern) => self.is_error() && self.like(&pattern.fill(numbers)),
            Expect::Like(pattern) => !self.is_error() && self.like(&pattern.fill(numbers)),
            Expect::Equal(words) => self.equals(words, numbers),
        }
    }

    fn like(&self, pattern: &[u8]) -> bool {
        let mut text = Vec::new();
        self.text(&mut text);
        like(&text, pattern)
    }

    fn equals(&self, words: &[Word], numbers: &Numbers) -> bool {
        let (typed, words) = match words {
            [kind, value] if kind.is("(integer)") => (true, std::slice::from_ref(value)),
            [a, b] if a.is("(empty") && b.is("array)") => {
                return matches!(self, Reply::Array(items) if items.is_empty());
            }
            words => (false, words),
        };
        let mut leaves = Vec::new();
        self.leaves(&mut leaves);
        leaves.len() == words.len()
            && leaves.iter().zip(words).all(|(leaf, word)| match leaf {
                Reply::Nil => word.is("(nil)"),
                Reply::Integer(n) => word.fill(numbers) == n.to_string().as_bytes(),
                Reply::Simple(text) | Reply::Bulk(text) => {
                    !typed && !word.is("(nil)") && word.fill(numbers) == *text
                }
                Reply::Error(_) | Reply::Array(_) => false,
            })
    }

    /// The answer, or the elements of the array, nested ones too.
    fn leaves<'a>(&'a self, out: &mut Vec<&'a Reply>) {
        match self {
            Reply::Array(items) => items.iter().for_each(|item| item.leaves(out)),
            Reply::Simple(_)
            | Reply::Error(_)
            | Reply::Integer(_)
            | Reply::Bulk(_)
            | Reply::Nil => out.push(self),
        }
    }

    /// As patterns see it: bare texts, one line for each element.
    fn text(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Simple(text) | Reply::Error(text) | Reply::Bulk(text) => {
                out.extend_from_slice(text);
            }
            Reply::Integer(n) => out.extend_from_slice(n.to_string().as_bytes()),
            Reply::Nil => out.extend_from_slice(b"(nil)"),
            Reply::Array(items) => {
                for item in items {
                    item.text(out);
                    out.push(b'\n');
                }
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Simple(text) => write!(f, "{}", String::from_utf8_lossy(text)),
            Reply::Error(text) => write!(f, "(error) {}", String::from_utf8_lossy(text)),
            Reply::Integer(n) => write!(f, "(integer) {n}"),
            Reply::Bulk(text) if text.contains(&b'\n') => {
                write!(f, "{}", String::from_utf8_lossy(text))
            }
            Reply::Bulk(text) => write!(f, "{:?}", String::from_utf8_lossy(text)),
            Reply::Nil => f.write_str("(nil)"),
            Reply::Array(items) if items.is_empty() => f.write_str("(empty array)"),
            Reply::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    let gap = if i == 0 { "" } else { " " };
                    write!(f, "{gap}{}) {item}", i + 1)?;
                }
                Ok(())
            }
        }
    }
}

/// True if the parts of the pattern between its `*` stand in the text one after the other.
pub fn like(text: &[u8], pattern: &[u8]) -> bool {
    let mut rest = text;
    for part in pattern.split(|b| *b == b'*').filter(|part| !part.is_empty()) {
        let Some(at) = rest.windows(part.len()).position(|w| w == part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::words::split;

    fn equal(reply: &Reply, words: &str) -> bool {
        reply.is_as(&Expect::Equal(split(words).unwrap()), &Numbers::new())
    }

    #[test]
    fn answers_arrive_in_any_pieces() {
        let bytes = b"+OK\r\n*3\r\n:3\r\n$5\r\na\r\nbc\r\n$-1\r\n-ERR no\r\n*0\r\n";
        let array =
            Reply::Array(vec![Reply::Integer(3), Reply::Bulk(b"a\r\nbc".to_vec()), Reply::Nil]);
        let error = Reply::Error(b"ERR no".to_vec());
        let all = [Reply::Simple(b"OK".to_vec()), array, error, Reply::Array(vec![])];
        let (mut buf, mut got) = (Vec::new(), Vec::new());
        for b in bytes {
            buf.push(*b);
            got.extend(take_reply(&mut buf).unwrap());
        }
        assert_eq!(got, all);
        assert!(take_reply(&mut b"HTTP/1.1 400\r\n".to_vec()).is_err());
    }

    #[test]
    fn values_are_what_redis_cli_prints() {
        let bulk = |t: &str| Reply::Bulk(t.as_bytes().to_vec());
        assert!(equal(&Reply::Integer(3), "3"));
        assert!(equal(&Reply::Integer(3), "(integer) 3"));
        assert!(!equal(&bulk("3"), "(integer) 3"));
        assert!(equal(&bulk("3"), "3"));
        assert!(equal(&bulk("a b"), "\"a b\""));
        assert!(equal(&Reply::Nil, "(nil)"));
        assert!(!equal(&Reply::Nil, "\"(nil)\""));
        assert!(!equal(&bulk("(nil)"), "(nil)"));
        assert!(equal(&bulk("(nil)"), "\"(nil)\""));
        let array = Reply::Array(vec![Reply::Simple(b"OK".to_vec()), Reply::Integer(2)]);
        assert!(equal(&array, "OK 2"));
        assert!(!equal(&array, "OK"));
        assert!(equal(&Reply::Array(vec![]), "(empty array)"));
        assert!(!equal(&Reply::Error(b"OK".to_vec()), "OK"));
    }

    #[test]
    fn patterns_are_found_anywhere_and_stars_stand_for_anything() {
        assert!(like(b"role:master\r\nmaster_link_status:up\r\n", b"link_status:up"));
        assert!(like(b"ERR value is not an integer", b"ERR*integer"));
        assert!(!like(b"integer ERR", b"ERR*integer"));
        let error = Reply::Error(b"NOAUTH Authentication required.".to_vec());
        let expect = |pattern| Expect::Error(split(pattern).unwrap().remove(0));
        assert!(error.is_as(&expect("NOAUTH"), &Numbers::new()));
        assert!(!error.is_as(&expect("WRONGPASS"), &Numbers::new()));
        assert!(!error.is_as(&Expect::NoError, &Numbers::new()));
        let ok = Reply::Simple(b"OK".to_vec());
        assert!(!ok.is_as(&expect("OK"), &Numbers::new()));
    }
}
