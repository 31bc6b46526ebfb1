//! Plans: everything a run does, decided before it starts and written down as data. A plan comes from
//! a seed and a profile; each of its elements is drawn from a stream of its own, so that taking one out
//! leaves the others as they were.

pub mod ambush;
mod disks;
mod generate;
mod hashes;
mod load;
pub mod strong;
mod words;

use quorate::base::limits::Limits;
use quorate::base::time::Span;
use serde::{Deserialize, Serialize};

use crate::workload::client::ClientPlan;

/// What kind of plans to make.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Three nodes, 80 commands, short timers.
    Smoke,
    /// Two to five masters in any topology, sometimes with a read-only replica; production timers.
    Active,
    /// The same, each node with a log; processes are killed and hosts lose power often.
    Durability,
    /// Three to seven nodes of a strong cluster.
    Strong,
}

/// Everything a run does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub profile: Profile,
    pub seed: u64,
    pub shape: Shape,
    pub nodes: Vec<NodePlan>,
    pub password: Option<String>,
    pub limits: LimitsPlan,
    pub backlog_bytes: u64,
    pub network: NetworkPlan,
    pub clients: Vec<ClientPlan>,
    pub faults: Vec<Fault>,
    /// How long faults and load go on.
    pub load_ms: u64,
    pub heal: Heal,
    /// How long the core may take to converge, in simulated time.
    pub bound_ms: u64,
    /// The deliberate fault in every node, by name.
    pub mutant: Option<String>,
    /// Of profile `strong`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strong: Option<strong::StrongPlan>,
}

/// Who follows whom.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    Mesh,
    Ring,
    Chain,
    Star,
}

/// One node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodePlan {
    /// Whom it follows: `replicaof` lines, in this order.
    pub masters: Vec<u16>,
    /// A plain read-only replica.
    pub replica: bool,
    /// It follows a TCP proxy, which leads each of its connections to one of the masters.
    #[serde(default, skip_serializing_if = "is_false")]
    pub proxied: bool,
    pub offset_ms: i64,
    pub drift_ppm: i32,
    /// It keeps a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogPlan>,
}

/// (For serde.)
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// When a node's log is brought onto its device: `appendfsync`.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogPlan {
    Always,
    EverySec,
    No,
}

/// Which bounds the nodes run with.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitsPlan {
    Production,
    /// Small windows and chunks.
    Tiny,
    /// Small windows and chunks, and periods a quarter of a server's.
    Short,
}

/// All links alike, but for those between two regions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetworkPlan {
    pub latency_min_us: u64,
    pub latency_mean_us: u64,
    pub loss_permille: u32,
    pub reorder_permille: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<RegionsPlan>,
}

/// Two regions, each as near within as the plan's links are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegionsPlan {
    /// The hosts of the second.
    pub second: Vec<u16>,
    /// How much longer a segment takes between them, one way, microseconds.
    pub farther_us: u64,
    /// Of each link between them; zero: unlimited.
    pub bytes_per_sec: u64,
}

impl NetworkPlan {
    /// What lies between two hosts, if they are in different regions.
    pub fn apart(&self, a: u16, b: u16) -> Option<&RegionsPlan> {
        self.regions.as_ref().filter(|r| r.second.contains(&a) != r.second.contains(&b))
    }

    /// Least latency between two hosts, one way, microseconds.
    pub fn latency_us(&self, a: u16, b: u16) -> u64 {
        self.latency_min_us + self.apart(a, b).map_or(0, |regions| regions.farther_us)
    }
}

/// One fault, from `at_ms` to `until_ms` if it has an end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    pub at_ms: u64,
    pub until_ms: u64,
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Packets from `from` are dropped at `at`: `iptables -A INPUT -s FROM -j DROP`.
    DropIn { at: u16, from: u16 },
    /// The same on the sender's side: `iptables -A OUTPUT -d TO -j DROP`.
    DropOut { at: u16, to: u16 },
    /// Both directions between two groups are dropped.
    Split { left: Vec<u16>, right: Vec<u16> },
    /// Refused with an ICMP error, or with a reset.
    Reject { at: u16, from: u16, reset: bool },
    /// Some packets are dropped.
    Lossy { at: u16, from: u16, permille: u32 },
    /// The process is killed, or its host loses power; it starts again at the end, without data.
    Crash { host: u16, power: bool },
    /// The process stands still.
    Pause { host: u16 },
    /// The wall clock steps; it does not step back at the end.
    Step { host: u16, by_ms: i64 },
    /// The link is slow.
    Slow { a: u16, b: u16, latency_ms: u64 },
    /// All connections between two hosts are reset.
    Reset { a: u16, b: u16 },
    /// What the node sends to its clients is dropped.
    DeafClients { host: u16 },
    /// From the start until it ends the node is no part of the cluster: it has no masters, and nobody
    /// follows it, but for others that come at the same time. Then it is added with `REPLICAOF`, as are those who
    /// follow it.
    Newcomer {
        host: u16,
        /// It has been in another cluster in an earlier life, and that may have collected up to so long after the start, ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        past_ms: Option<u64>,
    },
    /// `REPLICAOF REMOVE` (of a plain replica `NO ONE`), and `REPLICAOF` at the end.
    Unfollow { host: u16, master: u16 },
    /// `REPLICAOF` of a plain replica with another master, and with its own at the end.
    Refollow { host: u16, master: u16 },
    /// The process is killed and starts again without data until the end, as somebody else: with a copy of the node
    /// id of `of`, or with its random numbers, so that both draw one origin.
    Twin { host: u16, of: u16, copy: bool },
    /// The host has so much memory left: a process that takes more is killed, and starts again at the end.
    Memory { host: u16, bytes: u64 },
    /// Somebody upgrades a connection to the peer protocol and sends these bytes.
    Garbage { host: u16, bytes: Vec<u8> },
    /// The disk has room for so many bytes more.
    Full { host: u16, room_bytes: u64 },
    /// Syncs in a million fail; a process that ends of that starts again at the end.
    SyncFails { host: u16, ppm: u32 },
    /// Everything the disk does takes so many times longer.
    SlowDisk { host: u16, times: u32 },
    /// The process is killed and so many bits of what it has stored turn over; it starts again at the end. If it refuses to,
    /// somebody does about it what is said here.
    Rot { host: u16, bits: u32, remedy: Remedy },
    /// At the end the process is killed, and starts again with all that was stored at the beginning.
    OlderImage { host: u16 },
}

