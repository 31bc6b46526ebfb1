//! What the segments of one connection say: commands and replies, and between servers, after the
//! upgrade, frames.

use std::collections::BTreeMap;

use bytes::{Buf as _, Bytes, BytesMut};
use quorate::base::limits::Limits;
use quorate::wire::frame::{ACK_TYPE, CHANGES_TYPE, Frame, HEARTBEAT_TYPE, UNIT_TYPE};
use quorate::wire::news::Heard;

use super::MessageKind;
use super::words::{Names, frame_words, short};
use crate::resp_client::Reply;
use crate::scenario::shown;

/// What a stretch of a stream says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    pub kind: MessageKind,
    pub text: String,
    pub keys: Vec<String>,
    /// It was sent before.
    pub again: bool,
}

/// Texts of one segment are cut after so many frames.
const PARTS_MAX: usize = 6;

/// Where a frame's type byte stands, after its length.
const FRAME_TYPE_AT: usize = 4;

/// One connection, both ways.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    dialler: Way,
    acceptor: Way,
    /// Commands seen from the dialler, and replies to them.
    commands: u64,
    replies: u64,
    /// The dialler has asked to speak the peer protocol.
    upgraded: bool,
}

/// One direction.
#[derive(Clone, Debug, Default)]
struct Way {
    /// Stream position after what has been read.
    next: u64,
    buf: BytesMut,
    /// What was said, by the stream position it began at.
    said: BTreeMap<u64, Said>,
    /// The bytes make no sense any more.
    lost: bool,
    heard: Heard,
}

impl Flow {
    /// Reads a segment's payload, which begins at `seq` of its stream.
    pub fn read(&mut self, by_dialler: bool, seq: u64, data: &Bytes, names: &Names) -> Said {
        let way = if by_dialler { &mut self.dialler } else { &mut self.acceptor };
        if seq != way.next {
            if let Some(said) = way.said.get(&seq) {
                return Said { again: true, ..said.clone() };
            }
            let text = "a part of what was sent before".to_owned();
            let kind = way.said.range(..=seq).next_back().map_or(MessageKind::Client, |s| s.1.kind);
            return Said { kind, text, keys: Vec::new(), again: true };
        }
        way.next += data.len() as u64;
        way.buf.extend_from_slice(data);
        let said = self.parts(by_dialler, names);
        let way = if by_dialler { &mut self.dialler } else { &mut self.acceptor };
        way.said.insert(seq, said.clone());
        said
    }

    fn parts(&mut self, by_dialler: bool, names: &Names) -> Said {
        let mut said =
            Said { kind: MessageKind::TcpAck, text: String::new(), keys: Vec::new(), again: false };
        let mut count = 0;
        while let Some(part) = self.part(by_dialler, names) {
            said.kind = said.kind.max(part.kind);
            said.keys.extend(part.keys.into_iter().filter(|k| !k.is_empty()));
            count += 1;
            if count <= PARTS_MAX {
                if !said.text.is_empty() {
                    said.text.push_str("; ");
                }
                said.text.push_str(&part.text);
            }
        }
        if count > PARTS_MAX {
            said.text.push_str(&format!("; and {} more", count - PARTS_MAX));
        }
        if count == 0 {
            let way = if by_dialler { &self.dialler } else { &self.acceptor };
            said.kind = if self.upgraded { kind_of_part(&way.buf) } else { MessageKind::Client };
            said.text = "a part of something longer".to_owned();
        }
        said.keys.sort_unstable();
        said.keys.dedup();
        said
    }

