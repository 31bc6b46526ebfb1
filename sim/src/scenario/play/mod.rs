//! Plays the lines of a scenario on a stage.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::ast::{Call, Check, Expect, HostIndex, Scenario, Step, What, Who};
use super::client::{ATTEMPT_MAX, Asked, Client};
use super::load::Load;
use super::outcome::{Failure, Summary, Verdict};
use super::reply::{is_as, like, show};
use super::stage::{Stage, Trouble};
use super::words::{Numbers, Word};
use crate::check::Property;

mod hosts;
pub mod live;
mod more;

use hosts::{Host, ServerState};

/// How long a line without `within` may wait for its answer, and a server for its first one.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often `within` asks again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Plays all lines; the stage is left as it is at the end. `at` is kept at the step being played.
pub fn play<'a>(
    scenario: &'a Scenario,
    stage: &mut dyn Stage,
    at: &Cell<Option<&'a Step>>,
) -> Verdict {
    let hosts = scenario.hosts.iter().map(|_| Host::default()).collect();
    let mut player = Player {
        scenario,
        stage,
        at,
        hosts,
        clients: BTreeMap::new(),
        noauth: Vec::new(),
        loads: Vec::new(),
        numbers: Numbers::new(),
        lines: 0,
        checks: 0,
    };
    match player.play() {
        Ok(()) => Verdict::Held(Summary {
            lines: player.lines,
            checks: player.checks,
            took: player.stage.now(),
            digest: None,
        }),
        Err(stop) => player.verdict(stop),
    }
}

struct Player<'a, 's> {
    scenario: &'a Scenario,
    stage: &'s mut dyn Stage,
    at: &'s Cell<Option<&'a Step>>,
    hosts: Vec<Host>,
    clients: BTreeMap<Who, Client>,
    /// Named clients that do not authenticate by themselves.
    noauth: Vec<String>,
    loads: Vec<Load>,
    numbers: Numbers,
    lines: u64,
    checks: u64,
}

/// Why the play stops at a line.
struct Stop {
    line: usize,
    text: String,
    why: Why,
}

enum Why {
    Unmet { expected: String, got: String, hosts: Vec<HostIndex>, property: Option<Property> },
    Trouble { trouble: Trouble, hosts: Vec<HostIndex> },
}

/// A check that does not hold yet.
struct Unmet {
    expected: String,
    got: String,
}

