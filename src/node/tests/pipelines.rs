//! Requests in pieces and in pipelines; replies in order.

use crate::base::time::Span;

use super::{Driver, bulk, request, words};

#[test]
fn commands_work_whatever_pieces_they_come_in() {
    let mut stream = Vec::new();
    for command in ["SET k v1", "GET k", "INCR n", "INCR n", "APPEND k xyz", "GET k", "GET none"] {
        stream.extend_from_slice(&request(&words(command)));
    }
    stream.extend_from_slice(b"PING\r\n");
    let expected =
        format!("+OK\r\n{}:1\r\n:2\r\n:5\r\n{}$-1\r\n+PONG\r\n", bulk("v1"), bulk("v1xyz"));
    for size in [1, 2, 3, 7, 16, 64, stream.len()] {
        let mut driver = Driver::new("");
        let conn = driver.open();
        for piece in stream.chunks(size) {
            driver.feed(conn, piece);
        }
        assert_eq!(driver.take(conn), expected, "in pieces of {size}");
    }
}

#[test]
fn one_pipeline_is_answered_by_one_send() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    let stream: Vec<u8> = (0..16).flat_map(|_| request(&["PING"])).collect();
    let mut buf = bytes::BytesMut::from(&stream[..]);
    let input = crate::base::io::Input::Bytes { conn, buf: &mut buf };
    driver.node.handle(driver.now, input, &mut driver.out);
    assert!(driver.out.is_empty(), "nothing leaves before the batch ends");
    driver.node.flush(driver.now, &mut driver.out);
    let first = driver.out.pop();
    let sent = crate::base::io::Effect::Send { conn, bytes: "+PONG\r\n".repeat(16).into() };
    assert_eq!(first, Some(sent));
    assert!(driver.out.is_empty());
}

#[test]
fn two_sessions_see_each_others_writes_and_keep_their_own_database() {
    let mut driver = Driver::new("");
    let (a, b) = (driver.open(), driver.open());
    assert_eq!(driver.ask(a, "SET k 1"), "+OK\r\n");
    assert_eq!(driver.ask(b, "GET k"), bulk("1"));
    assert_eq!(driver.ask(b, "SELECT 1"), "+OK\r\n");
    assert_eq!(driver.ask(b, "GET k"), "$-1\r\n");
    assert_eq!(driver.ask(a, "GET k"), bulk("1"));
    assert_eq!(driver.ask(b, "SELECT 16"), "-ERR DB index is out of range\r\n");
    assert_eq!(driver.ask(b, "SELECT x"), "-ERR value is not an integer or out of range\r\n");
}

#[test]
fn what_follows_a_wait_is_executed_and_answered_after_it() {
    let mut driver = Driver::new("");
    let (a, b) = (driver.open(), driver.open());
    let mut stream = request(&["SET", "k", "1"]);
    stream.extend_from_slice(&request(&["WAIT", "1", "500"]));
    stream.extend_from_slice(&request(&["INCR", "k"]));
    driver.feed(a, &stream);
    assert_eq!(driver.take(a), "+OK\r\n");
    assert!(driver.is_paused(a));
    driver.feed(a, &request(&["GET", "k"]));
    assert_eq!(driver.ask(b, "GET k"), bulk("1"), "INCR has not been executed");
    assert!(driver.ask(b, "INFO clients").contains("blocked_clients:1\r\n"));
    driver.pass(Span::from_ms(499));
    assert_eq!(driver.take(a), "");
    driver.pass(Span::from_ms(1));
    assert_eq!(driver.take(a), format!(":0\r\n:2\r\n{}", bulk("2")));
    assert!(!driver.is_paused(a));
}

#[test]
fn wait_that_is_satisfied_or_inside_exec_does_not_block() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    assert_eq!(driver.ask(conn, "WAIT 0 0"), ":0\r\n");
    assert_eq!(driver.ask(conn, "MULTI"), "+OK\r\n");
    assert_eq!(driver.ask(conn, "WAIT 5 0"), "+QUEUED\r\n");
    assert_eq!(driver.ask(conn, "EXEC"), "*1\r\n:0\r\n");
    assert_eq!(driver.ask(conn, "WAIT 1 -1"), "-ERR timeout is negative\r\n");
    let text = "-ERR timeout is not an integer or out of range\r\n";
    assert_eq!(driver.ask(conn, "WAIT 1 x"), text);
}

#[test]
fn client_that_goes_away_while_it_waits_leaves_nothing_behind() {
    let mut driver = Driver::new("");
    let (a, b) = (driver.open(), driver.open());
    assert_eq!(driver.ask(a, "WAIT 1 0"), "");
    driver.hang_up(a);
    assert!(driver.ask(b, "INFO clients").contains("blocked_clients:0\r\n"));
    assert!(driver.ask(b, "INFO clients").contains("connected_clients:1\r\n"));
}

#[test]
fn keys_expire_by_themselves_and_on_time() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    assert_eq!(driver.ask(conn, "SET k v PX 250"), "+OK\r\n");
    assert_eq!(driver.ask(conn, "SET stays v"), "+OK\r\n");
    let two = "db0:keys=2,expires=1,avg_ttl=0\r\n";
    assert!(driver.ask(conn, "INFO keyspace").contains(two));
    driver.sleep(Span::from_ms(249));
    assert_eq!(driver.ask(conn, "GET k"), bulk("v"));
    driver.sleep(Span::from_ms(2));
    assert_eq!(driver.ask(conn, "GET k"), "$-1\r\n", "hidden before anybody looked for it");
    driver.pass(Span::from_secs(1));
    assert_eq!(driver.ask(conn, "DBSIZE"), ":1\r\n");
    let one = "db0:keys=1,expires=0,avg_ttl=0\r\n";
    assert!(driver.ask(conn, "INFO keyspace").contains(one));
    assert!(driver.ask(conn, "INFO stats").contains("expired_keys:1\r\n"));
    let names: Vec<_> =
        driver.node.visible(driver.now).into_iter().map(|visible| visible.key).collect();
    assert_eq!(names, ["stays"]);
}
