//! Lines played one by one, as somebody thinks of them: what the lab does.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use quorate::base::mutant::Mutant;

use super::ast::{HostIndex, Scenario, What};
use super::outcome::Verdict;
use super::parse::{Lines, ParseError};
use super::play::live::Cast;
use super::simulated::SimulatedStage;
use super::stage::{Judged, Stage as _};
use super::{fallen, panic_words, parse_text};
use crate::check::Violation;
use crate::trace::Recorder;

/// Lines are played at whole milliseconds, so that a file can name their times.
const TICK: Duration = Duration::from_millis(1);

/// Why a line was not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It makes no sense, in general or here: nothing has happened.
    BadLine { found: String, expected: String },
    /// It was carried out and came to something else.
    Unmet { expected: String, got: String },
    /// A node broke one of its own invariants, now or before: nothing can be played any more.
    Fallen(String),
}

/// An answer to a command, or why there will be none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// As [`Live::play`] numbered the command; `None`: nobody asked for it.
    pub number: Option<u64>,
    pub host: HostIndex,
    /// As redis-cli prints it.
    pub text: String,
    pub bad: bool,
}

/// What a line was.
#[derive(Clone, PartialEq, Debug)]
pub struct Played {
    /// Simulated time at which it was played.
    pub at: Duration,
    pub what: What,
    /// Of a command that was sent: its answer bears this number.
    pub number: Option<u64>,
}

/// A scenario that goes on for as long as somebody has lines.
pub struct Live<'a> {
    scenario: &'a Scenario,
    stage: SimulatedStage,
    cast: Cast,
    lines: Lines,
    fallen: Option<String>,
    /// Servers that showed the same, and the digest of what they showed, when that was last judged.
    judged: Option<(Vec<HostIndex>, u64)>,
    broken: Option<String>,
}

/// Plays the text of a file on a tape, then lets `go_on` play more.
///
/// # Errors
/// The file cannot be understood, or does not hold.
pub fn play_on<R>(
    source: &str,
    seed: u64,
    mutant: Option<Mutant>,
    tape: &Recorder,
    go_on: impl FnOnce(&mut Live<'_>) -> R,
) -> Result<R, Verdict> {
    let scenario = parse_text(source)?;
    let mut stage = SimulatedStage::new(&scenario, seed, mutant, Some(tape));
    let at = Cell::new(None);
    let begun = catch_unwind(AssertUnwindSafe(|| Cast::begin(&scenario, &mut stage, &at)));
    let cast = match begun {
        Ok(begun) => begun?,
        Err(panic) => return Err(fallen(&scenario, &mut stage, at.get(), panic_words(&*panic))),
    };
    let lines = Lines::after(&scenario);
    let mut live =
        Live { scenario: &scenario, stage, cast, lines, fallen: None, judged: None, broken: None };
    live.reached(tape);
    Ok(go_on(&mut live))
}

impl Live<'_> {
    pub fn now(&self) -> Duration {
        self.stage.now()
    }

    /// Of everything that has happened.
    pub fn digest(&self) -> u64 {
        self.stage.digest()
    }

    /// How far a host's wall clock is ahead of the true time.
    pub fn clock_ahead_ms(&self, host: HostIndex) -> i64 {
        self.stage.clock_ahead_ms(host)
    }

    /// Lets simulated time pass.
    ///
    /// # Errors
    /// A node has fallen.
    pub fn pass_until(&mut self, until: Duration, tape: &Recorder) -> Result<(), Refused> {
        self.pass(until)?;
        self.reached(tape);
        Ok(())
    }

    /// Plays a line that may stand after `at TIME`, at the next whole millisecond.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn play(&mut self, text: &str, tape: &Recorder) -> Result<Played, Refused> {
        let at = next_tick(self.now());
        let step = self.lines.read(&format!("at {} {text}", time_text(at)))?;
        self.pass(at)?;
        self.stage.line(text);
        let played = self.guarded(|live| live.cast.play(live.scenario, &mut live.stage, &step));
        self.reached(tape);
        let number = played??;
        let what = match step.what {
            What::At { what, .. } => *what,
            what => what,
        };
        Ok(Played { at, what, number })
    }

    /// The answers that have come since this was last asked.
    pub fn answers(&mut self) -> Vec<Answer> {
        self.cast.answers(&mut self.stage)
    }

    /// What is known to have gone wrong: a broken promise, a server that has ended by itself, a node that
    /// fell.
    pub fn trouble(&mut self) -> Option<String> {
        if let Some(fallen) = &self.fallen {
            return Some(fallen.clone());
        }
        self.judge();
        if let Some(broken) = &self.broken {
            return Some(broken.clone());
        }
        self.cast.ended(self.scenario, &mut self.stage)
    }

    /// Compares what the running servers show, once they show the same, with what was written.
    fn judge(&mut self) {
        if self.broken.is_some() {
            return;
        }
        let mut found = self.stage.violation();
        let running = self.cast.running();
        let mut digests = running.iter().map(|host| self.stage.digest_of(*host));
        if let Some(Some(first)) = digests.next()
            && digests.all(|other| other == Some(first))
            && self.judged.as_ref() != Some(&(running.clone(), first))
        {
            match self.stage.judge(&running) {
                Judged::Fine => self.judged = Some((running, first)),
                Judged::NotYet(_) => {}
                Judged::Violated(violation) => found = found.or(Some(violation)),
            }
        }
        let words = |v: Violation| format!("{}: {}", v.property.name(), v.evidence);
        self.broken = found.map(words);
    }

    fn pass(&mut self, until: Duration) -> Result<(), Refused> {
        self.guarded(|live| live.cast.pass_until(live.scenario, &mut live.stage, until))?
    }

    fn guarded<R>(&mut self, act: impl FnOnce(&mut Self) -> R) -> Result<R, Refused> {
        if let Some(fallen) = &self.fallen {
            return Err(Refused::Fallen(fallen.clone()));
        }
        catch_unwind(AssertUnwindSafe(|| act(self))).map_err(|panic| {
            let text = panic_words(&*panic);
            self.fallen = Some(text.clone());
            Refused::Fallen(text)
        })
    }

    fn reached(&self, tape: &Recorder) {
        let now = crate::time::Time(self.stage.now().as_nanos() as u64);
        tape.with(|tape| tape.reached(now));
    }
}

/// The next whole millisecond.
fn next_tick(now: Duration) -> Duration {
    let ticks = now.as_nanos().div_ceil(TICK.as_nanos());
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// A time of whole milliseconds as a line says it.
pub fn time_text(at: Duration) -> String {
    let text = format!("{:.3}", at.as_secs_f64());
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

impl From<ParseError> for Refused {
    fn from(error: ParseError) -> Refused {
        Refused::BadLine { found: error.found, expected: error.expected }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::BadLine { found, expected } => write!(f, "found {found}, expected {expected}"),
            Refused::Unmet { expected, got } => write!(f, "expected {expected}, got {got}"),
            Refused::Fallen(why) => write!(f, "a node has broken an invariant: {why}"),
        }
    }
}
