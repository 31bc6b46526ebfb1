//! Any bytes as a log: what can be read of them is read again the same, and a node that replays it, whatever it says,
//! never panics, keeps its invariants and serves.

#![no_main]

mod recovery;

use libfuzzer_sys::fuzz_target;
use quorate::base::ids::Lsn;
use quorate::wal::scan::{Scanner, judge};

use recovery::{Loading, contents};

fuzz_target!(|data: &[u8]| {
    let mut scanner = Scanner::bare(Lsn(1));
    let mut read = 0;
    while let Some((_, used)) = scanner.next(&data[read..]) {
        read += used;
    }
    judge(&data[read..], scanner.next_lsn());

    // The same bytes as contents of records.
    let mut loading = Loading::new();
    for contents in contents(data) {
        loading.record(contents);
    }
    loading.serve();
});
