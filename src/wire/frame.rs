//! Frames between peers: a length prefix (u32, little endian, of what follows), a type byte, a body.
//! The first frame in each direction is a hello, whose body begins with the protocol version (u16) and
//! the feature bits (u64), so that two versions can tell each other that they differ.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::base::ids::{Epoch, NodeId, Origin, RunId};
use crate::base::time::{Mono, Span, UnixMs, Wall};
use crate::base::unit::{Change, Unit};
use crate::base::vector::Vector;

use super::news::{Heard, News, Written, take_changes};
use super::packed::{Malformed, Packed, Read, Reader};
use super::sane::is_sane;

/// Version of the peer protocol this build speaks.
pub const PEER_VERSION: u16 = 2;

/// Feature bits this build knows; none yet.
pub const PEER_FEATURES: u64 = 0;

const PREFIX_BYTES: usize = 4;

pub const UNIT_TYPE: u8 = 3;

pub const ACK_TYPE: u8 = 9;

pub const HEARTBEAT_TYPE: u8 = 10;

pub const CHANGES_TYPE: u8 = 11;

/// A heartbeat without its news.
const HEARTBEAT_BYTES_MAX: usize = 47;

/// Bytes of a unit with one change, in a small cluster.
const UNIT_BYTES: usize = 96;

/// What one node tells of itself and passes on of others.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    pub node: NodeId,
    pub run: RunId,
    pub epoch: Epoch,
    pub origin: Origin,
    /// Counts up with every change of the record; (epoch, seq) orders the records of one node.
    pub seq: u64,
    /// Takes writes that others must get (`active-replica yes`, or a master without masters).
    pub brings: bool,
    /// Every configured master has been met since the start.
    pub met_all: bool,
    /// What the node had from every origin when `clock` was its expiry clock; both stand still while some member does
    /// not yet list all the others.
    pub vector: Vector,
    pub clock: UnixMs,
    /// The members the node listed when it last renewed `vector` and `clock`.
    pub announced_to: Vec<(NodeId, Origin)>,
    /// It then had all that the cluster it has joined may have collected; before, no horizon counts on `vector`.
    pub joined: bool,
    /// The stamp time up to which the node has collected tombstones.
    pub collected: u64,
    /// The members the node knows, itself included.
    pub lists: Vec<(NodeId, Origin)>,
}

/// The first frame of each side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    pub node: NodeId,
    pub run: RunId,
    pub epoch: Epoch,
    pub origin: Origin,
    /// The client port, for INFO.
    pub port: u16,
    /// From a replica: send the whole state, whatever the vector says.
    pub whole: bool,
    pub brings: bool,
    /// This life has announced nothing yet: no horizon anywhere waits for it.
    pub joining: bool,
    pub wall: Wall,
    /// Newest stamp time given or seen.
    pub clock: u64,
    /// What the node has at this moment.
    pub vector: Vector,
    /// Of whom it may hold cells that `vector` does not cover, rising.
    pub strays: Vec<Origin>,
    /// No member of this node's cluster has collected, or will collect before this handshake is known to all, beyond this stamp time.
    pub horizon_bound: u64,
    /// Lives without whose announcement nobody can have collected up to there, if such are known.
    pub horizon_needs: Vec<(NodeId, Origin)>,
    /// Of a life that has announced nothing yet: whose writes its start has read, if others may hold them, too.
    pub holds: Vec<Origin>,
    pub members: Vec<Record>,
}

/// Why a handshake was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// Protocol versions differ.
    Version { ours: u16 },
    /// The dialer reached itself.
    Myself,
    /// Another live process presents the same node id.
    NodeIdInUse,
    /// The epoch or the origin is taken by an earlier or another life: go on under a new epoch above this one.
    EpochTaken { newest: Epoch },
    /// Two clusters that have both collected tombstones.
    ForeignCluster,
    /// The frame could not be read.
    Malformed,
}

/// Something one node says to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    Hello(Box<Hello>),
    Refuse(Refusal),
    /// A unit of the stream.
    Unit(Unit),
    /// The sender's vector rose to this by a resync, here in its log.
    Barrier(Vector),
    /// A state transfer begins; the sender's vector at this moment. With `whole` it brings everything there is,
    /// else what the replica does not have.
    StateBegin {
        vector: Vector,
        whole: bool,
    },
    /// Cells with their own stamps.
    StateChunk(Vec<Change>),
    StateEnd,
    /// From a replica: what it has does not cover the stream; send the cells beyond this vector.
    ResyncRequest {
        presented: Vector,
        whole: bool,
    },
    /// What a replica has.
    Ack(Vector),
    Heartbeat(Heartbeat),
}

/// Said once a ping period on every link, in both directions: what differs from link to link, and what does not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    pub pulse: Pulse,
    pub news: Arc<News>,
}

