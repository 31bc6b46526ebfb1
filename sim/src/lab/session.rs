//! A lab without clocks: what is done in it and when, in simulated time, is all that it depends on.

use std::time::Duration;

use serde::Serialize;

use super::action::{Action, CLOCK_STEP_MS_MAX, LINE_BYTES_MAX};
use super::file::{FilePart, file_text};
use super::setup::Setup;
use crate::scenario::ast::What;
use crate::scenario::live::{Live, Played, Refused};
use crate::trace::Recorder;

/// A line that was played, and what came of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Said {
    /// Simulated time, ns.
    pub at: u64,
    pub line: String,
    /// As redis-cli prints it; `None`: there is none yet.
    pub reply: Option<String>,
    /// The reply is an error, or there will be none.
    pub bad: bool,
    /// A reply is to come.
    pub asks: bool,
    #[serde(skip)]
    number: Option<u64>,
}

/// How a lab stands, besides what is on its tape.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Standing {
    /// By host: how far its wall clock is ahead of the true time, ms.
    pub clocks_ms: Vec<i64>,
    /// What went wrong that must not.
    pub trouble: Option<String>,
    pub digest: String,
}

/// A lab under way.
pub struct Session<'a, 'l> {
    live: &'l mut Live<'a>,
    tape: Recorder,
    setup: Setup,
    said: Vec<Said>,
    /// Rises with every change of `said`.
    version: u64,
    played: Vec<FilePart>,
    /// Walls that were put up here: from, to.
    walls: Vec<(usize, usize)>,
    /// Hosts whose firewall was changed by other lines.
    foreign: Vec<usize>,
}

impl<'a, 'l> Session<'a, 'l> {
    pub fn new(live: &'l mut Live<'a>, tape: Recorder, setup: Setup) -> Session<'a, 'l> {
        let (said, played, walls, foreign) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Session { live, tape, setup, said, version: 0, played, walls, foreign }
    }

    pub fn now(&self) -> Duration {
        self.live.now()
    }

    /// Every line so far.
    pub fn said(&self) -> &[Said] {
        &self.said
    }

    /// Rises with every change of [`Session::said`].
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Lets simulated time pass.
    ///
    /// # Errors
    /// A node has broken an invariant.
    pub fn pass_until(&mut self, until: Duration) -> Result<(), Refused> {
        self.live.pass_until(until, &self.tape)?;
        self.take_answers();
        Ok(())
    }

    /// Does something.
    ///
    /// # Errors
    /// Why not. Of several lines those before the one that was refused were played.
    pub fn act(&mut self, action: &Action) -> Result<(), Refused> {
        for line in self.lines_of(action)? {
            let played = self.live.play(&line, &self.tape);
            self.take_answers();
            match played {
                Ok(played) => self.note(line, &played),
                Err(refused) => {
                    if let Refused::Unmet { .. } = &refused {
                        self.came_to_nothing(line, &refused);
                    }
                    return Err(refused);
                }
            }
        }
        if matches!(action, Action::Heal { pairs } if pairs.is_empty()) {
            self.walls.clear();
            self.foreign.clear();
        }
        Ok(())
    }

    pub fn standing(&mut self) -> Standing {
        let hosts = 0..usize::from(self.setup.nodes);
        Standing {
            clocks_ms: hosts.map(|host| self.live.clock_ahead_ms(host)).collect(),
            trouble: self.live.trouble(),
            digest: crate::runner::summary::digest_text(self.live.digest()),
        }
    }

    /// A scenario file that does the same again and expects what is to be seen now.
    pub fn file(&self) -> String {
        self.tape.with(|tape| file_text(&self.setup, &self.played, tape, self.live.now()))
    }

    fn lines_of(&self, action: &Action) -> Result<Vec<String>, Refused> {
        let lines = match action {
            Action::Command { host, line } => {
                self.host(host)?;
                vec![format!("{host}> {}", self.one_line(line)?)]
            }
            Action::Line { line } => vec![self.one_line(line)?],
            Action::Wall { pairs } => {
                let walls = self.pairs(pairs)?;
                if walls.is_empty() {
                    return Err(bad("no pairs of hosts", "at least one pair"));
                }
                let new = walls.into_iter().filter(|pair| !self.walls.contains(pair));
                new.map(|pair| wall_line("-A", pair)).collect()
            }
            Action::Heal { pairs } if pairs.is_empty() => self.heal_lines(),
            Action::Heal { pairs } => {
                let walls = self.pairs(pairs)?;
                if let Some((from, to)) = walls.iter().find(|pair| !self.walls.contains(pair)) {
                    let (from, to) = (Setup::name(*from), Setup::name(*to));
                    return Err(bad(
                        &format!("no wall of the lab's between {from} and {to}"),
                        "one that was drawn, or to heal everything",
                    ));
                }
                walls.into_iter().map(|pair| wall_line("-D", pair)).collect()
            }
            Action::Kill { host } => vec![format!("kill {}", self.host_name(host)?)],
            Action::Restart { host } => vec![format!("restart {}", self.host_name(host)?)],
            Action::Pause { host } => vec![format!("pause {}", self.host_name(host)?)],
            Action::Resume { host } => vec![format!("resume {}", self.host_name(host)?)],
            Action::Clock { host, by_ms } => {
                if *by_ms == 0 || by_ms.abs() > CLOCK_STEP_MS_MAX {
                    let expected = format!("1 to {CLOCK_STEP_MS_MAX} ms, ahead or back");
                    return Err(bad(&format!("a step of {by_ms} ms"), &expected));
                }
                vec![format!("clock {} {by_ms:+}ms", self.host_name(host)?)]
            }
        };
        Ok(lines)
    }

