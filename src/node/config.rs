//! What a node is told at its start, from a redis.conf, from flags, and changed by CONFIG SET.

use std::fmt;
use std::ops::Range;

use crate::base::fact::LogLevel;
use crate::base::ids::{Epoch, NodeId};
use crate::base::io::{HostPort, Past};
use crate::base::limits::Limits;
use crate::base::mutant::Mutants;
use crate::command::EncodingLimits;
use crate::wal::SyncPolicy;
use crate::wire::inline::split_inline;

use super::directive::{self, Directive, Refusal};
use super::save_points::SavePoint;
use super::strong::directives::StrongSettings;

/// Who a node is; kept beside its data by the driver, which counts the epoch up (durably) before every start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub node_id: NodeId,
    /// Number of this start, from 1.
    pub epoch: Epoch,
    /// Of the lives before.
    pub past: Past,
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
    /// How many clients the host has room for, as far as the driver knows: no directive.
    pub maxclients_room: u32,
    pub timeout_secs: u32,
    pub tcp_keepalive_secs: u32,
    /// How long a shutdown waits for replicas; 0 for not at all.
    pub shutdown_timeout_secs: u64,
    /// A log is kept.
    pub appendonly: bool,
    pub appendfsync: SyncPolicy,
    /// When a dump is written by itself; empty for never.
    pub save: Vec<SavePoint>,
    /// The dump's name in `dir`.
    pub dbfilename: String,
    pub rdbcompression: bool,
    pub rdbchecksum: bool,
    /// The driver has a dump for a node without a log to begin with: no directive.
    pub loads_dump: bool,
    pub proto_max_bulk_bytes: usize,
    /// `hash-max-listpack-…`: what OBJECT ENCODING goes by.
    pub encodings: EncodingLimits,
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
    pub strong: StrongSettings,
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
    /// A name or value that is not text.
    NotUtf8,
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
    /// Several masters of a plain replica: each would drop what the others have brought.
    MastersWithoutActiveReplica,
    /// `active-replica yes` beside an explicit `replica-read-only yes`.
    ActiveReadOnly,
    /// `strong-consistency yes` without something it needs, or beside something that it is not.
    Strong { wanted: &'static str },
}

impl Default for Config {
    fn default() -> Config {
        Config {
            identity: Identity { node_id: NodeId(0), epoch: Epoch(1), past: Past::default() },
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
            maxclients_room: u32::MAX,
            timeout_secs: 0,
            tcp_keepalive_secs: 300,
            shutdown_timeout_secs: 10,
            appendonly: true,
            appendfsync: SyncPolicy::EverySec,
            save: Vec::new(),
            dbfilename: "dump.rdb".to_owned(),
            rdbcompression: true,
            rdbchecksum: true,
            loads_dump: false,
            proto_max_bulk_bytes: 512 << 20,
            encodings: EncodingLimits::default(),
            client_query_bytes_max: 1 << 30,
            client_output_bytes_max: 1 << 30,
            client_output_soft_bytes: 0,
            client_output_soft_secs: 0,
            loglevel: LogLevel::Notice,
            logfile: String::new(),
            strong: StrongSettings::default(),
        }
    }
}

impl Config {
    /// Reads the text of a redis.conf, if there is one (its name and its contents), then flags, which win.
    pub fn load(file: Option<(&str, &str)>, flags: &[String]) -> Result<Config, ConfigError> {
        Config::load_bytes(file.map(|(name, text)| (name, text.as_bytes())), flags)
    }

    /// As [`Config::load`], with a file's bytes: comments may be in any encoding, the rest must be UTF-8.
    pub fn load_bytes(
        file: Option<(&str, &[u8])>,
        flags: &[String],
    ) -> Result<Config, ConfigError> {
        let mut reader = Reader::default();
        if let Some((name, text)) = file {
            reader.text(name, text)?;
        }
        let from_file = reader.config.replicaof.len();
        reader.flags(flags)?;
        reader.finish(from_file)
    }

    /// Flags alone: `--directive value …`.
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
    /// `appendfsync` was written somewhere.
    sync_asked: bool,
}

