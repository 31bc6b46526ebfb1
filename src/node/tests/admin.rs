//! CONFIG, INFO, REPLICAOF, ROLE, SHUTDOWN, QUORATE.

use crate::base::fact::LogLevel;
use crate::base::io::ShellSetting;
use crate::wire::frame::PEER_VERSION;

use super::{Driver, bulk};

#[test]
fn config_get_knows_every_directive_and_globs() {
    let mut driver = Driver::new("maxclients 77\nrequirepass ''");
    let conn = driver.open();
    assert_eq!(driver.ask(conn, "CONFIG GET save"), format!("*2\r\n{}$0\r\n\r\n", bulk("save")));
    let reply = format!("*2\r\n{}{}", bulk("appendonly"), bulk("no"));
    assert_eq!(driver.ask(conn, "CONFIG GET appendonly"), reply);
    let reply = driver.ask(conn, "CONFIG GET MAXCL* timeout nothing");
    let expected = [bulk("maxclients"), bulk("77"), bulk("timeout"), bulk("0")].concat();
    assert_eq!(reply, format!("*4\r\n{expected}"));
    let all = driver.ask(conn, "CONFIG GET *");
    for directive in super::super::directive::all() {
        assert!(all.contains(&bulk(directive.name)), "{}", directive.name);
    }
    driver.ask(conn, "HELLO 3");
    assert!(driver.ask(conn, "CONFIG GET port").starts_with("%1\r\n"));
}

#[test]
fn config_set_is_all_or_nothing() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    let failed = "-ERR CONFIG SET failed (possibly related to argument";
    let reply = driver.ask(conn, "CONFIG SET maxclients 5 timeout never");
    let number = "argument couldn't be parsed into an integer";
    assert_eq!(reply, format!("{failed} 'timeout') - {number}\r\n"));
    let reply = driver.ask(conn, "CONFIG SET maxclients 0");
    let range = "argument must be between 1 and 4294967295 inclusive";
    assert_eq!(reply, format!("{failed} 'maxclients') - {range}\r\n"));
    let reply = driver.ask(conn, "CONFIG SET maxclients 5 nosuch 1");
    let unknown = "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\r\n";
    assert_eq!(reply, unknown);
    let reply = driver.ask(conn, "CONFIG SET maxclients 5 timeout");
    assert_eq!(reply, "-ERR syntax error\r\n");
    let reply = driver.ask(conn, "CONFIG SET maxclients 5 port 1");
    assert_eq!(reply, format!("{failed} 'port') - can't set immutable config\r\n"));
    let reply = driver.ask(conn, "CONFIG SET maxclients 5 maxclients 6");
    assert_eq!(reply, format!("{failed} 'maxclients') - duplicate parameter\r\n"));
    let reply = driver.ask(conn, "CONFIG SET maxmemory 1gb");
    let only = "argument must be '0': nothing else is supported by this version of Quorate";
    assert_eq!(reply, format!("{failed} 'maxmemory') - {only}\r\n"));
    assert!(driver.ask(conn, "CONFIG GET maxclients").contains("10000"));
    assert!(driver.settings.is_empty());
    assert_eq!(driver.ask(conn, "CONFIG SET maxclients 5 loglevel debug save ''"), "+OK\r\n");
    let expected = [ShellSetting::MaxClients(5), ShellSetting::LogLevel(LogLevel::Debug)];
    assert_eq!(driver.settings, expected);
}

#[test]
fn password_set_at_run_time_is_asked_of_newcomers() {
    let mut driver = Driver::new("");
    let old = driver.open();
    driver.ask(old, "CONFIG SET requirepass secret");
    assert_eq!(driver.ask(old, "GET k"), "$-1\r\n");
    let new = driver.open();
    assert!(driver.ask(new, "GET k").starts_with("-NOAUTH"));
    driver.ask(old, "CONFIG SET requirepass ''");
    assert_eq!(driver.ask(new, "GET k"), "$-1\r\n");
}

