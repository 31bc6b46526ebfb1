//! Lines that concern all servers, and lines with a time.

use std::time::Duration;

use super::super::ast::{Check, What, Who};
use super::super::client::Asked;
use super::super::reply::{number_of, show};
use super::super::stage::{Judged, Trouble};
use super::super::words::Word;
use super::{Halt, HostIndex, Player, ServerState, Unmet, Why, trouble};
use crate::check::Violation;
use crate::resp_client::Reply;

impl Player<'_, '_> {
    /// A line with a time: waits for the time, never for an answer.
    pub(super) fn at(&mut self, at: Duration, what: &What) -> Result<(), Halt> {
        self.pass_until(at)?;
        let What::Check { check: Check::Call(call), .. } = what else {
            return self.carry_out(what);
        };
        let words = self.fill(&call.words);
        if words.first().is_some_and(|w| w.eq_ignore_ascii_case(b"SHUTDOWN")) {
            self.hosts[call.who.host()].state = ServerState::Down;
        }
        let mut client = self.take_client(&call.who);
        let sent = client.send_unasked(self.stage, &words);
        self.clients.insert(call.who.clone(), client);
        sent.map_err(|t| trouble(t, &[call.who.host()]))
    }

    /// Whether all running servers have one digest and, where that can be known, what was written.
    pub(super) fn converged(&mut self, until: Duration) -> Result<Option<Unmet>, Halt> {
        let running = self.running()?;
        if let Some(violation) = self.stage.violation() {
            return Err(violated(violation, running));
        }
        let words = [b"QUORATE".to_vec(), b"DIGEST".to_vec()];
        let mut digests = Vec::new();
        for &host in &running {
            let asked = self.ask(&Who::Host(host), &words, until)?;
            let name = &self.scenario.hosts[host].name;
            match asked {
                Asked::Answer(Reply::Bulk(digest)) => digests.push((name, digest)),
                Asked::Answer(other) => {
                    return Ok(Some(not_converged(format!("{name}: {}", show(&other)))));
                }
                Asked::Nothing(why) => return Ok(Some(not_converged(format!("{name}: {why}")))),
            }
        }
        if digests.windows(2).all(|pair| pair[0].1 == pair[1].1) {
            return match self.stage.judge(&running) {
                Judged::Fine => Ok(None),
                Judged::NotYet(waits) => Ok(Some(not_converged(waits))),
                Judged::Violated(violation) => Err(violated(violation, running)),
            };
        }
        let shown: Vec<String> = digests
            .iter()
            .map(|(name, digest)| format!("{name} {}", String::from_utf8_lossy(digest)))
            .collect();
        Ok(Some(not_converged(shown.join(", "))))
    }

    /// Adds up a number of the answers of those hosts whose server runs.
    pub(super) fn sum(
        &mut self,
        field: &str,
        hosts: Option<&[HostIndex]>,
        words: &[Word],
        (low, high): (u64, u64),
        until: Duration,
    ) -> Result<Option<Unmet>, Halt> {
        let mut running = self.running()?;
        running.retain(|host| hosts.is_none_or(|hosts| hosts.contains(host)));
        if running.is_empty() {
            let found = "no running server among these hosts".to_owned();
            let expected = "a running server to ask".to_owned();
            return Err(trouble(Trouble::BadLine { found, expected }, hosts.unwrap_or(&[])));
        }
        let expected = if low == high {
            format!("a sum of {low}")
        } else {
            format!("a sum of {low} to {high}")
        };
        let words = self.fill(words);
        let mut parts = Vec::new();
        for host in running {
            let asked = self.ask(&Who::Host(host), &words, until)?;
            let name = &self.scenario.hosts[host].name;
            let got = match asked {
                Asked::Answer(reply) => match number_of(&reply, field) {
                    Some(number) => {
                        parts.push((name, number));
                        continue;
                    }
                    None => show(&reply),
                },
                Asked::Nothing(why) => why,
            };
            let expected = format!("{expected}, and a number `{field}` in each answer");
            return Ok(Some(Unmet { expected, got: format!("{got} from {name}") }));
        }
        let sum: u64 = parts.iter().map(|(_, number)| number).sum();
        if (low..=high).contains(&sum) {
            return Ok(None);
        }
        let shown: Vec<String> =
            parts.iter().map(|(name, number)| format!("{number} of {name}")).collect();
        Ok(Some(Unmet { expected, got: format!("{sum}: {}", shown.join(", ")) }))
    }

    pub(super) fn collected(&mut self) -> Result<Option<Unmet>, Halt> {
        let running = self.running()?;
        let left = self.stage.uncollected(&running).map_err(|t| trouble(t, &running))?;
        let expected = "no tombstones and no expired keys".to_owned();
        Ok(left.map(|got| Unmet { expected, got }))
    }

    /// A check that has not held in its time.
    pub(super) fn broken(&self, check: &Check, expected: String, got: String) -> Halt {
        let (hosts, property) = (self.hosts_of(check), check.promise());
        Halt::Here(Why::Unmet { expected, got, hosts, property })
    }
}

fn not_converged(got: String) -> Unmet {
    Unmet { expected: "one digest on all hosts".to_owned(), got }
}

fn violated(violation: Violation, hosts: Vec<HostIndex>) -> Halt {
    let expected = "every promise to be kept".to_owned();
    let Violation { property, evidence } = violation;
    Halt::Here(Why::Unmet { expected, got: evidence, hosts, property: Some(property) })
}