/// What an operator does with a log that a server does not start from.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// `quorate check --fix`: cuts the log off at the damage. Moves it away if that does not help.
    Fix,
    /// Moves log and snapshot away.
    Wipe,
}

/// Classes of faults that a plan switches on and off as a whole.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultClass {
    Drop,
    OneWay,
    Split,
    Reject,
    Loss,
    Crash,
    Pause,
    Step,
    Slow,
    Reset,
    Clients,
    Newcomer,
    Unfollow,
    Twin,
    Garbage,
    Memory,
    Full,
    SyncFails,
    SlowDisk,
    Rot,
    OlderImage,
}

impl FaultClass {
    /// Those that each plan switches on or off at a rate of its own.
    pub const COMMON: usize = 11;
    /// These and rare ones that operators and strangers do; behind them those of disks.
    pub const WITHOUT_DISKS: usize = 16;

    pub const ALL: [FaultClass; 21] = [
        FaultClass::Drop,
        FaultClass::OneWay,
        FaultClass::Split,
        FaultClass::Reject,
        FaultClass::Loss,
        FaultClass::Crash,
        FaultClass::Pause,
        FaultClass::Step,
        FaultClass::Slow,
        FaultClass::Reset,
        FaultClass::Clients,
        FaultClass::Newcomer,
        FaultClass::Unfollow,
        FaultClass::Twin,
        FaultClass::Garbage,
        FaultClass::Memory,
        FaultClass::Full,
        FaultClass::SyncFails,
        FaultClass::SlowDisk,
        FaultClass::Rot,
        FaultClass::OlderImage,
    ];

    pub fn name(self) -> &'static str {
        match self {
            FaultClass::Drop => "drop",
            FaultClass::OneWay => "one-way",
            FaultClass::Split => "split",
            FaultClass::Reject => "reject",
            FaultClass::Loss => "loss",
            FaultClass::Crash => "crash",
            FaultClass::Pause => "pause",
            FaultClass::Step => "clock step",
            FaultClass::Slow => "slow",
            FaultClass::Reset => "reset",
            FaultClass::Clients => "clients",
            FaultClass::Newcomer => "newcomer",
            FaultClass::Unfollow => "unfollow",
            FaultClass::Twin => "twin",
            FaultClass::Garbage => "garbage",
            FaultClass::Memory => "memory",
            FaultClass::Full => "full disk",
            FaultClass::SyncFails => "failing sync",
            FaultClass::SlowDisk => "slow disk",
            FaultClass::Rot => "bit rot",
            FaultClass::OlderImage => "older image",
        }
    }
}

impl FaultKind {
    /// By how much the fault sets a wall clock apart, ms.
    pub fn step_ms(&self) -> u64 {
        match self {
            FaultKind::Step { by_ms, .. } => by_ms.unsigned_abs(),
            FaultKind::DropIn { .. }
            | FaultKind::DropOut { .. }
            | FaultKind::Split { .. }
            | FaultKind::Reject { .. }
            | FaultKind::Lossy { .. }
            | FaultKind::Crash { .. }
            | FaultKind::Pause { .. }
            | FaultKind::Slow { .. }
            | FaultKind::Reset { .. }
            | FaultKind::DeafClients { .. }
            | FaultKind::Newcomer { .. }
            | FaultKind::Unfollow { .. }
            | FaultKind::Refollow { .. }
            | FaultKind::Twin { .. }
            | FaultKind::Memory { .. }
            | FaultKind::Garbage { .. }
            | FaultKind::Full { .. }
            | FaultKind::SyncFails { .. }
            | FaultKind::SlowDisk { .. }
            | FaultKind::Rot { .. }
            | FaultKind::OlderImage { .. } => 0,
        }
    }

