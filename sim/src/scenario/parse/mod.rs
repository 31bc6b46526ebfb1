//! Reads a scenario file. The language, one line each:
//!
//! ```text
//! # what this shows              real: yes | real: no (reason)      (the first line)
//! limits tiny|short|production   the bounds simulated nodes run with   (before the first server)
//! seed N                         feeds every random choice, whatever the command line says
//! host NAME ADDR
//! region NAME HOST …             hosts that `link` lines may name together
//! NAME$ quorate server FLAG …    [expect error PATTERN]
//! NAME$ proxy WORD …             a TCP proxy before servers: `--port 6379 --balance roundrobin|first
//!                                --server node1:6379 … --inter 2s --rise 2 --fall 3`
//! NAME$ iptables WORD …
//! NAME> COMMAND …                [= VALUE … | ~ PATTERN | expect error PATTERN [or PATTERN …]]
//! client CLIENT@NAME [noauth]    a connection of its own, then CLIENT> COMMAND …
//! every COMMAND … [= VALUE | …]  on each host whose server runs
//! sum FIELD [in REGION] COMMAND … = N|N..M     the number after FIELD, added up over hosts whose server runs
//! log NAME ~ PATTERN             what the server of NAME has logged since it started
//! ended NAME                     its process has ended by itself: it had no memory left
//! converged                      all running servers hold the same data; simulated, what was written
//! collected                      no running server holds tombstones or expired keys   (simulated)
//! within TIME CHECK              any of the checks above, asked again until it holds
//! async NAME> COMMAND … / await  sends without waiting; `await` waits for all the answers
//! load NAME RATE/s COMMAND … / stop load     $n is the number of the command, from 1
//! kill NAME / wipe NAME / restart NAME / pause NAME / resume NAME
//! memory NAME SIZE|unlimited     what a server may take before it is killed, such as `64mb`
//! clock NAME CHANGE              the wall clock: `+2s`, `-500ms` (a step), `offset +2s` (from the true time),
//!                                `drift +200ppm`, `freeze`, `run`; `clock NAME monotonic CHANGE` the other clock
//! link A B WORD …                both directions between hosts or regions; `link A -> B WORD …` only one. Words:
//!                                `latency 40ms`, `jitter 5ms`, `tail 1% 200ms`, `loss 1%`, `reorder 1% 5ms`,
//!                                `bandwidth 10mbit`, `queue 64kb`, `down`, `up`, `flap 2s 1s`
//! sleep TIME | sleep TIME..TIME
//! at TIME LINE                   a command without an answer, or a line that changes something, at this time
//!                                since the file's start; answers are not waited for
//! repeat N [NAME] … end          $i (or $NAME) is the number of the round, from 1
//! ```
//!
//! Quotes are redis-cli's; `$`, `=`, `~`, `expect error` and ` # comment` lose their meaning in 'single
//! quotes'. A VALUE is what redis-cli prints: `3` and `(integer) 3`, `(nil)`, `OK`, `"Hello"`; several
//! words are an array, `(empty array)` an empty one. A PATTERN is found anywhere in the text; `*` stands
//! for anything. A command with nothing after it may answer anything but an error.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::ast::{Call, Check, Expect, HostIndex, HostLine, RealMode, Scenario, Step, What, Who};
use super::units;
use super::words::{Word, split};
use crate::plan::LimitsPlan;

mod lines;
mod links;
mod live;

pub use live::Lines;

/// A line that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    pub found: String,
    pub expected: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found {}, expected {}", self.found, self.expected)
    }
}

/// Reads a whole file.
///
/// # Errors
/// The first line that cannot be understood.
pub fn parse(source: &str) -> Result<Scenario, ParseError> {
    let mut parser = Parser { real: real_mode(source)?, ..Parser::new() };
    for (index, text) in source.lines().enumerate() {
        parser.line = index + 1;
        parser.take_line(text.trim())?;
    }
    parser.finish()
}

struct Parser {
    /// From 1.
    line: usize,
    real: RealMode,
    limits: Option<LimitsPlan>,
    seed: Option<u64>,
    hosts: Vec<HostLine>,
    regions: BTreeMap<String, Vec<HostIndex>>,
    clients: BTreeMap<String, HostIndex>,
    /// The lines of the file, then those of each open `repeat`.
    blocks: Vec<Block>,
}

struct Block {
    line: usize,
    text: String,
    count: u64,
    /// Of its number; empty for the file itself.
    name: String,
    steps: Vec<Step>,
}

