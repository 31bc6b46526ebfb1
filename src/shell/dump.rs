//! The dump's file in the data directory, `dbfilename`. Written by a thread of its own under another name first; read at
//! the start of a server that has no log, or has none yet.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::known_dumps::{self, Print, Standing};
use super::snapshot::name_of;
use crate::base::ids::Lsn;
use crate::base::io::Recover;
use crate::wal::dump::{DumpError, DumpLoader, Loading, Terms};
use crate::wal::frame::{self, Kind};
use crate::wal::snapshot::Piece;

/// Bytes read in one step.
const STEP_BYTES: usize = 1 << 20;

/// What is being written, or is being made of a dump at a first start.
const DRAFT_SUFFIX: &str = ".tmp";
const SNAPSHOT_DRAFT: &str = "snapshot.tmp";

enum Job {
    Begin,
    Chunk(Bytes, oneshot::Sender<io::Result<()>>),
    Commit(oneshot::Sender<io::Result<()>>),
}

/// Writes dumps, one after the other.
pub struct DumpFile {
    jobs: mpsc::Sender<Job>,
}

/// What a dump is to the log of its directory.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Beside {
    /// The log that is kept holds the same.
    Log,
    /// The log that is there is not gone on with.
    IdleLog,
    NoLog,
}

impl DumpFile {
    /// Dumps go to `name` in `dir`. One that is there already must be known to the log, or be `loaded`, the one this
    /// process has loaded: any other is kept under another name.
    pub fn start(dir: &Path, name: &str, beside: Beside, loaded: Option<Print>) -> DumpFile {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let mut place = Place::new(dir, name, beside, loaded);
        std::thread::spawn(move || {
            let mut draft = Err(io::Error::other("no dump has begun"));
            for job in inbox {
                match job {
                    Job::Begin => draft = File::create(&place.draft),
                    Job::Chunk(bytes, answer) => {
                        let written = match &mut draft {
                            Ok(file) => file.write_all(&bytes),
                            Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
                        };
                        if let Err(e) = &written {
                            // (A retry after an error would leave a hole.)
                            tracing::warn!("{} cannot be written: {e}", place.draft.display());
                            draft = Err(io::Error::new(e.kind(), e.to_string()));
                            place.remove_draft();
                        }
                        // Who no longer waits for the answer needs none.
                        let _ = answer.send(written);
                    }
                    Job::Commit(answer) => {
                        let none = Err(io::Error::other("no dump has begun"));
                        let done = std::mem::replace(&mut draft, none);
                        let done = done.and_then(|file| place.commit(&file));
                        if let Err(e) = &done {
                            tracing::warn!("{} cannot be written: {e}", place.file.display());
                            place.remove_draft();
                        }
                        let _ = answer.send(done);
                    }
                }
            }
        });
        DumpFile { jobs }
    }

    /// Begins a dump; one under way is given up. What goes wrong the next chunk's answer tells.
    pub fn begin(&self) {
        // Without its thread the answers are that nobody answers.
        let _ = self.jobs.send(Job::Begin);
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

/// Where a dump is, and where it is while it is written.
struct Place {
    dir: PathBuf,
    name: String,
    file: PathBuf,
    draft: PathBuf,
    beside: Beside,
    /// What this process has loaded, or has written last.
    own: Option<Print>,
}

impl Place {
    fn new(dir: &Path, name: &str, beside: Beside, own: Option<Print>) -> Place {
        let (dir, name) = (dir.to_path_buf(), name.to_owned());
        let (file, draft) = (dir.join(&name), draft_of(&dir, &name));
        Place { dir, name, file, draft, beside, own }
    }

    /// Whole on the device first, then under its name. A file that has that name and of which nobody knows what it
    /// holds is kept.
    fn commit(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        // (The draft is open for writing only.)
        let print = Print::of(&File::open(&self.draft)?)?;
        let there = Print::at(&self.file)?;
        let standing = |print| known_dumps::standing(&self.dir, print);
        let standing = there.map(standing).transpose()?.flatten();
        let before = there.zip(standing);
        match self.beside {
            Beside::Log => known_dumps::note(&self.dir, print, Standing::Logged, before)?,
            Beside::IdleLog => known_dumps::note(&self.dir, print, Standing::Newer, before)?,
            Beside::NoLog => {}
        }
        if there.is_some() && standing.is_none() && self.own != there {
            let kept = known_dumps::keep(&self.dir, &self.name)?;
            tracing::warn!(
                "{} was neither loaded nor written by this server: it is kept as {}",
                self.file.display(),
                kept.display()
            );
        }
        fs::rename(&self.draft, &self.file)?;
        self.own = Some(print);
        File::open(&self.dir)?.sync_all()
    }

    fn remove_draft(&self) {
        remove_draft(&self.draft);
    }
}

fn draft_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}{DRAFT_SUFFIX}"))
}