    fn part(&mut self, by_dialler: bool, names: &Names) -> Option<Said> {
        let way = if by_dialler { &mut self.dialler } else { &mut self.acceptor };
        if way.lost || way.buf.is_empty() {
            return None;
        }
        let frames = self.upgraded && (by_dialler || self.replies >= self.commands);
        let read = if frames {
            read_frame(&mut way.buf, &mut way.heard, names)
        } else if by_dialler {
            let command = read_command(&mut way.buf);
            if let Ok(Some(words)) = &command {
                self.commands += 1;
                self.upgraded |= is_upgrade(words);
            }
            command.map(|words| words.map(|words| command_words(&words)))
        } else {
            let reply = Reply::take(&mut way.buf).map_err(|_| Senseless);
            if let Ok(Some(reply)) = &reply
                && !matches!(reply, Reply::Push(_))
            {
                self.replies += 1;
            }
            reply.map(|reply| reply.map(|reply| said(MessageKind::Client, shown(&reply))))
        };
        let way = if by_dialler { &mut self.dialler } else { &mut self.acceptor };
        match read {
            Ok(part) => part,
            Err(Senseless) => {
                way.lost = true;
                way.buf.clear();
                Some(said(MessageKind::Client, "bytes that make no sense".to_owned()))
            }
        }
    }
}

fn said(kind: MessageKind, text: String) -> Said {
    Said { kind, text: short(&text, 200), keys: Vec::new(), again: false }
}

fn is_upgrade(words: &[Bytes]) -> bool {
    words.len() >= 2
        && words[0].eq_ignore_ascii_case(b"QUORATE")
        && words[1].eq_ignore_ascii_case(b"PEER")
}

fn command_words(words: &[Bytes]) -> Said {
    let keys = keys_of(words);
    Said { keys, ..said(MessageKind::Client, command_text(words)) }
}

fn read_frame(
    buf: &mut BytesMut,
    heard: &mut Heard,
    names: &Names,
) -> Result<Option<Said>, Senseless> {
    let bytes_max = Limits::production().frame_bytes_max;
    let frame = Frame::decode(buf, bytes_max, heard).map_err(|_| Senseless)?;
    Ok(frame.map(|frame| frame_words(&frame, names)))
}

/// What a frame of which only the beginning has been sent is about, as its type byte says.
fn kind_of_part(begin: &[u8]) -> MessageKind {
    match begin.get(FRAME_TYPE_AT) {
        Some(1 | 2) => MessageKind::Handshake,
        Some(&UNIT_TYPE) => MessageKind::Unit,
        Some(&ACK_TYPE | &HEARTBEAT_TYPE | &CHANGES_TYPE) | None => MessageKind::Heartbeat,
        Some(_) => MessageKind::Resync,
    }
}

/// Bytes that are not what is expected there.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Senseless;

/// Takes one command, an array of bulk strings, off the front; `None`: there is not yet a whole one.
///
/// # Errors
/// The bytes are something else.
pub fn read_command(buf: &mut BytesMut) -> Result<Option<Vec<Bytes>>, Senseless> {
    let mut at = 0;
    let Some(count) = read_count(buf, &mut at, b'*')? else { return Ok(None) };
    let mut spans = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let Some(length) = read_count(buf, &mut at, b'$')? else { return Ok(None) };
        if buf.len() < at + length + 2 {
            return Ok(None);
        }
        spans.push(at..at + length);
        at += length + 2;
    }
    let words = spans.into_iter().map(|span| Bytes::copy_from_slice(&buf[span])).collect();
    buf.advance(at);
    Ok(Some(words))
}

fn read_count(buf: &[u8], at: &mut usize, mark: u8) -> Result<Option<usize>, Senseless> {
    let rest = buf.get(*at..).unwrap_or_default();
    let Some((&first, _)) = rest.split_first() else { return Ok(None) };
    if first != mark {
        return Err(Senseless);
    }
    let Some(end) = rest.windows(2).position(|w| w == b"\r\n") else {
        return if rest.len() > 32 { Err(Senseless) } else { Ok(None) };
    };
    let digits = std::str::from_utf8(&rest[1..end]).map_err(|_| Senseless)?;
    *at += end + 2;
    digits.parse().map(Some).map_err(|_| Senseless)
}

/// A command as one types it, passwords left out.
pub fn command_text(words: &[Bytes]) -> String {
    let mut text = String::new();
    let mut hide = false;
    for (at, word) in words.iter().enumerate() {
        let auth = word.eq_ignore_ascii_case(b"AUTH");
        let shown = if hide && at + 1 == words.len() {
            "…".to_owned()
        } else {
            quoted(&short(&String::from_utf8_lossy(word), 80))
        };
        hide |= auth && at < 3;
        if at > 0 {
            text.push(' ');
        }
        text.push_str(&shown);
    }
    text
}

