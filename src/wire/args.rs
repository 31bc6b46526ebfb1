//! A command's arguments, borrowed and owned, and the integers among them.

use std::ops::Range;

/// One command's arguments, borrowed from the read buffer. Never empty.
#[derive(Copy, Clone, Debug)]
pub struct Args<'a> {
    buf: &'a [u8],
    spans: &'a [Range<usize>],
}

/// A command's arguments on their own: what MULTI queues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedArgs {
    buf: Box<[u8]>,
    spans: Box<[Range<usize>]>,
}

impl<'a> Args<'a> {
    pub fn new(buf: &'a [u8], spans: &'a [Range<usize>]) -> Args<'a> {
        Args { buf, spans }
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// # Panics
    /// If `index` is not below [`Args::len`].
    #[inline]
    pub fn get(&self, index: usize) -> &'a [u8] {
        &self.buf[self.spans[index].clone()]
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let buf = self.buf;
        self.spans.iter().map(move |span| &buf[span.clone()])
    }

    /// The arguments from `first` on; empty if there are no more.
    pub fn from(&self, first: usize) -> Args<'a> {
        Args { buf: self.buf, spans: self.spans.get(first..).unwrap_or(&[]) }
    }

    pub fn to_owned(&self) -> OwnedArgs {
        OwnedArgs::new(self.iter())
    }
}

impl OwnedArgs {
    /// Copies the arguments.
    pub fn new<'b>(list: impl Iterator<Item = &'b [u8]>) -> OwnedArgs {
        let mut buf = Vec::new();
        let mut spans = Vec::with_capacity(list.size_hint().0);
        for argument in list {
            let start = buf.len();
            buf.extend_from_slice(argument);
            spans.push(start..buf.len());
        }
        OwnedArgs { buf: buf.into(), spans: spans.into() }
    }

    pub fn args(&self) -> Args<'_> {
        Args { buf: &self.buf, spans: &self.spans }
    }

    /// Bytes held, for the accounting of a client's memory.
    pub fn bytes(&self) -> usize {
        self.buf.len() + size_of_val(&*self.spans)
    }
}

/// An integer as Redis reads it: optional `-`, no `+`, no blanks, no leading zeros, no `-0`, 64
/// bits.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude = 0u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Nineteen digits fit.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_read_as_strictly_as_redis_reads_them() {
        for value in [0, 1, -1, 42, i64::MAX, i64::MIN, 1_000_000_000_000_000_000] {
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
        let refused = ["", "-", "+1", "01", "-0", "00", " 1", "1 ", "1.0", "0x1", "1a"];
        let too_large = ["9223372036854775808", "-9223372036854775809", "99999999999999999999"];
        for text in refused.into_iter().chain(too_large) {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn owned_arguments_are_the_same_arguments() {
        let list = [&b"SET"[..], b"", b"ab"];
        let owned = OwnedArgs::new(list.into_iter());
        assert!(owned.args().iter().eq(list));
        assert_eq!(owned.args().to_owned(), owned);
        assert_eq!(owned.args().from(1).len(), 2);
        assert!(owned.args().from(9).is_empty());
    }

    proptest! {
        #[test]
        fn integers_survive_a_round_trip(value in any::<i64>()) {
            prop_assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
    }
}
