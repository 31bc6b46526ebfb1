//! Reading a file that comes in pieces.

use bytes::{Buf, Bytes, BytesMut};

use crate::base::ids::{DATABASES_MAX, DbIndex};
use crate::base::time::UnixMs;

use super::crc64::Running;
use super::cursor::{Cursor, Stop};
use super::fault::{Fault, LoadError};
use super::hash;
use super::kind::Kind;
use super::text::Encoded;
use super::{TYPE_STRING, VERSION_MAX, VERSION_MIN, VERSION_VALKEY, opcode};

/// Bytes of the magic and the version.
const MAGIC_BYTES: usize = 9;
/// A value this long is taken out of the read buffer if it is most of it; a shorter one is copied.
const SHARED_BYTES_MIN: usize = 1 << 20;

/// One thing that a file tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A name and a value, as a writer likes: about the file at its beginning, about the next key before a key.
    /// KeyDB's active replicas give each key an `mvcc-tstamp` (milliseconds << 20 | counter).
    Aux {
        name: Bytes,
        value: Bytes,
    },
    /// The keys that follow are of this database.
    SelectDb(DbIndex),
    /// How many keys the database has, and how many of them with a deadline. A hint, which may be wrong.
    ResizeDb {
        keys: u64,
        deadlines: u64,
    },
    Key(Key),
    /// Something that this server has no use for, and that was passed over.
    Skipped(Skipped),
    /// The last one. Bytes behind it are not looked at.
    End {
        checked: bool,
    },
}

/// A key and its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    pub key: Bytes,
    pub value: Value,
    /// May have passed: the reader has no clock.
    pub deadline: Option<UnixMs>,
    /// Seconds since the key was last used.
    pub idle_s: Option<u64>,
    /// How often it is used, on Redis's logarithmic scale.
    pub frequency: Option<u8>,
}

/// A value of a kind that is supported.
pub use crate::base::content::Content as Value;

/// What was passed over.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Skipped {
    /// A library of functions.
    Function,
    /// What a module keeps beside the keys.
    ModuleAux(ModuleId),
}

/// A module's name of nine characters and the version of its data's format, in 64 bits.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ModuleId(pub u64);

/// Reads a file in pieces: append each to a buffer and take items off it until there is none.
///
/// ```
/// # use bytes::BytesMut;
/// # use quorate::rdb::reader::{Item, Reader};
/// # let file = b"REDIS0010\xfe\x00\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";
/// let mut reader = Reader::new(512 << 20);
/// let mut buf = BytesMut::new();
/// let mut keys = 0;
/// for piece in file.chunks(5) {
///     buf.extend_from_slice(piece);
///     while let Some(item) = reader.next(&mut buf)? {
///         keys += u32::from(matches!(item, Item::Key(_)));
///     }
/// }
/// reader.finish(&buf)?;
/// assert_eq!(keys, 1);
/// # Ok::<(), quorate::rdb::fault::LoadError>(())
/// ```
#[derive(Clone)]
pub struct Reader {
    state: State,
    string_bytes_max: usize,
    /// Bytes of the file that have been taken off the buffer, or passed over.
    offset: u64,
    checksum: Running,
    /// Bytes still to be passed over.
    skip: u64,
    /// Of the next key.
    deadline: Option<UnixMs>,
    idle_s: Option<u64>,
    frequency: Option<u8>,
    /// The hash that is being read.
    hash: Option<Partial>,
}

/// A hash of which some fields have been read.
#[derive(Clone)]
struct Partial {
    key: Bytes,
    left: u64,
    list: Vec<(Bytes, Bytes)>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    /// Nothing has been read.
    Magic,
    /// Between two things.
    Between,
    /// Within what a module keeps beside the keys.
    Module(ModuleId),
    /// Between two fields of a hash.
    Hash,
    Ended,
}

/// What the bytes at the start of the buffer come to.
enum Step {
    Become(State),
    /// So many bytes are of no interest.
    Skip(u64),
    Function {
        bytes: u64,
    },
    Deadline(UnixMs),
    Idle(u64),
    Frequency(u8),
    String {
        key: Bytes,
        value: Encoded,
    },
    Value {
        key: Bytes,
        value: Value,
    },
    Hash {
        key: Bytes,
        fields: u64,
    },
    Pair(Bytes, Bytes),
    Item(Item),
    End {
        stored: u64,
    },
}

