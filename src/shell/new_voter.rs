//! `quorate check DIR --new-voter`: a data directory of strong mode that was restored from a backup, or found to be an older
//! one, becomes another voter. What it has promised may be less than what it had; so its votes count for nothing before the
//! operator admits it, and its copies are not intact: they catch up.

use std::path::Path;

use super::disk::{Progress, Reader};
use super::identity::DataDir;
use crate::base::ids::NodeId;
use crate::base::io::Recover;
use crate::node::config::Identity;
use crate::strong::message::Durable;
use crate::strong::regime::VoterId;
use crate::wal::snapshot::Piece;
use crate::wal::{Journal, Record, SyncPolicy};

/// Changes a data directory that no server uses. The copies are not intact first: if it breaks off before the voter is a new
/// one no more than that has happened, and done again it is whole.
///
/// # Errors
/// Why it was not done.
pub fn mark(dir: &Path) -> Result<(), String> {
    if !dir.join("node.id").is_file() {
        return Err(format!("{}: no data directory: expected one with a node.id", dir.display()));
    }
    let data = DataDir::open(dir).map_err(|e| e.to_string())?;
    let before = data.identity().map_err(|e| e.to_string())?;
    let mut reader = Reader::new(dir).map_err(|e| e.to_string())?;
    let mut is_strong = false;
    let mut each = |piece: Recover<'_>| match piece {
        Recover::Record(contents) => {
            is_strong |= matches!(Record::read(contents), Ok(Record::Strong(_)));
        }
        Recover::Piece(contents) => {
            is_strong |= matches!(Piece::read(contents), Ok(Piece::Strong { .. }));
        }
        Recover::Done { .. } => {}
    };
    let (next, mut log) = loop {
        match reader.step(&mut each).map_err(|e| e.to_string())? {
            Progress::More => {}
            Progress::Done(next, log) => break (next, log),
        }
    };
    if !is_strong {
        return Err(format!("{}: the server was not in strong mode", dir.display()));
    }
    let random = getrandom::u64().map_err(|e| format!("no random numbers: {e}"))?;
    // (The other half is not the voter's.)
    let node_id = NodeId(u128::from(random) << 64 | before.node_id.0 & u128::from(u64::MAX));
    let mut journal = Journal::open(SyncPolicy::Always, next);
    let (voter, former) = (VoterId::of(node_id), VoterId::of(before.node_id));
    journal.put(&Record::Strong(Durable::NewVoter { voter, former }.to_bytes()));
    let (_, records) = journal.take().expect("a record was put");
    log.append(&records).map_err(|e| format!("cannot write to the log: {e:?}"))?;
    let synced = log.sync().blocking_recv();
    synced.map_err(|e| e.to_string())?.map_err(|e| format!("cannot write to the log: {e}"))?;
    data.store(&Identity { node_id, ..before }).map_err(|e| e.to_string())?;
    println!(
        "{}: it has a new voter id, and its copies are not intact. Start it, and admit it with \
         'quorate admin manage recluster'",
        dir.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strong::regime::Start;

    fn written(dir: &Path, records: &[Durable]) {
        let mut reader = Reader::new(dir).expect("a log");
        let (next, mut log) = loop {
            if let Progress::Done(next, log) = reader.step(&mut |_| {}).expect("readable") {
                break (next, log);
            }
        };
        let mut journal = Journal::open(SyncPolicy::Always, next);
        records.iter().for_each(|record| journal.put(&Record::Strong(record.to_bytes())));
        let (_, bytes) = journal.take().expect("records");
        log.append(&bytes).expect("written");
        log.sync().blocking_recv().expect("an answer").expect("synced");
    }

    fn read(dir: &Path) -> Vec<Durable> {
        let (mut reader, mut found) = (Reader::new(dir).expect("a log"), Vec::new());
        let mut each = |piece: Recover<'_>| {
            if let Recover::Record(contents) = piece
                && let Ok(Record::Strong(contents)) = Record::read(contents)
            {
                found.push(Durable::from_bytes(&contents).expect("a record"));
            }
        };
        while matches!(reader.step(&mut each).expect("readable"), Progress::More) {}
        found
    }

    #[test]
    fn a_marked_directory_has_another_voter_and_says_so() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        let refused = mark(path).expect_err("there is none");
        assert!(refused.contains("expected one with a node.id"), "{refused}");
        let identity = |path: &Path| DataDir::open(path).expect("free").identity().expect("one");
        DataDir::open(path).expect("free").next_identity(NodeId(7 << 64 | 5)).expect("written");
        let before = identity(path);
        assert!(mark(path).expect_err("no strong mode").contains("not in strong mode"));
        let (start, nonce, written_before) = (Start(1), 3, Default::default());
        let started =
            Durable::Start { start, nonce, lost: false, always: true, written: written_before };
        written(path, std::slice::from_ref(&started));
        {
            let _held = DataDir::open(path).expect("free");
            assert!(mark(path).is_err(), "a server has it");
        }
        mark(path).expect("marked");
        let after = identity(path);
        let (voter, former) = (VoterId::of(after.node_id), VoterId::of(before.node_id));
        assert_ne!(voter, former);
        assert_eq!((after.epoch, after.past), (before.epoch, before.past));
        assert_eq!(read(path), [started, Durable::NewVoter { voter, former }]);
    }
}
