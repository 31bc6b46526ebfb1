//! What a scenario file says, line by line.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::quality::LinkQuality;
use super::words::{Numbers, Word};
use crate::check::Property;
use crate::clock::ClockChange;
use crate::plan::LimitsPlan;

/// A whole file.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    pub real: RealMode,
    /// Which bounds the simulated nodes run with; real ones have those of production.
    pub limits: LimitsPlan,
    /// Feeds every random choice, whatever the command line says.
    pub seed: Option<u64>,
    pub hosts: Vec<HostLine>,
    /// `region NAME HOST …`
    pub regions: BTreeMap<String, Vec<HostIndex>>,
    /// Every line but `host`, `region`, `limits` and `seed`.
    pub steps: Vec<Step>,
}

/// Whether the file may run on real processes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RealMode {
    Yes,
    No { line: usize, reason: String },
}

/// `host NAME ADDR`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostLine {
    pub name: String,
    pub ip: Ipv4Addr,
}

/// One line that does something.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// From 1.
    pub line: usize,
    /// As it stands in the file, without blanks around it.
    pub text: String,
    pub what: What,
}

/// Index into [`Scenario::hosts`].
pub type HostIndex = usize;

#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// `NAME$ quorate server FLAG …`
    Server {
        host: HostIndex,
        flags: Vec<Word>,
        expect: Expect,
    },
    /// `NAME$ iptables WORD …`
    Iptables {
        host: HostIndex,
        words: Vec<Word>,
    },
    /// `[within TIME] NAME> COMMAND …` and the other checks.
    Check {
        within: Option<Duration>,
        check: Check,
    },
    /// `async NAME> COMMAND`: the answer is looked at later.
    Async {
        call: Call,
    },
    /// `await`: all answers of `async` lines are in and as expected.
    Await,
    Sleep {
        low: Duration,
        high: Duration,
    },
    /// `at TIME LINE`: carried out at this time since the file's start, or now if that is over. The answer of a
    /// command is not waited for and not looked at.
    At {
        at: Duration,
        what: Box<What>,
    },
    /// SIGKILL.
    Kill {
        host: HostIndex,
    },
    /// Kills if need be, then starts with the same flags on the same data.
    Restart {
        host: HostIndex,
    },
    /// Kills if need be, and takes its data away: it starts as a new node.
    Wipe {
        host: HostIndex,
    },
    Pause {
        host: HostIndex,
    },
    Resume {
        host: HostIndex,
    },
    Clock {
        host: HostIndex,
        change: ClockChange,
    },
    Link {
        /// From and to, each once.
        pairs: Vec<(HostIndex, HostIndex)>,
        quality: LinkQuality,
    },
    /// `client NAME@HOST [noauth]`
    Client {
        name: String,
        host: HostIndex,
        auth: bool,
    },
    Repeat {
        count: u64,
        name: String,
        body: Vec<Step>,
    },
    /// `load NAME RATE/s COMMAND …`
    Load {
        on: Who,
        per_sec: u32,
        words: Vec<Word>,
    },
    StopLoad,
    /// `NAME$ proxy --server A:PORT …`
    Proxy {
        host: HostIndex,
        words: Vec<Word>,
    },
    /// `memory NAME SIZE|unlimited`
    Memory {
        host: HostIndex,
        bytes: Option<u64>,
    },
}

/// What can be waited for.
#[derive(Clone, PartialEq, Debug)]
pub enum Check {
    Call(Call),
    /// `every COMMAND …`: on each host whose server runs.
    Every {
        words: Vec<Word>,
        expect: Expect,
    },
    /// `sum FIELD [in REGION] COMMAND … = N|N..M`: a number in the answers of hosts whose server runs, added up.
    Sum {
        field: String,
        /// Of all, if nothing is said.
        hosts: Option<Vec<HostIndex>>,
        words: Vec<Word>,
        low: u64,
        high: u64,
    },
    /// `log NAME ~ PATTERN`
    Log {
        host: HostIndex,
        pattern: Word,
    },
    /// `ended NAME`: its process has ended.
    Ended {
        host: HostIndex,
    },
    Converged,
    /// `collected`: no server holds tombstones or expired keys any more.
    Collected,
}

/// A command and what it should answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    pub who: Who,
    pub words: Vec<Word>,
    pub expect: Expect,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Who {
    /// The host's own client, on the loopback device.
    Host(HostIndex),
    /// `client NAME@HOST`.
    Named { name: String, host: HostIndex },
}

#[derive(Clone, PartialEq, Debug)]
pub enum Expect {
    /// Anything but an error.
    NoError,
    /// `= WORD …`: more than one word is an array.
    Equal(Vec<Word>),
    /// `~ PATTERN`
    Like(Word),
    /// `expect error PATTERN [or PATTERN …]`
    Error(Vec<Word>),
}

impl Check {
    /// The promise that is broken if the check never holds, if it is one.
    pub fn promise(&self) -> Option<Property> {
        match self {
            Check::Converged => Some(Property::Convergence),
            Check::Collected => Some(Property::BoundedMemory),
            Check::Call(_)
            | Check::Every { .. }
            | Check::Sum { .. }
            | Check::Log { .. }
            | Check::Ended { .. } => None,
        }
    }
}

impl Who {
    pub fn host(&self) -> HostIndex {
        match self {
            Who::Host(host) | Who::Named { host, .. } => *host,
        }
    }
}

impl Expect {
    /// As it is printed after "expected:".
    pub fn show(&self, numbers: &Numbers) -> String {
        match self {
            Expect::NoError => "anything but an error".to_owned(),
            Expect::Equal(words) => {
                let shown: Vec<String> = words.iter().map(|w| show_word(w, numbers)).collect();
                shown.join(" ")
            }
            Expect::Like(word) => format!("something like {}", word.fill_text(numbers)),
            Expect::Error(words) => {
                let shown: Vec<String> = words.iter().map(|word| word.fill_text(numbers)).collect();
                format!("an error like {}", shown.join(" or "))
            }
        }
    }
}

fn show_word(word: &Word, numbers: &Numbers) -> String {
    let text = word.fill_text(numbers);
    if word.is_quoted() { format!("{text:?}") } else { text }
}
