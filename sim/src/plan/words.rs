//! Faults in words.

use std::fmt;

use super::{FaultKind, Remedy};

/// As the simulator names the hosts of a plan.
struct Node(u16);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node{}", self.0 + 1)
    }
}

fn nodes(hosts: &[u16]) -> String {
    let names: Vec<String> = hosts.iter().map(|&host| Node(host).to_string()).collect();
    names.join(", ")
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultKind::DropIn { at, from } => {
                write!(f, "{} drops what comes from {}", Node(*at), Node(*from))
            }
            FaultKind::DropOut { at, to } => {
                write!(f, "{} drops what it sends to {}", Node(*at), Node(*to))
            }
            FaultKind::Split { left, right } => {
                write!(f, "split: {} | {}", nodes(left), nodes(right))
            }
            FaultKind::Reject { at, from, reset } => {
                let how = if *reset { "with a reset" } else { "with an ICMP error" };
                write!(f, "{} rejects what comes from {} {how}", Node(*at), Node(*from))
            }
            FaultKind::Lossy { at, from, permille } => {
                let (percent, at, from) = (f64::from(*permille) / 10.0, Node(*at), Node(*from));
                write!(f, "{at} loses {percent} % of what comes from {from}")
            }
            FaultKind::Crash { host, power: true } => write!(f, "{} loses power", Node(*host)),
            FaultKind::Crash { host, power: false } => write!(f, "{} is killed", Node(*host)),
            FaultKind::Pause { host } => write!(f, "{} stands still", Node(*host)),
            FaultKind::Step { host, by_ms } => {
                write!(f, "the clock of {} steps by {by_ms:+} ms", Node(*host))
            }
            FaultKind::Slow { a, b, latency_ms } => {
                let (a, b) = (Node(*a), Node(*b));
                write!(f, "{latency_ms} ms between {a} and {b}")
            }
            FaultKind::Reset { a, b } => {
                write!(f, "connections of {} and {} are reset", Node(*a), Node(*b))
            }
            FaultKind::DeafClients { host } => {
                write!(f, "answers of {} to clients are dropped", Node(*host))
            }
            FaultKind::Newcomer { host, past_ms } => {
                let from = if past_ms.is_some() { ", but has been in another" } else { "" };
                write!(f, "{} is not in the cluster yet{from}", Node(*host))
            }
            FaultKind::Unfollow { host, master } => {
                write!(f, "{} does not follow {}", Node(*host), Node(*master))
            }
            FaultKind::Refollow { host, master } => {
                write!(f, "{} is led to {}", Node(*host), Node(*master))
            }
            FaultKind::Twin { host, of, copy: true } => {
                write!(f, "{} runs as a copy of {}", Node(*host), Node(*of))
            }
            FaultKind::Twin { host, of, copy: false } => {
                write!(f, "{} draws the random numbers of {}", Node(*host), Node(*of))
            }
            FaultKind::Memory { host, bytes } => {
                write!(f, "{} has {bytes} bytes of memory left", Node(*host))
            }
            FaultKind::Garbage { host, bytes } => {
                write!(f, "a stranger sends {} bytes of rubbish to {}", bytes.len(), Node(*host))
            }
            FaultKind::Full { host, room_bytes } => {
                write!(f, "the disk of {} has room for {room_bytes} bytes more", Node(*host))
            }
            FaultKind::SyncFails { host, ppm } => {
                write!(f, "{} % of the syncs of {} fail", f64::from(*ppm) / 10_000.0, Node(*host))
            }
            FaultKind::SlowDisk { host, times } => {
                write!(f, "the disk of {} is {times} times slower", Node(*host))
            }
            FaultKind::Rot { host, bits, remedy } => {
                let then = match remedy {
                    Remedy::Fix => "cut off",
                    Remedy::Wipe => "moved away",
                };
                write!(f, "{bits} bits of the log of {} turn over; it is {then}", Node(*host))
            }
            FaultKind::OlderImage { host } => {
                write!(f, "{} is brought back to what it had stored", Node(*host))
            }
        }
    }
}
