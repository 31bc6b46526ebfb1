//! Lines about the network: `region` and `link`.

use super::super::ast::{HostIndex, What};
use super::super::quality::{LinkQuality, LinkState};
use super::super::units;
use super::super::words::Word;
use super::{ParseError, Parser, show, show_all};

pub(super) const LINK: &str = "`link A B` or `link A -> B` of hosts or regions, then \
                               `latency 40ms`, `jitter 5ms`, `tail 1% 200ms`, `loss 1%`, \
                               `reorder 1% 5ms`, `bandwidth 10mbit`, `queue 64kb`, `down`, `up` \
                               or `flap 2s 1s`";

impl Parser {
    /// `region NAME HOST …`
    pub(super) fn region(&mut self, rest: &[Word]) -> Result<(), ParseError> {
        let [name, hosts @ ..] = rest else {
            return Err(self.error(show_all(rest), "`region NAME HOST …`"));
        };
        let name = self.new_name(name)?;
        let mut members: Vec<HostIndex> = Vec::new();
        for host in hosts {
            let member = self.host_named(host)?;
            if members.contains(&member) {
                return Err(self.error(format!("{} a second time", show(host)), "each host once"));
            }
            members.push(member);
        }
        if members.is_empty() {
            return Err(self.error("a region without hosts".to_owned(), "`region NAME HOST …`"));
        }
        self.regions.insert(name, members);
        Ok(())
    }

    pub(super) fn link(&mut self, rest: &[Word]) -> Result<What, ParseError> {
        let (a, b, words, both) = match rest {
            [a, arrow, b, words @ ..] if arrow.is("->") => (a, b, words, false),
            [a, b, words @ ..] => (a, b, words, true),
            _ => return Err(self.error(show_all(rest), LINK)),
        };
        if words.is_empty() {
            return Err(self.error(show_all(rest), LINK));
        }
        let (sources, sinks) = (self.hosts_named(a)?, self.hosts_named(b)?);
        let mut pairs: Vec<(HostIndex, HostIndex)> = Vec::new();
        for &from in &sources {
            for &to in sinks.iter().filter(|to| **to != from) {
                pairs.push((from, to));
                if both {
                    pairs.push((to, from));
                }
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        if pairs.is_empty() {
            return Err(self.error(show_all(rest), LINK));
        }
        Ok(What::Link { pairs, quality: self.quality(words)? })
    }

    fn quality(&self, words: &[Word]) -> Result<LinkQuality, ParseError> {
        let mut quality = LinkQuality::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| self.error(show(word), LINK));
            match word.bare() {
                Some("latency") => quality.latency = Some(self.duration(value()?)?),
                Some("jitter") => quality.jitter = Some(self.duration(value()?)?),
                Some("tail") => {
                    quality.tail = Some((self.share(value()?)?, self.duration(value()?)?));
                }
                Some("loss") => quality.loss = Some(self.share(value()?)?),
                Some("reorder") => {
                    quality.reorder = Some((self.share(value()?)?, self.duration(value()?)?));
                }
                Some("bandwidth") => {
                    let bits = self.typed(value()?, "such as `10mbit`", units::bandwidth)?;
                    quality.bits_per_sec = Some(bits);
                }
                Some("queue") => {
                    let bytes = self.typed(value()?, "a size such as `64kb`", units::bytes)?;
                    quality.queue_bytes = Some(bytes);
                }
                Some("down") => quality.state = Some(LinkState::Down),
                Some("up") => quality.state = Some(LinkState::Up),
                Some("flap") => {
                    let (up, down) = (self.duration(value()?)?, self.duration(value()?)?);
                    quality.state = Some(LinkState::Flaps { up, down });
                }
                Some(_) | None => return Err(self.error(show(word), LINK)),
            }
        }
        Ok(quality)
    }

    fn share(&self, word: &Word) -> Result<f64, ParseError> {
        self.typed(word, "a share such as `1%`", units::percent)
    }

    /// The host of this name, or all hosts of the region.
    pub(super) fn hosts_named(&self, word: &Word) -> Result<Vec<HostIndex>, ParseError> {
        let name = word.bare().unwrap_or_default();
        match self.regions.get(name) {
            Some(members) => Ok(members.clone()),
            None => Ok(vec![self.host_or("a host or a region", name, self.regions.keys())?]),
        }
    }
}
