//! Writing a file in pieces.

use bytes::{BufMut, BytesMut};

use crate::base::content::Content;
use crate::base::ids::DbIndex;
use crate::base::time::UnixMs;

use super::crc64::Running;
use super::hash;
use super::lzf::Packer;
use super::text::{put_length, put_string};
use super::{VERSION_WRITTEN, opcode};

/// How a file is to be written.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct WriterOptions {
    /// `rdbcompression`: compress strings.
    pub compression: bool,
    /// `rdbchecksum`: end with a checksum instead of zero.
    pub checksum: bool,
}

/// What a file tells of its writer at its beginning.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    /// The version of Redis that the writer goes by.
    pub redis_version: &'a str,
    /// When the file is written, in seconds since 1970.
    pub created_s: u64,
    /// Memory that the writer uses.
    pub used_bytes: u64,
}

/// Writes a file in pieces, each appended to `out`, from where it may be taken away between any two calls.
pub struct Writer {
    packer: Option<Packer>,
    checksum: Option<Running>,
    database_selected: bool,
}

impl Writer {
    /// Begins a file.
    pub fn new(options: WriterOptions, header: &Header<'_>, out: &mut BytesMut) -> Writer {
        let mut writer = Writer {
            packer: options.compression.then(Packer::new),
            checksum: options.checksum.then(Running::new),
            database_selected: false,
        };
        let start = out.len();
        out.extend_from_slice(format!("REDIS{VERSION_WRITTEN:04}").as_bytes());
        writer.count(&out[start..]);
        let mut number = itoa::Buffer::new();
        writer.aux(b"redis-ver", header.redis_version.as_bytes(), out);
        writer.aux(b"redis-bits", b"64", out);
        writer.aux(b"ctime", number.format(header.created_s).as_bytes(), out);
        writer.aux(b"used-mem", number.format(header.used_bytes).as_bytes(), out);
        writer.aux(b"aof-base", b"0", out);
        writer
    }

    /// A name and a value: about the file before the first database, about a key right before it. Redis passes over
    /// names it does not know.
    pub fn aux(&mut self, name: &[u8], value: &[u8], out: &mut BytesMut) {
        let start = out.len();
        out.put_u8(opcode::AUX);
        put_string(out, name, self.packer.as_mut());
        put_string(out, value, self.packer.as_mut());
        self.count(&out[start..]);
    }

    /// The keys that follow are of this database, which has about so many, `deadlines` of them with a deadline: a reader
    /// makes room for them.
    pub fn database(&mut self, db: DbIndex, keys: u64, deadlines: u64, out: &mut BytesMut) {
        let start = out.len();
        out.put_u8(opcode::SELECT_DB);
        put_length(out, u64::from(db.0));
        out.put_u8(opcode::RESIZE_DB);
        put_length(out, keys);
        put_length(out, deadlines);
        self.count(&out[start..]);
        self.database_selected = true;
    }

    /// A key and its value. A counter is the string of its decimal digits.
    ///
    /// # Panics
    /// No database has been named yet.
    pub fn key(
        &mut self,
        key: &[u8],
        value: &Content,
        deadline: Option<UnixMs>,
        out: &mut BytesMut,
    ) {
        assert!(self.database_selected, "a key without a database");
        let start = out.len();
        if let Some(deadline) = deadline {
            out.put_u8(opcode::EXPIRE_MS);
            out.put_i64_le(i64::try_from(deadline.0).unwrap_or(i64::MAX));
        }
        hash::put_type(out, value);
        put_string(out, key, self.packer.as_mut());
        hash::put_content(out, value, self.packer.as_mut());
        self.count(&out[start..]);
    }

    /// Ends the file.
    pub fn finish(mut self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u8(opcode::EOF);
        self.count(&out[start..]);
        out.put_u64_le(self.checksum.map_or(0, |checksum| checksum.value()));
    }

    fn count(&mut self, bytes: &[u8]) {
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
    }
}
