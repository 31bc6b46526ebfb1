//! The labels of rare paths, so that those never reached can be shown too.

use crate::plan::Profile;

/// Every label in the library and in what drives it here, sorted; a test compares this list with the sources.
pub const KNOWN: [&str; 97] = [
    "WAIT had to wait",
    "WAIT had to wait in a strong cluster",
    "a barrier was met during a resync",
    "a barrier was not covered",
    "a bid was refused",
    "a candidate was outside the core",
    "a cell arrived that had been collected here",
    "a cell went because the sender no longer had it",
    "a command was passed on to a node that was not the master",
    "a connection of the mesh came behind a later one",
    "a copy is brought up to date",
    "a copy that had caught up joined",
    "a frozen copy was dropped",
    "a handshake was outdated by another",
    "a handshake was refused",
    "a heartbeat was too long on its way to tell the time",
    "a held barrier was not covered",
    "a joiner had met others before it met the cluster",
    "a joiner took over the cluster's horizon",
    "a later roster came into force",
    "a link to a node that knew no horizon was closed",
    "a link was given up for its silence",
    "a link was lost with a command passed on over it",
    "a link with an earlier life of a node was closed",
    "a live unit was met during a resync",
    "a log was damaged before its end",
    "a master that hears no quorum stopped",
    "a new epoch began, because the old one was taken",
    "a node has found that its disk is an older one",
    "a node with a past came to another cluster",
    "a partition was found dead",
    "a partition was found without voters for its copies",
    "a partition was handed back",
    "a paused origin overran the bound of what is held",
    "a paused origin went on",
    "a peer sent bytes that are no frame",
    "a peer was found on an older disk",
    "a plain replica became a master or the reverse",
    "a plain replica came to need everything in a handshake",
    "a plain replica dropped its data and its own replicas' links",
    "a plain replica had what its master will never get",
    "a plain replica had what its new master does not get",
    "a plain replica's master had other data",
    "a read was answered from a copy",
    "a regime ended with a write in flight",
    "a regime follows one that may have been chosen",
    "a replica did not have what had been collected",
    "a resync broke off",
    "a resync overran the bound of what is held",
    "a resync was completed",
    "a round met a higher promise",
    "a silent link of the mesh was closed",
    "a silent link was suspected",
    "a snapshot began anew before its end",
    "a snapshot could not be written",
    "a snapshot took the place of the log's beginning",
    "a snapshot was damaged",
    "a state transfer began",
    "a state transfer began anew before its end",
    "a state transfer lacked cells of a paused origin",
    "a stream moved over to a second connection",
    "a stream waited for its window",
    "a stream went on from the backlog",
    "a suspect link came back to life",
    "a tail was dropped",
    "a torn end of the log was cut off",
    "a transfer of a part came in place of everything",
    "a unit arrived twice",
    "a unit met while a resync waited was adopted",
    "a whole copy was taken",
    "all nodes have admitted new disks",
    "all partitions had come to a new roster",
    "an older image held what others had got since",
    "an operator has opened partitions",
    "an operator's regime was refused",
    "an origin was paused for its clock",
    "an unseen cell arrived from below the horizon",
    "another life of this node is about",
    "cells from below the horizon were lifted",
    "cells of a broken-off resync were adopted",
    "cells of a resync that stood still were adopted",
    "expired keys are left over after a sweep",
    "increments made while joining outlived an expired key",
    "keys created while joining got their floor",
    "keys written before the cluster was met got their floor",
    "links of a node's past life were closed",
    "news of a member were passed on at once",
    "the backlog overran a state transfer",
    "the log could not be brought onto its device",
    "the log lacked what an earlier life had announced",
    "the log's device had room again",
    "the log's device was full",
    "the own clock was found ahead of the peers'",
    "two nodes drew one origin",
    "what another had begun to decide of the roster was brought to an end",
    "writes of a later life were moved before anybody saw them",
    "writes were moved above the others' horizon",
];

