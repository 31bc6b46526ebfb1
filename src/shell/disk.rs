//! The log's files in the data directory: `log-` and the place of the first record in twenty digits, `.qlog`. Read at the
//! start; then written by the main thread with one write(2) a turn, and brought onto the device by a thread of its own.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use crate::base::ids::Lsn;
use crate::base::io::DiskError;
use crate::wal::frame::{self, HEADER_BYTES, HeaderError};
use crate::wal::scan::{Rest, Scanner, judge};

/// Bytes read in one step.
const STEP_BYTES: usize = 1 << 20;
/// A segment that has grown beyond this is not gone on with after a start.
const SEGMENT_BYTES_MAX: u64 = 256 << 20;

/// Why a log cannot be used. Nothing in it was changed.
#[derive(Debug)]
pub enum LogError {
    Io {
        path: PathBuf,
        source: io::Error,
    },
    Header {
        path: PathBuf,
        why: HeaderError,
    },
    /// It does not go on where the segment before it ended.
    Gap {
        path: PathBuf,
        expected: Lsn,
        found: Lsn,
    },
    /// What stands at `at` (bytes from the beginning) was once a record.
    Corrupt {
        path: PathBuf,
        at: u64,
        was_synced: bool,
    },
}

/// A log being read.
pub struct Reader {
    dir: PathBuf,
    waiting: VecDeque<PathBuf>,
    current: Option<Segment>,
    next: Lsn,
}

/// The segment that is being read, or was read last.
struct Segment {
    path: PathBuf,
    file: File,
    scanner: Scanner,
    /// Read and not yet understood: from `at` on.
    buf: Vec<u8>,
    at: usize,
    ended: bool,
}

/// What one step has led to.
pub enum Progress {
    More,
    /// All is read: the next record's place, and where it goes.
    Done(Lsn, LogFile),
}

impl Reader {
    /// The log in this directory; an empty one if there is none.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn new(dir: &Path) -> Result<Reader, LogError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(at(dir))? {
            let name = entry.map_err(at(dir))?.file_name().to_string_lossy().into_owned();
            if name.starts_with("log-") && name.ends_with(".qlog") {
                names.push(name);
            }
        }
        names.sort();
        let waiting = names.into_iter().map(|name| dir.join(name)).collect();
        Ok(Reader { dir: dir.to_path_buf(), waiting, current: None, next: Lsn(1) })
    }

    /// Reads about as much as fits into one turn; `each` gets the contents of every record, in order.
    ///
    /// # Errors
    /// If the log cannot be read, or is no log as it was written.
    pub fn step(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<Progress, LogError> {
        let is_last = self.waiting.is_empty();
        match &mut self.current {
            Some(segment) if !segment.ended => {
                segment.step(is_last, each)?;
                self.next = segment.scanner.next_lsn();
                return Ok(Progress::More);
            }
            Some(_) | None => {}
        }
        while let Some(path) = self.waiting.pop_front() {
            if let Some(segment) = Segment::open(path, self.next, self.waiting.is_empty())? {
                self.current = Some(segment);
                return Ok(Progress::More);
            }
        }
        let log = self.finish()?;
        Ok(Progress::Done(self.next, log))
    }

    /// Everything that was read is brought onto the device, without the torn end.
    fn finish(&mut self) -> Result<LogFile, LogError> {
        let next = self.next;
        let mut file = None;
        if let Some(Segment { path, scanner, .. }) = self.current.take() {
            let last = OpenOptions::new().append(true).open(&path).map_err(at(&path))?;
            let length = last.metadata().map_err(at(&path))?.len();
            if length > scanner.understood() {
                let cut = length - scanner.understood();
                tracing::warn!("{}: {cut} bytes of a torn write were cut off", path.display());
                last.set_len(scanner.understood()).map_err(at(&path))?;
            }
            last.sync_all().map_err(at(&path))?;
            file = (scanner.understood() < SEGMENT_BYTES_MAX).then_some(last);
        }
        let file = match file {
            Some(file) => file,
            None => create(&self.dir, next)?,
        };
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(at(&self.dir))?;
        Ok(LogFile::new(file))
    }
}

