//! Commands of the cluster protocol, which a node in strong mode speaks.

use crate::command::introspect;
use crate::command::spec::{Arg, Command, Flags, Group, SessionCommand};

use super::container;

const LOOK: Flags = Flags::LOADING.or(Flags::STALE);
const WORD: Flags = Flags::LOADING.or(Flags::STALE).or(Flags::FAST);

pub(super) const COMMANDS: &[Command] = &[
    Command::session("asking", 1, Flags::FAST, SessionCommand::ClusterWord).docs(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "Is taken and changes nothing: no slot is on its way between two nodes",
    ),
    Command::data("cluster", -2, Flags::NONE, container).subcommands(CLUSTER).docs(
        Group::Cluster,
        "3.0.0",
        "",
        "Commands about the cluster",
    ),
    Command::session("readonly", 1, WORD, SessionCommand::ClusterWord).docs(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "Reads may be answered by the copies of the node that is asked, from what they have committed",
    ),
    Command::session("readwrite", 1, WORD, SessionCommand::ClusterWord).docs(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "Takes READONLY back",
    ),
];

const CLUSTER: &[Command] = &[
    Command::session("cluster|countkeysinslot", 3, Flags::STALE, SessionCommand::Cluster)
        .docs(Group::Cluster, "3.0.0", "O(N), N keys of the partition", "Keys held of a slot")
        .args(&[Arg::integer("slot")]),
    Command::session("cluster|getkeysinslot", 4, Flags::STALE, SessionCommand::Cluster)
        .tips(&["nondeterministic_output"])
        .docs(Group::Cluster, "3.0.0", "O(N), N keys of the partition", "Names of keys of a slot")
        .args(&[Arg::integer("slot"), Arg::integer("count")]),
    Command::data("cluster|help", 2, LOOK, introspect::help).docs(
        Group::Cluster,
        "5.0.0",
        "O(1)",
        "The subcommands and what they do",
    ),
    Command::session("cluster|info", 2, LOOK, SessionCommand::Cluster)
        .tips(&["nondeterministic_output"])
        .docs(Group::Cluster, "3.0.0", "O(1)", "State of the cluster as this node sees it"),
    Command::session("cluster|keyslot", 3, LOOK, SessionCommand::Cluster)
        .docs(Group::Cluster, "3.0.0", "O(N), N bytes of the key", "The slot of a key")
        .args(&[Arg::string("key")]),
    Command::session("cluster|myid", 2, LOOK, SessionCommand::Cluster).docs(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "This node's name",
    ),
    Command::session("cluster|nodes", 2, LOOK, SessionCommand::Cluster)
        .tips(&["nondeterministic_output"])
        .docs(Group::Cluster, "3.0.0", "O(N), N nodes", "The nodes and their slots"),
    Command::session("cluster|shards", 2, LOOK, SessionCommand::Cluster)
        .tips(&["nondeterministic_output"])
        .docs(Group::Cluster, "7.0.0", "O(N), N nodes", "The masters and their slots"),
    Command::session("cluster|slots", 2, LOOK, SessionCommand::Cluster)
        .tips(&["nondeterministic_output"])
        .docs(Group::Cluster, "3.0.0", "O(N), N nodes", "Which nodes serve which slots"),
];
