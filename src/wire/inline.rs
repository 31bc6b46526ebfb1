//! Inline commands: Redis's quoting rules.

use std::ops::Range;

/// Splits an inline command by Redis's rules: blanks separate, `"…"` with escapes, `'…'` with
/// `\'`; a closing quote must be followed by a blank or the end. False if it is not, or a quote
/// stays open.
pub fn split_inline(line: &[u8], out: &mut Vec<u8>, spans: &mut Vec<Range<usize>>) -> bool {
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|&byte| is_space(byte)) {
            at += 1;
        }
        if at == line.len() {
            return true;
        }
        let start = out.len();
        loop {
            match line.get(at) {
                None | Some(b' ' | b'\n' | b'\r' | b'\t') => break,
                Some(&quote @ (b'"' | b'\'')) => {
                    let Some(after) = unquote(line, at + 1, quote, out) else { return false };
                    at = after;
                    break;
                }
                Some(&byte) => {
                    out.push(byte);
                    at += 1;
                }
            }
        }
        spans.push(start..out.len());
    }
}

/// Copies a quoted text whose first byte is at `at`; returns where its line goes on.
fn unquote(line: &[u8], mut at: usize, quote: u8, out: &mut Vec<u8>) -> Option<usize> {
    loop {
        let byte = *line.get(at)?;
        at += 1;
        if byte == quote {
            return line.get(at).is_none_or(|&next| is_space(next)).then_some(at);
        }
        match (byte, line.get(at)) {
            (b'\\', Some(&escaped)) if quote == b'"' => {
                let hex = (line.get(at + 1).copied().and_then(hex_digit))
                    .zip(line.get(at + 2).copied().and_then(hex_digit))
                    .filter(|_| escaped == b'x');
                if let Some((high, low)) = hex {
                    out.push(high * 16 + low);
                    at += 3;
                } else {
                    out.push(unescape(escaped));
                    at += 1;
                }
            }
            (b'\\', Some(b'\'')) if quote == b'\'' => {
                out.push(b'\'');
                at += 1;
            }
            _ => out.push(byte),
        }
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (mut out, mut spans) = (Vec::new(), Vec::new());
        split_inline(line, &mut out, &mut spans)
            .then(|| spans.into_iter().map(|span| out[span].to_vec()).collect())
    }

    #[test]
    fn quotes_and_escapes_are_read_as_redis_reads_them() {
        let cases: [(&[u8], &[&[u8]]); 9] = [
            (b"PING", &[b"PING"]),
            (b"  get \t key ", &[b"get", b"key"]),
            (br#"k "a b\n\x41\q""#, &[b"k", b"a b\nAq"]),
            (br"k 'a \'b\n'", &[b"k", b"a 'b\\n"]),
            (br#"k x"y z""#, &[b"k", b"xy z"]),
            (br#"k """#, &[b"k", b""]),
            (br#"k "\xzz""#, &[b"k", b"xzz"]),
            (b"", &[]),
            (b" \t\x0b ", &[]),
        ];
        for (line, words) in cases {
            let found = split(line).expect("balanced");
            assert_eq!(found, words, "{}", String::from_utf8_lossy(line));
        }
    }
}
