//! The words of iptables.

use std::fmt;
use std::net::Ipv4Addr;

use super::{
    Chain, Cond, ConnState, Firewall, Interface, Network, Ports, Protocol, RejectWith, Rule,
    States, Verdict,
};

pub(super) const STATES: [(&str, ConnState); 4] = [
    ("INVALID", ConnState::Invalid),
    ("NEW", ConnState::New),
    ("RELATED", ConnState::Related),
    ("ESTABLISHED", ConnState::Established),
];

pub(super) const REJECTS: [(&str, RejectWith); 5] = [
    ("tcp-reset", RejectWith::TcpReset),
    ("icmp-port-unreachable", RejectWith::IcmpPortUnreachable),
    ("icmp-host-unreachable", RejectWith::IcmpHostUnreachable),
    ("icmp-net-unreachable", RejectWith::IcmpNetUnreachable),
    ("icmp-admin-prohibited", RejectWith::IcmpAdminProhibited),
];

/// Why an iptables command was not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FirewallError {
    /// A word the simulated iptables does not have.
    UnknownWord(String),
    /// A word that needs another after it.
    Missing {
        after: String,
        what: &'static str,
    },
    /// A value that does not parse.
    BadValue {
        word: String,
        value: String,
    },
    /// A word that is allowed only with another.
    Needs {
        word: String,
        needs: &'static str,
    },
    /// A condition or target that is there already.
    Twice(String),
    /// `-i` where packets leave, or `-o` where they come in.
    WrongChain {
        word: String,
        chain: Chain,
    },
    /// `!` before a word that cannot be inverted.
    NotInvertible(String),
    /// No command (`-A`, `-D`, …), or two of them.
    NoCommand,
    SecondCommand(String),
    NoSuchChain(String),
    /// `-D` of a rule that is not there.
    NoSuchRule,
    /// A number beyond the chain's rules.
    BadIndex(usize),
}

impl fmt::Display for FirewallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FirewallError::UnknownWord(word) => write!(f, "iptables: unknown word \"{word}\""),
            FirewallError::Missing { after, what } => {
                write!(f, "iptables: \"{after}\" must be followed by {what}")
            }
            FirewallError::BadValue { word, value } => {
                write!(f, "iptables: bad value \"{value}\" for \"{word}\"")
            }
            FirewallError::Needs { word, needs } => {
                write!(f, "iptables: \"{word}\" is only known with {needs}")
            }
            FirewallError::Twice(word) => {
                write!(f, "iptables: multiple \"{word}\" not allowed")
            }
            FirewallError::WrongChain { word, chain } => {
                write!(f, "iptables: can't use \"{word}\" with {chain}")
            }
            FirewallError::NotInvertible(word) => {
                write!(f, "iptables: unexpected ! before \"{word}\"")
            }
            FirewallError::NoCommand => {
                write!(f, "iptables: no command specified (-A -I -D -F -P -L)")
            }
            FirewallError::SecondCommand(word) => {
                write!(f, "iptables: cannot use \"{word}\" with another command")
            }
            FirewallError::NoSuchChain(name) => {
                write!(f, "iptables: no chain \"{name}\" (INPUT and OUTPUT are there)")
            }
            FirewallError::NoSuchRule => {
                write!(f, "iptables: Bad rule (does a matching rule exist in that chain?).")
            }
            FirewallError::BadIndex(index) => {
                write!(f, "iptables: Index of deletion or insertion too big: {index}")
            }
        }
    }
}

impl std::error::Error for FirewallError {}

enum Command {
    Append(Chain),
    /// The place, from 1.
    Insert(Chain, usize),
    Delete(Chain),
    DeleteAt(Chain, usize),
    Flush(Option<Chain>),
    Policy(Chain, Verdict),
    List(Option<Chain>),
}

