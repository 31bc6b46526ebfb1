//! A reader of EDN forms that knows its line numbers. It reads all of EDN, but only what histories
//! are made of comes out as values; everything else is kept as a description.

use std::iter::Peekable;
use std::str::Chars;

use super::value::{Value, brief};

/// Nesting beyond this is refused rather than recursed into.
const DEPTH_MAX: usize = 64;

/// What is wrong with an input, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// Counted from 1.
    pub line: usize,
    pub expected: String,
    pub found: String,
}

impl Malformed {
    pub fn new(line: usize, expected: impl Into<String>, found: impl Into<String>) -> Malformed {
        Malformed { line, expected: expected.into(), found: found.into() }
    }
}

/// One EDN form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Form {
    /// nil, true, false, a whole number of 64 bits, a keyword or a string.
    Scalar(Value),
    /// A vector or a list.
    Vector(Vec<Located>),
    Map(Vec<(Located, Located)>),
    /// A form that no history needs: its text or what it is.
    Other(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located {
    pub line: usize,
    pub form: Form,
}

impl Located {
    /// As a value; maps, sets, symbols and the like are none.
    pub fn value(&self) -> Result<Value, Malformed> {
        match &self.form {
            Form::Scalar(value) => Ok(value.clone()),
            Form::Vector(parts) => {
                parts.iter().map(Located::value).collect::<Result<_, _>>().map(Value::Vector)
            }
            Form::Map(_) | Form::Other(_) => Err(Malformed::new(
                self.line,
                "nil, true, false, a whole number, a keyword, a string or a vector of them",
                self.describe(),
            )),
        }
    }

    /// Says what stands there, for messages.
    pub fn describe(&self) -> String {
        match &self.form {
            Form::Scalar(value) => brief(&value.to_string()),
            Form::Vector(_) => "a vector".to_owned(),
            Form::Map(_) => "a map".to_owned(),
            Form::Other(text) => brief(text),
        }
    }
}

/// Reads form after form.
pub struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl<'a> Reader<'a> {
    /// The text begins on this line of its file.
    pub fn new(text: &'a str, line: usize) -> Reader<'a> {
        Reader { rest: text.chars().peekable(), line }
    }

    /// The next form, None at the end.
    pub fn next_form(&mut self) -> Result<Option<Located>, Malformed> {
        self.skip_blanks(0)?;
        if self.rest.peek().is_none() {
            return Ok(None);
        }
        self.form(0).map(Some)
    }

    fn bounded(&self, depth: usize) -> Result<(), Malformed> {
        if depth <= DEPTH_MAX {
            return Ok(());
        }
        let expected = format!("at most {DEPTH_MAX} levels of nesting");
        Err(Malformed::new(self.line, expected, "more"))
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.rest.next();
        if c == Some('\n') {
            self.line += 1;
        }
        c
    }

    /// Skips white space, commas, comments and discarded forms.
    fn skip_blanks(&mut self, depth: usize) -> Result<(), Malformed> {
        self.bounded(depth)?;
        loop {
            match self.rest.peek().copied() {
                Some(c) if c.is_whitespace() || c == ',' => {
                    self.bump();
                }
                Some(';') => while self.bump().is_some_and(|c| c != '\n') {},
                Some('#') => {
                    let mut ahead = self.rest.clone();
                    ahead.next();
                    if ahead.next() != Some('_') {
                        return Ok(());
                    }
                    self.bump();
                    self.bump();
                    self.skip_blanks(depth + 1)?;
                    self.form(depth + 1)?;
                }
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// The form that begins here; blanks are behind us.
    fn form(&mut self, depth: usize) -> Result<Located, Malformed> {
        let line = self.line;
        self.bounded(depth)?;
        let form = match self.rest.peek().copied() {
            None => return Err(Malformed::new(line, "a form", "the end of the file")),
            Some('"') => Form::Scalar(Value::Str(self.string()?)),
            Some('[') => Form::Vector(self.sequence(']', depth)?),
            Some('(') => Form::Vector(self.sequence(')', depth)?),
            Some('{') => self.map(depth)?,
            Some(c @ (']' | ')' | '}')) => {
                return Err(Malformed::new(line, "a form", format!("{c:?}")));
            }
            Some('#') => self.tagged(depth)?,
            Some('\\') => self.character(),
            Some(_) => atom(self.token()),
        };
        Ok(Located { line, form })
    }

    fn sequence(&mut self, close: char, depth: usize) -> Result<Vec<Located>, Malformed> {
        let opened = self.line;
        self.bump();
        let mut parts = Vec::new();
        loop {
            self.skip_blanks(depth)?;
            match self.rest.peek() {
                Some(c) if *c == close => {
                    self.bump();
                    return Ok(parts);
                }
                Some(_) => parts.push(self.form(depth + 1)?),
                None => {
                    let expected = format!("{close:?} for what was opened on line {opened}");
                    return Err(Malformed::new(self.line, expected, "the end of the file"));
                }
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Form, Malformed> {
        let mut parts = self.sequence('}', depth)?.into_iter();
        let mut pairs = Vec::new();
        while let Some(key) = parts.next() {
            let Some(value) = parts.next() else {
                let expected = format!("a value for {}", key.describe());
                return Err(Malformed::new(self.line, expected, "the end of the map"));
            };
            pairs.push((key, value));
        }
        Ok(Form::Map(pairs))
    }

    /// `#{…}` is a set; `#tag form` is the form.
    fn tagged(&mut self, depth: usize) -> Result<Form, Malformed> {
        self.bump();
        if self.rest.peek() == Some(&'{') {
            self.sequence('}', depth)?;
            return Ok(Form::Other("a set".to_owned()));
        }
        self.token();
        self.skip_blanks(depth)?;
        self.form(depth + 1).map(|located| located.form)
    }

    fn character(&mut self) -> Form {
        let mut text = String::new();
        text.extend(self.bump());
        text.extend(self.bump());
        text.push_str(&self.token());
        Form::Other(text)
    }

    fn token(&mut self) -> String {
        let mut token = String::new();
        while let Some(c) = self.rest.next_if(|c| !ends_token(*c)) {
            token.push(c);
        }
        token
    }

    fn string(&mut self) -> Result<String, Malformed> {
        let opened = self.line;
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(c) => text.push(c),
                None => {
                    let expected = format!("'\"' for the string opened on line {opened}");
                    return Err(Malformed::new(self.line, expected, "the end of the file"));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        let escaped = self.bump();
        Ok(match escaped {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some(c @ ('"' | '\\')) => c,
            Some('u') => {
                let digits: String = (0..4).filter_map(|_| self.rest.next()).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                code.ok_or_else(|| {
                    Malformed::new(self.line, "four hexadecimal digits after \\u", digits)
                })?
            }
            Some(c) => {
                let found = format!("\\{c}");
                return Err(Malformed::new(
                    self.line,
                    "one of \\n \\r \\t \\b \\f \\\" \\\\ \\u",
                    found,
                ));
            }
            None => return Err(Malformed::new(self.line, "an escape", "the end of the file")),
        })
    }
}

fn ends_token(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | '"' | '[' | ']' | '(' | ')' | '{' | '}')
}

fn atom(token: String) -> Form {
    match token.as_str() {
        "nil" => return Form::Scalar(Value::Nil),
        "true" => return Form::Scalar(Value::Bool(true)),
        "false" => return Form::Scalar(Value::Bool(false)),
        _ => {}
    }
    if let Some(name) = token.strip_prefix(':').filter(|name| !name.is_empty()) {
        return Form::Scalar(Value::Keyword(name.to_owned()));
    }
    match token.parse::<i64>() {
        Ok(number) => Form::Scalar(Value::Int(number)),
        Err(_) => Form::Other(token),
    }
}
