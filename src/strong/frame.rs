//! Frames between nodes of a strong cluster: a length of four bytes, the lowest first, and a body in postcard's format.

use std::net::IpAddr;

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::message::{Durable, Item};
use super::regime::{Start, VoterId};
use super::roster::{NodeName, RackId};
use super::tail::Place;

/// Version of the frames and of what they mean: others are refused.
pub const MESH_VERSION: u32 = 4;

/// The longest body: a whole copy of a partition has to fit.
pub const FRAME_BYTES_MAX: usize = 1 << 30;

const LENGTH_BYTES: usize = 4;
const FRAME_BYTES_WANTED: usize = 4 << 20;

/// How a node introduces itself when a connection begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    pub cluster_name: String,
    pub name: NodeName,
    pub rack: RackId,
    pub voter: VoterId,
    pub start: Start,
    /// Identity of the cluster whose roster the node has.
    pub cluster: Option<u64>,
    /// Where it wants to be reached; without a host at the address it is seen at.
    pub host: Option<String>,
    /// The address at which others see it, as far as it has been told.
    pub at: Option<IpAddr>,
    pub port: u16,
    /// The address at which it sees the other side.
    pub seen_at: Option<IpAddr>,
    /// Counts the connections that a dialing node has made, from 1: which of two is the later one. 0 of an accepting node.
    pub number: u64,
    /// Others, and where they are reached.
    pub contacts: Vec<(NodeName, String, u16)>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Frame {
    Hello(Box<Hello>),
    Items(Vec<Item>),
    Forward(Box<Forward>),
    Answer(Box<Answer>),
}

/// What a client has asked a node that is not the master, for the master to do. It is passed on once, and no further: a
/// node that does not serve the slot says so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Forward {
    /// Chosen by the sender: which answer is whose.
    pub id: u64,
    /// That of all its keys.
    pub slot: u16,
    /// The client reads RESP3.
    pub resp3: bool,
    pub what: Forwarded,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Forwarded {
    /// A command's words.
    Command(Vec<Bytes>),
    /// EXEC of these commands, unless a watched key has changed since.
    Exec { commands: Vec<Vec<Bytes>>, watched: Option<(Place, Vec<Bytes>)> },
    /// WATCH: from where on changes count.
    Watch,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub id: u64,
    pub what: Answered,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answered {
    /// The reply as the client gets it: what it tells is committed, and so many copies beside the master's have it.
    Reply { bytes: Bytes, copies: u16 },
    /// The reply to WATCH.
    Watching(Place),
    /// The receiver is not the master, or not any more: certainly no effect.
    NotServed,
    /// A write whose fate is not known.
    InDoubt,
}

impl Forwarded {
    /// About how long it is, bytes.
    pub fn bytes(&self) -> usize {
        let sum = |words: &[Bytes]| words.iter().map(|word| WORD_BYTES + word.len()).sum::<usize>();
        match self {
            Forwarded::Command(words) => sum(words),
            Forwarded::Exec { commands, watched } => {
                let keys = watched.as_ref().map_or(0, |(_, keys)| sum(keys));
                keys + commands.iter().map(|words| sum(words)).sum::<usize>()
            }
            Forwarded::Watch => 0,
        }
    }
}

/// What a mesh brings of clients' requests that are passed on.
#[derive(Debug)]
pub enum Request {
    Forward(NodeName, Box<Forward>),
    Answer(NodeName, Box<Answer>),
    /// The link with a node is gone: what was passed on and not answered will get no answer.
    Lost(NodeName),
}

/// What stands in front of a word at most.
const WORD_BYTES: usize = 8;

/// The bytes are no frame: the connection is of no more use.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BadFrame;

impl Frame {
    /// Appends the frame.
    ///
    /// # Panics
    /// If it is longer than a frame can be.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        let mut rest = core::mem::take(out);
        rest = postcard::to_extend(self, rest).unwrap_or_else(|_| unreachable!("memory grows"));
        let bytes = rest.len() - start - LENGTH_BYTES;
        assert!(bytes <= FRAME_BYTES_MAX, "a frame of {bytes} bytes");
        rest[start..start + LENGTH_BYTES].copy_from_slice(&(bytes as u32).to_le_bytes());
        *out = rest;
    }

    /// Takes the first frame off the bytes; `None` if it is not all there yet.
    ///
    /// # Errors
    /// The bytes are no frame.
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Frame>, BadFrame> {
        let Some(length) = buf.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let bytes = u32::from_le_bytes(*length) as usize;
        if bytes > FRAME_BYTES_MAX {
            return Err(BadFrame);
        }
        if buf.len() < LENGTH_BYTES + bytes {
            return Ok(None);
        }
        buf.advance(LENGTH_BYTES);
        let body = buf.split_to(bytes);
        match postcard::take_from_bytes(&body) {
            Ok((frame, [])) => Ok(Some(frame)),
            Ok(_) | Err(_) => Err(BadFrame),
        }
    }
}

/// Items in their order, in frames that are not much longer than [`FRAME_BYTES_WANTED`] unless one item is.
pub fn put_items(items: Vec<Item>, out: &mut Vec<u8>) {
    let (mut some, mut bytes) = (Vec::new(), 0);
    for item in items {
        bytes += item.bytes();
        some.push(item);
        if bytes >= FRAME_BYTES_WANTED {
            Frame::Items(core::mem::take(&mut some)).encode(out);
            bytes = 0;
        }
    }
    if !some.is_empty() {
        Frame::Items(some).encode(out);
    }
}

impl Durable {
    /// The contents of a record.
    pub fn to_bytes(&self) -> Bytes {
        let bytes = postcard::to_extend(self, Vec::new());
        bytes.unwrap_or_else(|_| unreachable!("memory grows")).into()
    }

    /// Reads a record's contents.
    ///
    /// # Errors
    /// They are none.
    pub fn from_bytes(contents: &[u8]) -> Result<Durable, BadFrame> {
        match postcard::take_from_bytes(contents) {
            Ok((durable, [])) => Ok(durable),
            Ok(_) | Err(_) => Err(BadFrame),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::regime::Regime;
    use super::*;
    use crate::base::ids::Partition;

    #[test]
    fn frames_are_read_as_they_were_written_whatever_the_chunks() {
        let of = Partition(7);
        let frames = [
            Frame::Items(vec![Item::Ask { of, regime: Regime(3) }]),
            Frame::Items(vec![Item::Beat { hears: vec![NodeName(0xa1)] }]),
            Frame::Forward(Box::new(Forward {
                id: 1,
                slot: 7,
                resp3: true,
                what: Forwarded::Watch,
            })),
            Frame::Answer(Box::new(Answer { id: 1, what: Answered::NotServed })),
        ];
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        let (mut buf, mut read) = (BytesMut::new(), Vec::new());
        for byte in bytes {
            buf.extend_from_slice(&[byte]);
            read.extend(Frame::decode(&mut buf).expect("frames"));
        }
        assert_eq!(read, frames);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut long = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
        assert_eq!(Frame::decode(&mut long), Err(BadFrame));
        let mut other = BytesMut::from(&[2, 0, 0, 0, 9, 9][..]);
        assert_eq!(Frame::decode(&mut other), Err(BadFrame));
        assert_eq!(Durable::from_bytes(&[99]), Err(BadFrame));
    }
}
