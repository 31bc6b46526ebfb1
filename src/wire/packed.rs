//! What every heartbeat and every acknowledgement says, written and read by hand: the same bytes as
//! postcard's, an order of magnitude sooner. All other bodies are postcard's own.
//!
//! An integer is a varint: seven bits a byte, the lowest first, the highest bit of a byte says that
//! another follows. A list is its length and its elements.

use bytes::BufMut;

use crate::base::ids::{Epoch, NodeId, Origin, RunId};
use crate::base::time::{Mono, Span, UnixMs, Wall};
use crate::base::vector::Vector;

use super::frame::{FrameError, Heartbeat, News, Pulse, Record};

/// Bytes of the longest varints.
const VARINT_64: usize = 10;
const VARINT_128: usize = 19;

/// The high bit of each byte of a word.
const MORE: u64 = 0x8080_8080_8080_8080;

/// Reads a body from its beginning; an error says that it is not one.
pub struct Reader<'a> {
    rest: &'a [u8],
}

type Read<T> = Result<T, FrameError>;

impl<'a> Reader<'a> {
    pub fn new(body: &'a [u8]) -> Reader<'a> {
        Reader { rest: body }
    }

    /// What was read, if there is nothing after it.
    pub fn end<T>(self, read: T) -> Read<T> {
        if self.rest.is_empty() { Ok(read) } else { Err(FrameError::Malformed) }
    }

    pub fn vector(&mut self) -> Read<Vector> {
        let mut entries = self.list()?;
        for _ in 0..entries.1 {
            let origin = self.origin()?;
            entries.0.push((origin, self.u64()?));
        }
        Ok(Vector::from(entries.0))
    }

    pub fn heartbeat(&mut self) -> Read<Heartbeat> {
        let pulse = self.pulse()?;
        let vector = self.vector()?;
        let (mut members, count) = self.list()?;
        for _ in 0..count {
            members.push(self.record()?);
        }
        Ok(Heartbeat { pulse, news: News { vector, members } })
    }

    fn pulse(&mut self) -> Read<Pulse> {
        let wall = Wall(self.u64()?);
        let sent = Mono(self.u64()?);
        let echo = if self.bool()? { Some((Mono(self.u64()?), Span(self.u64()?))) } else { None };
        Ok(Pulse { wall, sent, echo, caught_up: self.bool()? })
    }

    fn record(&mut self) -> Read<Record> {
        Ok(Record {
            node: NodeId(self.u128()?),
            run: RunId(self.u128()?),
            epoch: Epoch(self.u32()?),
            origin: self.origin()?,
            seq: self.u64()?,
            brings: self.bool()?,
            met_all: self.bool()?,
            vector: self.vector()?,
            clock: UnixMs(self.u64()?),
            announced_to: self.lives()?,
            collected: self.u64()?,
            lists: self.lives()?,
        })
    }

    fn lives(&mut self) -> Read<Vec<(NodeId, Origin)>> {
        let (mut lives, count) = self.list()?;
        for _ in 0..count {
            let node = NodeId(self.u128()?);
            lives.push((node, self.origin()?));
        }
        Ok(lives)
    }

    fn origin(&mut self) -> Read<Origin> {
        self.u32().map(Origin)
    }

    /// Room for a list, and its length. Every element takes at least two bytes: a length that the
    /// body has no room for makes no room here either.
    fn list<T>(&mut self) -> Read<(Vec<T>, u64)> {
        let count = self.u64()?;
        let room = usize::try_from(count).unwrap_or(usize::MAX).min(self.rest.len() / 2);
        Ok((Vec::with_capacity(room), count))
    }

    fn byte(&mut self) -> Read<u8> {
        let (&byte, rest) = self.rest.split_first().ok_or(FrameError::Malformed)?;
        self.rest = rest;
        Ok(byte)
    }

    fn bool(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FrameError::Malformed),
        }
    }

    fn u32(&mut self) -> Read<u32> {
        u32::try_from(self.varint(5)?).map_err(|_| FrameError::Malformed)
    }

    #[inline]
    fn u64(&mut self) -> Read<u64> {
        self.varint(VARINT_64)
    }

    /// A varint of at most so many bytes. Eight of them are looked at in one go if there are as many.
    #[inline]
    fn varint(&mut self, bytes_max: usize) -> Read<u64> {
        let Some(&chunk) = self.rest.first_chunk::<8>() else {
            return self.varint_from(0, 0, bytes_max);
        };
        let word = u64::from_le_bytes(chunk);
        if !word & MORE == 0 {
            self.rest = &self.rest[8..];
            return self.varint_from(8, squeezed(word), bytes_max);
        }
        let bytes = ((!word & MORE).trailing_zeros() as usize + 1) / 8;
        if bytes > bytes_max {
            return Err(FrameError::Malformed);
        }
        self.rest = &self.rest[bytes..];
        Ok(squeezed(word & (u64::MAX >> (64 - 8 * bytes))))
    }

    /// The rest of a varint of which so many bytes have been read.
    fn varint_from(&mut self, read: usize, value: u64, bytes_max: usize) -> Read<u64> {
        let mut value = value;
        for at in read..bytes_max {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * at);
            if shifted >> (7 * at) != bits {
                return Err(FrameError::Malformed);
            }
            value |= shifted;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(FrameError::Malformed)
    }

    /// Most are random and take all their bytes: sixteen in two goes, then the rest.
    fn u128(&mut self) -> Read<u128> {
        if let Some(chunk) = self.rest.first_chunk::<16>() {
            let word = u128::from_le_bytes(*chunk);
            let (low, high) = (word as u64, (word >> 64) as u64);
            if low & high & MORE == MORE {
                let bits = u128::from(squeezed(low)) | u128::from(squeezed(high)) << 56;
                self.rest = &self.rest[16..];
                return self.u128_from(16, bits);
            }
        }
        self.u128_from(0, 0)
    }

    fn u128_from(&mut self, read: usize, value: u128) -> Read<u128> {
        let mut value = value;
        for at in read..VARINT_128 {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            let shifted = bits << (7 * at);
            if shifted >> (7 * at) != bits {
                return Err(FrameError::Malformed);
            }
            value |= shifted;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(FrameError::Malformed)
    }
}

