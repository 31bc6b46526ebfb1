//! The clients people have, against the real binary: redis-cli, redis-benchmark, redis-py.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::Command;

use crate::servers::{
    Server, available, free_port, have_redis_cli, output, output_with_input, wait_for,
};

fn server(flags: &[&str]) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(&dir.path().join("data"), free_port(), flags);
    (dir, server)
}

#[test]
fn redis_cli_sets_gets_counts_and_lists() {
    if !have_redis_cli() {
        return;
    }
    let (_dir, s) = server(&[]);
    assert_eq!(s.ask(&["PING"]), "PONG");
    assert_eq!(s.ask(&["SET", "greeting", "hello world", "EX", "100"]), "OK");
    assert_eq!(s.ask(&["GET", "greeting"]), "hello world");
    assert_eq!(s.ask(&["TTL", "greeting"]), "100");
    assert_eq!(s.ask(&["-2", "TYPE", "greeting"]), "string");
    assert_eq!(s.ask(&["-3", "INCRBY", "counter", "42"]), "42");
    assert_eq!(s.ask(&["-r", "3", "INCR", "counter"]), "43\n44\n45");
    assert_eq!(s.ask(&["-n", "3", "DBSIZE"]), "0");
    assert_eq!(s.ask(&["MGET", "greeting", "missing", "counter"]), "hello world\n\n45");
    assert_eq!(s.ask(&["DEL", "greeting", "missing"]), "1");
    assert_eq!(s.ask(&["INCR", "counter", "extra"]), WRONG_ARITY);
    assert_eq!(s.ask(&["NOSUCHCOMMAND"]).split(',').next(), Some(UNKNOWN));
    for i in 0..50 {
        assert_eq!(s.ask(&["SET", &format!("scan:{i}"), "x"]), "OK");
    }
    let mut found: Vec<String> =
        s.ask(&["--scan", "--pattern", "scan:*"]).lines().map(str::to_owned).collect();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 50);
    assert!(s.ask(&["INFO"]).contains("role:master"));
}

const WRONG_ARITY: &str = "ERR wrong number of arguments for 'incr' command";
const UNKNOWN: &str = "ERR unknown command 'NOSUCHCOMMAND'";

#[test]
fn redis_cli_reads_commands_from_its_input() {
    if !have_redis_cli() {
        return;
    }
    let (_dir, s) = server(&[]);
    let script = b"MULTI\nSET a 1\nINCR a\nEXEC\nGET a\nSELECT 1\nGET a\n";
    let printed = output_with_input(&mut s.cli(), script);
    assert_eq!(printed, "OK\nQUEUED\nQUEUED\nOK\n2\n2\nOK\n\n");
}

#[test]
fn redis_cli_pipes_bulk_data_in() {
    if !have_redis_cli() {
        return;
    }
    let (_dir, s) = server(&[]);
    let mut bulk = Vec::new();
    for i in 0..20_000 {
        let (key, value) = (format!("pipe:{i:05}"), format!("value {i}"));
        let (k, v) = (key.len(), value.len());
        let command = format!("*3\r\n$3\r\nSET\r\n${k}\r\n{key}\r\n${v}\r\n{value}\r\n");
        bulk.extend_from_slice(command.as_bytes());
    }
    let printed = output_with_input(s.cli().arg("--pipe"), &bulk);
    assert!(printed.contains("errors: 0, replies: 20000"), "{printed}");
    assert_eq!(s.ask(&["DBSIZE"]), "20000");
    assert_eq!(s.ask(&["GET", "pipe:19999"]), "value 19999");
}

#[test]
fn a_value_of_many_megabytes_goes_in_and_comes_back() {
    if !have_redis_cli() {
        return;
    }
    let (_dir, s) = server(&[]);
    let value: Vec<u8> = (0..40_000_000u32).map(|i| b'a' + (i % 23) as u8).collect();
    assert_eq!(output_with_input(s.cli().args(["-x", "SET", "large"]), &value), "OK\n");
    assert_eq!(s.ask(&["STRLEN", "large"]), "40000000");
    assert_eq!(s.ask(&["GET", "large"]).as_bytes(), value);
}