impl Command {
    /// Where a rule is added or taken away.
    fn chain(&self) -> Option<Chain> {
        match self {
            Command::Append(chain)
            | Command::Insert(chain, _)
            | Command::Delete(chain)
            | Command::DeleteAt(chain, _) => Some(*chain),
            Command::Flush(_) | Command::Policy(_, _) | Command::List(_) => None,
        }
    }
}

struct Words<'a> {
    words: Vec<&'a str>,
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at).copied();
        self.at += 1;
        word
    }

    /// The next word if it is no option.
    fn optional(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at).copied()?;
        if word.starts_with('-') || word == "!" {
            return None;
        }
        self.at += 1;
        Some(word)
    }

    fn value(&mut self, after: &str, what: &'static str) -> Result<&'a str, FirewallError> {
        self.optional().ok_or_else(|| FirewallError::Missing { after: after.to_owned(), what })
    }

    fn chain(&mut self, after: &str) -> Result<Chain, FirewallError> {
        chain_named(self.value(after, "a chain")?)
    }

    fn chain_or_all(&mut self) -> Result<Option<Chain>, FirewallError> {
        self.optional().map(chain_named).transpose()
    }

    fn index(&mut self, after: &str) -> Result<Option<usize>, FirewallError> {
        let Some(word) = self.optional() else {
            return Ok(None);
        };
        match word.parse::<usize>() {
            Ok(index) if index > 0 => Ok(Some(index)),
            Ok(_) | Err(_) => Err(bad(after, word)),
        }
    }
}

/// What is gathered of one line.
#[derive(Default)]
struct Line {
    rule: Rule,
    /// Modules named by `-m`.
    modules: Vec<String>,
    statistic_mode: bool,
    reject_with: Option<RejectWith>,
    /// Words that make a rule: not allowed with -F, -P, -L.
    rule_word: Option<String>,
    /// `-i` or `-o`, and the chain that has no such interface.
    interface_word: Option<(String, Chain)>,
    numbers: bool,
    list_word: Option<String>,
}

pub(super) fn apply(
    firewall: &mut Firewall,
    line: &str,
    resolve: &dyn Fn(&str) -> Option<Ipv4Addr>,
    printed: &mut String,
) -> Result<(), FirewallError> {
    let mut words = Words { words: line.split_whitespace().collect(), at: 0 };
    if words.words.first() == Some(&"iptables") {
        words.at = 1;
    }
    let mut command: Option<Command> = None;
    let mut gathered = Line::default();
    while let Some(word) = words.next() {
        let (not, word) = match word {
            "!" => (true, words.next().ok_or(FirewallError::NotInvertible(String::new()))?),
            _ => (false, word),
        };
        if let Some(parsed) = parse_command(word, &mut words)? {
            if not {
                return Err(FirewallError::NotInvertible(word.to_owned()));
            }
            if command.is_some() {
                return Err(FirewallError::SecondCommand(word.to_owned()));
            }
            command = Some(parsed);
        } else {
            gathered.parse_option(not, word, &mut words, resolve)?;
        }
    }
    let command = command.ok_or(FirewallError::NoCommand)?;
    gathered.check(&command)?;
    carry_out(firewall, command, gathered, printed)
}

fn parse_command(word: &str, words: &mut Words<'_>) -> Result<Option<Command>, FirewallError> {
    Ok(Some(match word {
        "-A" | "--append" => Command::Append(words.chain(word)?),
        "-I" | "--insert" => {
            let chain = words.chain(word)?;
            Command::Insert(chain, words.index(word)?.unwrap_or(1))
        }
        "-D" | "--delete" => {
            let chain = words.chain(word)?;
            match words.index(word)? {
                Some(index) => Command::DeleteAt(chain, index),
                None => Command::Delete(chain),
            }
        }
        "-F" | "--flush" => Command::Flush(words.chain_or_all()?),
        "-L" | "--list" => Command::List(words.chain_or_all()?),
        "-P" | "--policy" => {
            let chain = words.chain(word)?;
            match words.value(word, "ACCEPT or DROP")? {
                "ACCEPT" => Command::Policy(chain, Verdict::Accept),
                "DROP" => Command::Policy(chain, Verdict::Drop),
                other => return Err(bad(word, other)),
            }
        }
        _ => return Ok(None),
    }))
}