    /// Deletes the rules that were put up here; empties firewalls that other lines have changed.
    fn heal_lines(&self) -> Vec<String> {
        let own = self.walls.iter().filter(|(_, to)| !self.foreign.contains(to));
        let mut lines: Vec<String> = own.map(|pair| wall_line("-D", *pair)).collect();
        for host in &self.foreign {
            let name = Setup::name(*host);
            for words in ["-F", "-P INPUT ACCEPT", "-P OUTPUT ACCEPT"] {
                lines.push(format!("{name}$ iptables {words}"));
            }
        }
        lines
    }

    fn note(&mut self, line: String, played: &Played) {
        let Played { at, what, number } = played;
        if let What::Iptables { host, .. } = what {
            self.note_rule(*host, &line);
        }
        self.played.push(FilePart { at: *at, line: line.clone(), failed: None });
        let (at, number, asks) = (at.as_nanos() as u64, *number, number.is_some());
        self.version += 1;
        self.said.push(Said { at, line, reply: None, bad: false, asks, number });
        self.take_answers();
    }

    fn note_rule(&mut self, host: usize, line: &str) {
        let mut pairs = (0..usize::from(self.setup.nodes)).map(|from| (from, host));
        if let Some(pair) = pairs.clone().find(|pair| line == wall_line("-A", *pair)) {
            self.walls.push(pair);
        } else if let Some(pair) = pairs.find(|pair| line == wall_line("-D", *pair)) {
            self.walls.retain(|wall| *wall != pair);
        } else if !self.foreign.contains(&host) {
            self.foreign.push(host);
        }
    }

    /// A line that was carried out and did not do what it should.
    fn came_to_nothing(&mut self, line: String, why: &Refused) {
        let at = self.live.now();
        let failed = Some(why.to_string());
        self.played.push(FilePart { at, line: line.clone(), failed: failed.clone() });
        let at = at.as_nanos() as u64;
        self.version += 1;
        self.said.push(Said { at, line, reply: failed, bad: true, asks: true, number: None });
    }

    fn take_answers(&mut self) {
        let now = self.live.now().as_nanos() as u64;
        for answer in self.live.answers() {
            self.version += 1;
            let of = |said: &&mut Said| answer.number.is_some() && said.number == answer.number;
            if let Some(said) = self.said.iter_mut().rev().find(of) {
                said.reply = Some(answer.text);
                said.bad = answer.bad;
            } else {
                let line = format!("{}: a message", Setup::name(answer.host));
                let (reply, bad) = (Some(answer.text), answer.bad);
                self.said.push(Said { at: now, line, reply, bad, asks: true, number: None });
            }
        }
    }

    fn pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(usize, usize)>, Refused> {
        let mut out = Vec::new();
        for (from, to) in pairs {
            let pair = (self.host(from)?, self.host(to)?);
            if pair.0 == pair.1 {
                return Err(bad(&format!("{from} twice"), "two different hosts"));
            }
            if !out.contains(&pair) {
                out.push(pair);
            }
        }
        Ok(out)
    }

    fn host(&self, name: &str) -> Result<usize, Refused> {
        let mut hosts = 0..usize::from(self.setup.nodes);
        hosts.find(|host| Setup::name(*host) == name).ok_or_else(|| {
            let last = Setup::name(usize::from(self.setup.nodes) - 1);
            bad(&format!("host {name:?}"), &format!("a host from node1 to {last}"))
        })
    }

    fn host_name<'n>(&self, name: &'n str) -> Result<&'n str, Refused> {
        self.host(name).map(|_| name)
    }

    fn one_line(&self, line: &str) -> Result<String, Refused> {
        let line = line.trim();
        if line.is_empty() {
            return Err(bad("an empty line", "a command such as `SET key value`"));
        }
        if line.len() > LINE_BYTES_MAX {
            let found = format!("a line of {} bytes", line.len());
            return Err(bad(&found, &format!("at most {LINE_BYTES_MAX}")));
        }
        if line.contains(['\n', '\r']) {
            return Err(bad("several lines", "one line"));
        }
        Ok(line.to_owned())
    }
}

/// Nothing from the first host reaches the second, or does again.
fn wall_line(flag: &str, (from, to): (usize, usize)) -> String {
    let (from, to) = (Setup::ip(from), Setup::name(to));
    format!("{to}$ iptables {flag} INPUT -s {from} -j DROP")
}

fn bad(found: &str, expected: &str) -> Refused {
    Refused::BadLine { found: found.to_owned(), expected: expected.to_owned() }
}