#[test]
fn a_client_that_reads_late_gets_everything() {
    const SIZE: usize = 1 << 20;
    const TIMES: usize = 100;
    let (_dir, s) = server(&[]);
    let mut link = TcpStream::connect(("127.0.0.1", s.port)).expect("it listens");
    let value = vec![b'v'; SIZE];
    let mut requests = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${SIZE}\r\n").into_bytes();
    requests.extend_from_slice(&value);
    requests.extend_from_slice(b"\r\n");
    for _ in 0..TIMES {
        requests.extend_from_slice(b"GET k\r\n");
    }
    link.write_all(&requests).expect("it reads");
    // Others are served while this one's replies wait in the server.
    let mut other = TcpStream::connect(("127.0.0.1", s.port)).expect("it listens");
    other.write_all(b"PING\r\n").expect("it reads");
    let mut pong = [0; 7];
    other.read_exact(&mut pong).expect("an answer");
    assert_eq!(&pong, b"+PONG\r\n");

    link.shutdown(Shutdown::Write).expect("it is open");
    let mut received = Vec::new();
    link.read_to_end(&mut received).expect("it answers and closes");
    let mut expected = b"+OK\r\n".to_vec();
    for _ in 0..TIMES {
        expected.extend_from_slice(format!("${SIZE}\r\n").as_bytes());
        expected.extend_from_slice(&value);
        expected.extend_from_slice(b"\r\n");
    }
    assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
}

#[test]
fn two_thousand_clients_are_served_at_once() {
    // The usual soft limit of open files, 1024, must not be in the way of the server; of this test it may be.
    const CLIENTS: usize = 2000;
    let script = "import resource, socket, sys\n\
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n\
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n\
        port, count = int(sys.argv[1]), int(sys.argv[2])\n\
        links = [socket.create_connection(('127.0.0.1', port), timeout=20) for _ in range(count)]\n\
        for link in links: link.sendall(b'PING\\r\\n')\n\
        print(sum(link.recv(64) == b'+PONG\\r\\n' for link in links))\n";
    if !available("python3", Command::new("python3").arg("--version")) {
        return;
    }
    let (_dir, s) = server(&[]);
    let count = CLIENTS.to_string();
    let mut run = Command::new("python3");
    assert_eq!(output(run.args(["-c", script, &s.port.to_string(), &count])), count);
}

#[test]
fn redis_cli_shows_statistics() {
    if !have_redis_cli() {
        return;
    }
    let (_dir, s) = server(&[]);
    assert_eq!(s.ask(&["SET", "a", "1"]), "OK");
    // --stat never ends by itself and would keep its lines in a buffer; 124 is timeout's way of saying that it ended it.
    let mut stat = Command::new("timeout");
    stat.args([
        "2",
        "stdbuf",
        "-oL",
        "redis-cli",
        "-p",
        &s.port.to_string(),
        "--stat",
        "-i",
        "0.2",
    ]);
    let run = stat.output().expect("timeout can be run");
    let printed = String::from_utf8_lossy(&run.stdout).into_owned();
    assert_eq!(run.status.code(), Some(124), "{printed}");
    let line = printed.lines().nth(2).unwrap_or_default();
    assert_eq!(line.split_whitespace().next(), Some("1"), "one key in: {printed}");
}

#[test]
fn redis_benchmark_runs_against_it() {
    if !available("redis-benchmark", Command::new("redis-benchmark").arg("--version")) {
        return;
    }
    let (_dir, s) = server(&[]);
    let port = s.port.to_string();
    for pipeline in ["1", "16"] {
        let mut run = Command::new("redis-benchmark");
        run.args(["-p", &port, "-c", "50", "-n", "5000", "-P", pipeline, "--csv"]);
        let printed = output(run.args(["-t", "ping,set,get,incr,mset"]));
        for name in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET"] {
            assert!(printed.contains(&format!("\"{name}")), "{name}: {printed}");
        }
    }
}

#[test]
fn a_password_is_asked_for() {
    if !have_redis_cli() {
        return;
    }
    let (_dir, s) = server(&["--requirepass", "mypass"]);
    assert_eq!(s.ask(&["GET", "a"]), "NOAUTH Authentication required.");
    assert_eq!(s.ask(&["-a", "mypass", "SET", "a", "1"]), "OK");
    assert_eq!(s.ask(&["-a", "mypass", "-3", "GET", "a"]), "1");
    let printed = output_with_input(&mut s.cli(), b"AUTH wrong\nGET a\nAUTH mypass\nGET a\n");
    assert!(printed.starts_with("WRONGPASS"), "{printed}");
    assert!(printed.ends_with("OK\n1\n"), "{printed}");
}

#[test]
fn more_clients_than_allowed_are_told_so() {
    if !have_redis_cli() {
        return;
    }
    let (_dir, s) = server(&["--maxclients", "1"]);
    let first = TcpStream::connect(("127.0.0.1", s.port)).expect("it listens");
    let refused = wait_for("a refusal", || {
        let text = s.cli_text("PING");
        (!text.contains("PONG")).then_some(text)
    });
    assert!(refused.contains("max number of clients reached"), "{refused}");
    drop(first);
    wait_for("room again", || (s.cli_text("PING") == "PONG\n").then_some(()));
    wait_for("room for one more question", || {
        let text = s.cli_text("INFO");
        let rejected = text.lines().find_map(|l| l.strip_prefix("rejected_connections:"))?;
        assert!(rejected.trim_end().parse::<u32>().expect("a number") >= 1);
        Some(())
    });
}