impl Segment {
    /// `None` if it was never written as a whole: then it is removed.
    fn open(path: PathBuf, next: Lsn, is_last: bool) -> Result<Option<Segment>, LogError> {
        let file = File::open(&path).map_err(at(&path))?;
        let mut head = Vec::with_capacity(HEADER_BYTES);
        (&file).take(HEADER_BYTES as u64).read_to_end(&mut head).map_err(at(&path))?;
        let scanner = match Scanner::new(&head) {
            Ok(scanner) => scanner,
            Err(_) if is_last && head.iter().all(|byte| *byte == 0) => {
                fs::remove_file(&path).map_err(at(&path))?;
                return Ok(None);
            }
            Err(HeaderError::Short) if is_last => {
                fs::remove_file(&path).map_err(at(&path))?;
                return Ok(None);
            }
            Err(why) => return Err(LogError::Header { path, why }),
        };
        let found = scanner.next_lsn();
        if found != next {
            return Err(LogError::Gap { path, expected: next, found });
        }
        let (buf, at, ended) = (Vec::new(), 0, false);
        Ok(Some(Segment { path, file, scanner, buf, at, ended }))
    }

    fn step(&mut self, is_last: bool, each: &mut dyn FnMut(&[u8])) -> Result<(), LogError> {
        self.buf.drain(..self.at);
        self.at = 0;
        // As much as the next record needs, if that is more.
        let wants = Scanner::wants(&self.buf).unwrap_or(usize::MAX);
        let bytes = wants.saturating_sub(self.buf.len()).max(STEP_BYTES) as u64;
        let read = (&self.file).take(bytes).read_to_end(&mut self.buf);
        let read = read.map_err(at(&self.path))?;
        while let Some((contents, used)) = self.scanner.next(&self.buf[self.at..]) {
            each(contents);
            self.at += used;
        }
        if read as u64 == bytes {
            return Ok(());
        }
        self.ended = true;
        let (path, at) = (self.path.clone(), self.scanner.understood());
        match judge(&self.buf[self.at..], self.scanner.next_lsn()) {
            Rest::Empty => Ok(()),
            Rest::Torn if is_last => Ok(()),
            Rest::Torn => Err(LogError::Corrupt { path, at, was_synced: true }),
            Rest::Corrupt { was_synced, .. } => Err(LogError::Corrupt { path, at, was_synced }),
        }
    }
}

fn create(dir: &Path, first: Lsn) -> Result<File, LogError> {
    let path = dir.join(format!("log-{:020}.qlog", first.0));
    let file = OpenOptions::new().append(true).create_new(true).open(&path);
    let mut file = file.map_err(at(&path))?;
    file.write_all(&frame::header(first)).map_err(at(&path))?;
    file.sync_all().map_err(at(&path))?;
    Ok(file)
}

fn at(path: &Path) -> impl Fn(io::Error) -> LogError + use<> {
    let path = path.to_path_buf();
    move |source| LogError::Io { path: path.clone(), source }
}

/// The end of the log, where it grows.
pub struct LogFile {
    file: Arc<File>,
    /// What there was no room for, in order.
    unwritten: Vec<u8>,
    syncs: mpsc::Sender<(Arc<File>, oneshot::Sender<io::Result<()>>)>,
}

impl LogFile {
    fn new(file: File) -> LogFile {
        let (syncs, inbox) = mpsc::channel::<(Arc<File>, oneshot::Sender<io::Result<()>>)>();
        std::thread::spawn(move || {
            for (file, answer) in inbox {
                // Who no longer waits for the answer needs none.
                let _ = answer.send(file.sync_data());
            }
        });
        LogFile { file: Arc::new(file), unwritten: Vec::new(), syncs }
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
    pub fn sync(&self) -> oneshot::Receiver<io::Result<()>> {
        let (answer, answered) = oneshot::channel();
        // Without its thread the answer is that nobody answers.
        let _ = self.syncs.send((self.file.clone(), answer));
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

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Io { path, source } => {
                write!(f, "cannot use the log at {}: {source}", path.display())
            }
            LogError::Header { path, why } => {
                let path = path.display();
                match why {
                    HeaderError::Version(version) => write!(
                        f,
                        "{path} has version {version} of the log's format, this server reads {}",
                        frame::VERSION
                    ),
                    HeaderError::Short | HeaderError::Foreign | HeaderError::Damaged => {
                        write!(f, "{path} does not begin as a log does. It was left as it is")
                    }
                }
            }
            LogError::Gap { path, expected, found } => write!(
                f,
                "{} begins with record {found}, expected {expected}: a file of the log is missing",
                path.display()
            ),
            LogError::Corrupt { path, at, was_synced } => {
                let path = path.display();
                let more = if *was_synced { ", which had been on the device" } else { "" };
                write!(
                    f,
                    "{path} is damaged at byte {at}, and records follow that can be read{more}. Nothing \
                     was changed. 'quorate check {path}' says more; 'quorate check {path} --fix' cuts \
                     it off there: what follows is lost here, and comes back from other nodes that \
                     have it"
                )
            }
        }
    }
}

