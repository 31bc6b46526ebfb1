//! `quorate check FILE [--fix]`: what a file of the log, a snapshot or a dump holds, whether it is whole, and cutting off
//! what of a log is not. `quorate check DIR --new-voter`: see [`super::new_voter`].

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::identity::DataDir;
use crate::base::ids::{DATABASES_MAX, Epoch, Lsn, NodeId, Origin};
use crate::base::time::UnixMs;
use crate::strong::image::Image;
use crate::wal::Record;
use crate::wal::dump::{DumpLoader, Loading, Terms};
use crate::wal::frame::{self, HEADER_BYTES};
use crate::wal::scan::{Rest, Scanner, judge};
use crate::wal::snapshot::Piece;

/// What stands in a file.
#[derive(Debug)]
struct Report {
    first: Lsn,
    next: Lsn,
    /// How many records of each kind.
    counts: BTreeMap<&'static str, u64>,
    /// Newest epoch met.
    epoch: u32,
    bytes: u64,
    /// Bytes that could be read.
    whole: u64,
    rest: Rest,
}

/// Runs the command: 0 if the file is whole, or was made so; 1 if it is not, or cannot be read.
pub fn run(file: &Path, fix: bool, new_voter: bool) -> ExitCode {
    let done =
        if new_voter { super::new_voter::mark(file).map(|()| true) } else { check(file, fix) };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn check(file: &Path, fix: bool) -> Result<bool, String> {
    // Nobody may write to it meanwhile.
    let _held =
        if fix { Some(DataDir::open(parent(file)).map_err(|e| e.to_string())?) } else { None };
    let bytes = fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    if let Ok(first) = frame::read_header(frame::Kind::Snapshot, &bytes) {
        return Ok(print_snapshot(file, first, &bytes));
    }
    if bytes.starts_with(b"REDIS") || bytes.starts_with(b"VALKEY") {
        return Ok(print_dump(file, &bytes));
    }
    let report = look(&bytes).map_err(|why| format!("{}: {why}", file.display()))?;
    print(file, &report);
    if report.rest == Rest::Empty {
        return Ok(true);
    }
    if !fix {
        println!("'quorate check {} --fix' cuts it off there", file.display());
        return Ok(false);
    }
    let kept = cut(file, &bytes, report.whole).map_err(|e| format!("cannot cut it off: {e}"))?;
    println!("cut off at byte {}; what stood there is in {}", report.whole, kept.display());
    Ok(true)
}

fn parent(file: &Path) -> &Path {
    match file.parent() {
        Some(dir) if dir != Path::new("") => dir,
        Some(_) | None => Path::new("."),
    }
}

fn look(bytes: &[u8]) -> Result<Report, String> {
    let mut scanner = Scanner::new(bytes).map_err(|why| match why {
        frame::HeaderError::Version(version) => {
            format!("version {version} of the log's format, expected {}", frame::VERSION)
        }
        frame::HeaderError::Short | frame::HeaderError::Foreign | frame::HeaderError::Damaged => {
            "neither a file of the log nor a snapshot or a dump: expected a header of one"
                .to_owned()
        }
    })?;
    let first = scanner.next_lsn();
    let (mut counts, mut epoch, mut at) = (BTreeMap::new(), 0, HEADER_BYTES);
    while let Some((contents, used)) = scanner.next(&bytes[at..]) {
        let record = Record::read(contents)
            .map_err(|_| format!("byte {at}: a record that this version cannot read"))?;
        if let Record::Start { epoch: begun, .. } | Record::Epoch { epoch: begun, .. } = &record {
            epoch = epoch.max(begun.0);
        }
        *counts.entry(name_of(&record)).or_default() += 1;
        at += used;
    }
    let next = scanner.next_lsn();
    let rest = judge(&bytes[at..], next);
    let bytes = bytes.len() as u64;
    Ok(Report { first, next, counts, epoch, bytes, whole: at as u64, rest })
}

/// Prints what a snapshot holds. False if it is not whole: nothing of it is of use then.
fn print_snapshot(file: &Path, first: Lsn, bytes: &[u8]) -> bool {
    let mut scanner = Scanner::bare(Lsn(1));
    let (mut at, mut cells, mut chunks, mut tail) = (HEADER_BYTES, 0, 0, None);
    while let Some((contents, used)) = scanner.next(&bytes[at..]) {
        match Piece::read(contents) {
            Ok(Piece::Head(_)) if at == HEADER_BYTES => {}
            Ok(Piece::Chunk { cells: more, .. }) if at > HEADER_BYTES && tail.is_none() => {
                (chunks, cells) = (chunks + 1, cells + more.len());
            }
            Ok(Piece::Tail { lsn, .. }) if tail.is_none() => tail = Some(lsn),
            Ok(Piece::Strong { lsn, contents }) if tail.is_none() => {
                match Image::from_bytes(&contents) {
                    Ok(Image::Node(_)) if at == HEADER_BYTES => {}
                    Ok(Image::Part(_)) if at > HEADER_BYTES => chunks += 1,
                    Ok(Image::End) => tail = Some(lsn),
                    Ok(Image::Node(_) | Image::Part(_)) | Err(_) => break,
                }
            }
            Ok(_) | Err(_) => break,
        }
        at += used;
    }
    let (name, length) = (file.display(), bytes.len());
    println!("{name}: {length} bytes, a snapshot for all records before {first}");
    println!("  chunks: {chunks}\n  cells: {cells}");
    match tail {
        Some(lsn) if at == length => println!("  shows nothing newer than record {lsn}\nwhole"),
        Some(_) | None => {
            println!(
                "damaged at byte {at}; restore the data directory from a backup, or move it away"
            );
            return false;
        }
    }
    true
}

/// Prints what a dump holds. False if this server would not load it.
fn print_dump(file: &Path, bytes: &[u8]) -> bool {
    let terms = Terms {
        node: NodeId(0),
        epoch: Epoch(1),
        has_past: false,
        origin: Origin(1),
        wall: UnixMs(0),
        databases: DATABASES_MAX,
    };
    let mut loader = DumpLoader::new(terms);
    println!("{}: {} bytes, a dump", file.display(), bytes.len());
    let mut pushed = Ok(());
    for piece in bytes.chunks(1 << 20) {
        pushed = pushed.and_then(|()| loader.push(piece));
        while loader.take().is_some() {}
    }
    match pushed.and_then(|()| loader.finish()) {
        Ok(Loading { keys, skipped, stamped, checked, .. }) => {
            println!("  keys: {keys}\n  functions and modules' data: {skipped}");
            println!("  stamps: {}", if stamped { "yes" } else { "no" });
            println!("  checksum: {}", if checked { "right" } else { "none" });
            println!("whole");
            true
        }
        Err(why) => {
            println!("{why}");
            println!("a server does not load it; restore it from a backup, or move it away");
            false
        }
    }
}

fn print(file: &Path, report: &Report) {
    let Report { first, next, counts, epoch, bytes, whole, rest } = report;
    println!("{}: {bytes} bytes, records {first} to {}", file.display(), next.0.saturating_sub(1));
    for (name, count) in counts {
        println!("  {name}: {count}");
    }
    println!("  newest epoch: {epoch}");
    match rest {
        Rest::Empty => println!("whole"),
        Rest::Torn => println!(
            "torn at byte {whole}: the last write did not come to its end; a server cuts that off \
             by itself"
        ),
        Rest::Corrupt { next, was_synced } => {
            let next = whole + next;
            println!("damaged at byte {whole}; records that can be read go on at byte {next}");
            if *was_synced {
                println!("what stood there had been on the device");
            }
        }
    }
}

/// Everything from `whole` on goes into a file of its own.
fn cut(file: &Path, bytes: &[u8], whole: u64) -> io::Result<PathBuf> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".cut-{whole}"));
    let kept = PathBuf::from(name);
    fs::write(&kept, &bytes[whole as usize..])?;
    let log = OpenOptions::new().write(true).open(file)?;
    log.set_len(whole)?;
    log.sync_all()?;
    Ok(kept)
}

