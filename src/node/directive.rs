//! The directives: redis.conf's and KeyDB's names, what they may be set to, how CONFIG GET shows them.

use std::fmt;

use crate::base::fact::LogLevel;
use crate::base::ids::DATABASES_MAX;
use crate::base::io::HostPort;

use crate::wal::SyncPolicy;

use super::config::Config;
use super::encodings::{hash_entries, hash_value, set_hash_entries, set_hash_value};
use super::{save_points, strong};

/// One directive. What is not in [`DIRECTIVES`] is refused by name, never accepted and ignored.
pub struct Directive {
    pub name: &'static str,
    /// An older name; empty if there is none.
    pub alias: &'static str,
    /// Whether CONFIG SET may change it.
    pub at_run_time: bool,
    set: fn(&mut Config, &[&str]) -> Result<(), Refusal>,
    get: fn(&Config) -> String,
}

/// Why a directive does not take a value; the configuration is unchanged. Prints as Redis words it;
/// [`Refusal::expected`] says more.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    Boolean,
    NotInteger {
        min: u64,
        max: u64,
    },
    OutOfRange {
        min: u64,
        max: u64,
    },
    /// Not a number of bytes.
    NotMemory {
        min: u64,
        max: u64,
    },
    LogLevel,
    SyncPolicy,
    HostPort,
    OutputLimit,
    Empty,
    FileName,
    SavePoints,
    NodeName,
    /// Not exactly so many arguments.
    Count {
        wanted: usize,
    },
    /// The only value that would be true of this server.
    Only(&'static str),
}

use Refusal::Count;

impl Directive {
    pub const REPLICA_READ_ONLY: &'static str = "replica-read-only";
    pub const APPENDFSYNC: &'static str = "appendfsync";
    pub const SAVE: &'static str = "save";

    pub fn set(&self, config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
        (self.set)(config, values)
    }

    pub fn get(&self, config: &Config) -> String {
        (self.get)(config)
    }

    pub(super) const fn at_start(
        name: &'static str,
        set: fn(&mut Config, &[&str]) -> Result<(), Refusal>,
        get: fn(&Config) -> String,
    ) -> Directive {
        Directive { name, alias: "", at_run_time: false, set, get }
    }

    const fn at_run_time(
        name: &'static str,
        set: fn(&mut Config, &[&str]) -> Result<(), Refusal>,
        get: fn(&Config) -> String,
    ) -> Directive {
        Directive { name, alias: "", at_run_time: true, set, get }
    }

    const fn or(self, alias: &'static str) -> Directive {
        Directive { alias, ..self }
    }
}

/// A directive that takes the one value that is true of this server, and no other.
macro_rules! only {
    ($name:literal, $value:literal) => {
        Directive {
            name: $name,
            alias: "",
            at_run_time: true,
            set: |_, values| only(values, $value),
            get: |_| $value.to_owned(),
        }
    };
}

/// All directives.
pub fn all() -> impl Iterator<Item = &'static Directive> {
    DIRECTIVES.iter().chain(strong::directives::DIRECTIVES)
}

