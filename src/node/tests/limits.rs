//! Bounds: clients, their requests, what they leave unread, how long they are silent.

use crate::base::io::{Input, ShellSetting};
use crate::base::time::Span;

use super::super::config::Config;
use super::{Driver, bulk, request};

#[test]
fn one_client_too_many_is_told_so() {
    let mut driver = Driver::new("maxclients 2");
    let (a, _) = (driver.open(), driver.open());
    let third = driver.open();
    assert_eq!(driver.take(third), "-ERR max number of clients reached\r\n");
    assert!(driver.closed.contains(&third));
    driver.hang_up(a);
    let fourth = driver.open();
    assert_eq!(driver.ask(fourth, "PING"), "+PONG\r\n");
    assert!(driver.ask(fourth, "INFO stats").contains("rejected_connections:1\r\n"));
}

#[test]
fn clients_turned_away_by_the_driver_are_counted_and_its_room_is_known() {
    let mut config = Config { maxclients_room: 500, appendonly: false, ..Config::default() };
    config.maxclients = 600;
    let mut driver = Driver::with(config, 1);
    let conn = driver.open();
    driver.input(Input::Refused);
    assert!(driver.ask(conn, "INFO stats").contains("rejected_connections:1\r\n"));
    let text = "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating \
                system is not able to handle the specified number of clients, try with 500\r\n";
    assert_eq!(driver.ask(conn, "CONFIG SET maxclients 501"), text);
    assert_eq!(driver.ask(conn, "CONFIG SET timeout 5"), "+OK\r\n", "what was so stays so");
    assert_eq!(driver.ask(conn, "CONFIG SET maxclients 500"), "+OK\r\n");
}

#[test]
fn client_that_reads_nothing_is_closed_and_others_go_on() {
    let mut driver = Driver::new("client-output-buffer-limit normal 10kb 0 0");
    let (slow, other) = (driver.open(), driver.open());
    let value = "v".repeat(1000);
    driver.ask(slow, &format!("SET k {value}"));
    driver.drains = false;
    let mut reads = 0;
    while !driver.closed.contains(&slow) {
        driver.feed(slow, &request(&["GET", "k"]));
        reads += 1;
    }
    assert_eq!(reads, 11, "closed at ten thousand bytes");
    assert!(driver.log.iter().any(|line| line.contains("output buffer limits")));
    assert!(driver.aborted.contains(&slow), "what it has not read is let go of");
    driver.drains = true;
    assert_eq!(driver.ask(other, "GET k"), bulk(&value));
}

#[test]
fn client_that_reads_slowly_is_not_closed_until_the_soft_limit_has_lasted() {
    let mut driver = Driver::new("client-output-buffer-limit normal 0 1kb 10");
    let conn = driver.open();
    driver.ask(conn, &format!("SET k {}", "v".repeat(2000)));
    driver.drains = false;
    driver.ask(conn, "GET k");
    driver.pass(Span::from_secs(9));
    driver.drain(conn, 2000);
    driver.pass(Span::from_secs(9));
    driver.ask(conn, "GET k");
    driver.pass(Span::from_secs(9));
    driver.ask(conn, "PING");
    assert!(!driver.closed.contains(&conn));
    driver.pass(Span::from_secs(2));
    assert!(driver.aborted.contains(&conn), "although it has said nothing more");
}

#[test]
fn soft_limit_changed_at_run_time_counts_from_when_it_was_passed() {
    let mut driver = Driver::new("client-output-buffer-limit normal 0 1kb 100");
    let (slow, other) = (driver.open(), driver.open());
    driver.ask(other, &format!("SET k {}", "v".repeat(2000)));
    driver.drains = false;
    driver.ask(slow, "GET k");
    driver.pass(Span::from_secs(20));
    driver.feed(other, b"CONFIG SET client-output-buffer-limit \"normal 0 1kb 30\"\r\n");
    driver.pass(Span::from_secs(9));
    assert!(!driver.closed.contains(&slow));
    driver.pass(Span::from_secs(2));
    assert!(driver.closed.contains(&slow) && !driver.closed.contains(&other));
}

#[test]
fn client_without_password_may_leave_little_unread() {
    let mut driver = Driver::new("requirepass secret");
    let noauth = "-NOAUTH Authentication required.\r\n";
    let hasty = driver.open();
    driver.feed(hasty, &b"PING\r\n".repeat(100));
    assert_eq!(driver.take(hasty), noauth.repeat(100), "who reads gets every answer");
    let known = driver.open();
    driver.ask(known, "AUTH secret");
    driver.ask(known, &format!("SET k {}", "v".repeat(50_000)));
    driver.feed(hasty, b"AUTH secret\r\nGET k\r\n");
    assert_eq!(driver.take(hasty).len(), "+OK\r\n$50000\r\n\r\n".len() + 50_000);

    let stranger = driver.open();
    driver.feed(stranger, &b"PING\r\n".repeat(10_000));
    assert_eq!(driver.take(stranger), "", "but not without bound");
    assert!(driver.aborted.contains(&stranger));
    driver.drains = false;
    let (silent, known) = (driver.open(), driver.open());
    driver.ask(known, "AUTH secret");
    let mut answers = 0;
    while !driver.closed.contains(&silent) {
        driver.feed(silent, b"PING\r\n");
        driver.feed(known, b"PING\r\n");
        answers += 1;
    }
    assert_eq!(answers, 1024 / noauth.len() + 2);
    assert!(!driver.closed.contains(&known));
}

