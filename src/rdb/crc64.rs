//! CRC64 as Redis uses it (Jones' polynomial, reflected, starting at 0), sixteen bytes a step.

use crc::{CRC_64_REDIS, Crc, Digest, Table};

static CRC64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// A checksum that runs along with pieces.
#[derive(Clone)]
pub struct Running(Digest<'static, u64, Table<16>>);

impl Running {
    pub fn new() -> Running {
        Running(CRC64.digest())
    }

    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The checksum of all pieces so far.
    pub fn value(&self) -> u64 {
        self.0.clone().finalize()
    }
}

/// The checksum of one piece.
pub fn crc64(bytes: &[u8]) -> u64 {
    CRC64.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_redis_are_met() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(b""), 0);
        // The end of what redis-server 7.0.15 replies to DUMP of "hello".
        assert_eq!(crc64(b"\x00\x05hello\x0a\x00"), 0x0a20_3465_76df_7263);
    }

    #[test]
    fn pieces_amount_to_the_whole() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * 7 % 251) as u8).collect();
        for cut in 0..bytes.len() {
            let mut running = Running::new();
            running.update(&bytes[..cut]);
            running.update(&bytes[cut..]);
            assert_eq!(running.value(), crc64(&bytes));
        }
    }
}
