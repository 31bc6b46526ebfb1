//! Scenario files: the words of the shell and of redis-cli, played in the simulated world or, `real`,
//! on real processes. The language is described in [`parse`].

pub mod ast;
mod client;
pub mod live;
mod load;
pub mod outcome;
pub mod parse;
mod play;
mod quality;
#[cfg(target_os = "linux")]
mod real;
mod reply;
mod simulated;
mod stage;
mod told;
mod units;
mod witness;
mod words;

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use quorate::base::mutant::Mutant;

use self::ast::{RealMode, Scenario, Step};
pub(crate) use self::reply::show as shown;

use self::outcome::{Failure, Outcome, Verdict};
use self::simulated::SimulatedStage;
use self::stage::Stage as _;
use crate::check::Property;
use crate::time::Time;
use crate::trace::Recorder;

/// The most hosts of a file that is played on real processes beside all others.
const HOSTS_AT_ONCE: usize = 5;

/// Plays a scenario file: `quorate-sim scenario FILE.scn [--real]`. `seed` feeds every random choice
/// of the simulated world, and of the file's own `sleep LOW..HIGH`.
pub fn run_file(path: &Path, real: bool, seed: u64) -> Outcome {
    let verdict = match read(path) {
        Ok(scenario) if real => run_real(&scenario, seed),
        Ok(scenario) => run_simulated(&scenario, seed, None, None),
        Err(verdict) => verdict,
    };
    Outcome { path: path.to_owned(), real, verdict }
}

/// Plays a file in the simulated world, with a deliberate fault if one is named, and writes everything down on a tape.
pub fn run_file_taped(path: &Path, seed: u64, mutant: Option<Mutant>, tape: &Recorder) -> Outcome {
    let played = |scenario: Scenario| run_simulated(&scenario, seed, mutant, Some(tape));
    let verdict = read(path).map_or_else(|verdict| verdict, played);
    Outcome { path: path.to_owned(), real: false, verdict }
}

/// Plays a file in the simulated world with a deliberate fault in every node.
pub fn run_file_faulty(path: &Path, seed: u64, mutant: Mutant) -> Outcome {
    let played = |scenario: Scenario| run_simulated(&scenario, seed, Some(mutant), None);
    let verdict = read(path).map_or_else(|verdict| verdict, played);
    Outcome { path: path.to_owned(), real: false, verdict }
}

/// Plays the text of a file in the simulated world.
pub fn run_text(source: &str, seed: u64, mutant: Option<Mutant>) -> Verdict {
    match parse_text(source) {
        Ok(scenario) => run_simulated(&scenario, seed, mutant, None),
        Err(verdict) => verdict,
    }
}

/// As [`run_text`], on a tape.
pub fn run_text_taped(source: &str, seed: u64, mutant: Option<Mutant>, tape: &Recorder) -> Verdict {
    match parse_text(source) {
        Ok(scenario) => run_simulated(&scenario, seed, mutant, Some(tape)),
        Err(verdict) => verdict,
    }
}

