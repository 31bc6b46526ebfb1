//! Handlers on a store of their own. Most replies are compared with redis-server's in
//! `tests/redis/`; here is what that cannot show.

use bytes::BytesMut;

use crate::base::clock::HybridClock;
use crate::base::fact::Facts;
use crate::base::ids::{DbIndex, Origin};
use crate::base::mutant::Mutants;
use crate::base::rng::Rng;
use crate::base::time::UnixMs;
use crate::store::txn::Txn;
use crate::store::{Store, StoreConfig};
use crate::wire::reply::{Protocol, Reply};
use crate::wire::resp::OwnedArgs;

use super::{Ctx, EncodingLimits, Handler, resolve};

const NOW: UnixMs = UnixMs(1_800_000_000_000);

struct Bench {
    store: Store,
    clock: HybridClock,
    facts: Facts,
    now: UnixMs,
    bulk_bytes_max: usize,
    protocol: Protocol,
    rng: Rng,
}

impl Bench {
    fn new() -> Bench {
        let config = StoreConfig { databases: 2, hash_seed: 1, mutants: Mutants::NONE };
        Bench {
            store: Store::new(config),
            clock: HybridClock::new(Origin(1), Mutants::NONE),
            facts: Facts::new(false),
            now: NOW,
            bulk_bytes_max: 512 << 20,
            protocol: Protocol::Resp2,
            rng: Rng::new(1),
        }
    }

    /// The reply to a command given as words; a unit of its own.
    fn run(&mut self, words: &str) -> String {
        let owned = OwnedArgs::new(words.split(' ').map(str::as_bytes));
        let args = owned.args();
        let command = resolve(args).expect("a call of a command");
        let Handler::Data(handler) = command.handler else { panic!("{words}: the node's") };
        let mut out = BytesMut::new();
        let mut txn = Txn {
            store: &mut self.store,
            clock: &mut self.clock,
            wall: self.now,
            expiry_clock: self.now,
            sight: self.now,
            shown: None,
            facts: &mut self.facts,
            gather: true,
        };
        let reply = Reply::new(&mut out, self.protocol);
        let bulk_bytes_max = self.bulk_bytes_max;
        let db = DbIndex(0);
        let encodings = EncodingLimits::default();
        let rng = &mut self.rng;
        let mut ctx = Ctx { txn: &mut txn, db, reply, command, bulk_bytes_max, encodings, rng };
        handler(&mut ctx, args);
        txn.finish();
        String::from_utf8(out.to_vec()).expect("text")
    }
}

/// Length of the one reply at the start of `bytes`.
fn reply_len(bytes: &[u8]) -> usize {
    let line = bytes.windows(2).position(|end| end == b"\r\n").expect("a whole line") + 2;
    let count = || -> usize {
        std::str::from_utf8(&bytes[1..line - 2]).expect("text").parse().expect("a length")
    };
    let elements = match bytes[0] {
        b'$' if bytes[1] == b'-' => return line,
        b'$' => {
            let end = line + count() + 2;
            assert_eq!(&bytes[end - 2..end], b"\r\n");
            return end;
        }
        b'*' | b'~' => count(),
        b'%' => 2 * count(),
        b'+' | b'-' | b':' | b'_' => return line,
        other => panic!("no reply begins with {:?}", char::from(other)),
    };
    (0..elements).fold(line, |at, _| at + reply_len(&bytes[at..]))
}

#[test]
fn what_command_tells_is_one_well_formed_reply() {
    let mut bench = Bench::new();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        bench.protocol = protocol;
        for words in [
            "COMMAND",
            "COMMAND DOCS",
            "COMMAND DOCS set client|id nosuch mset",
            "COMMAND INFO",
            "COMMAND INFO client set nosuch",
            "COMMAND LIST",
            "COMMAND LIST FILTERBY PATTERN *",
            "COMMAND LIST FILTERBY ACLCAT write",
            "COMMAND HELP",
            "CLIENT HELP",
            "CONFIG HELP",
            "FUNCTION HELP",
            "MEMORY HELP",
            "FUNCTION FLUSH SYNC",
            "FUNCTION FLUSH NOW",
            "FUNCTION LIST LIBRARYNAME x WITHCODE",
            "FUNCTION LIST ALL",
            "QUORATE HELP",
        ] {
            let reply = bench.run(words);
            assert_eq!(reply_len(reply.as_bytes()), reply.len(), "{words} in {protocol:?}");
        }
    }
}

