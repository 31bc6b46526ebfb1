//! Commands on hashes.

use crate::command::hashes;
use crate::command::spec::{Arg, ArgKind, Categories, Command, Flags, Group};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.or(Flags::FAST);
const GROW_FAST: Flags = Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST);
/// The first argument.
const ONE: (u8, i8, u8) = (1, 1, 1);

const FIELD: Arg = Arg::string("field");
const PAIRS: &[Arg] = &[FIELD, Arg::string("value")];

pub(super) const COMMANDS: &[Command] = &[
    Command::data("hset", -4, GROW_FAST, hashes::hset)
        .keys(ONE, &["RW", "update"])
        .of(Categories::HASH)
        .docs(Group::Hash, "2.0.0", "O(N), N fields", "Gives fields of a hash their values")
        .args(&[Arg::key(), Arg::block("data", PAIRS).multiple()]),
    Command::data("hmset", -4, GROW_FAST, hashes::hmset)
        .keys(ONE, &["RW", "update"])
        .of(Categories::HASH)
        .docs(Group::Hash, "2.0.0", "O(N), N fields", "Gives fields of a hash their values")
        .args(&[Arg::key(), Arg::block("data", PAIRS).multiple()]),
    Command::data("hsetnx", 4, GROW_FAST, hashes::hsetnx)
        .keys(ONE, &["RW", "insert"])
        .of(Categories::HASH)
        .docs(Group::Hash, "2.0.0", "O(1)", "Gives a field a value if the hash does not have it")
        .args(&[Arg::key(), FIELD, Arg::string("value")]),
    Command::data("hget", 3, READ_FAST, hashes::hget)
        .keys(ONE, &["RO", "access"])
        .of(Categories::HASH)
        .docs(Group::Hash, "2.0.0", "O(1)", "The value of a field")
        .args(&[Arg::key(), FIELD]),
    Command::data("hmget", -3, READ_FAST, hashes::hmget)
        .keys(ONE, &["RO", "access"])
        .of(Categories::HASH)
        .docs(Group::Hash, "2.0.0", "O(N), N fields", "The values of several fields")
        .args(&[Arg::key(), FIELD.multiple()]),
    Command::data("hgetall", 2, READ, hashes::hgetall)
        .keys(ONE, &["RO", "access"])
        .of(Categories::HASH)
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Hash, "2.0.0", "O(N), N fields", "All fields of a hash with their values")
        .args(&[Arg::key()]),
    Command::data("hkeys", 2, READ, hashes::hkeys)
        .keys(ONE, &["RO", "access"])
        .of(Categories::HASH)
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Hash, "2.0.0", "O(N), N fields", "All fields of a hash")
        .args(&[Arg::key()]),
    Command::data("hvals", 2, READ, hashes::hvals)
        .keys(ONE, &["RO", "access"])
        .of(Categories::HASH)
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Hash, "2.0.0", "O(N), N fields", "All values of a hash")
        .args(&[Arg::key()]),
    Command::data("hdel", -3, Flags::WRITE.or(Flags::FAST), hashes::hdel)
        .keys(ONE, &["RW", "delete"])
        .of(Categories::HASH)
        .docs(Group::Hash, "2.0.0", "O(N), N fields", "Deletes fields of a hash")
        .args(&[Arg::key(), FIELD.multiple()]),
    Command::data("hlen", 2, READ_FAST, hashes::hlen)
        .keys(ONE, &["RO"])
        .of(Categories::HASH)
        .docs(Group::Hash, "2.0.0", "O(1)", "How many fields a hash has")
        .args(&[Arg::key()]),
    Command::data("hstrlen", 3, READ_FAST, hashes::hstrlen)
        .keys(ONE, &["RO"])
        .of(Categories::HASH)
        .docs(Group::Hash, "3.2.0", "O(1)", "How long a field's value is")
        .args(&[Arg::key(), FIELD]),
    Command::data("hexists", 3, READ_FAST, hashes::hexists)
        .keys(ONE, &["RO"])
        .of(Categories::HASH)
        .docs(Group::Hash, "2.0.0", "O(1)", "Whether a hash has a field")
        .args(&[Arg::key(), FIELD]),
    Command::data("hincrby", 4, GROW_FAST, hashes::hincrby)
        .keys(ONE, &["RW", "access", "update"])
        .of(Categories::HASH)
        .docs(Group::Hash, "2.0.0", "O(1)", "Adds a number to a field")
        .args(&[Arg::key(), FIELD, Arg::integer("increment")]),
    Command::data("hincrbyfloat", 4, GROW_FAST, hashes::hincrbyfloat)
        .keys(ONE, &["RW", "access", "update"])
        .of(Categories::HASH)
        .docs(Group::Hash, "2.6.0", "O(1)", "Adds a decimal number to a field")
        .args(&[Arg::key(), FIELD, Arg::new("increment", ArgKind::Double)]),
    Command::data("hrandfield", -2, READ, hashes::hrandfield)
        .keys(ONE, &["RO", "access"])
        .of(Categories::HASH)
        .tips(&["nondeterministic_output"])
        .docs(Group::Hash, "6.2.0", "O(N), N fields", "Fields of a hash, taken at random")
        .args(&[
            Arg::key(),
            Arg::block(
                "options",
                &[Arg::integer("count"), Arg::token("withvalues", "WITHVALUES").optional()],
            )
            .optional(),
        ]),
    Command::data("hscan", -3, READ, hashes::hscan)
        .keys(ONE, &["RO", "access"])
        .of(Categories::HASH)
        .tips(&["nondeterministic_output"])
        .docs(
            Group::Hash,
            "2.8.0",
            "O(1) a call, O(N) for a whole iteration over N fields",
            "Walks over the fields of a hash, some at a time",
        )
        .args(&[
            Arg::key(),
            Arg::integer("cursor"),
            Arg::new("pattern", ArgKind::Pattern).after("MATCH").optional(),
            Arg::integer("count").after("COUNT").optional(),
        ]),
];
