//! LZF, the compression of strings: runs of literals, and copies of what came up to 8 KiB before.
//!
//! A control byte below 32 is followed by that many literals and one more. Any other begins a copy: its upper three
//! bits are the length less 2 (7: one more byte is to be added), its lower five and the byte that comes last the
//! distance less 1.

/// Farthest that a copy reaches back.
const DISTANCE_MAX: usize = 1 << 13;
/// Shortest copy that is worth it, and longest there is.
const COPY_BYTES_MIN: usize = 3;
const COPY_BYTES_MAX: usize = 7 + 255 + 2;
/// Bytes of the longest copy's code.
const COPY_CODE_BYTES: usize = 3;
/// Most literals behind one control byte.
const LITERALS_MAX: usize = 32;
/// After so many literals (a power of two) without a copy, and after each as many more, positions are passed over, up to
/// so many at a time: what does not compress costs little.
const PATIENCE_BITS: u32 = 8;
const STEP_MAX: usize = 3;
/// Positions remembered: one for each hash of three bytes.
const TABLE_BITS: u32 = 14;

/// A compressor. What it finds depends on the string alone, not on those before.
#[derive(Debug)]
pub struct Packer {
    /// `base` plus the position where bytes of this hash were last met in the string; less than `base`: in an
    /// earlier string. So nothing has to be cleared in between.
    table: Vec<u32>,
    /// Above everything that earlier strings have left; at least 1, which an empty place is less than.
    base: u32,
    out: Vec<u8>,
}

impl Packer {
    pub fn new() -> Packer {
        Packer { table: vec![0; 1 << TABLE_BITS], base: 1, out: Vec::new() }
    }

    /// The string compressed, if that takes at most `bytes_max` bytes.
    pub fn pack(&mut self, string: &[u8], bytes_max: usize) -> Option<&[u8]> {
        let above = u32::try_from(string.len()).ok()?.checked_add(1)?;
        if self.base.checked_add(above).is_none() {
            self.table.fill(0);
            self.base = 1;
        }
        self.out.clear();
        let (mut at, mut literals_from) = (0, 0);
        while at + COPY_BYTES_MIN <= string.len() {
            let Some(from) = self.meet(string, at) else {
                at += 1 + ((at - literals_from) >> PATIENCE_BITS).min(STEP_MAX);
                continue;
            };
            self.put_literals(&string[literals_from..at]);
            let length = common_bytes(string, from, at);
            self.put_copy(at - from, length);
            if self.out.len() > bytes_max {
                break;
            }
            // What begins with the copy's last bytes may come again; all of its positions would cost more than they find.
            let end = at + length;
            for inside in end - 2..end {
                if inside + COPY_BYTES_MIN <= string.len() {
                    self.meet(string, inside);
                }
            }
            at = end;
            literals_from = end;
        }
        self.put_literals(&string[literals_from..]);
        self.base += above;
        (self.out.len() <= bytes_max).then_some(&self.out[..])
    }

    /// Remembers a position; the last one before that has the same three bytes and is near enough.
    fn meet(&mut self, string: &[u8], at: usize) -> Option<usize> {
        let bytes = [string[at], string[at + 1], string[at + 2]];
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        let place = word.wrapping_mul(0x9e37_79b1) >> (u32::BITS - TABLE_BITS);
        let entry = &mut self.table[place as usize];
        let met = core::mem::replace(entry, self.base + at as u32);
        let from = met.checked_sub(self.base)? as usize;
        (at - from <= DISTANCE_MAX && string[from..from + COPY_BYTES_MIN] == bytes).then_some(from)
    }

    fn put_literals(&mut self, literals: &[u8]) {
        for run in literals.chunks(LITERALS_MAX) {
            self.out.push((run.len() - 1) as u8);
            self.out.extend_from_slice(run);
        }
    }

    fn put_copy(&mut self, distance: usize, length: usize) {
        let (distance, length) = (distance - 1, length - 2);
        let high = (distance >> 8) as u8;
        if length < 7 {
            self.out.push((length as u8) << 5 | high);
        } else {
            self.out.extend_from_slice(&[7 << 5 | high, (length - 7) as u8]);
        }
        self.out.push(distance as u8);
    }
}

/// How many bytes at `at` are the same as those at `from`, as far as a copy goes.
fn common_bytes(string: &[u8], from: usize, at: usize) -> usize {
    let later = &string[at..string.len().min(at + COPY_BYTES_MAX)];
    later.iter().zip(&string[from..]).take_while(|(a, b)| a == b).count()
}

/// Most bytes that so many compressed ones can stand for.
pub fn expanded_max(packed_bytes: u64) -> usize {
    let max = packed_bytes.saturating_mul((COPY_BYTES_MAX / COPY_CODE_BYTES) as u64);
    usize::try_from(max).unwrap_or(usize::MAX)
}

