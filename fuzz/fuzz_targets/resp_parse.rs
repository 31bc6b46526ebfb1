//! Any bytes are requests or a protocol error, the same ones whole, byte by byte and in pieces;
//! nothing panics; commands found and encoded again are found again.
//!
//! The first byte of the input chooses the limits, the second how long the pieces are.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use quorate::command::resolve;
use quorate::wire::reply::{Protocol, Reply};
use quorate::wire::resp::{OwnedArgs, Parser, ProtocolError, RespLimits, Step};

type Outcome = (Vec<OwnedArgs>, Option<ProtocolError>);

fn feed<'p>(pieces: impl Iterator<Item = &'p [u8]>, limits: &RespLimits) -> Outcome {
    let (mut parser, mut buf, mut commands) = (Parser::new(), Vec::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        let mut start = 0;
        loop {
            match parser.next(&buf[start..], limits) {
                Ok(Step::NeedMore) => break,
                Ok(Step::Empty { consumed }) => {
                    assert!(consumed > 0, "an empty request is made of bytes too");
                    start += consumed;
                }
                Ok(Step::Command { consumed }) => {
                    let args = parser.args(&buf[start..]);
                    assert!(!args.is_empty() && args.len() <= consumed);
                    assert!(args.iter().all(|argument| argument.len() <= limits.argument_bytes()));
                    commands.push(args.to_owned());
                    start += consumed;
                }
                Err(error) => return (commands, Some(error)),
            }
        }
        buf.drain(..start);
    }
    (commands, None)
}

trait ArgumentBytes {
    fn argument_bytes(&self) -> usize;
}

impl ArgumentBytes for RespLimits {
    /// Longest argument of either kind of request.
    fn argument_bytes(&self) -> usize {
        self.bulk_bytes_max.max(self.inline_bytes_max)
    }
}

fn encode(commands: &[OwnedArgs]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut request = Reply::new(&mut out, Protocol::Resp2);
    for command in commands {
        request.array(command.args().len());
        command.args().iter().for_each(|argument| request.bulk(argument));
    }
    out.to_vec()
}

fuzz_target!(|input: &[u8]| {
    let [choice, piece_bytes, stream @ ..] = input else { return };
    let small = choice & 1 == 1;
    let limits = RespLimits {
        inline_bytes_max: if small { 16 } else { 64 << 10 },
        arguments_max: if small { 4 } else { 1 << 20 },
        bulk_bytes_max: if small { 8 } else { 512 << 20 },
        unauthenticated: choice & 2 == 2,
    };
    let whole = feed(std::iter::once(stream), &limits);
    assert_eq!(feed(stream.chunks(1), &limits), whole);
    assert_eq!(feed(stream.chunks(usize::from(*piece_bytes).max(1)), &limits), whole);

    let (commands, error) = whole;
    if !small && !limits.unauthenticated {
        let again = feed(std::iter::once(&encode(&commands)[..]), &limits);
        assert_eq!(again, (commands.clone(), None));
    }
    let mut out = BytesMut::new();
    let mut reply = Reply::new(&mut out, Protocol::Resp3);
    for command in &commands {
        if let Err(unresolved) = resolve(command.args()) {
            unresolved.write(&mut reply, command.args());
        }
    }
    if let Some(error) = error {
        error.write(&mut reply);
    }
    for line in out[..].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        assert!(line.starts_with(b"-ERR ") && line.ends_with(b"\r"), "one line an error");
    }
});
