//! What operators ask a node in strong mode: QUORATE ROSTER, QUORATE RECLUSTER, QUORATE PMAP.

use crate::base::ids::{PARTITION_COUNT, Partition};
use crate::store::LiveKey;
use crate::strong::{FoundError, RosterNode};
use crate::wire::resp::Args;

use super::super::dispatch::Turn;
use super::super::server::Cx;
use super::cluster::DISABLED;

const STAGE: &str = "ERR expected QUORATE ROSTER SHOW, QUORATE ROSTER STAGE OBSERVED or \
                     QUORATE ROSTER STAGE NODES node[@rack] …";

/// `QUORATE ROSTER SHOW | STAGE OBSERVED | STAGE NODES node[@rack] …`.
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
        let factor = standing.map(|s| s.roster.replication_factor().to_string());
        let rows = [
            ("node", protocol.name().to_string()),
            ("cluster", protocol.cluster().map(|id| format!("{id:016X}")).unwrap_or_default()),
            ("roster", standing.map(|s| print(s.roster.nodes())).unwrap_or_default()),
            ("replication_factor", factor.unwrap_or_default()),
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
    if word(2, "STAGE") && word(3, "NODES") && args.len() > 4 {
        let parse = |text: &[u8]| String::from_utf8_lossy(text).parse::<RosterNode>();
        return match args.from(4).iter().map(parse).collect::<Result<Vec<_>, _>>() {
            Ok(nodes) => {
                strong.staged = nodes;
                cx.session.reply().ok();
            }
            Err(error) => cx.session.reply().error(&format!("ERR {error}")),
        };
    }
    cx.session.reply().error(STAGE);
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
    let (mut primary, mut secondary, mut unavailable) = (0u64, 0u64, 0u64);
    let (mut master_keys, mut prole_keys, mut other_keys) = (0u64, 0u64, 0u64);
    for at in 0..PARTITION_COUNT {
        let of = strong.partition(Partition(at));
        let master = protocol.master(of, now);
        let member = protocol.chosen(of).member(me).is_some();
        let mut keys = 0;
        cx.store.visit_partition(Partition(at), &mut |_: LiveKey<'_>| keys += 1);
        unavailable += u64::from(master.is_none());
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
        // A partition without any copy left is no more than unavailable, as yet.
        ("dead", 0),
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

impl Turn<'_> {
    /// `QUORATE RECLUSTER`: begins the cluster with the staged roster.
    pub(in crate::node) fn recluster(&mut self) {
        let Some(strong) = self.server.strong.as_deref_mut() else {
            return self.session.reply().error(DISABLED);
        };
        let roster = match strong.proposal(&self.server.config) {
            Ok(roster) => roster,
            Err(text) => return self.session.reply().error(&format!("ERR {text}")),
        };
        match strong.mesh.strong.found(roster, self.now.mono) {
            Ok(()) => self.session.reply().ok(),
            Err(FoundError::Exists) => {
                let text = "ERR this node has a roster; changing one is not supported by this \
                            version of Quorate";
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