/// The string of `bytes` bytes that was compressed; `None` if it was not, or was a different number of them.
pub fn expand(packed: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.min(expanded_max(packed.len() as u64)));
    let mut rest = packed;
    while let Some((&control, after)) = rest.split_first() {
        if usize::from(control) < LITERALS_MAX {
            let (literals, after) = after.split_at_checked(usize::from(control) + 1)?;
            out.extend_from_slice(literals);
            rest = after;
        } else {
            let mut length = usize::from(control >> 5) + 2;
            let mut after = after;
            if control >> 5 == 7 {
                let (&more, later) = after.split_first()?;
                length += usize::from(more);
                after = later;
            }
            let (&low, after) = after.split_first()?;
            let distance = (usize::from(control & 0x1f) << 8 | usize::from(low)) + 1;
            copy_back(&mut out, distance, length)?;
            rest = after;
        }
        if out.len() > bytes {
            return None;
        }
    }
    (out.len() == bytes).then_some(out)
}

/// Appends `length` bytes of `out` from `distance` before its end, those just appended included.
fn copy_back(out: &mut Vec<u8>, distance: usize, length: usize) -> Option<()> {
    let from = out.len().checked_sub(distance)?;
    let mut left = length;
    while left > 0 {
        let run = left.min(out.len() - from);
        out.extend_from_within(from..from + run);
        left -= run;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(string: &[u8]) -> usize {
        let mut packer = Packer::new();
        let packed = packer.pack(string, string.len() * 2).expect("there is room").to_vec();
        assert_eq!(expand(&packed, string.len()).as_deref(), Some(string));
        assert!(string.len() <= expanded_max(packed.len() as u64));
        packed.len()
    }

    #[test]
    fn codes_of_the_format_are_read() {
        assert_eq!(expand(b"\x02abc", 3).as_deref(), Some(&b"abc"[..]));
        // A literal `a`, then a copy of 9 - 2 + 0 bytes from one byte before.
        assert_eq!(expand(b"\x00a\xe0\x00\x00", 10).as_deref(), Some(&b"aaaaaaaaaa"[..]));
        assert_eq!(expand(b"\x01ab\x40\x01", 6).as_deref(), Some(&b"ababab"[..]));
        // As redis-server 7.0.15 stores them.
        assert_eq!(expand(b"\x01aa\xe0\x57\x00\x01aa", 100), Some(vec![b'a'; 100]));
        let packed = b"\x15the quick brown fox, t\xe0\x48\x14\x01, ";
        assert_eq!(expand(packed, 105), Some(b"the quick brown fox, ".repeat(5)));
    }

    #[test]
    fn what_is_not_compressed_is_not_expanded() {
        for bad in [&b"\x02ab"[..], b"\x20\x00", b"\x00a\x20", b"\x00a\xe0", b"\x00a\x20\x01"] {
            assert_eq!(expand(bad, 3), None, "{bad:?}");
        }
        assert_eq!(expand(b"\x02abc", 2), None, "too long");
        assert_eq!(expand(b"\x02abc", 4), None, "too short");
        assert_eq!(expand(b"", 0), Some(Vec::new()));
    }

    #[test]
    fn repetitions_far_and_near_are_found() {
        assert!(round_trip(&[b'a'; 10_000]) < 150);
        assert!(round_trip(&b"hello world, ".repeat(700)) < 200);
        let block: Vec<u8> = (0..8192u32).map(|i| (i * i / 7 % 251) as u8).collect();
        let once = round_trip(&block);
        assert!(round_trip(&block.repeat(2)) < once + 400, "8192 bytes back");
        assert_eq!(round_trip(b""), 0);
        assert_eq!(round_trip(b"ab"), 3);
    }

    #[test]
    fn result_depends_on_nothing_before_and_must_fit() {
        let mut packer = Packer::new();
        let texts: [&[u8]; 3] = [&b"abcdefgh".repeat(20), &b"fghabc".repeat(30), &[7; 400]];
        for text in texts {
            let fresh = Packer::new().pack(text, text.len()).map(<[u8]>::to_vec);
            assert_eq!(packer.pack(text, text.len()).map(<[u8]>::to_vec), fresh);
            let bytes = fresh.expect("they repeat").len();
            assert!(packer.pack(text, bytes).is_some());
            assert!(packer.pack(text, bytes - 1).is_none());
        }
        packer.base = u32::MAX - 100;
        let text = texts[0];
        let fresh = Packer::new().pack(text, text.len()).map(<[u8]>::to_vec);
        assert_eq!(packer.pack(text, text.len()).map(<[u8]>::to_vec), fresh, "base starts again");
        assert_eq!(packer.base, 1 + text.len() as u32 + 1);
    }

    proptest! {
        #[test]
        fn strings_come_out_as_they_went_in(
            words in proptest::collection::vec(proptest::collection::vec(0u8..4, 1..20), 0..200),
            noise in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            round_trip(&words.concat());
            round_trip(&noise);
            round_trip(&[words.concat(), noise, words.concat()].concat());
        }

        #[test]
        fn any_bytes_expand_to_what_they_tell_or_not_at_all(
            packed in proptest::collection::vec(any::<u8>(), 0..64),
            bytes in 0usize..2000,
        ) {
            if let Some(expanded) = expand(&packed, bytes) {
                prop_assert_eq!(expanded.len(), bytes);
                prop_assert!(bytes <= expanded_max(packed.len() as u64));
            }
        }
    }
}
