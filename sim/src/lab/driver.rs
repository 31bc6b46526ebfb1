//! Paces a lab: the only place of it that looks at a clock. What it feeds the session are actions and the
//! simulated times at which they are done.

// Simulated time follows the real one here, at the speed that was asked for.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::oneshot;

use super::action::Action;
use super::board::{Held, Shared};
use super::session::{Session, Standing};
use super::setup::Setup;
use crate::scenario::live::play_on;
use crate::scenario::outcome::Verdict;
use crate::trace::Recorder;

/// How often time goes on.
const TICK: Duration = Duration::from_millis(16);

/// How often somebody who might look is looked for.
const IDLE_TICK: Duration = Duration::from_millis(100);

/// A longer gap between two ticks is not made up for: the machine slept.
const GAP_MAX: Duration = Duration::from_millis(250);

/// Messages that a page can show without getting slow.
const MESSAGES_MAX: usize = 300_000;

/// Slowest and fastest simulated time.
pub const SPEED_MIN: f64 = 0.0001;
pub const SPEED_MAX: f64 = 100.0;

/// The longest single step.
pub const STEP_MS_MAX: u64 = 60_000;

/// What pages ask for.
#[derive(Debug)]
pub enum Input {
    Act {
        action: Action,
        done: oneshot::Sender<Result<(), String>>,
    },
    Pace {
        change: PaceChange,
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Another lab in place of this one.
    New {
        setup: Setup,
        done: oneshot::Sender<Result<(), String>>,
    },
    File {
        done: oneshot::Sender<String>,
    },
    End,
}

/// A change of how time goes; what is not named stays.
#[derive(Copy, Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaceChange {
    pub paused: Option<bool>,
    pub speed: Option<f64>,
    /// Lets this much simulated time pass at once.
    pub step_ms: Option<f64>,
}

/// A lab that was asked for.
struct Wanted {
    setup: Setup,
    /// Whoever asked, if anybody did.
    done: Option<oneshot::Sender<Result<(), String>>>,
}

/// Runs labs, one after the other, until somebody says `End`.
pub fn drive(setup: Setup, inputs: &Receiver<Input>, shared: &Arc<Shared>) {
    let mut wanted = Some(Wanted { setup, done: None });
    while let Some(next) = wanted {
        wanted = one_lab(next, inputs, shared);
    }
}

/// One lab, until there is another or none.
fn one_lab(wanted: Wanted, inputs: &Receiver<Input>, shared: &Arc<Shared>) -> Option<Wanted> {
    let Wanted { setup, mut done } = wanted;
    let setup = &setup;
    let mut tell = |begun: Result<(), String>| {
        if let Some(done) = done.take() {
            // Whoever asked may have gone.
            let _ = done.send(begun);
        }
    };
    let tape = Recorder::new();
    let source = format!("# A lab.   real: yes\n{}", setup.lines());
    let begun = play_on(&source, setup.seed, setup.mutant, &tape, |live| {
        let session = Session::new(live, tape.clone(), setup.clone());
        let driver = Driver::new(session, tape.clone(), setup, shared);
        tell(Ok(()));
        driver.run(inputs)
    });
    begun.unwrap_or_else(|verdict| {
        let why = fallen(setup, &tape, &verdict, shared);
        tell(Err(why));
        wait_for_another(inputs)
    })
}

struct Driver<'a, 'l, 's> {
    session: Session<'a, 'l>,
    tape: Recorder,
    shared: &'s Arc<Shared>,
    /// Where simulated time should be.
    target: Duration,
    last: Instant,
    /// Of the lines that the board shows.
    version: u64,
}

