//! A disk under a log: what is told when, and what is there after the end.

use super::{Disk, DiskConfig, DiskError, Lsn, Recovered, Report, Request};
use crate::decide::Decisions;
use crate::link::Latency;
use crate::time::Time;
use bytes::Bytes;
use quorate::base::time::Span;

const fn exactly(ns: u64) -> Latency {
    Latency { base: Span(ns), jitter: Span(0), tail_ppm: 0, tail: Span(0) }
}

/// A write takes 10 µs, an fsync 1 ms and another for each MB.
const PLAIN: DiskConfig = DiskConfig {
    append: exactly(10_000),
    sync: exactly(1_000_000),
    bytes_per_sec: 1_000_000_000,
    capacity_bytes: 1 << 30,
};

const LATER: Time = Time::from_secs(100);

/// A disk and what drives it.
struct Bench {
    disk: Disk,
    decisions: Decisions,
    now: Time,
}

impl Bench {
    fn new(config: DiskConfig, seed: u64) -> Bench {
        Bench { disk: Disk::new(config), decisions: Decisions::from_seed(seed), now: Time::ZERO }
    }

    fn ask(&mut self, request: Request) {
        self.disk.submit(self.now, request, &mut self.decisions);
    }

    /// A record of 100 bytes that all say its number.
    fn append(&mut self, lsn: u64) {
        self.ask(Request::Append { lsn: Lsn(lsn), record: Bytes::from(vec![lsn as u8; 100]) });
    }

    fn sync(&mut self, through: u64) {
        self.ask(Request::Sync { through: Lsn(through) });
    }

    /// A snapshot of so many bytes that stands for what is before `lsn`.
    fn snapshot(&mut self, lsn: u64, bytes: usize) {
        self.ask(Request::SnapBegin { lsn: Lsn(lsn) });
        self.ask(Request::SnapChunk { bytes: Bytes::from(vec![200; bytes]) });
        self.ask(Request::SnapCommit);
    }

    fn until(&mut self, now: Time) -> Vec<Report> {
        self.now = now;
        self.disk.advance(now, &mut self.decisions)
    }

    fn kill(&mut self) -> Recovered {
        self.disk.kill(self.now, &mut self.decisions);
        self.disk.recover()
    }

    fn lose_power(&mut self) -> Recovered {
        self.disk.lose_power(self.now, &mut self.decisions);
        self.disk.recover()
    }
}

/// The numbers of the whole records at the front of a log, and how many bytes come after them.
fn records(log: &[u8]) -> (Vec<u64>, usize) {
    let whole = |record: &&[u8]| record.len() == 100 && record.iter().all(|b| *b == record[0]);
    let chunks = log.chunks(100);
    let numbers: Vec<u64> =
        chunks.take_while(|c| whole(c) && c[0] != 0).map(|c| u64::from(c[0])).collect();
    let rest = log.len() - 100 * numbers.len();
    (numbers, rest)
}

fn synced(through: u64) -> Report {
    Report::Synced { through: Lsn(through) }
}

const FULL: Report = Report::Failed { why: DiskError::Full };
const SYNC_FAILED: Report = Report::Failed { why: DiskError::SyncFailed };

#[test]
fn requests_take_their_time_one_after_the_other() {
    let mut bench = Bench::new(PLAIN, 1);
    bench.append(1);
    bench.append(2);
    bench.sync(2);
    bench.append(3);
    assert_eq!(bench.disk.poll(), Some(Time(10_000)));
    // Two writes, an fsync, and the time of 200 bytes.
    let done = Time(20_000 + 1_000_000 + 200);
    assert_eq!(bench.until(done - Span(1)), []);
    assert_eq!(bench.until(done), [synced(2)]);
    assert_eq!(bench.disk.poll(), Some(done + Span(10_000)));
    assert_eq!(bench.until(LATER), []);
    assert_eq!(bench.disk.poll(), None);
    assert_eq!(records(&bench.disk.recover().log), (vec![1, 2, 3], 0));
}

#[test]
fn a_slow_disk_takes_so_many_times_longer() {
    let mut bench = Bench::new(PLAIN, 1);
    bench.disk.faults.slower_by = 99;
    bench.append(1);
    assert_eq!(bench.disk.poll(), Some(Time(1_000_000)));
    let mut quick = Bench::new(DiskConfig::ssd(), 1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        quick.sync(0);
        let took = quick.disk.poll().unwrap().since(quick.now);
        assert!(took.0 >= DiskConfig::ssd().sync.base.0);
        seen.insert(took);
        quick.until(LATER + quick.now.since(Time::ZERO));
    }
    assert!(seen.len() > 90, "latencies differ: {}", seen.len());
}

