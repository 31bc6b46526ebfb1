//! Whoever answers requests: a node within this process, and redis-server where there is one.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use bytes::BytesMut;
use quorate::base::ids::ConnId;
use quorate::base::io::{ConnOrigin, Effect, Effects, Input};
use quorate::base::time::{Mono, Now, Wall};
use quorate::node::Node;
use quorate::node::config::Config;

/// A server with connections that are there as soon as they are named.
pub trait Server {
    /// Bytes of the reply to one request.
    fn reply(&mut self, conn: u64, request: &[u8]) -> Vec<u8>;
}

pub struct InProcess {
    node: Node,
    out: Effects,
    pub now: Now,
    conns: u64,
}

impl InProcess {
    pub fn new() -> InProcess {
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_800_000_000_000_000) };
        let node = Node::new(Config { appendonly: false, ..Config::default() }, 1, now);
        InProcess { node, out: Effects::new(false), now, conns: 0 }
    }

    /// Everything that leaves the node now.
    fn sent(&mut self) -> Vec<u8> {
        self.node.flush(self.now, &mut self.out);
        let mut sent = Vec::new();
        while let Some(effect) = self.out.pop() {
            if let Effect::Send { conn, bytes } = effect {
                let drained = Input::Drained { conn, bytes: bytes.len() as u64 };
                self.node.handle(self.now, drained, &mut self.out);
                sent.extend_from_slice(&bytes);
            }
        }
        sent
    }
}

impl Server for InProcess {
    fn reply(&mut self, conn: u64, request: &[u8]) -> Vec<u8> {
        while self.conns <= conn {
            let origin = ConnOrigin::Accepted { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 1 };
            let opened = Input::Opened { conn: ConnId(self.conns), origin };
            self.node.handle(self.now, opened, &mut self.out);
            self.conns += 1;
        }
        let conn = ConnId(conn);
        let mut buf = BytesMut::from(request);
        self.node.handle(self.now, Input::Bytes { conn, buf: &mut buf }, &mut self.out);
        let mut reply = self.sent();
        while reply.is_empty() {
            // WAIT waits: its time comes.
            self.now.mono = self.node.poll_timeout().expect("somebody waits");
            self.node.handle(self.now, Input::Timeout, &mut self.out);
            reply = self.sent();
        }
        assert!(buf.is_empty(), "a whole request is taken");
        reply
    }
}

pub struct RedisServer {
    process: Child,
    port: u16,
    conns: BTreeMap<u64, BufReader<TcpStream>>,
}

impl RedisServer {
    /// `None` if it is not installed. Where everything must have been installed, that fails.
    pub fn start() -> Option<RedisServer> {
        RedisServer::start_with(&["--save", ""])
    }

    /// As [`RedisServer::start`], with options.
    pub fn start_with(options: &[&str]) -> Option<RedisServer> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let started = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(options)
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
        Some(RedisServer { process, port, conns: BTreeMap::new() })
    }
}

impl Server for RedisServer {
    fn reply(&mut self, conn: u64, request: &[u8]) -> Vec<u8> {
        let stream = self.conns.entry(conn).or_insert_with(|| {
            BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).expect("it listens"))
        });
        stream.get_mut().write_all(request).unwrap();
        let mut reply = Vec::new();
        read_reply(stream, &mut reply);
        reply
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_reply(stream: &mut BufReader<TcpStream>, into: &mut Vec<u8>) {
    let start = into.len();
    stream.read_until(b'\n', into).unwrap();
    let line = String::from_utf8_lossy(&into[start..]).trim_end().to_owned();
    let count = line[1..].parse::<i64>();
    match &line[..1] {
        "$" | "=" if count != Ok(-1) => {
            let mut bulk = vec![0; count.unwrap() as usize + 2];
            stream.read_exact(&mut bulk).unwrap();
            into.extend_from_slice(&bulk);
        }
        "*" | "~" => (0..count.unwrap()).for_each(|_| read_reply(stream, into)),
        "%" => (0..2 * count.unwrap()).for_each(|_| read_reply(stream, into)),
        _ => {}
    }
}
