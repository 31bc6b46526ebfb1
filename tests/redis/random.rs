//! Random conversations over several connections: every reply is compared with redis-server's.
//!
//! Left out is what differs for a reason: the order of keys, what a number of a client or of a version
//! says, and HELLO with a wrong password and a further mistake, where Redis 7.2 and 7.0 themselves differ.

use quorate::base::rng::Rng;
use quorate::base::time::Wall;

use crate::reply::{Reply, quoted};
use crate::servers::{InProcess, RedisServer, Server};

const CONVERSATIONS: u64 = 12;
const REQUESTS: usize = 1500;
const CONNS: u64 = 3;
/// A connection beside the others, for the time of day.
const CLOCK: u64 = CONNS;
/// How many seconds a deadline may differ on a busy machine. No deadline in here comes while the test runs.
const SECONDS: i64 = 5;

const KEYS: &[&str] = &["a", "b", "c", "k:1", "k:2", "", "h[llo", "\u{ff}\0z"];
const VALUES: &[&str] = &[
    "",
    "x",
    "hello",
    "12",
    "-5",
    "007",
    "3.0",
    " 1",
    "1 ",
    "\0",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "-10",
    "3000000000",
    "4611686018427387904",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "abc",
    "1.5",
    " 1",
    "+1",
    "01",
    "-0",
    "",
    "1e3",
    "1\0",
];
/// Spans of time that end long after the test, in seconds and in milliseconds.
const SPANS: &[&str] = &["1000000", "2000000", "3000000"];
/// Seconds and milliseconds since 1970, past and far ahead.
const SECONDS_AT: &[&str] = &["1", "99999999", "99999999999"];
const MS_AT: &[&str] = &["1", "99999999", "99999999999000"];
const PATTERNS: &[&str] = &[
    "*", "?", "a", "[abc]", "[^a]", "k:*", "h\\[llo", "*l*", "[a-c]", "[c-a]", "[", "[]", "\\",
    "**", "", "k?[12]", "[^", "[\\]]", "*\\*", "?*?", "[a-", "a\\", "[^]a]",
];

struct Talk {
    rng: Rng,
    /// How many spans of time it has drawn for EXPIRE.
    spans: u64,
}

