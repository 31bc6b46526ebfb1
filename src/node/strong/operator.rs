//! What operators ask a node in strong mode: QUORATE ROSTER, QUORATE RECLUSTER, QUORATE PMAP.

use crate::base::ids::{PARTITION_COUNT, Partition};
use crate::store::LiveKey;
use crate::strong::{
    Change, ChangeError, Fate, FoundError, NodeName, RackId, RosterError, RosterNode,
};
use crate::wire::reply::Reply;
use crate::wire::resp::Args;

use super::super::dispatch::Turn;
use super::super::server::Cx;
use super::cluster::DISABLED;

const STAGE: &str = "ERR expected QUORATE ROSTER SHOW, QUORATE ROSTER STAGE OBSERVED, QUORATE \
                     ROSTER STAGE NODES|ADD|REMOVE node[@rack] …, or QUORATE ROSTER STAGE RACK \
                     rack node …";
const RECLUSTER: &str = "ERR expected QUORATE RECLUSTER [FORCE] [DRY]";

/// `QUORATE ROSTER SHOW | STAGE OBSERVED | STAGE NODES|ADD|REMOVE node[@rack] … | STAGE RACK rack node …`.
pub fn roster(cx: &mut Cx<'_>, args: Args<'_>) {
    let Some(strong) = cx.server.strong.as_deref_mut() else {
        return cx.session.reply().error(DISABLED);
    };
    let word = |at: usize, wanted: &str| {
        at < args.len() && args.get(at).eq_ignore_ascii_case(wanted.as_bytes())
    };
    if word(2, "SHOW") && args.len() == 3 {
        let print = |nodes: &[RosterNode]| {
            nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        let protocol = &strong.mesh.strong;
        let standing = protocol.standing();
        let factor = standing.map(|s| s.now.roster.replication_factor().to_string());
        let rows = [
            ("node", protocol.name().to_string()),
            ("cluster", protocol.cluster().map(|id| format!("{id:016X}")).unwrap_or_default()),
            ("roster", standing.map(|s| print(s.now.roster.nodes())).unwrap_or_default()),
            ("replication_factor", factor.unwrap_or_default()),
            ("version", standing.map_or(0, |s| s.version).to_string()),
            ("moving", protocol.moving().to_string()),
            ("pending", print(&strong.staged)),
            ("observed", print(&observed(strong))),
            ("addresses", addresses(strong)),
        ];
        let mut reply = cx.session.reply();
        reply.map(rows.len());
        for (name, value) in rows {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        }
        return;
    }
    if word(2, "STAGE") && word(3, "OBSERVED") && args.len() == 4 {
        strong.staged = observed(strong);
        return cx.session.reply().ok();
    }
    if word(2, "STAGE") && word(3, "RACK") && args.len() > 5 {
        let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        let nodes: Vec<String> = args.from(5).iter().map(text).collect();
        return match moved(strong, &text(args.get(4)), &nodes) {
            Ok(nodes) => {
                strong.staged = nodes;
                cx.session.reply().ok();
            }
            Err(text) => cx.session.reply().error(&format!("ERR {text}")),
        };
    }
    let stages = ["NODES", "ADD", "REMOVE"].into_iter().find(|kind| word(3, kind));
    if word(2, "STAGE")
        && args.len() > 4
        && let Some(kind) = stages
    {
        let parse = |text: &[u8]| String::from_utf8_lossy(text).parse::<RosterNode>();
        return match args.from(4).iter().map(parse).collect::<Result<Vec<_>, _>>() {
            Ok(nodes) => match staged(strong, kind, nodes) {
                Ok(nodes) => {
                    strong.staged = nodes;
                    cx.session.reply().ok();
                }
                Err(text) => cx.session.reply().error(&format!("ERR {text}")),
            },
            Err(error) => cx.session.reply().error(&format!("ERR {error}")),
        };
    }
    cx.session.reply().error(STAGE);
}

/// What is staged when these nodes are named, or added to the roster in force or to what is staged, or removed from it.
///
/// # Errors
/// A node is named that is there already, or is not.
fn staged(
    strong: &super::StrongNode,
    kind: &str,
    named: Vec<RosterNode>,
) -> Result<Vec<RosterNode>, String> {
    if kind == "NODES" {
        return Ok(named);
    }
    let mut nodes = pending(strong);
    for node in named {
        let place = nodes.iter().position(|known| known.name == node.name);
        match (kind, place) {
            ("ADD", None) => nodes.push(node),
            ("ADD", Some(_)) => return Err(format!("node {} is staged already", node.name)),
            (_, Some(at)) => drop(nodes.remove(at)),
            (_, None) => return Err(unknown(node.name, &nodes)),
        }
    }
    Ok(nodes)
}

/// What is staged when these nodes are to be in another rack, of the roster in force or of what is staged.
///
/// # Errors
/// The rack is none, or a node is not there.
fn moved(
    strong: &super::StrongNode,
    rack: &str,
    named: &[String],
) -> Result<Vec<RosterNode>, String> {
    let rack: RackId = rack.parse().map_err(|error: RosterError| error.to_string())?;
    let mut nodes = pending(strong);
    for name in named {
        let name: NodeName = name.parse().map_err(|error: RosterError| error.to_string())?;
        match nodes.iter_mut().find(|node| node.name == name) {
            Some(node) => node.rack = rack,
            None => return Err(unknown(name, &nodes)),
        }
    }
    Ok(nodes)
}

/// What is staged, or in force if nothing is.
fn pending(strong: &super::StrongNode) -> Vec<RosterNode> {
    if !strong.staged.is_empty() {
        return strong.staged.clone();
    }
    let in_force = strong.mesh.strong.standing().map(|standing| standing.now.roster.nodes());
    in_force.unwrap_or_default().to_vec()
}

fn unknown(name: NodeName, nodes: &[RosterNode]) -> String {
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    format!("node {name} is not among those staged: {}", names.join(" "))
}

/// What is said of a change that is not made.
fn refusal(error: &ChangeError) -> String {
    match error {
        ChangeError::NoRoster => "ERR there is no roster".to_owned(),
        ChangeError::Unchanged => {
            "ERR the roster is as it is to be; nothing was changed".to_owned()
        }
        ChangeError::Unfinished { partitions } => format!(
            "ERR {partitions} partitions have not yet come to the roster in force: the next \
             change follows when all have (dead ones once they are revived); nothing was changed"
        ),
        ChangeError::NotHeard(name) => {
            format!("ERR node {name} is not connected; nothing was changed")
        }
        ChangeError::Amnesiac(name) => format!(
            "ERR node {name} runs on an older disk or a copy of one: move its data directory away, \
             start it again, and admit it then; nothing was changed"
        ),
        ChangeError::TooManyLeave { nodes } => format!(
            "ERR {nodes} nodes would leave at once, as many as there are copies or more; FORCE \
             does it all the same; nothing was changed"
        ),
    }
}

/// Partitions such as `0-12,17`.
pub(super) fn ranges(partitions: &[Partition]) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for of in partitions {
        match ranges.last_mut().filter(|range| range.1 + 1 == of.0) {
            Some(range) => range.1 = of.0,
            None => ranges.push((of.0, of.0)),
        }
    }
    let print = |&(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(print).collect::<Vec<_>>().join(",")
}

/// Where the nodes that this one knows are reached, itself included: `node host port,…`.
fn addresses(strong: &super::StrongNode) -> String {
    let me = strong.mesh.strong.name();
    let own = strong.mesh.contact(me);
    let own = own.as_ref().map(|contact| (me, contact));
    let all = strong.mesh.contacts().chain(own);
    let words = all.map(|(name, at)| format!("{name} {} {}", at.host, at.port));
    words.collect::<Vec<_>>().join(",")
}

fn observed(strong: &super::StrongNode) -> Vec<RosterNode> {
    let all = strong.mesh.observed();
    all.into_iter().map(|(name, rack)| RosterNode { name, rack }).collect()
}

/// `QUORATE PMAP`: what this node is to the partitions, and what it holds, as operators' tables count it.
pub fn pmap(cx: &mut Cx<'_>) {
    let now = cx.now.mono;
    let Some(strong) = cx.server.strong.as_deref() else {
        return cx.session.reply().error(DISABLED);
    };
    let protocol = &strong.mesh.strong;
    let me = protocol.name();
    let (mut primary, mut secondary, mut unavailable, mut dead) = (0u64, 0u64, 0u64, 0u64);
    let (mut master_keys, mut prole_keys, mut other_keys) = (0u64, 0u64, 0u64);
    for at in 0..PARTITION_COUNT {
        let of = strong.partition(Partition(at));
        let master = protocol.master(of, now);
        let member = protocol.chosen(of).member(me).is_some();
        let mut keys = 0;
        cx.store.visit_partition(Partition(at), &mut |_: LiveKey<'_>| keys += 1);
        let is_dead = master.is_none() && protocol.fate(of) == Some(Fate::Dead);
        dead += u64::from(is_dead);
        unavailable += u64::from(master.is_none() && !is_dead);
        if master == Some(me) {
            primary += 1;
            master_keys += keys;
        } else if member && master.is_some() {
            secondary += 1;
            prole_keys += keys;
        } else {
            other_keys += keys;
        }
    }
    let rows = [
        ("primary", primary),
        ("secondary", secondary),
        ("unavailable", unavailable),
        ("dead", dead),
        ("master_records", master_keys),
        ("prole_records", prole_keys),
        ("non_replica_records", other_keys),
    ];
    let mut reply = cx.session.reply();
    reply.map(rows.len() + 1);
    reply.bulk(b"node");
    reply.bulk(me.to_string().as_bytes());
    for (name, value) in rows {
        reply.bulk(name.as_bytes());
        reply.count(value);
    }
}

/// What a change would be.
fn tell_change(change: &Change, reply: &mut Reply<'_>) {
    let print =
        |names: &[NodeName]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let rows = [
        ("added", print(&change.added)),
        ("removed", print(&change.removed)),
        ("readmitted", print(&change.readmitted)),
        ("replication_factor", change.copies.to_string()),
        ("unavailable", change.unavailable.len().to_string()),
        ("unavailable_partitions", ranges(&change.unavailable)),
    ];
    tell(&rows, reply);
}

/// A map of texts.
pub(super) fn tell(rows: &[(&str, String)], reply: &mut Reply<'_>) {
    reply.map(rows.len());
    for (name, value) in rows {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

impl Turn<'_> {
    /// `QUORATE RECLUSTER [FORCE] [DRY]`: begins the cluster with the staged roster, or changes its roster to that, and
    /// admits new data directories of its nodes. `DRY` tells what would come of it.
    pub(in crate::node) fn recluster(&mut self, args: Args<'_>) {
        let (mut force, mut dry) = (false, false);
        for word in args.from(2).iter() {
            match word.to_ascii_uppercase().as_slice() {
                b"FORCE" => force = true,
                b"DRY" => dry = true,
                _ => return self.session.reply().error(RECLUSTER),
            }
        }
        let Some(strong) = self.server.strong.as_deref_mut() else {
            return self.session.reply().error(DISABLED);
        };
        let roster = match strong.proposal(&self.server.config) {
            Ok(roster) => roster,
            Err(text) => return self.session.reply().error(&format!("ERR {text}")),
        };
        let protocol = &mut strong.mesh.strong;
        if protocol.standing().is_some() {
            return match protocol.change(roster, force, self.now.mono) {
                Err(error) => self.session.reply().error(&refusal(&error)),
                Ok(change) if dry => tell_change(&change, &mut self.session.reply()),
                Ok(_) if !protocol.may_vote() => {
                    let text = "ERR this node does not vote: ask another; nothing was changed";
                    self.session.reply().error(text);
                }
                Ok(change) => {
                    protocol.move_to(change, self.now.mono);
                    strong.staged.clear();
                    self.session.reply().ok();
                }
            };
        }
        if dry {
            let text = "ERR a first roster makes no partition unavailable: nothing is there to try";
            return self.session.reply().error(text);
        }
        match protocol.found(roster, self.now.mono) {
            Ok(()) => self.session.reply().ok(),
            Err(FoundError::Exists) => {
                let text = "ERR a first roster is being accepted by its nodes: it is in force when \
                            all have";
                self.session.reply().error(text);
            }
            Err(FoundError::NotHeard(name)) => {
                let text = format!("ERR node {name} is not connected; nothing was changed");
                self.session.reply().error(&text);
            }
        }
    }

    /// `QUORATE MESH version`: the connection is another node's from here on.
    pub(in crate::node) fn become_mesh_link(&mut self, args: Args<'_>) {
        let (conn, ip) = (self.session.conn, self.session.address.0);
        if self.session.replies.is_waiting() {
            let text = "ERR a link begins when all replies are there";
            return self.session.reply().error(text);
        }
        let Some(strong) = self.server.strong.as_deref_mut() else {
            return self.session.reply().error(DISABLED);
        };
        match strong.mesh.accept(conn, args.get(2), ip, self.now.mono) {
            Err(text) => self.session.reply().error(&text),
            Ok(()) => self.give_to_peers(),
        }
    }
}
