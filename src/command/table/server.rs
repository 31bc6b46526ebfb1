//! Commands about the server: configuration, figures, replication.

use crate::command::spec::{Arg, Categories, Command, Flags, Group, SessionCommand};
use crate::command::{introspect, memory};

use super::container;

/// Answered at any time.
const EVER: Flags = Flags::LOADING.or(Flags::STALE);
/// Not while loading: a peer has to come again.
const LINK: Flags = Flags::STALE.or(Flags::ADMIN).or(Flags::NOSCRIPT).or(Flags::NO_MULTI);
const ADMIN: Flags = EVER.or(Flags::ADMIN).or(Flags::NOSCRIPT);
const REPLICAOF: Flags =
    Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::STALE).or(Flags::NO_ASYNC_LOADING);
const BACKGROUND: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING);
const MASTER: &[Arg] = &[Arg::string("host"), Arg::integer("port")];

pub(super) const COMMANDS: &[Command] = &[
    Command::session("info", -1, EVER, SessionCommand::Info)
        .of(Categories::DANGEROUS)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .docs(Group::Server, "1.0.0", "O(1)", "Figures and properties of the server")
        .args(&[Arg::string("section").optional().multiple()]),
    Command::data("config", -2, Flags::NONE, container).subcommands(CONFIG).docs(
        Group::Server,
        "2.0.0",
        "",
        "Commands about the configuration",
    ),
    Command::session("replicaof", -3, REPLICAOF, SessionCommand::ReplicaOf)
        .docs(Group::Server, "5.0.0", "O(1)", "Names a server to replicate from, or none")
        .args(MASTER),
    Command::session("slaveof", -3, REPLICAOF, SessionCommand::ReplicaOf)
        .docs(Group::Server, "1.0.0", "O(1)", "The old name of REPLICAOF")
        .args(MASTER),
    Command::session("role", 1, EVER.or(Flags::NOSCRIPT).or(Flags::FAST), SessionCommand::Role)
        .of(Categories::ADMIN.or(Categories::DANGEROUS))
        .docs(Group::Server, "2.8.12", "O(1)", "The server's part in replication"),
    Command::session("wait", 3, Flags::NOSCRIPT, SessionCommand::Wait)
        .of(Categories::CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .docs(
            Group::Generic,
            "3.0.0",
            "O(1)",
            "Waits until replicas have acknowledged the connection's writes",
        )
        .args(&[Arg::integer("numreplicas"), Arg::integer("timeout")]),
    Command::session(
        "shutdown",
        -1,
        ADMIN.or(Flags::NO_MULTI).or(Flags::ALLOW_BUSY),
        SessionCommand::Shutdown,
    )
    .docs(Group::Server, "1.0.0", "O(N), N keys to save", "Stops the server")
    .args(&[
        Arg::one_of("nosave_save", &[Arg::token("nosave", "NOSAVE"), Arg::token("save", "SAVE")])
            .optional(),
        Arg::token("now", "NOW").optional(),
        Arg::token("force", "FORCE").optional(),
        Arg::token("abort", "ABORT").optional(),
    ]),
    Command::session("save", 1, BACKGROUND.or(Flags::NO_MULTI), SessionCommand::Save).docs(
        Group::Server,
        "1.0.0",
        "O(N), N keys",
        "Writes a dump, and answers when it is on the device",
    ),
    Command::session("bgsave", -1, BACKGROUND, SessionCommand::BackgroundSave)
        .docs(Group::Server, "1.0.0", "O(1)", "Begins a dump beside everything else")
        .args(&[Arg::token("schedule", "SCHEDULE").optional()]),
    Command::session("bgrewriteaof", 1, BACKGROUND, SessionCommand::RewriteLog).docs(
        Group::Server,
        "1.0.0",
        "O(1)",
        "Begins a snapshot in the place of the log's beginning",
    ),
    Command::session("lastsave", 1, EVER.or(Flags::FAST), SessionCommand::LastSave)
        .of(Categories::ADMIN.or(Categories::DANGEROUS))
        .tips(&["nondeterministic_output"])
        .docs(Group::Server, "1.0.0", "O(1)", "When the latest dump was written, in seconds"),
    Command::data("memory", -2, Flags::NONE, container).subcommands(MEMORY).docs(
        Group::Server,
        "4.0.0",
        "",
        "Commands about memory",
    ),
    Command::data("function", -2, Flags::NONE, container).subcommands(FUNCTION).docs(
        Group::Scripting,
        "7.0.0",
        "",
        "Commands about libraries of functions, of which there are none",
    ),
    Command::data("quorate", -2, Flags::NONE, container).subcommands(QUORATE).docs(
        Group::Server,
        "0.1.0",
        "",
        "Commands that only Quorate has",
    ),
];

const CONFIG: &[Command] = &[
    Command::session("config|get", -3, ADMIN, SessionCommand::ConfigGet)
        .docs(Group::Server, "2.0.0", "O(N), N directives", "Values of directives")
        .args(&[Arg::string("parameter").multiple()]),
    Command::data("config|help", 2, EVER, introspect::help).docs(
        Group::Server,
        "5.0.0",
        "O(1)",
        "The subcommands and what they do",
    ),
    Command::session("config|resetstat", 2, ADMIN, SessionCommand::ConfigResetStat)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .docs(Group::Server, "2.0.0", "O(1)", "Begins the counters of INFO anew"),
    Command::session("config|rewrite", 2, ADMIN, SessionCommand::ConfigRewrite).docs(
        Group::Server,
        "2.8.0",
        "O(1)",
        "Is refused: this version leaves the configuration file as it is",
    ),
    Command::session("config|set", -4, ADMIN, SessionCommand::ConfigSet)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .docs(Group::Server, "2.0.0", "O(N), N directives", "Gives directives new values")
        .args(&[Arg::block("parameter_value", &[Arg::string("parameter"), Arg::string("value")])
            .multiple()]),
];

const MEMORY: &[Command] = &[
    Command::data("memory|help", 2, EVER, introspect::help).docs(
        Group::Server,
        "4.0.0",
        "O(1)",
        "The subcommands and what they do",
    ),
    Command::data("memory|usage", -3, Flags::READONLY, memory::usage)
        .keys((2, 2, 1), &["RO"])
        .docs(Group::Server, "4.0.0", "O(1)", "How many bytes a key takes")
        .args(&[Arg::key(), Arg::integer("count").after("SAMPLES").optional()]),
];

/// No library can be loaded: what tells of them, or removes all, does so truly.
const FUNCTION: &[Command] = &[
    Command::data("function|flush", -2, Flags::NOSCRIPT, introspect::function_flush)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs(Group::Scripting, "7.0.0", "O(1)", "Removes all libraries")
        .args(&[Arg::one_of(
            "flush_type",
            &[Arg::token("async", "ASYNC"), Arg::token("sync", "SYNC")],
        )
        .optional()]),
    Command::data("function|help", 2, EVER, introspect::help).docs(
        Group::Scripting,
        "7.0.0",
        "O(1)",
        "The subcommands and what they do",
    ),
    Command::data("function|list", -2, Flags::NOSCRIPT, introspect::function_list)
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Scripting, "7.0.0", "O(1)", "All libraries: none")
        .args(&[
            Arg::string("library-name-pattern").after("LIBRARYNAME").optional(),
            Arg::token("withcode", "WITHCODE").optional(),
        ]),
];