/// The first comment line says whether the file may run on real processes.
fn real_mode(source: &str) -> Result<RealMode, ParseError> {
    let first = source.lines().next().unwrap_or("");
    let said = first.split_once("real:").filter(|_| first.trim_start().starts_with('#'));
    let said = said.map(|(_, said)| said.trim());
    let reason = |rest: &str| {
        let inner = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
        (!inner.is_empty()).then(|| inner.to_owned())
    };
    match said {
        Some("yes") => Ok(RealMode::Yes),
        Some(said) if said.strip_prefix("no").and_then(reason).is_some() => {
            let reason = said.strip_prefix("no").and_then(reason).unwrap_or_default();
            Ok(RealMode::No { line: 1, reason })
        }
        Some(_) | None => Err(ParseError {
            line: 1,
            found: format!("`{}`", first.trim()),
            expected: "a comment with `real: yes` or `real: no (reason)`".to_owned(),
        }),
    }
}

impl Parser {
    fn new() -> Parser {
        let file = Block {
            line: 0,
            text: String::new(),
            count: 1,
            name: String::new(),
            steps: Vec::new(),
        };
        Parser {
            line: 0,
            real: RealMode::Yes,
            limits: None,
            seed: None,
            hosts: Vec::new(),
            regions: BTreeMap::new(),
            clients: BTreeMap::new(),
            blocks: vec![file],
        }
    }

    fn take_line(&mut self, text: &str) -> Result<(), ParseError> {
        let words = split(text).map_err(|e| ParseError {
            line: self.line,
            found: e.found,
            expected: e.expected,
        })?;
        let Some(first) = words.first() else { return Ok(()) };
        self.names_are_known(&words)?;
        let rest = &words[1..];
        let what = match first.bare() {
            Some("host") => return self.host(rest),
            Some("region") => return self.region(rest),
            Some("limits") => return self.limits(rest),
            Some("seed") => return self.seed(rest),
            Some("repeat") => return self.repeat(text, rest),
            Some("end") => return self.end(rest),
            Some(other) => self.what(other, &words)?,
            None => return Err(self.error(show(first), STATEMENTS)),
        };
        self.push(Step { line: self.line, text: text.to_owned(), what });
        Ok(())
    }

    fn finish(mut self) -> Result<Scenario, ParseError> {
        if self.blocks.len() > 1 {
            let open = self.blocks.pop().expect("there is an open block");
            return Err(ParseError {
                line: open.line,
                found: format!("`{}` without `end`", open.text),
                expected: "`end` after its lines".to_owned(),
            });
        }
        let file = self.blocks.pop().expect("the file's own block");
        if self.hosts.is_empty() || file.steps.is_empty() {
            return Err(
                self.error("the end of the file".to_owned(), "a `host` and something to do")
            );
        }
        Ok(Scenario {
            real: self.real,
            limits: self.limits.unwrap_or(LimitsPlan::Production),
            seed: self.seed,
            hosts: self.hosts,
            regions: self.regions,
            steps: file.steps,
        })
    }

    fn host(&mut self, rest: &[Word]) -> Result<(), ParseError> {
        let [name, ip] = self.exactly(rest, "`host NAME ADDR`")?;
        let name = self.new_name(name)?;
        let ip = self.typed(ip, "an IPv4 address", |t| t.parse::<Ipv4Addr>().ok())?;
        if let Some(other) = self.hosts.iter().find(|h| h.ip == ip) {
            let found = format!("`{ip}`, which `{}` has", other.name);
            return Err(self.error(found, "an address of its own"));
        }
        self.hosts.push(HostLine { name, ip });
        Ok(())
    }

    fn repeat(&mut self, text: &str, rest: &[Word]) -> Result<(), ParseError> {
        let (count, name) = match rest {
            [count] => (count, "i".to_owned()),
            [count, name] => {
                let name = self.typed(name, "a name of small letters", |t| {
                    let plain = !t.is_empty() && t.bytes().all(|b| b.is_ascii_lowercase());
                    plain.then(|| t.to_owned())
                })?;
                (count, name)
            }
            _ => return Err(self.error(show_all(rest), "`repeat N` or `repeat N NAME`")),
        };
        let count = self.typed(count, "a number from 1 to 1000000", |t| {
            t.parse::<u64>().ok().filter(|n| (1..=1_000_000).contains(n))
        })?;
        if self.blocks.iter().any(|b| b.name == name) {
            let found = format!("`${name}` a second time");
            return Err(self.error(found, "`repeat N NAME` with a name of its own"));
        }
        let text = text.to_owned();
        self.blocks.push(Block { line: self.line, text, count, name, steps: Vec::new() });
        Ok(())
    }

