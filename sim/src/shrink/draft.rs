//! A scenario file being made shorter: what it says, as data, and as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::plan::{LimitsPlan, LogPlan};
use crate::runner::deeds::Deed;
use crate::workload::command::Command;

/// A file. Hosts are numbered as in the plan it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// The comment above all lines, without whether real processes can play them.
    pub title: String,
    pub seed: Option<u64>,
    pub limits: LimitsPlan,
    pub hosts: Vec<HostDraft>,
    pub links: Vec<LinkDraft>,
    pub password: Option<String>,
    pub backlog_bytes: Option<u64>,
    /// In the order of their times.
    pub events: Vec<Event>,
    pub end: End,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostDraft {
    pub number: u16,
    pub offset_ms: i64,
    pub masters: Vec<u16>,
    /// A plain replica.
    pub replica: bool,
    pub log: Option<LogPlan>,
}

/// Both directions between two hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkDraft {
    pub a: u16,
    pub b: u16,
    pub latency_us: u64,
    pub loss_permille: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Since the file's start.
    pub at_us: u64,
    /// The fault it belongs to, if any.
    pub fault: Option<usize>,
    pub what: Doing,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Doing {
    Ask { client: usize, host: u16, command: Command },
    Deed(Deed),
}

/// The last lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    pub converged_secs: u64,
    /// Everything that can be collected must be, and must not have been needed.
    pub collected_secs: Option<u64>,
}

pub fn name_of(host: u16) -> String {
    format!("node{}", host + 1)
}

pub fn ip_of(host: u16) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host as u8 + 1)
}

impl Draft {
    /// As a file says it.
    pub fn text(&self) -> String {
        let mut out = format!("# {}   real: {}\n", self.title, self.real());
        if let Some(seed) = self.seed {
            let _ = writeln!(out, "seed {seed}");
        }
        if self.limits != LimitsPlan::Production {
            let _ = writeln!(out, "limits {}", self.limits.name());
        }
        for host in &self.hosts {
            let _ = writeln!(out, "host {} {}", name_of(host.number), ip_of(host.number));
        }
        for host in self.hosts.iter().filter(|host| host.offset_ms != 0) {
            let _ = writeln!(out, "clock {} {:+}ms", name_of(host.number), host.offset_ms);
        }
        for link in &self.links {
            let (a, b) = (name_of(link.a), name_of(link.b));
            let _ = write!(out, "link {a} {b} latency {}", time_text(link.latency_us));
            if link.loss_permille > 0 {
                let _ = write!(out, " loss {}%", f64::from(link.loss_permille) / 10.0);
            }
            out.push('\n');
        }
        for host in &self.hosts {
            let _ = writeln!(out, "{}", self.server(host, &host.masters));
        }
        let mut masters: BTreeMap<u16, &[u16]> =
            self.hosts.iter().map(|h| (h.number, h.masters.as_slice())).collect();
        for event in &self.events {
            self.event(&mut out, event, &mut masters);
        }
        let _ = writeln!(out, "within {}s converged", self.end.converged_secs);
        if let Some(secs) = self.end.collected_secs {
            let _ = writeln!(out, "within {secs}s collected\nwithin 10s converged");
        }
        out
    }

