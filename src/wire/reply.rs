//! Replies in RESP2 and RESP3.

use bytes::BytesMut;

/// Which protocol a session speaks.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Writes replies to the end of one buffer. Aggregates are written as a header, then that many
/// elements.
pub struct Reply<'a> {
    out: &'a mut BytesMut,
    protocol: Protocol,
    bytes_max: usize,
}

impl<'a> Reply<'a> {
    pub fn new(out: &'a mut BytesMut, protocol: Protocol) -> Reply<'a> {
        Reply { out, protocol, bytes_max: usize::MAX }
    }

    /// Beyond so many bytes in the buffer no more strings are written: whoever set the bound gives up the
    /// connection then.
    pub fn with_bytes_max(self, bytes_max: usize) -> Reply<'a> {
        Reply { bytes_max, ..self }
    }

    /// Bytes that may still be written before no more strings are: the bound of a part that is written
    /// elsewhere first.
    pub fn bytes_left(&self) -> usize {
        self.bytes_max.saturating_sub(self.out.len())
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Bytes in the buffer so far; what was written since can be taken back with [`Reply::cut_to`].
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// Takes back everything written after [`Reply::written`] said `bytes`.
    pub fn cut_to(&mut self, bytes: usize) {
        self.out.truncate(bytes);
    }

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A short text, which must not contain line ends: `+text`.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.bytes().any(|byte| byte == b'\r' || byte == b'\n'));
        self.out.reserve(text.len() + 3);
        self.raw(b"+");
        self.raw(text.as_bytes());
        self.raw(b"\r\n");
    }

    /// An error with its code in front, `ERR syntax error`; line ends in it become blanks.
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// As [`Reply::error`], for texts that quote what a client sent.
    pub fn error_bytes(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.raw(b"-");
        let start = self.out.len();
        self.raw(text);
        for byte in &mut self.out[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.raw(b"\r\n");
    }

    #[inline]
    pub fn integer(&mut self, value: i64) {
        if (0..10).contains(&value) {
            self.raw(&[b':', b'0' + value as u8, b'\r', b'\n']);
        } else {
            self.number(b':', value);
        }
    }

    /// A number of things as an integer.
    pub fn count(&mut self, count: u64) {
        self.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        if self.out.len() > self.bytes_max {
            return;
        }
        self.out.reserve(bytes.len() + 16);
        self.header(b'$', bytes.len());
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    /// An integer as a bulk string, as GET answers for a counter.
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// No value: `$-1`, or `_` in RESP3.
    #[inline]
    pub fn null(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"$-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// No array: `*-1`, or `_` in RESP3.
    pub fn null_array(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"*-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// `len` elements follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len);
    }

    /// `len` pairs follow, each a key and a value; in RESP2 an array of twice as many.
    pub fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', 2 * len),
            Protocol::Resp3 => self.header(b'%', len),
        }
    }

    /// `len` elements in no order follow; in RESP2 an array.
    pub fn set(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', len),
            Protocol::Resp3 => self.header(b'~', len),
        }
    }

    /// An out-of-band message of `len` elements follows; in RESP2 an array.
    pub fn push(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', len),
            Protocol::Resp3 => self.header(b'>', len),
        }
    }

    /// True or false; in RESP2 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        match (self.protocol, value) {
            (Protocol::Resp2, true) => self.raw(b":1\r\n"),
            (Protocol::Resp2, false) => self.raw(b":0\r\n"),
            (Protocol::Resp3, true) => self.raw(b"#t\r\n"),
            (Protocol::Resp3, false) => self.raw(b"#f\r\n"),
        }
    }

    /// A double in the shortest form that reads back as the same; in RESP2 a bulk string.
    pub fn double(&mut self, value: f64) {
        let text = format_double(value);
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// An integer of any size, in decimal; in RESP2 a bulk string.
    pub fn big_number(&mut self, decimal: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(decimal.as_bytes()),
            Protocol::Resp3 => self.line(b'(', decimal.as_bytes()),
        }
    }

    /// Text for people: INFO, CLIENT LIST; in RESP2 a bulk string.
    pub fn verbatim(&mut self, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 if self.out.len() > self.bytes_max => {}
            Protocol::Resp3 => {
                self.header(b'=', text.len() + 4);
                self.raw(b"txt:");
                self.raw(text);
                self.raw(b"\r\n");
            }
        }
    }

    /// Bytes that are a reply already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.raw(&[kind]);
        self.raw(text);
        self.raw(b"\r\n");
    }

    #[inline]
    fn header(&mut self, kind: u8, len: usize) {
        if len < 10 {
            self.raw(&[kind, b'0' + len as u8, b'\r', b'\n']);
        } else if len < 100 {
            self.raw(&[kind, b'0' + (len / 10) as u8, b'0' + (len % 10) as u8, b'\r', b'\n']);
        } else {
            self.number(kind, len as i64);
        }
    }

    /// One line of a type byte and a number, in one append.
    fn number(&mut self, kind: u8, value: i64) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value).as_bytes();
        let mut line = [0u8; 24];
        line[0] = kind;
        line[1..=digits.len()].copy_from_slice(digits);
        line[digits.len() + 1..digits.len() + 3].copy_from_slice(b"\r\n");
        self.raw(&line[..digits.len() + 3]);
    }
}

