//! A log for ShiViz: who did what, with vector clocks, so that what happened before what can be seen and searched.
//!
//! Lanes are the hosts and the clients. Each event is two lines: lane and clock, then what happened. Events are
//! everything on the tape that is told of a host, and each message between two hosts as it is sent and as it
//! arrives; acknowledgements and the set-up of connections are left out, as are the rare paths of the code.
//!
//! Source: <https://bestchai.bitbucket.io/shiviz/>: the first line is the expression that the log is parsed with,
//! the second one parts several executions, of which there is one.

use std::collections::BTreeMap;

use crate::time::Time;
use crate::trace::{Conn, Fate, MarkKind, Message, MessageKind, Tape, Text};

/// What ShiViz is to parse the log with.
const PARSER: &str = r"(?<host>\S*) (?<clock>{.*})\n(?<event>.*)";

/// How much each lane has done, as far as another one knows.
type Clock = BTreeMap<String, u64>;

/// What happens, in the order in which it is told of one moment: what arrives may be the cause of the rest.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum What {
    Arrives(usize),
    Mark(usize),
    Sends(usize),
    /// In the moment in which it was sent.
    ArrivesAtOnce(usize),
}

/// The log of a tape.
pub fn text(tape: &Tape) -> String {
    let mut clocks: BTreeMap<String, Clock> = BTreeMap::new();
    // By message: the clock with which it was sent.
    let mut sent: BTreeMap<usize, Clock> = BTreeMap::new();
    let mut out = format!("{PARSER}\n\n");
    for (at, what) in events(tape) {
        let (lane, words) = told(tape, what);
        let clock = clocks.entry(lane.clone()).or_default();
        if let What::Arrives(message) | What::ArrivesAtOnce(message) = what {
            for (other, count) in sent.remove(&message).unwrap_or_default() {
                let known = clock.entry(other).or_default();
                *known = count.max(*known);
            }
        }
        *clock.entry(lane.clone()).or_default() += 1;
        if let What::Sends(message) = what {
            sent.insert(message, clock.clone());
        }
        let parts: Vec<String> =
            clock.iter().map(|(lane, count)| format!("\"{lane}\":{count}")).collect();
        let words = words.replace(['\n', '\r'], " ");
        out += &format!("{lane} {{{}}}\n{at} {words}\n", parts.join(","));
    }
    out
}

/// All that is told, in order.
fn events(tape: &Tape) -> Vec<(Time, What)> {
    let mut events = Vec::new();
    for (index, mark) in tape.marks.iter().enumerate() {
        if mark.host.is_some() && mark.kind != MarkKind::Rare {
            events.push((Time(mark.at), What::Mark(index)));
        }
    }
    for (index, message) in tape.messages.iter().enumerate() {
        if !is_told(message) {
            continue;
        }
        events.push((Time(message.sent), What::Sends(index)));
        if message.fate == Fate::Delivered {
            let arrives = if message.ends > message.sent {
                What::Arrives(index)
            } else {
                What::ArrivesAtOnce(index)
            };
            events.push((Time(message.ends), arrives));
        }
    }
    events.sort_unstable();
    events
}

fn is_told(message: &Message) -> bool {
    match message.kind {
        MessageKind::TcpAck | MessageKind::TcpControl => false,
        MessageKind::Client
        | MessageKind::Heartbeat
        | MessageKind::Handshake
        | MessageKind::Resync
        | MessageKind::Unit => true,
    }
}

/// Where it happens, and what.
fn told(tape: &Tape, what: What) -> (String, String) {
    let text = |text: Text| tape.texts()[text.0 as usize].as_str();
    let host = |host: u16| tape.hosts[usize::from(host)].name.clone();
    match what {
        What::Mark(index) => {
            let mark = &tape.marks[index];
            (mark.host.map_or_else(String::new, host), text(mark.text).to_owned())
        }
        What::Sends(index) | What::Arrives(index) | What::ArrivesAtOnce(index) => {
            let message = &tape.messages[index];
            let conn = &tape.conns[message.conn as usize];
            let lane = |of: u16| match lane_of_client(tape, conn, of) {
                Some(client) => client.to_owned(),
                None => host(of),
            };
            let (from, to) = (lane(message.from), lane(message.to));
            match what {
                What::Sends(_) => {
                    let fate = fate_words(message.fate);
                    (from, format!("to {to}{fate}: {}", text(message.text)))
                }
                What::Arrives(_) | What::ArrivesAtOnce(_) | What::Mark(_) => {
                    (to, format!("from {from}: {}", text(message.text)))
                }
            }
        }
    }
}

