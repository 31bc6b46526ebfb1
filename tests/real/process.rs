//! The real binary as a process: its command line, its data directory, two masters side by side.

use std::fs;
use std::path::Path;

use crate::servers::{Server, free_port, have_redis_cli, output_with_input, refused, wait_for};

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A line of a directory's identity file, such as `node-id …`.
fn identity_line(dir: &Path, name: &str) -> String {
    let text = fs::read_to_string(dir.join("node.id")).expect("the server wrote its identity");
    let line = text.lines().find(|l| l.starts_with(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[test]
fn a_signal_ends_it_in_order() {
    let dir = temporary();
    for signal in ["-TERM", "-INT"] {
        let server = Server::start(dir.path(), free_port(), &[]);
        assert_eq!(server.stop(signal).code(), Some(0), "{signal}");
    }
}

#[test]
fn a_closed_terminal_ends_nothing() {
    let dir = temporary();
    let server = Server::start(dir.path(), free_port(), &[]);
    server.signal("-HUP");
    wait_for("a word about it", || server.log().contains("SIGHUP").then_some(()));
    assert_eq!(server.stop("-TERM").code(), Some(0));
}

#[test]
fn the_node_keeps_its_id_and_counts_its_starts() {
    let dir = temporary();
    let first = Server::start(dir.path(), free_port(), &[]);
    let id = identity_line(dir.path(), "node-id");
    assert_eq!(identity_line(dir.path(), "epoch"), "epoch 1");
    first.stop("-TERM");
    for epoch in 2..5 {
        let next = Server::start(dir.path(), free_port(), &[]);
        assert_eq!(identity_line(dir.path(), "node-id"), id);
        assert_eq!(identity_line(dir.path(), "epoch"), format!("epoch {epoch}"));
        next.stop("-KILL");
    }
    let other = temporary();
    let _other = Server::start(other.path(), free_port(), &[]);
    assert_ne!(identity_line(other.path(), "node-id"), id);
}

#[test]
fn a_damaged_identity_is_refused_and_left_alone() {
    let dir = temporary();
    Server::start(dir.path(), free_port(), &[]).stop("-TERM");
    let file = dir.path().join("node.id");
    fs::write(&file, "rubbish").expect("writable");
    let port = free_port().to_string();
    let data = dir.path().to_string_lossy().into_owned();
    let (code, text) = refused(&["server", "--port", &port, "--dir", &data]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("node.id is damaged at line 1"), "{text}");
    assert_eq!(fs::read_to_string(&file).expect("still there"), "rubbish");
}

#[test]
fn one_directory_serves_one_process_and_one_port_one_server() {
    let dir = temporary();
    let first = Server::start(&dir.path().join("a"), free_port(), &[]);
    let port = free_port().to_string();
    let data = first.dir.to_string_lossy().into_owned();
    let (code, text) = refused(&["server", "--port", &port, "--dir", &data]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is used by another server"), "{text}");

    let port = first.port.to_string();
    let data = dir.path().join("b").to_string_lossy().into_owned();
    let (code, text) = refused(&["server", "--port", &port, "--bind", "127.0.0.1", "--dir", &data]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("port {port} of 127.0.0.1 is in use")), "{text}");
}

#[test]
fn a_wrong_directive_is_refused_with_its_line() {
    let dir = temporary();
    let file = dir.path().join("quorate.conf");
    fs::write(&file, "# a comment\nport 7000\n\nno-such-thing yes\n").expect("writable");
    let (code, text) = refused(&["server", &file.to_string_lossy()]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("line 4") && text.contains("'no-such-thing'"), "{text}");

    fs::write(&file, "port many\n").expect("writable");
    let (code, text) = refused(&["server", &file.to_string_lossy()]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("line 1") && text.contains("'port'"), "{text}");

    let (code, text) = refused(&["server", "--cluster-enabled", "yes"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("cluster-enabled"), "{text}");
    let (code, text) = refused(&["server", "/no/such/file.conf"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("/no/such/file.conf"), "{text}");
    let (code, text) = refused(&["server", "-p", "6379"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("'-p' belongs to no directive: expected --directive value"), "{text}");
    let (code, text) = refused(&["no-such-subcommand"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no-such-subcommand"), "{text}");
    let (code, text) = refused(&[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("Usage: quorate"), "{text}");
}

#[test]
fn a_configuration_file_is_obeyed_and_flags_win() {
    if !have_redis_cli() {
        return;
    }
    let dir = temporary();
    let file = dir.path().join("quorate.conf");
    fs::write(&file, "maxclients 77\ntimeout 33\nrequirepass \"my pass\"\n").expect("writable");
    let port = free_port();
    let server =
        Server::start_with_file(&dir.path().join("data"), port, &file, &["--timeout", "44"]);
    let ask = |name| server.ask(&["-a", "my pass", "CONFIG", "GET", name]);
    assert_eq!(ask("maxclients"), "maxclients\n77");
    assert_eq!(ask("timeout"), "timeout\n44");
}

/// Two servers with the flags of the well-known active-active demo.
fn two_masters(root: &Path) -> (Server, Server) {
    let (a, b) = (free_port(), free_port());
    let start = |name: &str, port: u16, other: u16| {
        let flags = demo_flags(other);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Server::start(&root.join(name), port, &flags)
    };
    (start("a", a, b), start("b", b, a))
}

fn demo_flags(other: u16) -> Vec<String> {
    format!(
        "--multi-master yes --active-replica yes --replicaof 127.0.0.1 {other} \
         --requirepass mypass --masterauth mypass"
    )
    .split_whitespace()
    .map(str::to_owned)
    .collect()
}

fn ask(server: &Server, command: &str) -> String {
    let mut args = vec!["-a", "mypass"];
    args.extend(command.split_whitespace());
    server.ask(&args)
}

fn await_links(servers: &[&Server]) {
    for server in servers {
        wait_for("the link to the other master", || {
            ask(server, "INFO replication").contains("master_link_status:up").then_some(())
        });
    }
}

fn await_answer(server: &Server, command: &str, answer: &str) {
    wait_for(&format!("{answer:?} to {command}"), || {
        (ask(server, command) == answer).then_some(())
    });
}

#[test]
fn two_masters_show_each_others_writes_and_agree() {
    if !have_redis_cli() {
        return;
    }
    let dir = temporary();
    let (a, b) = two_masters(dir.path());
    await_links(&[&a, &b]);
    assert_eq!(ask(&a, "SET testkey from-a"), "OK");
    await_answer(&b, "GET testkey", "from-a");
    assert_eq!(ask(&b, "SET testkey from-b"), "OK");
    await_answer(&a, "GET testkey", "from-b");
    assert_eq!(ask(&a, "DEL testkey"), "1");
    await_answer(&b, "EXISTS testkey", "0");

    for round in 0..40 {
        for (server, name) in [(&a, "a"), (&b, "b")] {
            assert_eq!(ask(server, &format!("SET key{} {name}{round}", round % 10)), "OK");
            ask(server, "INCR counter");
        }
    }
    await_answer(&a, "GET counter", "80");
    await_answer(&b, "GET counter", "80");
    wait_for("ten equal keys", || {
        let keys = "MGET key0 key1 key2 key3 key4 key5 key6 key7 key8 key9";
        (ask(&a, keys) == ask(&b, keys)).then_some(())
    });
}

#[test]
fn a_server_that_ends_in_order_waits_for_its_replicas() {
    if !have_redis_cli() {
        return;
    }
    let dir = temporary();
    let (mut a, b) = two_masters(dir.path());
    await_links(&[&a, &b]);
    b.signal("-STOP");
    // More than the kernel's buffers and the link's window hold.
    let value = vec![b'v'; 1 << 20];
    for key in 0..30 {
        let mut set = a.cli();
        set.args(["-a", "mypass", "-x", "SET", &format!("key{key}")]);
        assert_eq!(output_with_input(&mut set, &value), "OK\n");
    }
    a.signal("-TERM");
    wait_for("the waiting to begin", || {
        a.log().contains("Waiting for replicas before shutting down").then_some(())
    });
    assert!(!a.has_ended());
    b.signal("-CONT");
    assert_eq!(a.await_end().code(), Some(0));
    assert_eq!(ask(&b, "DBSIZE"), "30");
}

#[test]
fn a_second_signal_ends_a_server_that_waits_for_its_replicas() {
    if !have_redis_cli() {
        return;
    }
    let dir = temporary();
    let (mut a, b) = two_masters(dir.path());
    await_links(&[&a, &b]);
    b.signal("-STOP");
    assert_eq!(ask(&a, "SET key value"), "OK");
    a.signal("-TERM");
    let waits = || a.log().matches("Waiting for replicas before shutting down").count();
    wait_for("the waiting to begin", || (waits() == 1).then_some(()));
    assert_eq!(ask(&a, "SHUTDOWN ABORT"), "OK");
    assert_eq!(ask(&a, "SET key value2"), "OK");
    a.signal("-INT");
    wait_for("the waiting to begin again", || (waits() == 2).then_some(()));
    assert!(!a.has_ended());
    assert_eq!(a.stop("-TERM").code(), Some(1));
    b.signal("-CONT");
}

#[test]
fn a_killed_master_comes_back_and_both_agree() {
    if !have_redis_cli() {
        return;
    }
    let dir = temporary();
    let (a, b) = two_masters(dir.path());
    await_links(&[&a, &b]);
    assert_eq!(ask(&b, "SET before 1"), "OK");
    await_answer(&a, "GET before", "1");
    let port = b.port;
    b.stop("-KILL");
    assert_eq!(ask(&a, "SET meanwhile 2"), "OK");
    assert_eq!(ask(&a, "INCRBY counter 5"), "5");
    let flags = demo_flags(a.port);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let b = Server::start(&dir.path().join("b"), port, &flags);
    assert_eq!(ask(&b, "INCRBY counter 3").parse::<i64>().map(|n| n == 3 || n == 8), Ok(true));
    for server in [&a, &b] {
        await_answer(server, "MGET before meanwhile counter", "1\n2\n8");
    }
}

#[test]
fn a_copied_data_directory_is_refused_by_the_other_node() {
    if !have_redis_cli() {
        return;
    }
    let dir = temporary();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    Server::start(&a, free_port(), &[]).stop("-TERM");
    fs::create_dir_all(&b).expect("a second directory");
    fs::copy(a.join("node.id"), b.join("node.id")).expect("both can be used");

    let (a, b) = two_masters(dir.path());
    assert_eq!(identity_line(&a.dir, "node-id"), identity_line(&b.dir, "node-id"));
    wait_for("the reason in a log", || {
        [&a, &b].iter().any(|s| s.log().contains("one node id")).then_some(())
    });
    for server in [&a, &b] {
        assert_eq!(ask(server, "SET key value"), "OK", "its own clients are served");
        assert!(ask(server, "INFO replication").contains("master_link_status:down"));
    }
}

#[test]
fn a_replica_is_promoted_and_becomes_a_replica_again() {
    if !have_redis_cli() {
        return;
    }
    let dir = temporary();
    let flags = ["--requirepass", "mypass", "--masterauth", "mypass"];
    let master = Server::start(&dir.path().join("master"), free_port(), &flags);
    let replica = Server::start(&dir.path().join("replica"), free_port(), &flags);
    assert_eq!(ask(&master, "SET key value"), "OK");
    let follow = format!("REPLICAOF 127.0.0.1 {}", master.port);
    for epoch in [2, 4] {
        assert_eq!(ask(&replica, &follow), "OK");
        await_answer(&replica, "GET key", "value");
        assert_eq!(ask(&replica, "REPLICAOF NO ONE"), "OK");
        assert_eq!(ask(&replica, "GET key"), "value", "a promoted replica keeps what it has");
        assert_eq!(ask(&replica, "SET own 1"), "OK");
        // What it writes as a master it writes in another epoch than what it wrote as a replica.
        let line = format!("epoch {}", epoch + 1);
        assert_eq!(identity_line(&replica.dir, "epoch"), line);
    }
}

#[test]
fn a_node_keeps_who_the_members_were_and_how_far_they_may_have_collected() {
    if !have_redis_cli() {
        return;
    }
    let dir = temporary();
    let (a, b) = two_masters(dir.path());
    await_links(&[&a, &b]);
    let lines = |server: &Server, name: &str| {
        let text = fs::read_to_string(server.dir.join("node.id")).expect("it is there");
        text.lines().find(|l| l.starts_with(name)).map(str::to_owned)
    };
    let other = identity_line(&b.dir, "node-id").replace("node-id", "member");
    wait_for("the other's id in the file", || (lines(&a, "member")? == other).then_some(()));
    let horizon = wait_for("a horizon in the file", || lines(&a, "horizon"));
    assert_ne!(horizon, "horizon 0");
    a.stop("-KILL");
    let text = fs::read_to_string(dir.path().join("a/node.id")).expect("it is there");
    assert!(text.contains(&other) && text.contains("horizon "), "{text}");
}