impl Line {
    fn parse_option(
        &mut self,
        not: bool,
        word: &str,
        words: &mut Words<'_>,
        resolve: &dyn Fn(&str) -> Option<Ipv4Addr>,
    ) -> Result<(), FirewallError> {
        match word {
            "-n" | "--numeric" | "-v" | "--verbose" | "--line-numbers" if !not => {
                self.numbers |= word == "--line-numbers";
                self.list_word = Some(word.to_owned());
                return Ok(());
            }
            "-w" | "--wait" if !not => {
                if words.words.get(words.at).is_some_and(|next| next.parse::<u32>().is_ok()) {
                    words.at += 1;
                }
                return Ok(());
            }
            "-t" | "--table" if !not => {
                return match words.value(word, "a table")? {
                    "filter" => Ok(()),
                    other => Err(bad(word, other)),
                };
            }
            _ => {}
        }
        self.rule_word = Some(word.to_owned());
        let rule = &mut self.rule;
        match word {
            "-s" | "--source" | "--src" => {
                once(rule.source.is_some(), word)?;
                let value = network(word, words.value(word, "an address")?, resolve)?;
                rule.source = Some(Cond { not, value });
            }
            "-d" | "--destination" | "--dst" => {
                once(rule.destination.is_some(), word)?;
                let value = network(word, words.value(word, "an address")?, resolve)?;
                rule.destination = Some(Cond { not, value });
            }
            "-p" | "--protocol" | "--proto" => {
                once(rule.protocol.is_some(), word)?;
                let value = match words.value(word, "a protocol")? {
                    "tcp" => Protocol::Tcp,
                    "udp" => Protocol::Udp,
                    "icmp" => Protocol::Icmp,
                    "all" if !not => return Ok(()),
                    other => return Err(bad(word, other)),
                };
                rule.protocol = Some(Cond { not, value });
            }
            "--sport" | "--source-port" => {
                once(rule.sport.is_some(), word)?;
                rule.sport = Some(Cond { not, value: ports(word, words)? });
            }
            "--dport" | "--destination-port" => {
                once(rule.dport.is_some(), word)?;
                rule.dport = Some(Cond { not, value: ports(word, words)? });
            }
            "-i" | "--in-interface" | "-o" | "--out-interface" => {
                once(rule.interface.is_some(), word)?;
                let without = match word {
                    "-i" | "--in-interface" => Chain::Output,
                    _ => Chain::Input,
                };
                self.interface_word = Some((word.to_owned(), without));
                let value = match words.value(word, "an interface")? {
                    "lo" | "lo+" | "l+" => Interface::Loopback,
                    "eth0" | "eth+" | "et+" | "e+" => Interface::Ethernet,
                    "+" => Interface::Any,
                    other => return Err(bad(word, other)),
                };
                rule.interface = Some(Cond { not, value });
            }
            "-m" | "--match" if !not => match words.value(word, "a match")? {
                name @ ("tcp" | "state" | "statistic") => self.modules.push(name.to_owned()),
                other => return Err(bad(word, other)),
            },
            "--mode" if !not => match words.value(word, "a mode")? {
                "random" => self.statistic_mode = true,
                other => return Err(bad(word, other)),
            },
            "--probability" => {
                let value = probability(word, words.value(word, "a probability")?)?;
                rule.probability = Some(Cond { not, value });
            }
            "--state" => {
                let value = states(word, words.value(word, "states")?)?;
                rule.states = Some(Cond { not, value });
            }
            "-j" | "--jump" if !not => {
                once(rule.target.is_some(), word)?;
                rule.target = Some(match words.value(word, "a target")? {
                    "ACCEPT" => Verdict::Accept,
                    "DROP" => Verdict::Drop,
                    "REJECT" => Verdict::Reject(RejectWith::IcmpPortUnreachable),
                    other => return Err(bad(word, other)),
                });
            }
            "--reject-with" if !not => {
                let value = words.value(word, "a kind of answer")?;
                let found = REJECTS.iter().find(|(name, _)| *name == value);
                self.reject_with = Some(found.ok_or_else(|| bad(word, value))?.1);
            }
            "-m" | "--match" | "--mode" | "-j" | "--jump" | "--reject-with" | "-n" | "-v"
            | "-w" | "-t" => return Err(FirewallError::NotInvertible(word.to_owned())),
            _ => return Err(FirewallError::UnknownWord(word.to_owned())),
        }
        Ok(())
    }