impl Reader {
    fn text(&mut self, name: &str, text: &[u8]) -> Result<(), ConfigError> {
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let at = |problem| ConfigError {
                source: Source::File { name: name.to_owned(), line: index + 1 },
                text: String::from_utf8_lossy(line).into_owned(),
                problem,
            };
            let words = split_words(line).map_err(at)?;
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
        let mut words: Vec<&str> = values.iter().map(String::as_str).collect();
        if let (Directive::SAVE, [points]) = (found.name, values)
            && !points.trim().is_empty()
        {
            // In one word they would take the place of those before, as with CONFIG SET.
            words = points.split_whitespace().collect();
        }
        found.set(&mut self.config, &words).map_err(|why| Problem::Refused {
            name: found.name,
            found: values.to_vec(),
            why,
        })?;
        self.sync_asked |= found.name == Directive::APPENDFSYNC;
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
        if !config.active_replica && config.replicaof.len() > 1 {
            return Err(whole(Problem::MastersWithoutActiveReplica));
        }
        if config.active_replica {
            if self.read_only_asked {
                return Err(whole(Problem::ActiveReadOnly));
            }
            config.replica_read_only = false;
        }
        if config.strong.on && !self.sync_asked {
            // Otherwise what was acknowledged could be lost by all copies at once, and no copy would be trusted any more.
            config.appendfsync = SyncPolicy::Always;
        }
        if let Some(wanted) = config.strong.on.then(|| strong_needs(config)).flatten() {
            return Err(whole(Problem::Strong { wanted }));
        }
        Ok(self.config)
    }
}

/// What a configuration of strong mode lacks, if anything.
fn strong_needs(config: &Config) -> Option<&'static str> {
    if config.strong.node.is_none() {
        Some("'node-id', a hexadecimal number that no other node of the cluster has")
    } else if config.strong.cluster_name.is_empty() {
        Some("'cluster-name', the same on all nodes of the cluster")
    } else if !config.appendonly {
        Some("'appendonly yes': what a node has promised must outlive it")
    } else if config.active_replica || config.multi_master || !config.replicaof.is_empty() {
        Some("no 'active-replica', 'multi-master' or 'replicaof': these are the other mode's")
    } else if !config.save.is_empty() {
        Some("no 'save': dumps are not written in strong mode yet")
    } else {
        None
    }
}