    fn end(&mut self, rest: &[Word]) -> Result<(), ParseError> {
        let [] = self.exactly(rest, "`end` alone")?;
        if self.blocks.len() == 1 {
            return Err(self.error("`end` without `repeat`".to_owned(), "a `repeat` before it"));
        }
        let Block { line, text, count, name, steps } = self.blocks.pop().expect("checked above");
        self.push(Step { line, text, what: What::Repeat { count, name, body: steps } });
        Ok(())
    }

    fn push(&mut self, step: Step) {
        self.blocks.last_mut().expect("the file's own block").steps.push(step);
    }

    /// Every line but those that shape the file. `words[0]` is `first`.
    fn what(&mut self, first: &str, words: &[Word]) -> Result<What, ParseError> {
        let rest = &words[1..];
        match first {
            "within" => {
                let (within, check) = match rest {
                    [time, check @ ..] => (self.duration(time)?, check),
                    [] => return Err(self.error(show_all(rest), "`within TIME CHECK`")),
                };
                let check = self.check(check)?;
                self.may_be_asked_again(&check)?;
                Ok(What::Check { within: Some(within), check })
            }
            "at" => self.at(rest),
            "every" | "sum" | "log" | "ended" | "converged" | "collected" => {
                // `converged within 5s` may be said in this order too.
                if let [first, within, time] = words
                    && first.is("converged")
                    && within.is("within")
                {
                    let within = Some(self.duration(time)?);
                    return Ok(What::Check { within, check: Check::Converged });
                }
                Ok(What::Check { within: None, check: self.check(words)? })
            }
            "async" => match self.check(rest)? {
                Check::Call(call) => Ok(What::Async { call }),
                Check::Every { .. }
                | Check::Sum { .. }
                | Check::Log { .. }
                | Check::Ended { .. }
                | Check::Converged
                | Check::Collected => Err(self.error(show_all(rest), "`async NAME> COMMAND`")),
            },
            "await" => self.alone(rest, "`await` alone", What::Await),
            "sleep" => {
                let [time] = self.exactly(rest, "`sleep TIME` or `sleep TIME..TIME`")?;
                let expected = "a time such as `10ms`, or a range such as `0ms..50ms`";
                let (low, high) = self.typed(time, expected, units::duration_range)?;
                Ok(What::Sleep { low, high })
            }
            "kill" => Ok(What::Kill { host: self.only_host(rest)? }),
            "wipe" => Ok(What::Wipe { host: self.only_host(rest)? }),
            "restart" => Ok(What::Restart { host: self.only_host(rest)? }),
            "pause" => Ok(What::Pause { host: self.only_host(rest)? }),
            "resume" => Ok(What::Resume { host: self.only_host(rest)? }),
            "clock" => self.clock(rest),
            "link" => self.link(rest),
            "memory" => self.memory(rest),
            "client" => self.client(rest),
            "load" => {
                let [on, rate, command @ ..] = rest else {
                    return Err(self.error(show_all(rest), "`load NAME RATE/s COMMAND`"));
                };
                let per_sec = self.typed(rate, "a rate such as `200/s`", units::rate)?;
                let (words, expect) = self.command(command)?;
                if expect != Expect::NoError {
                    return Err(self.error(show_all(command), "a command without an answer"));
                }
                Ok(What::Load { on: Who::Host(self.host_named(on)?), per_sec, words })
            }
            "stop" => {
                let [load] = self.exactly(rest, "`stop load`")?;
                if !load.is("load") {
                    return Err(self.error(show(load), "`stop load`"));
                }
                Ok(What::StopLoad)
            }
            _ if first.ends_with('$') => self.shell(first.trim_end_matches('$'), rest),
            _ if first.ends_with('>') => {
                Ok(What::Check { within: None, check: self.check(words)? })
            }
            _ => Err(self.error(show(&words[0]), STATEMENTS)),
        }
    }

    /// After `NAME$`.
    fn shell(&mut self, name: &str, rest: &[Word]) -> Result<What, ParseError> {
        let host = self.host_index(name)?;
        match rest {
            [program, server, flags @ ..] if program.is("quorate") && server.is("server") => {
                let (flags, expect) = self.expectation(flags)?;
                match expect {
                    Expect::NoError | Expect::Error(_) => {}
                    Expect::Equal(_) | Expect::Like(_) => {
                        return Err(self.error(show_all(rest), "flags, or `expect error PATTERN`"));
                    }
                }
                Ok(What::Server { host, flags, expect })
            }
            [program, words @ ..] if program.is("iptables") && !words.is_empty() => {
                Ok(What::Iptables { host, words: words.to_vec() })
            }
            [program, words @ ..] if program.is("proxy") => {
                Ok(What::Proxy { host, words: words.to_vec() })
            }
            _ => {
                let expected = "`quorate server FLAG …`, `proxy WORD …` or `iptables WORD …`";
                Err(self.error(show_all(rest), expected))
            }
        }
    }

