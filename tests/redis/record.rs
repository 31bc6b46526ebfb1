//! A conversation recorded from redis-server (`replies.txt`: request and reply, a line each) is repeated
//! with a node, and with redis-server itself where there is one.

use crate::reply::Reply;
use crate::servers::{InProcess, RedisServer, Server};

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
    let record = include_str!("replies.txt");
    let (mut count, mut different) = (0, Vec::new());
    for line in record.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (request, recorded) = line.split_once(" => ").expect("request => reply");
        let reply = server.reply(0, format!("{request}\r\n").as_bytes());
        let mut rest = &reply[..];
        assert!(!rest.is_empty(), "no reply to {request}");
        let found = Reply::take(&mut rest).to_string();
        assert!(rest.is_empty(), "one reply to {request}, not {reply:?}");
        count += 1;
        if !about_equal(request, &found, recorded) {
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