impl<'a> Player<'a, '_> {
    fn play(&mut self) -> Result<(), Stop> {
        let scenario = self.scenario;
        self.steps(&scenario.steps)?;
        let Some(last) = scenario.steps.last() else { return Ok(()) };
        self.wait_for_answers().map_err(|why| why_at(last, why))?;
        self.stop_loads().map_err(|why| why_at(last, why))
    }

    fn steps(&mut self, steps: &'a [Step]) -> Result<(), Stop> {
        for step in steps {
            if let What::Repeat { count, name, body } = &step.what {
                for number in 1..=*count {
                    self.numbers.insert(name.clone(), number);
                    self.steps(body)?;
                }
                self.numbers.remove(name);
                continue;
            }
            self.lines += 1;
            self.at.set(Some(step));
            self.stage.line(&step.text);
            self.step(step).map_err(|why| why_at(step, why))?;
            self.servers_are_alive().map_err(|why| why_at(step, why))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), Halt> {
        if let What::Async { call } = &step.what {
            return self.call_later(step, call);
        }
        self.carry_out(&step.what)
    }

    fn carry_out(&mut self, what: &What) -> Result<(), Halt> {
        match what {
            What::Server { host, flags, expect } => self.server(*host, flags, expect),
            What::Iptables { host, words } => {
                let words = self.fill_texts(words);
                self.stage.iptables(*host, &words).map_err(|t| trouble(t, &[*host]))
            }
            What::Check { within, check } => {
                self.checks += 1;
                self.check(*within, check)
            }
            What::Await => self.wait_for_answers(),
            What::Sleep { low, high } => {
                let spread = u64::try_from((*high - *low).as_micros()).unwrap_or(u64::MAX - 1);
                let drawn = if spread == 0 { 0 } else { self.stage.below(spread + 1) };
                let until = self.stage.now() + *low + Duration::from_micros(drawn);
                self.pass_until(until)
            }
            What::At { at, what } => self.at(*at, what),
            What::Kill { host } => {
                self.hosts[*host].state = ServerState::Down;
                self.stage.kill(*host).map_err(|t| trouble(t, &[*host]))
            }
            What::Wipe { host } => self.wipe(*host),
            What::Restart { host } => self.restart(*host),
            What::Pause { host } => {
                self.must_be(*host, ServerState::Up, "a running server")?;
                self.hosts[*host].state = ServerState::Paused;
                self.stage.pause(*host).map_err(|t| trouble(t, &[*host]))
            }
            What::Resume { host } => {
                self.must_be(*host, ServerState::Paused, "a paused server")?;
                self.hosts[*host].state = ServerState::Up;
                self.stage.resume(*host).map_err(|t| trouble(t, &[*host]))
            }
            What::Clock { host, change } => {
                self.stage.clock(*host, *change).map_err(|t| trouble(t, &[*host]))
            }
            What::Link { pairs, quality } => pairs.iter().try_for_each(|&(from, to)| {
                self.stage.link(from, to, *quality).map_err(|t| trouble(t, &[from, to]))
            }),
            What::Client { name, host, auth } => {
                if !auth {
                    self.noauth.push(name.clone());
                }
                let who = Who::Named { name: name.clone(), host: *host };
                self.connected(&who)
            }
            What::Load { on, per_sec, words } => {
                let client = self.new_client(on);
                let now = self.stage.now();
                self.loads.push(Load::new(client, *per_sec, words.clone(), &self.numbers, now));
                Ok(())
            }
            What::StopLoad => self.stop_loads(),
            What::Proxy { host, words } => self.proxy(*host, words),
            What::Memory { host, bytes } => {
                self.stage.limit_memory(*host, *bytes).map_err(|t| trouble(t, &[*host]))
            }
            What::Async { .. } => unreachable!("carried out by `step`"),
            What::Repeat { .. } => unreachable!("taken apart by `steps`"),
        }
    }

    /// Looks until the check holds or its time is over.
    fn check(&mut self, within: Option<Duration>, check: &Check) -> Result<(), Halt> {
        let began = self.stage.now();
        let Some(within) = within else {
            return match self.attempt(check, began + PATIENCE)? {
                Some(Unmet { expected, got }) => Err(self.broken(check, expected, got)),
                None => Ok(()),
            };
        };
        let until = began + within;
        loop {
            let patience = until.min(self.stage.now() + ATTEMPT_MAX);
            let Some(Unmet { expected, got }) = self.attempt(check, patience)? else {
                return Ok(());
            };
            self.servers_are_alive()?;
            self.pass_until(until.min(self.stage.now() + ASK_AGAIN))?;
            if self.stage.now() >= until {
                let got = format!("{} (for {:.3} s)", got.trim_end(), within.as_secs_f64());
                return Err(self.broken(check, expected, got));
            }
        }
    }

    /// Looks once; what is wrong if the check does not hold.
    fn attempt(&mut self, check: &Check, until: Duration) -> Result<Option<Unmet>, Halt> {
        match check {
            Check::Call(call) => {
                let words = self.fill(&call.words);
                let asked = self.ask(&call.who, &words, until)?;
                Ok(self.judge(&call.expect, asked, None))
            }
            Check::Every { words, expect } => {
                let words = self.fill(words);
                for host in self.running()? {
                    let asked = self.ask(&Who::Host(host), &words, until)?;
                    if let Some(unmet) = self.judge(expect, asked, Some(host)) {
                        return Ok(Some(unmet));
                    }
                }
                Ok(None)
            }
            Check::Sum { field, hosts, words, low, high } => {
                self.sum(field, hosts.as_deref(), words, (*low, *high), until)
            }
            Check::Log { host, pattern } => {
                let log = self.stage.log(*host);
                if like(log.as_bytes(), &pattern.fill(&self.numbers)) {
                    return Ok(None);
                }
                let expected = format!("a log line like {}", pattern.fill_text(&self.numbers));
                let last = log.lines().last().unwrap_or("nothing logged");
                Ok(Some(Unmet { expected, got: format!("last logged: {last}") }))
            }
            Check::Ended { host } => self.has_ended(*host),
            Check::Converged => self.converged(until),
            Check::Collected => self.collected(),
        }
    }

    fn judge(&self, expect: &Expect, asked: Asked, host: Option<HostIndex>) -> Option<Unmet> {
        let got = match asked {
            Asked::Answer(reply) if is_as(&reply, expect, &self.numbers) => return None,
            Asked::Answer(reply) => show(&reply),
            Asked::Nothing(why) => why,
        };
        let got = match host {
            Some(host) => format!("{got} from {}", self.scenario.hosts[host].name),
            None => got,
        };
        Some(Unmet { expected: expect.show(&self.numbers), got })
    }

    /// Asks with the client's connection, after the answers it still waits for.
    fn ask(&mut self, who: &Who, words: &[Vec<u8>], until: Duration) -> Result<Asked, Halt> {
        if words.first().is_some_and(|w| w.eq_ignore_ascii_case(b"SHUTDOWN")) {
            self.hosts[who.host()].state = ServerState::Down;
        }
        self.drive_loads()?;
        let mut client = self.take_client(who);
        let asked = client.ask(self.stage, words, until);
        let late = client.unmet_before();
        self.clients.insert(who.clone(), client);
        let asked = asked.map_err(|t| trouble(t, &[who.host()]))?;
        self.drive_loads()?;
        match late {
            Some((line, text, expected, got)) => {
                Err(Halt::Earlier { line, text, expected, got, host: who.host() })
            }
            None => Ok(asked),
        }
    }

    fn call_later(&mut self, step: &Step, call: &Call) -> Result<(), Halt> {
        self.checks += 1;
        self.drive_loads()?;
        let words = self.fill(&call.words);
        let mut client = self.take_client(&call.who);
        let until = self.stage.now() + PATIENCE;
        let owed = (step.line, step.text.clone(), call.expect.clone(), self.numbers.clone());
        let sent = client.send_later(self.stage, &words, owed, until);
        self.clients.insert(call.who.clone(), client);
        let host = call.who.host();
        match sent.map_err(|t| trouble(t, &[host]))? {
            Ok(()) => Ok(()),
            Err(why) => Err(unmet("a connection".to_owned(), why, &[host])),
        }
    }

    fn wait_for_answers(&mut self) -> Result<(), Halt> {
        let until = self.stage.now() + PATIENCE;
        for who in self.clients.keys().cloned().collect::<Vec<Who>>() {
            let mut client = self.take_client(&who);
            let waited = client.wait_for_owed(self.stage, until);
            let late = client.unmet_before();
            self.clients.insert(who.clone(), client);
            waited.map_err(|t| trouble(t, &[who.host()]))?;
            if let Some((line, text, expected, got)) = late {
                return Err(Halt::Earlier { line, text, expected, got, host: who.host() });
            }
        }
        self.drive_loads()
    }

    /// `client` lines connect at once, so that what follows finds the connection there.
    fn connected(&mut self, who: &Who) -> Result<(), Halt> {
        let mut client = self.take_client(who);
        let until = self.stage.now() + PATIENCE;
        let opened = client.open(self.stage, until);
        self.clients.insert(who.clone(), client);
        match opened.map_err(|t| trouble(t, &[who.host()]))? {
            Ok(()) => Ok(()),
            Err(why) => Err(unmet("a connection".to_owned(), why, &[who.host()])),
        }
    }

    fn stop_loads(&mut self) -> Result<(), Halt> {
        let until = self.stage.now() + PATIENCE;
        for mut load in std::mem::take(&mut self.loads) {
            let host = load.host();
            let stopped = load.stop(self.stage, until).map_err(|t| trouble(t, &[host]))?;
            if let Err(got) = stopped {
                return Err(unmet("answers other than errors".to_owned(), got, &[host]));
            }
            self.checks += 1;
        }
        Ok(())
    }

    fn drive_loads(&mut self) -> Result<(), Halt> {
        for load in &mut self.loads {
            let host = load.host();
            load.drive(self.stage).map_err(|t| trouble(t, &[host]))?;
        }
        Ok(())
    }

    fn pass_until(&mut self, until: Duration) -> Result<(), Halt> {
        loop {
            self.drive_loads()?;
            let now = self.stage.now();
            if now >= until {
                return Ok(());
            }
            let next = self.loads.iter().map(Load::due).min().unwrap_or(until).min(until);
            let span = next.saturating_sub(now).max(Duration::from_micros(1));
            self.stage.pass(span, None).map_err(|t| trouble(t, &[]))?;
        }
    }

    fn hosts_of(&self, check: &Check) -> Vec<HostIndex> {
        match check {
            Check::Call(call) => vec![call.who.host()],
            Check::Sum { hosts: Some(hosts), .. } => hosts.clone(),
            Check::Log { host, .. } | Check::Ended { host } => vec![*host],
            Check::Every { .. }
            | Check::Sum { hosts: None, .. }
            | Check::Converged
            | Check::Collected => (0..self.hosts.len()).collect(),
        }
    }

    fn take_client(&mut self, who: &Who) -> Client {
        self.clients.remove(who).unwrap_or_else(|| self.new_client(who))
    }

    fn fill(&self, words: &[Word]) -> Vec<Vec<u8>> {
        words.iter().map(|w| w.fill(&self.numbers)).collect()
    }

    fn fill_texts(&self, words: &[Word]) -> Vec<String> {
        words.iter().map(|w| w.fill_text(&self.numbers)).collect()
    }

    fn verdict(&mut self, stop: Stop) -> Verdict {
        let Stop { line, text, why } = stop;
        let (expected, got, hosts, property) = match why {
            Why::Unmet { expected, got, hosts, property } => (expected, got, hosts, property),
            Why::Trouble { trouble, hosts } => match trouble {
                Trouble::Failed(got) => ("the line to be carried out".to_owned(), got, hosts, None),
                Trouble::BadLine { found, expected } => {
                    return Verdict::BadFile { line, found, expected };
                }
                Trouble::Unavailable(why) => return Verdict::Unavailable { line, why },
                Trouble::Interrupted => return Verdict::Interrupted { line },
            },
        };
        let mut facts = Vec::new();
        for host in hosts {
            let name = self.scenario.hosts[host].name.clone();
            facts.push((name, self.stage.last_facts(host)));
        }
        let at = self.stage.now();
        let kept = None;
        Verdict::Failed(Box::new(Failure { line, text, property, expected, got, at, facts, kept }))
    }
}

/// Why a line stops the play.
enum Halt {
    Here(Why),
    /// The answer of an `async` line before this one is not what that line expects.
    Earlier {
        line: usize,
        text: String,
        expected: String,
        got: String,
        host: HostIndex,
    },
}

fn why_at(step: &Step, halt: Halt) -> Stop {
    match halt {
        Halt::Here(why) => Stop { line: step.line, text: step.text.clone(), why },
        Halt::Earlier { line, text, expected, got, host } => {
            let hosts = vec![host];
            Stop { line, text, why: Why::Unmet { expected, got, hosts, property: None } }
        }
    }
}

fn unmet(expected: String, got: String, hosts: &[HostIndex]) -> Halt {
    Halt::Here(Why::Unmet { expected, got, hosts: hosts.to_vec(), property: None })
}

fn trouble(trouble: Trouble, hosts: &[HostIndex]) -> Halt {
    Halt::Here(Why::Trouble { trouble, hosts: hosts.to_vec() })
}
