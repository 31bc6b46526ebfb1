//! The format of frames' bodies, postcard's: written and read by hand, several times sooner.
//!
//! An integer is a varint: seven bits a byte, the lowest first, the highest bit of a byte says that
//! another follows; a signed one is zigzagged before. A list is its length and its elements, a choice its
//! number and what belongs to it.

use bytes::Bytes;

/// Bytes of the longest varints.
const VARINT_16: usize = 3;
const VARINT_32: usize = 5;
const VARINT_64: usize = 10;
const VARINT_128: usize = 19;

/// A list takes no more memory at first, whatever length its bytes claim.
const LIST_BYTES_AT_FIRST: usize = 16 << 10;

/// The high bit of each byte of a word.
const MORE: u64 = 0x8080_8080_8080_8080;

/// The bytes are not what they should be.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Malformed;

/// What is read, or that it is not there.
pub type Read<T> = Result<T, Malformed>;

/// What can be part of a body.
pub trait Packed: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads it, so that [`Packed::put`] would write the same.
    fn take(from: &mut Reader<'_>) -> Read<Self>;
}

/// Reads a body from its beginning.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(body: &'a [u8]) -> Reader<'a> {
        Reader { rest: body }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub fn take<T: Packed>(&mut self) -> Read<T> {
        T::take(self)
    }

    #[inline]
    fn byte(&mut self) -> Read<u8> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(byte)
    }

    fn bytes(&mut self, count: u64) -> Read<&'a [u8]> {
        let count = usize::try_from(count).map_err(|_| Malformed)?;
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A varint of at most so many bytes: nine of them are looked at in one go if there are as many. (A
    /// stamp's time takes nine.)
    #[inline]
    fn varint(&mut self, bytes_max: usize) -> Read<u64> {
        if let Some((&first, rest)) = self.rest.split_first()
            && first < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(first));
        }
        self.long_varint(bytes_max)
    }

    fn long_varint(&mut self, bytes_max: usize) -> Read<u64> {
        let Some((&[low @ .., ninth], _)) = self.rest.split_first_chunk::<9>() else {
            return self.slow_varint(bytes_max);
        };
        let word = u64::from_le_bytes(low);
        let ends = !word & MORE;
        let (bytes, value) = if ends != 0 {
            let bytes = (ends.trailing_zeros() as usize + 1) / 8;
            (bytes, squeezed(word & (u64::MAX >> (64 - 8 * bytes))))
        } else if ninth < 0x80 {
            (9, squeezed(word) | u64::from(ninth) << 56)
        } else {
            return self.slow_varint(bytes_max);
        };
        if bytes > bytes_max {
            return Err(Malformed);
        }
        self.rest = &self.rest[bytes..];
        Ok(value)
    }

    fn slow_varint(&mut self, bytes_max: usize) -> Read<u64> {
        let mut value = 0;
        for at in 0..bytes_max {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * at);
            if shifted >> (7 * at) != bits {
                return Err(Malformed);
            }
            value |= shifted;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn slow_varint_128(&mut self) -> Read<u128> {
        let mut value = 0;
        for at in 0..VARINT_128 {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            let shifted = bits << (7 * at);
            if shifted >> (7 * at) != bits {
                return Err(Malformed);
            }
            value |= shifted;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

impl Packed for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    #[inline]
    fn take(from: &mut Reader<'_>) -> Read<bool> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl Packed for u16 {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, u64::from(*self));
    }

    fn take(from: &mut Reader<'_>) -> Read<u16> {
        u16::try_from(from.varint(VARINT_16)?).map_err(|_| Malformed)
    }
}

impl Packed for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, u64::from(*self));
    }

    #[inline]
    fn take(from: &mut Reader<'_>) -> Read<u32> {
        u32::try_from(from.varint(VARINT_32)?).map_err(|_| Malformed)
    }
}

impl Packed for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, *self);
    }

    #[inline]
    fn take(from: &mut Reader<'_>) -> Read<u64> {
        from.varint(VARINT_64)
    }
}

impl Packed for u128 {
    fn put(&self, out: &mut Vec<u8>) {
        put_u128(out, *self);
    }

    /// Most are random and take eighteen or nineteen bytes, the last two of which are few bits.
    fn take(from: &mut Reader<'_>) -> Read<u128> {
        let Some((&[low @ .., x, y, z], rest)) = from.rest.split_first_chunk::<VARINT_128>() else {
            return from.slow_varint_128();
        };
        let word = u128::from_le_bytes(low);
        let (low, high) = (word as u64, (word >> 64) as u64);
        if low & high & MORE != MORE || x < 0x80 {
            return from.slow_varint_128();
        }
        let mut top = u64::from(x & 0x7f) | u64::from(y & 0x7f) << 7;
        if y < 0x80 {
            from.rest = &from.rest[VARINT_128 - 1..];
        } else if z <= 3 {
            top |= u64::from(z) << 14;
            from.rest = rest;
        } else {
            return Err(Malformed);
        }
        Ok(u128::from(squeezed(low)) | u128::from(squeezed(high)) << 56 | u128::from(top) << 112)
    }
}

impl Packed for i128 {
    fn put(&self, out: &mut Vec<u8>) {
        put_u128(out, (*self << 1 ^ *self >> 127) as u128);
    }

    fn take(from: &mut Reader<'_>) -> Read<i128> {
        let zigzag: u128 = from.take()?;
        Ok((zigzag >> 1) as i128 ^ -((zigzag & 1) as i128))
    }
}

