//! Answers as redis-cli prints them, and whether they are what a line expects.

use super::ast::Expect;
use super::words::{Numbers, Word};
use crate::resp_client::Reply;

/// True if the answer is what the line expects.
pub fn is_as(reply: &Reply, expect: &Expect, numbers: &Numbers) -> bool {
    match expect {
        Expect::NoError => !is_error(reply),
        Expect::Error(patterns) => {
            is_error(reply) && patterns.iter().any(|p| reply_like(reply, &p.fill(numbers)))
        }
        Expect::Like(pattern) => !is_error(reply) && reply_like(reply, &pattern.fill(numbers)),
        Expect::Equal(words) => equals(reply, words, numbers),
    }
}

pub fn is_error(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(_))
}

/// The number that an answer has under this name: after it in an array or a map, or behind `NAME:` in a text.
pub fn number_of(reply: &Reply, name: &str) -> Option<u64> {
    let mut leaves = Vec::new();
    flatten(reply, &mut leaves);
    let texts: Vec<String> =
        leaves.into_iter().map(|leaf| String::from_utf8_lossy(&bare(leaf)).into_owned()).collect();
    let at = texts.iter().position(|text| text == name);
    if let Some(next) = at.and_then(|at| texts.get(at + 1)) {
        return next.parse().ok();
    }
    let mut lines = texts.iter().flat_map(|text| text.lines());
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok())
}

/// As redis-cli prints it, but an array on one line.
pub fn show(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) => text.clone(),
        Reply::Error(text) => format!("(error) {text}"),
        Reply::Integer(n) => format!("(integer) {n}"),
        Reply::Nil => "(nil)".to_owned(),
        Reply::Bulk(bytes) | Reply::Verbatim(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            if text.contains('\n') { text.into_owned() } else { format!("{text:?}") }
        }
        Reply::Double(number) => format!("(double) {number}"),
        Reply::Bool(yes) => format!("({yes})"),
        Reply::BigNumber(number) => format!("(integer) {number}"),
        Reply::Array(items) | Reply::Push(items) if items.is_empty() => "(empty array)".to_owned(),
        Reply::Array(items) | Reply::Push(items) => numbered(items.iter().map(show)),
        Reply::Map(pairs) => {
            numbered(pairs.iter().map(|(key, value)| format!("{} => {}", show(key), show(value))))
        }
    }
}

fn numbered(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.enumerate().map(|(i, t)| format!("{}) {t}", i + 1)).collect();
    items.join(" ")
}

