//! One packed allocation per key behind a thin tagged pointer. The only unsafe code of the store.
//!
//! ```text
//! flags 1 | access clock 3 | stamp time 8 | stamp origin 4 | key length 1/5 | value length 1/3/5
//! key | value | horizon delta 6 (optional) | side pointer 8 (optional)
//! ```
//!
//! With `PACKED` there is no base: the value is a small collection, the stamp that of its key cell.
//!
//! Named invariants, on which every `unsafe` block below rests:
//!
//! - **owned**: the address in `Entry.0` was returned by `alloc` with the layout of
//!   `size_class(extent)`, belongs to this `Entry` alone and is freed by its drop or `rewrite`
//!   only.
//! - **written**: the first `extent` bytes are initialised, where `extent` is what [`Shape`] reads
//!   off the header; nothing beyond is ever read.
//! - **boxed**: with `HAS_SIDE` the last 8 bytes hold null or what `Box::into_raw` of a `Side`
//!   returned, and nobody else holds that box.
//! - **tagged**: allocations are 16-byte aligned and lie below 2^48, so an address leaves 20 bits.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::num::NonZero;
use std::ptr::{NonNull, null_mut};

use crate::base::ids::Origin;
use crate::base::stamp::Stamp;

use super::elements::packed::Packed;
use super::state::{Base, Side};

/// Bits of the hash kept in an entry's pointer.
pub const TAG_BITS: u32 = 20;

const ALIGN: usize = 16;
const ADDRESS_MASK: usize = 0x0000_ffff_ffff_fff0;
const TAG_SHIFT: u32 = 44;

const STAMP_AT: usize = 4;
const LENGTHS_AT: usize = 16;

const HAS_BASE: u8 = 1;
const LIVE: u8 = 2;
const RESETS: u8 = 4;
const HAS_HORIZON: u8 = 8;
const HAS_SIDE: u8 = 16;
const PACKED: u8 = 32;

const HORIZON_BYTES: usize = 6;
const SIDE_BYTES: usize = 8;

const _: () = assert!(size_of::<usize>() == 8, "entries pack a tag into 64-bit addresses");

/// What the allocator takes for a request of `bytes`: 16-byte steps, 8 bytes of them its own.
pub const fn malloc_bytes(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    let chunk = (bytes + 8 + 15) & !15;
    if chunk < 32 { 32 } else { chunk }
}

/// The bytes usable in the chunk that a request of `bytes` gets.
const fn size_class(bytes: usize) -> usize {
    malloc_bytes(bytes) - 8
}

/// A key with its base, its value and a pointer to whatever else it has.
pub struct Entry(NonNull<u8>);

// SAFETY: *owned*: an entry is the only way to its allocation, and holds plain data.
unsafe impl Send for Entry {}
// SAFETY: a shared entry only reads.
unsafe impl Sync for Entry {}

/// Where everything is within an allocation.
#[derive(Copy, Clone)]
struct Shape {
    flags: u8,
    key_at: usize,
    key_len: usize,
    value_len: usize,
}

impl Shape {
    fn value_at(self) -> usize {
        self.key_at + self.key_len
    }

    fn horizon_at(self) -> usize {
        self.value_at() + self.value_len
    }

    fn side_at(self) -> usize {
        self.horizon_at() + if self.flags & HAS_HORIZON != 0 { HORIZON_BYTES } else { 0 }
    }

    fn extent(self) -> usize {
        self.side_at() + if self.flags & HAS_SIDE != 0 { SIDE_BYTES } else { 0 }
    }

    /// The shape an entry with these parts takes.
    fn planned(key_len: usize, base: Option<&Base>, value_len: usize, side: bool) -> Shape {
        let mut flags = if side { HAS_SIDE } else { 0 };
        if let Some(base) = base {
            flags |= HAS_BASE;
            flags |= if base.live { LIVE } else { 0 };
            flags |= if base.resets { RESETS } else { 0 };
            flags |= if horizon_delta(base).is_some() { HAS_HORIZON } else { 0 };
        }
        let key_at = LENGTHS_AT + key_length_bytes(key_len) + value_length_bytes(value_len);
        Shape { flags, key_at, key_len, value_len }
    }
}

