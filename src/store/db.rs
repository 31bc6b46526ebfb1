//! One database: a table per partition, and where in it a key is.

use crate::base::checksum::partition_of;
use crate::base::ids::{DbIndex, PARTITION_COUNT};

use super::entry::{Entry, malloc_bytes};
use super::table::{KeyHasher, Table};

/// Where a key is, or would be.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    pub db: u16,
    pub partition: u16,
    pub hash: u64,
}

impl Place {
    #[inline]
    pub fn of(db: DbIndex, key: &[u8], hasher: &KeyHasher) -> Place {
        Place { db: db.0, partition: partition_of(key).0, hash: hasher.hash(key) }
    }
}

const WORDS: usize = PARTITION_COUNT as usize / 64;

/// Tables of neighbouring partitions that are allocated together.
const GROUP: usize = 16;
const GROUPS: usize = PARTITION_COUNT as usize / GROUP;

type Group = [Table; GROUP];

/// The tables of a database; those of a group of partitions are allocated when its first key comes, and
/// given back with its last.
pub struct Db {
    groups: [Option<Box<Group>>; GROUPS],
    /// Of a partition whose group is not there.
    empty: Table,
    /// Groups that are there.
    group_count: usize,
    /// One bit per partition with a key.
    occupied: [u64; WORDS],
}

impl Db {
    pub fn new() -> Db {
        Db {
            groups: [const { None }; GROUPS],
            empty: Table::default(),
            group_count: 0,
            occupied: [0; WORDS],
        }
    }

    #[inline]
    pub fn table(&self, partition: u16) -> &Table {
        let (group, at) = place_of(partition);
        self.groups[group].as_ref().map_or(&self.empty, |tables| &tables[at])
    }

    /// To be followed by [`Db::note_occupied`] if it comes to be empty, or no longer is.
    #[inline]
    pub fn table_mut(&mut self, partition: u16) -> &mut Table {
        let (group, at) = place_of(partition);
        let tables = self.groups[group].get_or_insert_with(|| {
            self.group_count += 1;
            Box::new(Group::default())
        });
        &mut tables[at]
    }

    /// To be called when a table may have come to be empty, or no longer be.
    #[inline]
    pub fn note_occupied(&mut self, partition: u16) {
        let bit = 1 << (partition % 64);
        let is_empty = self.table(partition).len() == 0;
        let word = &mut self.occupied[usize::from(partition / 64)];
        if !is_empty {
            *word |= bit;
            return;
        }
        *word &= !bit;
        let (group, _) = place_of(partition);
        let bits = *word >> (group * GROUP % 64) & ((1 << GROUP) - 1);
        if bits == 0 && self.groups[group].take().is_some() {
            self.group_count -= 1;
        }
    }

    /// The first partition from `from` on that has a key.
    pub fn next_occupied(&self, from: u16) -> Option<u16> {
        let first = usize::from(from / 64);
        for (i, &word) in self.occupied.iter().enumerate().skip(first) {
            let word = if i == first { word & (u64::MAX << (from % 64)) } else { word };
            if word != 0 {
                return Some((i * 64) as u16 + word.trailing_zeros() as u16);
            }
        }
        None
    }

    pub fn is_empty(&self) -> bool {
        self.occupied.iter().all(|&word| word == 0)
    }

    /// The partitions that have a key.
    pub fn partitions(&self) -> impl Iterator<Item = u16> + '_ {
        let mut next = self.next_occupied(0);
        std::iter::from_fn(move || {
            let partition = next?;
            next = self.next_occupied(partition + 1);
            Some(partition)
        })
    }

    /// All entries with their partitions, in the order of (partition, hash).
    pub fn entries(&self) -> impl Iterator<Item = (u16, &Entry)> + '_ {
        self.partitions()
            .flat_map(|partition| self.table(partition).iter_from(0).map(move |e| (partition, e)))
    }

    /// Of the structure itself, without what the tables hold.
    pub const fn own_bytes(&self) -> usize {
        malloc_bytes(size_of::<Db>()) + self.group_count * malloc_bytes(size_of::<Group>())
    }
}

/// The group of a partition, and its place there.
const fn place_of(partition: u16) -> (usize, usize) {
    (partition as usize / GROUP, partition as usize % GROUP)
}