impl<'a, 'l, 's> Driver<'a, 'l, 's> {
    fn new(
        mut session: Session<'a, 'l>,
        tape: Recorder,
        setup: &Setup,
        shared: &'s Arc<Shared>,
    ) -> Driver<'a, 'l, 's> {
        show_new(setup, &tape, session.standing(), None, shared);
        let target = session.now();
        Driver { session, tape, shared, target, last: Instant::now(), version: 0 }
    }

    /// The next lab; `None`: there is none.
    fn run(mut self, inputs: &Receiver<Input>) -> Option<Wanted> {
        loop {
            let goes = self.goes();
            match inputs.recv_timeout(if goes { TICK } else { IDLE_TICK }) {
                Ok(Input::Act { action, done }) => {
                    let result = self.session.act(&action).map_err(|refused| refused.to_string());
                    self.show();
                    // Whoever asked may have gone.
                    let _ = done.send(result);
                }
                Ok(Input::Pace { change, done }) => {
                    let _ = done.send(self.change_pace(change));
                }
                Ok(Input::New { setup, done }) => {
                    if let Some(wanted) = checked(setup, done) {
                        return Some(wanted);
                    }
                }
                Ok(Input::File { done }) => {
                    let _ = done.send(self.session.file());
                }
                Ok(Input::End) | Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.go_on();
        }
    }

    fn goes(&self) -> bool {
        let pace = self.shared.board().pace;
        !pace.paused && pace.held.is_none() && self.shared.is_watched()
    }

    /// Lets simulated time follow the real one.
    fn go_on(&mut self) {
        let now = Instant::now();
        let gap = now.duration_since(self.last);
        // Several inputs in one moment make one tick.
        if gap < TICK / 2 {
            return;
        }
        self.last = now;
        if !self.goes() {
            self.target = self.session.now();
            return;
        }
        let speed = self.shared.board().pace.speed;
        self.target = self.target.max(self.session.now()) + gap.min(GAP_MAX).mul_f64(speed);
        self.pass_until(self.target);
    }

    fn pass_until(&mut self, until: Duration) {
        let passed = self.session.pass_until(until);
        let full = self.tape.with(|tape| tape.messages.len() >= MESSAGES_MAX);
        let held = match passed {
            Err(_) => Some(Held::Fallen),
            Ok(()) if full => Some(Held::Full),
            Ok(()) => None,
        };
        self.shared.board().pace.held = held;
        self.show();
    }

    fn show(&mut self) {
        let standing = self.session.standing();
        let mut board = self.shared.board();
        board.standing = standing;
        if self.version != self.session.version() {
            self.version = self.session.version();
            board.said = self.session.said().to_vec();
        }
        drop(board);
        self.shared.tell();
    }

    fn change_pace(&mut self, change: PaceChange) -> Result<(), String> {
        let PaceChange { paused, speed, step_ms } = change;
        if let Some(speed) = speed.filter(|speed| !(SPEED_MIN..=SPEED_MAX).contains(speed)) {
            return Err(format!("speed: found {speed}, expected {SPEED_MIN} to {SPEED_MAX}"));
        }
        let most = STEP_MS_MAX as f64;
        if let Some(step) = step_ms.filter(|step| !(*step > 0.0 && *step <= most)) {
            return Err(format!("step_ms: found {step}, expected more than 0, at most {most}"));
        }
        let mut board = self.shared.board();
        board.pace.paused = paused.unwrap_or(board.pace.paused);
        board.pace.speed = speed.unwrap_or(board.pace.speed);
        let held = board.pace.held;
        drop(board);
        if let (Some(step), None) = (step_ms, held) {
            self.pass_until(self.session.now() + Duration::from_secs_f64(step / 1000.0));
        }
        self.shared.tell();
        Ok(())
    }
}

fn show_new(
    setup: &Setup,
    tape: &Recorder,
    standing: Standing,
    held: Option<Held>,
    shared: &Arc<Shared>,
) {
    let mut board = shared.board();
    board.number += 1;
    board.setup = setup.clone();
    board.tape = tape.clone();
    board.pace.held = held;
    board.standing = standing;
    board.said = Vec::new();
    drop(board);
    shared.tell();
}

/// Shows a lab that could not begin; why.
fn fallen(setup: &Setup, tape: &Recorder, verdict: &Verdict, shared: &Arc<Shared>) -> String {
    let why = format!("the lab could not begin: {verdict:?}");
    let standing = Standing { trouble: Some(why.clone()), ..Standing::default() };
    show_new(setup, tape, standing, Some(Held::Fallen), shared);
    why
}

/// The lab that is asked for, if there can be such a one.
fn checked(setup: Setup, done: oneshot::Sender<Result<(), String>>) -> Option<Wanted> {
    match setup.check() {
        Ok(()) => Some(Wanted { setup, done: Some(done) }),
        Err(bad) => {
            let _ = done.send(Err(bad.to_string()));
            None
        }
    }
}

fn wait_for_another(inputs: &Receiver<Input>) -> Option<Wanted> {
    while let Ok(input) = inputs.recv() {
        let over = || "the lab could not begin: begin another one".to_owned();
        match input {
            Input::New { setup, done } => {
                if let Some(wanted) = checked(setup, done) {
                    return Some(wanted);
                }
            }
            Input::Act { done, .. } | Input::Pace { done, .. } => {
                let _ = done.send(Err(over()));
            }
            Input::File { done } => {
                let _ = done.send(format!("# {}\n", over()));
            }
            Input::End => return None,
        }
    }
    None
}
