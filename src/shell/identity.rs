//! The data directory: its lock, and the file that keeps who this node is across restarts.
//!
//! The file is text, so that an operator can read it:
//!
//! ```text
//! quorate identity 1
//! node-id 5f1d…                     32 hexadecimal digits
//! epoch 7                           number of the latest start
//! horizon 111411200572719104        stamp time up to which its cluster may have collected
//! needs 77ab… 1318633101            nobody has, before this node (in the life with this origin) announced something
//! member 77ab…                      another node of the cluster; as many lines as there are
//! check 1a2b                        CRC16 of the lines above
//! ```
//!
//! It is replaced as a whole (temporary file, fsync, rename, fsync of the directory): a power failure leaves
//! the old one or the new one. What cannot be read as such is reported and never overwritten.
//!
//! A second file, `reserve`, takes room that nothing else can: given up for the identity when the device is full, so that
//! a server whose log has filled it can be started again, and taken anew as soon as there is room.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use crate::base::checksum::crc16;
use crate::base::ids::{Epoch, NodeId, Origin};
use crate::base::io::Past;
use crate::node::config::Identity;

const FILE: &str = "node.id";
const TEMPORARY: &str = "node.id.tmp";
const LOCK: &str = "lock";
const RESERVE: &str = "reserve";
/// More than two identities take.
const RESERVE_BYTES: usize = 64 << 10;
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
            None => Identity { node_id: fresh_id, epoch: Epoch(1), past: Past::default() },
            Some(last) => {
                let path = || self.path.join(FILE);
                let epoch = last.epoch.0.checked_add(1);
                let epoch = epoch.ok_or_else(|| DirError::EpochsExhausted { path: path() })?;
                Identity { epoch: Epoch(epoch), ..last }
            }
        };
        self.store(&next).map_err(|source| DirError::Write { path: self.path.clone(), source })?;
        self.keep_reserve();
        Ok(next)
    }

    /// The identity that is kept here.
    ///
    /// # Errors
    /// If there is none, or the file cannot be read or is garbage.
    pub fn identity(&self) -> Result<Identity, DirError> {
        let path = self.path.join(FILE);
        let none = || DirError::Read { path, source: io::ErrorKind::NotFound.into() };
        self.read()?.ok_or_else(none)
    }

    /// Writes `identity` down durably.
    ///
    /// # Errors
    /// Of the file system. The file then holds the old identity or the new one.
    pub fn store(&self, identity: &Identity) -> io::Result<()> {
        match self.replace(identity) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                match fs::remove_file(self.path.join(RESERVE)) {
                    Ok(()) => {}
                    Err(_) => return Err(error),
                }
                self.replace(identity)?;
                self.keep_reserve();
                Ok(())
            }
            done => done,
        }
    }

    fn replace(&self, identity: &Identity) -> io::Result<()> {
        let temporary = self.path.join(TEMPORARY);
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(render(identity).as_bytes())?;
            file.sync_all()
        });
        if let Err(error) = written {
            // What there is of it only takes room.
            drop(fs::remove_file(&temporary));
            return Err(error);
        }
        fs::rename(&temporary, self.path.join(FILE))?;
        File::open(&self.path)?.sync_all()
    }

    /// Takes room aside, if there is any: without it, it is tried again at the next start.
    fn keep_reserve(&self) {
        let path = self.path.join(RESERVE);
        if fs::metadata(&path).is_ok_and(|file| file.len() == RESERVE_BYTES as u64) {
            return;
        }
        let taken = File::create(&path).and_then(|mut file| {
            file.write_all(&[0; RESERVE_BYTES])?;
            file.sync_all()
        });
        if taken.is_err() {
            drop(fs::remove_file(&path));
        }
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

/// Whoever waits for the end of a write.
pub type Answer = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Writes identities down on a thread of its own, one after the other: a disk takes its time.
#[derive(Debug)]
pub struct Notary {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    identity: Identity,
    answer: Answer,
}

impl Notary {
    /// Takes the directory; it stays locked until the notary is dropped.
    pub fn start(dir: DataDir) -> Notary {
        let (jobs, inbox) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for Job { identity, answer } in inbox {
                answer(dir.store(&identity));
            }
        });
        Notary { jobs }
    }

    /// Begins to write `identity` down durably; what it replaces stays until then. `answer` is called on the notary's
    /// thread.
    pub fn begin(&self, identity: Identity, answer: Answer) {
        if let Err(mpsc::SendError(job)) = self.jobs.send(Job { identity, answer }) {
            (job.answer)(Err(io::Error::other("the thread that writes identities has ended")));
        }
    }

    /// Writes `identity` down durably and waits for that: what was begun before is done then, too.
    ///
    /// # Errors
    /// Of the file system.
    pub fn store(&self, identity: Identity) -> io::Result<()> {
        let (tell, told) = mpsc::sync_channel(1);
        // Nobody has gone away: this thread waits for it.
        self.begin(identity, Box::new(move |result| drop(tell.send(result))));
        told.recv().map_err(io::Error::other)?
    }
}