/// What a heartbeat says of its link.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pulse {
    pub wall: Wall,
    /// The sender's monotonic clock, to be sent back.
    pub sent: Mono,
    /// The newest `sent` that came from the other side, and how long ago.
    pub echo: Option<(Mono, Span)>,
    /// Everything in the vector has been sent before on this very connection or was covered at its handshake.
    pub caught_up: bool,
}

/// Why bytes are not a frame. The connection is of no use afterwards; the state is unchanged.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FrameError {
    TooLong { bytes: u64, max: usize },
    UnknownType(u8),
    Version(u16),
    Malformed,
}

impl Frame {
    fn type_byte(&self) -> u8 {
        match self {
            Frame::Hello(_) => 1,
            Frame::Refuse(_) => 2,
            Frame::Unit(_) => UNIT_TYPE,
            Frame::Barrier(_) => 4,
            Frame::StateBegin { .. } => 5,
            Frame::StateChunk(_) => 6,
            Frame::StateEnd => 7,
            Frame::ResyncRequest { .. } => 8,
            Frame::Ack(_) => ACK_TYPE,
            Frame::Heartbeat(_) => HEARTBEAT_TYPE,
        }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = begin(out, self.type_byte());
        match self {
            Frame::Hello(hello) => {
                out.extend_from_slice(&PEER_VERSION.to_le_bytes());
                out.extend_from_slice(&PEER_FEATURES.to_le_bytes());
                hello.put(out);
            }
            Frame::Refuse(why) => why.put(out),
            Frame::Unit(unit) => unit.put(out),
            Frame::Barrier(vector) | Frame::Ack(vector) => vector.put(out),
            Frame::StateChunk(changes) => changes.put(out),
            Frame::StateEnd => {}
            Frame::StateBegin { vector, whole }
            | Frame::ResyncRequest { presented: vector, whole } => {
                vector.put(out);
                whole.put(out);
            }
            Frame::Heartbeat(Heartbeat { pulse, news }) => {
                pulse.put(out);
                news.put(out);
            }
        }
        finish(out, start);
    }

    /// A heartbeat whose news are written already: all of them, or what has changed since the last heartbeat on
    /// this connection.
    pub fn encode_heartbeat(pulse: &Pulse, news: Written<'_>, out: &mut Vec<u8>) {
        let (type_byte, bytes) = match news {
            Written::Whole(bytes) => (HEARTBEAT_TYPE, bytes),
            Written::Changes(bytes) => (CHANGES_TYPE, bytes),
        };
        out.reserve(HEARTBEAT_BYTES_MAX + bytes.len());
        let start = begin(out, type_byte);
        pulse.put(out);
        out.extend_from_slice(bytes);
        finish(out, start);
    }

    /// An acknowledgement of `vector`, see [`Frame::Ack`].
    pub fn encode_ack(vector: &Vector, out: &mut Vec<u8>) {
        let start = begin(out, ACK_TYPE);
        vector.put(out);
        finish(out, start);
    }

    /// The frame of a unit, for sending it more than once.
    pub fn unit_bytes(unit: &Unit) -> Bytes {
        let mut out = Vec::with_capacity(UNIT_BYTES);
        let start = begin(&mut out, UNIT_TYPE);
        unit.put(&mut out);
        finish(&mut out, start);
        Bytes::from(out)
    }

