//! AUTH, HELLO, CLIENT, QUIT, protected mode, protocol errors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::time::Span;

use super::{Driver, bulk};

const NOAUTH: &str = "-NOAUTH Authentication required.\r\n";
const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";

#[test]
fn nothing_works_before_authentication_but_what_leads_to_it() {
    let mut driver = Driver::new("requirepass secret");
    let conn = driver.open();
    for command in ["GET k", "PING", "INFO", "MULTI", "SELECT 1", "QUORATE PEER 1", "COMMAND"] {
        assert_eq!(driver.ask(conn, command), NOAUTH, "{command}");
    }
    let aborted =
        "-EXECABORT Transaction discarded because of: NOAUTH Authentication required.\r\n";
    assert_eq!(driver.ask(conn, "EXEC"), aborted);
    assert!(driver.ask(conn, "NOSUCH").starts_with("-ERR unknown command"));
    assert!(driver.ask(conn, "HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    assert_eq!(driver.ask(conn, "AUTH wrong"), WRONGPASS);
    assert_eq!(driver.ask(conn, "AUTH someone secret"), WRONGPASS);
    assert_eq!(driver.ask(conn, "AUTH default secret more"), "-ERR syntax error\r\n");
    assert_eq!(driver.ask(conn, "GET k"), NOAUTH);
    assert_eq!(driver.ask(conn, "AUTH default secret"), "+OK\r\n");
    assert_eq!(driver.ask(conn, "GET k"), "$-1\r\n");
    assert_eq!(driver.ask(conn, "AUTH wrong"), WRONGPASS);
    assert_eq!(driver.ask(conn, "GET k"), "$-1\r\n", "a wrong password later changes nothing");
}

#[test]
fn auth_without_a_password_set_says_so() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    assert!(driver.ask(conn, "AUTH p").starts_with("-ERR AUTH <password> called without any"));
    assert_eq!(driver.ask(conn, "AUTH default anything"), "+OK\r\n");
    assert_eq!(driver.ask(conn, "AUTH nobody anything"), WRONGPASS);
}

#[test]
fn large_requests_of_strangers_are_cut_off() {
    let mut driver = Driver::new("requirepass secret");
    let conn = driver.open();
    driver.feed(conn, b"*11\r\n");
    let text = "-ERR Protocol error: unauthenticated multibulk length\r\n";
    assert_eq!(driver.take(conn), text);
    assert!(driver.closed.contains(&conn));
}

#[test]
fn hello_chooses_the_protocol_and_reports_the_server() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    let reply = driver.ask(conn, "HELLO");
    assert!(reply.starts_with("*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n"));
    assert!(reply.contains("$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:1\r\n"));
    let reply = driver.ask(conn, "HELLO 3 SETNAME me");
    assert!(reply.starts_with("%7\r\n"), "{reply}");
    assert!(reply.contains("$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"));
    assert!(reply.ends_with("$7\r\nmodules\r\n*0\r\n"));
    assert_eq!(driver.ask(conn, "CLIENT GETNAME"), bulk("me"));
    assert_eq!(driver.ask(conn, "GET none"), "_\r\n");
    assert!(driver.ask(conn, "INFO server").starts_with('='), "verbatim");
    assert_eq!(driver.ask(conn, "HELLO 4"), "-NOPROTO unsupported protocol version\r\n");
    let text = "-ERR Protocol version is not an integer or out of range\r\n";
    assert_eq!(driver.ask(conn, "HELLO x"), text);
    let text = "-ERR Syntax error in HELLO option 'foo'\r\n";
    assert_eq!(driver.ask(conn, "HELLO 2 foo"), text);
    assert_eq!(driver.ask(conn, "GET none"), "_\r\n", "errors change nothing");
    assert!(driver.ask(conn, "HELLO 2").starts_with("*14\r\n"));
}

#[test]
fn hello_authenticates() {
    let mut driver = Driver::new("requirepass secret");
    let conn = driver.open();
    assert_eq!(driver.ask(conn, "HELLO 3 AUTH default wrong"), WRONGPASS);
    assert_eq!(driver.ask(conn, "GET k"), NOAUTH);
    assert!(driver.ask(conn, "HELLO 3 AUTH default secret SETNAME n").starts_with("%7\r\n"));
    assert_eq!(driver.ask(conn, "GET k"), "_\r\n");
}

