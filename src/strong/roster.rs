//! The roster: the nodes that make up a cluster, with their racks, as the operator has set it.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most nodes a roster can have.
pub const ROSTER_NODES_MAX: usize = 128;

/// Most copies of a partition.
pub const REPLICATION_FACTOR_MAX: u8 = 8;

/// A node as operators name it: a hexadecimal number of at most 32 bits, like `A129`; not 0.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeName(pub u32);

/// What is likely to fail together: a rack, a zone, a site. 0 if nothing is said.
#[derive(
    Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct RackId(pub u16);

/// One node of a roster, written `A129` or `A129@33`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RosterNode {
    pub name: NodeName,
    pub rack: RackId,
}

/// Nodes and the number of copies of each partition. Every node that has the same roster comes to the same
/// succession.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Roster {
    /// In the order of their names, which are unique.
    nodes: Vec<RosterNode>,
    replication_factor: u8,
}

/// Why something is no roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RosterError {
    /// Not a hexadecimal number from 1 with at most 8 digits.
    Name {
        found: String,
    },
    /// Not a decimal number below 65,536.
    Rack {
        found: String,
    },
    Twice {
        name: NodeName,
    },
    Empty,
    TooMany {
        found: usize,
    },
    ReplicationFactor {
        found: u8,
    },
}

impl Roster {
    /// A roster of these nodes, in any order.
    ///
    /// # Errors
    /// If there are none or more than [`ROSTER_NODES_MAX`], if a name is there twice, or if the replication factor is
    /// not in `1..=8`. One above the number of nodes is allowed: then every node has every partition.
    pub fn new(mut nodes: Vec<RosterNode>, replication_factor: u8) -> Result<Roster, RosterError> {
        if nodes.is_empty() {
            return Err(RosterError::Empty);
        }
        if nodes.len() > ROSTER_NODES_MAX {
            return Err(RosterError::TooMany { found: nodes.len() });
        }
        if !(1..=REPLICATION_FACTOR_MAX).contains(&replication_factor) {
            return Err(RosterError::ReplicationFactor { found: replication_factor });
        }
        nodes.sort_unstable();
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(RosterError::Twice { name: pair[0].name });
        }
        Ok(Roster { nodes, replication_factor })
    }

    /// In the order of their names; a node's place here is its number in a succession and in a set of voters.
    pub fn nodes(&self) -> &[RosterNode] {
        &self.nodes
    }

    /// As the operator has set it.
    pub fn replication_factor(&self) -> u8 {
        self.replication_factor
    }

    /// Copies of each partition: never more than nodes.
    pub fn copies(&self) -> usize {
        usize::from(self.replication_factor).min(self.nodes.len())
    }

    /// The place of a node in [`Roster::nodes`].
    pub fn place(&self, name: NodeName) -> Option<usize> {
        self.nodes.binary_search_by_key(&name, |node| node.name).ok()
    }

    /// All racks, in order, each with the places of its nodes.
    pub fn racks(&self) -> Vec<(RackId, Vec<usize>)> {
        let mut racks: Vec<RackId> = self.nodes.iter().map(|node| node.rack).collect();
        racks.sort_unstable();
        racks.dedup();
        let places = |rack| {
            let all = self.nodes.iter().enumerate();
            all.filter(|(_, node)| node.rack == rack).map(|(place, _)| place).collect()
        };
        racks.into_iter().map(|rack| (rack, places(rack))).collect()
    }
}

impl FromStr for NodeName {
    type Err = RosterError;

    fn from_str(text: &str) -> Result<NodeName, RosterError> {
        let digits = text.len() <= 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u32::from_str_radix(text, 16).ok().filter(|&n| digits && n > 0);
        number.map(NodeName).ok_or_else(|| RosterError::Name { found: text.to_owned() })
    }
}

impl FromStr for RackId {
    type Err = RosterError;

    fn from_str(text: &str) -> Result<RackId, RosterError> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.map(RackId).ok_or_else(|| RosterError::Rack { found: text.to_owned() })
    }
}

impl FromStr for RosterNode {
    type Err = RosterError;

    fn from_str(text: &str) -> Result<RosterNode, RosterError> {
        let (name, rack) = match text.split_once('@') {
            None => (text, RackId::default()),
            Some((name, rack)) => (name, rack.parse()?),
        };
        Ok(RosterNode { name: name.parse()?, rack })
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}", self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RosterNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.rack.0)
    }
}

impl fmt::Display for RosterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RosterError::Name { found } => {
                write!(
                    f,
                    "found '{found}', expected a node like A129: 1 to 8 hexadecimal digits, not 0"
                )
            }
            RosterError::Rack { found } => {
                write!(f, "found rack '{found}', expected a number below 65536")
            }
            RosterError::Twice { name } => write!(f, "node {name} is named twice"),
            RosterError::Empty => write!(f, "expected at least one node"),
            RosterError::TooMany { found } => {
                write!(f, "found {found} nodes, expected at most {ROSTER_NODES_MAX}")
            }
            RosterError::ReplicationFactor { found } => {
                write!(
                    f,
                    "found replication factor {found}, expected 1 to {REPLICATION_FACTOR_MAX}"
                )
            }
        }
    }
}

impl core::error::Error for RosterError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(text: &str, copies: u8) -> Result<Roster, RosterError> {
        let nodes: Result<Vec<RosterNode>, RosterError> =
            text.split_whitespace().map(str::parse).collect();
        Roster::new(nodes?, copies)
    }

    #[test]
    fn order_of_naming_does_not_matter() {
        let one = roster("A882@33 A129@32 b1@33", 2).expect("a roster");
        let other = roster("B1@33 A882@33 a129@32", 2).expect("a roster");
        assert_eq!(one, other);
        assert_eq!(one.racks(), [(RackId(32), vec![1]), (RackId(33), vec![0, 2])]);
        assert_eq!(one.place(NodeName(0xa882)), Some(2));
        assert_eq!(one.nodes()[1].to_string(), "A129@32");
    }

    #[test]
    fn what_is_no_roster_is_told() {
        for (text, copies, told) in [
            ("", 2, "expected at least one node"),
            ("A1 A1@3", 2, "node A1 is named twice"),
            ("A1 0", 2, "found '0', expected a node like A129: 1 to 8 hexadecimal digits, not 0"),
            ("+1", 2, "found '+1', expected a node like A129: 1 to 8 hexadecimal digits, not 0"),
            (
                "123456789",
                2,
                "found '123456789', expected a node like A129: 1 to 8 hexadecimal digits, not 0",
            ),
            ("A1@", 2, "found rack '', expected a number below 65536"),
            ("A1@65536", 2, "found rack '65536', expected a number below 65536"),
            ("A1", 0, "found replication factor 0, expected 1 to 8"),
        ] {
            let error = roster(text, copies).expect_err(text);
            assert_eq!(error.to_string(), told);
        }
        let many = (1..=129).map(|n| format!("{n:x} ")).collect::<String>();
        assert_eq!(roster(&many, 2), Err(RosterError::TooMany { found: 129 }));
    }

    #[test]
    fn copies_are_never_more_than_nodes() {
        assert_eq!(roster("A1 A2", 3).expect("a roster").copies(), 2);
    }
}