    fn check(&mut self, words: &[Word]) -> Result<Check, ParseError> {
        let Some(first) = words.first() else {
            return Err(self.error(show_all(words), CHECKS));
        };
        let rest = &words[1..];
        match first.bare() {
            Some("every") => {
                let (words, expect) = self.command(rest)?;
                Ok(Check::Every { words, expect })
            }
            Some("sum") => self.sum(rest),
            Some("log") => match rest {
                [host, like, pattern] if like.is("~") => {
                    Ok(Check::Log { host: self.host_named(host)?, pattern: pattern.clone() })
                }
                _ => Err(self.error(show_all(rest), "`log NAME ~ PATTERN`")),
            },
            Some("ended") => Ok(Check::Ended { host: self.only_host(rest)? }),
            Some("converged") => self.alone(rest, "`converged`", Check::Converged),
            Some("collected") => self.alone(rest, "`collected`", Check::Collected),
            Some(name) if name.ends_with('>') => {
                let who = self.who(name.trim_end_matches('>'))?;
                let (words, expect) = self.command(rest)?;
                Ok(Check::Call(Call { who, words, expect }))
            }
            Some(_) | None => Err(self.error(show(first), CHECKS)),
        }
    }

    /// `within` asks several times: what writes would write several times.
    fn may_be_asked_again(&self, check: &Check) -> Result<(), ParseError> {
        let words = match check {
            Check::Call(call) => &call.words,
            Check::Every { words, .. } | Check::Sum { words, .. } => words,
            Check::Log { .. } | Check::Ended { .. } | Check::Converged | Check::Collected => {
                return Ok(());
            }
        };
        let name = words[0].bare().unwrap_or_default();
        if WRITES.iter().any(|write| name.eq_ignore_ascii_case(write)) {
            return Err(self.error(format!("`{name}`"), "a command that only reads after `within`"));
        }
        Ok(())
    }

    /// A command, which has at least one word, and what it should answer.
    fn command(&self, words: &[Word]) -> Result<(Vec<Word>, Expect), ParseError> {
        let (command, expect) = self.expectation(words)?;
        if command.is_empty() {
            return Err(self.error(show_all(words), "a command such as `GET key`"));
        }
        Ok((command, expect))
    }

    fn expectation(&self, words: &[Word]) -> Result<(Vec<Word>, Expect), ParseError> {
        let begins = |i: &usize| {
            words[*i].is("=")
                || words[*i].is("~")
                || (words[*i].is("expect") && words.get(i + 1).is_some_and(|w| w.is("error")))
        };
        let Some(at) = (0..words.len()).find(begins) else {
            return Ok((words.to_vec(), Expect::NoError));
        };
        let expect = match &words[at..] {
            [sign, values @ ..] if sign.is("=") && !values.is_empty() => {
                Expect::Equal(values.to_vec())
            }
            [sign, pattern] if sign.is("~") => Expect::Like(pattern.clone()),
            [expect, _, patterns @ ..] if expect.is("expect") && are_choices(patterns) => {
                Expect::Error(patterns.iter().step_by(2).cloned().collect())
            }
            tail => {
                let expected =
                    "`= VALUE`, `~ PATTERN` or `expect error PATTERN` (and `or PATTERN` …)";
                return Err(self.error(show_all(tail), expected));
            }
        };
        Ok((words[..at].to_vec(), expect))
    }

    /// Every `$name` of the line is the number of a block around it.
    fn names_are_known(&self, words: &[Word]) -> Result<(), ParseError> {
        let load = words[0].is("load");
        for name in words.iter().flat_map(Word::names) {
            let known = self.blocks.iter().any(|b| b.name == name) || (load && name == "n");
            if !known {
                let expected = "the name of a `repeat` around this line, or '$' in single quotes";
                return Err(self.error(format!("`${name}`"), expected));
            }
        }
        Ok(())
    }

    fn who(&self, name: &str) -> Result<Who, ParseError> {
        match self.clients.get(name) {
            Some(&host) => Ok(Who::Named { name: name.to_owned(), host }),
            None => Ok(Who::Host(self.host_index(name)?)),
        }
    }