/// The low seven bits of each byte, side by side.
#[inline]
fn squeezed(word: u64) -> u64 {
    let word = word & !MORE;
    let word = (word & 0x007f_007f_007f_007f) | ((word & 0x7f00_7f00_7f00_7f00) >> 1);
    let word = (word & 0x0000_3fff_0000_3fff) | ((word & 0x3fff_0000_3fff_0000) >> 2);
    (word & 0x0fff_ffff) | ((word & 0x0fff_ffff_0000_0000) >> 4)
}

/// Seven bits into each byte, from the lowest 56.
#[inline]
fn spread(bits: u64) -> u64 {
    let word = (bits & 0x0fff_ffff) | ((bits & 0x00ff_ffff_f000_0000) << 4);
    let word = (word & 0x0000_3fff_0000_3fff) | ((word & 0x0fff_c000_0fff_c000) << 2);
    (word & 0x007f_007f_007f_007f) | ((word & 0x3f80_3f80_3f80_3f80) << 1)
}

pub fn put_vector(out: &mut impl BufMut, vector: &Vector) {
    put_u64(out, vector.len() as u64);
    for (origin, time) in vector.iter() {
        put_u64(out, u64::from(origin.0));
        put_u64(out, time);
    }
}

pub fn put_pulse(out: &mut impl BufMut, pulse: &Pulse) {
    put_u64(out, pulse.wall.0);
    put_u64(out, pulse.sent.0);
    match pulse.echo {
        Some((sent, held)) => {
            out.put_u8(1);
            put_u64(out, sent.0);
            put_u64(out, held.0);
        }
        None => out.put_u8(0),
    }
    out.put_u8(u8::from(pulse.caught_up));
}

/// News of so many members.
pub fn put_news<'a>(
    out: &mut impl BufMut,
    vector: &Vector,
    count: usize,
    members: impl Iterator<Item = &'a Record>,
) {
    put_vector(out, vector);
    put_u64(out, count as u64);
    let mut written = 0;
    for record in members {
        put_record(out, record);
        written += 1;
    }
    assert_eq!(written, count, "as many records as were counted");
}

fn put_record(out: &mut impl BufMut, record: &Record) {
    put_u128(out, record.node.0);
    put_u128(out, record.run.0);
    put_u64(out, u64::from(record.epoch.0));
    put_u64(out, u64::from(record.origin.0));
    put_u64(out, record.seq);
    out.put_u8(u8::from(record.brings));
    out.put_u8(u8::from(record.met_all));
    put_vector(out, &record.vector);
    put_u64(out, record.clock.0);
    put_lives(out, &record.announced_to);
    put_u64(out, record.collected);
    put_lives(out, &record.lists);
}

fn put_lives(out: &mut impl BufMut, lives: &[(NodeId, Origin)]) {
    put_u64(out, lives.len() as u64);
    for (node, origin) in lives {
        put_u128(out, node.0);
        put_u64(out, u64::from(origin.0));
    }
}

#[inline]
fn put_u64(out: &mut impl BufMut, value: u64) {
    if value < 0x80 {
        out.put_u8(value as u8);
    } else {
        put_long(out, u128::from(value));
    }
}

#[inline]
fn put_u128(out: &mut impl BufMut, value: u128) {
    put_long(out, value);
}