impl Reader {
    /// A reader that takes no string longer than `string_bytes_max`, and so needs a buffer of about twice that at most:
    /// a key and its value must be in it whole.
    pub fn new(string_bytes_max: usize) -> Reader {
        Reader {
            state: State::Magic,
            string_bytes_max,
            offset: 0,
            checksum: Running::new(),
            skip: 0,
            deadline: None,
            idle_s: None,
            frequency: None,
            hash: None,
        }
    }

    /// Takes the next item off the start of `buf`; `None` if it has not arrived whole, or after the last.
    ///
    /// # Errors
    /// The file cannot be read on; `buf` and the reader stay as they are.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Item>, LoadError> {
        loop {
            if self.state == State::Ended || !self.pass_over(buf) {
                return Ok(None);
            }
            let mut cursor = Cursor::new(buf, self.string_bytes_max);
            let step = match self.step(&mut cursor) {
                Ok(step) => step,
                Err(Stop::NeedMore) => return Ok(None),
                Err(Stop::Bad(at, fault)) => return Err(self.error(at, fault)),
            };
            let taken = cursor.pos();
            if let Some(item) = self.on_step(step, buf, taken)? {
                return Ok(Some(item));
            }
        }
    }

    /// The file has ended, and `rest` is what was not taken off the buffer.
    ///
    /// # Errors
    /// It should have gone on.
    pub fn finish(&self, rest: &[u8]) -> Result<(), LoadError> {
        match self.state {
            State::Ended => Ok(()),
            State::Magic | State::Between | State::Module(_) | State::Hash => {
                Err(self.error(rest.len(), Fault::Truncated))
            }
        }
    }

    /// Bytes of the file that have been read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Carries out a step whose bytes are the first `taken` of the buffer, and takes them off.
    fn on_step(
        &mut self,
        step: Step,
        buf: &mut BytesMut,
        taken: usize,
    ) -> Result<Option<Item>, LoadError> {
        let item = match step {
            Step::Become(state) => {
                self.state = state;
                None
            }
            Step::Skip(bytes) => {
                self.skip = bytes;
                None
            }
            Step::Function { bytes } => {
                self.skip = bytes;
                Some(Item::Skipped(Skipped::Function))
            }
            Step::Deadline(deadline) => {
                self.deadline = Some(deadline);
                None
            }
            Step::Idle(seconds) => {
                self.idle_s = Some(seconds);
                None
            }
            Step::Frequency(frequency) => {
                self.frequency = Some(frequency);
                None
            }
            Step::Item(item) => {
                if let Item::Skipped(Skipped::ModuleAux(_)) = item {
                    self.state = State::Between;
                }
                Some(item)
            }
            Step::String { key, value } => {
                let value = self.take_value(buf, taken, &value)?;
                return Ok(Some(self.key(key, Value::String(value))));
            }
            Step::Value { key, value } => Some(self.key(key, value)),
            Step::Hash { key, fields } => {
                self.state = State::Hash;
                self.hash = Some(Partial { key, left: fields, list: Vec::new() });
                None
            }
            Step::Pair(name, value) => {
                let Some(mut partial) = self.hash.take() else { return Ok(None) };
                partial.list.push((name, value));
                partial.left -= 1;
                if partial.left > 0 {
                    self.hash = Some(partial);
                    None
                } else {
                    let Partial { key, list, .. } = partial;
                    let value = hash::whole(list).map_err(|fault| self.error(0, fault))?;
                    self.state = State::Between;
                    Some(self.key(key, value))
                }
            }
            Step::End { stored } => {
                let mut checksum = self.checksum.clone();
                checksum.update(&buf[..1]);
                let computed = checksum.value();
                // A writer that does not compute the checksum stores zero.
                if stored != 0 && stored != computed {
                    return Err(self.error(1, Fault::BadChecksum { stored, computed }));
                }
                self.state = State::Ended;
                Some(Item::End { checked: stored != 0 })
            }
        };
        self.count(&buf[..taken]);
        buf.advance(taken);
        Ok(item)
    }

    fn key(&mut self, key: Bytes, value: Value) -> Item {
        Item::Key(Key {
            key,
            value,
            deadline: self.deadline.take(),
            idle_s: self.idle_s.take(),
            frequency: self.frequency.take(),
        })
    }

    /// A key's value, without copying it if that is worth it.
    fn take_value(
        &mut self,
        buf: &mut BytesMut,
        taken: usize,
        value: &Encoded,
    ) -> Result<Bytes, LoadError> {
        if let Encoded::Plain(range) = value
            && range.len() >= SHARED_BYTES_MIN
            && range.len() >= buf.capacity() / 2
        {
            self.count(&buf[..taken]);
            return Ok(buf.split_to(taken).freeze().slice(range.clone()));
        }
        let bytes = value.read(buf).map_err(|fault| self.error(0, fault))?;
        self.count(&buf[..taken]);
        buf.advance(taken);
        Ok(bytes)
    }

    /// Passes over what is of no interest; whether that is done.
    fn pass_over(&mut self, buf: &mut BytesMut) -> bool {
        if self.skip == 0 {
            return true;
        }
        let bytes = buf.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
        self.count(&buf[..bytes]);
        buf.advance(bytes);
        self.skip -= bytes as u64;
        self.skip == 0
    }

    fn count(&mut self, bytes: &[u8]) {
        self.checksum.update(bytes);
        self.offset += bytes.len() as u64;
    }

    fn error(&self, at: usize, fault: Fault) -> LoadError {
        LoadError { offset: self.offset + at as u64, fault }
    }

    fn step(&self, cursor: &mut Cursor<'_>) -> Result<Step, Stop> {
        match self.state {
            State::Magic => magic(cursor),
            State::Between => between(cursor),
            State::Module(module) => module_piece(cursor, module),
            State::Hash => hash::read_pair(cursor).map(|(name, value)| Step::Pair(name, value)),
            State::Ended => Err(Stop::NeedMore),
        }
    }
}

