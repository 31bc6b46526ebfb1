//! CRC16 of the key space and the fixed hash behind digests.

use super::ids::Partition;

const CRC16_TABLES: [[u16; 256]; 8] = crc16_tables();

const fn crc16_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut slice = 1;
    while slice < 8 {
        let mut byte = 0;
        while byte < 256 {
            let prev = tables[slice - 1][byte];
            tables[slice][byte] = (prev << 8) ^ tables[0][(prev >> 8) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

/// CRC16/XMODEM, as Redis Cluster uses it, eight bytes a step.
pub fn crc16(data: &[u8]) -> u16 {
    let mut crc = 0u16;
    let mut chunks = data.chunks_exact(8);
    for c in &mut chunks {
        crc = CRC16_TABLES[7][(c[0] ^ (crc >> 8) as u8) as usize]
            ^ CRC16_TABLES[6][(c[1] ^ crc as u8) as usize]
            ^ CRC16_TABLES[5][c[2] as usize]
            ^ CRC16_TABLES[4][c[3] as usize]
            ^ CRC16_TABLES[3][c[4] as usize]
            ^ CRC16_TABLES[2][c[5] as usize]
            ^ CRC16_TABLES[1][c[6] as usize]
            ^ CRC16_TABLES[0][c[7] as usize];
    }
    for &byte in chunks.remainder() {
        crc = (crc << 8) ^ CRC16_TABLES[0][((crc >> 8) as u8 ^ byte) as usize];
    }
    crc
}

/// Redis Cluster slot of a key, 0..16384: of the part between the first `{` and the next `}` if that
/// part is not empty.
pub fn slot_of(key: &[u8]) -> u16 {
    let hashed = match position_of(b'{', key) {
        Some(open) => match key[open + 1..].iter().position(|&b| b == b'}') {
            Some(len) if len > 0 => &key[open + 1..open + 1 + len],
            Some(_) | None => key,
        },
        None => key,
    };
    crc16(hashed) & 0x3fff
}

/// Where a byte is that most keys do not have: eight bytes a step.
fn position_of(byte: u8, key: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let chunks = key.chunks_exact(8);
    let tail_has_it = chunks.remainder().contains(&byte);
    let is_there = tail_has_it
        || chunks.into_iter().any(|c| {
            let word = u64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]);
            let zero_where_it_is = word ^ (ONES * u64::from(byte));
            zero_where_it_is.wrapping_sub(ONES) & !zero_where_it_is & (ONES << 7) != 0
        });
    if is_there { key.iter().position(|&b| b == byte) } else { None }
}

/// Partition of a key: slot / 4, in both modes.
pub fn partition_of(key: &[u8]) -> Partition {
    Partition(slot_of(key) >> 2)
}

/// A fixed hash, the same on every node and in every build: for digests, never for hash tables.
pub fn fixed_hash(data: &[u8]) -> u64 {
    let mut hash =
        0xcbf2_9ce4_8422_2325u64 ^ (data.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut chunks = data.chunks_exact(8);
    for c in &mut chunks {
        let word = u64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]);
        hash = mix(hash ^ word);
    }
    mix(hash ^ tail_of(data))
}

/// What is left of data after its last whole word, as the low bytes of one.
#[inline]
fn tail_of(data: &[u8]) -> u64 {
    let left = data.len() % 8;
    match data.last_chunk::<8>() {
        // The last eight bytes without those that belong to the word before.
        Some(_) if left == 0 => 0,
        Some(&last) => u64::from_le_bytes(last) >> (64 - 8 * left),
        None => data.iter().rev().fold(0, |tail, &byte| tail << 8 | u64::from(byte)),
    }
}

/// A bijection that spreads every input bit over the whole word (finaliser of SplitMix64).
pub const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_meets_the_published_check_value_and_hash_tags() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") & 0x3fff);
        assert_eq!(partition_of(b"foo").0, 12182 / 4);
    }

    #[test]
    fn tail_is_the_bytes_after_the_last_whole_word() {
        let data: Vec<u8> = (1..40).collect();
        for len in 0..data.len() {
            let mut tail = [0; 8];
            tail[..len % 8].copy_from_slice(&data[len / 8 * 8..len]);
            assert_eq!(tail_of(&data[..len]), u64::from_le_bytes(tail), "{len}");
        }
    }

    #[test]
    fn a_byte_is_found_wherever_it_is() {
        for len in 0..40 {
            for fill in [0, b'z', b'|', b'{' ^ 0x80, 0xff] {
                let mut key = vec![fill; len];
                assert_eq!(position_of(b'{', &key), None);
                for at in (0..len).rev() {
                    key[at] = b'{';
                    assert_eq!(position_of(b'{', &key), Some(at), "{key:?}");
                }
            }
        }
    }
}
