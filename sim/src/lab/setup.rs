//! What a lab begins with: hosts, their servers, the distance between them.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use quorate::base::mutant::Mutant;
use serde::{Deserialize, Serialize};

/// Fewest and most hosts.
pub const NODES_MIN: u8 = 2;
pub const NODES_MAX: u8 = 5;

/// Farthest that hosts may be apart, one way.
pub const LATENCY_MS_MAX: u32 = 1000;

/// Links of less than this are those of one rack, as they are without a `link` line.
const SETUP_PATIENCE_SECS: u32 = 10;

/// A lab at its beginning.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// Hosts, each a master of all others.
    pub nodes: u8,
    /// Feeds every random choice.
    #[serde(default)]
    pub seed: u64,
    /// One way, between any two hosts; 0: as in one rack.
    #[serde(default)]
    pub latency_ms: u32,
    /// A deliberate fault in every node.
    #[serde(skip)]
    pub mutant: Option<Mutant>,
}

/// Why there is no such lab.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadSetup {
    Nodes(u8),
    Latency(u32),
}

impl Setup {
    /// # Errors
    /// A number is out of range.
    pub fn check(&self) -> Result<(), BadSetup> {
        if !(NODES_MIN..=NODES_MAX).contains(&self.nodes) {
            return Err(BadSetup::Nodes(self.nodes));
        }
        if self.latency_ms > LATENCY_MS_MAX {
            return Err(BadSetup::Latency(self.latency_ms));
        }
        Ok(())
    }

    pub fn name(host: usize) -> String {
        format!("node{}", host + 1)
    }

    /// As in the demo's compose file: the first host is 172.18.0.2.
    pub fn ip(host: usize) -> Ipv4Addr {
        Ipv4Addr::new(172, 18, 0, host as u8 + 2)
    }

    /// The lines of a scenario file that make the lab, without its first comment.
    pub fn lines(&self) -> String {
        let hosts = 0..usize::from(self.nodes);
        let mut out = format!("seed {}\n", self.seed);
        for host in hosts.clone() {
            let _ = writeln!(out, "host {} {}", Setup::name(host), Setup::ip(host));
        }
        if self.latency_ms > 0 {
            for a in hosts.clone() {
                for b in a + 1..usize::from(self.nodes) {
                    let (a, b, ms) = (Setup::name(a), Setup::name(b), self.latency_ms);
                    let _ = writeln!(out, "link {a} {b} latency {ms}ms");
                }
            }
        }
        for host in hosts.clone() {
            let name = Setup::name(host);
            let _ = write!(out, "{name}$ quorate server --multi-master yes --active-replica yes");
            for other in hosts.clone().filter(|other| *other != host) {
                let _ = write!(out, " --replicaof {} 6379", Setup::name(other));
            }
            out.push_str(" --protected-mode no --repl-timeout 5\n");
        }
        let mut up = "master_link_status:up".to_owned();
        for master in 1..self.nodes - 1 {
            let _ = write!(up, "*master_{master}_link_status:up");
        }
        let _ = writeln!(out, "within {SETUP_PATIENCE_SECS}s every INFO replication ~ {up}");
        out
    }
}

impl std::fmt::Display for BadSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadSetup::Nodes(found) => {
                write!(f, "nodes: found {found}, expected {NODES_MIN} to {NODES_MAX}")
            }
            BadSetup::Latency(found) => {
                write!(f, "latency_ms: found {found}, expected 0 to {LATENCY_MS_MAX}")
            }
        }
    }
}

impl std::error::Error for BadSetup {}