/// The client at this end of a connection, if there is one; the host has a lane otherwise.
fn lane_of_client<'t>(tape: &'t Tape, conn: &Conn, host: u16) -> Option<&'t str> {
    let who = tape.texts()[conn.who.0 as usize].as_str();
    let is_lane = !who.is_empty() && !who.contains(char::is_whitespace);
    (conn.from == host && !conn.peers && is_lane).then_some(who)
}

fn fate_words(fate: Fate) -> &'static str {
    match fate {
        Fate::Delivered => "",
        Fate::UnderWay => " (still under way)",
        Fate::LostOnLink => " (lost on the link)",
        Fate::DroppedByOutput | Fate::RejectedByOutput => " (kept back by the own firewall)",
        Fate::DroppedByInput | Fate::RejectedByInput => " (stopped by the other's firewall)",
        Fate::HostOff => " (the host has no power)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look;
    use crate::plan::{Plan, Profile};

    fn tape(seed: u64) -> Tape {
        look::run(&Plan::generate(Profile::Smoke, seed), None, true).tape
    }

    /// Lane, clock and event of each entry, as ShiViz parses them.
    fn parsed(log: &str) -> Vec<(String, Clock, String)> {
        let rest = log.strip_prefix(PARSER).and_then(|r| r.strip_prefix("\n\n")).expect("a head");
        let lines: Vec<&str> = rest.lines().collect();
        let entry = |pair: &[&str]| {
            let (lane, clock) = pair[0].split_once(' ').expect("lane and clock");
            let clock = serde_json::from_str(clock).expect("a JSON object");
            (lane.to_owned(), clock, pair[1].to_owned())
        };
        assert!(lines.len().is_multiple_of(2));
        lines.chunks(2).map(entry).collect()
    }

    #[test]
    fn a_lanes_own_count_goes_up_by_one_and_no_other_goes_down() {
        for seed in 0..4 {
            let mut last: BTreeMap<String, Clock> = BTreeMap::new();
            let entries = parsed(&text(&tape(seed)));
            assert!(entries.len() > 200, "{}", entries.len());
            for (lane, clock, _) in entries {
                let before = last.remove(&lane).unwrap_or_default();
                assert_eq!(clock[&lane], before.get(&lane).unwrap_or(&0) + 1);
                assert!(before.iter().all(|(other, count)| clock[other] >= *count));
                // Nobody knows more of a lane than it has done.
                for (other, count) in &clock {
                    assert!(other == &lane || last.get(other).is_some_and(|c| c[other] >= *count));
                }
                last.insert(lane, clock);
            }
        }
    }

    #[test]
    fn what_arrives_comes_after_what_was_sent() {
        let tape = tape(2);
        let entries = parsed(&text(&tape));
        let all = events(&tape);
        assert_eq!(all.len(), entries.len());
        let mut sent: BTreeMap<usize, (String, Clock)> = BTreeMap::new();
        let mut arrived = 0;
        for ((_, what), (lane, clock, _)) in all.into_iter().zip(entries) {
            match what {
                What::Sends(message) => {
                    sent.insert(message, (lane, clock));
                }
                What::Arrives(message) | What::ArrivesAtOnce(message) => {
                    let (from, before) = &sent[&message];
                    assert_ne!(from, &lane);
                    assert!(before.iter().all(|(other, count)| clock[other] >= *count));
                    assert!(clock[&lane] > before.get(&lane).copied().unwrap_or(0));
                    arrived += 1;
                }
                What::Mark(_) => {}
            }
        }
        assert!(arrived > 100, "{arrived}");
    }
}
