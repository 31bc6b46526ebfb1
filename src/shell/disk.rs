//! The log's files in the data directory: `log-` and the place of the first record in twenty digits, `.qlog`. Read at the
//! start, behind the snapshot if there is one. `.qlog.new` is one that begins where those before it may not be on the device
//! as a whole: nothing in it has been reported to be there.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::log_file::{LogFile, create};
use super::snapshot;
use crate::base::ids::Lsn;
use crate::base::io::Recover;
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
    /// The snapshot is not as it was written, from `at` on (bytes from the beginning).
    Snapshot {
        path: PathBuf,
        at: u64,
    },
    /// What stands at `at` (bytes from the beginning) was once a record.
    Corrupt {
        path: PathBuf,
        at: u64,
        was_synced: bool,
    },
}

/// Whether anything of a log is in this directory.
///
/// # Errors
/// Of the file system.
pub fn is_there(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // (What `quorate check --fix` has cut off counts for nothing.)
        let segment = [".qlog", ".qlog.new"].map(|end| snapshot::place_in(&name, "log-", end));
        let is_segment = segment.iter().any(Option::is_some);
        let begun = is_segment && entry.metadata()?.len() > HEADER_BYTES as u64;
        if begun || snapshot::place_in(&name, "snapshot-", ".qsnap").is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A log being read.
pub struct Reader {
    dir: PathBuf,
    /// It is read first.
    snapshot: Option<snapshot::Reading>,
    /// What the snapshot stands for goes once all is read.
    obsolete_before: Lsn,
    waiting: VecDeque<PathBuf>,
    /// A segment of which nothing was reported to be on the device yet, and its first record.
    fresh: Option<(Lsn, PathBuf)>,
    current: Option<Segment>,
    next: Lsn,
}

/// The segment that is being read, or was read last.
struct Segment {
    path: PathBuf,
    first: Lsn,
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
        let snapshot = snapshot::Reading::open(dir)
            .map_err(|(path, fault)| LogError::of_snapshot(&path, fault))?;
        let next = snapshot.as_ref().map_or(Lsn(1), |snapshot| snapshot.lsn);
        let (mut names, mut fresh) = (Vec::new(), None);
        for entry in fs::read_dir(dir).map_err(at(dir))? {
            let name = entry.map_err(at(dir))?.file_name().to_string_lossy().into_owned();
            if let Some(first) = snapshot::place_in(&name, "log-", ".qlog.new") {
                fresh = Some((first, dir.join(&name)));
            }
            let is_log = name.starts_with("log-") && name.ends_with(".qlog");
            let is_obsolete =
                snapshot::place_in(&name, "log-", ".qlog").is_some_and(|first| first < next);
            if is_log && !(snapshot.is_some() && is_obsolete) {
                names.push(name);
            }
        }
        names.sort();
        let waiting = names.into_iter().map(|name| dir.join(name)).collect();
        let (dir, obsolete_before) = (dir.to_path_buf(), next);
        Ok(Reader { dir, snapshot, obsolete_before, waiting, fresh, current: None, next })
    }

    /// Reads about as much as fits into one turn; `each` gets the contents of every piece and record, in order.
    ///
    /// # Errors
    /// If the log cannot be read, or is no log as it was written.
    pub fn step(&mut self, each: &mut dyn FnMut(Recover<'_>)) -> Result<Progress, LogError> {
        if let Some(snapshot) = &mut self.snapshot {
            let more = snapshot.step(each);
            if !more.map_err(|fault| LogError::of_snapshot(&snapshot.path, fault))? {
                self.snapshot = None;
            }
            return Ok(Progress::More);
        }
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
        if let Some((first, path)) = self.fresh.take() {
            if first == self.next {
                // What comes before it is whole.
                let name = self.dir.join(snapshot::segment_name_of(first));
                fs::rename(&path, &name).map_err(at(&path))?;
                self.waiting.push_back(name);
                return Ok(Progress::More);
            }
            // Nothing in it can have been said to be on the device: what comes before it is not.
            tracing::warn!("{}: what comes before it was not written as a whole", path.display());
            fs::remove_file(&path).map_err(at(&path))?;
        }
        let log = self.finish()?;
        Ok(Progress::Done(self.next, log))
    }

    /// Everything that was read is brought onto the device, without the torn end.
    fn finish(&mut self) -> Result<LogFile, LogError> {
        let next = self.next;
        let mut file = None;
        let mut first = next;
        if let Some(Segment { path, scanner, first: begins, .. }) = self.current.take() {
            first = begins;
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
            None => {
                first = next;
                let file = create(&self.dir.join(snapshot::segment_name_of(next)), next)?;
                file.sync_all().map_err(at(&self.dir))?;
                file
            }
        };
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(at(&self.dir))?;
        snapshot::remove_before(&self.dir, self.obsolete_before).map_err(at(&self.dir))?;
        Ok(LogFile::new(&self.dir, file, first))
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
        let first = found;
        Ok(Some(Segment { path, first, file, scanner, buf, at, ended }))
    }

    fn step(&mut self, is_last: bool, each: &mut dyn FnMut(Recover<'_>)) -> Result<(), LogError> {
        self.buf.drain(..self.at);
        self.at = 0;
        // As much as the next record needs, if that is more.
        let wants = Scanner::wants(&self.buf).unwrap_or(usize::MAX);
        let bytes = wants.saturating_sub(self.buf.len()).max(STEP_BYTES) as u64;
        let read = (&self.file).take(bytes).read_to_end(&mut self.buf);
        let read = read.map_err(at(&self.path))?;
        while let Some((contents, used)) = self.scanner.next(&self.buf[self.at..]) {
            each(Recover::Record(contents));
            self.at += used;
        }
        if read as u64 == bytes {
            return Ok(());
        }
        self.ended = true;
        let (path, understood) = (self.path.clone(), self.scanner.understood());
        match judge(&self.buf[self.at..], self.scanner.next_lsn()) {
            Rest::Empty => {}
            Rest::Torn if is_last => {}
            Rest::Torn => return Err(LogError::Corrupt { path, at: understood, was_synced: true }),
            Rest::Corrupt { was_synced, .. } => {
                return Err(LogError::Corrupt { path, at: understood, was_synced });
            }
        }
        let unsettled = self.scanner.unsettled_from();
        write_again(&path, unsettled, understood).map_err(at(&path))
    }
}

/// Writes the same bytes once more and syncs them: a sync that failed may have left them in the page cache only.
fn write_again(path: &Path, from: u64, to: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut buf = vec![0; STEP_BYTES];
    let mut place = from;
    while place < to {
        let bytes = (to - place).min(STEP_BYTES as u64) as usize;
        file.seek(SeekFrom::Start(place))?;
        file.read_exact(&mut buf[..bytes])?;
        file.seek(SeekFrom::Start(place))?;
        file.write_all(&buf[..bytes])?;
        place += bytes as u64;
    }
    file.sync_all()
}

pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> LogError + use<> {
    let path = path.to_path_buf();
    move |source| LogError::Io { path: path.clone(), source }
}

impl LogError {
    fn of_snapshot(path: &Path, fault: snapshot::Fault) -> LogError {
        let path = path.to_path_buf();
        match fault {
            snapshot::Fault::Io(source) => LogError::Io { path, source },
            snapshot::Fault::Header(why) => LogError::Header { path, why },
            snapshot::Fault::Damaged { at } => LogError::Snapshot { path, at },
        }
    }
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
            LogError::Snapshot { path, at } => write!(
                f,
                "{} is damaged at byte {at}: it was whole when it was written. It was left as it \
                 is. Restore the data directory from a backup; or move it away, and this server \
                 starts as a new node and gets the data from others",
                path.display()
            ),
            LogError::Corrupt { path, at, was_synced } => {
                let path = path.display();
                let more = if *was_synced { ", which had been on the device" } else { "" };
                write!(
                    f,
                    "{path} is damaged at byte {at}, and records follow that can be read{more}. \
                     Nothing was changed. 'quorate check {path}' says more; 'quorate check {path} \
                     --fix' cuts it off there: what follows is lost here, and comes back from \
                     other nodes that have it"
                )
            }
        }
    }
}

