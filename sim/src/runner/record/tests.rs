//! Records: written, read, gone on with, merged.

use std::fs;

use super::*;
use crate::check::{Property, Verdict, Violation};
use crate::plan::FaultClass;
use crate::runner::campaign::Campaign;
use crate::runner::labels::LabelSet;
use crate::runner::outcome::Outcome;

/// Every tenth seed is violated, one is undecided; the numbers differ from seed to seed.
fn play(seed: u64) -> Outcome {
    let evidence = format!("node{} shows {seed}", seed % 3);
    let verdict = match seed {
        13 => Verdict::Undecided { budget: format!("{seed} events without a verdict") },
        seed if seed % 10 == 7 => {
            Verdict::Violated(Violation { property: Property::Counters, evidence })
        }
        _ => Verdict::Ok,
    };
    let mut counts = Counts { units: seed, deliveries: 1, ..Counts::default() };
    counts.faults[seed as usize % FaultClass::ALL.len()] = 1;
    Outcome { seed, verdict, digest: seed ^ 0xfeed, counts, labels: LabelSet::default() }
}

fn subject() -> Subject {
    let commit = "a151e1b94d3c".to_owned();
    Subject { profile: Profile::Smoke, seeds: 0..100, commit, mutant: None }
}

fn run(shard: Option<Shard>) -> Record {
    let mut record = Record { subject: subject(), shard, report: Report::default() };
    let seeds = record.part();
    let campaign = Campaign { seeds, jobs: 2, time: None, first_only: false, progress: false };
    record.report = campaign.run(&play);
    record
}

fn shard(index: u64, count: u64) -> Option<Shard> {
    Some(Shard::new(index, count).expect("below the count"))
}

fn named(name: &str, record: Record) -> (PathBuf, Record) {
    (PathBuf::from(name), record)
}

/// All but what depends on who ran it: how long it took, and which seeds were run twice.
fn shown(record: &Record) -> Record {
    let mut report = Report { secs: 0.0, cpu_secs: 0.0, ..record.report.clone() };
    report.summary.rerun = 0;
    Record { report, ..record.clone() }
}