fn name_of(record: &Record) -> &'static str {
    match record {
        Record::Start { .. } => "starts",
        Record::Met => "first meetings",
        Record::Unit(_) => "units",
        Record::Cells(_) => "cells of transfers",
        Record::Vector(_) => "rises of the vector",
        Record::Collected(_) => "horizons collected",
        Record::Inherited(_) => "horizons inherited",
        Record::TakenOver => "horizons taken over",
        Record::Epoch { .. } => "epochs",
        Record::Moved { .. } => "moves of stamps",
        Record::Strong(_) => "records of strong mode",
        Record::Dropped => "drops of everything",
        Record::Forgotten { .. } => "cells forgotten",
        Record::Synced { .. } => "syncs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::{Journal, SyncPolicy};

    #[test]
    fn damage_is_told_and_cut_off_with_a_copy_kept() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("log-00000000000000000001.qlog");
        let mut journal = Journal::open(SyncPolicy::Always, Lsn(1));
        for n in 1..20 {
            journal.put(&Record::Collected(n));
        }
        let mut bytes = frame::header(frame::Kind::Log, Lsn(1)).to_vec();
        bytes.extend_from_slice(&journal.take().expect("records").1);
        fs::write(&path, &bytes).expect("writable");
        assert_eq!(check(&path, false), Ok(true));
        bytes[60] ^= 1;
        fs::write(&path, &bytes).expect("writable");
        assert_eq!(check(&path, false), Ok(false));
        assert_eq!(fs::read(&path).expect("readable"), bytes, "nothing was changed");
        assert_eq!(check(&path, true), Ok(true));
        let whole = fs::read(&path).expect("readable");
        let kept = dir.path().join(format!("log-00000000000000000001.qlog.cut-{}", whole.len()));
        assert_eq!([whole, fs::read(kept).expect("readable")].concat(), bytes);
        assert_eq!(check(&path, false), Ok(true));
        let refused = check(&dir.path().join("lock"), false).expect_err("no log");
        assert!(refused.contains("neither a file of the log"), "{refused}");
    }

    #[test]
    fn a_snapshot_is_whole_or_of_no_use() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("snapshot-00000000000000000003.qsnap");
        let head = crate::wal::snapshot::Head {
            lsn: Lsn(3),
            vector: crate::base::vector::Vector::new(),
            collected: 0,
            inherited: 0,
            first_epoch: crate::base::ids::Epoch(1),
            lives: Vec::new(),
            has_met: false,
            unmet: Vec::new(),
            has_strays: false,
            alone: false,
        };
        let end = crate::wal::snapshot::Place { db: 9, partition: 0 };
        let mut bytes = frame::header(frame::Kind::Snapshot, Lsn(3)).to_vec();
        let mut ends = Vec::new();
        for piece in [
            Piece::Head(Box::new(head)),
            Piece::Chunk { lsn: Lsn(3), end, cells: Vec::new() },
            Piece::Tail { lsn: Lsn(4), collected: 0 },
        ] {
            ends.push(bytes.len());
            let start = frame::begin(&mut bytes);
            piece.put(&mut bytes);
            frame::finish(&mut bytes, start);
        }
        fs::write(&file, &bytes).expect("writable");
        assert_eq!(check(&file, false), Ok(true));
        for cut in HEADER_BYTES..bytes.len() {
            fs::write(&file, &bytes[..cut]).expect("writable");
            assert_eq!(check(&file, true), Ok(false), "cut at {cut}");
            assert_eq!(fs::read(&file).expect("readable"), &bytes[..cut], "left as it was");
        }
        let without_head = [&bytes[..HEADER_BYTES], &bytes[ends[1]..]].concat();
        fs::write(&file, without_head).expect("writable");
        assert_eq!(check(&file, false), Ok(false));
    }
}