#[test]
fn a_killed_process_loses_what_it_had_not_written_and_nothing_of_the_page_cache() {
    let mut torn = 0;
    for seed in 0..200 {
        let mut bench = Bench::new(PLAIN, seed);
        (1..=5).for_each(|lsn| bench.append(lsn));
        bench.until(Time(35_000));
        // Three are written, the fourth is being written, the fifth waits.
        let (whole, rest) = records(&bench.kill().log);
        assert!(whole == [1, 2, 3] || whole == [1, 2, 3, 4], "seed {seed}: {whole:?}");
        torn += u32::from(rest > 0);
    }
    assert!(torn > 100, "torn in {torn} of 200");
}

#[test]
fn a_loss_of_power_takes_unsynced_records_from_the_end_and_may_tear_one() {
    let (mut torn, mut lengths) = (0, std::collections::BTreeSet::new());
    for seed in 0..300 {
        let mut bench = Bench::new(PLAIN, seed);
        (1..=3).for_each(|lsn| bench.append(lsn));
        bench.sync(3);
        (4..=8).for_each(|lsn| bench.append(lsn));
        assert_eq!(bench.until(LATER), [synced(3)]);
        let (whole, rest) = records(&bench.lose_power().log);
        assert!(whole.len() >= 3, "seed {seed}: a synced record is gone: {whole:?}");
        assert!((1..=whole.len() as u64).eq(whole.iter().copied()));
        torn += u32::from(rest > 0);
        lengths.insert(whole.len());
    }
    assert_eq!(lengths, (3..=8).collect());
    assert!(torn > 200, "torn in {torn} of 300");
}

#[test]
fn the_log_goes_on_behind_what_recovery_has_understood() {
    for seed in 0..50 {
        let mut bench = Bench::new(PLAIN, seed);
        bench.append(1);
        bench.sync(1);
        (2..=4).for_each(|lsn| bench.append(lsn));
        bench.until(LATER);
        let (whole, _) = records(&bench.lose_power().log);
        bench.disk.understood(100 * whole.len() as u64);
        let next = whole.len() as u64 + 1;
        bench.append(next);
        bench.sync(next);
        assert_eq!(bench.until(LATER + Span::from_secs(1)), [synced(next)]);
        assert_eq!(records(&bench.lose_power().log), ((1..=next).collect(), 0));
    }
}

#[test]
fn a_failed_sync_is_told_and_syncing_again_does_not_help() {
    for seed in 0..50 {
        let mut bench = Bench::new(PLAIN, seed);
        bench.append(1);
        bench.sync(1);
        bench.until(Time::from_secs(1));
        bench.disk.faults.sync_fails_ppm = 1_000_000;
        bench.append(2);
        bench.sync(2);
        assert_eq!(bench.until(Time::from_secs(2)), [SYNC_FAILED]);
        bench.disk.faults.sync_fails_ppm = 0;
        bench.append(3);
        bench.sync(3);
        assert_eq!(bench.until(Time::from_secs(3)), [synced(3)]);
        // Readers still see it …
        assert_eq!(records(&bench.disk.recover().log), (vec![1, 2, 3], 0));
        // … until the power goes: a hole, although the last sync has succeeded.
        let log = bench.lose_power().log;
        assert_eq!(records(&log[..100]), (vec![1], 0));
        assert!(log[100..200].iter().all(|b| *b == 0));
        assert_eq!(records(&log[200..]), (vec![3], 0));
    }
}

#[test]
fn a_full_disk_takes_nothing_until_there_is_room() {
    let mut bench = Bench::new(DiskConfig { capacity_bytes: 250, ..PLAIN }, 1);
    (1..=3).for_each(|lsn| bench.append(lsn));
    bench.ask(Request::Append { lsn: Lsn(4), record: Bytes::from_static(b"small") });
    // Nobody is told that what did not fit is safe.
    bench.sync(4);
    // The small one would fit, but the log would have a gap.
    assert_eq!(bench.until(LATER), [FULL, FULL, synced(2)]);
    assert_eq!(records(&bench.disk.recover().log), (vec![1, 2], 0));
    bench.disk.set_capacity(260);
    assert_eq!(bench.until(LATER), []);
    bench.disk.set_capacity(1000);
    assert_eq!(bench.disk.poll(), Some(Time::ZERO));
    assert_eq!(bench.until(LATER), [Report::Room]);
    bench.append(3);
    bench.sync(3);
    assert_eq!(bench.until(LATER + Span::from_secs(1)), [synced(3)]);
    assert_eq!(records(&bench.lose_power().log), (vec![1, 2, 3], 0));
}

#[test]
fn a_committed_snapshot_takes_the_place_of_the_records_before_it() {
    let mut bench = Bench::new(PLAIN, 1);
    (1..=5).for_each(|lsn| bench.append(lsn));
    bench.sync(5);
    bench.snapshot(4, 50);
    assert_eq!(bench.until(LATER), [synced(5), Report::SnapWritten, Report::SnapCommitted]);
    let Recovered { snapshot, log } = bench.lose_power();
    assert_eq!(snapshot, Some((Lsn(4), Bytes::from(vec![200; 50]))));
    assert_eq!(records(&log), (vec![4, 5], 0));
    assert_eq!(bench.disk.used_bytes(), 250);
}