impl Packed for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.len() as u64);
        out.extend_from_slice(self);
    }

    fn take(from: &mut Reader<'_>) -> Read<Bytes> {
        let count = from.take()?;
        from.bytes(count).map(Bytes::copy_from_slice)
    }
}

impl<T: Packed> Packed for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Read<Option<T>> {
        if from.take()? { from.take().map(Some) } else { Ok(None) }
    }
}

impl<A: Packed, B: Packed> Packed for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Read<(A, B)> {
        Ok((from.take()?, from.take()?))
    }
}

impl<T: Packed> Packed for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(out, self.len(), self);
    }

    fn take(from: &mut Reader<'_>) -> Read<Vec<T>> {
        let count: u64 = from.take()?;
        let most = (LIST_BYTES_AT_FIRST / size_of::<T>()).min(from.rest.len());
        let mut list = Vec::with_capacity(usize::try_from(count).map_or(most, |n| n.min(most)));
        for _ in 0..count {
            list.push(from.take()?);
        }
        Ok(list)
    }
}

/// A list of so many elements.
pub fn put_list<'a, T: Packed + 'a>(
    out: &mut Vec<u8>,
    count: usize,
    elements: impl IntoIterator<Item = &'a T>,
) {
    put_u64(out, count as u64);
    let mut written = 0;
    for element in elements {
        element.put(out);
        written += 1;
    }
    assert_eq!(written, count, "as many elements as were counted");
}

#[inline]
fn put_u64(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        put_long(out, value);
    }
}

/// All bytes are made and appended at once, and what the value does not take goes again: so many bytes as
/// are known beforehand are copied without a call.
fn put_long(out: &mut Vec<u8>, value: u64) {
    let word = spread(value) | MORE;
    match value.leading_zeros() {
        8.. => {
            let bytes = (64 - value.leading_zeros() as usize).div_ceil(7);
            let word = word ^ 0x80 << (8 * (bytes - 1));
            let end = out.len() + bytes;
            out.extend_from_slice(&word.to_le_bytes());
            out.truncate(end);
        }
        // A stamp's time takes nine.
        1..8 => {
            let mut made = [(value >> 56) as u8; 9];
            made[..8].copy_from_slice(&word.to_le_bytes());
            out.extend_from_slice(&made);
        }
        0 => {
            let mut made = [1; VARINT_64];
            made[..8].copy_from_slice(&word.to_le_bytes());
            made[8] = (value >> 56) as u8 | 0x80;
            out.extend_from_slice(&made);
        }
    }
}

fn put_u128(out: &mut Vec<u8>, value: u128) {
    if let Ok(value) = u64::try_from(value) {
        return put_u64(out, value);
    }
    let mut made = [0u8; 24];
    for (place, shift) in made.chunks_exact_mut(8).zip([0, 56, 112]) {
        place.copy_from_slice(&(spread((value >> shift) as u64) | MORE).to_le_bytes());
    }
    let bytes = (128 - value.leading_zeros() as usize).div_ceil(7);
    made[bytes - 1] &= 0x7f;
    let end = out.len() + bytes;
    out.extend_from_slice(&made);
    out.truncate(end);
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

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;

    /// What both make of the bytes: the value, and how much is left.
    fn read_alike<T: Packed + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
        let mut reader = Reader::new(bytes);
        let by_hand = T::take(&mut reader).ok().map(|value| (value, reader.rest()));
        assert_eq!(by_hand, postcard::take_from_bytes::<T>(bytes).ok(), "{bytes:?}");
    }

    fn written_alike<T: Packed + Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
        let mut out = Vec::new();
        value.put(&mut out);
        assert_eq!(out, postcard::to_allocvec(value).expect("memory"));
        // At the end, before an end, and cut off.
        read_alike::<T>(&out);
        read_alike::<T>(&out[..out.len() - 1]);
        out.extend_from_slice(&[0xff; 20]);
        read_alike::<T>(&out);
    }

    #[test]
    fn integers_at_every_length_are_postcards() {
        for shift in 0..128 {
            for value in [1u128 << shift, (1 << shift) - 1, u128::MAX >> shift] {
                written_alike(&value);
                written_alike(&(value as i128));
                written_alike(&(value as u64));
                written_alike(&(value as u32));
                written_alike(&(value as u16));
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_as_postcard_reads_them(
            bytes in vec(proptest::prop_oneof![any::<u8>(), 0x80..=0xffu8, 0..4u8], 0..30),
        ) {
            read_alike::<u16>(&bytes);
            read_alike::<u32>(&bytes);
            read_alike::<u64>(&bytes);
            read_alike::<u128>(&bytes);
            read_alike::<i128>(&bytes);
            read_alike::<bool>(&bytes);
            read_alike::<Option<u32>>(&bytes);
            read_alike::<Vec<(u64, bool)>>(&bytes);
            read_alike::<Bytes>(&bytes);
        }

        #[test]
        fn random_values_are_written_as_postcard_writes_them(
            id in any::<u128>(),
            list in vec((any::<u32>(), any::<u64>()), 0..5),
            text in vec(any::<u8>(), 0..300),
        ) {
            written_alike(&id);
            written_alike(&list);
            written_alike(&Bytes::from(text));
            prop_assert_eq!(squeezed(spread(id as u64)), id as u64 & (u64::MAX >> 8));
        }
    }

    #[test]
    fn a_list_that_claims_to_be_long_takes_no_memory_before_it_comes() {
        let claimed = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 7];
        assert_eq!(Vec::<u64>::take(&mut Reader::new(&claimed)), Err(Malformed));
    }
}
