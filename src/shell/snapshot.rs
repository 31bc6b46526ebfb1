//! The files of snapshots in the data directory: `snapshot-` and the place of the first record it does not stand for, in
//! twenty digits, `.qsnap`. Written by a thread of its own under another name first; read at the start, before the log.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::base::ids::Lsn;
use crate::base::io::Recover;
use crate::wal::frame::{self, HEADER_BYTES, HeaderError, Kind, Step};

/// What is being written.
const DRAFT: &str = "snapshot.tmp";
/// Bytes read in one step.
const STEP_BYTES: usize = 1 << 20;

/// The name of a snapshot's file.
pub fn name_of(lsn: Lsn) -> String {
    format!("snapshot-{:020}.qsnap", lsn.0)
}

/// The name of a segment's file.
pub fn segment_name_of(first: Lsn) -> String {
    format!("log-{:020}.qlog", first.0)
}

/// The name of a segment while those before it may not be on the device as a whole.
pub fn fresh_name_of(first: Lsn) -> String {
    format!("log-{:020}.qlog.new", first.0)
}

/// The place in the name of a file of this kind.
pub fn place_in(name: &str, prefix: &str, suffix: &str) -> Option<Lsn> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    digits.parse().ok().filter(|_| digits.len() == 20).map(Lsn)
}

/// Removes what a snapshot stands for: earlier ones, and segments of the log that end before it begins to count.
///
/// # Errors
/// Of the file system; what is left is removed another time.
pub fn remove_before(dir: &Path, lsn: Lsn) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let place = place_in(&name, "snapshot-", ".qsnap").or(place_in(&name, "log-", ".qlog"));
        if place.is_some_and(|place| place < lsn) {
            fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

enum Job {
    Begin(Lsn),
    GiveUp,
    Chunk(Bytes, oneshot::Sender<io::Result<()>>),
    Commit(oneshot::Sender<io::Result<()>>),
}

/// Writes snapshots, one after the other.
pub struct Writer {
    jobs: mpsc::Sender<Job>,
}

/// The snapshot under way.
struct Draft {
    file: File,
    lsn: Lsn,
}

impl Writer {
    pub fn start(dir: &Path) -> Writer {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let dir = dir.to_path_buf();
        std::thread::spawn(move || {
            let mut draft = Err(io::Error::other("no snapshot has begun"));
            for job in inbox {
                match job {
                    Job::Begin(lsn) => draft = begin(&dir, lsn),
                    Job::GiveUp => {
                        draft = Err(io::Error::other("no snapshot has begun"));
                        remove_draft(&dir);
                    }
                    Job::Chunk(bytes, answer) => {
                        let written = draft.as_mut().map_err(again).and_then(|draft| {
                            // (A retry after an error would leave a hole.)
                            draft.file.write_all(&bytes)
                        });
                        if let Err(e) = &written {
                            // Its room is wanted for the log.
                            draft = Err(io::Error::new(e.kind(), e.to_string()));
                            remove_draft(&dir);
                        }
                        // Who no longer waits for the answer needs none.
                        let _ = answer.send(written);
                    }
                    Job::Commit(answer) => {
                        let none = Err(io::Error::other("no snapshot has begun"));
                        let done = std::mem::replace(&mut draft, none);
                        let done = done.and_then(|draft| commit(&dir, draft));
                        let _ = answer.send(done.inspect_err(|_| remove_draft(&dir)));
                    }
                }
            }
        });
        Writer { jobs }
    }

    /// Begins a snapshot; one under way is given up. What goes wrong the next chunk's answer tells.
    pub fn begin(&self, lsn: Lsn) {
        // Without its thread the answers are that nobody answers.
        let _ = self.jobs.send(Job::Begin(lsn));
    }

    /// The snapshot under way is given up; chunks fail until another begins.
    pub fn give_up(&self) {
        let _ = self.jobs.send(Job::GiveUp);
    }

    pub fn chunk(&self, bytes: Bytes) -> oneshot::Receiver<io::Result<()>> {
        let (answer, answered) = oneshot::channel();
        let _ = self.jobs.send(Job::Chunk(bytes, answer));
        answered
    }

    pub fn commit(&self) -> oneshot::Receiver<io::Result<()>> {
        let (answer, answered) = oneshot::channel();
        let _ = self.jobs.send(Job::Commit(answer));
        answered
    }
}

/// What is left of a snapshot that was given up.
fn remove_draft(dir: &Path) {
    match fs::remove_file(dir.join(DRAFT)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("{} cannot be removed: {e}", dir.join(DRAFT).display());
        }
        Ok(()) | Err(_) => {}
    }
}

