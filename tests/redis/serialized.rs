//! DUMP and RESTORE beside redis-server: the same answers, and each takes what the other gives.

use quorate::base::rng::Rng;
use quorate::base::time::Wall;

use crate::reply::Reply;
use crate::servers::{InProcess, RedisServer, Server};

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
    request
}

fn ask(server: &mut impl Server, words: &[&[u8]]) -> Reply {
    let bytes = server.reply(0, &request(words));
    Reply::take(&mut &bytes[..])
}

fn payload(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(bytes) => bytes,
        other => panic!("{other} is no payload"),
    }
}

/// Both servers, with their clocks at about the same time.
fn both() -> Option<(InProcess, RedisServer)> {
    let mut redis = RedisServer::start()?;
    let mut ours = InProcess::new();
    let Reply::List(_, time) = ask(&mut redis, &[b"TIME"]) else { panic!("TIME") };
    let Reply::Bulk(seconds) = &time[0] else { panic!("TIME") };
    let seconds: u64 = String::from_utf8_lossy(seconds).parse().expect("a number");
    ours.now.wall = Wall(seconds * 1_000_000);
    Some((ours, redis))
}

#[test]
fn restore_answers_as_redis_does() {
    let Some((mut ours, mut redis)) = both() else { return };
    ask(&mut redis, &[b"SET", b"k", b"some value"]);
    let good = payload(ask(&mut redis, &[b"DUMP", b"k"]));
    ask(&mut redis, &[b"DEL", b"k"]);
    ask(&mut redis, &[b"RPUSH", b"list", b"a"]);
    let list = payload(ask(&mut redis, &[b"DUMP", b"list"]));
    ask(&mut redis, &[b"DEL", b"list"]);
    let mut bad = good.clone();
    bad[3] ^= 1;
    let mut newer = good.clone();
    let at = newer.len() - 10;
    newer[at] = 200;
    let payloads: [&[u8]; 6] = [&good, &bad, &newer, b"", b"short", &good[2..]];
    let options: [&[&[u8]]; 16] = [
        &[],
        &[b"REPLACE"],
        &[b"replace", b"absttl"],
        &[b"ABSTTL"],
        &[b"IDLETIME", b"5"],
        &[b"IDLETIME", b"-5"],
        &[b"IDLETIME"],
        &[b"IDLETIME", b"x"],
        &[b"FREQ", b"255"],
        &[b"FREQ", b"256"],
        &[b"FREQ", b"-1"],
        &[b"FREQ", b"1", b"IDLETIME", b"1"],
        &[b"IDLETIME", b"1", b"FREQ", b"1", b"REPLACE"],
        &[b"REPLACE", b"REPLACE", b"IDLETIME", b"1", b"IDLETIME", b"2"],
        &[b"NX"],
        &[b"REPLACE", b"GET"],
    ];
    let ttls: [&[u8]; 7] = [b"0", b"100000", b"-1", b"x", b"1", b"99999999999000", b""];
    let mut rng = Rng::fork(7, "serialized");
    let mut answers = std::collections::BTreeSet::new();
    for round in 0..4000 {
        let one = |rng: &mut Rng, count: usize| rng.below(count as u64) as usize;
        let key: &[u8] = if rng.below(2) == 0 { b"a" } else { b"b" };
        match rng.below(8) {
            0 => {
                for command in [b"PERSIST", b"TYPE\0\0\0"] {
                    let name = command.split(|byte| *byte == 0).next().expect("a name");
                    let (mine, theirs) =
                        (ask(&mut ours, &[name, key]), ask(&mut redis, &[name, key]));
                    assert_eq!(mine, theirs, "{round}");
                }
                assert_eq!(ask(&mut ours, &[b"DEL", key]), ask(&mut redis, &[b"DEL", key]));
            }
            1 => assert_eq!(ask(&mut ours, &[b"DUMP", key]), ask(&mut redis, &[b"DUMP", key])),
            _ => {
                let (ttl, payload) = (ttls[one(&mut rng, 7)], payloads[one(&mut rng, 6)]);
                if ttl == b"1" {
                    // It would be gone sooner here or there.
                    continue;
                }
                let mut words = vec![&b"RESTORE"[..], key, ttl, payload];
                words.extend(options[one(&mut rng, 16)]);
                let (mine, theirs) = (ask(&mut ours, &words), ask(&mut redis, &words));
                assert_eq!(mine, theirs, "{round}: {words:?}");
                answers.insert(mine.to_string());
            }
        }
        assert_eq!(ask(&mut ours, &[b"GET", key]), ask(&mut redis, &[b"GET", key]), "{round}");
    }
    assert_eq!(answers.len(), 8, "all kinds of answers: {answers:?}");
    // What differs, for a reason: lists are not built yet.
    let refused = ask(&mut ours, &[b"RESTORE", b"l", b"0", &list]).to_string();
    assert!(
        refused.contains("the DUMP payload is a list, which is not supported yet"),
        "{refused}"
    );
}

#[test]
fn a_time_to_live_is_kept() {
    let Some((mut ours, mut redis)) = both() else { return };
    ask(&mut ours, &[b"SET", b"k", b"12"]);
    ask(&mut ours, &[b"INCRBY", b"k", b"30"]);
    let payload = payload(ask(&mut ours, &[b"DUMP", b"k"]));
    let far: &[u8] = b"99999999999000";
    for server in [&mut ours as &mut dyn Server, &mut redis] {
        let mut ask = |words: &[&[u8]]| {
            let bytes = server.reply(0, &request(words));
            Reply::take(&mut &bytes[..]).to_string()
        };
        assert_eq!(ask(&[b"RESTORE", b"t", b"100000", &payload]), "+OK");
        let left = ask(&[b"PTTL", b"t"]);
        let ms: i64 = left.trim_start_matches(':').parse().expect("a number");
        assert!((90_000..=100_000).contains(&ms), "{ms}");
        assert_eq!(ask(&[b"GET", b"t"]), "\"42\"");
        assert_eq!(ask(&[b"RESTORE", b"t", far, &payload, b"ABSTTL", b"REPLACE"]), "+OK");
        let left = ask(&[b"PTTL", b"t"]);
        assert!(left.len() > 13, "{left}");
        // A moment that has passed takes the key away.
        assert_eq!(ask(&[b"RESTORE", b"t", b"1", &payload, b"ABSTTL", b"REPLACE"]), "+OK");
        assert_eq!(ask(&[b"EXISTS", b"t"]), ":0");
    }
}