#[test]
fn docs_tell_what_clients_complete_lines_with() {
    let docs = Bench::new().run("COMMAND DOCS expire");
    for text in ["summary", "since", "group", "generic", "arguments", "key_spec_index", "oneof"] {
        assert!(docs.contains(&format!("${}\r\n{text}\r\n", text.len())), "{text} in {docs}");
    }
}

#[test]
fn help_shows_how_a_subcommand_is_called() {
    let help = Bench::new().run("COMMAND HELP");
    assert!(help.contains("+COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n"));
    assert!(
        help.contains(
            "+LIST [FILTERBY MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>]\r\n"
        )
    );
    assert!(help.contains("+INFO [<command-name> [<command-name> ...]]\r\n"));
}

#[test]
fn string_cannot_be_appended_beyond_the_largest_bulk() {
    let mut bench = Bench::new();
    bench.bulk_bytes_max = 5;
    assert_eq!(bench.run("APPEND k abcd"), ":4\r\n");
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    assert_eq!(bench.run("APPEND k ef"), too_long);
    assert_eq!(bench.run("APPEND k e"), ":5\r\n");
    assert_eq!(bench.run("GET k"), "$5\r\nabcde\r\n");
}

#[test]
fn counters_are_strings_to_every_command_that_reads_strings() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("INCRBY n -120"), ":-120\r\n");
    assert_eq!(bench.run("GET n"), "$4\r\n-120\r\n");
    assert_eq!(bench.run("STRLEN n"), ":4\r\n");
    assert_eq!(bench.run("MGET n"), "*1\r\n$4\r\n-120\r\n");
    assert_eq!(bench.run("SET n 7 GET"), "$4\r\n-120\r\n");
    assert_eq!(bench.run("INCR n"), ":8\r\n");
    assert_eq!(bench.run("APPEND n 0"), ":2\r\n");
    assert_eq!(bench.run("INCR n"), ":81\r\n");
}

#[test]
fn nothing_is_null_in_the_protocol_of_the_session() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("MGET a b"), "*2\r\n$-1\r\n$-1\r\n");
    bench.protocol = Protocol::Resp3;
    assert_eq!(bench.run("MGET a b"), "*2\r\n_\r\n_\r\n");
    assert_eq!(bench.run("SET a 1 XX"), "_\r\n");
}

#[test]
fn time_left_is_rounded_to_the_nearest_second_and_ends() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("SET k v PX 2500"), "+OK\r\n");
    let left = [(0, 3, 2500), (1, 2, 2499), (1001, 1, 1499), (2001, 0, 499), (2500, -2, -2)];
    for (after_ms, seconds, ms) in left {
        bench.now = UnixMs(NOW.0 + after_ms);
        assert_eq!(bench.run("TTL k"), format!(":{seconds}\r\n"), "after {after_ms} ms");
        assert_eq!(bench.run("PTTL k"), format!(":{ms}\r\n"), "after {after_ms} ms");
    }
    assert_eq!(bench.run("SET k w KEEPTTL"), "+OK\r\n");
    assert_eq!(bench.run("TTL k"), ":-1\r\n", "the expired key's deadline is not kept");
}

#[test]
fn scan_meets_every_key_in_small_steps() {
    let mut bench = Bench::new();
    for number in 0..200 {
        bench.run(&format!("SET key:{number} v"));
    }
    let (mut cursor, mut met) = ("0".to_owned(), std::collections::BTreeSet::new());
    for _ in 0..1000 {
        let reply = bench.run(&format!("SCAN {cursor} COUNT 7 MATCH key:*"));
        let lines: Vec<&str> = reply.split("\r\n").collect();
        lines[2].clone_into(&mut cursor);
        met.extend(lines[5..].iter().step_by(2).map(|key| (*key).to_owned()));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(met.len(), 200);
    assert_eq!(bench.run("DBSIZE"), ":200\r\n");
    assert_eq!(bench.run("KEYS key:1?9").matches("key:").count(), 10);
}
