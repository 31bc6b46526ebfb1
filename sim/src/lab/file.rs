//! A lab session as a scenario file: what was done, at the times at which it was done, and what was to be
//! seen at the end.

use std::fmt::Write as _;
use std::time::Duration;

use super::setup::Setup;
use crate::scenario::live::time_text;
use crate::trace::{HostState, Series, Tape};

/// How long the file waits for what was to be seen in the lab.
const SLACK: Duration = Duration::from_secs(5);

/// Keys that are looked at in the end.
const KEYS_MAX: usize = 50;

/// A line that was played.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilePart {
    pub at: Duration,
    pub line: String,
    /// Why it did not do what it should.
    pub failed: Option<String>,
}

/// The file of what was played until `now`.
pub fn file_text(setup: &Setup, played: &[FilePart], tape: &Tape, now: Duration) -> String {
    let mut body = setup.lines();
    body.push('\n');
    for part in played {
        if let Some(why) = &part.failed {
            let _ = writeln!(body, "# In the lab: {}", why.replace(['\n', '\r'], " "));
        }
        let _ = writeln!(body, "at {} {}", time_text(part.at), part.line);
    }
    let last = played.last().map_or(Duration::ZERO, |part| part.at);
    ending(&mut body, tape, now, now.saturating_sub(last));
    let (nodes, lines) = (setup.nodes, played.len());
    let mut text =
        format!("# A session of the lab: {nodes} hosts, {lines} lines.          real: yes\n{body}");
    if let Some(mutant) = setup.mutant {
        let _ = writeln!(text, "# The lab's nodes had a fault: --mutant {}", mutant.name());
    }
    text
}

/// What the file expects in the end: what was to be seen in the lab.
fn ending(out: &mut String, tape: &Tape, now: Duration, since_last: Duration) {
    let at = time_text(Duration::from_millis(now.as_millis() as u64));
    let running: Vec<usize> =
        (0..tape.hosts.len()).filter(|host| state_of(tape, *host) == HostState::Running).collect();
    if running.is_empty() {
        return;
    }
    let keys: Vec<(&Series, String)> =
        tape.series.iter().filter_map(|s| Some((s, word(&s.key)?))).take(KEYS_MAX).collect();
    let rest = Duration::from_millis(since_last.as_millis() as u64);
    if !rest.is_zero() {
        let _ = writeln!(out, "sleep {}", time_text(rest));
    }
    if running.len() == tape.hosts.len() && tape.walls_now().is_empty() && agreed(tape) {
        let slack = SLACK.as_secs();
        let _ = writeln!(out, "\n# What was to be seen everywhere at {at}.");
        for (series, key) in &keys {
            if let Some(value) = value_of(tape, series, 0) {
                let _ = writeln!(out, "within {slack}s every GET {key} = {value}");
            }
        }
        let _ = writeln!(out, "converged within {slack}s");
        return;
    }
    let _ = writeln!(out, "\n# What was to be seen at {at}.");
    for host in running {
        let name = &tape.hosts[host].name;
        for (series, key) in &keys {
            if let Some(value) = value_of(tape, series, host) {
                let _ = writeln!(out, "{name}> GET {key} = {value}");
            }
        }
    }
}

fn state_of(tape: &Tape, host: usize) -> HostState {
    let own = tape.states.iter().rev().find(|(of, _, _)| usize::from(*of) == host);
    own.map_or(HostState::Down, |(_, state, _)| *state)
}

/// Whether every key is the same on every host.
fn agreed(tape: &Tape) -> bool {
    tape.series.iter().all(|series| {
        let mut last = series.hosts.iter().map(|changes| changes.last().and_then(|c| c.1));
        let first = last.next().flatten();
        last.all(|other| other == first)
    })
}

/// What a key is on a host, as a line may expect it; `None` if a line cannot say it.
fn value_of(tape: &Tape, series: &Series, host: usize) -> Option<String> {
    match series.hosts[host].last().and_then(|change| change.1) {
        None => Some("(nil)".to_owned()),
        Some(text) => word(&tape.texts()[text.0 as usize]),
    }
}

/// A text as a word of a line: in quotes if there is need for them. `None`: it was cut on the tape, is no
/// text, or belongs to another database.
fn word(text: &str) -> Option<String> {
    if text.contains(char::REPLACEMENT_CHARACTER) || text.contains(" (db ") || text.contains('…')
    {
        return None;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Some(text.to_owned());
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    Some(out)
}
