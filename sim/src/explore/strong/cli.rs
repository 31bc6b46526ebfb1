//! `quorate-sim explore --strong`: what it prints, and its exit codes.

// People wait for this verdict, so it is theirs to say how long; each split is gone through by a thread of its own.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use quorate::base::mutant::{Mutant, Mutants};

use super::search::{Counts, Failed, Progress, Search};
use super::world::Size;
use crate::cli::{HELD, UNDECIDED, VIOLATED};

/// Steps between two looks at the time.
const STEPS: u32 = 2000;

/// How one split ended.
struct Ended {
    counts: Counts,
    progress: Progress,
    time: Duration,
}

/// Goes through the orders of each split, several at a time.
pub fn explore(
    size: Size,
    mutant: Option<Mutant>,
    jobs: u16,
    time: Duration,
    memory_bytes: usize,
) -> u8 {
    let with = mutant.map_or(String::new(), |mutant| format!(", mutant {}", mutant.name()));
    println!(
        "{} nodes, {} copies{with}: {} writes, {} reads; one split, which begins and ends at any time; time passes {} times at a node, {} of them \
         although something is on its way",
        size.nodes, size.copies, size.writes, size.reads, size.times, size.delays
    );
    let next = AtomicU16::new(0);
    let stop = AtomicBool::new(false);
    let ended: Mutex<BTreeMap<u16, Result<Ended, String>>> = Mutex::new(BTreeMap::new());
    let began = Instant::now();
    let memory_bytes = memory_bytes / usize::from(jobs.max(1));
    thread::scope(|scope| {
        for _ in 0..jobs.min(size.nodes) {
            scope.spawn(|| {
                loop {
                    let cuts_off = next.fetch_add(1, Ordering::Relaxed);
                    if cuts_off >= size.nodes || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let until = Deadline { began, time, stop: &stop };
                    let end = one_split(Size { cuts_off, ..size }, mutant, memory_bytes, &until);
                    let failed = |end: &Ended| matches!(end.progress, Progress::Failed(_));
                    if end.as_ref().map_or(true, failed) {
                        stop.store(true, Ordering::Relaxed);
                    }
                    ended.lock().expect("nobody panics with it").insert(cuts_off, end);
                }
            });
        }
    });
    let ended = ended.into_inner().expect("nobody panics with it");
    let mut code = HELD;
    for (cuts_off, end) in &ended {
        code = worse(code, told(*cuts_off, size, end));
    }
    if code == HELD && ended.len() == usize::from(size.nodes) {
        let states: u64 = ended.values().flatten().map(|end| end.counts.states).sum();
        let transitions: u64 = ended.values().flatten().map(|end| end.counts.transitions).sum();
        println!("exhausted: every order holds; {states} states, {transitions} ways on from them");
        let mut labels: BTreeMap<&str, u64> = BTreeMap::new();
        for (label, count) in ended.values().flatten().flat_map(|end| &end.counts.labels) {
            *labels.entry(label).or_default() += count;
        }
        for (label, count) in labels {
            println!("  {count:>9}  {label}");
        }
    }
    code
}

struct Deadline<'a> {
    began: Instant,
    time: Duration,
    stop: &'a AtomicBool,
}

impl Deadline<'_> {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.began.elapsed() >= self.time
    }
}

fn one_split(
    size: Size,
    mutant: Option<Mutant>,
    memory_bytes: usize,
    until: &Deadline<'_>,
) -> Result<Ended, String> {
    let began = Instant::now();
    let mutants = mutant.map_or(Mutants::NONE, Mutants::only);
    let mut search = Search::new(size, mutants, memory_bytes)?;
    let progress = loop {
        match search.go_on(STEPS) {
            Progress::More if !until.is_over() => {}
            end @ (Progress::More | Progress::Failed(_) | Progress::Exhausted | Progress::Full) => {
                break end;
            }
        }
    };
    Ok(Ended { counts: search.counts().clone(), progress, time: began.elapsed() })
}

/// A violation is more than a doubt, and that more than nothing.
fn worse(one: u8, other: u8) -> u8 {
    let rank = |code: u8| [HELD, UNDECIDED, VIOLATED].iter().position(|known| *known == code);
    if rank(other) > rank(one) { other } else { one }
}

fn told(cuts_off: u16, size: Size, end: &Result<Ended, String>) -> u8 {
    let others: Vec<String> =
        (0..size.nodes).filter(|at| *at != cuts_off).map(|at| format!("node{at}")).collect();
    println!("split node{cuts_off} | {}:", others.join(" "));
    let end = match end {
        Ok(end) => end,
        Err(what) => {
            eprintln!("  violated before anything happens: {what}");
            return VIOLATED;
        }
    };
    println!("{}", figures(&end.counts, end.time));
    match &end.progress {
        Progress::Exhausted => HELD,
        Progress::More => {
            println!("  not exhausted: the time is over; --time allows more");
            UNDECIDED
        }
        Progress::Full => {
            println!("  not exhausted: the memory is full; --memory allows more");
            UNDECIDED
        }
        Progress::Failed(Failed { what, order }) => {
            println!("  the order:");
            for (number, step) in order.iter().enumerate() {
                println!("  {:>3}. {step}", number + 1);
            }
            eprintln!("violated: {what}");
            VIOLATED
        }
    }
}

fn figures(counts: &Counts, time: Duration) -> String {
    let Counts { states, transitions, ends, regimes, reads, depth, labels: _ } = counts;
    let by = |counts: &BTreeMap<usize, u64>, what: &str| {
        let parts: Vec<String> =
            counts.iter().map(|(number, count)| format!("{count} with {number} {what}")).collect();
        parts.join(", ")
    };
    format!(
        "  {states} states, {transitions} ways on from them, at most {depth} steps long; {:.1} s\n  \
         {} ends: {}; {}; in {reads} the read was answered",
        time.as_secs_f64(),
        ends.values().sum::<u64>(),
        by(ends, "writes acknowledged"),
        by(regimes, "regimes served"),
    )
}