/// Paths that only a log leads to.
const OF_LOGS: [&str; 7] = [
    "a log was damaged before its end",
    "a torn end of the log was cut off",
    "an older image held what others had got since",
    "the log could not be brought onto its device",
    "the log lacked what an earlier life had announced",
    "the log's device had room again",
    "the log's device was full",
];

/// Paths of strong mode.
const OF_STRONG: [&str; 29] = [
    "WAIT had to wait in a strong cluster",
    "a bid was refused",
    "a candidate was outside the core",
    "a command was passed on to a node that was not the master",
    "a connection of the mesh came behind a later one",
    "a copy is brought up to date",
    "a copy that had caught up joined",
    "a frozen copy was dropped",
    "a later roster came into force",
    "a link was lost with a command passed on over it",
    "a link with an earlier life of a node was closed",
    "a master that hears no quorum stopped",
    "a node has found that its disk is an older one",
    "a partition was found dead",
    "a partition was found without voters for its copies",
    "a partition was handed back",
    "a peer was found on an older disk",
    "a read was answered from a copy",
    "a regime ended with a write in flight",
    "a regime follows one that may have been chosen",
    "a round met a higher promise",
    "a silent link of the mesh was closed",
    "a tail was dropped",
    "a whole copy was taken",
    "all nodes have admitted new disks",
    "all partitions had come to a new roster",
    "an operator has opened partitions",
    "an operator's regime was refused",
    "what another had begun to decide of the roster was brought to an end",
];

/// Paths that only what operators and strangers do leads to: plans of other profiles have none of that.
const OF_OPERATORS: [&str; 3] = [
    "a peer sent bytes that are no frame",
    "a plain replica became a master or the reverse",
    "two nodes drew one origin",
];

/// Guards against what no rule of the protocol lets happen, as far as anybody knows: they are counted, and need not be
/// reached. (Unit tests reach them.)
const GUARDS: [&str; 1] = ["an unseen cell arrived from below the horizon"];

/// Whether runs of a profile are to reach this path: without logs there are no snapshots.
pub fn can_be_reached(profile: Profile, label: &str) -> bool {
    match profile {
        Profile::Strong => OF_STRONG.contains(&label),
        Profile::Durability => ![&OF_STRONG[..], &OF_OPERATORS, &GUARDS].concat().contains(&label),
        Profile::Smoke | Profile::Active => {
            !label.starts_with("a snapshot ")
                && !OF_LOGS.contains(&label)
                && !OF_STRONG.contains(&label)
                && !GUARDS.contains(&label)
                && (profile == Profile::Active || !OF_OPERATORS.contains(&label))
        }
    }
}

/// The labels one run has reached: a bit per known label.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct LabelSet(u128);

const _: () = assert!(KNOWN.len() <= 128);

impl LabelSet {
    /// Notes a label. One that is not on the list is a mistake of the list.
    pub fn note(&mut self, label: &str) {
        if let Ok(number) = KNOWN.binary_search(&label) {
            self.0 |= 1 << number;
        }
    }

    pub fn has(self, number: usize) -> bool {
        self.0 >> number & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn collect(dir: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).expect("the library's sources are there") {
            let path = entry.expect("a directory can be listed").path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("sources can be read");
                for part in text.split("sometimes(").skip(1) {
                    let quoted = part.trim_start().strip_prefix('"');
                    if let Some((label, _)) = quoted.and_then(|q| q.split_once('"')) {
                        found.insert(label.to_owned());
                    }
                }
            }
        }
    }

    #[test]
    fn list_of_labels_is_that_of_the_library() {
        let mut found = BTreeSet::new();
        for dir in ["../src", "src/world"] {
            collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), &mut found);
        }
        let known: BTreeSet<String> = KNOWN.iter().map(|&l| l.to_owned()).collect();
        let missing: Vec<_> = found.difference(&known).collect();
        let stale: Vec<_> = known.difference(&found).collect();
        assert!(KNOWN.is_sorted(), "labels are looked up by halves");
        assert!(missing.is_empty() && stale.is_empty(), "missing {missing:?}, stale {stale:?}");
    }
}
