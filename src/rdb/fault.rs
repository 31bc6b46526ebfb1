//! What is wrong with a file or a payload, and where.

use core::fmt;

use bytes::Bytes;

use super::kind::Kind;
use super::{VERSION_MIN, VERSION_WRITTEN};

/// Bytes of a key that are shown.
const KEY_BYTES_SHOWN: usize = 128;

/// Why a file cannot be read on. The reader stays where it is: the items before are good, the rest is unknown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadError {
    /// Bytes of the file before the one that is wrong.
    pub offset: u64,
    pub fault: Fault,
}

/// What can be wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The file does not begin with `REDIS` or `VALKEY` and a version in digits.
    BadMagic,
    /// The version is older than [`VERSION_MIN`].
    TooOld { version: u32 },
    /// The version is newer than the newest that is known with this magic.
    TooNew { version: u32, newest: u32 },
    /// A value that can be in a file, but not yet in this server.
    Unsupported { kind: Kind, type_byte: u8, key: Bytes },
    /// An import of a hash slot was under way when the file was written: the slot's keys may be incomplete.
    SlotImport,
    /// A library of functions in the format of a release candidate.
    FunctionPreGa,
    /// Neither a type nor an opcode.
    UnknownType { byte: u8 },
    /// A string of more bytes than a string may have.
    TooLong { bytes: u64, max: usize },
    /// The byte does not begin a length, or not one that may stand here.
    BadLength { byte: u8 },
    /// The byte does not begin a string.
    BadEncoding { byte: u8 },
    /// A compressed string does not expand to the length it tells.
    BadCompression,
    /// A packed value is not packed as it should be.
    BadPacking,
    /// What a module keeps beside the keys is not of the form that all modules use.
    BadModuleData,
    /// No server has so many databases.
    BadDatabase { index: u64 },
    /// The file differs from what was written.
    BadChecksum { stored: u64, computed: u64 },
    /// The file ends where something should follow.
    Truncated,
    /// Something follows the value of a payload.
    Trailing,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: {}", self.offset, self.fault)
    }
}

impl std::error::Error for LoadError {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::BadMagic => f.write_str(
                "not a dump file: it should begin with REDIS or VALKEY and a version in digits",
            ),
            Fault::TooOld { version } => write!(
                f,
                "version {version} of the format is older than {VERSION_MIN}, the oldest that is \
                 read (Redis 5)"
            ),
            Fault::TooNew { version, newest } => write!(
                f,
                "version {version} of the format is newer than {newest}, the newest that is known"
            ),
            Fault::Unsupported { kind, type_byte, key } => {
                write!(f, "the key \"{}\"", key[..key.len().min(KEY_BYTES_SHOWN)].escape_ascii())?;
                if key.len() > KEY_BYTES_SHOWN {
                    write!(f, "… ({} bytes)", key.len())?;
                }
                write!(f, " is {kind} (type {type_byte}), which is not supported yet")
            }
            Fault::SlotImport => f.write_str(
                "written while a hash slot was being imported: let the import end and save again",
            ),
            Fault::FunctionPreGa => {
                f.write_str("functions as a release candidate of Redis 7.0 wrote them")
            }
            Fault::UnknownType { byte } => write!(f, "{byte} is neither a type nor an opcode"),
            Fault::TooLong { bytes, max } => {
                write!(f, "a string of {bytes} bytes, of which it may have at most {max}")
            }
            Fault::BadLength { byte } => write!(f, "{byte:#04x} does not begin a length"),
            Fault::BadEncoding { byte } => write!(f, "{byte:#04x} does not begin a string"),
            Fault::BadCompression => {
                f.write_str("a compressed string does not expand to the length it tells")
            }
            Fault::BadPacking => f.write_str("a packed value is not packed as it should be"),
            Fault::BadModuleData => f.write_str("a module's data are not of the usual form"),
            Fault::BadDatabase { index } => {
                write!(f, "database {index} is more than any server has")
            }
            Fault::BadChecksum { stored, computed } => write!(
                f,
                "the checksum {stored:016x} is stored, but the file comes to {computed:016x}"
            ),
            Fault::Truncated => f.write_str("the file ends where something should follow"),
            Fault::Trailing => f.write_str("something follows the value"),
        }
    }
}

const _: () = assert!(VERSION_MIN <= VERSION_WRITTEN);