impl Entry {
    pub fn new(
        tag: u32,
        key: &[u8],
        base: Option<&Base>,
        value: &[u8],
        side: Option<Box<Side>>,
    ) -> Entry {
        let shape = Shape::planned(key.len(), base, value.len(), side.is_some());
        let mut entry = Entry(allocate(shape.extent(), tag));
        entry.put(0, &[shape.flags, 0, 0, 0]);
        entry.put_stamp(base);
        entry.put_lengths(key.len(), value.len());
        entry.put(shape.key_at, key);
        entry.put(shape.value_at(), value);
        entry.put_tail(shape, base, side);
        entry
    }

    /// A key that holds a small collection and no base.
    pub fn new_packed(tag: u32, key: &[u8], packed: Packed<'_>, side: Option<Box<Side>>) -> Entry {
        let mut entry = Entry::new(tag, key, None, packed.bytes, side);
        entry.mark_packed(packed.born);
        entry
    }

    /// Gives the entry a small collection in place of base and value.
    pub fn rewrite_packed(&mut self, packed: Packed<'_>, side: Option<Box<Side>>) {
        self.rewrite(None, Some(packed.bytes), side);
        self.mark_packed(packed.born);
    }

    fn mark_packed(&mut self, born: Stamp) {
        let [flags] = self.array(0);
        assert!(flags & HAS_BASE == 0, "a small collection stands in the base's place");
        self.put(0, &[flags | PACKED]);
        self.put(STAMP_AT, &born.time.to_le_bytes());
        self.put(STAMP_AT + 8, &born.origin.0.to_le_bytes());
    }

    #[inline]
    pub fn is_packed(&self) -> bool {
        let [flags] = self.array(0);
        flags & PACKED != 0
    }

