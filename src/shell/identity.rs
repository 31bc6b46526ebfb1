//! The data directory: its lock, and the file that keeps who this node is across restarts.
//!
//! The file is text, so that an operator can read it:
//!
//! ```text
//! quorate identity 1
//! node-id 5f1d…                     32 hexadecimal digits
//! epoch 7                           number of the latest start
//! check 1a2b                        CRC16 of the lines above
//! ```
//!
//! It is replaced as a whole (temporary file, fsync, rename, fsync of the directory): a power failure leaves
//! the old one or the new one. What cannot be read as such is reported and never overwritten.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::base::checksum::crc16;
use crate::base::ids::{Epoch, NodeId};
use crate::node::config::Identity;

const FILE: &str = "node.id";
const TEMPORARY: &str = "node.id.tmp";
const LOCK: &str = "lock";
const HEADER: &str = "quorate identity 1";

/// A data directory that this process alone uses.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Released by the operating system when the process ends, however it ends.
    _lock: File,
}

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug)]
pub enum DirError {
    Create {
        path: PathBuf,
        source: io::Error,
    },
    InUse {
        path: PathBuf,
    },
    Lock {
        path: PathBuf,
        source: io::Error,
    },
    Read {
        path: PathBuf,
        source: io::Error,
    },
    /// The file is there and is not what was once written: `line` (from 1) and what it should be.
    Garbage {
        path: PathBuf,
        line: usize,
        expected: &'static str,
    },
    Write {
        path: PathBuf,
        source: io::Error,
    },
    EpochsExhausted {
        path: PathBuf,
    },
}

impl DataDir {
    /// Creates the directory if it is missing, and locks it.
    ///
    /// # Errors
    /// If another process uses it, or it cannot be created.
    pub fn open(path: &Path) -> Result<DataDir, DirError> {
        let path = path.to_path_buf();
        fs::create_dir_all(&path)
            .map_err(|source| DirError::Create { path: path.clone(), source })?;
        let name = path.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&name);
        let lock = lock.map_err(|source| DirError::Lock { path: name.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DirError::InUse { path }),
            Err(TryLockError::Error(source)) => Err(DirError::Lock { path: name, source }),
        }
    }

    /// The identity for this start: the one kept here with the next epoch, or a new one named
    /// `fresh_id`. It is on disk when this returns.
    ///
    /// # Errors
    /// If the file cannot be read, is garbage, or cannot be written.
    pub fn next_identity(&self, fresh_id: NodeId) -> Result<Identity, DirError> {
        let next = match self.read()? {
            None => Identity { node_id: fresh_id, epoch: Epoch(1) },
            Some(last) => {
                let path = || self.path.join(FILE);
                let epoch = last.epoch.0.checked_add(1);
                let epoch = epoch.ok_or_else(|| DirError::EpochsExhausted { path: path() })?;
                Identity { epoch: Epoch(epoch), ..last }
            }
        };
        self.store(next).map_err(|source| DirError::Write { path: self.path.clone(), source })?;
        Ok(next)
    }

    /// Writes `identity` down durably.
    ///
    /// # Errors
    /// Of the file system. The file then holds the old identity or the new one.
    pub fn store(&self, identity: Identity) -> io::Result<()> {
        let temporary = self.path.join(TEMPORARY);
        let mut file = File::create(&temporary)?;
        file.write_all(render(identity).as_bytes())?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, self.path.join(FILE))?;
        File::open(&self.path)?.sync_all()
    }

    fn read(&self) -> Result<Option<Identity>, DirError> {
        let path = self.path.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => match parse(&bytes) {
                Ok(identity) => Ok(Some(identity)),
                Err((line, expected)) => Err(DirError::Garbage { path, line, expected }),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DirError::Read { path, source }),
        }
    }
}

fn render(identity: Identity) -> String {
    let Identity { node_id, epoch } = identity;
    let text = format!("{HEADER}\nnode-id {node_id}\nepoch {}\n", epoch.0);
    let check = crc16(text.as_bytes());
    format!("{text}check {check:04x}\n")
}

