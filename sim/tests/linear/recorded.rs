//! Recorded histories with known verdicts; `testdata/linearizability/NOTICE` says whose they are.

// How long a verdict takes is part of the test.
#![allow(clippy::disallowed_methods)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use quorate_sim::linear::read::{Notation, Recorded, read};
use quorate_sim::linear::{Budget, Specification, Verdict, check};

const TIME_MAX: Duration = Duration::from_secs(5);

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/linearizability")
}

/// File, model and whether it is linearizable.
fn verdicts() -> Vec<(String, Specification, bool)> {
    let table = std::fs::read_to_string(folder().join("verdicts.tsv")).expect("the table");
    let rows = table.lines().skip(1).map(|row| {
        let [file, model, verdict] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row:?}")
        };
        let model = match model {
            "register-cas" => Specification::Register,
            "kv-append" => Specification::Kv,
            other => panic!("{other:?}"),
        };
        (file.to_owned(), model, verdict == "linearizable")
    });
    rows.collect()
}

fn recorded(file: &str) -> Recorded {
    let text = std::fs::read_to_string(folder().join(file)).expect(file);
    read(&text, Notation::of(file, &text)).expect(file)
}

#[test]
fn recorded_histories_get_their_verdicts() {
    let verdicts = verdicts();
    assert_eq!(verdicts.len(), 56);
    println!("{:<18} {:<16} {:>9} {:>9}", "file", "verdict", "ms", "states");
    for (file, model, linearizable) in verdicts {
        let Recorded { history, .. } = recorded(&file);
        assert_eq!(Specification::of(&history), model, "{file}");
        let started = Instant::now();
        let stop = || started.elapsed() > TIME_MAX;
        let budget = Budget { states_max: u64::MAX, bytes_max: 1 << 28, stop: &stop };
        let report = check(&history, model, &budget).expect(&file);
        let ms = started.elapsed().as_secs_f64() * 1000.0;
        let word = match &report.verdict {
            Verdict::Ok => "linearizable",
            Verdict::Violated(_) => "not",
            Verdict::Undecided(_) => "undecided",
        };
        println!("{file:<18} {word:<16} {ms:>9.2} {:>9}", report.states);
        assert_eq!(word, if linearizable { "linearizable" } else { "not" }, "{file}");
    }
}

#[test]
fn prefixes_named_as_evidence_are_the_shortest() {
    for (file, model, linearizable) in verdicts() {
        if linearizable {
            continue;
        }
        let Recorded { mut history, .. } = recorded(&file);
        let budget = Budget { states_max: 10_000_000, bytes_max: 1 << 28, stop: &|| false };
        let report = check(&history, model, &budget).expect(&file);
        let Verdict::Violated(evidence) = report.verdict else { panic!("{file}") };
        assert!(evidence.shortest, "{file}");
        history.events.retain({
            let mut index = 0;
            let end = evidence.event;
            let key = evidence.key.clone();
            move |event| {
                index += 1;
                event.key == key && index <= end + 1
            }
        });
        let whole = check(&history, model, &budget).expect(&file);
        assert!(matches!(whole.verdict, Verdict::Violated(_)), "{file}");
        history.events.pop();
        let shorter = check(&history, model, &budget).expect(&file);
        assert_eq!(shorter.verdict, Verdict::Ok, "{file}");
    }
}
