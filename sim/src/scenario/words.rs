//! Words of a scenario line: redis-cli's quoting, and `$i` in place of the number of a `repeat`.

use std::collections::BTreeMap;
use std::fmt;

/// One word of a line. Keeps apart what was quoted, because `=`, `~`, `(nil)` and comments are only
/// special where they stand bare.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    pieces: Vec<Piece>,
    quoted: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(Vec<u8>),
    /// The number of the enclosing `repeat` with this name.
    Number(String),
}

/// The numbers of the `repeat` blocks around a line, by name.
pub type Numbers = BTreeMap<String, u64>;

impl Word {
    /// The word if it stands bare and holds no `$name`.
    pub fn bare(&self) -> Option<&str> {
        if self.quoted {
            return None;
        }
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => std::str::from_utf8(text).ok(),
            [_, ..] => None,
        }
    }

    /// True if the word stands bare and reads `text`.
    pub fn is(&self, text: &str) -> bool {
        self.bare() == Some(text)
    }

    pub fn is_quoted(&self) -> bool {
        self.quoted
    }

    /// The word's bytes with the numbers filled in.
    pub fn fill(&self, numbers: &Numbers) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Number(name) => {
                    // The parser let only names of enclosing blocks through.
                    let number = numbers.get(name).expect("a name of an enclosing repeat");
                    out.extend_from_slice(number.to_string().as_bytes());
                }
            }
        }
        out
    }

    /// As [`Word::fill`], as text.
    pub fn fill_text(&self, numbers: &Numbers) -> String {
        String::from_utf8_lossy(&self.fill(numbers)).into_owned()
    }

    /// Names of numbers used in this word.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Number(name) => Some(name.as_str()),
        })
    }
}

impl fmt::Display for Word {
    /// As it may stand in a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
                Piece::Number(name) => {
                    text.push('$');
                    text.push_str(name);
                }
            }
        }
        if self.quoted { write!(f, "{text:?}") } else { f.write_str(&text) }
    }
}

/// What is wrong with a line's quoting: what was found, and what was expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuoteError {
    pub found: String,
    pub expected: String,
}

/// Splits a line. Words are separated by blanks; "double quotes" know \n \r \t \a \b \xHH \" \\ and
/// \$, 'single quotes' only \' ; a bare `#` that ends a word begins a comment.
pub fn split(line: &str) -> Result<Vec<Word>, QuoteError> {
    let mut splitter = Splitter { rest: line.as_bytes(), words: Vec::new() };
    while splitter.next_word()? {}
    Ok(splitter.words)
}

struct Splitter<'a> {
    rest: &'a [u8],
    words: Vec<Word>,
}

impl Splitter<'_> {
    /// Takes one word; false at the end of the line or at a comment.
    fn next_word(&mut self) -> Result<bool, QuoteError> {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.rest = &self.rest[1..];
        }
        let mut pieces = Pieces::default();
        match self.peek() {
            None => return Ok(false),
            Some(b'#') if self.rest.get(1).is_none_or(u8::is_ascii_whitespace) => {
                return Ok(false);
            }
            Some(quote @ (b'"' | b'\'')) => {
                self.rest = &self.rest[1..];
                self.quoted(quote, &mut pieces)?;
                if let Some(b) = self.peek().filter(|b| !b.is_ascii_whitespace()) {
                    return Err(QuoteError {
                        found: format!("`{}` right after a closing quote", b as char),
                        expected: "a blank".to_owned(),
                    });
                }
                self.words.push(pieces.word(true));
            }
            Some(_) => {
                while let Some(b) = self.peek().filter(|b| !b.is_ascii_whitespace()) {
                    self.rest = &self.rest[1..];
                    if b == b'$' && self.number(&mut pieces) {
                        continue;
                    }
                    pieces.byte(b);
                }
                self.words.push(pieces.word(false));
            }
        }
        Ok(true)
    }

    fn quoted(&mut self, quote: u8, pieces: &mut Pieces) -> Result<(), QuoteError> {
        loop {
            let Some(b) = self.take() else {
                return Err(QuoteError {
                    found: "the end of the line".to_owned(),
                    expected: format!("a closing {}", quote as char),
                });
            };
            match b {
                _ if b == quote => return Ok(()),
                b'\\' if quote == b'"' => self.escape(pieces)?,
                b'\\' if self.peek() == Some(b'\'') => {
                    self.rest = &self.rest[1..];
                    pieces.byte(b'\'');
                }
                b'$' if quote == b'"' && self.number(pieces) => {}
                _ => pieces.byte(b),
            }
        }
    }

    fn escape(&mut self, pieces: &mut Pieces) -> Result<(), QuoteError> {
        let byte = match self.take() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'a') => 7,
            Some(b'b') => 8,
            Some(b'x') => {
                let digits = self.rest.get(..2).and_then(|d| std::str::from_utf8(d).ok());
                let Some(byte) = digits.and_then(|d| u8::from_str_radix(d, 16).ok()) else {
                    return Err(QuoteError {
                        found: "`\\x` without two hexadecimal digits".to_owned(),
                        expected: "such as `\\x0a`".to_owned(),
                    });
                };
                self.rest = &self.rest[2..];
                byte
            }
            Some(other) => other,
            None => {
                return Err(QuoteError {
                    found: "the end of the line".to_owned(),
                    expected: "a closing \"".to_owned(),
                });
            }
        };
        pieces.byte(byte);
        Ok(())
    }

    /// After a `$`: takes the name if one follows.
    fn number(&mut self, pieces: &mut Pieces) -> bool {
        let len = self.rest.iter().take_while(|b| b.is_ascii_lowercase()).count();
        if len == 0 {
            return false;
        }
        let name = String::from_utf8_lossy(&self.rest[..len]).into_owned();
        pieces.list.push(Piece::Number(name));
        self.rest = &self.rest[len..];
        true
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}

#[derive(Default)]
struct Pieces {
    list: Vec<Piece>,
}

impl Pieces {
    fn byte(&mut self, byte: u8) {
        match self.list.last_mut() {
            Some(Piece::Text(text)) => text.push(byte),
            Some(Piece::Number(_)) | None => self.list.push(Piece::Text(vec![byte])),
        }
    }

    fn word(self, quoted: bool) -> Word {
        Word { pieces: self.list, quoted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        let numbers = Numbers::from([("i".to_owned(), 7)]);
        split(line).unwrap().iter().map(|w| w.fill_text(&numbers)).collect()
    }

    #[test]
    fn quotes_are_those_of_redis_cli() {
        assert_eq!(texts(r#"SET k "a b\n\x41\"" '$i\'' ''"#), ["SET", "k", "a b\nA\"", "$i'", ""]);
    }

    #[test]
    fn numbers_are_filled_in_bare_and_double_quoted_words() {
        assert_eq!(texts(r#"k$i "v $i" $5 "\$i" a$i:b"#), ["k7", "v 7", "$5", "$i", "a7:b"]);
    }

    #[test]
    fn a_lone_hash_begins_a_comment() {
        assert_eq!(texts("GET #5 # SET"), ["GET", "#5"]);
        assert!(texts("# real: yes").is_empty());
    }

    #[test]
    fn unfinished_quotes_are_errors() {
        for line in ["GET \"a", "GET 'a", "GET \"a\\", "GET \"a\"b", "GET \"\\xg0\""] {
            assert!(split(line).is_err(), "{line}");
        }
    }
}