    fn only_host(&self, rest: &[Word]) -> Result<HostIndex, ParseError> {
        let [host] = self.exactly(rest, "the name of one host")?;
        self.host_named(host)
    }

    fn host_named(&self, word: &Word) -> Result<HostIndex, ParseError> {
        match word.bare() {
            Some(name) => self.host_index(name),
            None => Err(self.error(show(word), "the name of a host")),
        }
    }

    fn host_index(&self, name: &str) -> Result<HostIndex, ParseError> {
        self.host_or("a host or client", name, self.clients.keys())
    }

    /// The host of this name; the error says what else could stand there.
    fn host_or<'a>(
        &'a self,
        expected: &str,
        name: &str,
        others: impl Iterator<Item = &'a String>,
    ) -> Result<HostIndex, ParseError> {
        self.hosts.iter().position(|h| h.name == name).ok_or_else(|| {
            let known = self.hosts.iter().map(|h| &h.name).chain(others);
            let known: Vec<&str> = known.map(String::as_str).collect();
            self.error(format!("`{name}`"), &format!("{expected}: {}", known.join(", ")))
        })
    }

    fn new_name(&self, word: &Word) -> Result<String, ParseError> {
        self.checked_name(word.bare().unwrap_or(""))
    }

    /// A name that nothing else has and that can be the name of a host.
    fn checked_name(&self, name: &str) -> Result<String, ParseError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if !starts || name.len() > 32 || !name.bytes().all(fits) {
            let expected = "a name of at most 32 letters, digits, - and _, first a letter";
            return Err(self.error(format!("`{name}`"), expected));
        }
        let host = self.hosts.iter().any(|h| h.name == name);
        if host || self.clients.contains_key(name) || self.regions.contains_key(name) {
            return Err(self.error(format!("`{name}` a second time"), "a name of its own"));
        }
        Ok(name.to_owned())
    }

    fn duration(&self, word: &Word) -> Result<Duration, ParseError> {
        self.typed(word, "a time such as `10ms` or `5s`", units::duration)
    }

    fn typed<T>(
        &self,
        word: &Word,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ParseError> {
        word.bare().and_then(read).ok_or_else(|| self.error(show(word), expected))
    }

    fn exactly<'a, const N: usize>(
        &self,
        words: &'a [Word],
        expected: &str,
    ) -> Result<[&'a Word; N], ParseError> {
        let refs: Vec<&Word> = words.iter().collect();
        refs.try_into().map_err(|_| self.error(show_all(words), expected))
    }

    fn alone<T>(&self, rest: &[Word], expected: &str, value: T) -> Result<T, ParseError> {
        let [] = self.exactly(rest, expected)?;
        Ok(value)
    }

    fn error(&self, found: String, expected: &str) -> ParseError {
        ParseError { line: self.line, found, expected: expected.to_owned() }
    }
}

const WRITES: [&str; 18] = [
    "APPEND",
    "DECR",
    "DECRBY",
    "DEL",
    "EXEC",
    "EXPIRE",
    "FLUSHALL",
    "FLUSHDB",
    "GETDEL",
    "INCR",
    "INCRBY",
    "MSET",
    "PERSIST",
    "PEXPIRE",
    "REPLICAOF",
    "SET",
    "SHUTDOWN",
    "UNLINK",
];

const CHECKS: &str = "`NAME> COMMAND`, `every COMMAND`, `sum FIELD COMMAND`, `log NAME ~ PATTERN`, `ended NAME`, \
                      `converged` or `collected`";

const STATEMENTS: &str = "`host`, `region`, `NAME$ quorate server`, `NAME$ proxy`, \
                          `NAME$ iptables`, `NAME> COMMAND`, `client`, `every`, `sum`, `log`, `ended`, \
                          `converged`, `collected`, `within`, `async`, `await`, `load`, \
                          `stop load`, `kill`, `wipe`, `restart`, `pause`, `resume`, `memory`, `clock`, \
                          `link`, `at`, `sleep`, `repeat`, `end`, `limits` or `seed`";

/// `PATTERN`, `PATTERN or PATTERN`, …
fn are_choices(words: &[Word]) -> bool {
    words.len() % 2 == 1 && words.iter().skip(1).step_by(2).all(|word| word.is("or"))
}

fn show(word: &Word) -> String {
    show_all(std::slice::from_ref(word))
}

fn show_all(words: &[Word]) -> String {
    if words.is_empty() {
        return "the end of the line".to_owned();
    }
    let shown: Vec<String> = words.iter().map(Word::to_string).collect();
    format!("`{}`", shown.join(" "))
}

#[cfg(test)]
mod tests;