/// The value of a field of INFO.
fn info(s: &Server, name: &str) -> String {
    let text = s.ask(&["INFO"]);
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim_end().to_owned()
}

#[test]
fn a_client_that_goes_away_while_it_waits_is_noticed() {
    if !have_redis_cli() {
        return;
    }
    let (_dir, s) = server(&["--maxclients", "3"]);
    let connect = || {
        let mut link = TcpStream::connect(("127.0.0.1", s.port)).expect("it listens");
        // What follows behind the wait is in the server's hands, and must not hide the end.
        link.write_all(b"WAIT 1 0\r\nPING\r\n").expect("it reads");
        link
    };
    for _ in 0..3 {
        let waiting = [connect(), connect()];
        wait_for("both to wait", || (info(&s, "blocked_clients") == "2").then_some(()));
        drop(waiting);
        wait_for("both to be gone", || (info(&s, "blocked_clients") == "0").then_some(()));
        assert_eq!(info(&s, "connected_clients"), "1");
    }
}

#[test]
fn what_comes_during_a_wait_is_executed_after_it() {
    let (_dir, s) = server(&[]);
    let mut link = TcpStream::connect(("127.0.0.1", s.port)).expect("it listens");
    link.write_all(b"SET k v\r\nWAIT 1 400\r\nGET k\r\n").expect("it reads");
    let mut ok = [0; 5];
    link.read_exact(&mut ok).expect("an answer");
    let value = vec![b'w'; 3 << 20];
    link.write_all(format!("*3\r\n$3\r\nSET\r\n$1\r\nl\r\n${}\r\n", 3 << 20).as_bytes())
        .expect("it reads");
    link.write_all(&value).expect("it reads");
    link.write_all(b"\r\nSTRLEN l\r\nQUIT\r\n").expect("it reads");
    let mut rest = String::new();
    link.read_to_string(&mut rest).expect("answers, then the end");
    assert_eq!(rest, ":0\r\n$1\r\nv\r\n+OK\r\n:3145728\r\n+OK\r\n");
}

#[test]
fn a_client_closed_for_what_it_leaves_unread_leaves_nothing_behind() {
    if !have_redis_cli() {
        return;
    }
    let limit = ["--client-output-buffer-limit", "normal", "8mb", "0", "0"];
    let (_dir, s) = server(&[&["--maxclients", "2"], &limit[..]].concat());
    assert_eq!(output_with_input(s.cli().args(["-x", "SET", "k"]), &[b'v'; 1 << 20]), "OK\n");
    let mut slow = TcpStream::connect(("127.0.0.1", s.port)).expect("it listens");
    slow.write_all(&b"GET k\r\n".repeat(50)).expect("it reads");
    wait_for("the limit to be noticed", || s.log().contains("output buffer limits").then_some(()));
    // Its place is free at once, although it goes on reading nothing.
    let links = [(); 2].map(|()| {
        let mut link = TcpStream::connect(("127.0.0.1", s.port)).expect("it listens");
        let mut pong = [0; 7];
        link.write_all(b"PING\r\n").expect("it reads");
        link.read_exact(&mut pong).expect("an answer");
        (link, pong)
    });
    assert!(links.iter().all(|(_, pong)| pong == b"+PONG\r\n"));
    drop(slow);
}

#[test]
fn more_clients_than_the_host_has_room_for_cannot_be_asked_for() {
    if !have_redis_cli() {
        return;
    }
    let (_dir, s) = server(&["--maxclients", "100"]);
    let text = s.ask(&["CONFIG", "SET", "maxclients", "4294967295"]);
    let why =
        "The operating system is not able to handle the specified number of clients, try with ";
    let (head, most) = text.split_once(why).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(head, "ERR CONFIG SET failed (possibly related to argument 'maxclients') - ");
    assert_eq!(s.ask(&["CONFIG", "GET", "maxclients"]), "maxclients\n100");
    assert_eq!(s.ask(&["CONFIG", "SET", "maxclients", most.trim_end()]), "OK");
}

#[test]
fn redis_py_connects_pipelines_and_transacts() {
    let python = || Command::new("python3");
    if !available("redis-py (PyPI: redis)", python().args(["-c", "import redis"])) {
        return;
    }
    let (_dir, s) = server(&[]);
    let (_dir2, guarded) = server(&["--requirepass", "mypass"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/redis_py.py");
    let ports = [s.port.to_string(), guarded.port.to_string()];
    let printed = output(python().arg(script).args(ports));
    assert_eq!(printed, "all held");
}
