//! The process `quorate server`: everything between the command line and a running shell.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::disk::{self, Progress, Reader};
use super::dump::{self, Beside, DumpFile};
use super::identity::{DataDir, Notary};
use super::known_dumps::{self, Print, Standing};
use super::log::{self, LevelSwitch};
use super::log_file::LogFile;
use super::{Clock, Shared, Stored, Surroundings, host};
use crate::base::fact::LogLevel;
use crate::base::ids::{Epoch, Lsn, NodeId, Origin};
use crate::base::io::{DiskError, Past, Recover};
use crate::base::mutant::Mutants;
use crate::node::config::{Config, Identity};
use crate::wal::dump::Terms;

/// Why a server did not start: said on standard error, exit code 1.
type Refused = String;

/// Runs a server until it is shut down.
pub fn serve(args: &[String]) -> ExitCode {
    abort_on_panic();
    match run(args) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<i32, Refused> {
    if Mutants::compiled_in() {
        return Err(
            "this binary was built with deliberate faults (feature 'mutants'), which only the \
                    simulator may use: build with 'cargo build --release -p quorate --bin quorate'"
                .to_owned(),
        );
    }
    let mut config = read_config(args)?;
    let wanted = config.maxclients;
    let levels = log::start(config.loglevel, &config.logfile)
        .map_err(|e| format!("cannot write to the log file {}: {e}", config.logfile))?;
    config.maxclients_room = most_clients();
    config.maxclients = wanted.min(room_for_clients(wanted)).min(config.maxclients_room);
    if config.maxclients < wanted {
        tracing::warn!(
            "maxclients is {} instead of {wanted}: the limit of open files allows no more (ulimit \
             -n)",
            config.maxclients
        );
    }
    let dir = DataDir::open(Path::new(&config.dir)).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start: {e}"))?;
    runtime.block_on(async {
        let addresses = addresses(&config);
        let listeners = super::bind(&addresses, config.port).await.map_err(|e| e.to_string())?;
        let random = |e| format!("the system gives no random numbers: {e}");
        let fresh_id = NodeId(
            u128::from(getrandom::u64().map_err(random)?) << 64
                | u128::from(getrandom::u64().map_err(random)?),
        );
        let seed = getrandom::u64().map_err(random)?;
        let identity = dir.next_identity(fresh_id).map_err(|e| e.to_string())?;
        config.identity = identity.clone();
        tracing::info!(
            "Quorate {} started, pid {}, node {}, epoch {}",
            env!("CARGO_PKG_VERSION"),
            std::process::id(),
            identity.node_id,
            identity.epoch.0
        );
        let port = config.port;
        let origin = getrandom::u32().map_err(random)?;
        let (log, beside) = open_log(&config, Origin(origin.max(1)))?;
        config.loads_dump = matches!(log, Some(Log::OfDump(_)));
        let loaded = log.as_ref().and_then(Log::dump_print);
        let dumps = DumpFile::start(Path::new(&config.dir), &config.dbfilename, beside, loaded);
        let (notary, dir) = (Notary::start(dir), PathBuf::from(&config.dir));
        let process = Box::new(Process { notary, identity, levels, log, dumps, dir });
        let server = super::start(config, seed, listeners, process);
        tokio::spawn(host::report_loop(server.shared()));
        tokio::spawn(await_signals(server.shared()));
        tracing::info!("Ready to accept connections on port {port}");
        let ended = server.ended().await;
        if ended.code != 0 {
            tracing::warn!("Quorate stops: {}", ended.reason);
        }
        Ok(ended.code)
    })
}

/// What is to be read before the server serves: the log if one is kept and there is one, else the dump. Keys without a
/// stamp get one of `origin`. And what the next dump is to the log.
fn open_log(config: &Config, origin: Origin) -> Result<(Option<Log>, Beside), Refused> {
    let dir = Path::new(&config.dir);
    let failed = |e: io::Error| format!("cannot read {}: {e}", dir.display());
    let reader = || Reader::new(dir).map(Log::Reading).map_err(|e| e.to_string());
    let beside = match (config.appendonly, disk::is_there(dir).map_err(failed)?) {
        (true, true) => {
            let dump = Print::at(&dir.join(&config.dbfilename)).map_err(failed)?;
            if let Some(dump) = dump {
                let standing = known_dumps::standing(dir, dump).map_err(failed)?;
                check_dump_beside_log(config, standing)?;
            }
            return Ok((Some(reader()?), Beside::Log));
        }
        (true, false) => Beside::Log,
        (false, true) => {
            tracing::warn!("There is a log in {}, which is not read: appendonly no", dir.display());
            Beside::IdleLog
        }
        (false, false) => Beside::NoLog,
    };
    let identity = &config.identity;
    let terms = Terms {
        node: identity.node_id,
        epoch: identity.epoch,
        has_past: identity.past != Past::default(),
        origin,
        wall: Clock::new().now().wall.ms(),
        databases: config.databases,
    };
    let log = match dump::Reading::open(dir, &config.dbfilename, terms, config.appendonly)? {
        Some(dump) if config.appendonly => Some(Log::FromDump(dump)),
        Some(dump) => Some(Log::OfDump(dump)),
        None if config.appendonly => Some(reader()?),
        None => None,
    };
    Ok((log, beside))
}

/// There is a log to begin with, and a dump, which is not looked at. Where each holds what the other lacks somebody has to
/// say which it is: whatever is written from now on the other would lack, too.
fn check_dump_beside_log(config: &Config, standing: Option<Standing>) -> Result<(), Refused> {
    let (name, dir) = (&config.dbfilename, &config.dir);
    match standing {
        Some(Standing::Logged) => {
            tracing::info!("{name} is not loaded: there is a log, which holds what it holds");
            Ok(())
        }
        Some(Standing::Newer) => Err(format!(
            "there are a log in {dir} and a dump, {name}, that was written later, with \
             'appendonly no': each may hold what the other lacks. To go on with the dump, move \
             log-*.qlog and snapshot-*.qsnap away: a new log begins with it. To go on with the \
             log, move {name} away. Nothing was changed"
        )),
        None => {
            tracing::warn!(
                "{name} is not loaded: there is a log, and only what the log holds is served. The \
                 next dump takes its place, it is kept as {name}.kept-1 then (or -2, …). If that \
                 is the one to begin with, stop, and move log-*.qlog and snapshot-*.qsnap away"
            );
            Ok(())
        }
    }
}

fn read_config(args: &[String]) -> Result<Config, Refused> {
    match args.split_first() {
        Some((file, flags)) if !file.starts_with('-') => {
            let text = fs::read(file)
                .map_err(|e| format!("cannot read the configuration file {file}: {e}"))?;
            Config::load_bytes(Some((file, &text)), flags)
        }
        _ => Config::load(None, args),
    }
    .map_err(|e| e.to_string())
}

/// Files beside those of clients: listeners, log, lock, links to peers, the runtime's own.
const OTHER_FILES: u64 = 64;

/// Raises the limit of open files for `wanted` clients, and says for how many it suffices.
fn room_for_clients(wanted: u32) -> u32 {
    let allowed = rlimit::increase_nofile_limit(u64::from(wanted) + OTHER_FILES);
    // Where no limit can be read, accepting will say when it is reached.
    allowed.map_or(u32::MAX, clients_within)
}

/// For how many clients the limit of open files can be raised.
fn most_clients() -> u32 {
    rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(u32::MAX, |(_, hard)| clients_within(hard))
}

fn clients_within(files: u64) -> u32 {
    u32::try_from(files.saturating_sub(OTHER_FILES).max(1)).unwrap_or(u32::MAX)
}

/// All addresses by default; a host without IPv6 is no failure.
fn addresses(config: &Config) -> Vec<String> {
    if config.bind.is_empty() {
        vec!["*".to_owned(), "-::*".to_owned()]
    } else {
        config.bind.clone()
    }
}

/// What the shell needs of this process.
struct Process {
    notary: Notary,
    /// As it was last given to be written.
    identity: Identity,
    levels: LevelSwitch,
    log: Option<Log>,
    dumps: DumpFile,
    dir: PathBuf,
}

enum Log {
    /// There is a dump, and no log is kept.
    OfDump(dump::Reading),
    /// A snapshot is made of the dump, with which the log begins.
    FromDump(dump::Reading),
    Reading(Reader),
    Open(LogFile),
}

impl Log {
    /// Of the dump that is being loaded.
    fn dump_print(&self) -> Option<Print> {
        match self {
            Log::OfDump(dump) | Log::FromDump(dump) => Some(dump.print()),
            Log::Reading(_) | Log::Open(_) => None,
        }
    }
}

impl Process {
    fn log(&mut self) -> Result<&mut LogFile, DiskError> {
        match &mut self.log {
            Some(Log::Open(log)) => Ok(log),
            Some(Log::Reading(_) | Log::OfDump(_) | Log::FromDump(_)) | None => {
                Err(DiskError::Failed)
            }
        }
    }
}

impl Surroundings for Process {
    fn store_epoch(&mut self, epoch: u32) -> io::Result<()> {
        self.identity.epoch = Epoch(epoch);
        self.notary.store(self.identity.clone())
    }

    fn store_past(&mut self, past: Past) -> Stored {
        self.identity.past = past;
        let (tell, told) = oneshot::channel();
        // Who no longer waits for the answer needs none.
        let answer = Box::new(move |result| drop(tell.send(result)));
        self.notary.begin(self.identity.clone(), answer);
        stored(told)
    }

    fn recover(&mut self, each: &mut dyn FnMut(Recover<'_>)) -> Result<Option<Lsn>, String> {
        let reader = match &mut self.log {
            Some(Log::Reading(reader)) => reader,
            Some(Log::OfDump(dump)) => {
                if dump.step(each)? {
                    return Ok(None);
                }
                self.log = None;
                return Ok(Some(Lsn(1)));
            }
            Some(Log::FromDump(dump)) => {
                if !dump.step(each)? {
                    let reader = Reader::new(&self.dir).map_err(|e| e.to_string())?;
                    self.log = Some(Log::Reading(reader));
                }
                return Ok(None);
            }
            Some(Log::Open(_)) | None => return Err("the log is not being read".to_owned()),
        };
        match reader.step(each).map_err(|e| e.to_string())? {
            Progress::More => Ok(None),
            Progress::Done(next, log) => {
                self.log = Some(Log::Open(log));
                Ok(Some(next))
            }
        }
    }

    fn append(&mut self, records: &[u8]) -> Result<(), DiskError> {
        self.log()?.append(records)
    }

    fn retry(&mut self) -> Result<(), DiskError> {
        self.log()?.retry()
    }

    fn sync(&mut self) -> Stored {
        match self.log() {
            Ok(log) => stored(log.sync()),
            Err(_) => Box::pin(async { Err(io::Error::other("there is no log")) }),
        }
    }

    fn begin_snapshot(&mut self, lsn: Lsn) -> io::Result<()> {
        let log = self.log().map_err(|_| io::Error::other("there is no log"))?;
        log.begin_snapshot(lsn).map_err(io::Error::other)
    }

    fn put_snapshot(&mut self, bytes: Bytes) -> Stored {
        match self.log() {
            Ok(log) => stored(log.snapshots().chunk(bytes)),
            Err(_) => Box::pin(async { Err(io::Error::other("there is no log")) }),
        }
    }

    fn commit_snapshot(&mut self) -> Stored {
        match self.log() {
            Ok(log) => stored(log.snapshots().commit()),
            Err(_) => Box::pin(async { Err(io::Error::other("there is no log")) }),
        }
    }

    fn begin_dump(&mut self) {
        self.dumps.begin();
    }

    fn put_dump(&mut self, bytes: Bytes) -> Stored {
        stored(self.dumps.chunk(bytes))
    }

    fn commit_dump(&mut self) -> Stored {
        stored(self.dumps.commit())
    }

    fn make_room(&mut self, clients: u32) {
        room_for_clients(clients);
    }

    fn set_log_level(&mut self, level: LogLevel) {
        self.levels.set(level);
    }
}

/// Without an answer something has gone wrong.
fn stored(answer: oneshot::Receiver<io::Result<()>>) -> Stored {
    Box::pin(async { answer.await.map_err(io::Error::other)? })
}

/// SIGTERM and SIGINT shut down: the first one in order, a second one at once. A terminal that is closed
/// (SIGHUP) ends nothing.
async fn await_signals(shared: Arc<Shared>) {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = kinds.map(signal) else {
        tracing::warn!("Signals cannot be received; SIGTERM will end the process at once");
        return;
    };
    loop {
        let name = tokio::select! {
            biased;
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => {
                tracing::info!("Received SIGHUP, which is ignored");
                continue;
            }
        };
        tracing::warn!("Received {name} scheduling shutdown...");
        shared.shutdown();
    }
}

/// A panic is a bug of ours: better no server than one in a state nobody designed.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}