    /// What iptables checks once it has seen the whole line.
    fn check(&mut self, command: &Command) -> Result<(), FirewallError> {
        let needs = |word: &str, needs| FirewallError::Needs { word: word.to_owned(), needs };
        let tcp = Some(Cond { not: false, value: Protocol::Tcp });
        let has = |name: &str| self.modules.iter().any(|module| module == name);
        if self.rule.sport.is_some() && self.rule.protocol != tcp {
            return Err(needs("--sport", "-p tcp"));
        }
        if self.rule.dport.is_some() && self.rule.protocol != tcp {
            return Err(needs("--dport", "-p tcp"));
        }
        if has("tcp") && self.rule.protocol != tcp {
            return Err(needs("-m tcp", "-p tcp"));
        }
        if (self.statistic_mode || self.rule.probability.is_some()) && !has("statistic") {
            return Err(needs("--mode", "-m statistic"));
        }
        if has("statistic") && !(self.statistic_mode && self.rule.probability.is_some()) {
            return Err(needs("-m statistic", "--mode random --probability"));
        }
        if self.rule.states.is_some() != has("state") {
            return Err(needs("--state", "-m state"));
        }
        if let Some(with) = self.reject_with {
            match &mut self.rule.target {
                Some(Verdict::Reject(kind)) => *kind = with,
                Some(Verdict::Accept | Verdict::Drop) | None => {
                    return Err(needs("--reject-with", "-j REJECT"));
                }
            }
            if with == RejectWith::TcpReset && self.rule.protocol != tcp {
                return Err(needs("--reject-with tcp-reset", "-p tcp"));
            }
        }
        if let (Some((word, without)), Some(chain)) = (&self.interface_word, command.chain())
            && *without == chain
        {
            return Err(FirewallError::WrongChain { word: word.clone(), chain });
        }
        let word = match command {
            Command::Append(_) | Command::Insert(_, _) | Command::Delete(_) => &self.list_word,
            Command::List(_) => &self.rule_word,
            Command::DeleteAt(_, _) | Command::Flush(_) | Command::Policy(_, _) => {
                if self.rule_word.is_some() { &self.rule_word } else { &self.list_word }
            }
        };
        match word {
            // `-n` and `-v` are harmless with every command.
            Some(word) if !matches!(word.as_str(), "-n" | "-v") => {
                Err(FirewallError::SecondCommand(word.clone()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn carry_out(
    firewall: &mut Firewall,
    command: Command,
    line: Line,
    printed: &mut String,
) -> Result<(), FirewallError> {
    match command {
        Command::Append(chain) => firewall.rules_mut(chain).rules.push(line.rule),
        Command::Insert(chain, place) => {
            let rules = &mut firewall.rules_mut(chain).rules;
            if place > rules.len() + 1 {
                return Err(FirewallError::BadIndex(place));
            }
            rules.insert(place - 1, line.rule);
        }
        Command::Delete(chain) => {
            let rules = &mut firewall.rules_mut(chain).rules;
            let place = rules.iter().position(|rule| *rule == line.rule);
            rules.remove(place.ok_or(FirewallError::NoSuchRule)?);
        }
        Command::DeleteAt(chain, place) => {
            let rules = &mut firewall.rules_mut(chain).rules;
            if place > rules.len() {
                return Err(FirewallError::BadIndex(place));
            }
            rules.remove(place - 1);
        }
        Command::Flush(chain) => {
            for which in [Chain::Input, Chain::Output] {
                if chain.is_none_or(|chain| chain == which) {
                    firewall.rules_mut(which).rules.clear();
                }
            }
        }
        Command::Policy(chain, verdict) => firewall.rules_mut(chain).policy = verdict,
        Command::List(Some(chain)) => firewall.list(chain, line.numbers, printed),
        Command::List(None) => {
            firewall.list(Chain::Input, line.numbers, printed);
            printed.push('\n');
            firewall.list(Chain::Output, line.numbers, printed);
        }
    }
    Ok(())
}

/// iptables takes each condition once.
fn once(there: bool, word: &str) -> Result<(), FirewallError> {
    if there { Err(FirewallError::Twice(word.to_owned())) } else { Ok(()) }
}

fn bad(word: &str, value: &str) -> FirewallError {
    FirewallError::BadValue { word: word.to_owned(), value: value.to_owned() }
}

fn chain_named(name: &str) -> Result<Chain, FirewallError> {
    match name {
        "INPUT" => Ok(Chain::Input),
        "OUTPUT" => Ok(Chain::Output),
        _ => Err(FirewallError::NoSuchChain(name.to_owned())),
    }
}

/// `ADDR`, `ADDR/PREFIX`, `ADDR/MASK` or a host's name.
fn network(
    word: &str,
    value: &str,
    resolve: &dyn Fn(&str) -> Option<Ipv4Addr>,
) -> Result<Network, FirewallError> {
    let (addr, mask) = match value.split_once('/') {
        Some((addr, mask)) => (addr, Some(mask)),
        None => (value, None),
    };
    let addr = match addr.parse::<Ipv4Addr>() {
        Ok(addr) => addr,
        Err(_) => resolve(addr).ok_or_else(|| bad(word, value))?,
    };
    let prefix = match mask {
        None => 32,
        Some(mask) => match (mask.parse::<u8>(), mask.parse::<Ipv4Addr>()) {
            (Ok(prefix), _) if prefix <= 32 => prefix,
            (_, Ok(mask)) => {
                let bits = u32::from(mask);
                if bits.leading_ones() + bits.trailing_zeros() < 32 {
                    return Err(bad(word, value));
                }
                bits.leading_ones() as u8
            }
            (Ok(_) | Err(_), Err(_)) => return Err(bad(word, value)),
        },
    };
    let network = Network { addr: u32::from(addr), prefix };
    Ok(Network { addr: network.addr & network.mask(), prefix })
}

fn ports(word: &str, words: &mut Words<'_>) -> Result<Ports, FirewallError> {
    let value = words.value(word, "a port")?;
    let port = |text: &str, empty: u16| match text {
        "" => Ok(empty),
        _ => text.parse::<u16>().map_err(|_| bad(word, value)),
    };
    let (first, last) = match value.split_once(':') {
        Some((first, last)) => (port(first, 0)?, port(last, u16::MAX)?),
        None => {
            let only = value.parse::<u16>().map_err(|_| bad(word, value))?;
            (only, only)
        }
    };
    if first > last {
        return Err(bad(word, value));
    }
    Ok(Ports { first, last })
}

fn probability(word: &str, value: &str) -> Result<u32, FirewallError> {
    match value.parse::<f64>() {
        Ok(p) if (0.0..=1.0).contains(&p) => Ok((p * f64::from(1u32 << 31)).round() as u32),
        Ok(_) | Err(_) => Err(bad(word, value)),
    }
}

fn states(word: &str, value: &str) -> Result<States, FirewallError> {
    let mut bits = 0;
    for name in value.split(',') {
        let found = STATES.iter().find(|(known, _)| *known == name);
        bits |= 1 << found.ok_or_else(|| bad(word, name))?.1 as u8;
    }
    Ok(States(bits))
}