/// Those that are not strong mode's, by name.
static DIRECTIVES: &[Directive] = &[
    Directive::at_start(
        "active-replica",
        |c, v| yes_no(v, &mut c.active_replica),
        |c| show_yes_no(c.active_replica),
    ),
    only!("allow-write-during-load", "yes"),
    Directive::at_run_time(Directive::APPENDFSYNC, set_sync_policy, |c| {
        sync_policy_name(c.appendfsync).to_owned()
    }),
    Directive::at_start(
        "appendonly",
        |c, v| yes_no(v, &mut c.appendonly),
        |c| show_yes_no(c.appendonly),
    ),
    Directive::at_start("bind", set_bind, |c| {
        if c.bind.is_empty() { "* -::*".to_owned() } else { c.bind.join(" ") }
    }),
    Directive::at_run_time("client-output-buffer-limit", set_output_limit, |c| {
        let (hard, soft) = (c.client_output_bytes_max, c.client_output_soft_bytes);
        format!("normal {hard} {soft} {}", c.client_output_soft_secs)
    }),
    Directive::at_run_time(
        "client-query-buffer-limit",
        |c, v| memory(v, 1 << 10, 1 << 30, &mut c.client_query_bytes_max),
        |c| c.client_query_bytes_max.to_string(),
    ),
    only!("daemonize", "no"),
    Directive::at_start(
        "databases",
        |c, v| number(v, 1, DATABASES_MAX.into(), &mut c.databases),
        |c| c.databases.to_string(),
    ),
    Directive::at_start("dbfilename", set_file_name, |c| c.dbfilename.clone()),
    Directive::at_start("dir", |c, v| text(v, &mut c.dir), |c| c.dir.clone()),
    only!("io-threads", "1"),
    Directive::at_run_time("hash-max-listpack-entries", set_hash_entries, hash_entries)
        .or("hash-max-ziplist-entries"),
    Directive::at_run_time("hash-max-listpack-value", set_hash_value, hash_value)
        .or("hash-max-ziplist-value"),
    Directive::at_start("logfile", |c, v| any_text(v, &mut c.logfile), |c| c.logfile.clone()),
    Directive::at_run_time("loglevel", set_log_level, |c| log_level_name(c.loglevel).to_owned()),
    Directive::at_run_time(
        "masterauth",
        |c, v| secret(v, &mut c.masterauth),
        |c| c.masterauth.clone().unwrap_or_default(),
    ),
    Directive::at_run_time(
        "masteruser",
        |c, v| secret(v, &mut c.masteruser),
        |c| c.masteruser.clone().unwrap_or_default(),
    ),
    Directive::at_run_time(
        "max-clock-skew-ms",
        |c, v| number(v, 1, 86_400_000, &mut c.max_clock_skew_ms),
        |c| c.max_clock_skew_ms.to_string(),
    ),
    Directive::at_run_time(
        "maxclients",
        |c, v| number(v, 1, u64::from(u32::MAX), &mut c.maxclients),
        |c| c.maxclients.to_string(),
    ),
    only!("maxmemory", "0"),
    only!("maxmemory-policy", "noeviction"),
    Directive::at_start(
        "multi-master",
        |c, v| yes_no(v, &mut c.multi_master),
        |c| show_yes_no(c.multi_master),
    ),
    only!("multi-master-no-forward", "no"),
    Directive::at_start("port", |c, v| number(v, 1, 65535, &mut c.port), |c| c.port.to_string()),
    Directive::at_run_time(
        "protected-mode",
        |c, v| yes_no(v, &mut c.protected_mode),
        |c| show_yes_no(c.protected_mode),
    ),
    Directive::at_run_time("proto-max-bulk-len", set_bulk_max, |c| {
        c.proto_max_bulk_bytes.to_string()
    }),
    Directive::at_run_time(
        "rdbchecksum",
        |c, v| yes_no(v, &mut c.rdbchecksum),
        |c| show_yes_no(c.rdbchecksum),
    ),
    Directive::at_run_time(
        "rdbcompression",
        |c, v| yes_no(v, &mut c.rdbcompression),
        |c| show_yes_no(c.rdbcompression),
    ),
    Directive::at_run_time(
        "repl-backlog-size",
        |c, v| memory(v, 1, 1 << 40, &mut c.repl_backlog_bytes),
        |c| c.repl_backlog_bytes.to_string(),
    ),
    Directive::at_run_time(
        "repl-timeout",
        |c, v| number(v, 1, 2_147_483_647, &mut c.repl_timeout_secs),
        |c| c.repl_timeout_secs.to_string(),
    ),
    Directive::at_run_time(
        Directive::REPLICA_READ_ONLY,
        |c, v| yes_no(v, &mut c.replica_read_only),
        |c| show_yes_no(c.replica_read_only),
    )
    .or("slave-read-only"),
    only!("replica-serve-stale-data", "yes"),
    Directive::at_start("replicaof", set_replicaof, show_replicaof).or("slaveof"),
    Directive::at_run_time(
        "requirepass",
        |c, v| secret(v, &mut c.requirepass),
        |c| c.requirepass.clone().unwrap_or_default(),
    ),
    Directive::at_run_time(Directive::SAVE, save_points::set, save_points::show),
    only!("server-threads", "1"),
    Directive::at_run_time(
        "shutdown-timeout",
        |c, v| number(v, 0, 2_147_483_647, &mut c.shutdown_timeout_secs),
        |c| c.shutdown_timeout_secs.to_string(),
    ),
    only!("supervised", "no"),
    Directive::at_run_time(
        "tcp-keepalive",
        |c, v| number(v, 0, 2_147_483_647, &mut c.tcp_keepalive_secs),
        |c| c.tcp_keepalive_secs.to_string(),
    ),
    Directive::at_run_time(
        "timeout",
        |c, v| number(v, 0, 2_147_483_647, &mut c.timeout_secs),
        |c| c.timeout_secs.to_string(),
    ),
    only!("tls-port", "0"),
];