#[test]
fn lists_of_keys_are_bounded_like_other_answers() {
    let mut driver = Driver::new("client-output-buffer-limit normal 20kb 0 0");
    let writer = driver.open();
    for number in 0..100 {
        driver.ask(writer, &format!("SET {}{number} v", "k".repeat(1000)));
    }
    for command in ["KEYS *", "SCAN 0 COUNT 1000"] {
        let conn = driver.open();
        assert_eq!(driver.ask(conn, command), "", "{command}");
        assert!(driver.aborted.contains(&conn), "{command}");
        let peak = driver.log.last().and_then(|line| line.split(' ').rev().nth(3));
        let peak: usize = peak.and_then(|word| word.parse().ok()).expect("bytes not read");
        assert!(peak < 23_000, "{command} gathered {peak} bytes");
    }
    let conn = driver.open();
    let answer = driver.ask(conn, "SCAN 0 COUNT 10");
    assert!(answer.len() > 10_000 && !driver.closed.contains(&conn));
}

#[test]
fn request_without_end_and_queue_without_exec_are_cut_off() {
    let mut driver = Driver::new("client-query-buffer-limit 2kb");
    let conn = driver.open();
    driver.feed(conn, b"*2\r\n$4\r\nECHO\r\n$100000\r\n");
    for _ in 0..3 {
        driver.feed(conn, &[b'x'; 500]);
    }
    assert!(!driver.closed.contains(&conn));
    driver.feed(conn, &[b'x'; 600]);
    assert!(driver.closed.contains(&conn));
    assert!(driver.log.iter().any(|line| line.contains("max query buffer length")));
    let conn = driver.open();
    driver.ask(conn, "MULTI");
    for _ in 0..40 {
        if !driver.closed.contains(&conn) {
            driver.feed(conn, &request(&["SET", "k", &"v".repeat(100)]));
        }
    }
    assert!(driver.closed.contains(&conn), "a transaction may not grow for ever");
}

#[test]
fn command_may_have_as_many_arguments_as_fit_into_the_query_buffer() {
    let mut driver = Driver::new("client-query-buffer-limit 100mb");
    let conn = driver.open();
    let count = (1 << 20) + 1;
    driver.feed(conn, format!("*{count}\r\n$3\r\nDEL\r\n").as_bytes());
    driver.feed(conn, &b"$1\r\nk\r\n".repeat(count - 1));
    assert_eq!(driver.take(conn), ":0\r\n");
    driver.feed(conn, b"*2147483648\r\n");
    assert_eq!(driver.take(conn), "-ERR Protocol error: invalid multibulk length\r\n");
    // What is remembered of each argument counts as well as its bytes.
    let mut driver = Driver::new("client-query-buffer-limit 1mb");
    let conn = driver.open();
    driver.feed(conn, b"*2147483647\r\n$3\r\nDEL\r\n");
    let mut bytes = 0;
    while !driver.closed.contains(&conn) {
        driver.feed(conn, &b"$0\r\n\r\n".repeat(1000));
        bytes += 6000;
    }
    assert!((200_000..400_000).contains(&bytes), "{bytes}");
}

#[test]
fn argument_beyond_the_bulk_limit_is_a_protocol_error() {
    let mut driver = Driver::new("proto-max-bulk-len 1mb");
    let conn = driver.open();
    driver.feed(conn, b"*2\r\n$4\r\nECHO\r\n$1048577\r\n");
    assert_eq!(driver.take(conn), "-ERR Protocol error: invalid bulk length\r\n");
    assert!(driver.closed.contains(&conn));
}

#[test]
fn idle_client_is_closed_and_busy_or_waiting_ones_are_not() {
    let mut driver = Driver::new("timeout 10");
    let (idle, busy, waiting) = (driver.open(), driver.open(), driver.open());
    driver.ask(waiting, "WAIT 1 30000");
    for _ in 0..3 {
        driver.pass(Span::from_secs(6));
        driver.ask(busy, "PING");
    }
    assert!(driver.closed.contains(&idle));
    assert!(!driver.closed.contains(&busy) && !driver.closed.contains(&waiting));
    driver.pass(Span::from_secs(13));
    assert!(driver.closed.contains(&busy));
    assert_eq!(driver.take(waiting), ":0\r\n");
    driver.pass(Span::from_secs(11));
    assert!(driver.closed.contains(&waiting), "idle since its wait ended");
}

#[test]
fn timeout_set_later_counts_from_the_last_command() {
    let mut driver = Driver::new("");
    let (a, b) = (driver.open(), driver.open());
    driver.pass(Span::from_secs(100));
    assert_eq!(driver.ask(b, "CONFIG SET timeout 5 maxclients 7"), "+OK\r\n");
    assert_eq!(driver.settings, [ShellSetting::MaxClients(7)]);
    driver.pass(Span::from_secs(1));
    assert!(driver.closed.contains(&a) && !driver.closed.contains(&b));
    driver.pass(Span::from_secs(5));
    assert!(driver.closed.contains(&b));
}
