//! A host's packet filter, in iptables' own words: chains INPUT and OUTPUT, a policy each, ordered
//! rules, the first match wins. A word that is not known is an error that names it.

mod parse;

use std::fmt;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::decide::{Decisions, Kind};

pub use parse::FirewallError;

/// Which way a packet passes the host.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Chain {
    Input,
    Output,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

/// What connection tracking says of a packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ConnState {
    New,
    Established,
    Related,
    Invalid,
}

/// What a rule can see of a packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub protocol: Protocol,
    /// Zero for ICMP.
    pub sport: u16,
    pub dport: u16,
    /// It stays within the host.
    pub loopback: bool,
    pub state: ConnState,
}

/// How a REJECT answers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum RejectWith {
    TcpReset,
    IcmpPortUnreachable,
    IcmpHostUnreachable,
    IcmpNetUnreachable,
    IcmpAdminProhibited,
}

/// What becomes of a packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Accept,
    Drop,
    Reject(RejectWith),
}

/// What becomes of packets of one kind, chance aside.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Outlook {
    Passes,
    /// Some pass.
    Some,
    Dropped,
    Refused,
}

/// A condition with `!` or without.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Cond<T> {
    not: bool,
    value: T,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Network {
    addr: u32,
    prefix: u8,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Ports {
    first: u16,
    last: u16,
}

/// `lo`, `eth0` or a beginning of these with `+`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Interface {
    Loopback,
    Ethernet,
    Any,
}

/// Bits by [`ConnState`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct States(u8);

/// One rule. All conditions must hold; a rule without a target counts and does nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Rule {
    source: Option<Cond<Network>>,
    destination: Option<Cond<Network>>,
    protocol: Option<Cond<Protocol>>,
    sport: Option<Cond<Ports>>,
    dport: Option<Cond<Ports>>,
    interface: Option<Cond<Interface>>,
    /// Of 2^31, as the kernel keeps it.
    probability: Option<Cond<u32>>,
    states: Option<Cond<States>>,
    target: Option<Verdict>,
}

#[derive(Clone, Debug)]
struct Rules {
    policy: Verdict,
    rules: Vec<Rule>,
}

/// Both chains of a host.
#[derive(Clone, Debug)]
pub struct Firewall {
    input: Rules,
    output: Rules,
    open: [bool; 2],
}

impl Firewall {
    /// No rules, both policies ACCEPT.
    pub const fn new() -> Firewall {
        Firewall {
            input: Rules { policy: Verdict::Accept, rules: Vec::new() },
            output: Rules { policy: Verdict::Accept, rules: Vec::new() },
            open: [true; 2],
        }
    }

    /// Carries out one iptables command, with or without the word `iptables` before it. Returns what it
    /// prints. `resolve` gives the address of a host name.
    ///
    /// # Errors
    /// Names the word that is wrong; the chains are unchanged.
    pub fn apply(
        &mut self,
        line: &str,
        resolve: &dyn Fn(&str) -> Option<Ipv4Addr>,
    ) -> Result<String, FirewallError> {
        let mut printed = String::new();
        parse::apply(self, line, resolve, &mut printed)?;
        for chain in [Chain::Input, Chain::Output] {
            let rules = self.rules(chain);
            self.open[chain as usize] = rules.rules.is_empty() && rules.policy == Verdict::Accept;
        }
        Ok(printed)
    }

    /// Whether everything passes, without looking.
    #[inline]
    pub fn is_open(&self, chain: Chain) -> bool {
        self.open[chain as usize]
    }

    /// The verdict of the first rule that matches, or the policy.
    pub fn judge(&self, chain: Chain, packet: &Packet, decisions: &mut Decisions) -> Verdict {
        let rules = self.rules(chain);
        for rule in &rules.rules {
            if rule.matches(packet)
                && rule.lucky(decisions)
                && let Some(target) = rule.target
            {
                return match target {
                    // The kernel never answers an error with an error.
                    Verdict::Reject(_) if packet.protocol == Protocol::Icmp => Verdict::Drop,
                    Verdict::Accept | Verdict::Drop | Verdict::Reject(_) => target,
                };
            }
        }
        rules.policy
    }

    /// What can become of packets like this one, without drawing any chance.
    pub fn outlook(&self, chain: Chain, packet: &Packet) -> Outlook {
        let rules = self.rules(chain);
        let mut possible = Vec::new();
        for rule in rules.rules.iter().filter(|rule| rule.matches(packet)) {
            possible.extend(rule.target);
            if rule.target.is_some() && rule.probability.is_none() {
                return outlook_of(&possible);
            }
        }
        possible.push(rules.policy);
        outlook_of(&possible)
    }

    fn rules(&self, chain: Chain) -> &Rules {
        match chain {
            Chain::Input => &self.input,
            Chain::Output => &self.output,
        }
    }

    fn rules_mut(&mut self, chain: Chain) -> &mut Rules {
        match chain {
            Chain::Input => &mut self.input,
            Chain::Output => &mut self.output,
        }
    }

    fn list(&self, chain: Chain, numbers: bool, out: &mut String) {
        let rules = self.rules(chain);
        let policy = match rules.policy {
            Verdict::Accept => "ACCEPT",
            Verdict::Drop | Verdict::Reject(_) => "DROP",
        };
        let num = if numbers { "num  " } else { "" };
        let _ = writeln!(out, "Chain {chain} (policy {policy})");
        let _ = writeln!(out, "{num}target     prot opt source               destination         ");
        for (at, rule) in rules.rules.iter().enumerate() {
            if numbers {
                let _ = write!(out, "{:<5}", at + 1);
            }
            let _ = writeln!(out, "{rule}");
        }
    }
}