/// All bytes are made at once, and as many as the value takes are written.
fn put_long(out: &mut impl BufMut, value: u128) {
    let bytes = ((128 - value.leading_zeros()).max(1) as usize).div_ceil(7);
    let words = [value as u64, (value >> 56) as u64, (value >> 112) as u64];
    let mut made = [0u8; 24];
    for (place, word) in made.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&(spread(word) | MORE).to_le_bytes());
    }
    made[bytes - 1] &= 0x7f;
    out.put_slice(&made[..bytes]);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    use super::*;

    /// Numbers of every length about equally often.
    fn number() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..64u32).prop_map(|(n, shift)| n >> shift)
    }

    fn id() -> impl Strategy<Value = u128> {
        (any::<u128>(), 0..128u32, any::<bool>())
            .prop_map(|(n, shift, whole)| if whole { n } else { n >> shift })
    }

    fn vector() -> impl Strategy<Value = Vector> {
        vec((any::<u32>().prop_map(Origin), number()), 0..5).prop_map(Vector::from)
    }

    fn lives() -> impl Strategy<Value = Vec<(NodeId, Origin)>> {
        vec((id().prop_map(NodeId), (0..u32::MAX).prop_map(Origin)), 0..4)
    }

    fn record() -> impl Strategy<Value = Record> {
        let life = (id(), id(), any::<u32>(), any::<u32>(), number());
        let rest = (any::<(bool, bool)>(), vector(), number(), lives(), number(), lives());
        (life, rest).prop_map(|((node, run, epoch, origin, seq), rest)| {
            let ((brings, met_all), vector, clock, announced_to, collected, lists) = rest;
            Record {
                node: NodeId(node),
                run: RunId(run),
                epoch: Epoch(epoch),
                origin: Origin(origin),
                seq,
                brings,
                met_all,
                vector,
                clock: UnixMs(clock),
                announced_to,
                collected,
                lists,
            }
        })
    }

    fn heartbeat() -> impl Strategy<Value = Heartbeat> {
        let pulse = (number(), number(), proptest::option::of((number(), number())), any::<bool>());
        (pulse, vector(), vec(record(), 0..4)).prop_map(
            |((wall, sent, echo, caught_up), vector, members)| {
                let echo = echo.map(|(sent, held)| (Mono(sent), Span(held)));
                let pulse = Pulse { wall: Wall(wall), sent: Mono(sent), echo, caught_up };
                Heartbeat { pulse, news: News { vector, members } }
            },
        )
    }

    fn written(heartbeat: &Heartbeat) -> Vec<u8> {
        let News { vector, members } = &heartbeat.news;
        let mut out = Vec::new();
        put_pulse(&mut out, &heartbeat.pulse);
        put_news(&mut out, vector, members.len(), members.iter());
        out
    }

    fn read_by_hand(body: &[u8]) -> Option<Heartbeat> {
        let mut reader = Reader::new(body);
        let heartbeat = reader.heartbeat().ok()?;
        reader.end(heartbeat).ok()
    }

    fn read_by_postcard(body: &[u8]) -> Option<Heartbeat> {
        match postcard::take_from_bytes(body) {
            Ok((heartbeat, [])) => Some(heartbeat),
            Ok(_) | Err(_) => None,
        }
    }

    proptest! {
        #[test]
        fn bytes_are_those_of_postcard(heartbeat in heartbeat()) {
            let by_hand = written(&heartbeat);
            prop_assert_eq!(&by_hand, &postcard::to_allocvec(&heartbeat).expect("memory"));
            prop_assert_eq!(read_by_hand(&by_hand), Some(heartbeat));
        }

        #[test]
        fn broken_bytes_are_read_as_postcard_reads_them(
            heartbeat in heartbeat(),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut body = written(&heartbeat);
            let at = at.index(body.len());
            body[at] = byte;
            prop_assert_eq!(read_by_hand(&body), read_by_postcard(&body));
            body.truncate(cut.index(body.len() + 1));
            prop_assert_eq!(read_by_hand(&body), read_by_postcard(&body));
        }

        #[test]
        fn any_bytes_are_read_as_postcard_reads_them(
            body in vec(proptest::prop_oneof![any::<u8>(), 0x80..=0xffu8, 0..3u8], 0..80),
        ) {
            prop_assert_eq!(read_by_hand(&body), read_by_postcard(&body));
            let vector = {
                let mut reader = Reader::new(&body);
                reader.vector().ok().and_then(|vector| reader.end(vector).ok())
            };
            let by_postcard = match postcard::take_from_bytes::<Vector>(&body) {
                Ok((vector, [])) => Some(vector),
                Ok(_) | Err(_) => None,
            };
            prop_assert_eq!(vector, by_postcard);
        }
    }
}