impl core::fmt::Display for ModuleId {
    /// The name alone.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        for place in 0..9 {
            let letter = LETTERS[(self.0 >> (58 - 6 * place) & 63) as usize];
            core::fmt::Write::write_char(f, char::from(letter))?;
        }
        Ok(())
    }
}

fn magic(cursor: &mut Cursor<'_>) -> Result<Step, Stop> {
    // What cannot become a magic is refused at once: a foreign file may be shorter than one.
    let head = &cursor.buf()[..cursor.buf().len().min(MAGIC_BYTES)];
    let bad = Stop::Bad(0, Fault::BadMagic);
    let begins = |magic: &[u8]| head.iter().zip(magic).all(|(a, b)| a == b);
    let (digits, valkey) = match (begins(b"REDIS"), begins(b"VALKEY")) {
        (true, _) => (head.get(5..).unwrap_or_default(), false),
        (false, true) => (head.get(6..).unwrap_or_default(), true),
        (false, false) => return Err(bad),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad);
    }
    let version = digits.iter().fold(0u32, |n, digit| n * 10 + u32::from(digit - b'0'));
    cursor.array::<MAGIC_BYTES>()?;
    let newest = if valkey { VERSION_VALKEY } else { VERSION_MAX };
    if version > newest {
        return Err(Stop::Bad(0, Fault::TooNew { version, newest }));
    }
    if valkey && version < VERSION_VALKEY {
        return Err(bad);
    }
    if version < VERSION_MIN {
        return Err(Stop::Bad(0, Fault::TooOld { version }));
    }
    Ok(Step::Become(State::Between))
}