const QUORATE: &[Command] = &[
    Command::session(
        "quorate|clock",
        4,
        Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::STALE),
        SessionCommand::QuorateClock,
    )
    .docs(
        Group::Server,
        "0.1.0",
        "O(N), N writes held back",
        "Takes the writes of an origin that is paused because its clock is far ahead",
    )
    .args(&[Arg::string("origin").after("ACCEPT")]),
    Command::session(
        "quorate|digest",
        2,
        Flags::READONLY.or(Flags::STALE),
        SessionCommand::QuorateDigest,
    )
    .of(Categories::KEYSPACE)
    .docs(
        Group::Server,
        "0.1.0",
        "O(1)",
        "A digest of all live data, equal on nodes that hold the same",
    ),
    Command::data("quorate|help", 2, EVER, introspect::help).docs(
        Group::Server,
        "0.1.0",
        "O(1)",
        "The subcommands and what they do",
    ),
    Command::session("quorate|mesh", 3, LINK, SessionCommand::QuorateMesh)
        .docs(
            Group::Server,
            "0.1.0",
            "O(1)",
            "Turns the connection into one between nodes of a strong cluster",
        )
        .args(&[Arg::integer("version")]),
    Command::session("quorate|peer", -2, LINK, SessionCommand::QuoratePeer)
        .docs(Group::Server, "0.1.0", "O(1)", "Turns the connection into one between nodes")
        .args(&[Arg::string("arg").optional().multiple()]),
    Command::session("quorate|pmap", 2, EVER, SessionCommand::QuoratePmap).docs(
        Group::Server,
        "0.1.0",
        "O(N), N keys",
        "What this node is to the partitions of its cluster, and which records it holds",
    ),
    Command::session(
        "quorate|recluster",
        -2,
        Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_MULTI),
        SessionCommand::QuorateRecluster,
    )
    .docs(
        Group::Server,
        "0.1.0",
        "O(N), N partitions",
        "Begins a cluster with the roster that is staged, or changes its roster to that",
    )
    .args(&[Arg::token("force", "FORCE").optional(), Arg::token("dry", "DRY").optional()]),
    Command::session(
        "quorate|revive",
        -2,
        Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_MULTI),
        SessionCommand::QuorateRevive,
    )
    .docs(
        Group::Server,
        "0.1.0",
        "O(N), N partitions",
        "Opens partitions that have no intact copy or too few voters left, or tells which",
    )
    .args(&[Arg::token("dry", "DRY").optional(), Arg::token("show", "SHOW").optional()]),
    Command::session("quorate|roster", -3, ADMIN, SessionCommand::QuorateRoster)
        .docs(Group::Server, "0.1.0", "O(1)", "Shows the roster, or stages another")
        .args(&[Arg::string("arg").multiple()]),
];
