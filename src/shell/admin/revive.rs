//! `manage revive`: opens partitions that do not open by themselves, and says what was lost.

use std::thread;
use std::time::{Duration, Instant};

use super::cluster::{Access, Fields};

/// How long it may take: nodes give it up before.
const END: Duration = Duration::from_secs(60);

fn field<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map(String::as_str).unwrap_or_default()
}

fn list<'a>(fields: &'a Fields, name: &str) -> &'a str {
    let value = field(fields, name);
    if value.is_empty() { "nobody" } else { value }
}

/// Ranges of partitions shown at most: QUORATE REVIVE shows all.
const RANGES_MAX: usize = 16;

/// A list of ranges, cut off where it becomes unreadable.
fn shortened(ranges: &str) -> String {
    let all: Vec<&str> = ranges.split(',').collect();
    match all.get(..RANGES_MAX) {
        Some(first) if all.len() > RANGES_MAX => {
            format!("{}, … all in QUORATE REVIVE", first.join(","))
        }
        _ => ranges.to_owned(),
    }
}

/// Partitions of a kind, with which they are.
fn partitions(fields: &Fields, kind: &str) -> String {
    let which = field(fields, &format!("{kind}_partitions"));
    let count = field(fields, kind);
    if which.is_empty() { count.to_owned() } else { format!("{count} ({})", shortened(which)) }
}

/// What would be opened.
pub fn would(fields: &Fields) -> String {
    format!(
        "nothing was changed. It would admit the new disks of {}, and open {} partitions with \
         intact copies and too few voters, of which nothing is lost, and {} dead ones, with the \
         newest copies that there are, or empty",
        list(fields, "readmitted"),
        partitions(fields, "blocked"),
        partitions(fields, "dead"),
    )
}

/// What was opened.
fn done(fields: &Fields) -> String {
    let copies = field(fields, "accepted_copies");
    let copies =
        if copies.is_empty() { String::new() } else { format!(" ({})", shortened(copies)) };
    format!(
        "the new disks of {} were admitted; {} partitions go on with intact copies: nothing of \
         them is lost; {} with the newest copies that there are{copies}: what these lack is lost; \
         {} had no copy left: everything in them is lost",
        list(fields, "readmitted"),
        field(fields, "intact"),
        field(fields, "accepted"),
        partitions(fields, "lost"),
    )
}

/// Has the node asked open partitions, and waits for the end.
///
/// # Errors
/// Its refusal, or why it came to nothing.
pub fn run(access: &Access) -> Result<String, String> {
    access.command(&["QUORATE", "REVIVE"])?;
    let begun = Instant::now();
    loop {
        let fields = access.ask(&["QUORATE", "REVIVE", "SHOW"])?;
        match field(&fields, "state") {
            "done" => return Ok(done(&fields)),
            "failed" => {
                let (why, first) = (field(&fields, "why"), &access.first);
                return Err(format!("{first}: {why}; so far: {}", done(&fields)));
            }
            state if begun.elapsed() > END => {
                let first = &access.first;
                return Err(format!("{first}: no end after {} s, it is {state}", END.as_secs()));
            }
            _ => thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_said() {
        let fields = [
            ("readmitted", "A1,A2"),
            ("intact", "3"),
            ("accepted", "2"),
            ("accepted_copies", "A1:0-1"),
            ("lost", "1"),
            ("lost_partitions", "7"),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let text = done(&Fields::from(fields));
        assert!(text.contains("new disks of A1,A2") && text.contains("(A1:0-1)"), "{text}");
        assert!(text.ends_with("1 (7) had no copy left: everything in them is lost"), "{text}");
        let long = (0..40).map(|n| (2 * n).to_string()).collect::<Vec<_>>().join(",");
        assert!(shortened(&long).ends_with(",30, … all in QUORATE REVIVE"), "{}", shortened(&long));
        let empty = would(&Fields::default());
        assert!(empty.contains("new disks of nobody"), "{empty}");
    }
}
