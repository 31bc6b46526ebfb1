//! Redis's glob patterns: KEYS, SCAN MATCH, CONFIG GET.

/// Whether a pattern lets everything through, the empty text included. (To [`matches`] an empty
/// text fits the empty pattern only, as in Redis.)
pub fn is_any(pattern: &[u8]) -> bool {
    pattern == b"*"
}

/// Whether `text` as a whole fits `pattern`: `*`, `?`, `[abc]`, `[^a-z]`, `\` before a byte meant
/// literally. An unterminated class reaches to the pattern's end. Time is at most the product of
/// the lengths, whatever the pattern.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    glob(pattern, text, false)
}

/// As [`matches`], ASCII letters of either case being equal.
pub fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    glob(pattern, text, true)
}

fn glob(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // The newest star, and the end of what it stands for: only that one is ever widened, since what
    // stands before it already fits in the shortest way.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if p < pattern.len() {
            let (fits, next) = element(&pattern[p..], text[t], ignore_case);
            if fits {
                p += next;
                t += 1;
                continue;
            }
        }
        match star {
            None => return false,
            Some((after, end)) => {
                p = after;
                t = end + 1;
                star = Some((after, t));
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Whether the element at the start of `pattern` (not empty, no star) fits one byte, and its
/// length.
fn element(pattern: &[u8], byte: u8, ignore_case: bool) -> (bool, usize) {
    match pattern {
        [b'?', ..] => (true, 1),
        [b'[', rest @ ..] => {
            let (fits, len) = class(rest, byte, ignore_case);
            (fits, len + 1)
        }
        [b'\\', literal, ..] => (same(*literal, byte, ignore_case), 2),
        [literal, ..] => (same(*literal, byte, ignore_case), 1),
        [] => (false, 0),
    }
}

/// The part of a class behind `[`; its length with `]`, if there is one.
fn class(rest: &[u8], byte: u8, ignore_case: bool) -> (bool, usize) {
    let negated = rest.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &rest[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                at += 2;
            }
            [one, b'-', other, ..] => {
                found |= in_range(*one, *other, byte, ignore_case);
                at += 3;
            }
            [literal, ..] => {
                found |= same(*literal, byte, ignore_case);
                at += 1;
            }
        }
    }
    (found != negated, at)
}

fn in_range(one: u8, other: u8, byte: u8, ignore_case: bool) -> bool {
    let (mut start, mut end, mut byte) = (one.min(other), one.max(other), byte);
    if ignore_case {
        start.make_ascii_lowercase();
        end.make_ascii_lowercase();
        byte.make_ascii_lowercase();
    }
    (start..=end).contains(&byte)
}

fn same(one: u8, other: u8, ignore_case: bool) -> bool {
    if ignore_case { one.eq_ignore_ascii_case(&other) } else { one == other }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_fit_what_they_fit_in_redis() {
        let cases: [(&str, &str, bool); 40] = [
            ("", "", true),
            ("*", "", false),
            ("", "a", false),
            ("*", "abc", true),
            ("**", "abc", true),
            ("a*", "a", true),
            ("a**", "a", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("*a*b*", "xaxbx", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("?", "", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            ("[a-]", "a", true),
            ("[a-]]", "b", false),
            ("[]", "a", false),
            ("[^]", "a", true),
            ("[abc", "b", true),
            ("[abc", "bb", false),
            ("a[", "ab", false),
            ("[\\]]", "]", true),
            ("[\\a-c]", "-", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "\\", true),
            ("a\\", "a\\", true),
            ("a\\?", "a?", true),
            ("A*", "abc", false),
            ("*[0-9]", "key7", true),
            ("*[0-9]", "key", false),
            ("[*]", "*", true),
            ("*b?d", "abcbcd", true),
            ("[z-a]x", "mx", true),
        ];
        for (pattern, text, fits) in cases {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), fits, "{pattern:?} {text:?}");
        }
        assert!(matches_ignoring_case(b"MAX[M-N]*", b"maxmemory"));
        assert!(!matches_ignoring_case(b"MAXX*", b"maxmemory"));
    }

    #[test]
    fn pattern_of_many_stars_is_decided_at_once() {
        let pattern = "*a".repeat(5_000) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(20_000).as_bytes()));
    }

    /// The definition, without any care for time.
    fn reference(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                (0..=text.len()).any(|skipped| reference(rest, &text[skipped..]))
            }
            ([], _) | (_, []) => false,
            (_, [byte, others @ ..]) => {
                let (fits, len) = element(pattern, *byte, false);
                fits && reference(&pattern[len..], others)
            }
        }
    }

    proptest! {
        #[test]
        fn widening_the_newest_star_alone_is_enough(
            pattern in "[ab*?\\[\\]^\\\\-]{0,10}", text in "[ab\\]-]{1,10}",
        ) {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), reference(pattern, text));
        }

        #[test]
        fn no_bytes_panic(
            pattern in proptest::collection::vec(any::<u8>(), 0..20),
            text in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let cased = matches(&pattern, &text);
            let class = pattern.contains(&b'[');
            prop_assert!(class || !cased || matches_ignoring_case(&pattern, &text));
        }
    }
}
