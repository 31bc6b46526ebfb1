//! What a node is told at its start, from a redis.conf, from flags, and changed by CONFIG SET.

use std::fmt;

use crate::base::fact::LogLevel;
use crate::base::ids::{Epoch, NodeId};
use crate::base::io::HostPort;
use crate::base::limits::Limits;
use crate::base::mutant::Mutants;
use crate::wire::inline::split_inline;

use super::directive::{self, Directive, Refusal};

/// Who a node is; kept beside its data by the driver, which counts the epoch up (durably) before every start.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub node_id: NodeId,
    /// Number of this start, from 1.
    pub epoch: Epoch,
}

/// Everything a node is told at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    pub identity: Identity,
    pub limits: Limits,
    pub mutants: Mutants,
    pub port: u16,
    /// Addresses to listen on; empty for all.
    pub bind: Vec<String>,
    pub dir: String,
    pub protected_mode: bool,
    pub requirepass: Option<String>,
    pub masteruser: Option<String>,
    pub masterauth: Option<String>,
    /// `replicaof HOST PORT`, in the order given.
    pub replicaof: Vec<HostPort>,
    pub active_replica: bool,
    pub multi_master: bool,
    pub replica_read_only: bool,
    pub databases: u16,
    pub repl_backlog_bytes: u64,
    pub repl_timeout_secs: u64,
    pub max_clock_skew_ms: u64,
    pub maxclients: u32,
    pub timeout_secs: u32,
    pub tcp_keepalive_secs: u32,
    pub proto_max_bulk_bytes: usize,
    /// Most bytes of a client's commands that are not yet executed.
    pub client_query_bytes_max: u64,
    /// Output a client may leave unread before it is closed; 0 for no limit.
    pub client_output_bytes_max: u64,
    /// As the above, but only if passed for `client_output_soft_secs` without a break; 0 for no limit.
    pub client_output_soft_bytes: u64,
    pub client_output_soft_secs: u64,
    pub loglevel: LogLevel,
    /// Where log lines go; empty for standard output.
    pub logfile: String,
}

/// Where a directive was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A file, and the line in it, from 1.
    File { name: String, line: usize },
    /// The command line.
    Flag,
    /// All of it together, at the end.
    Whole,
}

/// Why a configuration is refused. Nothing was started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    pub source: Source,
    /// The line or flag as it was given.
    pub text: String,
    pub problem: Problem,
}

/// What is wrong with one line or flag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// A quote stays open, or text follows a closing one.
    UnbalancedQuotes,
    /// Not a directive at all.
    Unknown { name: String },
    /// A directive of Redis or KeyDB that does nothing here, and is therefore not taken.
    NotBuilt { name: String },
    /// The value or the number of arguments.
    Refused { name: &'static str, found: Vec<String>, why: Refusal },
    /// A word on the command line that belongs to no flag.
    StrayWord { word: String },
    /// Several masters without `multi-master yes`.
    MastersWithoutMultiMaster { count: usize },
    /// `active-replica yes` beside an explicit `replica-read-only yes`.
    ActiveReadOnly,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            identity: Identity { node_id: NodeId(0), epoch: Epoch(1) },
            limits: Limits::production(),
            mutants: Mutants::NONE,
            port: 6379,
            bind: Vec::new(),
            dir: "./quorate-data".to_owned(),
            protected_mode: true,
            requirepass: None,
            masteruser: None,
            masterauth: None,
            replicaof: Vec::new(),
            active_replica: false,
            multi_master: false,
            replica_read_only: true,
            databases: 16,
            repl_backlog_bytes: 1 << 20,
            repl_timeout_secs: 60,
            max_clock_skew_ms: 5000,
            maxclients: 10_000,
            timeout_secs: 0,
            tcp_keepalive_secs: 300,
            proto_max_bulk_bytes: 512 << 20,
            client_query_bytes_max: 1 << 30,
            client_output_bytes_max: 1 << 30,
            client_output_soft_bytes: 0,
            client_output_soft_secs: 0,
            loglevel: LogLevel::Notice,
            logfile: String::new(),
        }
    }
}

impl Config {
    /// Reads the text of a redis.conf, if there is one (its name and its contents), then flags, which win.
    pub fn load(file: Option<(&str, &str)>, flags: &[String]) -> Result<Config, ConfigError> {
        let mut reader = Reader::default();
        if let Some((name, text)) = file {
            reader.text(name, text)?;
        }
        let from_file = reader.config.replicaof.len();
        reader.flags(flags)?;
        reader.finish(from_file)
    }

    /// The words after `quorate server`, a file among them read by `read`.
    pub fn from_flags(flags: &[String]) -> Result<Config, ConfigError> {
        Config::load(None, flags)
    }

    /// Whether clients must authenticate.
    pub fn wants_password(&self) -> bool {
        self.requirepass.is_some()
    }
}