impl std::error::Error for LogError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::frame::Kind;
    use crate::wal::{Journal, Record, SyncPolicy};

    fn read(dir: &Path) -> Result<(Vec<Vec<u8>>, Lsn, LogFile), LogError> {
        let mut reader = Reader::new(dir)?;
        let mut records = Vec::new();
        loop {
            let mut each = |found: Recover<'_>| match found {
                Recover::Record(contents) | Recover::Piece(contents) => {
                    records.push(contents.to_vec());
                }
                Recover::Done { .. } => {}
            };
            match reader.step(&mut each)? {
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
        fs::write(&later, frame::header(Kind::Log, Lsn(9))).expect("writable");
        let refused = read(dir.path()).map(|_| ()).expect_err("refused");
        assert!(matches!(refused, LogError::Gap { .. }), "{refused}");
    }

    /// The contents of a frame, in a frame.
    fn framed(contents: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let start = frame::begin(&mut bytes);
        bytes.extend_from_slice(contents);
        frame::finish(&mut bytes, start);
        bytes
    }

    #[test]
    fn a_snapshot_takes_the_place_of_what_was_before_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (_, next, mut log) = read(dir.path()).expect("a log");
        log.append(&records(next.0, 10)).expect("written");
        log.begin_snapshot(Lsn(11)).expect("begun");
        let piece = framed(b"a piece");
        log.snapshots().chunk(piece.clone().into()).blocking_recv().expect("answered").expect("ok");
        log.append(&records(11, 5)).expect("written");
        log.sync().blocking_recv().expect("an answer").expect("synced");
        // Until it is committed the log is as it was.
        let (found, next, _) = read(dir.path()).expect("a log");
        assert_eq!((found.len(), next), (15, Lsn(16)));
        log.begin_snapshot(Lsn(16)).expect("begun");
        log.snapshots().chunk(piece.into()).blocking_recv().expect("answered").expect("ok");
        log.snapshots().commit().blocking_recv().expect("answered").expect("ok");
        log.append(&records(16, 2)).expect("written");
        drop(log);
        let (found, next, log) = read(dir.path()).expect("a snapshot and a log");
        assert_eq!((found.len(), next), (3, Lsn(18)));
        assert_eq!(found[0], b"a piece");
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .expect("readable")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["log-00000000000000000016.qlog", "snapshot-00000000000000000016.qsnap"]);
        // Without a snapshot under way nothing is written or committed.
        assert!(log.snapshots().chunk(vec![1].into()).blocking_recv().expect("answered").is_err());
        assert!(log.snapshots().commit().blocking_recv().expect("answered").is_err());
        drop(log);
        let path = dir.path().join(&names[1]);
        let whole = fs::read(&path).expect("readable");
        for bad in [&whole[..whole.len() - 1], &[&whole[..], &[7]].concat()] {
            fs::write(&path, bad).expect("writable");
            let refused = read(dir.path()).map(|_| ()).expect_err("refused");
            assert!(matches!(refused, LogError::Snapshot { .. }), "{refused}");
            assert_eq!(fs::read(&path).expect("still there"), bad);
        }
    }

    #[test]
    fn a_segment_whose_forerunner_was_not_written_as_a_whole_counts_for_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (_, _, mut log) = read(dir.path()).expect("a log");
        log.append(&records(1, 10)).expect("written");
        log.begin_snapshot(Lsn(11)).expect("begun");
        log.append(&records(11, 5)).expect("written");
        assert!(log.begin_snapshot(Lsn(16)).is_err(), "the one before is not there for certain");
        drop(log);
        let fresh = dir.path().join(snapshot::fresh_name_of(Lsn(11)));
        let whole = (fs::read(only_file(dir.path())), fs::read(&fresh));
        let whole = (whole.0.expect("readable"), whole.1.expect("not named yet"));
        for cut in 0..=40 {
            fs::write(only_file(dir.path()), &whole.0[..whole.0.len() - cut]).expect("writable");
            fs::write(&fresh, &whole.1).expect("writable");
            let (found, next, _) =
                read(dir.path()).expect("a loss of power is none of our concern");
            assert_eq!(next, Lsn(1 + found.len() as u64));
            let named = dir.path().join(snapshot::segment_name_of(Lsn(11)));
            assert_eq!((found.len() == 15, named.exists()), (cut == 0, cut == 0), "{cut}");
            assert!(!fresh.exists());
            let _ = fs::remove_file(named);
        }
    }

    #[test]
    fn a_snapshot_given_up_takes_no_room() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (_, next, mut log) = read(dir.path()).expect("a log");
        log.append(&records(next.0, 10)).expect("written");
        log.begin_snapshot(Lsn(11)).expect("begun");
        log.snapshots().chunk(vec![7; 99].into()).blocking_recv().expect("answered").expect("ok");
        let draft = dir.path().join("snapshot.tmp");
        assert!(draft.exists());
        log.append(&records(11, 1)).expect("written");
        assert!(log.begin_snapshot(Lsn(12)).is_err());
        assert!(log.snapshots().chunk(vec![7].into()).blocking_recv().expect("answered").is_err());
        assert!(!draft.exists());
    }
}