/// Names, or with a final `*` beginnings of names, of directives that Redis or KeyDB has and
/// Quorate has not.
const KNOWN_ELSEWHERE: &[&str] = &[
    "acl*",
    "active-*",
    "activedefrag",
    "activerehashing",
    "always-show-logo",
    "aof-*",
    "append*",
    "auto-aof-*",
    "bind-source-addr",
    "bio_cpulist",
    "busy-reply-threshold",
    "client-*",
    "close-on-replica-write",
    "cluster-*",
    "crash-*",
    "disable-thp",
    "dynamic-hz",
    "enable-*",
    "hide-user-data-from-log",
    "hll-*",
    "hz",
    "ignore-warnings",
    "include",
    "io-threads-*",
    "jemalloc-*",
    "latency-*",
    "lazyfree-*",
    "lfu-*",
    "list-*",
    "loadmodule",
    "locale-collate",
    "lua-time-limit",
    "maxmemory-*",
    "min-replicas-*",
    "min-slaves-*",
    "no-appendfsync-on-rewrite",
    "notify-keyspace-events",
    "oom-score-*",
    "pidfile",
    "proc-title-template",
    "rdb*",
    "rename-command",
    "repl-*",
    "replica-*",
    "sanitize-dump-payload",
    "scratch-file-path",
    "server-thread-affinity",
    "server_cpulist",
    "set-max-*",
    "set-proc-title",
    "shutdown-*",
    "slave-*",
    "slowlog-*",
    "socket-mark-id",
    "stop-writes-on-bgsave-error",
    "stream-*",
    "syslog-*",
    "tcp-backlog",
    "tls-*",
    "tracking-table-max-keys",
    "unixsocket*",
    "user",
    "zset-max-*",
];

/// The directive of this name, in any mix of cases.
pub fn find(name: &[u8]) -> Option<&'static Directive> {
    all().find(|d| {
        name.eq_ignore_ascii_case(d.name.as_bytes())
            || (!d.alias.is_empty() && name.eq_ignore_ascii_case(d.alias.as_bytes()))
    })
}

/// Whether Redis or KeyDB knows a directive that is called, or begins, like this.
pub fn is_known_elsewhere(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    KNOWN_ELSEWHERE.iter().any(|known| match known.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *known,
    })
}

pub fn sync_policy_name(policy: SyncPolicy) -> &'static str {
    match policy {
        SyncPolicy::Always => "always",
        SyncPolicy::EverySec => "everysec",
        SyncPolicy::No => "no",
    }
}

fn set_sync_policy(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    let value = one(values)?;
    let all = [SyncPolicy::Always, SyncPolicy::EverySec, SyncPolicy::No];
    let named = all.into_iter().find(|&p| value.eq_ignore_ascii_case(sync_policy_name(p)));
    config.appendfsync = named.ok_or(Refusal::SyncPolicy)?;
    Ok(())
}

pub fn log_level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Verbose => "verbose",
        LogLevel::Notice => "notice",
        LogLevel::Warning => "warning",
    }
}

pub(super) fn one<'v>(values: &[&'v str]) -> Result<&'v str, Refusal> {
    match values {
        [value] => Ok(value),
        _ => Err(Count { wanted: 1 }),
    }
}

pub(super) fn yes_no(values: &[&str], to: &mut bool) -> Result<(), Refusal> {
    let value = one(values)?;
    if !value.eq_ignore_ascii_case("yes") && !value.eq_ignore_ascii_case("no") {
        return Err(Refusal::Boolean);
    }
    *to = value.eq_ignore_ascii_case("yes");
    Ok(())
}