fn render(identity: &Identity) -> String {
    let Identity { node_id, epoch, past } = identity;
    let mut text = format!("{HEADER}\nnode-id {node_id}\nepoch {}\n", epoch.0);
    if past.horizon > 0 {
        text += &format!("horizon {}\n", past.horizon);
    }
    for (node, origin) in &past.needs {
        text += &format!("needs {node} {}\n", origin.0);
    }
    for member in &past.members {
        text += &format!("member {member}\n");
    }
    let check = crc16(text.as_bytes());
    format!("{text}check {check:04x}\n")
}

/// The identity in `bytes`, or the line that is wrong and what it should be.
fn parse(bytes: &[u8]) -> Result<Identity, (usize, &'static str)> {
    const NODE_ID: &str = "'node-id' and 32 hexadecimal digits";
    const EPOCH: &str = "'epoch' and a number from 1";
    const HORIZON: &str = "'horizon' and a number from 1";
    const NEEDS: &str = "'needs', 32 hexadecimal digits and a number";
    const CHECK: &str = "'check' and the checksum of the lines above";

    let text = std::str::from_utf8(bytes).map_err(|_| (1, "text"))?;
    let mut lines = (1..).zip(text.lines()).peekable();
    if lines.next() != Some((1, HEADER)) {
        return Err((1, "'quorate identity 1'"));
    }
    let node = |text: &str| u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
    let mut value = |name: &str| {
        let (line, _) = *lines.peek()?;
        let (_, value) = lines.next_if(|(_, text)| text.starts_with(name))?;
        Some((line, &value[name.len()..]))
    };
    let node_id = value("node-id ").and_then(|(_, l)| node(l)).ok_or((2, NODE_ID))?;
    let epoch = value("epoch ").and_then(|(_, l)| l.parse().ok()).filter(|&e| e > 0);
    let epoch = epoch.ok_or((3, EPOCH))?;
    let mut past = Past::default();
    if let Some((line, text)) = value("horizon ") {
        past.horizon = text.parse().ok().filter(|&h| h > 0).ok_or((line, HORIZON))?;
    }
    while let Some((line, text)) = value("needs ") {
        let life = text
            .split_once(' ')
            .and_then(|(id, origin)| Some((NodeId(node(id)?), Origin(origin.parse().ok()?))));
        past.needs.push(life.ok_or((line, NEEDS))?);
    }
    while let Some((line, text)) = value("member ") {
        past.members.push(NodeId(node(text).ok_or((line, NODE_ID))?));
    }
    let line = lines.next().map_or(text.lines().count() + 1, |(line, _)| line);
    let identity = Identity { node_id: NodeId(node_id), epoch: Epoch(epoch), past };
    if text == render(&identity) { Ok(identity) } else { Err((line, CHECK)) }
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
                "{} is damaged at line {line}: expected {expected}. It was left as it is. Restore \
                 it from a backup; or move it away, and this server starts as a new node",
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
        assert_eq!(first, Identity { node_id: FRESH, epoch: Epoch(1), past: Past::default() });
        let second = identity_in(&deep, NodeId(7)).expect("the same directory");
        assert_eq!((second.node_id, second.epoch), (FRESH, Epoch(2)));
        let data = DataDir::open(&deep).expect("the directory is free");
        let needs = vec![(NodeId(1), Origin(u32::MAX)), (NodeId(2), Origin(0))];
        let past = Past { horizon: 77, needs, members: vec![NodeId(1), NodeId(u128::MAX)] };
        let last = Identity { node_id: FRESH, epoch: Epoch(9), past };
        data.store(&last).expect("writable");
        drop(data);
        let next = identity_in(&deep, FRESH).expect("readable");
        assert_eq!(next, Identity { epoch: Epoch(10), ..last });
    }

    #[test]
    fn notary_writes_in_order_and_says_when() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let notary = Notary::start(DataDir::open(dir.path()).expect("the directory is free"));
        let identity = |epoch| {
            let past = Past { horizon: 7, needs: Vec::new(), members: vec![NodeId(2)] };
            Identity { node_id: FRESH, epoch: Epoch(epoch), past }
        };
        let (tell, told) = mpsc::channel();
        notary.begin(
            identity(1),
            Box::new(move |result| tell.send(result.is_ok()).expect("it waits")),
        );
        notary.store(identity(2)).expect("writable");
        assert_eq!(told.try_recv(), Ok(true), "the first was done before the second");
        assert_eq!(parse(&fs::read(dir.path().join(FILE)).expect("readable")), Ok(identity(2)));
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
        let mut good = identity_in(dir.path(), FRESH).expect("a new directory");
        let needs = vec![(NodeId(3), Origin(5))];
        good.past = Past { horizon: u64::MAX, needs, members: vec![NodeId(3), NodeId(4)] };
        let data = DataDir::open(dir.path()).expect("the directory is free");
        data.store(&good).expect("writable");
        drop(data);
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
