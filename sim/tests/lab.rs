//! The lab's server as whoever asks it sees it: answers, refusals, the end.

// A server in a process of its own takes real time.
#![allow(clippy::disallowed_methods)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

struct Lab {
    process: Child,
    port: u16,
}

impl Lab {
    fn start(args: &[&str]) -> Lab {
        let mut process =
            command(args).stdout(Stdio::piped()).spawn().expect("the simulator starts");
        let mut line = String::new();
        let out = process.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it says where it is");
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next());
        let port = port.and_then(|port| port.parse().ok());
        Lab { process, port: port.unwrap_or_else(|| panic!("no address in {line:?}")) }
    }

    /// Status and body of an answer.
    fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let host = format!("host: 127.0.0.1:{}\r\n", self.port);
        let host = if head.contains("host:") { "" } else { &host };
        let mut stream = self.connect();
        let text = format!(
            "{head}\r\n{host}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).expect("it is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer in text");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        (status.unwrap_or_else(|| panic!("no status in {answer:?}")), body)
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1"), "")
    }

    fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.ask(&format!("POST {path} HTTP/1.1\r\ncontent-type: application/json"), body)
    }

    /// Why something was refused.
    fn refused(&self, path: &str, body: &str) -> (u16, String) {
        let (status, answer) = self.post(path, body);
        let json: Value = serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{answer}: {e}"));
        (status, json["error"].as_str().expect("why").to_owned())
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Follows the news until `enough`, which is given each piece.
    fn follow(&self, mut enough: impl FnMut(&Value) -> bool) {
        let mut stream = self.connect();
        let head = format!("GET /news HTTP/1.1\r\nhost: localhost:{}\r\n\r\n", self.port);
        stream.write_all(head.as_bytes()).expect("it is sent");
        let begun = Instant::now();
        for line in BufReader::new(stream).lines() {
            let line = line.expect("a line of news");
            assert!(begun.elapsed() < PATIENCE, "what was waited for has not come");
            let Some(json) = line.strip_prefix("data: ") else { continue };
            if enough(&serde_json::from_str(json).expect("JSON")) {
                return;
            }
        }
        panic!("the news end");
    }

    fn end(&mut self, signal: &str) -> Option<i32> {
        let pid = self.process.id().to_string();
        Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("a child") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-sim"));
    command.arg("lab").args(args);
    command
}

/// Texts of replies in a piece of news, by line.
fn replies(news: &Value) -> Vec<(String, String)> {
    let said = news["said"].as_array().expect("lines");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    said.iter().map(|entry| (text(&entry[1]["line"]), text(&entry[1]["reply"]))).collect()
}

#[test]
fn a_lab_is_served_driven_and_ended() {
    let mut lab = Lab::start(&["--port", "0", "--seed", "5"]);
    let (status, page) = lab.get("/");
    assert_eq!(status, 200);
    assert!(page.contains("Split-brain lab") && page.contains("connect-src 'self'"));
    for word in ["http://", "https://", "src=", "<link", "@import", "url("] {
        // The pattern of bricks and the name space of SVG are no addresses.
        let plain = page.replace("http://www.w3.org/2000/svg", "").replace("url(#bricks)", "");
        assert!(!plain.contains(word), "{word}");
    }

    assert_eq!(lab.post("/pace", r#"{"speed":10}"#).0, 200);
    assert_eq!(lab.post("/do", r#"{"do":"command","host":"node1","line":"SET k v"}"#).0, 200);
    let mut ops = 0;
    lab.follow(|news| {
        ops += news["ops"].as_array().map_or(0, Vec::len);
        assert_eq!(news["lab"], 1);
        replies(news).contains(&("node1> SET k v".to_owned(), "OK".to_owned()))
    });
    let (_, file) = lab.get("/lab.scn");
    assert!(file.contains("node1> SET k v\n") && file.contains("seed 5\n"), "{file}");
    let (status, timeline) = lab.get("/lab.html");
    assert_eq!(status, 200);
    assert!(timeline.contains("SET k v") && !timeline.contains("fetch("));

    // Time stands still without a page that is open, and goes on by steps.
    let end = |lab: &Lab| {
        let mut end = 0;
        lab.follow(|news| {
            end = news["piece"]["end"].as_u64().expect("a time");
            true
        });
        end
    };
    assert_eq!(lab.post("/pace", r#"{"paused":true}"#).0, 200);
    let before = end(&lab);
    assert_eq!(lab.post("/pace", r#"{"step_ms":1500}"#).0, 200);
    assert_eq!(end(&lab), before + 1_500_000_000);

    // Another lab ends the page of this one.
    assert_eq!(lab.post("/new", r#"{"nodes":3}"#).0, 200);
    lab.follow(|news| news["lab"] == 2 && news["piece"]["conns"].as_array().is_some());
    assert_eq!(lab.post("/do", r#"{"do":"kill","host":"node3"}"#).0, 200);

    // A page that is open does not hold up the end.
    let mut open = lab.connect();
    let head = format!("GET /news HTTP/1.1\r\nhost: localhost:{}\r\n\r\n", lab.port);
    open.write_all(head.as_bytes()).expect("it is sent");
    assert!(open.read(&mut [0; 64]).expect("news") > 0);
    assert_eq!(lab.end("-INT"), Some(0));
}

#[test]
fn bad_input_is_refused_with_what_was_expected() {
    let mut lab = Lab::start(&["--port", "0"]);
    for (path, body, status, found) in [
        ("/do", "", 400, "the body: EOF"),
        ("/do", "[1", 400, "the body:"),
        ("/do", r#"{"do":"dance"}"#, 400, "unknown variant `dance`, expected one of `command`"),
        ("/do", r#"{"do":"kill"}"#, 400, "missing field `host`"),
        ("/do", r#"{"do":"kill","host":"node1","now":1}"#, 400, "unknown field `now`"),
        ("/do", r#"{"do":"kill","host":"node9"}"#, 422, "found host \"node9\", expected a host"),
        ("/do", r#"{"do":"line","line":"sleep 1s"}"#, 422, "found `sleep 1s`, expected"),
        ("/pace", r#"{"speed":0}"#, 422, "speed: found 0, expected 0.0001 to 100"),
        ("/pace", r#"{"speed":"fast"}"#, 400, "expected f64"),
        ("/pace", r#"{"step_ms":-1}"#, 422, "step_ms: found -1"),
        ("/new", r#"{"nodes":9}"#, 422, "nodes: found 9, expected 2 to 5"),
        ("/new", r#"{"nodes":2,"latency_ms":5000}"#, 422, "latency_ms: found 5000"),
        ("/new", r#"{}"#, 400, "missing field `nodes`"),
    ] {
        let (got, why) = lab.refused(path, body);
        assert_eq!(got, status, "{body}: {why}");
        assert!(why.contains(found), "{body}: {why}");
    }
    assert_eq!(lab.get("/nowhere").0, 404);
    assert_eq!(lab.get("/do").0, 405);
    let (status, why) = lab.ask("POST /do HTTP/1.1\r\ncontent-type: text/plain", "{}");
    assert_eq!(status, 415, "{why}");
    let (status, why) = lab.ask("GET / HTTP/1.1\r\nhost: elsewhere.example", "");
    assert_eq!(status, 403, "{why}");
    assert_eq!(lab.post("/do", &"x".repeat(100_000)).0, 413);
    assert_eq!(lab.end("-TERM"), Some(0));
}

#[test]
fn port_in_use_is_bad_usage() {
    let lab = Lab::start(&["--port", "0"]);
    let port = lab.port.to_string();
    let output = command(&["--port", &port]).output().expect("the simulator starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("port {port} of 127.0.0.1 is in use")), "{said}");
    for args in [["--nodes", "6"], ["--port", "x"], ["--latency-ms", "2000"]] {
        let output = command(&args).output().expect("the simulator starts");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
