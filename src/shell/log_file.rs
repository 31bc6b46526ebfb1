//! The end of the log, where it grows: written by the main thread with one write(2) a turn, and brought onto the device by
//! a thread of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use super::disk::{LogError, at};
use super::snapshot;
use crate::base::ids::Lsn;
use crate::base::io::DiskError;
use crate::wal::frame::{self, Kind};

/// A new segment. Without room for its header there is none.
pub(super) fn create(path: &Path, first: Lsn) -> Result<File, LogError> {
    let file = OpenOptions::new().append(true).create_new(true).open(path);
    let mut file = file.map_err(at(path))?;
    if let Err(e) = file.write_all(&frame::header(Kind::Log, first)) {
        drop(file);
        fs::remove_file(path).map_err(at(path))?;
        return Err(at(path)(e));
    }
    Ok(file)
}

/// What has to be on the device for a sync to be done.
struct Sync {
    /// Segments before the last: first of all.
    older: Vec<Arc<File>>,
    /// The last segment gets its name once they are.
    fresh: Option<Fresh>,
    file: Arc<File>,
    answer: oneshot::Sender<io::Result<()>>,
}

/// A segment that begins where those before it may not be on the device as a whole.
struct Fresh {
    dir: PathBuf,
    first: Lsn,
}

impl Fresh {
    fn path(&self) -> PathBuf {
        self.dir.join(snapshot::fresh_name_of(self.first))
    }

    /// What comes before it is on the device.
    fn settle(self) -> io::Result<()> {
        fs::rename(self.path(), self.dir.join(snapshot::segment_name_of(self.first)))?;
        File::open(self.dir)?.sync_all()
    }
}

/// The end of the log, where it grows, and the snapshots beside it.
pub struct LogFile {
    dir: PathBuf,
    file: Arc<File>,
    /// The first record of the file.
    first: Lsn,
    /// Segments before it that may not be on the device as a whole.
    older: Vec<Arc<File>>,
    fresh: Option<Fresh>,
    snapshots: snapshot::Writer,
    /// What there was no room for, in order.
    unwritten: Vec<u8>,
    syncs: mpsc::Sender<Sync>,
}

impl LogFile {
    pub(super) fn new(dir: &Path, file: File, first: Lsn) -> LogFile {
        let (syncs, inbox) = mpsc::channel::<Sync>();
        std::thread::spawn(move || {
            for Sync { older, fresh, file, answer } in inbox {
                let synced = older.iter().try_for_each(|file| file.sync_data());
                let synced = synced.and_then(|()| fresh.map_or(Ok(()), Fresh::settle));
                let synced = synced.and_then(|()| file.sync_data());
                // Who no longer waits for the answer needs none.
                let _ = answer.send(synced);
            }
        });
        LogFile {
            dir: dir.to_path_buf(),
            file: Arc::new(file),
            first,
            older: Vec::new(),
            fresh: None,
            snapshots: snapshot::Writer::start(dir),
            unwritten: Vec::new(),
            syncs,
        }
    }

    /// Begins a snapshot that stands for all records before `lsn`, the next: a segment of its own begins there, too.
    ///
    /// # Errors
    /// If that cannot be: the log goes on as before, and no snapshot is under way.
    pub fn begin_snapshot(&mut self, lsn: Lsn) -> Result<(), LogError> {
        if self.first != lsn {
            let fresh = Fresh { dir: self.dir.clone(), first: lsn };
            let why = match (self.unwritten.is_empty(), &self.fresh) {
                (true, None) => None,
                (true, Some(_)) => Some(io::ErrorKind::ResourceBusy),
                (false, _) => Some(io::ErrorKind::StorageFull),
            };
            let file = match why {
                None => create(&fresh.path(), lsn),
                Some(why) => Err(at(&self.dir)(why.into())),
            };
            let file = file.inspect_err(|_| self.snapshots.give_up())?;
            self.fresh = Some(fresh);
            self.older.push(std::mem::replace(&mut self.file, Arc::new(file)));
            self.first = lsn;
        }
        self.snapshots.begin(lsn);
        Ok(())
    }

    /// Where chunks go, and the end.
    pub fn snapshots(&self) -> &snapshot::Writer {
        &self.snapshots
    }

    /// Writes at the end.
    ///
    /// # Errors
    /// Without room the rest is kept and goes first when there is: see [`LogFile::retry`].
    pub fn append(&mut self, records: &[u8]) -> Result<(), DiskError> {
        if !self.unwritten.is_empty() {
            self.unwritten.extend_from_slice(records);
            return Err(DiskError::Full);
        }
        let (written, result) = write(&self.file, records);
        if result == Err(DiskError::Full) {
            self.unwritten.extend_from_slice(&records[written..]);
        }
        result
    }

    /// Goes on with what there was no room for.
    ///
    /// # Errors
    /// If there still is none.
    pub fn retry(&mut self) -> Result<(), DiskError> {
        let (written, result) = write(&self.file, &self.unwritten);
        self.unwritten.drain(..written);
        result
    }

    /// Begins to bring onto the device what has been written.
    pub fn sync(&mut self) -> oneshot::Receiver<io::Result<()>> {
        let (answer, answered) = oneshot::channel();
        let (older, fresh) = (std::mem::take(&mut self.older), self.fresh.take());
        // Without its thread the answer is that nobody answers.
        let _ = self.syncs.send(Sync { older, fresh, file: self.file.clone(), answer });
        answered
    }
}

/// Writes as much as there is room for: how much that was.
fn write(mut file: &File, bytes: &[u8]) -> (usize, Result<(), DiskError>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(DiskError::Failed)),
            Ok(more) => written += more,
            Err(e) => match e.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    return (written, Err(DiskError::Full));
                }
                _ => {
                    tracing::warn!("The log cannot be written: {e}");
                    return (written, Err(DiskError::Failed));
                }
            },
        }
    }
    (written, Ok(()))
}
