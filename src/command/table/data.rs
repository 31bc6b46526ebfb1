//! Commands that read and write keys.

use crate::command::spec::{Arg, ArgKind, Categories, Command, Flags, Group};
use crate::command::{expire, introspect, keyspace, object, serialized, strings};

use super::container;

const READ_FAST: Flags = Flags::READONLY.or(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.or(Flags::FAST);
const GROW: Flags = Flags::WRITE.or(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.or(Flags::FAST);
/// The first argument.
const ONE: (u8, i8, u8) = (1, 1, 1);
/// Every argument.
const MANY: (u8, i8, u8) = (1, -1, 1);

const KEY_CONDITION: &[Arg] = &[Arg::token("nx", "NX"), Arg::token("xx", "XX")];
const EXPIRE_CONDITION: Arg = Arg::one_of(
    "condition",
    &[
        Arg::token("nx", "NX"),
        Arg::token("xx", "XX"),
        Arg::token("gt", "GT"),
        Arg::token("lt", "LT"),
    ],
)
.optional();
const FLUSH_MODE: &[Arg] =
    &[Arg::one_of("flush-type", &[Arg::token("async", "ASYNC"), Arg::token("sync", "SYNC")])
        .optional()];
const EXPIRATION: &[Arg] = &[
    Arg::integer("seconds").after("EX"),
    Arg::integer("milliseconds").after("PX"),
    Arg::new("unix-time-seconds", ArgKind::UnixTime).after("EXAT"),
    Arg::new("unix-time-milliseconds", ArgKind::UnixTime).after("PXAT"),
    Arg::token("keepttl", "KEEPTTL"),
];

pub(super) const COMMANDS: &[Command] = &[
    Command::data("get", 2, READ_FAST, strings::get)
        .keys(ONE, &["RO", "access"])
        .of(Categories::STRING)
        .docs(Group::String, "1.0.0", "O(1)", "The value of a key")
        .args(&[Arg::key()]),
    Command::data("set", -3, GROW, strings::set)
        .keys(ONE, &["RW", "access", "update", "variable_flags"])
        .key_notes("RW and ACCESS due to the optional `GET` argument")
        .of(Categories::STRING)
        .docs(Group::String, "1.0.0", "O(1)", "Gives a key a value, whatever it held before")
        .args(&[
            Arg::key(),
            Arg::string("value"),
            Arg::one_of("condition", KEY_CONDITION).optional(),
            Arg::token("get", "GET").optional(),
            Arg::one_of("expiration", EXPIRATION).optional(),
        ]),
    Command::data("append", 3, GROW_FAST, strings::append)
        .keys(ONE, &["RW", "insert"])
        .of(Categories::STRING)
        .docs(Group::String, "2.0.0", "O(1)", "Adds to the end of a key's value")
        .args(&[Arg::key(), Arg::string("value")]),
    Command::data("strlen", 2, READ_FAST, strings::strlen)
        .keys(ONE, &["RO"])
        .of(Categories::STRING)
        .docs(Group::String, "2.2.0", "O(1)", "How long a key's value is")
        .args(&[Arg::key()]),
    Command::data("mget", -2, READ_FAST, strings::mget)
        .keys(MANY, &["RO", "access"])
        .of(Categories::STRING)
        .tips(&["request_policy:multi_shard"])
        .docs(Group::String, "1.0.0", "O(N), N keys", "The values of several keys")
        .args(&[Arg::key().multiple()]),
    Command::data("mset", -3, GROW, strings::mset)
        .keys((1, -1, 2), &["OW", "update"])
        .of(Categories::STRING)
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .docs(Group::String, "1.0.1", "O(N), N keys", "Gives several keys their values")
        .args(&[Arg::block("key_value", &[Arg::key(), Arg::string("value")]).multiple()]),
    Command::data("incr", 2, GROW_FAST, strings::incr)
        .keys(ONE, &["RW", "access", "update"])
        .of(Categories::STRING)
        .docs(Group::String, "1.0.0", "O(1)", "Adds one to a counter")
        .args(&[Arg::key()]),
    Command::data("decr", 2, GROW_FAST, strings::decr)
        .keys(ONE, &["RW", "access", "update"])
        .of(Categories::STRING)
        .docs(Group::String, "1.0.0", "O(1)", "Takes one from a counter")
        .args(&[Arg::key()]),
    Command::data("incrby", 3, GROW_FAST, strings::incrby)
        .keys(ONE, &["RW", "access", "update"])
        .of(Categories::STRING)
        .docs(Group::String, "1.0.0", "O(1)", "Adds a number to a counter")
        .args(&[Arg::key(), Arg::integer("increment")]),
    Command::data("decrby", 3, GROW_FAST, strings::decrby)
        .keys(ONE, &["RW", "access", "update"])
        .of(Categories::STRING)
        .docs(Group::String, "1.0.0", "O(1)", "Takes a number from a counter")
        .args(&[Arg::key(), Arg::integer("decrement")]),
    Command::data("del", -2, Flags::WRITE, keyspace::del)
        .keys(MANY, &["RM", "delete"])
        .of(Categories::KEYSPACE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs(Group::Generic, "1.0.0", "O(N), N keys", "Deletes keys")
        .args(&[Arg::key().multiple()]),
    Command::data("unlink", -2, WRITE_FAST, keyspace::del)
        .keys(MANY, &["RM", "delete"])
        .of(Categories::KEYSPACE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs(Group::Generic, "4.0.0", "O(N), N keys", "Deletes keys")
        .args(&[Arg::key().multiple()]),
    Command::data("dump", 2, Flags::READONLY, serialized::dump)
        .keys(ONE, &["RO", "access"])
        .of(Categories::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .docs(Group::Generic, "2.6.0", "O(N), N bytes", "A key's value, serialized")
        .args(&[Arg::key()]),
    Command::data("restore", -4, GROW, serialized::restore)
        .keys(ONE, &["OW", "update"])
        .of(Categories::KEYSPACE.or(Categories::DANGEROUS))
        .docs(
            Group::Generic,
            "2.6.0",
            "O(N), N bytes",
            "Gives a key a value that DUMP has serialized",
        )
        .args(&[
            Arg::key(),
            Arg::integer("ttl"),
            Arg::string("serialized-value"),
            Arg::token("replace", "REPLACE").optional(),
            Arg::token("absttl", "ABSTTL").optional(),
            Arg::integer("seconds").after("IDLETIME").optional(),
            Arg::integer("frequency").after("FREQ").optional(),
        ]),
    Command::data("exists", -2, READ_FAST, keyspace::exists)
        .keys(MANY, &["RO"])
        .of(Categories::KEYSPACE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs(Group::Generic, "1.0.0", "O(N), N keys", "How many of these keys exist")
        .args(&[Arg::key().multiple()]),
    Command::data("expire", -3, WRITE_FAST, expire::expire)
        .keys(ONE, &["RW", "update"])
        .of(Categories::KEYSPACE)
        .docs(Group::Generic, "1.0.0", "O(1)", "Lets a key expire after some seconds")
        .args(&[Arg::key(), Arg::integer("seconds"), EXPIRE_CONDITION]),
    Command::data("pexpire", -3, WRITE_FAST, expire::pexpire)
        .keys(ONE, &["RW", "update"])
        .of(Categories::KEYSPACE)
        .docs(Group::Generic, "2.6.0", "O(1)", "Lets a key expire after some milliseconds")
        .args(&[Arg::key(), Arg::integer("milliseconds"), EXPIRE_CONDITION]),
    Command::data("expireat", -3, WRITE_FAST, expire::expireat)
        .keys(ONE, &["RW", "update"])
        .of(Categories::KEYSPACE)
        .docs(Group::Generic, "1.2.0", "O(1)", "Lets a key expire at a second of Unix time")
        .args(&[Arg::key(), Arg::new("unix-time-seconds", ArgKind::UnixTime), EXPIRE_CONDITION]),
    Command::data("pexpireat", -3, WRITE_FAST, expire::pexpireat)
        .keys(ONE, &["RW", "update"])
        .of(Categories::KEYSPACE)
        .docs(Group::Generic, "2.6.0", "O(1)", "Lets a key expire at a millisecond of Unix time")
        .args(&[
            Arg::key(),
            Arg::new("unix-time-milliseconds", ArgKind::UnixTime),
            EXPIRE_CONDITION,
        ]),
    Command::data("ttl", 2, READ_FAST, expire::ttl)
        .keys(ONE, &["RO", "access"])
        .of(Categories::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .docs(Group::Generic, "1.0.0", "O(1)", "Seconds until a key expires")
        .args(&[Arg::key()]),
    Command::data("pttl", 2, READ_FAST, expire::pttl)
        .keys(ONE, &["RO", "access"])
        .of(Categories::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .docs(Group::Generic, "2.6.0", "O(1)", "Milliseconds until a key expires")
        .args(&[Arg::key()]),
    Command::data("persist", 2, WRITE_FAST, expire::persist)
        .keys(ONE, &["RW", "update"])
        .of(Categories::KEYSPACE)
        .docs(Group::Generic, "2.2.0", "O(1)", "Takes a key's expiry away")
        .args(&[Arg::key()]),
    Command::data("type", 2, READ_FAST, keyspace::type_of)
        .keys(ONE, &["RO"])
        .of(Categories::KEYSPACE)
        .docs(Group::Generic, "1.0.0", "O(1)", "What type of value a key holds")
        .args(&[Arg::key()]),
    Command::data("object", -2, Flags::NONE, container).subcommands(OBJECT).docs(
        Group::Generic,
        "2.2.3",
        "",
        "Commands about how values are kept",
    ),
    Command::data("keys", 2, Flags::READONLY, keyspace::keys)
        .of(Categories::KEYSPACE.or(Categories::DANGEROUS))
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .docs(Group::Generic, "1.0.0", "O(N), N keys in the database", "Keys that fit a pattern")
        .args(&[Arg::new("pattern", ArgKind::Pattern)]),
    Command::data("scan", -2, Flags::READONLY, keyspace::scan)
        .of(Categories::KEYSPACE)
        .tips(&["nondeterministic_output", "request_policy:special"])
        .docs(
            Group::Generic,
            "2.8.0",
            "O(1) a call, O(N) for a whole iteration over N keys",
            "Walks over the keys of the database, some at a time",
        )
        .args(&[
            Arg::integer("cursor"),
            Arg::new("pattern", ArgKind::Pattern).after("MATCH").optional(),
            Arg::integer("count").after("COUNT").optional(),
            Arg::string("type").after("TYPE").optional(),
        ]),
    Command::data("dbsize", 1, READ_FAST, keyspace::dbsize)
        .of(Categories::KEYSPACE)
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .docs(Group::Server, "1.0.0", "O(1)", "How many keys the database has"),
    Command::data("flushdb", -1, Flags::WRITE, keyspace::flushdb)
        .of(Categories::KEYSPACE.or(Categories::DANGEROUS))
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs(Group::Server, "1.0.0", "O(N), N keys", "Deletes all keys of the database")
        .args(FLUSH_MODE),
    Command::data("flushall", -1, Flags::WRITE, keyspace::flushall)
        .of(Categories::KEYSPACE.or(Categories::DANGEROUS))
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs(Group::Server, "1.0.0", "O(N), N keys", "Deletes all keys of all databases")
        .args(FLUSH_MODE),
];

const OBJECT: &[Command] = &[
    Command::data("object|encoding", 3, Flags::READONLY, object::encoding)
        .keys((2, 2, 1), &["RO"])
        .of(Categories::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .docs(Group::Generic, "2.2.3", "O(N), N elements", "How Redis would keep the value")
        .args(&[Arg::key()]),
    Command::data("object|help", 2, Flags::LOADING.or(Flags::STALE), introspect::help).docs(
        Group::Generic,
        "6.2.0",
        "O(1)",
        "The subcommands and what they do",
    ),
];