pub(super) fn show_yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

pub(super) fn number<T: TryFrom<u64>>(
    values: &[&str],
    min: u64,
    max: u64,
    to: &mut T,
) -> Result<(), Refusal> {
    let value = one(values)?;
    if value.is_empty() || !value.bytes().skip(usize::from(value.starts_with('-'))).all(is_digit) {
        return Err(Refusal::NotInteger { min, max });
    }
    let value = value.parse::<u64>().ok().filter(|value| (min..=max).contains(value));
    let value = value.and_then(|value| T::try_from(value).ok());
    *to = value.ok_or(Refusal::OutOfRange { min, max })?;
    Ok(())
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// `1024`, `64kb`, `1m` (a million), `1gb`.
fn memory_bytes(value: &str) -> Option<u64> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn memory(values: &[&str], min: u64, max: u64, to: &mut u64) -> Result<(), Refusal> {
    match memory_bytes(one(values)?) {
        Some(bytes) if (min..=max).contains(&bytes) => {
            *to = bytes;
            Ok(())
        }
        Some(_) => Err(Refusal::OutOfRange { min, max }),
        None => Err(Refusal::NotMemory { min, max }),
    }
}

/// A value has to fit into one frame between peers: Redis's default is the most.
const BULK_BYTES_MAX: u64 = 512 << 20;

fn set_bulk_max(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    let mut bytes = 0;
    memory(values, 1 << 20, BULK_BYTES_MAX, &mut bytes)?;
    config.proto_max_bulk_bytes = bytes as usize;
    Ok(())
}

fn any_text(values: &[&str], to: &mut String) -> Result<(), Refusal> {
    *to = one(values)?.to_owned();
    Ok(())
}

pub(super) fn text(values: &[&str], to: &mut String) -> Result<(), Refusal> {
    if one(values)?.is_empty() { Err(Refusal::Empty) } else { any_text(values, to) }
}

/// A file in `dir`, and none that the server keeps there itself, nor one whose draft (`.tmp`) would be.
fn set_file_name(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    let name = one(values)?;
    let own = ["node.id", "lock", "reserve", "snapshot", "dumps.known"];
    let is_own = own.iter().any(|own| name.strip_suffix(".tmp").unwrap_or(name) == *own)
        || name.contains(".qlog")
        || name.contains(".qsnap");
    if is_own || name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(Refusal::FileName);
    }
    config.dbfilename = name.to_owned();
    Ok(())
}

/// A password or user; the empty text takes it away.
fn secret(values: &[&str], to: &mut Option<String>) -> Result<(), Refusal> {
    let value = one(values)?;
    *to = (!value.is_empty()).then(|| value.to_owned());
    Ok(())
}

fn only(values: &[&str], wanted: &'static str) -> Result<(), Refusal> {
    if one(values)?.eq_ignore_ascii_case(wanted) { Ok(()) } else { Err(Refusal::Only(wanted)) }
}

fn set_bind(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    // In one quoted word, as CONFIG SET has it, or in several.
    let addresses: Vec<&str> = values.iter().flat_map(|v| v.split_whitespace()).collect();
    if addresses.is_empty() {
        return Err(Refusal::Empty);
    }
    config.bind = addresses.into_iter().map(str::to_owned).collect();
    Ok(())
}

/// `normal HARD SOFT SECONDS`: the only class of clients with a limit of its own.
fn set_output_limit(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    let words: Vec<&str> = values.iter().flat_map(|v| v.split_whitespace()).collect();
    let &[class, hard, soft, secs] = words.as_slice() else { return Err(Refusal::OutputLimit) };
    let (mut hard_bytes, mut soft_bytes, mut soft_secs) = (0, 0, 0);
    let read = class.eq_ignore_ascii_case("normal")
        && memory(&[hard], 0, 1 << 40, &mut hard_bytes).is_ok()
        && memory(&[soft], 0, 1 << 40, &mut soft_bytes).is_ok()
        && number(&[secs], 0, 1 << 31, &mut soft_secs).is_ok();
    if !read {
        return Err(Refusal::OutputLimit);
    }
    config.client_output_bytes_max = hard_bytes;
    config.client_output_soft_bytes = soft_bytes;
    config.client_output_soft_secs = soft_secs;
    Ok(())
}