/// A configuration being read.
#[derive(Default)]
struct Reader {
    config: Config,
    /// `replica-read-only yes` was written somewhere.
    read_only_asked: bool,
}

impl Reader {
    fn text(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = |problem| ConfigError {
                source: Source::File { name: name.to_owned(), line: index + 1 },
                text: line.to_owned(),
                problem,
            };
            let words = split_words(line).ok_or(Problem::UnbalancedQuotes).map_err(at)?;
            if let Some((name, values)) = words.split_first() {
                self.directive(name, values).map_err(at)?;
            }
        }
        Ok(())
    }

    fn flags(&mut self, flags: &[String]) -> Result<(), ConfigError> {
        let mut rest = flags;
        while let Some((first, after)) = rest.split_first() {
            let Some(name) = first.strip_prefix("--") else {
                return Err(ConfigError {
                    source: Source::Flag,
                    text: first.clone(),
                    problem: Problem::StrayWord { word: first.clone() },
                });
            };
            let count = after.iter().take_while(|word| !word.starts_with("--")).count();
            let values = &after[..count];
            self.directive(name, values).map_err(|problem| ConfigError {
                source: Source::Flag,
                text: rest[..=count].join(" "),
                problem,
            })?;
            rest = &after[count..];
        }
        Ok(())
    }

    fn directive(&mut self, name: &str, values: &[String]) -> Result<(), Problem> {
        let Some(found) = directive::find(name.as_bytes()) else {
            let name = name.to_owned();
            return Err(if directive::is_known_elsewhere(&name) {
                Problem::NotBuilt { name }
            } else {
                Problem::Unknown { name }
            });
        };
        let words: Vec<&str> = values.iter().map(String::as_str).collect();
        found.set(&mut self.config, &words).map_err(|why| Problem::Refused {
            name: found.name,
            found: values.to_vec(),
            why,
        })?;
        if found.name == Directive::REPLICA_READ_ONLY {
            self.read_only_asked = self.config.replica_read_only;
        }
        Ok(())
    }

    /// Checks what several directives say together. The first `from_file` masters come from the file; without
    /// `multi-master` those of the flags take their place.
    fn finish(mut self, from_file: usize) -> Result<Config, ConfigError> {
        let whole = |problem| ConfigError { source: Source::Whole, text: String::new(), problem };
        let config = &mut self.config;
        if !config.multi_master && config.replicaof.len() > from_file {
            config.replicaof.drain(..from_file);
        }
        if !config.multi_master && config.replicaof.len() > 1 {
            let count = config.replicaof.len();
            return Err(whole(Problem::MastersWithoutMultiMaster { count }));
        }
        if config.active_replica {
            if self.read_only_asked {
                return Err(whole(Problem::ActiveReadOnly));
            }
            config.replica_read_only = false;
        }
        Ok(self.config)
    }
}

/// The words of a line, unquoted; `None` if the quotes do not match.
fn split_words(line: &str) -> Option<Vec<String>> {
    let (mut unquoted, mut spans) = (Vec::new(), Vec::new());
    if !split_inline(line.as_bytes(), &mut unquoted, &mut spans) {
        return None;
    }
    // What an escape makes of a line may be no text; such a value fits no directive.
    let word = |span| String::from_utf8_lossy(&unquoted[span]).into_owned();
    Some(spans.into_iter().map(word).collect())
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "*** FATAL CONFIG FILE ERROR (Quorate {}) ***", env!("CARGO_PKG_VERSION"))?;
        match &self.source {
            Source::File { name, line } => {
                writeln!(f, "Reading the configuration file {name}, at line {line}")?;
            }
            Source::Flag => writeln!(f, "Reading the command line")?,
            Source::Whole => writeln!(f, "Reading the configuration as a whole")?,
        }
        if !self.text.is_empty() {
            writeln!(f, ">>> '{}'", self.text)?;
        }
        write!(f, "{}", self.problem)
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::UnbalancedQuotes => write!(f, "Unbalanced quotes in configuration line"),
            Problem::Unknown { name } => write!(f, "Bad directive: '{name}' is unknown"),
            Problem::NotBuilt { name } => {
                write!(f, "Bad directive: '{name}' is not supported by this version of Quorate")
            }
            Problem::Refused { name, found, why } => {
                let found = found.join(" ");
                write!(f, "Bad value of '{name}': found '{found}', but {why}")
            }
            Problem::StrayWord { word } => {
                write!(f, "'{word}' belongs to no directive: expected --directive value …")
            }
            Problem::MastersWithoutMultiMaster { count } => {
                write!(f, "{count} masters given with 'replicaof': needs 'multi-master yes'")
            }
            Problem::ActiveReadOnly => write!(
                f,
                "'active-replica yes' implies 'replica-read-only no', but the latter is set to yes"
            ),
        }
    }
}
