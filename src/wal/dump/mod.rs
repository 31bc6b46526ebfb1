//! A dump: a file of Redis's format that other servers load, and that tells this server more than them.
//!
//! What only this server understands lies in auxiliary fields, which others pass over:
//!
//! ```text
//! quorate-node     before the first key: who wrote it, 32 hexadecimal digits
//! quorate-head     before the first key: a snapshot's head (see `snapshot`)
//! quorate-cells    before a key: its cells with their stamps
//! quorate-traces   anywhere between keys: what no client sees: a deleted or expired key's cells, a flush
//! quorate-tail     behind the last key: all of them are there
//! ```
//!
//! A dump is fuzzy as a snapshot is: each row of partitions as it stood when it was written. Nothing stands behind a
//! dump that would make up for that, and nothing tells what happened after it, so it never claims that its writer had
//! seen what it does not show. Loading one yields a snapshot's pieces again. Of what the writer had collected the head
//! alone tells, as it was at the beginning: the cluster has gone on since in any case, and says how far when it is met.

mod load;
mod save;
#[cfg(test)]
mod tests;

pub use self::load::{DumpError, DumpLoader, Loading, Terms};
pub use self::save::{DumpWriter, Shown};

mod field {
    pub const NODE: &[u8] = b"quorate-node";
    pub const HEAD: &[u8] = b"quorate-head";
    pub const CELLS: &[u8] = b"quorate-cells";
    pub const TRACES: &[u8] = b"quorate-traces";
    pub const TAIL: &[u8] = b"quorate-tail";
}

/// Most bytes of a string in a dump: those of a value, and what its cells need beside it.
pub const STRING_BYTES_MAX: usize = (512 << 20) + (1 << 20);