impl Default for Firewall {
    fn default() -> Firewall {
        Firewall::new()
    }
}

impl<T: Copy> Cond<T> {
    fn holds(self, matches: impl FnOnce(T) -> bool) -> bool {
        matches(self.value) != self.not
    }
}

fn outlook_of(possible: &[Verdict]) -> Outlook {
    let passes = possible.contains(&Verdict::Accept);
    let stopped = possible.iter().any(|verdict| *verdict != Verdict::Accept);
    match (passes, possible.first()) {
        (true, _) if stopped => Outlook::Some,
        (true, _) | (false, None) => Outlook::Passes,
        (false, Some(Verdict::Reject(_))) => Outlook::Refused,
        (false, Some(Verdict::Accept | Verdict::Drop)) => Outlook::Dropped,
    }
}

/// A condition that is not there holds.
fn holds<T: Copy>(cond: Option<Cond<T>>, matches: impl FnOnce(T) -> bool) -> bool {
    cond.is_none_or(|cond| cond.holds(matches))
}

impl Rule {
    fn matches(&self, packet: &Packet) -> bool {
        holds(self.source, |network| network.contains(packet.src))
            && holds(self.destination, |network| network.contains(packet.dst))
            && holds(self.protocol, |protocol| protocol == packet.protocol)
            && holds(self.sport, |ports| ports.contains(packet.sport))
            && holds(self.dport, |ports| ports.contains(packet.dport))
            && holds(self.interface, |interface| interface.carries(packet.loopback))
            && holds(self.states, |states| states.contains(packet.state))
    }

    /// Drawn last, and only for packets that match otherwise.
    fn lucky(&self, decisions: &mut Decisions) -> bool {
        holds(self.probability, |of_2_31| {
            decisions.decide(Kind::Statistic, 1 << 31) >= (1 << 31) - u64::from(of_2_31)
        })
    }
}

impl Network {
    fn contains(self, addr: Ipv4Addr) -> bool {
        (u32::from(addr) ^ self.addr) & self.mask() == 0
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }
}

impl Ports {
    fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl Interface {
    fn carries(self, loopback: bool) -> bool {
        match self {
            Interface::Loopback => loopback,
            Interface::Ethernet => !loopback,
            Interface::Any => true,
        }
    }
}

impl States {
    fn contains(self, state: ConnState) -> bool {
        self.0 & 1 << state as u8 != 0
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Chain::Input => "INPUT",
            Chain::Output => "OUTPUT",
        })
    }
}

impl fmt::Display for Cond<Network> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.not { "!" } else { "" };
        let addr = Ipv4Addr::from(self.value.addr);
        match self.value.prefix {
            32 => f.pad(&format!("{not}{addr}")),
            0 => f.pad(&format!("{not}anywhere")),
            prefix => f.pad(&format!("{not}{addr}/{prefix}")),
        }
    }
}

/// As `iptables -L -n` prints it, about.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = match self.target {
            None => "",
            Some(Verdict::Accept) => "ACCEPT",
            Some(Verdict::Drop) => "DROP",
            Some(Verdict::Reject(_)) => "REJECT",
        };
        let protocol = match self.protocol {
            None => "all",
            Some(Cond { not: false, value: Protocol::Tcp }) => "tcp",
            Some(Cond { not: false, value: Protocol::Udp }) => "udp",
            Some(Cond { not: false, value: Protocol::Icmp }) => "icmp",
            Some(Cond { not: true, value: Protocol::Tcp }) => "!tcp",
            Some(Cond { not: true, value: Protocol::Udp }) => "!udp",
            Some(Cond { not: true, value: Protocol::Icmp }) => "!icmp",
        };
        let anywhere = Cond { not: false, value: Network { addr: 0, prefix: 0 } };
        let source = self.source.unwrap_or(anywhere);
        let destination = self.destination.unwrap_or(anywhere);
        write!(f, "{target:<10} {protocol:<4} --  {source:<20} {destination:<20}")?;
        if let Some(Cond { not, value }) = self.interface {
            let name = match value {
                Interface::Loopback => "lo",
                Interface::Ethernet => "eth0",
                Interface::Any => "any",
            };
            write!(f, " {}{name}", if not { "!" } else { "" })?;
        }
        for (word, ports) in [("spt", self.sport), ("dpt", self.dport)] {
            if let Some(Cond { not, value }) = ports {
                let not = if not { "!" } else { "" };
                if value.first == value.last {
                    write!(f, " tcp {word}:{not}{}", value.first)?;
                } else {
                    write!(f, " tcp {word}s:{not}{}:{}", value.first, value.last)?;
                }
            }
        }
        if let Some(Cond { not, value }) = self.probability {
            let probability = f64::from(value) / f64::from(1u32 << 31);
            let not = if not { " !" } else { "" };
            write!(f, " statistic mode random{not} probability {probability:.11}")?;
        }
        if let Some(Cond { not, value }) = self.states {
            write!(f, " {}state ", if not { "! " } else { "" })?;
            let names = parse::STATES.iter().filter(|(_, state)| value.contains(*state));
            for (at, (name, _)) in names.enumerate() {
                write!(f, "{}{name}", if at > 0 { "," } else { "" })?;
            }
        }
        if let Some(Verdict::Reject(with)) = self.target {
            let named = parse::REJECTS.iter().find(|(_, reject)| *reject == with);
            write!(f, " reject-with {}", named.map_or("", |(name, _)| name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