#[test]
fn info_has_its_sections_and_no_key_twice() {
    let mut driver = Driver::new("active-replica yes\nreplicaof 10.0.0.9 6379");
    let conn = driver.open();
    driver.ask(conn, "SET k v");
    let all = driver.ask(conn, "INFO");
    for line in [
        "# Server\r\nredis_version:7.2.4\r\nquorate_version:",
        "loading:0\r\n",
        "role:master\r\n",
        "keydb_role:active-replica\r\n",
        "master_host:10.0.0.9\r\n",
        "master_link_status:down\r\n",
        "db0:keys=1",
        "\r\n\r\n# Replication\r\n",
    ] {
        assert!(all.contains(line), "{line:?} in {all}");
    }
    let mut names: Vec<&str> =
        all.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "no key twice");
    let two = driver.ask(conn, "INFO keyspace CPU");
    assert!(two.contains("# CPU\r\n") && two.contains("# Keyspace\r\n"));
    assert!(!two.contains("# Server"));
    assert_eq!(driver.ask(conn, "INFO nosuch"), "$0\r\n\r\n");
    assert!(driver.ask(conn, "INFO everything").contains("# Server"));
}

#[test]
fn replicaof_is_checked_and_shows_in_role() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    assert!(driver.ask(conn, "ROLE").starts_with("*3\r\n$6\r\nmaster\r\n"));
    assert_eq!(driver.ask(conn, "REPLICAOF host notaport"), "-ERR Invalid master port\r\n");
    assert_eq!(driver.ask(conn, "REPLICAOF host 70000"), "-ERR Invalid master port\r\n");
    assert!(driver.ask(conn, "REPLICAOF REMOVE host 1").starts_with("-ERR No such master"));
    assert_eq!(driver.ask(conn, "REPLICAOF NO TWO"), "-ERR Invalid master port\r\n");
    assert_eq!(driver.ask(conn, "REPLICAOF 10.0.0.9 6379"), "+OK\r\n");
    let again = "+OK Already connected to specified master\r\n";
    assert_eq!(driver.ask(conn, "SLAVEOF 10.0.0.9 6379"), again);
    assert!(driver.ask(conn, "ROLE").starts_with("*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.9\r\n"));
    let readonly = "READONLY You can't write against a read only replica.";
    assert_eq!(driver.ask(conn, "SET k v"), format!("-{readonly}\r\n"));
    assert_eq!(driver.ask(conn, "GET k"), "$-1\r\n");
    assert!(driver.ask(conn, "WAIT 1 1").starts_with("-ERR WAIT cannot be used with replica"));
    assert_eq!(driver.ask(conn, "REPLICAOF NO ONE"), "+OK\r\n");
    assert_eq!(driver.ask(conn, "SET k v"), "+OK\r\n");
}

#[test]
fn exec_of_writes_is_refused_once_the_node_is_a_replica() {
    let mut driver = Driver::new("");
    let (a, b) = (driver.open(), driver.open());
    driver.ask(a, "MULTI");
    driver.ask(a, "SET k v");
    driver.ask(b, "REPLICAOF 10.0.0.9 6379");
    let text = "-EXECABORT Transaction discarded because of: READONLY You can't write against a \
                read only replica.\r\n";
    assert_eq!(driver.ask(a, "EXEC"), text);
}

#[test]
fn config_knows_the_masters_of_now() {
    let mut driver = Driver::new("replicaof 10.0.0.8 6379");
    let conn = driver.open();
    let shown = |to: &str| format!("*2\r\n{}{}", bulk("replicaof"), bulk(to));
    assert_eq!(driver.ask(conn, "CONFIG GET replicaof"), shown("10.0.0.8 6379"));
    driver.ask(conn, "REPLICAOF 10.0.0.9 6380");
    assert_eq!(driver.ask(conn, "CONFIG GET replicaof"), shown("10.0.0.9 6380"));
    driver.ask(conn, "REPLICAOF NO ONE");
    assert_eq!(driver.ask(conn, "CONFIG GET replicaof"), shown(""));
    driver.ask(conn, "REPLICAOF REMOVE 10.0.0.9 6380");
    driver.ask(conn, "CONFIG SET timeout 7");
    assert_eq!(driver.ask(conn, "CONFIG GET replicaof"), shown(""));
}