#[test]
fn record_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().expect("a directory for a file");
    let file = dir.path().join("record.json");
    for mut one in [run(None), run(shard(1, 3))] {
        (one.report.secs, one.report.cpu_secs) = (2.125, 4.5);
        one.save(&file).expect("it can be written");
        let read = Record::load(&file).expect("it can be read");
        assert_eq!(read.to_json(), one.to_json());
    }
    let names: Vec<_> = fs::read_dir(dir.path()).expect("listed").map(|e| e.unwrap()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn parts_merged_are_the_whole() {
    let whole = run(None);
    for order in [[0, 1, 2], [2, 0, 1]] {
        let parts = order.map(|i| named(&format!("{i}.json"), run(shard(i, 3))));
        let merged = Record::merged(&parts).expect("they fit");
        assert_eq!(shown(&merged).to_json(), shown(&whole).to_json());
    }
    assert_eq!(whole.report.ended, Ended::Complete);
    assert_eq!(whole.conclusion(), Conclusion::Violated);
    let groups = &whole.report.summary.groups;
    assert_eq!(groups.iter().map(|g| (g.seed, g.count)).collect::<Vec<_>>(), [(7, 10), (13, 1)]);
}

#[test]
fn missing_shard_leaves_the_whole_undecided() {
    let healthy = |index, ended| {
        let mut record = run(shard(index, 4));
        record.report.summary.groups.clear();
        (record.report.summary.failures, record.report.summary.undecided) = (0, 0);
        record.report.ended = ended;
        named(&format!("{index}.json"), record)
    };
    let parts = [0, 2, 3].map(|i| healthy(i, Ended::Complete));
    let merged = Record::merged(&parts).expect("they fit");
    assert_eq!(merged.missing().to_string(), "25..50");
    assert_eq!(merged.conclusion(), Conclusion::Undecided);
    let mut parts: Vec<_> = (0..4).map(|i| healthy(i, Ended::Complete)).collect();
    assert_eq!(Record::merged(&parts).expect("they fit").conclusion(), Conclusion::Held);
    for (ended, conclusion) in
        [(Ended::Time, Conclusion::Held), (Ended::Interrupted, Conclusion::Undecided)]
    {
        let cut = &mut parts[1].1.report;
        cut.done = SeedSet::from(25..40);
        cut.ended = ended;
        let merged = Record::merged(&parts).expect("they fit");
        assert_eq!((merged.report.ended, merged.conclusion()), (ended, conclusion));
    }
}

#[test]
fn parts_that_do_not_fit_are_named() {
    let error = |other: Record| {
        let parts = [named("a.json", run(shard(0, 2))), named("b.json", other)];
        Record::merged(&parts).expect_err("they do not fit").to_string()
    };
    let of = |subject: Subject| error(Record { subject, ..run(shard(1, 2)) });
    let seeds = of(Subject { seeds: 0..101, ..subject() });
    assert!(seeds.contains("b.json: ") && seeds.contains("seeds 0..100, found 0..101"), "{seeds}");
    let profile = of(Subject { profile: Profile::Active, ..subject() });
    assert!(profile.contains("profile smoke, found active"), "{profile}");
    let commit = of(Subject { commit: "b".to_owned(), ..subject() });
    assert!(commit.contains("commit a151e1b94d3c, found b"), "{commit}");
    let mutant = of(Subject { mutant: Some(Mutant::TieKeepsHeld), ..subject() });
    assert!(mutant.contains("mutant none, found tie-keeps-held"), "{mutant}");
    let twice = error(run(shard(1, 3)));
    assert!(twice.contains("b.json: seed 33 is in a.json already"), "{twice}");
}

#[test]
fn record_of_another_campaign_is_not_gone_on_with() {
    let file = Path::new("r.json");
    let record = run(shard(0, 2));
    assert!(record.must_be_of(file, &subject(), shard(0, 2)).is_ok());
    let error = record.must_be_of(file, &subject(), None).expect_err("another shard");
    assert!(error.to_string().contains("shard none, found 0/2"), "{error}");
    assert!(record.must_be_of_build(file, |seed| play(seed).digest).is_ok());
    let error = record.must_be_of_build(file, |seed| seed).expect_err("another build");
    assert!(error.to_string().contains("seed 0 had digest 000000000000feed"), "{error}");
}

#[test]
fn file_that_is_no_record_is_named_with_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a directory for a file");
    let file = dir.path().join("record.json");
    let sound = run(None).to_json();
    for (text, wanted) in [
        ("{".to_owned(), "line 1 column 1"),
        (sound.replace("campaign 1", "campaign 9"), "expected format"),
        (sound.replace("\"ended\": \"complete\",", ""), "missing field `ended`"),
        (sound.replace("WAIT had to wait", "nobody came"), "no rare path \"nobody came\""),
        (sound.replace("\"reject\":", "\"object\":"), "no class of faults \"object\""),
        (sound.replace("\"0..100\"", "\"0..99\""), "99 seeds are done but 100"),
        (sound.replacen("\"0..100\"", "\"0..99\"", 1), "1 of the seeds"),
        (sound.replace("\"violated\": 10", "\"violated\": 2"), "more seeds have failed"),
        (sound.replace("\"mutant\": null", "\"mutant\": \"m\""), "no such mutant"),
    ] {
        assert_ne!(text, sound, "{wanted}");
        fs::write(&file, text).expect("it can be written");
        let error = Record::load(&file).expect_err("no record").to_string();
        assert!(error.contains("record.json: expected the record of a campaign"), "{error}");
        assert!(error.contains(wanted), "{error}");
    }
    let error = Record::load(&dir.path().join("none")).expect_err("no file").to_string();
    assert!(error.contains("none: No such file"), "{error}");
    let error = run(None).save(&dir.path().join("none/x")).expect_err("no directory").to_string();
    assert!(error.contains("none/x: No such file"), "{error}");
}

#[test]
fn nothing_run_is_not_held() {
    let mut record = run(None);
    assert_eq!(Record { report: Report::default(), ..record.clone() }.conclusion(), {
        Conclusion::Undecided
    });
    record.report = Report { ended: Ended::Time, ..Report::default() };
    assert_eq!(record.conclusion(), Conclusion::Undecided);
}

#[test]
fn campaign_with_a_deliberate_fault_is_never_dull() {
    let summary = Summary { seeds: 1000, ..Summary::default() };
    let report = Report { summary, ended: Ended::Complete, ..Report::default() };
    let mut record = Record { report, ..run(None) };
    assert_eq!(record.conclusion(), Conclusion::Dull);
    record.subject.mutant = Some(Mutant::TieKeepsHeld);
    assert_eq!(record.conclusion(), Conclusion::Held);
}
