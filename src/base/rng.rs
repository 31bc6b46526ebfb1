//! Randomness: seeded ChaCha8 streams, one per purpose, never ambient.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A seeded stream of random numbers with our own mapping onto integers, so that a library's change
/// of distribution cannot orphan old seeds.
#[derive(Clone)]
pub struct Rng {
    inner: ChaCha8Rng,
}

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng { inner: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// A stream of its own for `purpose`: what is drawn from it moves nothing else.
    pub fn fork(seed: u64, purpose: &str) -> Rng {
        let mut mixed = seed ^ 0x9e37_79b9_7f4a_7c15;
        for &byte in purpose.as_bytes() {
            mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            mixed ^= mixed >> 29;
        }
        Rng::new(mixed)
    }

    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }

    pub fn next_u128(&mut self) -> u128 {
        (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64())
    }

    /// Uniform in `0..n` (multiply-shift; bias below n / 2^64).
    ///
    /// # Panics
    /// If `n` is 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "a choice among nothing");
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }
}

/// Where in its stream it stands: streams of one seed and purpose are told apart by that.
impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rng at {}", self.inner.get_word_pos())
    }
}