#[test]
fn clients_have_numbers_names_and_libraries() {
    let mut driver = Driver::new("");
    let (a, b) = (driver.open(), driver.open());
    assert_eq!(driver.ask(a, "CLIENT ID"), ":1\r\n");
    assert_eq!(driver.ask(b, "client id"), ":2\r\n");
    assert_eq!(driver.ask(a, "CLIENT GETNAME"), "$-1\r\n");
    assert_eq!(driver.ask(a, "CLIENT SETNAME worker-1"), "+OK\r\n");
    assert_eq!(driver.ask(a, "CLIENT GETNAME"), bulk("worker-1"));
    assert_eq!(driver.ask(a, "CLIENT SETNAME ''"), "+OK\r\n");
    assert_eq!(driver.ask(a, "CLIENT GETNAME"), "$-1\r\n");
    driver.feed(a, b"CLIENT SETNAME \"two words\"\r\n");
    let text = "-ERR Client names cannot contain spaces, newlines or special characters.\r\n";
    assert_eq!(driver.take(a), text);
    assert_eq!(driver.ask(a, "CLIENT SETINFO LIB-NAME redis-py"), "+OK\r\n");
    assert_eq!(driver.ask(a, "CLIENT SETINFO lib-ver 8.1.0"), "+OK\r\n");
    let text = "-ERR Unrecognized option 'color'\r\n";
    assert_eq!(driver.ask(a, "CLIENT SETINFO color red"), text);
    let text = "-ERR unknown subcommand 'KILL'. Try CLIENT HELP.\r\n";
    assert_eq!(driver.ask(a, "CLIENT KILL ID 7"), text);
    let text = "-ERR wrong number of arguments for 'client|setname' command\r\n";
    assert_eq!(driver.ask(a, "CLIENT SETNAME"), text);
}

#[test]
fn quit_answers_and_closes_and_nothing_behind_it_is_executed() {
    let mut driver = Driver::new("");
    let (a, b) = (driver.open(), driver.open());
    driver.feed(a, b"SET k 1\r\nQUIT\r\nSET k 2\r\n");
    assert_eq!(driver.take(a), "+OK\r\n+OK\r\n");
    assert!(driver.closed.contains(&a));
    assert_eq!(driver.ask(b, "GET k"), bulk("1"));
}

#[test]
fn protocol_error_is_answered_after_what_was_right_and_closes() {
    let mut driver = Driver::new("");
    let (a, b) = (driver.open(), driver.open());
    driver.feed(a, b"*1\r\n$4\r\nPING\r\n*1\r\n#4\r\nPING\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!(driver.take(a), "+PONG\r\n-ERR Protocol error: expected '$', got '#'\r\n");
    assert!(driver.closed.contains(&a));
    assert_eq!(driver.ask(b, "PING"), "+PONG\r\n", "nobody else is disturbed");
}

#[test]
fn http_request_is_cut_off_before_the_commands_in_it() {
    let mut driver = Driver::new("");
    let reader = driver.open();
    for request in [
        "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nSET k evil\r\n",
        "GET / HTTP/1.1\r\nhOST: localhost\r\n\r\nSET k evil\r\n",
        "*2\r\n$4\r\npost\r\n$1\r\n/\r\nSET k evil\r\n",
        "MULTI\r\nSET k evil\r\nHost: localhost\r\nEXEC\r\n",
    ] {
        let conn = driver.open();
        driver.feed(conn, request.as_bytes());
        assert_eq!(driver.take(conn), "", "{request}");
        assert!(driver.aborted.contains(&conn), "{request}");
        assert_eq!(driver.ask(reader, "GET k"), "$-1\r\n", "{request}");
    }
    let said = |driver: &Driver| {
        let attack = |line: &&String| {
            line.starts_with("Possible SECURITY ATTACK detected. It looks like somebody is sending")
                && line.ends_with("Connection from 127.0.0.1:50000 aborted.")
        };
        driver.log.iter().filter(attack).count()
    };
    assert_eq!(said(&driver), 1, "once a minute");
    driver.pass(Span::from_secs(61));
    let conn = driver.open();
    driver.feed(conn, b"HOST: x\r\n");
    assert_eq!(said(&driver), 2);
}

#[test]
fn protected_mode_lets_only_loopback_in() {
    let far = IpAddr::V4(Ipv4Addr::new(172, 18, 0, 3));
    let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    let mut driver = Driver::new("");
    for near in [mapped, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let conn = driver.open_from(near);
        assert_eq!(driver.ask(conn, "PING"), "+PONG\r\n");
    }
    for directives in ["", "bind 0.0.0.0", "bind 172.18.0.2 127.0.0.1"] {
        let mut driver = Driver::new(directives);
        let conn = driver.open_from(far);
        assert!(driver.take(conn).starts_with("-DENIED "), "{directives}");
        assert!(driver.closed.contains(&conn));
    }
    for directives in ["protected-mode no", "requirepass p"] {
        let mut driver = Driver::new(directives);
        let conn = driver.open_from(far);
        assert!(!driver.closed.contains(&conn), "{directives}");
    }
}
