//! The cluster protocol as clients use it: CLUSTER, READONLY, READWRITE, ASKING.

use std::fmt::Write as _;

use crate::base::checksum::slot_of;
use crate::base::ids::{PARTITION_COUNT, Partition};
use crate::base::time::Mono;
use crate::store::LiveKey;
use crate::strong::NodeName;
use crate::wire::args::parse_i64;
use crate::wire::reply::Reply;
use crate::wire::resp::Args;

use super::super::server::Cx;
use super::StrongNode;
use super::execute::{SLOTS, SLOTS_EACH};

/// Redis's words for a server that is none of a cluster.
pub const DISABLED: &str = "ERR This instance has cluster support disabled";
const BAD_SLOT: &str = "ERR Invalid or out of range slot";

/// A row of slots with the same master and replicas.
struct Row {
    first: u16,
    last: u16,
    /// The master first.
    nodes: Vec<NodeName>,
}

/// `CLUSTER INFO|MYID|NODES|SLOTS|SHARDS|KEYSLOT|COUNTKEYSINSLOT|GETKEYSINSLOT`.
pub fn cluster(cx: &mut Cx<'_>, args: Args<'_>) {
    let now = cx.now.mono;
    let Some(strong) = cx.server.strong.as_deref() else {
        return cx.session.reply().error(DISABLED);
    };
    let word = args.get(1).to_ascii_lowercase();
    match &word[..] {
        b"info" => {
            let text = info(strong, now);
            cx.session.reply().verbatim(text.as_bytes());
        }
        b"myid" => {
            let id = id_of(strong.mesh.strong.name());
            cx.session.reply().bulk(id.as_bytes());
        }
        b"nodes" => {
            let text = nodes(strong, now);
            cx.session.reply().verbatim(text.as_bytes());
        }
        b"slots" => slots(strong, now, &mut cx.session.reply()),
        b"shards" => shards(strong, now, &mut cx.session.reply()),
        b"keyslot" => {
            let slot = slot_of(args.get(2));
            cx.session.reply().count(u64::from(slot));
        }
        _ => keys_in_slot(cx, args),
    }
}

/// READONLY, READWRITE, ASKING.
pub fn word(cx: &mut Cx<'_>, args: Args<'_>) {
    if cx.server.strong.is_none() {
        return cx.session.reply().error(DISABLED);
    }
    if args.get(0).eq_ignore_ascii_case(b"readonly") {
        cx.session.cluster.reads_copies = true;
    } else if args.get(0).eq_ignore_ascii_case(b"readwrite") {
        cx.session.cluster.reads_copies = false;
    }
    cx.session.reply().ok();
}

/// `CLUSTER COUNTKEYSINSLOT slot`, `CLUSTER GETKEYSINSLOT slot count`.
fn keys_in_slot(cx: &mut Cx<'_>, args: Args<'_>) {
    let slot = parse_i64(args.get(2)).and_then(|slot| u16::try_from(slot).ok());
    let Some(slot) = slot.filter(|slot| *slot < SLOTS) else {
        return cx.session.reply().error(BAD_SLOT);
    };
    let mut keys: Vec<Vec<u8>> = Vec::new();
    cx.store.visit_partition(Partition(slot / SLOTS_EACH), &mut |live: LiveKey<'_>| {
        if slot_of(live.key) == slot {
            keys.push(live.key.to_vec());
        }
    });
    if args.len() == 3 {
        return cx.session.reply().count(keys.len() as u64);
    }
    let Some(count) = parse_i64(args.get(3)).and_then(|count| usize::try_from(count).ok()) else {
        return cx.session.reply().error("ERR Invalid number of keys");
    };
    keys.sort_unstable();
    keys.truncate(count);
    let mut reply = cx.session.reply();
    reply.array(keys.len());
    keys.iter().for_each(|key| reply.bulk(key));
}

/// A node's name as cluster clients expect one: 40 hexadecimal digits.
fn id_of(name: NodeName) -> String {
    format!("{:040x}", name.0)
}

/// All slots, as rows. A slot whose master is down stays with the one it had: clients look for it there.
fn rows(strong: &StrongNode, now: Mono) -> Vec<Row> {
    let protocol = &strong.mesh.strong;
    if protocol.standing().is_none() {
        return Vec::new();
    }
    let mut rows: Vec<Row> = Vec::new();
    for at in 0..PARTITION_COUNT {
        let of = strong.partition(Partition(at));
        let replicas = protocol.replicas(of);
        let master = protocol
            .master(of, now)
            .or(protocol.chosen(of).master)
            .or_else(|| replicas.first().copied());
        let others = replicas.into_iter().filter(|name| Some(*name) != master);
        let nodes: Vec<NodeName> = master.into_iter().chain(others).collect();
        let (first, last) = (at * SLOTS_EACH, at * SLOTS_EACH + SLOTS_EACH - 1);
        match rows.last_mut().filter(|row| row.nodes == nodes) {
            Some(row) => row.last = last,
            None => rows.push(Row { first, last, nodes }),
        }
    }
    rows
}