/// A double as Redis prints it in replies: `inf`, `-inf`, `nan`, whole numbers without a point, an
/// exponent where the number is very large or small.
fn format_double(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    let magnitude = value.abs();
    if value == 0.0 || (1e-5..1e17).contains(&magnitude) {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if !exponent.starts_with('-') => {
            format!("{mantissa}e+{exponent}")
        }
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut out = BytesMut::new();
        write(&mut Reply::new(&mut out, protocol));
        String::from_utf8(out.to_vec()).expect("text")
    }

    fn both(write: impl Fn(&mut Reply<'_>)) -> (String, String) {
        (written(Protocol::Resp2, &write), written(Protocol::Resp3, &write))
    }

    fn pair(resp2: &str, resp3: &str) -> (String, String) {
        (resp2.to_owned(), resp3.to_owned())
    }

    #[test]
    fn types_known_to_both_protocols_look_the_same_in_both() {
        assert_eq!(both(|r| r.ok()), pair("+OK\r\n", "+OK\r\n"));
        assert_eq!(both(|r| r.simple("PONG")), pair("+PONG\r\n", "+PONG\r\n"));
        assert_eq!(both(|r| r.bulk(b"ab")), pair("$2\r\nab\r\n", "$2\r\nab\r\n"));
        assert_eq!(both(|r| r.bulk(b"")), pair("$0\r\n\r\n", "$0\r\n\r\n"));
        assert_eq!(both(|r| r.bulk_integer(-7)), pair("$2\r\n-7\r\n", "$2\r\n-7\r\n"));
        assert_eq!(both(|r| r.array(12)), pair("*12\r\n", "*12\r\n"));
        assert_eq!(both(|r| r.array(123)), pair("*123\r\n", "*123\r\n"));
    }

    #[test]
    fn integers_of_all_lengths_are_written_whole() {
        for value in [0, 9, 10, 99, 100, -1, i64::MIN, i64::MAX] {
            let line = format!(":{value}\r\n");
            assert_eq!(both(|r| r.integer(value)), pair(&line, &line));
        }
    }

    #[test]
    fn types_of_resp3_have_a_resp2_stand_in() {
        assert_eq!(both(|r| r.null()), pair("$-1\r\n", "_\r\n"));
        assert_eq!(both(|r| r.null_array()), pair("*-1\r\n", "_\r\n"));
        assert_eq!(both(|r| r.map(2)), pair("*4\r\n", "%2\r\n"));
        assert_eq!(both(|r| r.set(2)), pair("*2\r\n", "~2\r\n"));
        assert_eq!(both(|r| r.push(3)), pair("*3\r\n", ">3\r\n"));
        assert_eq!(both(|r| r.boolean(true)), pair(":1\r\n", "#t\r\n"));
        assert_eq!(both(|r| r.boolean(false)), pair(":0\r\n", "#f\r\n"));
        assert_eq!(both(|r| r.double(1.5)), pair("$3\r\n1.5\r\n", ",1.5\r\n"));
        assert_eq!(both(|r| r.big_number("12")), pair("$2\r\n12\r\n", "(12\r\n"));
        assert_eq!(both(|r| r.verbatim(b"hi")), pair("$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"));
    }

    #[test]
    fn doubles_are_written_as_redis_writes_them() {
        let cases = [
            (0.0, "0"),
            (3.0, "3"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (1e16, "10000000000000000"),
            (1e20, "1e+20"),
            (1.5e-7, "1.5e-7"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (value, text) in cases {
            assert_eq!(format_double(value), text);
        }
    }

    #[test]
    fn line_ends_in_an_error_cannot_break_the_protocol() {
        let (resp2, _) = both(|r| r.error_bytes(b"ERR unknown command 'a\r\nb'"));
        assert_eq!(resp2, "-ERR unknown command 'a  b'\r\n");
    }

    #[test]
    fn what_was_written_can_be_taken_back() {
        let text = written(Protocol::Resp2, |r| {
            r.ok();
            let mark = r.written();
            r.integer(5);
            r.cut_to(mark);
            r.error("ERR no");
        });
        assert_eq!(text, "+OK\r\n-ERR no\r\n");
    }
}