    pub fn class(&self) -> FaultClass {
        match self {
            FaultKind::DropIn { .. } | FaultKind::DropOut { .. } => FaultClass::OneWay,
            FaultKind::Split { left, .. } if left.len() == 1 => FaultClass::Drop,
            FaultKind::Split { .. } => FaultClass::Split,
            FaultKind::Reject { .. } => FaultClass::Reject,
            FaultKind::Lossy { .. } => FaultClass::Loss,
            FaultKind::Crash { .. } => FaultClass::Crash,
            FaultKind::Pause { .. } => FaultClass::Pause,
            FaultKind::Step { .. } => FaultClass::Step,
            FaultKind::Slow { .. } => FaultClass::Slow,
            FaultKind::Reset { .. } => FaultClass::Reset,
            FaultKind::DeafClients { .. } => FaultClass::Clients,
            FaultKind::Newcomer { .. } => FaultClass::Newcomer,
            FaultKind::Unfollow { .. } | FaultKind::Refollow { .. } => FaultClass::Unfollow,
            FaultKind::Twin { .. } => FaultClass::Twin,
            FaultKind::Garbage { .. } => FaultClass::Garbage,
            FaultKind::Memory { .. } => FaultClass::Memory,
            FaultKind::Full { .. } => FaultClass::Full,
            FaultKind::SyncFails { .. } => FaultClass::SyncFails,
            FaultKind::SlowDisk { .. } => FaultClass::SlowDisk,
            FaultKind::Rot { .. } => FaultClass::Rot,
            FaultKind::OlderImage { .. } => FaultClass::OlderImage,
        }
    }
}

/// What is repaired when the load ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heal {
    All,
    /// Only what these need among themselves; every other host stays as `rest` says for ever.
    Core {
        hosts: Vec<u16>,
        rest: Rest,
    },
}

/// How hosts outside the core stay.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rest {
    Crashed,
    Paused,
    Cut,
}

impl Profile {
    pub const ALL: [Profile; 4] =
        [Profile::Smoke, Profile::Active, Profile::Durability, Profile::Strong];

    pub fn name(self) -> &'static str {
        match self {
            Profile::Smoke => "smoke",
            Profile::Active => "active",
            Profile::Durability => "durability",
            Profile::Strong => "strong",
        }
    }

    pub fn from_name(name: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|p| p.name() == name)
    }
}

impl LimitsPlan {
    pub const ALL: [LimitsPlan; 3] = [LimitsPlan::Production, LimitsPlan::Tiny, LimitsPlan::Short];

    /// As scenario files say it.
    pub fn name(self) -> &'static str {
        match self {
            LimitsPlan::Production => "production",
            LimitsPlan::Tiny => "tiny",
            LimitsPlan::Short => "short",
        }
    }

    pub fn from_name(name: &str) -> Option<LimitsPlan> {
        LimitsPlan::ALL.into_iter().find(|l| l.name() == name)
    }

    /// How long after the load clients still wait for what is under way.
    pub fn last_replies(self) -> Span {
        match self {
            LimitsPlan::Production | LimitsPlan::Tiny => Span::from_ms(1000),
            LimitsPlan::Short => Span::from_ms(250),
        }
    }

    pub fn limits(self) -> Limits {
        match self {
            LimitsPlan::Production => Limits::production(),
            LimitsPlan::Tiny => Limits::tiny(),
            LimitsPlan::Short => Limits {
                ping_period: Span::from_ms(250),
                suspect_after: Span::from_ms(500),
                dial_timeout: Span::from_ms(250),
                handshake_timeout: Span::from_ms(500),
                backoff_min: Span::from_ms(25),
                backoff_max: Span::from_ms(500),
                ..Limits::tiny()
            },
        }
    }
}

impl Plan {
    /// The hosts that must converge once the load has ended.
    pub fn core(&self) -> Vec<u16> {
        match &self.heal {
            Heal::All => (0..self.nodes.len() as u16).collect(),
            Heal::Core { hosts, .. } => hosts.clone(),
        }
    }

    /// How far apart wall clocks may be because of steps, ms.
    pub fn steps_ms(&self) -> u64 {
        self.faults.iter().map(|f| f.kind.step_ms()).sum()
    }

    /// How far the clock that is set worst is off from the start, ms.
    pub fn offset_max_ms(&self) -> u64 {
        self.nodes.iter().map(|n| n.offset_ms.unsigned_abs()).max().unwrap_or(0)
    }

    /// Whether every member comes back in the end, so that everything can be collected.
    pub fn heals_all(&self) -> bool {
        match self.heal {
            Heal::All => true,
            Heal::Core { .. } => false,
        }
    }

    pub fn commands(&self) -> usize {
        let of_strong = self.strong.iter().flat_map(|strong| &strong.clients);
        self.clients.iter().map(|c| c.steps.len()).sum::<usize>()
            + of_strong.map(|client| client.steps.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