fn slots(strong: &StrongNode, now: Mono, reply: &mut Reply<'_>) {
    let rows = rows(strong, now);
    reply.array(rows.len());
    for row in rows {
        let known: Vec<_> =
            row.nodes.iter().filter_map(|&name| Some((name, address(strong, name)?))).collect();
        reply.array(2 + known.len());
        reply.count(u64::from(row.first));
        reply.count(u64::from(row.last));
        for (name, (host, port)) in known {
            reply.array(4);
            reply.bulk(host.as_bytes());
            reply.count(u64::from(port));
            reply.bulk(id_of(name).as_bytes());
            reply.array(0);
        }
    }
}

/// Where a node is reached. This one's host is empty while nobody has told it: clients take the one they have connected to.
fn address(strong: &StrongNode, name: NodeName) -> Option<(String, u16)> {
    match strong.mesh.contact(name) {
        Some(contact) => Some((contact.host, contact.port)),
        None if name == strong.mesh.strong.name() => Some((String::new(), strong.mesh.port())),
        None => None,
    }
}

/// The slots of each node, by node.
fn owned(strong: &StrongNode, now: Mono) -> Vec<(NodeName, Vec<(u16, u16)>)> {
    let rows = rows(strong, now);
    let of = |name: NodeName| {
        let mine = rows.iter().filter(|row| row.nodes.first() == Some(&name));
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for row in mine {
            match ranges.last_mut().filter(|range| range.1 + 1 == row.first) {
                Some(range) => range.1 = row.last,
                None => ranges.push((row.first, row.last)),
            }
        }
        ranges
    };
    strong.mesh.strong.nodes().into_iter().map(|name| (name, of(name))).collect()
}

fn shards(strong: &StrongNode, now: Mono, reply: &mut Reply<'_>) {
    let owned = owned(strong, now);
    reply.array(owned.len());
    for (name, ranges) in owned {
        reply.map(2);
        reply.bulk(b"slots");
        reply.array(2 * ranges.len());
        for (first, last) in ranges {
            reply.count(u64::from(first));
            reply.count(u64::from(last));
        }
        reply.bulk(b"nodes");
        reply.array(1);
        let (host, port) = address(strong, name).unwrap_or_default();
        let health = if strong.mesh.hears(name, now) { "online" } else { "fail" };
        reply.map(7);
        for (key, value) in [
            ("id", id_of(name)),
            ("ip", host.clone()),
            ("endpoint", host),
            ("role", "master".to_owned()),
            ("health", health.to_owned()),
        ] {
            reply.bulk(key.as_bytes());
            reply.bulk(value.as_bytes());
        }
        reply.bulk(b"port");
        reply.count(u64::from(port));
        reply.bulk(b"replication-offset");
        reply.count(0);
    }
}

fn nodes(strong: &StrongNode, now: Mono) -> String {
    let mut text = String::new();
    let me = strong.mesh.strong.name();
    for (name, ranges) in owned(strong, now) {
        let (host, port) = address(strong, name).unwrap_or_default();
        let myself = if name == me { "myself," } else { "" };
        let up = name == me || strong.mesh.hears(name, now);
        let (fail, link) = if up { ("", "connected") } else { (",fail", "disconnected") };
        let bus = u32::from(port) + 10_000;
        let id = id_of(name);
        let _ = write!(text, "{id} {host}:{port}@{bus} {myself}master{fail} - 0 0 1 {link}");
        for (first, last) in ranges {
            let _ = write!(text, " {first}-{last}");
        }
        text.push('\n');
    }
    text
}

fn info(strong: &StrongNode, now: Mono) -> String {
    let protocol = &strong.mesh.strong;
    let all = (0..PARTITION_COUNT).map(|at| strong.partition(Partition(at)));
    let served = all.filter(|&of| protocol.master(of, now).is_some()).count();
    let ok = served as u16 * SLOTS_EACH;
    let state = if ok == SLOTS { "ok" } else { "fail" };
    let nodes = protocol.nodes().len();
    let assigned = if nodes == 0 { 0 } else { SLOTS };
    let lines = [
        ("cluster_state", state.to_owned()),
        ("cluster_slots_assigned", assigned.to_string()),
        ("cluster_slots_ok", ok.to_string()),
        ("cluster_slots_pfail", "0".to_owned()),
        ("cluster_slots_fail", (assigned - ok.min(assigned)).to_string()),
        ("cluster_known_nodes", nodes.to_string()),
        ("cluster_size", nodes.to_string()),
        ("cluster_current_epoch", "1".to_owned()),
        ("cluster_my_epoch", "1".to_owned()),
    ];
    lines.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect()
}
