//! Lines one at a time: what stays between two of them.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::super::ast::{Check, HostIndex, Scenario, Step, What, Who};
use super::super::client::{Asked, Client};
use super::super::live::{Answer, Refused};
use super::super::outcome::Verdict;
use super::super::reply::is_error;
use super::super::stage::{Stage, Trouble};
use super::{Halt, Host, Player, ServerState, Why};

/// Servers and clients between two lines.
#[derive(Default)]
pub struct Cast {
    hosts: Vec<Host>,
    clients: BTreeMap<Who, Client>,
    /// What each client's outstanding answers belong to; `None`: to AUTH.
    asked: BTreeMap<Who, VecDeque<Option<u64>>>,
    /// Commands sent so far.
    sent: u64,
    /// Answers that have come and were not handed out.
    came: Vec<Answer>,
}

impl Cast {
    /// Plays the lines of a file.
    ///
    /// # Errors
    /// The file does not hold.
    pub fn begin<'a>(
        scenario: &'a Scenario,
        stage: &mut dyn Stage,
        at: &Cell<Option<&'a Step>>,
    ) -> Result<Cast, Verdict> {
        let hosts = scenario.hosts.iter().map(|_| Host::default()).collect();
        let mut cast = Cast { hosts, ..Cast::default() };
        cast.with(scenario, stage, at, |player| match player.play() {
            Ok(()) => Ok(()),
            Err(stop) => Err(player.verdict(stop)),
        })?;
        Ok(cast)
    }

    /// Plays a line with a time; the number of the command if it sent one.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn play(
        &mut self,
        scenario: &Scenario,
        stage: &mut dyn Stage,
        step: &Step,
    ) -> Result<Option<u64>, Refused> {
        // The client would drop them.
        self.take_answers(stage);
        self.with(scenario, stage, &Cell::new(None), |player| player.step(step))
            .map_err(refused)?;
        let What::At { what, .. } = &step.what else { return Ok(None) };
        let What::Check { check: Check::Call(call), .. } = &**what else { return Ok(None) };
        let owed = self.clients.get(&call.who).map_or(0, Client::owed);
        let asked = self.asked.entry(call.who.clone()).or_default();
        if owed <= asked.len() {
            let name = &scenario.hosts[call.who.host()].name;
            return Err(Refused::Unmet {
                expected: format!("a connection to {name}"),
                got: "none: nothing was sent".to_owned(),
            });
        }
        // A client that has just connected was asked for its password first.
        asked.resize(owed - 1, None);
        self.sent += 1;
        asked.push_back(Some(self.sent));
        Ok(Some(self.sent))
    }

    /// # Errors
    /// The stage cannot go on.
    pub fn pass_until(
        &mut self,
        scenario: &Scenario,
        stage: &mut dyn Stage,
        until: Duration,
    ) -> Result<(), Refused> {
        let passed = |player: &mut Player<'_, '_>| player.pass_until(until);
        self.with(scenario, stage, &Cell::new(None), passed).map_err(refused)
    }

    /// Answers that have come.
    pub fn answers(&mut self, stage: &mut dyn Stage) -> Vec<Answer> {
        self.take_answers(stage);
        std::mem::take(&mut self.came)
    }

    fn take_answers(&mut self, stage: &mut dyn Stage) {
        for (who, client) in &mut self.clients {
            let asked = self.asked.entry(who.clone()).or_default();
            while let Some(answer) = client.take_unasked(stage) {
                let number = match asked.pop_front() {
                    Some(None) => continue,
                    Some(number) => number,
                    None => None,
                };
                let (text, bad) = match answer {
                    Asked::Answer(reply) => (reply.to_string(), is_error(&reply)),
                    Asked::Nothing(why) => (why, true),
                };
                self.came.push(Answer { number, host: who.host(), text, bad });
            }
        }
    }

    /// Hosts whose server runs and is not paused.
    pub fn running(&self) -> Vec<HostIndex> {
        let up = |host: &HostIndex| self.hosts[*host].state == ServerState::Up;
        (0..self.hosts.len()).filter(up).collect()
    }

    /// A server that should run and has ended, and what it said.
    pub fn ended(&self, scenario: &Scenario, stage: &mut dyn Stage) -> Option<String> {
        let up = |host: &HostIndex| self.hosts[*host].state != ServerState::Down;
        (0..self.hosts.len()).filter(up).find_map(|host| {
            let said = stage.ended(host)?;
            Some(format!("the server of {} has ended: {said}", scenario.hosts[host].name))
        })
    }

    fn with<'a, R>(
        &mut self,
        scenario: &'a Scenario,
        stage: &mut dyn Stage,
        at: &Cell<Option<&'a Step>>,
        act: impl FnOnce(&mut Player<'a, '_>) -> R,
    ) -> R {
        let mut player = Player {
            scenario,
            stage,
            at,
            hosts: std::mem::take(&mut self.hosts),
            clients: std::mem::take(&mut self.clients),
            noauth: Vec::new(),
            loads: Vec::new(),
            numbers: BTreeMap::new(),
            lines: 0,
            checks: 0,
        };
        let out = act(&mut player);
        self.hosts = player.hosts;
        self.clients = player.clients;
        out
    }
}

fn refused(halt: Halt) -> Refused {
    match halt {
        Halt::Here(Why::Unmet { expected, got, .. }) | Halt::Earlier { expected, got, .. } => {
            Refused::Unmet { expected, got }
        }
        Halt::Here(Why::Trouble { trouble, .. }) => match trouble {
            Trouble::BadLine { found, expected } => Refused::BadLine { found, expected },
            Trouble::Failed(found) | Trouble::Unavailable(found) => {
                Refused::BadLine { found, expected: "a line that can be carried out".to_owned() }
            }
            Trouble::Interrupted => Refused::BadLine {
                found: "an interruption".to_owned(),
                expected: "to be left alone".to_owned(),
            },
        },
    }
}