fn remove_draft(draft: &Path) {
    match fs::remove_file(draft) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("{} cannot be removed: {e}", draft.display());
        }
        Ok(()) | Err(_) => {}
    }
}

/// A dump being read.
pub struct Reading {
    path: PathBuf,
    file: File,
    print: Print,
    loader: DumpLoader,
    /// Where a snapshot is made of it, if the server keeps a log.
    import: Option<Import>,
}

/// A snapshot under way.
struct Import {
    dir: PathBuf,
    draft: File,
}

impl Reading {
    /// The dump of this name, if there is one. With `keeps_log` a snapshot is made of it, with which the log begins.
    ///
    /// # Errors
    /// What the operator has to know.
    pub fn open(
        dir: &Path,
        name: &str,
        terms: Terms,
        keeps_log: bool,
    ) -> Result<Option<Reading>, String> {
        remove_draft(&draft_of(dir, name));
        let path = dir.join(name);
        let failed = |e: io::Error| format!("cannot load {}: {e}", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let import = match keeps_log {
            true => {
                let mut draft = File::create(dir.join(SNAPSHOT_DRAFT)).map_err(failed)?;
                draft.write_all(&frame::header(Kind::Snapshot, Lsn(1))).map_err(failed)?;
                Some(Import { dir: dir.to_path_buf(), draft })
            }
            false => None,
        };
        let print = Print::of(&file).map_err(failed)?;
        Ok(Some(Reading { path, file, print, loader: DumpLoader::new(terms), import }))
    }

    /// What tells this dump from any other.
    pub fn print(&self) -> Print {
        self.print
    }

    /// Reads about as much as fits into one turn. True if there is more. Without a log `each` gets the pieces; with one
    /// they are in the snapshot once all is read.
    ///
    /// # Errors
    /// What the operator has to know; the file is as it was.
    pub fn step(&mut self, each: &mut dyn FnMut(Recover<'_>)) -> Result<bool, String> {
        let done = self.advance(each);
        if done.is_err()
            && let Some(import) = self.import.take()
        {
            // What there is of the snapshot only takes room, perhaps for good.
            drop(fs::remove_file(import.dir.join(SNAPSHOT_DRAFT)));
        }
        done
    }

    fn advance(&mut self, each: &mut dyn FnMut(Recover<'_>)) -> Result<bool, String> {
        let mut bytes = Vec::new();
        let read = (&self.file).take(STEP_BYTES as u64).read_to_end(&mut bytes);
        let read = read.map_err(|e| self.failed(&e))?;
        let mut found = None;
        let taken = match read {
            0 => self.loader.finish().map(|loading| found = Some(loading)),
            _ => self.loader.push(&bytes),
        };
        taken.map_err(|why| self.refused(&why))?;
        while let Some(piece) = self.loader.take() {
            match &mut self.import {
                None => {
                    let mut contents = Vec::new();
                    piece.put(&mut contents);
                    each(Recover::Piece(&contents));
                }
                Some(import) => import.put(&piece).map_err(|e| self.failed(&e))?,
            }
        }
        let Some(found) = found else { return Ok(true) };
        if let Some(import) = self.import.take() {
            import.commit(self.print).map_err(|e| self.failed(&e))?;
        }
        self.tell(found);
        Ok(false)
    }

    fn tell(&self, found: Loading) {
        let Loading { keys, expired, skipped, stamped, checked } = found;
        let path = self.path.display();
        let stamps = if stamped { "with their stamps" } else { "without stamps" };
        tracing::info!("Loaded {path}: {keys} keys {stamps}, {expired} of them expired");
        if skipped > 0 {
            tracing::warn!(
                "{path}: {skipped} functions or modules' data were passed over: this server has \
                 none"
            );
        }
        if !checked {
            tracing::warn!("{path} has no checksum (rdbchecksum no): damage would not be noticed");
        }
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("cannot load {}: {error}", self.path.display())
    }

    fn refused(&self, why: &DumpError) -> String {
        format!(
            "{} is not loaded, {why}. It was left as it is. Nothing else was loaded: restore the \
             file from a backup; 'quorate check' and redis-check-rdb say more of it. Moved away, \
             this server starts without it",
            self.path.display()
        )
    }
}

impl Import {
    fn put(&mut self, piece: &Piece) -> io::Result<()> {
        let mut bytes = Vec::new();
        let start = frame::begin(&mut bytes);
        piece.put(&mut bytes);
        frame::finish(&mut bytes, start);
        self.draft.write_all(&bytes)
    }

    /// Whole on the device first, then under its name. From then on the log holds the dump.
    fn commit(self, of: Print) -> io::Result<()> {
        self.draft.sync_all()?;
        known_dumps::note(&self.dir, of, Standing::Logged, None)?;
        fs::rename(self.dir.join(SNAPSHOT_DRAFT), self.dir.join(name_of(Lsn(1))))?;
        File::open(&self.dir)?.sync_all()
    }
}
