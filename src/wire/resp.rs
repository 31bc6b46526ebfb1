//! RESP requests: an incremental parser that borrows from the read buffer. Multibulk and inline
//! commands; protocol errors worded as Redis words them.

use std::ops::Range;

/// One command's arguments, borrowed from the read buffer. Never empty.
#[derive(Copy, Clone, Debug)]
pub struct Args<'a> {
    buf: &'a [u8],
    spans: &'a [Range<usize>],
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

    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.spans.iter().map(|span| &self.buf[span.clone()])
    }
}