#[test]
fn a_snapshot_that_was_not_committed_is_gone_and_the_last_one_is_there() {
    let mut bench = Bench::new(PLAIN, 1);
    (1..=3).for_each(|lsn| bench.append(lsn));
    bench.sync(3);
    bench.snapshot(2, 10);
    bench.until(LATER);
    bench.ask(Request::SnapBegin { lsn: Lsn(3) });
    bench.ask(Request::SnapChunk { bytes: Bytes::from(vec![201; 99]) });
    bench.until(LATER + Span::from_secs(1));
    assert_eq!(bench.disk.used_bytes(), 200 + 10 + 99);
    let Recovered { snapshot, log } = bench.kill();
    assert_eq!(snapshot, Some((Lsn(2), Bytes::from(vec![200; 10]))));
    assert_eq!(records(&log), (vec![2, 3], 0));
    assert_eq!(bench.disk.used_bytes(), 210);
    bench.disk.faults.sync_fails_ppm = 1_000_000;
    bench.snapshot(3, 20);
    let reports = bench.until(LATER + Span::from_secs(2));
    assert_eq!(reports, [Report::SnapWritten, Report::SnapFailed]);
    assert_eq!(bench.disk.recover().snapshot.unwrap().0, Lsn(2));
}

#[test]
fn a_snapshot_that_does_not_fit_is_given_up_and_one_that_does_makes_room() {
    let mut bench = Bench::new(DiskConfig { capacity_bytes: 500, ..PLAIN }, 1);
    (1..=4).for_each(|lsn| bench.append(lsn));
    bench.sync(4);
    bench.snapshot(4, 150);
    assert_eq!(bench.until(LATER), [synced(4), Report::SnapFailed]);
    assert_eq!(bench.disk.recover().snapshot, None);
    bench.snapshot(4, 80);
    let reports = bench.until(LATER + Span::from_secs(1));
    assert_eq!(reports, [Report::SnapWritten, Report::SnapCommitted]);
    assert_eq!(bench.disk.used_bytes(), 180);
    assert_eq!(records(&bench.disk.recover().log), (vec![4], 0));
}

#[test]
fn bits_rot_in_the_log_and_in_the_snapshot() {
    let (mut in_log, mut in_snapshot) = (0, 0);
    for seed in 0..100 {
        let mut bench = Bench::new(PLAIN, seed);
        assert!(!bench.disk.rot(&mut bench.decisions), "nothing is stored");
        (1..=3).for_each(|lsn| bench.append(lsn));
        bench.sync(3);
        bench.snapshot(2, 200);
        bench.until(LATER);
        let before = bench.disk.recover();
        assert!(bench.disk.rot(&mut bench.decisions));
        let after = bench.disk.recover();
        let bits = |a: &[u8], b: &[u8]| -> u32 {
            a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
        };
        let log = bits(&before.log, &after.log);
        let snapshot = bits(&before.snapshot.unwrap().1, &after.snapshot.unwrap().1);
        assert_eq!(log + snapshot, 1);
        in_log += log;
        in_snapshot += snapshot;
    }
    assert!(in_log > 25 && in_snapshot > 25, "{in_log} {in_snapshot}");
}

#[test]
fn an_older_image_comes_back_as_it_was() {
    let mut bench = Bench::new(PLAIN, 1);
    (1..=2).for_each(|lsn| bench.append(lsn));
    bench.sync(2);
    bench.append(3);
    bench.until(LATER);
    // A backup takes what is on the device.
    let image = bench.disk.image();
    bench.snapshot(4, 50);
    (4..=6).for_each(|lsn| bench.append(lsn));
    bench.sync(6);
    bench.until(LATER + Span::from_secs(1));
    let _newer = bench.kill();
    bench.disk.restore(&image);
    let Recovered { snapshot, log } = bench.disk.recover();
    assert_eq!((snapshot, records(&log)), (None, (vec![1, 2], 0)));
    bench.append(3);
    bench.sync(3);
    assert_eq!(bench.until(LATER + Span::from_secs(2)), [synced(3)]);
    assert_eq!(records(&bench.lose_power().log), (vec![1, 2, 3], 0));
}

#[test]
fn one_seed_gives_one_disk() {
    let run = |seed| {
        let mut bench = Bench::new(DiskConfig::ssd(), seed);
        bench.disk.faults.sync_fails_ppm = 200_000;
        let mut told = Vec::new();
        for lsn in 1..100 {
            bench.append(lsn);
            if lsn % 7 == 0 {
                bench.sync(lsn);
            }
            let next = bench.now + Span::from_ms(1);
            told.push(bench.until(next));
        }
        (told, bench.lose_power())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
