//! What is known of the dumps in a data directory, kept in `dumps.known` beside them: which of them the log holds, and
//! which was written later than the log, by a life that kept none. Of any other dump nobody knows what it holds: it is
//! not written over.
//!
//! ```text
//! quorate dumps 1
//! logged 5120 1f3a… 90bc…           the log holds what this dump holds
//! newer 5312 1f3a… 72aa…            written beside a log that was not gone on with
//! ```
//!
//! A dump is told by its size and checksums of its two ends: there its writer's clock stands, and its own checksum. A
//! line that cannot be read counts for nothing.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::rdb::crc64::crc64;

const FILE: &str = "dumps.known";
const DRAFT: &str = "dumps.known.tmp";
const HEADER: &str = "quorate dumps 1";
/// Of each end so much is looked at.
const END_BYTES: u64 = 1024;
/// So many dumps with one name are kept at most.
const KEPT_MAX: u32 = 1000;

/// What tells one dump from another.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Print {
    bytes: u64,
    first: u64,
    last: u64,
}

/// How a dump stands to the log beside it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The log holds what it holds.
    Logged,
    /// It was written later, by a life that kept no log and had not read it.
    Newer,
}

impl Standing {
    const ALL: [Standing; 2] = [Standing::Logged, Standing::Newer];

    fn name(self) -> &'static str {
        match self {
            Standing::Logged => "logged",
            Standing::Newer => "newer",
        }
    }
}

impl Print {
    /// # Errors
    /// Of the file system.
    pub fn of(file: &File) -> io::Result<Print> {
        let bytes = file.metadata()?.len();
        let end = |from: u64| -> io::Result<u64> {
            let mut end = vec![0; (bytes - from).min(END_BYTES) as usize];
            file.read_exact_at(&mut end, from)?;
            Ok(crc64(&end))
        };
        Ok(Print { bytes, first: end(0)?, last: end(bytes.saturating_sub(END_BYTES))? })
    }

    /// Of the file at `path`, if there is one.
    ///
    /// # Errors
    /// Of the file system.
    pub fn at(path: &Path) -> io::Result<Option<Print>> {
        match File::open(path) {
            Ok(file) => Print::of(&file).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn read(words: &[&str]) -> Option<Print> {
        let &[bytes, first, last] = words else { return None };
        let crc = |word: &str| u64::from_str_radix(word, 16).ok();
        Some(Print { bytes: bytes.parse().ok()?, first: crc(first)?, last: crc(last)? })
    }
}

/// How the dump with this print stands to the log of the directory, if that is known.
///
/// # Errors
/// Of the file system.
pub fn standing(dir: &Path, print: Print) -> io::Result<Option<Standing>> {
    let text = match fs::read(dir.join(FILE)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Ok(None);
    }
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let (name, print_of) = words.split_first()?;
        let standing = Standing::ALL.into_iter().find(|standing| standing.name() == *name)?;
        (Print::read(print_of)? == print).then_some(standing)
    };
    Ok(lines.find_map(of_line))
}

/// Notes durably how `print` stands to the log. What is known of the dump whose place it is about to take goes on being
/// known, what is known of any other is forgotten.
///
/// # Errors
/// Of the file system: then what was known before still is.
pub fn note(
    dir: &Path,
    print: Print,
    standing: Standing,
    before: Option<(Print, Standing)>,
) -> io::Result<()> {
    let mut text = format!("{HEADER}\n");
    for (Print { bytes, first, last }, standing) in before.into_iter().chain([(print, standing)]) {
        // A String takes everything that is written to it.
        let _ = writeln!(text, "{} {bytes} {first:016x} {last:016x}", standing.name());
    }
    let draft = dir.join(DRAFT);
    let written = File::create(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    if let Err(error) = written {
        // What there is of it only takes room.
        drop(fs::remove_file(&draft));
        return Err(error);
    }
    fs::rename(draft, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

/// Gives the file `name` in `dir` a second name, under which it stays when its place is taken: which.
///
/// # Errors
/// Of the file system: then nothing has changed.
pub fn keep(dir: &Path, name: &str) -> io::Result<PathBuf> {
    let from = dir.join(name);
    for number in 1..=KEPT_MAX {
        let to = dir.join(format!("{name}.kept-{number}"));
        match fs::hard_link(&from, &to) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            // Not every file system has links. (`create_new`: no file of anybody is written over.)
            Err(_) => match File::create_new(&to) {
                Ok(_) => fs::rename(&from, &to)?,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e),
            },
        }
        File::open(dir)?.sync_all()?;
        return Ok(to);
    }
    Err(io::Error::other(format!("there are {KEPT_MAX} files {name}.kept-… already")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print_of(dir: &Path, contents: &[u8]) -> Print {
        let path = dir.join("some.rdb");
        fs::write(&path, contents).expect("writable");
        Print::at(&path).expect("readable").expect("there")
    }

    #[test]
    fn a_dump_is_told_by_its_size_and_both_ends() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(Print::at(&dir.path().join("none")).expect("readable"), None);
        let contents = vec![7; 5000];
        let print = print_of(dir.path(), &contents);
        assert_eq!(print_of(dir.path(), &contents), print);
        for at in [0, 1023, 4999 - 1023, 4999] {
            let mut other = contents.clone();
            other[at] = 8;
            assert_ne!(print_of(dir.path(), &other), print, "{at}");
        }
        for length in [0, 1, 1024, 1025, 4999] {
            assert_ne!(print_of(dir.path(), &contents[..length]), print, "{length}");
        }
    }

    #[test]
    fn what_was_noted_is_known_until_another_takes_its_place() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let dir = dir.path();
        let [a, b, c] = [b"a", b"b", b"c"].map(|contents| print_of(dir, contents));
        let known = || [a, b, c].map(|print| standing(dir, print).expect("readable"));
        assert_eq!(known(), [None; 3]);
        note(dir, a, Standing::Logged, None).expect("writable");
        assert_eq!(known(), [Some(Standing::Logged), None, None]);
        note(dir, b, Standing::Newer, Some((a, Standing::Logged))).expect("writable");
        assert_eq!(known(), [Some(Standing::Logged), Some(Standing::Newer), None]);
        note(dir, c, Standing::Logged, Some((b, Standing::Newer))).expect("writable");
        assert_eq!(known(), [None, Some(Standing::Newer), Some(Standing::Logged)]);
        let text = fs::read_to_string(dir.join(FILE)).expect("readable");
        fs::write(dir.join(FILE), text.replace("newer", "older")).expect("writable");
        assert_eq!(known(), [None, None, Some(Standing::Logged)]);
        fs::write(dir.join(FILE), "something else\n").expect("writable");
        assert_eq!(known(), [None; 3]);
    }

    #[test]
    fn every_dump_that_is_kept_has_a_name_of_its_own() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for n in 1..=3 {
            fs::write(dir.path().join("dump.rdb"), n.to_string()).expect("writable");
            let kept = keep(dir.path(), "dump.rdb").expect("writable");
            assert_eq!(kept, dir.path().join(format!("dump.rdb.kept-{n}")));
            fs::remove_file(dir.path().join("dump.rdb")).expect("still there");
            assert_eq!(fs::read_to_string(kept).expect("kept"), n.to_string());
        }
    }
}
