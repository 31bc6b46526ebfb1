//! Lines of more than a word or two.

use super::super::ast::{Check, Expect, RealMode, What};
use super::super::units;
use super::super::words::Word;
use super::{ParseError, Parser, show, show_all};
use crate::clock::ClockChange;
use crate::plan::LimitsPlan;

impl Parser {
    pub(super) fn limits(&mut self, rest: &[Word]) -> Result<(), ParseError> {
        let [name] = self.exactly(rest, "`limits tiny`, `limits short` or `limits production`")?;
        let limits = self.typed(name, "tiny, short or production", LimitsPlan::from_name)?;
        if self.limits.is_some() || self.blocks.iter().any(|b| !b.steps.is_empty()) {
            return Err(self.error("`limits` here".to_owned(), "one such line, before all others"));
        }
        if limits != LimitsPlan::Production && self.real == RealMode::Yes {
            let found = format!("`limits {}` in a file for real processes", limits.name());
            return Err(self.error(found, "`limits production`, or `real: no (reason)` above"));
        }
        self.limits = Some(limits);
        Ok(())
    }

    pub(super) fn seed(&mut self, rest: &[Word]) -> Result<(), ParseError> {
        let [seed] = self.exactly(rest, "`seed N`")?;
        self.seed = Some(self.typed(seed, "a number", |t| t.parse().ok())?);
        Ok(())
    }

    /// After `at`.
    pub(super) fn at(&mut self, rest: &[Word]) -> Result<What, ParseError> {
        const EXPECTED: &str = "a command without an answer, or a line that changes something";
        let [time, line @ ..] = rest else {
            return Err(self.error(show_all(rest), "`at TIME LINE`"));
        };
        let at = self.duration(time)?;
        let first = line.first().and_then(Word::bare).unwrap_or_default();
        let what = self.what(first, if line.is_empty() { rest } else { line })?;
        let plain = match &what {
            What::Check { within: None, check: Check::Call(call) } => {
                call.expect == Expect::NoError
            }
            What::Server { expect, .. } => *expect == Expect::NoError,
            What::Iptables { .. }
            | What::Kill { .. }
            | What::Wipe { .. }
            | What::Restart { .. }
            | What::Pause { .. }
            | What::Resume { .. }
            | What::Clock { .. }
            | What::Link { .. }
            | What::Memory { .. } => true,
            What::Check { .. }
            | What::At { .. }
            | What::Async { .. }
            | What::Await
            | What::Sleep { .. }
            | What::Client { .. }
            | What::Repeat { .. }
            | What::Load { .. }
            | What::StopLoad
            | What::Proxy { .. } => false,
        };
        if plain {
            Ok(What::At { at, what: Box::new(what) })
        } else {
            Err(self.error(show_all(line), EXPECTED))
        }
    }

    /// After `sum`.
    pub(super) fn sum(&mut self, rest: &[Word]) -> Result<Check, ParseError> {
        const EXPECTED: &str =
            "`sum FIELD COMMAND = N` or `sum FIELD in REGION COMMAND = N`, or `= N..M`";
        let (field, hosts, command) = match rest {
            [field, word, region, command @ ..] if word.is("in") => {
                (field, Some(self.hosts_named(region)?), command)
            }
            [field, command @ ..] => (field, None, command),
            [] => return Err(self.error(show_all(rest), EXPECTED)),
        };
        let field =
            self.typed(field, "the name of a number in the answer", |t| Some(t.to_owned()))?;
        let (words, expect) = self.command(command)?;
        let Expect::Equal(values) = expect else {
            return Err(self.error(show_all(command), EXPECTED));
        };
        let [range] = self.exactly(&values, EXPECTED)?;
        let expected = "a number such as `4096`, or a range such as `2047..2049`";
        let (low, high) = self.typed(range, expected, units::number_range)?;
        Ok(Check::Sum { field, hosts, words, low, high })
    }

    pub(super) fn memory(&mut self, rest: &[Word]) -> Result<What, ParseError> {
        let [host, size] = self.exactly(rest, "`memory NAME SIZE`")?;
        let bytes = if size.is("unlimited") {
            None
        } else {
            Some(self.typed(size, "a size such as `64mb`, or `unlimited`", units::bytes)?)
        };
        Ok(What::Memory { host: self.host_named(host)?, bytes })
    }

    /// After `clock`.
    pub(super) fn clock(&mut self, rest: &[Word]) -> Result<What, ParseError> {
        const EXPECTED: &str = "`clock NAME`, then `+2s`, `-500ms`, `offset +2s`, \
                                `drift +200ppm`, `freeze` or `run`, or `monotonic` and `+2s`, \
                                `drift +200ppm`, `freeze` or `run`";
        let step = |word: &Word| self.typed(word, "a step such as `+2s`", units::clock_step);
        let drift = |word: &Word| self.typed(word, "a drift such as `+200ppm`", units::drift);
        let [host, rest @ ..] = rest else { return Err(self.error(show_all(rest), EXPECTED)) };
        let (monotonic, words) = match rest {
            [first, words @ ..] if first.is("monotonic") => (true, words),
            words => (false, words),
        };
        let change = match (monotonic, words) {
            (false, [word]) if word.is("freeze") => ClockChange::FreezeWall(true),
            (false, [word]) if word.is("run") => ClockChange::FreezeWall(false),
            (false, [word, by]) if word.is("drift") => ClockChange::DriftWall(drift(by)?),
            (false, [word, to]) if word.is("offset") => ClockChange::SetWallOffset(step(to)?),
            (false, [by]) => ClockChange::StepWall(step(by)?),
            (true, [word]) if word.is("freeze") => ClockChange::FreezeMono(true),
            (true, [word]) if word.is("run") => ClockChange::FreezeMono(false),
            (true, [word, by]) if word.is("drift") => ClockChange::DriftMono(drift(by)?),
            (true, [by]) => {
                let by = u64::try_from(step(by)?);
                let expected = "a monotonic clock to jump ahead, such as `+2s`";
                ClockChange::JumpMono(by.map_err(|_| self.error(show_all(words), expected))?)
            }
            _ => return Err(self.error(show_all(rest), EXPECTED)),
        };
        Ok(What::Clock { host: self.host_named(host)?, change })
    }

    pub(super) fn client(&mut self, rest: &[Word]) -> Result<What, ParseError> {
        const EXPECTED: &str = "`client NAME@HOST` or `client NAME@HOST noauth`";
        let (at, auth) = match rest {
            [at] => (at, true),
            [at, noauth] if noauth.is("noauth") => (at, false),
            _ => return Err(self.error(show_all(rest), EXPECTED)),
        };
        let Some((name, host)) = at.bare().and_then(|t| t.split_once('@')) else {
            return Err(self.error(show(at), EXPECTED));
        };
        let host = self.host_index(host)?;
        let name = self.checked_name(name)?;
        self.clients.insert(name.clone(), host);
        Ok(What::Client { name, host, auth })
    }
}
