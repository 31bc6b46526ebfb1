//! Any bytes as a snapshot and what follows it in the log: what can be read of them is read again the same, and a node that
//! loads it, whatever it says, never panics; if it takes it, it keeps its invariants and serves.

#![no_main]

mod recovery;

use libfuzzer_sys::fuzz_target;
use quorate::node::io::Recover;
use quorate::wal::snapshot::Piece;

use recovery::{Loading, contents};

fuzz_target!(|data: &[u8]| {
    // Contents of pieces up to an empty one, then of records.
    let mut loading = Loading::new();
    let mut all = contents(data);
    for contents in all.by_ref().take_while(|contents| !contents.is_empty()) {
        let Ok(piece) = Piece::read(contents) else { continue };
        let mut again = Vec::new();
        piece.put(&mut again);
        assert_eq!(Piece::read(&again).as_ref(), Ok(&piece));
        if let Piece::Head(head) = &piece {
            loading.next = head.lsn;
        }
        loading.give(Recover::Piece(contents));
    }
    for contents in all {
        loading.record(contents);
    }
    loading.serve();
});
