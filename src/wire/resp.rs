//! RESP requests: an incremental parser that borrows from the read buffer. Multibulk and inline
//! commands; protocol errors worded as Redis words them.

use std::ops::Range;

use super::args::parse_i64;
use super::inline::split_inline;
use super::reply::Reply;

pub use super::args::{Args, OwnedArgs};

/// Most arguments of a command from a client that has yet to authenticate.
const UNAUTHENTICATED_ARGUMENTS_MAX: i64 = 10;
/// Longest argument of a client that has yet to authenticate, in bytes.
const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16384;
/// A list of spans longer than this is given back once its command is done.
const SPANS_KEPT_MAX: usize = 1024;
/// Unquoted inline arguments longer than this are given back once their command is done.
const INLINE_BYTES_KEPT_MAX: usize = 1024;

/// What a request may measure.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RespLimits {
    /// Longest inline command, and longest line that holds a length.
    pub inline_bytes_max: usize,
    /// Most arguments of one command.
    pub arguments_max: usize,
    /// Longest argument, `proto-max-bulk-len`.
    pub bulk_bytes_max: usize,
    /// The client must still authenticate: a few short arguments suffice for that.
    pub unauthenticated: bool,
}

/// What [`Parser::next`] found at the start of the buffer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// No whole command yet: nothing is consumed, call again with more.
    NeedMore,
    /// A command of so many bytes; [`Parser::args`] has its arguments.
    Command { consumed: usize },
    /// Bytes without a command: an empty line, `*0`, `*-1`.
    Empty { consumed: usize },
}

/// Why a request is not RESP. The connection is of no use afterwards.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ProtocolError {
    TooBigInline,
    TooBigMultibulkCount,
    InvalidMultibulkLength,
    UnauthenticatedMultibulkLength,
    TooBigBulkCount,
    ExpectedDollar { got: u8 },
    InvalidBulkLength,
    UnauthenticatedBulkLength,
    UnbalancedQuotes,
}

/// The parser of one connection: remembers how far it got in an unfinished command, so that no byte
/// of a large argument is looked at twice, however many pieces it arrives in.
#[derive(Debug, Default)]
pub struct Parser {
    /// Arguments found so far, as ranges of the buffer, or of `inline` if the command is inline.
    spans: Vec<Range<usize>>,
    /// Arguments of an inline command, unquoted, one after the other.
    inline: Vec<u8>,
    is_inline: bool,
    /// Arguments still to come; 0 between commands.
    remaining: usize,
    /// Length of the argument whose bytes come next.
    bulk: Option<usize>,
    /// Start of what is not understood yet.
    pos: usize,
    /// Up to here the end of the line at `pos` has been looked for.
    scanned: usize,
}

/// How the search for a line went.
enum Line {
    Missing,
    TooLong,
    /// Contents, without the two bytes that end it.
    Found(Range<usize>),
}

impl Parser {
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Looks at one command at the start of `buf`. After [`Step::NeedMore`] the next call must
    /// offer the same bytes with more behind them; after the other two, `buf` without the bytes
    /// consumed. An error leaves the parser at the start of the offending command.
    pub fn next(&mut self, buf: &[u8], limits: &RespLimits) -> Result<Step, ProtocolError> {
        if self.remaining == 0 {
            self.forget();
            match buf.first() {
                None => return Ok(Step::NeedMore),
                Some(b'*') => {}
                Some(_) => return self.inline(buf, limits),
            }
            if let [_, digit @ b'1'..=b'9', b'\r', _, ..] = buf
                && usize::from(digit - b'0')
                    <= limits.arguments_max.min(UNAUTHENTICATED_ARGUMENTS_MAX as usize)
            {
                // Few arguments, as nearly always: no limit can be passed.
                self.pos = 4;
                self.scanned = 0;
                self.remaining = usize::from(digit - b'0');
                return self.multibulk(buf, limits);
            }
            let line = match self.line(buf, limits) {
                Line::Missing => return Ok(Step::NeedMore),
                Line::TooLong => return Err(self.broken(ProtocolError::TooBigMultibulkCount)),
                Line::Found(line) => line,
            };
            self.pos = line.end + 2;
            self.scanned = 0;
            let Some(count) = parse_i64(&buf[line.start + 1..line.end]) else {
                return Err(self.broken(ProtocolError::InvalidMultibulkLength));
            };
            if count > 0 && count as u64 > limits.arguments_max as u64 {
                return Err(self.broken(ProtocolError::InvalidMultibulkLength));
            }
            if limits.unauthenticated && count > UNAUTHENTICATED_ARGUMENTS_MAX {
                return Err(self.broken(ProtocolError::UnauthenticatedMultibulkLength));
            }
            if count <= 0 {
                return Ok(Step::Empty { consumed: self.taken() });
            }
            self.remaining = count as usize;
        }
        self.multibulk(buf, limits)
    }

