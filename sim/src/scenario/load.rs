//! Background load: one client sends a command at a steady rate while the lines go on.

use std::time::Duration;

use super::ast::HostIndex;
use super::client::{Asked, Client};
use super::reply::{is_error, show};
use super::stage::{Stage, Trouble};
use super::words::{Numbers, Word};

/// No more is sent while so many commands have no answer.
const UNANSWERED_MAX: u64 = 1000;

/// How long opening the connection may hold up the lines.
const OPEN_PATIENCE: Duration = Duration::from_millis(100);

/// One `load` line.
#[derive(Clone, Debug)]
pub struct Load {
    client: Client,
    words: Vec<Word>,
    numbers: Numbers,
    interval: Duration,
    due: Duration,
    sent: u64,
    unanswered: u64,
    answered: u64,
    first_error: Option<String>,
}

impl Load {
    pub fn new(
        client: Client,
        per_sec: u32,
        words: Vec<Word>,
        numbers: &Numbers,
        now: Duration,
    ) -> Load {
        Load {
            client,
            words,
            numbers: numbers.clone(),
            interval: Duration::from_secs(1) / per_sec,
            due: now,
            sent: 0,
            unanswered: 0,
            answered: 0,
            first_error: None,
        }
    }

    pub fn host(&self) -> HostIndex {
        self.client.host()
    }

    /// When the next command is to be sent.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Sends what is due and takes what has arrived. A server that is down is left alone until the
    /// next command is due.
    pub fn drive(&mut self, stage: &mut dyn Stage) -> Result<(), Trouble> {
        self.take_answers(stage);
        while self.due <= stage.now() {
            self.due += self.interval;
            if self.unanswered >= UNANSWERED_MAX {
                continue;
            }
            let until = stage.now() + OPEN_PATIENCE;
            if !self.client.is_open() && self.client.open(stage, until)?.is_err() {
                continue;
            }
            self.sent += 1;
            self.unanswered += 1;
            self.numbers.insert("n".to_owned(), self.sent);
            let words: Vec<Vec<u8>> = self.words.iter().map(|w| w.fill(&self.numbers)).collect();
            self.client.send(stage, &words);
        }
        Ok(())
    }

    /// Waits for the last answers. The inner error is the first error answered, or that there was no
    /// answer at all; commands lost with their connection are nobody's fault.
    pub fn stop(
        &mut self,
        stage: &mut dyn Stage,
        until: Duration,
    ) -> Result<Result<(), String>, Trouble> {
        self.take_answers(stage);
        while self.unanswered > 0 && stage.now() < until {
            stage.pass((until - stage.now()).min(Duration::from_millis(10)), None)?;
            self.take_answers(stage);
        }
        self.client.hang_up(stage);
        match self.first_error.take() {
            Some(error) => Ok(Err(error)),
            None if self.answered == 0 => Ok(Err(format!("no answer to {} commands", self.sent))),
            None => Ok(Ok(())),
        }
    }

    fn take_answers(&mut self, stage: &mut dyn Stage) {
        while let Some(asked) = self.client.take_any(stage) {
            match asked {
                Asked::Answer(reply) => {
                    self.unanswered = self.unanswered.saturating_sub(1);
                    self.answered += 1;
                    if is_error(&reply) && self.first_error.is_none() {
                        self.first_error = Some(show(&reply));
                    }
                }
                Asked::Nothing(_) => self.unanswered = 0,
            }
        }
    }
}
