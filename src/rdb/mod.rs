//! Floor 1: the dump file of Redis and its relatives, and the payloads of DUMP and RESTORE. Bytes in, bytes out: a
//! file of any size is read and written in pieces.
//!
//! [`reader::Reader`] reads what Redis 5 to 8.2, Valkey and KeyDB write; [`writer::Writer`] writes version 10, which
//! Redis 7.0 and everything after it reads. Values are strings and hashes; of other types the reader says that it met them.
//! The format is that of Redis's `rdb.h`; nowhere else is it specified.

pub(crate) mod crc64;
mod cursor;
pub mod dump;
pub mod fault;
mod hash;
pub mod kind;
mod lzf;
pub mod reader;
#[cfg(test)]
mod tests;
mod text;
pub mod writer;

/// Version that is written, in files and in DUMP payloads: that of Redis 7.0.
pub const VERSION_WRITTEN: u32 = 10;

/// Oldest version of a file that is read: that of Redis 5 and KeyDB.
pub const VERSION_MIN: u32 = 9;

/// Newest version with Redis's magic that is read: that of Redis 7.4 to 8.2.
pub const VERSION_MAX: u32 = 12;

/// The one version with Valkey's magic: that of Valkey 9. Older ones write Redis's magic and version 11.
pub const VERSION_VALKEY: u32 = 80;

/// The object type of a string, in files and in DUMP payloads.
const TYPE_STRING: u8 = 0;

/// The bytes that announce something other than a value.
mod opcode {
    /// Where an import of a hash slot stands (Valkey 9).
    pub const SLOT_IMPORT: u8 = 243;
    /// How many keys a hash slot has (Redis 7.4), a hint.
    pub const SLOT_INFO: u8 = 244;
    /// A library of functions.
    pub const FUNCTION: u8 = 245;
    /// A library of functions as only release candidates of Redis 7.0 wrote it.
    pub const FUNCTION_PRE_GA: u8 = 246;
    /// What a module keeps beside the keys.
    pub const MODULE_AUX: u8 = 247;
    /// Seconds the next key has not been used.
    pub const IDLE: u8 = 248;
    /// How often the next key is used, on a logarithmic scale.
    pub const FREQ: u8 = 249;
    /// A name and a value.
    pub const AUX: u8 = 250;
    /// How many keys the database has, and how many with a deadline: hints.
    pub const RESIZE_DB: u8 = 251;
    /// The next key's deadline in milliseconds.
    pub const EXPIRE_MS: u8 = 252;
    /// The next key's deadline in seconds.
    pub const EXPIRE_S: u8 = 253;
    /// The database of the keys that follow.
    pub const SELECT_DB: u8 = 254;
    /// The last: the checksum follows.
    pub const EOF: u8 = 255;
}