#[test]
fn replica_takes_writes_once_it_is_told_to() {
    let mut driver = Driver::new("replicaof 10.0.0.8 6379");
    let conn = driver.open();
    assert!(driver.ask(conn, "SET k v").starts_with("-READONLY"));
    assert_eq!(driver.ask(conn, "CONFIG SET replica-read-only no"), "+OK\r\n");
    assert_eq!(driver.ask(conn, "SET k v"), "+OK\r\n");
    assert_eq!(driver.ask(conn, "CONFIG SET slave-read-only yes"), "+OK\r\n");
    assert!(driver.ask(conn, "SET k v").starts_with("-READONLY"));
    let mut driver = Driver::new("active-replica yes");
    let conn = driver.open();
    let reply = driver.ask(conn, "CONFIG SET replica-read-only yes");
    assert!(reply.starts_with("-ERR CONFIG SET failed"), "{reply}");
    assert!(driver.ask(conn, "CONFIG GET replica-read-only").ends_with(&bulk("no")));
}

#[test]
fn active_replica_takes_writes_while_its_master_is_away() {
    let mut driver = Driver::new("active-replica yes\nreplicaof 10.0.0.9 6379");
    let conn = driver.open();
    assert_eq!(driver.ask(conn, "SET k v"), "+OK\r\n");
    assert!(driver.ask(conn, "ROLE").starts_with("*3\r\n$6\r\nmaster\r\n"));
}

#[test]
fn shutdown_stops_without_a_reply() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    assert_eq!(driver.ask(conn, "SHUTDOWN SAVE NOSAVE"), "-ERR syntax error\r\n");
    assert_eq!(driver.ask(conn, "SHUTDOWN NOW ABORT"), "-ERR syntax error\r\n");
    assert_eq!(driver.ask(conn, "SHUTDOWN ABORT"), "-ERR No shutdown in progress.\r\n");
    assert_eq!(driver.halted, None);
    driver.feed(conn, b"SET k v\r\nSHUTDOWN NOSAVE NOW FORCE\r\nSET k w\r\n");
    assert_eq!(driver.take(conn), "+OK\r\n", "what was acknowledged before leaves");
    assert_eq!(driver.halted, Some(0));
    assert_eq!(driver.node.poll_timeout(), None);
}

#[test]
fn peer_upgrade_answers_and_refuses_another_version() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    assert!(driver.ask(conn, "QUORATE PEER").starts_with("-ERR "));
    let reply = driver.ask(conn, "QUORATE PEER 999");
    assert!(reply.starts_with("-ERR peer protocol version 999 is not supported"), "{reply}");
    assert_eq!(driver.ask(conn, "PING"), "+PONG\r\n", "still a client");
    driver.feed(conn, format!("PING\r\nQUORATE PEER {PEER_VERSION}\r\n").as_bytes());
    let reply = driver.take(conn);
    assert!(reply.starts_with(&format!("+PONG\r\n+PEER {PEER_VERSION}\r\n")), "{reply}");
    driver.feed(conn, b"this is no frame, and a long one at that");
    assert!(driver.closed.contains(&conn), "a broken link is closed");
    let other = driver.open();
    assert!(driver.ask(other, "INFO clients").contains("connected_clients:1\r\n"));
}

#[test]
fn digest_depends_on_the_data_alone() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    let empty = driver.ask(conn, "QUORATE DIGEST");
    assert_eq!(empty, bulk("0000000000000000"));
    driver.ask(conn, "SET k v");
    assert_ne!(driver.ask(conn, "QUORATE DIGEST"), empty);
    driver.ask(conn, "DEL k");
    assert_eq!(driver.ask(conn, "QUORATE DIGEST"), empty);
    assert!(driver.ask(conn, "QUORATE CLOCK ACCEPT 0badf00d").starts_with("-ERR no such origin"));
    assert!(
        driver.ask(conn, "QUORATE CLOCK ACCEPT xyz").starts_with("-ERR expected QUORATE CLOCK")
    );
}
