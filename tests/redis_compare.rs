//! A conversation recorded from redis-server (`redis_replies.txt`: request and reply, a line each)
//! is repeated with a node, and with redis-server itself where there is one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use bytes::BytesMut;
use quorate::base::ids::ConnId;
use quorate::base::io::{ConnOrigin, Effect, Effects, Input};
use quorate::base::time::{Mono, Now, Wall};
use quorate::node::Node;
use quorate::node::config::Config;

/// Whoever answers requests.
trait Server {
    /// Bytes of one reply.
    fn reply(&mut self, request: &[u8]) -> Vec<u8>;
}

struct InProcess {
    node: Node,
    out: Effects,
    now: Now,
}

struct RedisServer {
    process: Child,
    stream: BufReader<TcpStream>,
}

const CONN: ConnId = ConnId(1);

impl InProcess {
    fn new() -> InProcess {
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_800_000_000_000_000) };
        let node = Node::new(Config::default(), 1, now);
        let mut server = InProcess { node, out: Effects::new(false), now };
        let origin = ConnOrigin::Accepted { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 1 };
        server.node.handle(now, Input::Opened { conn: CONN, origin }, &mut server.out);
        server
    }
}

impl Server for InProcess {
    fn reply(&mut self, request: &[u8]) -> Vec<u8> {
        let mut buf = BytesMut::from(request);
        self.node.handle(self.now, Input::Bytes { conn: CONN, buf: &mut buf }, &mut self.out);
        self.node.flush(self.now, &mut self.out);
        let mut reply = Vec::new();
        while let Some(effect) = self.out.pop() {
            if let Effect::Send { conn: CONN, bytes } = effect {
                let drained = Input::Drained { conn: CONN, bytes: bytes.len() as u64 };
                self.node.handle(self.now, drained, &mut self.out);
                reply.extend_from_slice(&bytes);
            }
        }
        assert!(buf.is_empty(), "a whole request is taken");
        reply
    }
}

impl RedisServer {
    /// `None` if it is not installed. Where everything must have been installed, that fails.
    fn start() -> Option<RedisServer> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let started = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--bind", "127.0.0.1"])
            .stdout(Stdio::piped())
            .spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "redis-server: {error}");
                // Shown although the test passes, unlike what a macro prints.
                let text = format!("\nSKIPPED: redis-server: {error}\n");
                std::io::stderr().write_all(text.as_bytes()).unwrap();
                return None;
            }
        };
        let log = BufReader::new(process.stdout.take().expect("piped"));
        let mut lines = log.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("Ready to accept")), "redis-server gave up");
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        Some(RedisServer { process, stream: BufReader::new(stream) })
    }

    fn read_reply(&mut self, into: &mut Vec<u8>) {
        let start = into.len();
        self.stream.read_until(b'\n', into).unwrap();
        let line = String::from_utf8_lossy(&into[start..]).trim_end().to_owned();
        let count = line[1..].parse::<i64>();
        match &line[..1] {
            "$" if count != Ok(-1) => {
                let mut bulk = vec![0; count.unwrap() as usize + 2];
                self.stream.read_exact(&mut bulk).unwrap();
                into.extend_from_slice(&bulk);
            }
            "*" => (0..count.unwrap()).for_each(|_| self.read_reply(into)),
            _ => {}
        }
    }
}

impl Server for RedisServer {
    fn reply(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.get_mut().write_all(request).unwrap();
        let mut reply = Vec::new();
        self.read_reply(&mut reply);
        reply
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A RESP2 reply as the record shows it: `+OK`, `:1`, `"text"`, `nil`, `[…, …]`.
fn shown(reply: &mut &[u8]) -> String {
    let end = reply.windows(2).position(|pair| pair == b"\r\n").expect("a whole line");
    let line = String::from_utf8_lossy(&reply[..end]).into_owned();
    *reply = &reply[end + 2..];
    let count = line[1..].parse::<i64>();
    match &line[..1] {
        "$" if count == Ok(-1) => "nil".to_owned(),
        "*" if count == Ok(-1) => "nil-array".to_owned(),
        "$" => {
            let (bulk, rest) = reply.split_at(count.unwrap() as usize);
            *reply = &rest[2..];
            let text: String = bulk.iter().map(|&byte| shown_byte(byte)).collect();
            format!("\"{text}\"")
        }
        "*" => {
            let elements: Vec<String> = (0..count.unwrap()).map(|_| shown(reply)).collect();
            format!("[{}]", elements.join(", "))
        }
        _ => line,
    }
}

fn shown_byte(byte: u8) -> String {
    match byte {
        b'"' | b'\\' | 0..=31 | 127..=255 => format!("\\x{byte:02x}"),
        byte => char::from(byte).to_string(),
    }
}

/// Replies to TTL may be off by what a busy machine takes from one request to the next.
fn about_equal(request: &str, found: &str, recorded: &str) -> bool {
    let seconds = |reply: &str| reply.strip_prefix(':').and_then(|n| n.parse::<i64>().ok());
    match (seconds(found), seconds(recorded)) {
        (Some(found), Some(recorded)) if request.starts_with("TTL") && recorded > 5 => {
            (recorded - 5..=recorded).contains(&found)
        }
        _ => found == recorded,
    }
}

fn compare(server: &mut impl Server) {
    let record = include_str!("redis_replies.txt");
    let (mut count, mut different) = (0, Vec::new());
    for line in record.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (request, recorded) = line.split_once(" => ").expect("request => reply");
        let reply = server.reply(format!("{request}\r\n").as_bytes());
        let mut rest = &reply[..];
        assert!(!rest.is_empty(), "no reply to {request}");
        let found = shown(&mut rest);
        assert!(rest.is_empty(), "one reply to {request}, not {reply:?}");
        count += 1;
        if !about_equal(request, found.trim_end(), recorded) {
            different.push(format!("{request}\n  recorded {recorded}\n  found    {found}"));
        }
    }
    assert!(count > 300, "the record is whole");
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

#[test]
fn node_replies_as_redis_does() {
    compare(&mut InProcess::new());
}

#[test]
fn redis_server_replies_as_recorded() {
    if let Some(mut server) = RedisServer::start() {
        compare(&mut server);
    }
}