/// The words of a line, unquoted. What an escape makes of a line may be no text although the line is.
fn split_words(line: &[u8]) -> Result<Vec<String>, Problem> {
    let (mut unquoted, mut spans) = (Vec::new(), Vec::new());
    if !split_inline(line, &mut unquoted, &mut spans) {
        return Err(Problem::UnbalancedQuotes);
    }
    let word = |span: Range<usize>| {
        String::from_utf8(unquoted[span].to_vec()).map_err(|_| Problem::NotUtf8)
    };
    spans.into_iter().map(word).collect()
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
            Problem::NotUtf8 => {
                write!(f, "Bad value: found bytes that are not UTF-8, expected text")
            }
            Problem::Unknown { name } if name.contains('=') => write!(
                f,
                "Bad directive: '{name}' is unknown, expected a blank between a directive and its \
                 value"
            ),
            Problem::Unknown { name } => write!(f, "Bad directive: '{name}' is unknown"),
            Problem::Strong { wanted } => {
                write!(f, "'strong-consistency yes' is given, expected with it {wanted}")
            }
            Problem::NotBuilt { name } => {
                write!(f, "Bad directive: '{name}' is not supported by this version of Quorate")
            }
            Problem::Refused { name, found, why } => {
                let found = match found.as_slice() {
                    [] => "nothing".to_owned(),
                    words => format!("'{}'", words.join(" ")),
                };
                write!(f, "Bad value of '{name}': found {found}, expected {}", why.expected())
            }
            Problem::StrayWord { word } => {
                write!(f, "'{word}' belongs to no directive: expected --directive value …")
            }
            Problem::MastersWithoutMultiMaster { count } => {
                write!(f, "{count} masters given with 'replicaof': needs 'multi-master yes'")
            }
            Problem::MastersWithoutActiveReplica => {
                write!(f, "several masters given with 'replicaof': needs 'active-replica yes'")
            }
            Problem::ActiveReadOnly => write!(
                f,
                "'active-replica yes' implies 'replica-read-only no', but the latter is set to yes"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Config, String> {
        Config::load(Some(("q.conf", text)), &[]).map_err(|error| error.to_string())
    }

    fn flags(line: &str) -> Result<Config, String> {
        let words: Vec<String> = line.split(' ').map(|w| w.trim_matches('\'').to_owned()).collect();
        Config::from_flags(&words).map_err(|error| error.to_string())
    }

    fn error(result: Result<Config, String>) -> String {
        result.expect_err("refused")
    }

    #[test]
    fn file_is_read_as_redis_reads_it() {
        let text = "# comment\r\n\n  PORT 7000\nrequirepass \"a b\\x41\"\nmaxclients 10\n\
                    repl-backlog-size 2mb\nproto-max-bulk-len 256mb\nappendonly no\nsave ''\n\
                    protected-mode no\nbind 127.0.0.1 ::1\nloglevel warning\n";
        let config = file(text).expect("right");
        assert_eq!(config.port, 7000);
        assert_eq!(config.requirepass.as_deref(), Some("a bA"));
        assert_eq!((config.maxclients, config.repl_backlog_bytes), (10, 2 << 20));
        assert_eq!(config.proto_max_bulk_bytes, 256 << 20);
        assert_eq!(config.bind, ["127.0.0.1", "::1"]);
        assert_eq!(config.loglevel, LogLevel::Warning);
        assert!(!config.protected_mode);
        assert_eq!(file(""), Ok(Config::default()));
    }

    #[test]
    fn flags_of_the_reference_demo_are_understood() {
        let line = "--multi-master yes --active-replica yes --replicaof keydb-node2 6379 \
                    --requirepass mypass --masterauth mypass";
        let config = flags(line).expect("right");
        assert!(config.multi_master && config.active_replica && !config.replica_read_only);
        let master = HostPort { host: "keydb-node2".to_owned(), port: 6379 };
        assert_eq!(config.replicaof, [master]);
        assert_eq!(config.requirepass.as_deref(), Some("mypass"));
        assert_eq!(config.masterauth.as_deref(), Some("mypass"));
        assert_eq!(flags("--save '' --appendonly no").map(|c| c.port), Ok(6379));
    }

    #[test]
    fn save_points_add_up_until_an_empty_one_takes_them_away() {
        let load = |text: &str, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Config::load(Some(("q.conf", text)), &words)
                .map(|c| super::super::save_points::show(&c))
        };
        let file = "save 900 1\nsave \"60 7\"\n";
        for (text, words, expected) in [
            (file, &[][..], "900 1 60 7"),
            (file, &["--save", "5", "6"], "900 1 60 7 5 6"),
            ("", &["--save", "900", "1", "--save", "300", "10"], "900 1 300 10"),
            ("", &["--save", "900 1", "--save", "300 10"], "900 1 300 10"),
            (file, &["--save", ""], ""),
            (file, &["--save", "", "--save", "5 5"], "5 5"),
        ] {
            assert_eq!(load(text, words), Ok(expected.to_owned()), "{words:?}");
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let text = "port 1\nreplicaof a 1\n";
        let load = |text, line: &str| {
            let flags: Vec<String> = line.split(' ').map(str::to_owned).collect();
            Config::load(Some(("q.conf", text)), &flags).expect("right")
        };
        let config = load(text, "--port 2 --replicaof b 2");
        assert_eq!((config.port, config.replicaof.len()), (2, 1));
        assert_eq!(config.replicaof[0].host, "b");
        let config =
            load("replicaof a 1\nmulti-master yes\nactive-replica yes\n", "--replicaof b 2");
        assert_eq!(config.replicaof.len(), 2);
        let several = error(file("replicaof a 1\nreplicaof b 2\nmulti-master yes\n"));
        assert!(several.contains("'active-replica yes'"), "{several}");
    }

    #[test]
    fn each_refusal_names_place_finding_and_expectation() {
        let text = error(file("port 1\nmaxclients many\n"));
        assert!(text.contains("q.conf, at line 2\n>>> 'maxclients many'\n"), "{text}");
        let expected = "'maxclients': found 'many', expected a number between 1 and 4294967295";
        assert!(text.contains(expected), "{text}");
        for (line, expected) in [
            ("protcted-mode no", "'protcted-mode' is unknown"),
            ("tls-cert-file x", "'tls-cert-file' is not supported by this version"),
            ("appendonly maybe", "found 'maybe', expected"),
            ("appendfsync sometimes", "expected one of always, everysec, no"),
            ("save 3600", "pairs of seconds and writes"),
            ("save \"3600 1 5\"", "pairs of seconds and writes"),
            ("dbfilename a/b", "the name of a file, not a path"),
            ("dbfilename node.id", "none of the server's own files"),
            ("dbfilename snapshot", "none of the server's own files"),
            ("dbfilename log-00000000000000000001.qlog", "none of the server's own files"),
            ("maxmemory 1gb", "expected '0': nothing else"),
            ("cluster-enabled yes", "expected 'no': nothing else"),
            ("server-threads 4", "expected '1': nothing else"),
            ("include other.conf", "'include' is not supported"),
            ("port 0", "between 1 and 65535"),
            ("port 70000", "between 1 and 65535"),
            ("port", "exactly one argument"),
            ("port 1 2", "exactly one argument"),
            ("port +1", "a number between 1 and 65535"),
            ("repl-backlog-size 1tb", "a number of bytes, such as 64kb"),
            ("protected-mode maybe", "expected 'yes' or 'no'"),
            ("replicaof host", "exactly 2 arguments"),
            ("replicaof host port", "a host and a port"),
            ("loglevel loud", "debug, verbose, notice, warning"),
            ("dir ''", "a text that is not empty"),
            ("requirepass \"open", "Unbalanced quotes"),
            ("client-output-buffer-limit replica 1 1 1", "'normal 256mb 64mb 60'"),
        ] {
            let text = error(file(line));
            assert!(text.contains(expected), "{line}: {text}");
            assert!(text.contains(&format!("at line 1\n>>> '{line}'\n")), "{text}");
        }
    }

    #[test]
    fn value_that_is_no_text_is_refused_with_its_line() {
        let load = |text: &[u8]| {
            Config::load_bytes(Some(("q.conf", text)), &[]).map_err(|error| error.to_string())
        };
        for line in
            [&b"requirepass \"a\\xff\\xfeb\""[..], b"requirepass a\xffb", b"masterauth \xc3"]
        {
            let text = error(load(&[b"port 1\n# caf\xe9\n", line, b"\n"].concat()));
            assert!(text.contains("q.conf, at line 3\n"), "{text}");
            assert!(text.contains("not UTF-8"), "{text}");
        }
        let config = load("# caf\u{e9}\nrequirepass \"p\\xc3\\xa4ss\"".as_bytes()).expect("right");
        assert_eq!(config.requirepass.as_deref(), Some("p\u{e4}ss"));
        let config = load(b"# caf\xe9 in Latin-1\nport 7\n").expect("a comment may be anything");
        assert_eq!(config.port, 7);
    }

    #[test]
    fn refused_flag_is_shown_as_given() {
        let text = error(flags("--port 1 --maxclients x y"));
        assert!(text.contains("Reading the command line\n>>> '--maxclients x y'\n"), "{text}");
        assert!(error(flags("6379")).contains("'6379' belongs to no directive"));
        assert!(error(flags("--nosuch 1")).contains("'nosuch' is unknown"));
        let text = error(flags("--port=1"));
        assert!(text.contains("'port=1' is unknown, expected a blank between"), "{text}");
        assert!(error(flags("--port --dir a")).contains("'port': found nothing, expected exactly"));
    }

    #[test]
    fn strong_mode_says_what_it_needs_and_syncs_before_it_answers() {
        let needs = |line: &str| error(flags(line));
        assert!(needs("--strong-consistency yes").contains("'node-id'"));
        let named = "--strong-consistency yes --node-id A1 --cluster-name c";
        assert_eq!(flags(named).expect("complete").appendfsync, SyncPolicy::Always);
        let asked = format!("{named} --appendfsync everysec");
        assert_eq!(flags(&asked).expect("as asked").appendfsync, SyncPolicy::EverySec);
        for (more, told) in [
            ("--appendonly no", "'appendonly yes'"),
            ("--replicaof other 6379", "'replicaof'"),
            ("--save 900 1", "'save'"),
        ] {
            let told_now = needs(&format!("{named} {more}"));
            assert!(told_now.contains(told), "{more}: {told_now}");
        }
    }

    #[test]
    fn directives_that_contradict_each_other_are_refused() {
        let text = error(file("replicaof a 1\nreplicaof b 2\n"));
        assert!(text.contains("2 masters given"), "{text}");
        let text = error(file("active-replica yes\nreplica-read-only yes\n"));
        assert!(text.contains("implies 'replica-read-only no'"), "{text}");
        assert!(file("active-replica yes\nslave-read-only no\n").is_ok());
        let masters = file("replicaof a 1\nreplicaof no one\nreplicaof b 2\n");
        assert_eq!(masters.map(|config| config.replicaof.len()), Ok(1));
    }
}