/// The identity in `bytes`, or the line that is wrong and what it should be.
fn parse(bytes: &[u8]) -> Result<Identity, (usize, &'static str)> {
    const NODE_ID: &str = "'node-id' and 32 hexadecimal digits";
    const EPOCH: &str = "'epoch' and a number from 1";
    const CHECK: &str = "'check' and the checksum of the lines above";

    let text = std::str::from_utf8(bytes).map_err(|_| (1, "text"))?;
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err((1, "'quorate identity 1'"));
    }
    let node_id = lines.next().and_then(|l| l.strip_prefix("node-id ")).filter(|l| l.len() == 32);
    let node_id = node_id.and_then(|l| u128::from_str_radix(l, 16).ok()).ok_or((2, NODE_ID))?;
    let epoch = lines.next().and_then(|l| l.strip_prefix("epoch ")?.parse().ok());
    let epoch = epoch.filter(|&e| e > 0).ok_or((3, EPOCH))?;
    let identity = Identity { node_id: NodeId(node_id), epoch: Epoch(epoch) };
    if text == render(identity) { Ok(identity) } else { Err((4, CHECK)) }
}

impl fmt::Display for DirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirError::Create { path, source } => {
                write!(f, "cannot create the data directory {}: {source}", path.display())
            }
            DirError::InUse { path } => {
                write!(f, "the data directory {} is used by another server", path.display())
            }
            DirError::Lock { path, source } => {
                write!(f, "cannot lock {}: {source}", path.display())
            }
            DirError::Read { path, source } => {
                write!(f, "cannot read {}: {source}", path.display())
            }
            DirError::Garbage { path, line, expected } => write!(
                f,
                "{} is damaged at line {line}: expected {expected}. It was left as it is. Restore it \
                 from a backup; or move it away, and this server starts as a new node",
                path.display()
            ),
            DirError::Write { path, source } => {
                write!(f, "cannot write the node's identity into {}: {source}", path.display())
            }
            DirError::EpochsExhausted { path } => {
                write!(f, "{} has counted all epochs there are", path.display())
            }
        }
    }
}

impl std::error::Error for DirError {}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: NodeId = NodeId(0x00ab_cdef);

    fn identity_in(dir: &Path, fresh: NodeId) -> Result<Identity, DirError> {
        DataDir::open(dir).expect("the directory is free").next_identity(fresh)
    }

    #[test]
    fn a_node_keeps_its_id_and_counts_its_starts() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let deep = dir.path().join("a/b");
        let first = identity_in(&deep, FRESH).expect("a new directory");
        assert_eq!(first, Identity { node_id: FRESH, epoch: Epoch(1) });
        let second = identity_in(&deep, NodeId(7)).expect("the same directory");
        assert_eq!(second, Identity { node_id: FRESH, epoch: Epoch(2) });
        let data = DataDir::open(&deep).expect("the directory is free");
        data.store(Identity { node_id: FRESH, epoch: Epoch(9) }).expect("writable");
        drop(data);
        assert_eq!(identity_in(&deep, FRESH).expect("readable").epoch, Epoch(10));
    }

    #[test]
    fn a_directory_serves_one_process() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let held = DataDir::open(dir.path()).expect("the directory is free");
        assert!(matches!(DataDir::open(dir.path()), Err(DirError::InUse { .. })));
        drop(held);
        DataDir::open(dir.path()).expect("free again");
    }

    #[test]
    fn every_damage_is_reported_and_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let good = identity_in(dir.path(), FRESH).expect("a new directory");
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).expect("it was written");
        assert_eq!(parse(&whole), Ok(good));
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("writable");
            let refused = identity_in(dir.path(), FRESH);
            assert!(matches!(refused, Err(DirError::Garbage { .. })), "{length}: {refused:?}");
            assert_eq!(fs::read(&path).expect("still there"), &whole[..length]);
        }
        for index in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[index] ^= 1 << bit;
                assert!(parse(&flipped).is_err(), "bit {bit} of byte {index}");
            }
        }
    }
}