fn set_log_level(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    let levels = [LogLevel::Debug, LogLevel::Verbose, LogLevel::Notice, LogLevel::Warning];
    let value = one(values)?;
    config.loglevel = levels
        .into_iter()
        .find(|&level| value.eq_ignore_ascii_case(log_level_name(level)))
        .ok_or(Refusal::LogLevel)?;
    Ok(())
}

fn set_replicaof(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    let &[host, port] = values else { return Err(Count { wanted: 2 }) };
    if host.eq_ignore_ascii_case("no") && port.eq_ignore_ascii_case("one") {
        config.replicaof.clear();
        return Ok(());
    }
    let master = host_port(host, port).ok_or(Refusal::HostPort)?;
    if !config.replicaof.contains(&master) {
        config.replicaof.push(master);
    }
    Ok(())
}

/// A host that is not empty and a port from 1 to 65535.
pub fn host_port(host: &str, port: &str) -> Option<HostPort> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|&port| digits && port > 0)?;
    (!host.is_empty()).then(|| HostPort { host: host.to_owned(), port })
}

fn show_replicaof(config: &Config) -> String {
    let masters: Vec<String> =
        config.replicaof.iter().map(|to| format!("{} {}", to.host, to.port)).collect();
    masters.join(" ")
}

impl Refusal {
    /// What would be taken, for people who edit a file.
    pub fn expected(self) -> String {
        match self {
            Refusal::Boolean => "'yes' or 'no'".to_owned(),
            Refusal::NotInteger { min, max } | Refusal::OutOfRange { min, max } => {
                format!("a number between {min} and {max}")
            }
            Refusal::NotMemory { min, max } => {
                format!("a number of bytes, such as 64kb or 1gb, between {min} and {max}")
            }
            Refusal::LogLevel => "one of debug, verbose, notice, warning".to_owned(),
            Refusal::SyncPolicy => "one of always, everysec, no".to_owned(),
            Refusal::HostPort => "a host and a port between 1 and 65535".to_owned(),
            Refusal::OutputLimit => {
                "'normal', a hard limit, a soft limit and seconds, such as 'normal 256mb 64mb 60'"
                    .to_owned()
            }
            Refusal::Empty => "a text that is not empty".to_owned(),
            Refusal::FileName => {
                "the name of a file, not a path and none of the server's own files".to_owned()
            }
            Refusal::NodeName => "a hexadecimal number of at most 8 digits, not 0".to_owned(),
            Refusal::SavePoints => {
                "pairs of seconds and writes, such as '900 1 300 10', or ''".to_owned()
            }
            Refusal::Count { wanted: 1 } => "exactly one argument".to_owned(),
            Refusal::Count { wanted } => format!("exactly {wanted} arguments"),
            Refusal::Only("") => {
                "'' (the empty text): nothing else is supported by this version of Quorate"
                    .to_owned()
            }
            Refusal::Only(value) => {
                format!("'{value}': nothing else is supported by this version of Quorate")
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Refusal::Boolean => write!(f, "argument must be 'yes' or 'no'"),
            Refusal::NotInteger { .. } => write!(f, "argument couldn't be parsed into an integer"),
            Refusal::OutOfRange { min, max } => {
                write!(f, "argument must be between {min} and {max} inclusive")
            }
            Refusal::NotMemory { .. } => write!(f, "argument must be a memory value"),
            Refusal::SyncPolicy => {
                write!(f, "argument(s) must be one of the following: everysec, always, no")
            }
            Refusal::LogLevel => write!(
                f,
                "argument(s) must be one of the following: debug, verbose, notice, warning"
            ),
            Refusal::SavePoints => write!(f, "Invalid save parameters"),
            Refusal::HostPort
            | Refusal::OutputLimit
            | Refusal::Empty
            | Refusal::FileName
            | Refusal::NodeName
            | Refusal::Count { .. }
            | Refusal::Only(_) => write!(f, "argument must be {}", self.expected()),
        }
    }
}
