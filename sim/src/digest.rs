//! The running digest of everything that happens in a world: two runs did the same exactly if it is
//! equal.

use quorate::base::checksum::{fixed_hash, mix};

/// An order-sensitive digest of words.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Digest {
    state: u64,
}

impl Digest {
    pub const fn new() -> Digest {
        Digest { state: 0x6a09_e667_f3bc_c908 }
    }

    #[inline]
    pub fn word(&mut self, word: u64) {
        self.state = (self.state.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.state ^= self.state >> 32;
    }

    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(fixed_hash(bytes));
    }

    /// The digest of what was fed so far.
    pub const fn value(&self) -> u64 {
        mix(self.state)
    }
}

/// Two texts are the same if this is the same: 128 bits, which do not depend on where the text came from.
pub fn fingerprint(text: &str) -> u128 {
    let mut halves = [Digest::new(), Digest { state: 0xbb67_ae85_84ca_a73b }];
    let mut chunks = text.as_bytes().chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        halves.iter_mut().for_each(|half| half.word(word));
    }
    halves.iter_mut().for_each(|half| {
        half.bytes(chunks.remainder());
        half.word(text.len() as u64);
    });
    let [low, high] = halves.map(|half| u128::from(half.value()));
    high << 64 | low
}

impl Default for Digest {
    fn default() -> Digest {
        Digest::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_matters() {
        let (mut a, mut b) = (Digest::new(), Digest::new());
        a.word(1);
        a.word(2);
        b.word(2);
        b.word(1);
        assert_ne!(a.value(), b.value());
    }
}
