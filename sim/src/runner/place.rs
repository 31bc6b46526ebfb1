//! Where a run has failed, in words that are the same for every seed: what failing seeds are grouped by.

use crate::check::Verdict;

/// Clauses of the evidence that make a place.
const CLAUSES: usize = 2;
/// Longer places are cut.
const CHARS_MAX: usize = 160;

/// The place of a verdict that is not Ok: of a failed assertion its file and line, of anything else the
/// first words of the evidence without hosts, keys, stamps and numbers.
pub fn place(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Ok => String::new(),
        Verdict::Violated(violation) => {
            assertion(&violation.evidence).unwrap_or_else(|| normal_form(&violation.evidence))
        }
        Verdict::Undecided { budget } => normal_form(budget),
    }
}

/// `FILE:LINE` of `panicked at FILE:LINE:COLUMN: …`.
fn assertion(evidence: &str) -> Option<String> {
    let rest = evidence.strip_prefix("panicked at ")?;
    let at = rest.split_whitespace().next()?.trim_end_matches(':');
    let (line, column) = at.rsplit_once(':')?;
    column.bytes().all(|b| b.is_ascii_digit()).then(|| line.to_owned())
}

/// Words that hold a digit become `#`, quoted text `"…"`; what is within brackets and braces goes.
fn normal_form(evidence: &str) -> String {
    let mut form = String::new();
    let mut word = String::new();
    let mut depth = 0usize;
    let mut clauses = 0;
    let mut chars = evidence.chars();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() || matches!(c, '_' | '.' | '@' | '+' | '-') {
            word.push(c);
            continue;
        }
        end_word(&mut form, &mut word, depth);
        match c {
            '"' => {
                skip_quoted(&mut chars);
                if depth == 0 {
                    form.push_str("\"…\"");
                }
            }
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => {
                clauses += 1;
                if clauses == CLAUSES {
                    break;
                }
                form.push(';');
            }
            other if depth == 0 => form.push(other),
            _ => {}
        }
    }
    end_word(&mut form, &mut word, depth);
    let words: Vec<&str> = form.split_whitespace().collect();
    let form = words.join(" ");
    match form.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", &form[..at]),
        None => form,
    }
}

fn end_word(form: &mut String, word: &mut String, depth: usize) {
    if depth == 0 {
        let numbered = word.bytes().any(|b| b.is_ascii_digit());
        form.push_str(if numbered { "#" } else { word });
    }
    word.clear();
}

/// Goes past the end of a quoted text, which may hold escaped quotes.
fn skip_quoted(chars: &mut std::str::Chars<'_>) {
    while let Some(c) = chars.next() {
        match c {
            '"' => return,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Property, Violation};

    fn of(evidence: &str) -> String {
        let violation = Violation { property: Property::Counters, evidence: evidence.to_owned() };
        place(&Verdict::Violated(violation))
    }

    #[test]
    fn place_is_the_same_for_other_hosts_keys_and_stamps() {
        let one = of(
            "host 2: key \"key:1\" of database 0 was removed by 18bcfe56c7b.0@62e29cde and came \
             back through the older 18bcfe56c7a.2@2fd2b84c; [18bcfe56c7b.0@62e29cde delete]",
        );
        let other = of(
            "host 0: key \"k\\\"2; 7\" of database 1 was removed by 18bcfe57c04.2@99db0c2a and \
             came back through the older 18bcfe579ba.3@1e954179; [18bcfe57c04.2@99db0c2a v0-1]",
        );
        assert_eq!(one, other);
        assert_eq!(
            one,
            "host #: key \"…\" of database # was removed by # and came back through the older #;"
        );
    }

    #[test]
    fn different_findings_have_different_places() {
        let value = of("node1 shows \"19\" for key \"key:0\", the writes make \"1\"; expiry clock");
        let nothing = of("node2 shows \"70\" for key \"key:0\", the writes make nothing; expiry");
        assert_ne!(value, nothing);
        let lags = of("the core has not converged within 60 s; node2 waits for units of origin 2b");
        let differs = of("the core has not converged within 60 s; node1: digest 55a5, 1 of 1");
        assert_ne!(lags, differs);
    }

    #[test]
    fn place_of_an_assertion_is_its_line() {
        assert_eq!(of("panicked at src/store/merge.rs:61:9: key 7"), "src/store/merge.rs:61");
        assert_eq!(of("panicked at nothing in particular"), "panicked at nothing in particular");
        assert_eq!(of(&"x ".repeat(400)).chars().count(), CHARS_MAX + 1);
    }
}