fn again(error: &mut io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

fn begin(dir: &Path, lsn: Lsn) -> io::Result<Draft> {
    let mut file = File::create(dir.join(DRAFT))?;
    file.write_all(&frame::header(Kind::Snapshot, lsn))?;
    Ok(Draft { file, lsn })
}

/// Whole on the device first, then under its name, then the rest goes.
fn commit(dir: &Path, draft: Draft) -> io::Result<()> {
    draft.file.sync_all()?;
    fs::rename(dir.join(DRAFT), dir.join(name_of(draft.lsn)))?;
    File::open(dir)?.sync_all()?;
    if let Err(e) = remove_before(dir, draft.lsn) {
        tracing::warn!("what the snapshot stands for cannot be removed: {e}");
    }
    Ok(())
}

/// A snapshot being read.
pub struct Reading {
    pub path: PathBuf,
    file: File,
    pub lsn: Lsn,
    /// Read and not yet understood.
    buf: Vec<u8>,
    at: u64,
}

/// Why a snapshot cannot be read; `at` is where, in bytes from the beginning.
#[derive(Debug)]
pub enum Fault {
    Io(io::Error),
    Header(HeaderError),
    Damaged { at: u64 },
}

impl Reading {
    /// The newest snapshot in a directory. A draft is removed.
    ///
    /// # Errors
    /// Where, and why.
    pub fn open(dir: &Path) -> Result<Option<Reading>, (PathBuf, Fault)> {
        let at_dir = |e| (dir.to_path_buf(), Fault::Io(e));
        match fs::remove_file(dir.join(DRAFT)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at_dir(e)),
            Ok(()) | Err(_) => {}
        }
        let mut newest = None;
        for entry in fs::read_dir(dir).map_err(at_dir)? {
            let name = entry.map_err(at_dir)?.file_name().to_string_lossy().into_owned();
            newest = newest.max(place_in(&name, "snapshot-", ".qsnap"));
        }
        let Some(lsn) = newest else { return Ok(None) };
        let path = dir.join(name_of(lsn));
        let at = |fault| (path.clone(), fault);
        let file = File::open(&path).map_err(|e| at(Fault::Io(e)))?;
        let mut head = Vec::with_capacity(HEADER_BYTES);
        let read = (&file).take(HEADER_BYTES as u64).read_to_end(&mut head);
        read.map_err(|e| at(Fault::Io(e)))?;
        let found = frame::read_header(Kind::Snapshot, &head).map_err(|e| at(Fault::Header(e)))?;
        if found != lsn {
            return Err(at(Fault::Damaged { at: 0 }));
        }
        Ok(Some(Reading { path, file, lsn, buf: Vec::new(), at: HEADER_BYTES as u64 }))
    }

    /// Reads about as much as fits into one turn. True if there is more.
    ///
    /// # Errors
    /// If there is anything but whole frames.
    pub fn step(&mut self, each: &mut dyn FnMut(Recover<'_>)) -> Result<bool, Fault> {
        let wants = match frame::step(&self.buf) {
            Step::Short { bytes } => bytes,
            Step::Frame { .. } => 0,
            Step::Damaged => return Err(Fault::Damaged { at: self.at }),
        };
        let bytes = wants.saturating_sub(self.buf.len()).max(STEP_BYTES) as u64;
        let read = (&self.file).take(bytes).read_to_end(&mut self.buf).map_err(Fault::Io)?;
        let mut used = 0;
        while let Step::Frame { contents, bytes } = frame::step(&self.buf[used..]) {
            each(Recover::Piece(contents));
            used += bytes;
        }
        self.buf.drain(..used);
        self.at += used as u64;
        if read as u64 == bytes {
            return Ok(true);
        }
        if self.buf.is_empty() { Ok(false) } else { Err(Fault::Damaged { at: self.at }) }
    }
}