/// Plays several files on real processes at the same time: they mostly sleep. Those with more hosts than that take turns,
/// or so many processes would wait for a processor that each takes the others for lost.
pub fn run_files_real(paths: &[impl AsRef<Path> + Sync], seed: u64) -> Vec<Outcome> {
    let turn = Mutex::new(());
    let play = |path: &Path| {
        let large = read(path).is_ok_and(|scenario| scenario.hosts.len() > HOSTS_AT_ONCE);
        // A run that panicked has left nothing that the next would need whole.
        let _turn = large.then(|| turn.lock().unwrap_or_else(PoisonError::into_inner));
        run_file(path, true, seed)
    };
    std::thread::scope(|scope| {
        let play = &play;
        let run = |path| scope.spawn(move || play(path));
        let runs: Vec<_> = paths.iter().map(|path| run(path.as_ref())).collect();
        let joined = runs.into_iter().map(|run| match run.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    })
}

/// Whether a file says `real: yes`.
///
/// # Errors
/// The file cannot be read or understood.
pub fn may_be_real(path: &Path) -> Result<bool, Box<Outcome>> {
    match read(path) {
        Ok(scenario) => Ok(scenario.real == RealMode::Yes),
        Err(verdict) => Err(Box::new(Outcome { path: path.to_owned(), real: true, verdict })),
    }
}

/// What this machine lacks for real runs.
pub fn real_runs_lack() -> Option<String> {
    #[cfg(target_os = "linux")]
    return real::missing();
    #[cfg(not(target_os = "linux"))]
    return Some("--real needs Linux".to_owned());
}

fn read(path: &Path) -> Result<Scenario, Verdict> {
    let bad = |found: String, expected: &str| Verdict::BadFile {
        line: 0,
        found,
        expected: expected.to_owned(),
    };
    let bytes = std::fs::read(path).map_err(|e| bad(e.to_string(), "a file to read"))?;
    let source = String::from_utf8(bytes).map_err(|e| bad(e.to_string(), "text in UTF-8"))?;
    parse_text(&source)
}

fn parse_text(source: &str) -> Result<Scenario, Verdict> {
    parse::parse(source).map_err(|e| Verdict::BadFile {
        line: e.line,
        found: e.found,
        expected: e.expected,
    })
}

#[cfg(target_os = "linux")]
fn run_real(scenario: &Scenario, seed: u64) -> Verdict {
    if let RealMode::No { line, reason } = &scenario.real {
        return Verdict::Unavailable { line: *line, why: format!("real: no ({reason})") };
    }
    let needs = match real::Needs::of(&scenario.steps) {
        Ok(needs) => needs,
        Err((line, why)) => return Verdict::Unavailable { line, why },
    };
    let mut stage = match real::RealStage::new(scenario, &needs, seed) {
        Ok(stage) => stage,
        Err(why) => return Verdict::Unavailable { line: 0, why },
    };
    let at = Cell::new(None);
    let mut verdict = play::play(scenario, &mut stage, &at);
    if real::interrupted() {
        // The terminal has told the servers too: what they did then is no failure.
        return Verdict::Interrupted { line: at.get().map_or(0, |step: &Step| step.line) };
    }
    if let Verdict::Failed(failure) = &mut verdict {
        failure.kept = Some(stage.keep_files());
    }
    verdict
}

#[cfg(not(target_os = "linux"))]
fn run_real(_scenario: &Scenario, _seed: u64) -> Verdict {
    Verdict::Unavailable { line: 0, why: "--real needs Linux".to_owned() }
}

fn run_simulated(
    scenario: &Scenario,
    seed: u64,
    mutant: Option<Mutant>,
    tape: Option<&Recorder>,
) -> Verdict {
    let mut stage = SimulatedStage::new(scenario, seed, mutant, tape);
    let at = Cell::new(None);
    let played = catch_unwind(AssertUnwindSafe(|| play::play(scenario, &mut stage, &at)));
    let mut verdict =
        played.unwrap_or_else(|panic| fallen(scenario, &mut stage, at.get(), panic_words(&*panic)));
    if let Verdict::Held(summary) = &mut verdict {
        summary.digest = Some(stage.digest());
    }
    if let Some(tape) = tape {
        tape.with(|tape| tape.reached(Time(stage.now().as_nanos() as u64)));
    }
    verdict
}

fn panic_words(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a panic: {}", said.unwrap_or("without words"))
}

/// A node broke one of its own invariants while this step was played.
fn fallen(
    scenario: &Scenario,
    stage: &mut SimulatedStage,
    at: Option<&Step>,
    got: String,
) -> Verdict {
    let hosts = scenario.hosts.iter().enumerate();
    Verdict::Failed(Box::new(Failure {
        line: at.map_or(0, |step| step.line),
        text: at.map_or(String::new(), |step| step.text.clone()),
        property: Some(Property::NodeInvariant),
        expected: "no panic in a node".to_owned(),
        got,
        at: stage.now(),
        facts: hosts.map(|(i, host)| (host.name.clone(), stage.last_facts(i))).collect(),
        kept: None,
    }))
}