    /// The frame as bytes of its own, for sending it more than once.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode(&mut out);
        Bytes::from(out)
    }

    /// Takes the first whole frame off `buf`, of a connection on which `heard` came before; `None` if it has not
    /// arrived yet.
    ///
    /// # Errors
    /// The bytes are no frame, or one longer than `bytes_max`; `buf` is left as it is, and nothing more can be read
    /// from this connection.
    pub fn decode(
        buf: &mut BytesMut,
        bytes_max: usize,
        heard: &mut Heard,
    ) -> Result<Option<Frame>, FrameError> {
        if buf.len() < PREFIX_BYTES {
            return Ok(None);
        }
        let bytes = u32::from_le_bytes([buf[0], buf[1], buf[2], buf[3]]);
        if bytes as usize > bytes_max || bytes == 0 {
            return Err(FrameError::TooLong { bytes: u64::from(bytes), max: bytes_max });
        }
        let whole = PREFIX_BYTES + bytes as usize;
        if buf.len() < whole {
            return Ok(None);
        }
        let frame = Frame::decode_body(buf[PREFIX_BYTES], &buf[PREFIX_BYTES + 1..whole], heard)?;
        if !is_sane(&frame) {
            return Err(FrameError::Malformed);
        }
        buf.advance(whole);
        Ok(Some(frame))
    }

    fn decode_body(type_byte: u8, body: &[u8], heard: &mut Heard) -> Result<Frame, FrameError> {
        Ok(match type_byte {
            1 => {
                if body.len() < 10 {
                    return Err(FrameError::Malformed);
                }
                let version = u16::from_le_bytes([body[0], body[1]]);
                if version != PEER_VERSION {
                    return Err(FrameError::Version(version));
                }
                Frame::Hello(Box::new(take(&body[10..])?))
            }
            2 => Frame::Refuse(take(body)?),
            UNIT_TYPE => Frame::Unit(take(body)?),
            4 => Frame::Barrier(take(body)?),
            5 => {
                let (vector, whole) = take(body)?;
                Frame::StateBegin { vector, whole }
            }
            6 => Frame::StateChunk(take(body)?),
            7 if body.is_empty() => Frame::StateEnd,
            8 => {
                let (presented, whole) = take(body)?;
                Frame::ResyncRequest { presented, whole }
            }
            ACK_TYPE => Frame::Ack(take(body)?),
            HEARTBEAT_TYPE => {
                let (pulse, news) = take(body)?;
                heard.news = Arc::new(news);
                Frame::Heartbeat(Heartbeat { pulse, news: heard.news.clone() })
            }
            CHANGES_TYPE => {
                let change = |from: &mut Reader<'_>| {
                    let pulse = from.take()?;
                    take_changes(from, heard)?;
                    Ok(pulse)
                };
                let pulse = whole(body, change)?;
                Frame::Heartbeat(Heartbeat { pulse, news: heard.news.clone() })
            }
            7 => return Err(FrameError::Malformed),
            other => return Err(FrameError::UnknownType(other)),
        })
    }
}

/// Begins a frame at the end of `out`; where that is.
fn begin(out: &mut Vec<u8>, type_byte: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, type_byte]);
    start
}

/// Writes the length of the frame that begins at `start` into its prefix.
fn finish(out: &mut [u8], start: usize) {
    let bytes = (out.len() - start - PREFIX_BYTES) as u32;
    out[start..start + PREFIX_BYTES].copy_from_slice(&bytes.to_le_bytes());
}

/// A body that is one thing and nothing after it.
fn take<T: Packed>(body: &[u8]) -> Result<T, FrameError> {
    whole(body, Reader::take)
}

fn whole<'a, T>(
    body: &'a [u8],
    take: impl FnOnce(&mut Reader<'a>) -> Read<T>,
) -> Result<T, FrameError> {
    let mut reader = Reader::new(body);
    match take(&mut reader) {
        Ok(value) if reader.rest().is_empty() => Ok(value),
        Ok(_) | Err(Malformed) => Err(FrameError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn decode(buf: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        Frame::decode(buf, 1 << 20, &mut Heard::default())
    }

    use crate::base::ids::DbIndex;
    use crate::base::stamp::Stamp;
    use crate::base::unit::{Cell, Seen};

    fn unit() -> Unit {
        let cell = Cell::Register {
            value: Bytes::from_static(b"v"),
            resets: true,
            seen: Seen { list: Vec::new(), horizon: 7 },
        };
        let key = Bytes::from_static(b"k");
        let change = Change { db: DbIndex(3), key, stamp: None, cell };
        Unit { dot: Stamp::new(9, Origin(1)), changes: vec![change] }
    }

    #[test]
    fn unit_survives_the_wire_in_pieces() {
        let whole = Frame::unit_bytes(&unit());
        assert_eq!(whole, Frame::Unit(unit()).to_bytes());
        let mut buf = BytesMut::new();
        for &byte in &whole[..whole.len() - 1] {
            buf.put_u8(byte);
            assert_eq!(decode(&mut buf), Ok(None));
        }
        buf.put_u8(whole[whole.len() - 1]);
        assert_eq!(decode(&mut buf), Ok(Some(Frame::Unit(unit()))));
        assert!(buf.is_empty());
    }

    #[test]
    fn other_versions_long_frames_and_rubbish_are_errors() {
        let mut hello = BytesMut::from(&b"\x0b\0\0\0\x01\x03\0\0\0\0\0\0\0\0\0"[..]);
        assert_eq!(decode(&mut hello), Err(FrameError::Version(3)));
        let mut long = BytesMut::from(&b"\xff\xff\xff\x7f\x01"[..]);
        let error = FrameError::TooLong { bytes: 0x7fff_ffff, max: 1 << 20 };
        assert_eq!(decode(&mut long), Err(error));
        let mut rubbish = BytesMut::from(&b"\x02\0\0\0\x63\0"[..]);
        assert_eq!(decode(&mut rubbish), Err(FrameError::UnknownType(0x63)));
        let mut cut = BytesMut::from(&b"\x02\0\0\0\x03\x09"[..]);
        assert_eq!(decode(&mut cut), Err(FrameError::Malformed));
    }
}