impl std::error::Error for LogError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::{Journal, Record, SyncPolicy};

    fn read(dir: &Path) -> Result<(Vec<Vec<u8>>, Lsn, LogFile), LogError> {
        let mut reader = Reader::new(dir)?;
        let mut records = Vec::new();
        loop {
            match reader.step(&mut |contents| records.push(contents.to_vec()))? {
                Progress::More => {}
                Progress::Done(next, log) => return Ok((records, next, log)),
            }
        }
    }

    fn records(from: u64, count: u64) -> Vec<u8> {
        let mut journal = Journal::open(SyncPolicy::Always, Lsn(from));
        for n in 0..count {
            journal.put(&Record::Collected(from + n));
        }
        journal.take().map_or(Vec::new(), |(_, bytes)| bytes.to_vec())
    }

    fn only_file(dir: &Path) -> PathBuf {
        dir.join("log-00000000000000000001.qlog")
    }

    #[test]
    fn a_log_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for round in 0..4 {
            let (found, next, mut log) = read(dir.path()).expect("a log");
            assert_eq!(found.len(), 10 * round);
            assert_eq!(next, Lsn(1 + 10 * round as u64));
            assert_eq!(log.append(&records(next.0, 10)), Ok(()));
            log.sync().blocking_recv().expect("an answer").expect("synced");
        }
    }

    #[test]
    fn a_torn_end_is_cut_off_and_damage_before_it_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (_, _, mut log) = read(dir.path()).expect("a log");
        assert_eq!(log.append(&records(1, 10)), Ok(()));
        drop(log);
        let path = only_file(dir.path());
        let whole = fs::read(&path).expect("it was written");
        for cut in HEADER_BYTES..whole.len() {
            let mut torn = whole[..cut].to_vec();
            torn.extend_from_slice(&[0; 100]);
            fs::write(&path, torn).expect("writable");
            let (found, next, _) = read(dir.path()).expect("a torn log is none of our concern");
            assert_eq!(next, Lsn(1 + found.len() as u64));
            let length = fs::metadata(&path).expect("it is there").len() as usize;
            assert!(length <= cut && whole.starts_with(&fs::read(&path).expect("readable")));
        }
        let mut damaged = whole.clone();
        damaged[HEADER_BYTES + 20] ^= 1;
        fs::write(&path, &damaged).expect("writable");
        let refused = read(dir.path()).map(|_| ()).expect_err("refused");
        assert!(matches!(refused, LogError::Corrupt { .. }), "{refused}");
        assert_eq!(fs::read(&path).expect("still there"), damaged);
        fs::write(&path, b"something else that is long enough").expect("writable");
        let refused = read(dir.path()).map(|_| ()).expect_err("refused");
        assert!(refused.to_string().contains("does not begin as a log"), "{refused}");
    }

    #[test]
    fn a_file_that_was_never_begun_is_none_and_a_missing_one_is_noticed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(only_file(dir.path()), [0; 10]).expect("writable");
        let (found, next, mut log) = read(dir.path()).expect("a log");
        assert_eq!((found.len(), next), (0, Lsn(1)));
        assert_eq!(log.append(&records(1, 3)), Ok(()));
        let later = dir.path().join("log-00000000000000000009.qlog");
        fs::write(&later, frame::header(Lsn(9))).expect("writable");
        let refused = read(dir.path()).map(|_| ()).expect_err("refused");
        assert!(matches!(refused, LogError::Gap { .. }), "{refused}");
    }
}