    /// The arguments of the command that [`Parser::next`] has just reported; `buf` is what was
    /// given to it.
    #[inline]
    pub fn args<'a>(&'a self, buf: &'a [u8]) -> Args<'a> {
        Args::new(if self.is_inline { &self.inline } else { buf }, &self.spans)
    }

    /// How many bytes beyond the `have` offered are needed at least for the command under way:
    /// a driver that knows can make room once.
    pub fn missing(&self, have: usize) -> usize {
        match self.bulk {
            Some(bytes) => (self.pos + bytes + 2).saturating_sub(have),
            None => usize::from(self.remaining > 0),
        }
    }

    /// Bytes held for a command under way, beside those of the buffer.
    pub fn unfinished_bytes(&self) -> usize {
        if self.remaining == 0 {
            return 0;
        }
        self.spans.len() * size_of::<Range<usize>>()
    }

    fn multibulk(&mut self, buf: &[u8], limits: &RespLimits) -> Result<Step, ProtocolError> {
        while self.remaining > 0 {
            let bytes = match self.bulk {
                Some(bytes) => bytes,
                None => match self.bulk_header(buf, limits)? {
                    Some(bytes) => bytes,
                    None => return Ok(Step::NeedMore),
                },
            };
            if buf.len() - self.pos < bytes + 2 {
                self.bulk = Some(bytes);
                return Ok(Step::NeedMore);
            }
            self.bulk = None;
            self.spans.push(self.pos..self.pos + bytes);
            self.pos += bytes + 2;
            self.remaining -= 1;
        }
        Ok(Step::Command { consumed: self.taken() })
    }

    /// The length line of an argument; `None` while it is not whole.
    #[inline]
    fn bulk_header(
        &mut self,
        buf: &[u8],
        limits: &RespLimits,
    ) -> Result<Option<usize>, ProtocolError> {
        if let Some((bytes, header)) = short_header(&buf[self.pos..]) {
            // Below 1000: no limit but a very low one of the configuration can be passed.
            if bytes <= limits.bulk_bytes_max {
                self.pos += header;
                self.scanned = 0;
                return Ok(Some(bytes));
            }
        }
        let line = match self.line(buf, limits) {
            Line::Missing => return Ok(None),
            Line::TooLong => return Err(self.broken(ProtocolError::TooBigBulkCount)),
            Line::Found(line) => line,
        };
        let got = buf[line.start];
        if got != b'$' {
            return Err(self.broken(ProtocolError::ExpectedDollar { got }));
        }
        let bytes = match parse_i64(&buf[line.start + 1..line.end]) {
            Some(bytes) if bytes >= 0 && bytes as u64 <= limits.bulk_bytes_max as u64 => {
                bytes as usize
            }
            Some(_) | None => return Err(self.broken(ProtocolError::InvalidBulkLength)),
        };
        if limits.unauthenticated && bytes > UNAUTHENTICATED_BULK_BYTES_MAX {
            return Err(self.broken(ProtocolError::UnauthenticatedBulkLength));
        }
        self.pos = line.end + 2;
        self.scanned = 0;
        Ok(Some(bytes))
    }