/// True if the parts of the pattern between its `*` stand in the text one after the other.
pub fn like(text: &[u8], pattern: &[u8]) -> bool {
    let mut rest = text;
    for part in pattern.split(|b| *b == b'*').filter(|part| !part.is_empty()) {
        let Some(at) = rest.windows(part.len()).position(|w| w == part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

fn reply_like(reply: &Reply, pattern: &[u8]) -> bool {
    let mut leaves = Vec::new();
    flatten(reply, &mut leaves);
    let texts: Vec<Vec<u8>> = leaves.into_iter().map(bare).collect();
    like(&texts.join(&b'\n'), pattern)
}

fn equals(reply: &Reply, words: &[Word], numbers: &Numbers) -> bool {
    let (typed, words) = match words {
        [kind, value] if kind.is("(integer)") => (true, std::slice::from_ref(value)),
        [a, b] if a.is("(empty") && b.is("array)") => {
            return matches!(reply, Reply::Array(items) if items.is_empty());
        }
        words => (false, words),
    };
    let mut leaves = Vec::new();
    flatten(reply, &mut leaves);
    leaves.len() == words.len()
        && leaves.iter().zip(words).all(|(leaf, word)| match leaf {
            Reply::Nil => word.is("(nil)"),
            Reply::Error(_) => false,
            Reply::Integer(_) => word.fill(numbers) == bare(leaf),
            other => !typed && !word.is("(nil)") && word.fill(numbers) == bare(other),
        })
}

/// The answer, or the elements of the array or map, nested ones too.
fn flatten<'a>(reply: &'a Reply, out: &mut Vec<&'a Reply>) {
    match reply {
        Reply::Array(items) | Reply::Push(items) => {
            items.iter().for_each(|item| flatten(item, out));
        }
        Reply::Map(pairs) => {
            for (key, value) in pairs {
                flatten(key, out);
                flatten(value, out);
            }
        }
        leaf => out.push(leaf),
    }
}

/// The text of one element.
fn bare(leaf: &Reply) -> Vec<u8> {
    match leaf {
        Reply::Simple(text) | Reply::Error(text) | Reply::BigNumber(text) => {
            text.clone().into_bytes()
        }
        Reply::Bulk(bytes) | Reply::Verbatim(bytes) => bytes.to_vec(),
        Reply::Integer(number) => number.to_string().into_bytes(),
        Reply::Double(number) => number.to_string().into_bytes(),
        Reply::Bool(yes) => yes.to_string().into_bytes(),
        Reply::Nil => b"(nil)".to_vec(),
        Reply::Array(_) | Reply::Push(_) | Reply::Map(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::words::split;

    fn equal(reply: &Reply, words: &str) -> bool {
        is_as(reply, &Expect::Equal(split(words).unwrap()), &Numbers::new())
    }

    #[test]
    fn values_are_what_redis_cli_prints() {
        let bulk = |t: &str| Reply::Bulk(t.as_bytes().to_vec().into());
        assert!(equal(&Reply::Integer(3), "3"));
        assert!(equal(&Reply::Integer(3), "(integer) 3"));
        assert!(!equal(&bulk("3"), "(integer) 3"));
        assert!(equal(&bulk("3"), "3"));
        assert!(equal(&bulk("a b"), "\"a b\""));
        assert!(equal(&Reply::Nil, "(nil)"));
        assert!(!equal(&Reply::Nil, "\"(nil)\""));
        assert!(!equal(&bulk("(nil)"), "(nil)"));
        assert!(equal(&bulk("(nil)"), "\"(nil)\""));
        let array = Reply::Array(vec![Reply::Simple("OK".to_owned()), Reply::Integer(2)]);
        assert!(equal(&array, "OK 2"));
        assert!(!equal(&array, "OK"));
        assert!(equal(&Reply::Array(vec![]), "(empty array)"));
        assert!(!equal(&Reply::Error("OK".to_owned()), "OK"));
    }

    #[test]
    fn a_number_is_found_behind_its_name() {
        let bulk = |t: &str| Reply::Bulk(t.as_bytes().to_vec().into());
        let pairs = vec![bulk("node"), bulk("A1"), bulk("primary"), Reply::Integer(683)];
        assert_eq!(number_of(&Reply::Array(pairs), "primary"), Some(683));
        let map = Reply::Map(vec![(bulk("node"), bulk("A1")), (bulk("dead"), Reply::Integer(0))]);
        assert_eq!(number_of(&map, "dead"), Some(0));
        assert_eq!(number_of(&map, "node"), None);
        assert_eq!(number_of(&map, "A1"), None);
        let text = bulk("cluster_slots_okay:1\r\ncluster_slots_ok:16384\r\n");
        assert_eq!(number_of(&text, "cluster_slots_ok"), Some(16384));
        assert_eq!(number_of(&text, "slots_ok"), None);
    }

    #[test]
    fn patterns_are_found_anywhere_and_stars_stand_for_anything() {
        assert!(like(b"role:master\r\nmaster_link_status:up\r\n", b"link_status:up"));
        assert!(like(b"ERR value is not an integer", b"ERR*integer"));
        assert!(!like(b"integer ERR", b"ERR*integer"));
        let error = Reply::Error("NOAUTH Authentication required.".to_owned());
        let expect = |pattern| Expect::Error(split(pattern).unwrap());
        assert!(is_as(&error, &expect("NOAUTH"), &Numbers::new()));
        assert!(!is_as(&error, &expect("WRONGPASS"), &Numbers::new()));
        assert!(is_as(&error, &expect("WRONGPASS NOAUTH"), &Numbers::new()));
        assert!(!is_as(&error, &Expect::NoError, &Numbers::new()));
        let ok = Reply::Simple("OK".to_owned());
        assert!(!is_as(&ok, &expect("OK"), &Numbers::new()));
    }
}
