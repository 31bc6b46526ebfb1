//! The payloads of DUMP and RESTORE: a value as in a file, the version (two bytes) and a checksum over both.

use bytes::{BufMut, BytesMut};

use super::crc64::crc64;
use super::cursor::{Cursor, Stop};
use super::fault::Fault;
use super::hash;
use super::kind::Kind;
use super::lzf::Packer;
use super::reader::Value;
use super::{VERSION_MAX, VERSION_VALKEY, VERSION_WRITTEN};

/// Why a payload is not a value. Nothing has been changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RestoreError {
    /// Not a payload, or altered, or of a version that is not known.
    VersionOrChecksum,
    /// A value of a kind that this server does not have yet.
    Unsupported(Kind),
    /// A payload of good checksum in which there is no value.
    BadData(Fault),
}

impl RestoreError {
    /// The whole text of the error reply, as Redis words it where Redis has one.
    pub fn text(&self) -> String {
        match self {
            RestoreError::VersionOrChecksum => {
                "ERR DUMP payload version or checksum are wrong".to_owned()
            }
            RestoreError::Unsupported(kind) => {
                format!("ERR the DUMP payload is {kind}, which is not supported yet")
            }
            RestoreError::BadData(_) => "ERR Bad data format".to_owned(),
        }
    }
}

/// Appends the payload of a value. A counter is the string of its decimal digits.
pub fn dump(value: &Value, compression: bool, out: &mut BytesMut) {
    let start = out.len();
    hash::put_type(out, value);
    hash::put_content(out, value, compression.then(Packer::new).as_mut());
    out.put_u16_le(VERSION_WRITTEN as u16);
    out.put_u64_le(crc64(&out[start..]));
}

/// The value of a payload; no string may be longer than `string_bytes_max`.
pub fn restore(payload: &[u8], string_bytes_max: usize) -> Result<Value, RestoreError> {
    let (content, checksum) = payload.split_last_chunk().ok_or(RestoreError::VersionOrChecksum)?;
    let (body, version) = content.split_last_chunk().ok_or(RestoreError::VersionOrChecksum)?;
    let version = u32::from(u16::from_le_bytes(*version));
    // Versions before 9 differ in deadlines and in other types alone.
    let known = version <= VERSION_MAX || version == VERSION_VALKEY;
    if !known || crc64(content) != u64::from_le_bytes(*checksum) {
        return Err(RestoreError::VersionOrChecksum);
    }
    let bad = |stop| match stop {
        Stop::NeedMore => RestoreError::BadData(Fault::Truncated),
        Stop::Bad(_, fault) => RestoreError::BadData(fault),
    };
    let mut cursor = Cursor::new(body, string_bytes_max);
    let type_byte = cursor.byte().map_err(bad)?;
    match Kind::of(type_byte) {
        Some(Kind::String) => {}
        Some(Kind::Hash) if hash::is_hash(type_byte) => {
            let value = hash::read(&mut cursor, type_byte).map_err(bad)?;
            let trailing = cursor.pos() < body.len();
            return if trailing { Err(RestoreError::BadData(Fault::Trailing)) } else { Ok(value) };
        }
        Some(kind) => return Err(RestoreError::Unsupported(kind)),
        None => return Err(RestoreError::BadData(Fault::UnknownType { byte: type_byte })),
    }
    let value = cursor.string().map_err(bad)?;
    if cursor.pos() < body.len() {
        return Err(RestoreError::BadData(Fault::Trailing));
    }
    value.read(body).map(Value::String).map_err(RestoreError::BadData)
}