impl Talk {
    fn one(&mut self, among: &[&'static str]) -> &'static str {
        among[self.rng.below(among.len() as u64) as usize]
    }

    fn key(&mut self) -> String {
        self.one(KEYS).to_owned()
    }

    fn value(&mut self) -> String {
        self.one(VALUES).to_owned()
    }

    /// One of `good`, or now and then something that is none.
    fn number(&mut self, good: &[&'static str]) -> String {
        let list = if self.rng.below(4) == 0 { NUMBERS } else { good };
        self.one(list).to_owned()
    }

    /// A word in capitals, in small letters or in both.
    fn word(&mut self, among: &[&'static str]) -> String {
        let word = self.one(among);
        match self.rng.below(3) {
            0 => word.to_owned(),
            1 => word.to_ascii_lowercase(),
            _ => word
                .char_indices()
                .map(|(at, c)| if at == 1 { c.to_ascii_lowercase() } else { c })
                .collect(),
        }
    }

    fn some(&mut self, most: u64, mut each: impl FnMut(&mut Talk) -> String) -> Vec<String> {
        let count = self.rng.below(most + 1);
        (0..count).map(|_| each(self)).collect()
    }

    fn call(&mut self, name: &str, rest: Vec<String>) -> Vec<String> {
        let mut words = vec![name.to_owned()];
        words.extend(rest);
        words
    }

    fn request(&mut self, in_multi: bool) -> Vec<String> {
        match self.rng.below(54) {
            40.. => self.hash(in_multi),
            0..=4 => {
                let key = self.key();
                self.call("GET", vec![key])
            }
            5..=10 => self.set(),
            11 => {
                let keys = self.some(3, Talk::key);
                self.call("MGET", keys)
            }
            12 => {
                let words = self.some(5, Talk::value);
                self.call("MSET", words)
            }
            13 => {
                let words = vec![self.key(), self.value()];
                self.call("APPEND", words)
            }
            14 => {
                let name = self.one(&["STRLEN", "TYPE", "PERSIST"]);
                let key = self.key();
                self.call(name, vec![key])
            }
            15..=16 => {
                let name = self.one(&["INCR", "DECR"]);
                let key = self.key();
                self.call(name, vec![key])
            }
            17..=19 => {
                let name = self.one(&["INCRBY", "DECRBY"]);
                let words = vec![self.key(), self.number(&["7", "-7", "100"])];
                self.call(name, words)
            }
            20..=21 => {
                let name = self.one(&["DEL", "UNLINK", "EXISTS"]);
                let keys = self.some(3, Talk::key);
                self.call(name, keys)
            }
            22..=24 => self.expire(),
            25..=26 => {
                let name = self.one(&["TTL", "PTTL"]);
                let key = self.key();
                self.call(name, vec![key])
            }
            27 if !in_multi => {
                let pattern = self.one(PATTERNS).to_owned();
                self.call("KEYS", vec![pattern])
            }
            28 if !in_multi => self.scan(),
            29 => {
                let name = self.one(&["FLUSHDB", "FLUSHALL"]);
                let words = self.some(2, |talk| talk.word(&["SYNC", "ASYNC", "NOW"]));
                self.call(name, words)
            }
            30..=31 => self.call("MULTI", Vec::new()),
            32..=33 => self.call("EXEC", Vec::new()),
            34 => {
                let name = self.one(&["DISCARD", "UNWATCH", "WATCH", "WATCH"]);
                let keys = self.some(2, Talk::key);
                self.call(name, if name == "WATCH" { keys } else { Vec::new() })
            }
            35 => {
                let index = self.number(&["0", "1", "15", "16"]);
                self.call("SELECT", vec![index])
            }
            36 => {
                let name = self.one(&["PING", "ECHO"]);
                let words = self.some(2, Talk::value);
                self.call(name, words)
            }
            37 if !in_multi => self.hello(),
            38 => self.about_the_connection(),
            _ => self.others(in_multi),
        }
    }

    fn set(&mut self) -> Vec<String> {
        let mut words = vec![self.key(), self.value()];
        for _ in 0..self.rng.below(4) {
            let word =
                self.word(&["NX", "XX", "GET", "KEEPTTL", "EX", "PX", "EXAT", "PXAT", "PERSIST"]);
            let good = match word.to_ascii_uppercase().as_str() {
                "EX" | "PX" => Some(SPANS),
                "EXAT" => Some(SECONDS_AT),
                "PXAT" => Some(MS_AT),
                _ => None,
            };
            words.push(word);
            if let Some(good) = good.filter(|_| self.rng.below(10) > 0) {
                let number = self.deadline(good);
                words.push(number);
            }
        }
        self.call("SET", words)
    }

    /// Hashes, sometimes where a string is.
    fn hash(&mut self, in_multi: bool) -> Vec<String> {
        let mut words = vec![self.hash_key()];
        let name = match self.rng.below(if in_multi { 19 } else { 26 }) {
            0..=5 => {
                words.extend(self.some(5, |talk| talk.field_or_value()));
                self.one(&["HSET", "HSET", "HMSET"])
            }
            6 => {
                words.extend([self.field(), self.value()]);
                "HSETNX"
            }
            7..=9 => {
                words.push(self.field());
                self.one(&["HGET", "HEXISTS", "HSTRLEN"])
            }
            10 => {
                words.extend(self.some(3, Talk::field));
                "HMGET"
            }
            11..=12 => {
                words.extend(self.some(3, Talk::field));
                "HDEL"
            }
            13..=15 => {
                words.extend([self.field(), self.number(&["7", "-7", "100"])]);
                "HINCRBY"
            }
            16 => {
                let by = self.number(&["0.5", "1.25", "-3", "1e2", "5.0e3", "0.1", "inf", "nan"]);
                words.extend([self.field(), by]);
                "HINCRBYFLOAT"
            }
            17..=18 => {
                let name = self.one(&["HLEN", "TYPE", "HLEN", "EXISTS"]);
                return self.call(name, words);
            }
            19..=21 => self.one(&["HGETALL", "HKEYS", "HVALS"]),
            22..=23 => {
                let cursor = self.one(&["0", "0", "", "x", "-0"]).to_owned();
                words.extend([cursor, "COUNT".to_owned(), "1000".to_owned()]);
                for _ in 0..self.rng.below(2) {
                    let word = self.word(&["MATCH", "TYPE", "COUNT", "NOSUCH"]);
                    let value = self.one(&["f*", "*", "[a-m]*", "0", "x", "10"]);
                    words.extend([word, value.to_owned()]);
                }
                "HSCAN"
            }
            _ => {
                // So many that all come.
                let count = self.one(&["1000", "0", "x", "-9223372036854775808", ""]);
                words.push(count.to_owned());
                words.extend(self.some(1, |talk| talk.word(&["WITHVALUES", "WITH"])));
                "HRANDFIELD"
            }
        };
        self.call(name, words)
    }

    fn hash_key(&mut self) -> String {
        if self.rng.below(4) == 0 { self.key() } else { self.one(&["h", "h:2", "h:3"]).to_owned() }
    }

    fn field(&mut self) -> String {
        self.one(&["f", "g", "long field name", "", "7", "\u{ff}\0"]).to_owned()
    }

    fn field_or_value(&mut self) -> String {
        if self.rng.below(2) == 0 { self.field() } else { self.value() }
    }

    fn expire(&mut self) -> Vec<String> {
        let (name, good) = match self.rng.below(4) {
            0 => ("EXPIRE", SPANS),
            1 => ("PEXPIRE", SPANS),
            2 => ("EXPIREAT", SECONDS_AT),
            _ => ("PEXPIREAT", MS_AT),
        };
        let mut words = vec![self.key(), self.deadline(good)];
        words.extend(self.some(2, |talk| talk.word(&["NX", "XX", "GT", "LT", "EQ"])));
        self.call(name, words)
    }

    /// What stands after a word that sets a deadline.
    fn deadline(&mut self, good: &[&'static str]) -> String {
        let number = self.number(good);
        if good != SPANS {
            return number;
        }
        match number.as_str() {
            // One second, one millisecond: that would come while the test runs.
            "1" => "0".to_owned(),
            drawn if SPANS.contains(&drawn) => self.span().to_string(),
            _ => number,
        }
    }

    /// Seconds or milliseconds, never twice the same and never near another: which of two deadlines with
    /// one span is the later one would be up to the milliseconds between the requests.
    fn span(&mut self) -> u64 {
        self.spans += 1;
        if self.rng.below(2) == 0 {
            3_500_000 + 5000 * self.spans
        } else {
            800_000 - 5000 * self.spans
        }
    }

    /// From the beginning, to the end: where a step stops is each server's own business.
    fn scan(&mut self) -> Vec<String> {
        let cursor =
            self.one(&["0", "0", "-0", "+0", "", "0\0", "00", "x", " 0", "0 ", "-", "0x0"]);
        let mut words = vec![cursor.to_owned(), "COUNT".to_owned(), "1000".to_owned()];
        for _ in 0..self.rng.below(3) {
            let word = self.word(&["MATCH", "TYPE", "COUNT", "LIMIT"]);
            let value = match word.to_ascii_uppercase().as_str() {
                "MATCH" => self.one(PATTERNS),
                "TYPE" => self.one(&["string", "STRING", "hash", "none", ""]),
                _ => self.one(&["1000", "0", "-1", "x"]),
            };
            words.push(word);
            if self.rng.below(10) > 0 {
                words.push(value.to_owned());
            }
        }
        self.call("SCAN", words)
    }

    fn hello(&mut self) -> Vec<String> {
        let mut words = self.some(1, |talk| talk.one(&["2", "3", "3", "4", "x", ""]).to_owned());
        if !words.is_empty() {
            let options: &[&[&str]] = &[
                &["AUTH", "default", "x"],
                &["AUTH", "other", "x"],
                &["SETNAME", "me"],
                &["setname", ""],
                &["SETNAME", "a b"],
                &["SETNAME", "line\n"],
                &["AUTH", "default"],
                &["SETNAME"],
                &["NAME", "me"],
                &[],
            ];
            let option = options[self.rng.below(options.len() as u64) as usize];
            words.extend(option.iter().map(|&word| word.to_owned()));
        }
        self.call("HELLO", words)
    }

    fn about_the_connection(&mut self) -> Vec<String> {
        let calls: &[&[&str]] = &[
            &["CLIENT", "GETNAME"],
            &["CLIENT", "SETNAME", "x"],
            &["CLIENT", "SETNAME", "a b"],
            &["CLIENT", "SETNAME", ""],
            &["CLIENT", "SETNAME"],
            &["CLIENT", "GETNAME", "x"],
            &["CLIENT", "NOSUCH"],
            &["CLIENT"],
            &["AUTH"],
            &["AUTH", "x"],
            &["AUTH", "default", "x"],
            &["AUTH", "other", "x"],
            &["AUTH", "a", "b", "c"],
        ];
        let call = calls[self.rng.below(calls.len() as u64) as usize];
        call.iter().map(|&word| word.to_owned()).collect()
    }

    fn others(&mut self, in_multi: bool) -> Vec<String> {
        match self.rng.below(4) {
            0 => {
                let replicas = self.one(&["0", "-1", "x", "1"]).to_owned();
                let ms = self.one(&["1", "2", "-1", "x", ""]).to_owned();
                self.call("WAIT", vec![replicas, ms])
            }
            1 if !in_multi => {
                let call = self.request(in_multi);
                self.call("COMMAND", [vec!["GETKEYS".to_owned()], call].concat())
            }
            2 => {
                let name = self.one(&["get", "SET", "nosuch", "client|id", "scan", "ping"]);
                self.call("COMMAND", vec!["INFO".to_owned(), name.to_owned()])
            }
            _ => {
                let name = self.one(&["FOO", "GETX", "", "\r\n", "a|b", "client|id", "config|get"]);
                let words = self.some(3, Talk::value);
                self.call(name, words)
            }
        }
    }
}

/// A request as the wire has it; characters stand for bytes.
fn encode(words: &[String]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let bytes: Vec<u8> = word.chars().map(|c| c as u8).collect();
        out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
        out.extend_from_slice(&bytes);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn ask(server: &mut impl Server, conn: u64, request: &[u8]) -> Reply {
    let reply = server.reply(conn, request);
    let mut rest = &reply[..];
    let reply = Reply::take(&mut rest);
    assert!(rest.is_empty(), "one reply to one request");
    reply
}

/// Takes out what may differ.
fn leveled(mut reply: Reply, name: &str) -> Reply {
    if let Some(list) = reply.list_mut() {
        match name {
            "HELLO" => {
                for at in 0..list.len() {
                    if at > 0
                        && [&b"version"[..], b"id"]
                            .iter()
                            .any(|n| list[at - 1] == Reply::Bulk(n.to_vec()))
                    {
                        list[at] = Reply::Nil;
                    }
                }
            }
            "KEYS" | "HKEYS" | "HVALS" | "HRANDFIELD" => list.sort(),
            "HGETALL" => *list = in_pairs(list),
            "HSCAN" => {
                if let Some(pairs) = list.get_mut(1).and_then(Reply::list_mut) {
                    *pairs = in_pairs(pairs);
                }
            }
            "SCAN" => {
                if let Some(keys) = list.get_mut(1).and_then(Reply::list_mut) {
                    keys.sort();
                }
            }
            _ => {}
        }
    }
    reply
}

/// Names with their values, in the order of names.
fn in_pairs(list: &[Reply]) -> Vec<Reply> {
    let mut pairs: Vec<&[Reply]> = list.chunks(2).collect();
    pairs.sort();
    pairs.concat()
}

/// The same, but for the time left until a deadline.
fn about_equal(ours: &Reply, theirs: &Reply) -> bool {
    match (ours, theirs) {
        (Reply::List(ours_mark, ours), Reply::List(theirs_mark, theirs)) => {
            ours_mark == theirs_mark
                && ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(ours, theirs)| about_equal(ours, theirs))
        }
        (ours, theirs) => match (ours.integer(), theirs.integer()) {
            (Some(ours), Some(theirs)) if ours > 1000 * SECONDS && theirs > 1000 * SECONDS => {
                (ours - theirs).abs() <= 1000 * SECONDS
            }
            _ => ours == theirs,
        },
    }
}

/// What redis-server's clock shows.
fn wall(server: &mut RedisServer) -> Wall {
    let reply = ask(server, CLOCK, b"TIME\r\n").list_mut().cloned().unwrap_or_default();
    let numbers: Vec<u64> = reply
        .iter()
        .filter_map(|part| match part {
            Reply::Bulk(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
            Reply::Line(_) | Reply::Nil | Reply::NilArray | Reply::List(..) => None,
        })
        .collect();
    let &[seconds, micros] = numbers.as_slice() else { panic!("TIME answers two numbers") };
    Wall(seconds * 1_000_000 + micros)
}

#[test]
fn random_conversations_go_as_with_redis_server() {
    let Some(mut redis) = RedisServer::start() else { return };
    for seed in 0..CONVERSATIONS {
        let mut node = InProcess::new();
        let mut talk = Talk { rng: Rng::fork(seed, "conversation"), spans: 0 };
        let mut in_multi = [false; CONNS as usize];
        for conn in 0..CONNS {
            for words in
                [&["DISCARD"][..], &["UNWATCH"], &["HELLO", "2", "SETNAME", ""], &["SELECT", "0"]]
            {
                let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
                ask(&mut redis, conn, &encode(&words));
            }
        }
        ask(&mut redis, CLOCK, b"FLUSHALL\r\n");
        for step in 0..REQUESTS {
            let conn = talk.rng.below(CONNS);
            let open = &mut in_multi[conn as usize];
            let words = talk.request(*open);
            let request = encode(&words);
            node.now.wall = wall(&mut redis);
            let theirs = ask(&mut redis, conn, &request);
            let ours = ask(&mut node, conn, &request);
            let ok = theirs == Reply::Line("+OK".to_owned());
            match words[0].as_str() {
                "MULTI" if ok => *open = true,
                "EXEC" | "DISCARD" => *open = false,
                _ => {}
            }
            let (ours, theirs) = (leveled(ours, &words[0]), leveled(theirs, &words[0]));
            let shown: Vec<String> = words
                .iter()
                .map(|word| quoted(&word.chars().map(|c| c as u8).collect::<Vec<u8>>()))
                .collect();
            assert!(
                about_equal(&ours, &theirs),
                "conversation {seed}, request {step} on connection {conn}: {}\n  redis-server: {theirs}\n  \
                 quorate:      {ours}",
                shown.join(" ")
            );
        }
    }
}