    /// The small collection in the value's place.
    #[inline]
    pub fn packed(&self) -> Option<Packed<'_>> {
        if !self.is_packed() {
            return None;
        }
        let shape = self.shape();
        let time = u64::from_le_bytes(self.array(STAMP_AT));
        let origin = Origin(u32::from_le_bytes(self.array(STAMP_AT + 8)));
        let bytes = self.read(shape.value_at(), shape.value_len);
        Some(Packed { born: Stamp::new(time, origin), bytes })
    }

    /// Gives the entry another base and side, and another value unless that is `None`; in place if
    /// the allocation is of the right size. The access clock stays. A side still there is dropped.
    pub fn rewrite(&mut self, base: Option<&Base>, value: Option<&[u8]>, side: Option<Box<Side>>) {
        drop(self.take_side());
        let held = self.shape();
        let value_len = value.map_or(held.value_len, <[u8]>::len);
        let shape = Shape::planned(held.key_len, base, value_len, side.is_some());
        let fits = size_class(shape.extent()) == size_class(held.extent());
        if fits && shape.key_at == held.key_at {
            self.put(0, &[shape.flags]);
            self.put_stamp(base);
            self.put_lengths(shape.key_len, value_len);
            if let Some(value) = value {
                self.put(shape.value_at(), value);
            }
            self.put_tail(shape, base, side);
            return;
        }
        let mut moved = Entry(allocate(shape.extent(), self.tag()));
        let clock = self.read(0, LENGTHS_AT);
        moved.put(0, &[shape.flags, clock[1], clock[2], clock[3]]);
        moved.put_stamp(base);
        moved.put_lengths(shape.key_len, value_len);
        moved.put(shape.key_at, self.key());
        moved.put(shape.value_at(), value.unwrap_or_else(|| self.value()));
        moved.put_tail(shape, base, side);
        *self = moved;
    }

    /// Takes the side record off; its place in the allocation stays.
    pub fn take_side(&mut self) -> Option<Box<Side>> {
        let shape = self.shape();
        let side = self.side_address(shape)?;
        // SAFETY: *owned*: the flag that `side_address` has found says that the place exists.
        unsafe {
            self.address().add(shape.side_at()).cast::<*mut Side>().write_unaligned(null_mut())
        }
        // SAFETY: *boxed*; the place is null from now on, so this is the only box made of it.
        Some(unsafe { Box::from_raw(side.as_ptr()) })
    }

    /// Puts a side record (back) in the place of none.
    pub fn put_side(&mut self, side: Box<Side>) {
        let shape = self.shape();
        if shape.flags & HAS_SIDE != 0 {
            drop(self.take_side());
            self.put_side_at(shape, side);
            return;
        }
        assert!(shape.flags & PACKED == 0, "what has not changed has the side record it had");
        let base = self.base();
        self.rewrite(base.as_ref(), None, Some(side));
    }

    #[inline]
    pub fn tag(&self) -> u32 {
        (self.0.addr().get() >> TAG_SHIFT) as u32
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        let shape = self.shape();
        self.read(shape.key_at, shape.key_len)
    }

    /// The base's value; empty without a live base.
    #[inline]
    pub fn value(&self) -> &[u8] {
        let shape = self.shape();
        let value_len = if shape.flags & PACKED == 0 { shape.value_len } else { 0 };
        self.read(shape.value_at(), value_len)
    }

    #[inline]
    pub fn base(&self) -> Option<Base> {
        let shape = self.shape();
        if shape.flags & HAS_BASE == 0 {
            return None;
        }
        let time = u64::from_le_bytes(self.array(STAMP_AT));
        let origin = Origin(u32::from_le_bytes(self.array(STAMP_AT + 8)));
        let horizon = if shape.flags & HAS_HORIZON != 0 {
            let low: [u8; HORIZON_BYTES] = self.array(shape.horizon_at());
            let mut wide = [0; 8];
            wide[..HORIZON_BYTES].copy_from_slice(&low);
            time - u64::from_le_bytes(wide)
        } else {
            self.side().map_or(0, |side| side.wide_horizon)
        };
        Some(Base {
            stamp: Stamp::new(time, origin),
            live: shape.flags & LIVE != 0,
            resets: shape.flags & RESETS != 0,
            horizon,
        })
    }

    #[inline]
    pub fn side(&self) -> Option<&Side> {
        let shape = self.shape();
        let side = self.side_address(shape)?;
        // SAFETY: *boxed*, and the reference lives no longer than the borrow of the entry.
        Some(unsafe { side.as_ref() })
    }

    /// What the entry takes of the allocator, side record included.
    pub fn used_bytes(&self) -> usize {
        malloc_bytes(self.shape().extent()) + self.side().map_or(0, Side::used_bytes)
    }

    #[inline]
    fn shape(&self) -> Shape {
        let [flags] = self.array(0);
        let [key_short, value_short, ..] = self.array::<8>(LENGTHS_AT);
        if key_short != u8::MAX && value_short < VALUE_U16 {
            let (key_len, value_len) = (usize::from(key_short), usize::from(value_short));
            return Shape { flags, key_at: LENGTHS_AT + 2, key_len, value_len };
        }
        let mut at = LENGTHS_AT + 1;
        let mut key_len = usize::from(key_short);
        if key_short == u8::MAX {
            key_len = u32::from_le_bytes(self.array(at)) as usize;
            at += 4;
        }
        let [value_short] = self.array(at);
        at += 1;
        let value_len = match value_short {
            VALUE_U32 => u32::from_le_bytes(self.array(at)) as usize,
            VALUE_U16 => usize::from(u16::from_le_bytes(self.array(at))),
            short => usize::from(short),
        };
        let key_at = LENGTHS_AT + key_length_bytes(key_len) + value_length_bytes(value_len);
        Shape { flags, key_at, key_len, value_len }
    }

    fn put_stamp(&mut self, base: Option<&Base>) {
        let stamp = base.map_or(Stamp::ZERO, |base| base.stamp);
        self.put(STAMP_AT, &stamp.time.to_le_bytes());
        self.put(STAMP_AT + 8, &stamp.origin.0.to_le_bytes());
    }

    fn put_lengths(&mut self, key_len: usize, value_len: usize) {
        assert!(key_len <= u32::MAX as usize && value_len <= u32::MAX as usize);
        let mut at = LENGTHS_AT;
        if key_length_bytes(key_len) == 1 {
            self.put(at, &[key_len as u8]);
        } else {
            self.put(at, &[u8::MAX]);
            self.put(at + 1, &(key_len as u32).to_le_bytes());
        }
        at += key_length_bytes(key_len);
        match value_length_bytes(value_len) {
            1 => self.put(at, &[value_len as u8]),
            3 => {
                self.put(at, &[VALUE_U16]);
                self.put(at + 1, &(value_len as u16).to_le_bytes());
            }
            _ => {
                self.put(at, &[VALUE_U32]);
                self.put(at + 1, &(value_len as u32).to_le_bytes());
            }
        }
    }

    fn put_tail(&mut self, shape: Shape, base: Option<&Base>, side: Option<Box<Side>>) {
        if let Some(delta) = base.and_then(horizon_delta) {
            self.put(shape.horizon_at(), &delta.to_le_bytes()[..HORIZON_BYTES]);
        }
        if let Some(side) = side {
            self.put_side_at(shape, side);
        }
    }

    fn put_side_at(&mut self, shape: Shape, side: Box<Side>) {
        assert!(shape.flags & HAS_SIDE != 0);
        let at = shape.side_at();
        // SAFETY: *owned*: `shape` was planned with room for the pointer; the place may be
        // unaligned. From here on the box is the entry's (*boxed*).
        unsafe { self.address().add(at).cast::<*mut Side>().write_unaligned(Box::into_raw(side)) }
    }

    #[inline]
    fn side_address(&self, shape: Shape) -> Option<NonNull<Side>> {
        if shape.flags & HAS_SIDE == 0 {
            return None;
        }
        // SAFETY: *boxed*: with the flag set these 8 bytes hold a pointer.
        let raw =
            unsafe { self.address().add(shape.side_at()).cast::<*mut Side>().read_unaligned() };
        NonNull::new(raw)
    }

    #[inline]
    fn address(&self) -> *mut u8 {
        self.0.as_ptr().map_addr(|word| (word << 4) & ADDRESS_MASK)
    }

    #[inline]
    fn read(&self, at: usize, len: usize) -> &[u8] {
        // SAFETY: *owned* and *written*: callers stay within the extent that the header states.
        unsafe { std::slice::from_raw_parts(self.address().add(at), len) }
    }

    /// `N` bytes at `at`. The 24 bytes every allocation has may be read whatever the extent.
    #[inline]
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        // SAFETY: *owned*; within the extent or the first 24 bytes, which `allocate` has zeroed.
        unsafe { self.address().add(at).cast::<[u8; N]>().read_unaligned() }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        // SAFETY: *owned*: callers write within the extent the allocation was made for, and `bytes`
        // is borrowed from elsewhere, because the entry is borrowed mutably.
        unsafe { self.address().add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.take_side());
        release(self.address(), self.shape().extent());
    }
}

