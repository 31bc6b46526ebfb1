//! `QUORATE REVIVE`: an operator opens partitions that are dead or have too few voters left.

use std::collections::BTreeMap;

use crate::base::ids::Partition;
use crate::strong::revive::{Progress, ReviveError, Revived};
use crate::strong::{Fate, NodeName};
use crate::wire::resp::Args;

use super::super::dispatch::Turn;
use super::cluster::DISABLED;
use super::operator::{ranges, tell};

const REVIVE: &str = "ERR expected QUORATE REVIVE [DRY], or QUORATE REVIVE SHOW";

fn names(names: &[NodeName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Why it was not done.
fn refusal(error: &ReviveError) -> String {
    match error {
        ReviveError::NoRoster => "there is no roster".to_owned(),
        ReviveError::NotHere => "this node is not in the roster in force, or its disk is an older \
                                 one: ask another"
            .to_owned(),
        ReviveError::Running => "a revive is under way here: see QUORATE REVIVE SHOW".to_owned(),
        ReviveError::Missing(missing) => format!(
            "all nodes of the roster have to be there, since one that is away may have what is \
             missing; not connected: {}",
            names(missing)
        ),
        ReviveError::NotCounted => {
            "the nodes have not all told yet what they have: ask again in a moment".to_owned()
        }
        ReviveError::Nothing => "no partition is dead, and none without voters".to_owned(),
        ReviveError::Amnesiac(amnesiac) => format!(
            "too few nodes could vote afterwards: {} on older disks or copies of them; stop them, \
             run 'quorate check --new-voter' on their data directories, and start them again",
            names(amnesiac)
        ),
        ReviveError::NewestAmnesiac(name, of) => format!(
            "the newest copy of partition {} is on node {name}, on an older disk or a copy of one: \
             stop it, run 'quorate check --new-voter' on its data directory, and start it again",
            of.0
        ),
        ReviveError::Late => "it has not come to an end in time: revive again".to_owned(),
    }
}

/// Partitions by the node whose copies they go on with: `A1:0-3,7 A2:5`.
fn by_node(revived: &Revived) -> String {
    let mut nodes: BTreeMap<NodeName, Vec<Partition>> = BTreeMap::new();
    for (&of, &(name, _)) in &revived.accepted {
        nodes.entry(name).or_default().push(of);
    }
    let words = nodes.iter().map(|(name, of)| format!("{name}:{}", ranges(of)));
    words.collect::<Vec<_>>().join(" ")
}

impl Turn<'_> {
    /// `QUORATE REVIVE [DRY] | SHOW`: opens partitions that do not open by themselves, without what is lost; tells which
    /// those are; or what has come of it.
    pub(in crate::node) fn revive(&mut self, args: Args<'_>) {
        let words: Vec<Vec<u8>> =
            args.from(2).iter().map(|word| word.to_ascii_uppercase()).collect();
        let Some(strong) = self.server.strong.as_deref_mut() else {
            return self.session.reply().error(DISABLED);
        };
        let protocol = &mut strong.mesh.strong;
        let refuse = |why: &ReviveError| format!("ERR {}; nothing was changed", refusal(why));
        match words.first().map(Vec::as_slice) {
            None => match protocol.revive(self.now.mono) {
                Ok(()) => self.session.reply().ok(),
                Err(why) => self.session.reply().error(&refuse(&why)),
            },
            Some(b"DRY") if words.len() == 1 => match protocol.would_revive(self.now.mono) {
                Ok((fates, readmitted)) => {
                    let of = |wanted: Fate| {
                        let all = fates.iter().filter(|(_, fate)| **fate == wanted);
                        all.map(|(&of, _)| of).collect::<Vec<_>>()
                    };
                    let (dead, blocked) = (of(Fate::Dead), of(Fate::Blocked));
                    let rows = [
                        ("readmitted", names(&readmitted)),
                        ("blocked", blocked.len().to_string()),
                        ("blocked_partitions", ranges(&blocked)),
                        ("dead", dead.len().to_string()),
                        ("dead_partitions", ranges(&dead)),
                    ];
                    tell(&rows, &mut self.session.reply());
                }
                Err(why) => self.session.reply().error(&refuse(&why)),
            },
            Some(b"SHOW") if words.len() == 1 => {
                let revival = protocol.revival();
                let none = Revived::default();
                let revived = revival.map_or(&none, |revival| revival.revived());
                let (state, why) = match revival.map(|revival| revival.progress()) {
                    None => ("none", String::new()),
                    Some(Progress::Running) => ("running", String::new()),
                    Some(Progress::Done) => ("done", String::new()),
                    Some(Progress::Failed(why)) => ("failed", refusal(why)),
                };
                let accepted: Vec<Partition> = revived.accepted.keys().copied().collect();
                let rows = [
                    ("state", state.to_owned()),
                    ("why", why),
                    ("readmitted", names(&revived.readmitted)),
                    ("intact", revived.intact.len().to_string()),
                    ("accepted", accepted.len().to_string()),
                    ("accepted_copies", by_node(revived)),
                    ("lost", revived.lost.len().to_string()),
                    ("lost_partitions", ranges(&revived.lost)),
                ];
                tell(&rows, &mut self.session.reply());
            }
            Some(_) => self.session.reply().error(REVIVE),
        }
    }
}