    /// Whether real processes can play the file.
    fn real(&self) -> &'static str {
        if self.limits != LimitsPlan::Production {
            "no (bounds of simulated nodes)"
        } else if self.end.collected_secs.is_some() {
            "no (a look into servers)"
        } else {
            "yes"
        }
    }

    /// Lines of the text.
    pub fn lines(&self) -> usize {
        self.text().lines().count()
    }

    pub fn host(&self, number: u16) -> Option<&HostDraft> {
        self.hosts.iter().find(|host| host.number == number)
    }

    fn server(&self, host: &HostDraft, masters: &[u16]) -> String {
        let mut out = format!("{}$ quorate server", name_of(host.number));
        if !host.replica {
            out.push_str(" --active-replica yes --multi-master yes");
        }
        for &master in masters {
            let _ = write!(out, " --replicaof {} 6379", name_of(master));
        }
        match &self.password {
            Some(password) => {
                let _ = write!(out, " --requirepass {password} --masterauth {password}");
            }
            None => out.push_str(" --protected-mode no"),
        }
        let log = match host.log {
            None => " --appendonly no",
            Some(LogPlan::Always) => " --appendfsync always",
            Some(LogPlan::EverySec) => "",
            Some(LogPlan::No) => " --appendfsync no",
        };
        out.push_str(log);
        if let Some(bytes) = self.backlog_bytes {
            let _ = write!(out, " --repl-backlog-size {bytes}");
        }
        out
    }

    fn event<'a>(
        &'a self,
        out: &mut String,
        event: &'a Event,
        masters: &mut BTreeMap<u16, &'a [u16]>,
    ) {
        let at = format!("at {} ", time_text(event.at_us));
        let line = match &event.what {
            Doing::Ask { host, command: Command::Multi { commands }, .. } => {
                let name = name_of(*host);
                let _ = writeln!(out, "{at}{name}> MULTI");
                for command in commands {
                    let _ = writeln!(out, "{at}{name}> {command}");
                }
                format!("{name}> EXEC")
            }
            Doing::Ask { host, command, .. } => format!("{}> {command}", name_of(*host)),
            Doing::Deed(deed) => match deed {
                Deed::Iptables { host, rule } => format!("{}$ iptables {rule}", name_of(*host)),
                Deed::Kill { host } => format!("kill {}", name_of(*host)),
                Deed::Pause { host } => format!("pause {}", name_of(*host)),
                Deed::Resume { host } => format!("resume {}", name_of(*host)),
                Deed::Start { host, masters: now } => {
                    let same = masters.insert(*host, now).is_none_or(|before| before == now);
                    match self.host(*host).filter(|_| !same) {
                        Some(host) => self.server(host, now),
                        None => format!("restart {}", name_of(*host)),
                    }
                }
                Deed::Step { host, by_ms } => format!("clock {} {by_ms:+}ms", name_of(*host)),
                Deed::Latency { a, b, ms } => {
                    let usual = || self.links.iter().find(|l| (l.a, l.b) == (*a.min(b), *a.max(b)));
                    let us =
                        ms.map_or_else(|| usual().map_or(50, |l| l.latency_us), |ms| ms * 1000);
                    format!("link {} {} latency {}", name_of(*a), name_of(*b), time_text(us))
                }
                Deed::Tell { host, words } => format!("{}> {}", name_of(*host), words.join(" ")),
                Deed::LinksHeal { .. } | Deed::Unsayable(_) => return,
            },
        };
        let _ = writeln!(out, "{at}{line}");
    }
}

impl Doing {
    /// The hosts it concerns.
    pub fn hosts(&self) -> Vec<u16> {
        match self {
            Doing::Ask { host, .. } => vec![*host],
            Doing::Deed(deed) => match deed {
                Deed::Iptables { host, .. }
                | Deed::Kill { host }
                | Deed::Start { host, .. }
                | Deed::Pause { host }
                | Deed::Resume { host }
                | Deed::Step { host, .. }
                | Deed::LinksHeal { host } => vec![*host],
                Deed::Tell { host, words } => {
                    let named = |h: &u16| words.contains(&name_of(*h));
                    [*host].into_iter().chain((0..64).filter(named)).collect()
                }
                Deed::Latency { a, b, .. } => vec![*a, *b],
                Deed::Unsayable(_) => Vec::new(),
            },
        }
    }
}

/// A time as files say it, short.
pub fn time_text(us: u64) -> String {
    if us >= 1_000_000 && us.is_multiple_of(100_000) {
        format!("{}s", us as f64 / 1e6)
    } else {
        format!("{}ms", us as f64 / 1e3)
    }
}