const VALUE_U16: u8 = 0xfe;
const VALUE_U32: u8 = 0xff;

const fn key_length_bytes(len: usize) -> usize {
    if len < u8::MAX as usize { 1 } else { 5 }
}

const fn value_length_bytes(len: usize) -> usize {
    if len < VALUE_U16 as usize {
        1
    } else if len <= u16::MAX as usize {
        3
    } else {
        5
    }
}

/// How far the horizon lies behind the stamp, if it is kept inline.
fn horizon_delta(base: &Base) -> Option<u64> {
    let delta = base.stamp.time.checked_sub(base.horizon)?;
    (base.horizon != 0 && delta < 1 << (8 * HORIZON_BYTES)).then_some(delta)
}

/// Whether this base's horizon has to be kept in the side record.
pub fn needs_wide_horizon(base: &Base) -> bool {
    base.horizon != 0 && horizon_delta(base).is_none()
}

fn layout(extent: usize) -> Layout {
    Layout::from_size_align(size_class(extent), ALIGN).expect("an entry fits the address space")
}

/// A tagged pointer to a fresh allocation whose first 24 bytes are zero.
fn allocate(extent: usize, tag: u32) -> NonNull<u8> {
    assert!(tag < 1 << TAG_BITS);
    let layout = layout(extent);
    // SAFETY: the layout's size is never 0.
    let raw = unsafe { alloc(layout) };
    let Some(raw) = NonNull::new(raw) else { handle_alloc_error(layout) };
    // SAFETY: the smallest class has 24 bytes.
    unsafe { raw.as_ptr().write_bytes(0, 24) };
    let address = raw.addr().get();
    assert!(address & !ADDRESS_MASK == 0, "an allocation outside 48 bits");
    raw.map_addr(|addr| {
        let word = (addr.get() >> 4) | ((tag as usize) << TAG_SHIFT);
        NonZero::new(word).expect("an aligned address keeps a bit")
    })
}

/// Frees what `allocate` gave for `extent`.
fn release(address: *mut u8, extent: usize) {
    // SAFETY: *owned*: callers pass the extent the allocation was made for and forget the address.
    unsafe { dealloc(address, layout(extent)) }
}