    fn inline(&mut self, buf: &[u8], limits: &RespLimits) -> Result<Step, ProtocolError> {
        let found = buf[self.scanned..].iter().position(|&byte| byte == b'\n');
        let end = found.map_or(buf.len(), |at| self.scanned + at);
        if end > limits.inline_bytes_max {
            return Err(self.broken(ProtocolError::TooBigInline));
        }
        if found.is_none() {
            self.scanned = end;
            return Ok(Step::NeedMore);
        }
        self.pos = end + 1;
        let line = buf[..end].strip_suffix(b"\r").unwrap_or(&buf[..end]);
        self.is_inline = true;
        if !split_inline(line, &mut self.inline, &mut self.spans) {
            return Err(self.broken(ProtocolError::UnbalancedQuotes));
        }
        let consumed = self.taken();
        if self.spans.is_empty() {
            return Ok(Step::Empty { consumed });
        }
        Ok(Step::Command { consumed })
    }

    /// The line at `pos`, which ends with `\r` and one more byte (Redis does not look at it).
    fn line(&mut self, buf: &[u8], limits: &RespLimits) -> Line {
        let from = self.pos.max(self.scanned);
        let found = buf[from..].iter().position(|&byte| byte == b'\r').map(|at| from + at);
        let end = found.unwrap_or(buf.len());
        if end - self.pos > limits.inline_bytes_max {
            return Line::TooLong;
        }
        self.scanned = end;
        match found {
            Some(end) if end + 1 < buf.len() => Line::Found(self.pos..end),
            Some(_) | None => Line::Missing,
        }
    }

    /// Ends a command: the next one starts at offset 0 of the next buffer.
    fn taken(&mut self) -> usize {
        self.remaining = 0;
        self.scanned = 0;
        std::mem::take(&mut self.pos)
    }

    fn broken(&mut self, error: ProtocolError) -> ProtocolError {
        self.taken();
        self.bulk = None;
        self.forget();
        error
    }

    /// Drops the last command's arguments, and their room if it is unusually much.
    #[inline]
    fn forget(&mut self) {
        self.spans.clear();
        if self.spans.capacity() > SPANS_KEPT_MAX {
            self.spans = Vec::new();
        }
        if self.is_inline {
            self.is_inline = false;
            self.inline.clear();
            if self.inline.capacity() > INLINE_BYTES_KEPT_MAX {
                self.inline = Vec::new();
            }
        }
    }
}

impl ProtocolError {
    /// Writes `-ERR Protocol error: …`.
    pub fn write(self, reply: &mut Reply<'_>) {
        if let ProtocolError::ExpectedDollar { got } = self {
            let mut text = *b"ERR Protocol error: expected '$', got '?'";
            let at = text.len() - 2;
            text[at] = got;
            reply.error_bytes(&text);
        } else {
            reply.error(self.text());
        }
    }

    /// The whole text of the error reply, without the byte that was met instead of `$`.
    pub const fn text(self) -> &'static str {
        match self {
            ProtocolError::TooBigInline => "ERR Protocol error: too big inline request",
            ProtocolError::TooBigMultibulkCount => "ERR Protocol error: too big mbulk count string",
            ProtocolError::InvalidMultibulkLength => "ERR Protocol error: invalid multibulk length",
            ProtocolError::UnauthenticatedMultibulkLength => {
                "ERR Protocol error: unauthenticated multibulk length"
            }
            ProtocolError::TooBigBulkCount => "ERR Protocol error: too big bulk count string",
            ProtocolError::ExpectedDollar { .. } => "ERR Protocol error: expected '$'",
            ProtocolError::InvalidBulkLength => "ERR Protocol error: invalid bulk length",
            ProtocolError::UnauthenticatedBulkLength => {
                "ERR Protocol error: unauthenticated bulk length"
            }
            ProtocolError::UnbalancedQuotes => "ERR Protocol error: unbalanced quotes in request",
        }
    }
}