fn between(cursor: &mut Cursor<'_>) -> Result<Step, Stop> {
    let type_byte = cursor.byte()?;
    match type_byte {
        TYPE_STRING => {
            let key = whole_string(cursor)?;
            Ok(Step::String { key, value: cursor.string()? })
        }
        hash::TYPE_HASH => {
            let key = whole_string(cursor)?;
            let at = cursor.pos();
            match cursor.length()? {
                0 => Err(Stop::Bad(at, Fault::BadPacking)),
                fields => Ok(Step::Hash { key, fields }),
            }
        }
        byte if hash::is_hash(byte) => {
            let key = whole_string(cursor)?;
            Ok(Step::Value { key, value: hash::read(cursor, byte)? })
        }
        opcode::AUX => {
            let name = whole_string(cursor)?;
            Ok(Step::Item(Item::Aux { name, value: whole_string(cursor)? }))
        }
        opcode::SELECT_DB => {
            let at = cursor.pos();
            let index = cursor.length()?;
            match u16::try_from(index) {
                Ok(known) if known < DATABASES_MAX => {
                    Ok(Step::Item(Item::SelectDb(DbIndex(known))))
                }
                Ok(_) | Err(_) => Err(Stop::Bad(at, Fault::BadDatabase { index })),
            }
        }
        opcode::RESIZE_DB => {
            let keys = cursor.length()?;
            Ok(Step::Item(Item::ResizeDb { keys, deadlines: cursor.length()? }))
        }
        opcode::EXPIRE_MS => Ok(Step::Deadline(deadline(i64::from_le_bytes(cursor.array()?)))),
        opcode::EXPIRE_S => {
            let seconds = i64::from(i32::from_le_bytes(cursor.array()?));
            Ok(Step::Deadline(deadline(seconds * 1000)))
        }
        opcode::IDLE => Ok(Step::Idle(cursor.length()?)),
        opcode::FREQ => Ok(Step::Frequency(cursor.byte()?)),
        opcode::FUNCTION => Ok(Step::Function { bytes: cursor.string_head()? }),
        opcode::MODULE_AUX => {
            let module = ModuleId(cursor.length()?);
            // When the module wants to be given them: a number, as any other of its data.
            let at = cursor.pos();
            if cursor.length()? != module_opcode::UNSIGNED {
                return Err(Stop::Bad(at, Fault::BadModuleData));
            }
            cursor.length()?;
            Ok(Step::Become(State::Module(module)))
        }
        opcode::SLOT_INFO => {
            // The slot, its keys, and those with a deadline.
            for _ in 0..3 {
                cursor.length()?;
            }
            Ok(Step::Skip(0))
        }
        opcode::EOF => Ok(Step::End { stored: u64::from_le_bytes(cursor.array()?) }),
        opcode::SLOT_IMPORT => Err(Stop::Bad(0, Fault::SlotImport)),
        opcode::FUNCTION_PRE_GA => Err(Stop::Bad(0, Fault::FunctionPreGa)),
        byte => match Kind::of(byte) {
            Some(kind) => {
                let key = whole_string(cursor)?;
                Err(Stop::Bad(0, Fault::Unsupported { kind, type_byte, key }))
            }
            None => Err(Stop::Bad(0, Fault::UnknownType { byte })),
        },
    }
}

/// What the numbers in front of a module's data say of them.
mod module_opcode {
    pub const END: u64 = 0;
    pub const SIGNED: u64 = 1;
    pub const UNSIGNED: u64 = 2;
    pub const FLOAT: u64 = 3;
    pub const DOUBLE: u64 = 4;
    pub const STRING: u64 = 5;
}

fn module_piece(cursor: &mut Cursor<'_>, module: ModuleId) -> Result<Step, Stop> {
    match cursor.length()? {
        module_opcode::END => Ok(Step::Item(Item::Skipped(Skipped::ModuleAux(module)))),
        module_opcode::SIGNED | module_opcode::UNSIGNED => {
            cursor.length()?;
            Ok(Step::Skip(0))
        }
        module_opcode::FLOAT => Ok(Step::Skip(4)),
        module_opcode::DOUBLE => Ok(Step::Skip(8)),
        module_opcode::STRING => Ok(Step::Skip(cursor.string_head()?)),
        _ => Err(Stop::Bad(0, Fault::BadModuleData)),
    }
}

fn whole_string(cursor: &mut Cursor<'_>) -> Result<Bytes, Stop> {
    let start = cursor.pos();
    let string = cursor.string()?;
    string.read(cursor.buf()).map_err(|fault| Stop::Bad(start, fault))
}

/// A deadline before 1970 has passed as well.
fn deadline(ms: i64) -> UnixMs {
    UnixMs(u64::try_from(ms).unwrap_or(0))
}
