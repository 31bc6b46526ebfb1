//! Commands of a session: authentication, protocol, names, transactions.

use crate::command::spec::{Arg, Categories, Command, Flags, Group, SessionCommand};
use crate::command::{introspect, keyspace};

use super::container;

/// Answered at any time.
const EVER: Flags = Flags::LOADING.or(Flags::STALE);
const SESSION: Flags = EVER.or(Flags::NOSCRIPT);
const OPEN: Flags = SESSION.or(Flags::FAST).or(Flags::NO_AUTH).or(Flags::ALLOW_BUSY);
const TRANSACTION: Flags = SESSION.or(Flags::FAST).or(Flags::ALLOW_BUSY);
const CONNECTION: Categories = Categories::CONNECTION;

pub(super) const COMMANDS: &[Command] = &[
    Command::data("ping", -1, Flags::FAST, keyspace::ping)
        .of(CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs(Group::Connection, "1.0.0", "O(1)", "Answers, to show that the server is there")
        .args(&[Arg::string("message").optional()]),
    Command::data("echo", 2, EVER.or(Flags::FAST), keyspace::echo)
        .of(CONNECTION)
        .docs(Group::Connection, "1.0.0", "O(1)", "Answers with its argument")
        .args(&[Arg::string("message")]),
    Command::session("auth", -2, OPEN, SessionCommand::Auth)
        .of(CONNECTION)
        .docs(Group::Connection, "1.0.0", "O(1)", "Authenticates the connection")
        .args(&[Arg::string("username").optional(), Arg::string("password")]),
    Command::session("hello", -1, OPEN, SessionCommand::Hello)
        .of(CONNECTION)
        .docs(Group::Connection, "6.0.0", "O(1)", "Chooses the protocol version")
        .args(&[Arg::block(
            "arguments",
            &[
                Arg::integer("protover"),
                Arg::block(
                    "username_password",
                    &[Arg::string("username"), Arg::string("password")],
                )
                .after("AUTH")
                .optional(),
                Arg::string("clientname").after("SETNAME").optional(),
            ],
        )
        .optional()]),
    Command::session("select", 2, EVER.or(Flags::FAST), SessionCommand::Select)
        .of(CONNECTION)
        .docs(Group::Connection, "1.0.0", "O(1)", "Changes to another database")
        .args(&[Arg::integer("index")]),
    Command::session("quit", -1, OPEN, SessionCommand::Quit).of(CONNECTION).docs(
        Group::Connection,
        "1.0.0",
        "O(1)",
        "Ends the connection",
    ),
    Command::data("client", -2, Flags::NONE, container).subcommands(CLIENT).docs(
        Group::Connection,
        "2.4.0",
        "",
        "Commands about client connections",
    ),
    Command::data("command", -1, EVER, introspect::command)
        .of(CONNECTION)
        .subcommands(COMMAND)
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Server, "2.8.13", "O(N), N commands", "What commands there are"),
    Command::session("multi", 1, TRANSACTION, SessionCommand::Multi)
        .of(Categories::TRANSACTION)
        .docs(Group::Transactions, "1.2.0", "O(1)", "Begins a transaction"),
    Command::session("exec", 1, SESSION.or(Flags::SKIP_SLOWLOG), SessionCommand::Exec)
        .of(Categories::TRANSACTION)
        .docs(
            Group::Transactions,
            "1.2.0",
            "That of the commands queued",
            "Executes a transaction",
        ),
    Command::session("discard", 1, TRANSACTION, SessionCommand::Discard)
        .of(Categories::TRANSACTION)
        .docs(Group::Transactions, "2.0.0", "O(N), N commands queued", "Drops a transaction"),
    Command::session("watch", -2, TRANSACTION, SessionCommand::Watch)
        .keys((1, -1, 1), &["RO"])
        .of(Categories::TRANSACTION)
        .docs(
            Group::Transactions,
            "2.2.0",
            "O(N), N keys",
            "Lets the next transaction fail if one of these keys changes",
        )
        .args(&[Arg::key().multiple()]),
    Command::session("unwatch", 1, TRANSACTION, SessionCommand::Unwatch)
        .of(Categories::TRANSACTION)
        .docs(Group::Transactions, "2.2.0", "O(1)", "Forgets all watched keys"),
];

const CLIENT: &[Command] = &[
    Command::session("client|getname", 2, SESSION, SessionCommand::ClientGetName)
        .of(CONNECTION)
        .docs(Group::Connection, "2.6.9", "O(1)", "The connection's name"),
    Command::data("client|help", 2, EVER, introspect::help).of(CONNECTION).docs(
        Group::Connection,
        "5.0.0",
        "O(1)",
        "The subcommands and what they do",
    ),
    Command::session("client|id", 2, SESSION, SessionCommand::ClientId).of(CONNECTION).docs(
        Group::Connection,
        "5.0.0",
        "O(1)",
        "The connection's number",
    ),
    Command::session("client|setinfo", 4, SESSION, SessionCommand::ClientSetInfo)
        .of(CONNECTION)
        .docs(Group::Connection, "7.2.0", "O(1)", "Says which library the client uses")
        .args(&[Arg::one_of(
            "attr",
            &[Arg::string("libname").after("LIB-NAME"), Arg::string("libver").after("LIB-VER")],
        )]),
    Command::session("client|setname", 3, SESSION, SessionCommand::ClientSetName)
        .of(CONNECTION)
        .docs(Group::Connection, "2.6.9", "O(1)", "Gives the connection a name")
        .args(&[Arg::string("connection-name")]),
];

const NAMES: &[Arg] = &[Arg::string("command-name").optional().multiple()];

const COMMAND: &[Command] = &[
    Command::data("command|count", 2, EVER, introspect::count).of(CONNECTION).docs(
        Group::Server,
        "2.8.13",
        "O(1)",
        "How many commands there are",
    ),
    Command::data("command|docs", -2, EVER, introspect::docs)
        .of(CONNECTION)
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Server, "7.0.0", "O(N), N commands", "What commands do")
        .args(NAMES),
    Command::data("command|getkeys", -4, EVER, introspect::getkeys)
        .of(CONNECTION)
        .docs(Group::Server, "2.8.13", "O(N), N arguments", "The keys among a call's arguments")
        .args(&[Arg::string("command"), Arg::string("arg").optional().multiple()]),
    Command::data("command|help", 2, EVER, introspect::help).of(CONNECTION).docs(
        Group::Server,
        "5.0.0",
        "O(1)",
        "The subcommands and what they do",
    ),
    Command::data("command|info", -2, EVER, introspect::info)
        .of(CONNECTION)
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Server, "2.8.13", "O(N), N commands", "Properties of commands")
        .args(NAMES),
    Command::data("command|list", -2, EVER, introspect::list)
        .of(CONNECTION)
        .tips(&["nondeterministic_output_order"])
        .docs(Group::Server, "7.0.0", "O(N), N commands", "The names of all commands, or of some")
        .args(&[Arg::one_of(
            "filterby",
            &[
                Arg::string("module-name").after("MODULE"),
                Arg::string("category").after("ACLCAT"),
                Arg::string("pattern").after("PATTERN"),
            ],
        )
        .after("FILTERBY")
        .optional()]),
];