/// `$` and one to three digits, whole: the length and the bytes of the line. `None`: look closer.
#[inline]
fn short_header(buf: &[u8]) -> Option<(usize, usize)> {
    let head: &[u8; 4] = buf.first_chunk()?;
    let digit = |byte: u8| Some(usize::from(byte.wrapping_sub(b'0'))).filter(|&d| d < 10);
    if head[0] != b'$' {
        return None;
    }
    let first = digit(head[1])?;
    if head[2] == b'\r' {
        return Some((first, 4));
    }
    let second = digit(head[2]).filter(|_| first != 0)?;
    let two = first * 10 + second;
    if head[3] == b'\r' {
        return (buf.len() >= 5).then_some((two, 5));
    }
    let third = digit(head[3])?;
    (buf.len() >= 6 && buf[4] == b'\r').then_some((two * 10 + third, 6))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: RespLimits = RespLimits {
        inline_bytes_max: 64 << 10,
        arguments_max: 1 << 20,
        bulk_bytes_max: 512 << 20,
        unauthenticated: false,
    };

    /// What a stream of requests comes to: commands, and the error that ended it.
    type Outcome = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

    /// Feeds the pieces as a driver does: whole commands are consumed, the tail stays.
    fn feed<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, limits: &RespLimits) -> Outcome {
        let mut parser = Parser::new();
        let (mut buf, mut commands) = (Vec::new(), Vec::new());
        for piece in pieces {
            buf.extend_from_slice(piece);
            let mut start = 0;
            loop {
                match parser.next(&buf[start..], limits) {
                    Ok(Step::NeedMore) => break,
                    Ok(Step::Empty { consumed }) => start += consumed,
                    Ok(Step::Command { consumed }) => {
                        let args = parser.args(&buf[start..]);
                        commands.push(args.iter().map(<[u8]>::to_vec).collect());
                        start += consumed;
                    }
                    Err(error) => return (commands, Some(error)),
                }
            }
            buf.drain(..start);
        }
        (commands, None)
    }

    fn error(input: &[u8], limits: &RespLimits) -> Option<ProtocolError> {
        feed([input], limits).1
    }

    fn encode(command: &[Vec<u8>]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", command.len()).into_bytes();
        for argument in command {
            out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            out.extend_from_slice(argument);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    fn write(error: ProtocolError) -> Vec<u8> {
        let mut out = bytes::BytesMut::new();
        error.write(&mut Reply::new(&mut out, crate::wire::reply::Protocol::Resp2));
        out.to_vec()
    }

    #[test]
    fn inline_and_multibulk_commands_can_follow_each_other() {
        let stream = b"get \"a b\"\r\n*2\r\n$3\r\nGET\r\n$1\r\nx\r\nPING\n";
        let commands = feed([&stream[..]], &LIMITS).0;
        assert_eq!(commands[0], [&b"get"[..], b"a b"]);
        assert_eq!(commands[1], [&b"GET"[..], b"x"]);
        assert_eq!(commands[2], [&b"PING"[..]]);
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in ["a \"b", "a 'b", "a \"b\"c", "a 'b'c", "a \"b\\\"", "a '\\'"] {
            let found = error(format!("{line}\r\n").as_bytes(), &LIMITS);
            assert_eq!(found, Some(ProtocolError::UnbalancedQuotes), "{line}");
        }
    }

    #[test]
    fn empty_requests_are_passed_over() {
        let (commands, error) =
            feed([&b"\r\n\n*0\r\n*-1\r\n   \r\n*1\r\n$4\r\nPING\r\n"[..]], &LIMITS);
        assert_eq!((commands.len(), error), (1, None));
    }

    #[test]
    fn protocol_errors_are_worded_as_redis_words_them() {
        let long = vec![b'1'; 70_000];
        let cases: [(Vec<u8>, &str); 13] = [
            (b"*a\r\n".to_vec(), "invalid multibulk length"),
            (b"*+1\r\n".to_vec(), "invalid multibulk length"),
            (b"*2147483648\r\n".to_vec(), "invalid multibulk length"),
            (b"*1\r\nfoo\r\n".to_vec(), "expected '$', got 'f'"),
            (b"*1\r\n:5\r\n".to_vec(), "expected '$', got ':'"),
            (b"*1\r\n\r\n\r\n".to_vec(), "expected '$', got ' '"),
            (b"*1\r\n$-1\r\n".to_vec(), "invalid bulk length"),
            (b"*1\r\n$01\r\n".to_vec(), "invalid bulk length"),
            (b"*1\r\n$536870913\r\n".to_vec(), "invalid bulk length"),
            ([b"*", &long[..]].concat(), "too big mbulk count string"),
            ([b"*1\r\n$", &long[..]].concat(), "too big bulk count string"),
            (long, "too big inline request"),
            (b"a 'b\r\n".to_vec(), "unbalanced quotes in request"),
        ];
        for (input, text) in cases {
            let error = error(&input, &LIMITS).expect(text);
            let reply = String::from_utf8(write(error)).expect("text");
            assert_eq!(reply, format!("-ERR Protocol error: {text}\r\n"));
        }
    }

    #[test]
    fn client_without_password_may_send_little() {
        let limits = RespLimits { unauthenticated: true, ..LIMITS };
        let bulk = Some(ProtocolError::UnauthenticatedBulkLength);
        let multibulk = Some(ProtocolError::UnauthenticatedMultibulkLength);
        assert_eq!(error(b"*11\r\n", &limits), multibulk);
        assert_eq!(error(b"*10\r\n", &limits), None);
        assert_eq!(error(b"*1\r\n$16385\r\n", &limits), bulk);
        assert_eq!(error(b"*1\r\n$16384\r\n", &limits), None);
        assert_eq!(
            ProtocolError::UnauthenticatedBulkLength.text(),
            "ERR Protocol error: unauthenticated bulk length"
        );
    }

    #[test]
    fn large_argument_in_many_pieces_is_waited_for_and_not_rescanned() {
        let value = vec![b'v'; 300_000];
        let whole = encode(&[b"SET".to_vec(), b"k".to_vec(), value.clone()]);
        let mut parser = Parser::new();
        for have in (0..whole.len()).step_by(1000).chain([whole.len() - 1]) {
            assert_eq!(parser.next(&whole[..have], &LIMITS), Ok(Step::NeedMore));
            if have > 100 {
                assert_eq!(parser.missing(have), whole.len() - have);
                assert_eq!(parser.pos, whole.len() - value.len() - 2, "the value alone is due");
            }
        }
        let step = parser.next(&whole, &LIMITS);
        assert_eq!(step, Ok(Step::Command { consumed: whole.len() }));
        assert_eq!(parser.args(&whole).get(2), value);
    }

    fn argument() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..12),
            proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'$')], 0..6),
            (90usize..1100).prop_map(|len| vec![b'x'; len]),
        ]
    }

    fn commands() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
        proptest::collection::vec(proptest::collection::vec(argument(), 1..6), 0..20)
    }

    /// Bytes that look like requests more often than chance would have it.
    fn requests() -> impl Strategy<Value = Vec<u8>> {
        let token = prop_oneof![
            Just(b"\r\n".to_vec()),
            (-2i64..4).prop_map(|n| format!("*{n}\r\n").into_bytes()),
            (-2i64..12).prop_map(|n| format!("${n}\r\n").into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..8),
            "[ -~]{0,12}\r?\n".prop_map(String::into_bytes),
        ];
        proptest::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
    }

    fn pieces(stream: &[u8], cuts: Vec<prop::sample::Index>) -> Vec<&[u8]> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect()
    }

    proptest! {
        #[test]
        fn commands_cut_anywhere_come_out_as_they_went_in(
            commands in commands(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let stream: Vec<u8> = commands.iter().flat_map(|command| encode(command)).collect();
            let outcome = feed(pieces(&stream, cuts), &LIMITS);
            prop_assert_eq!(outcome, (commands, None));
        }

        #[test]
        fn any_bytes_mean_the_same_in_pieces_as_whole(
            stream in requests(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let limits = RespLimits { inline_bytes_max: 10, bulk_bytes_max: 10, ..LIMITS };
            for limits in [limits, LIMITS] {
                let whole = feed([&stream[..]], &limits);
                prop_assert_eq!(feed(pieces(&stream, cuts.clone()), &limits), whole.clone());
                prop_assert_eq!(feed(stream.chunks(1), &limits), whole);
            }
        }
    }
}
