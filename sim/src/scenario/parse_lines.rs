//! Lines of more than a word or two.

use super::super::ast::{Check, Expect, LinkQuality, RealMode, What};
use super::super::units;
use super::super::words::Word;
use super::{ParseError, Parser, show, show_all};
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
            | What::Restart { .. }
            | What::Pause { .. }
            | What::Resume { .. }
            | What::Clock { .. }
            | What::Link { .. } => true,
            What::Check { .. }
            | What::At { .. }
            | What::Async { .. }
            | What::Await
            | What::Sleep { .. }
            | What::Client { .. }
            | What::Repeat { .. }
            | What::Load { .. }
            | What::StopLoad => false,
        };
        if plain {
            Ok(What::At { at, what: Box::new(what) })
        } else {
            Err(self.error(show_all(line), EXPECTED))
        }
    }

    pub(super) fn link(&mut self, rest: &[Word]) -> Result<What, ParseError> {
        const EXPECTED: &str = "`link A B` with `latency 40ms`, `loss 1%` or `bandwidth 10mbit`";
        let [a, b, pairs @ ..] = rest else { return Err(self.error(show_all(rest), EXPECTED)) };
        let (a, b) = (self.host_named(a)?, self.host_named(b)?);
        if a == b || pairs.is_empty() {
            return Err(self.error(show_all(rest), EXPECTED));
        }
        let mut quality = LinkQuality::default();
        for pair in pairs.chunks(2) {
            let [word, value] = pair else { return Err(self.error(show_all(pair), EXPECTED)) };
            match word.bare() {
                Some("latency") => quality.latency = Some(self.duration(value)?),
                Some("loss") => {
                    let loss = self.typed(value, "a share such as `1%`", units::percent)?;
                    quality.loss = Some(loss);
                }
                Some("bandwidth") => {
                    let bits = self.typed(value, "such as `10mbit`", units::bandwidth)?;
                    quality.bits_per_sec = Some(bits);
                }
                Some(_) | None => return Err(self.error(show(word), EXPECTED)),
            }
        }
        Ok(What::Link { a, b, quality })
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