/// In quotes, if there is need for them.
fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == '"');
    if plain { word.to_owned() } else { format!("{word:?}") }
}

/// The keys a command names.
pub fn keys_of(words: &[Bytes]) -> Vec<String> {
    let Some(name) = words.first() else { return Vec::new() };
    let name = String::from_utf8_lossy(name).to_ascii_uppercase();
    let text = |word: &Bytes| String::from_utf8_lossy(word).into_owned();
    match name.as_str() {
        "DEL" | "UNLINK" | "MGET" | "EXISTS" | "TOUCH" | "WATCH" => {
            words[1..].iter().map(text).collect()
        }
        "MSET" | "MSETNX" => words[1..].iter().step_by(2).map(text).collect(),
        "GET" | "SET" | "SETEX" | "PSETEX" | "SETNX" | "GETSET" | "GETDEL" | "GETEX" | "APPEND"
        | "STRLEN" | "SETRANGE" | "GETRANGE" | "SUBSTR" | "INCR" | "DECR" | "INCRBY" | "DECRBY"
        | "INCRBYFLOAT" | "EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT" | "PERSIST" | "TTL"
        | "PTTL" | "TYPE" => words.get(1).map(text).into_iter().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate::base::vector::Vector;
    use quorate::wire::frame::Refusal;

    use crate::workload::command::encode_words;

    fn bytes(words: &[&[u8]]) -> Bytes {
        let mut out = BytesMut::new();
        encode_words(&mut out, words);
        out.freeze()
    }

    #[test]
    fn a_peer_connection_is_read_through_its_upgrade() {
        let names = Names::default();
        let mut flow = Flow::default();
        let mut first = BytesMut::from(&bytes(&[b"AUTH", b"secret"])[..]);
        first.extend_from_slice(&bytes(&[b"QUORATE", b"PEER", b"1"]));
        let said = flow.read(true, 0, &first.clone().freeze(), &names);
        assert_eq!(said.text, "AUTH …; QUORATE PEER 1");
        let mut answer = BytesMut::from(&b"+OK\r\n+OK\r\n"[..]);
        answer.extend_from_slice(&Frame::StateEnd.to_bytes());
        let said = flow.read(false, 0, &answer.freeze(), &names);
        assert_eq!(said.kind, MessageKind::Resync);
        assert!(said.text.starts_with("OK; OK; "), "{}", said.text);
        let again = flow.read(true, 0, &first.freeze(), &names);
        assert!(again.again && again.text.contains("QUORATE PEER"));
    }

    #[test]
    fn a_frame_cut_in_two_is_of_one_kind() {
        let names = Names::default();
        let frames = [
            Frame::Refuse(Refusal::ForeignCluster),
            Frame::Ack(Vector::new()),
            Frame::Barrier(Vector::new()),
            Frame::StateChunk(Vec::new()),
            Frame::ResyncRequest { presented: Vector::new(), whole: true },
        ];
        for frame in frames {
            let mut flow = Flow { upgraded: true, ..Flow::default() };
            let whole = frame.to_bytes();
            let cut = FRAME_TYPE_AT + 1;
            let begin = flow.read(true, 0, &whole.slice(..cut), &names);
            let end = flow.read(true, cut as u64, &whole.slice(cut..), &names);
            assert_eq!(begin.kind, end.kind, "{}", end.text);
        }
    }

    #[test]
    fn a_command_cut_in_two_is_said_with_its_end() {
        let names = Names::default();
        let mut flow = Flow::default();
        let whole = bytes(&[b"SET", b"k", b"a b"]);
        let said = flow.read(true, 0, &whole.slice(..9), &names);
        assert_eq!(said.text, "a part of something longer");
        let said = flow.read(true, 9, &whole.slice(9..), &names);
        assert_eq!((said.text.as_str(), said.keys), ("SET k \"a b\"", vec!["k".to_owned()]));
    }
}
