//! The stage of real processes: every host a network namespace with the real iptables, a switch in a
//! namespace of its own, the real release binary, the real kernel's TCP. The machine's own networks
//! stay untouched and everything is removed afterwards, also after a failure, a panic or Ctrl-C.

// Real time and real threads are the point of this stage.
#![allow(clippy::disallowed_methods)]

mod clocks;
mod haproxy;
mod needs;
mod network;
mod program;
mod router;
mod shape;
mod signals;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate::base::rng::Rng;

use super::ast::{HostIndex, Scenario};
use super::quality::LinkQuality;
use super::stage::{Stage, StageConn, Trouble};
use crate::clock::ClockChange;
use crate::proxy::ProxyConfig;
use clocks::FakeClock;
use network::Network;
use shape::Shape;

pub use needs::Needs;
pub use signals::interrupted;

/// How long one wait may last before Ctrl-C is looked for.
const NAP_MAX: Duration = Duration::from_millis(50);

const CONNECT_MAX: Duration = Duration::from_secs(1);
const WRITE_MAX: Duration = Duration::from_secs(1);

/// What a server says at its end that the kernel has given no memory.
const NO_MEMORY: &str = "memory allocation of";

/// Log lines shown for a failed line.
const LOG_LINES_SHOWN: usize = 15;

/// Why real runs are not possible on this machine, if they are not.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("--real needs root, for network namespaces".to_owned());
    }
    [["ip", "-V"], ["iptables", "--version"]].iter().find_map(|[program, flag]| {
        let ran = network::run(program, &[flag]);
        ran.err().map(|why| format!("--real needs {program}: {why}"))
    })
}

/// Hosts, processes and connections of one run. Dropping it removes everything.
pub struct RealStage {
    /// First, so that processes are gone before their namespaces.
    hosts: Vec<RealHost>,
    conns: Vec<Option<TcpStream>>,
    network: Network,
    dir: Dir,
    program: PathBuf,
    began: Instant,
    rng: Rng,
    /// Last, so that Ctrl-C waits for all of the above.
    _running: signals::Running,
}

struct RealHost {
    child: Option<Child>,
    dir: PathBuf,
    /// Where the log of the last start begins.
    log_from: u64,
    /// If a line of the file sets it.
    clock: Option<FakeClock>,
    shape: Shape,
    memory_limit_bytes: Option<u64>,
}

/// A directory for data and logs that goes away unless it is to be kept.
struct Dir {
    path: PathBuf,
    keep: bool,
}

impl RealStage {
    /// Builds the binary if need be, then the network.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn new(scenario: &Scenario, needs: &Needs, seed: u64) -> Result<RealStage, String> {
        if let Some(why) = missing() {
            return Err(why);
        }
        let running = signals::Running::begin()?;
        let program = program::quorate()?;
        let network = Network::build(&scenario.hosts, needs.router.then_some(seed))?;
        let path = std::env::temp_dir().join(format!("quorate-{}", network.prefix()));
        let dir = Dir { path, keep: false };
        let mut hosts = Vec::new();
        for (index, host) in scenario.hosts.iter().enumerate() {
            let dir = dir.path.join(&host.name);
            let said = |e: std::io::Error| format!("{}: {e}", dir.display());
            fs::create_dir_all(&dir).map_err(said)?;
            let library = needs.library.clone().filter(|_| needs.clocks.contains(&index));
            let clock = library.map(|library| FakeClock::new(library, &dir)).transpose();
            let clock = clock.map_err(said)?;
            let shape = Shape::default();
            let memory_limit_bytes = None;
            hosts.push(RealHost {
                child: None,
                dir,
                log_from: 0,
                clock,
                shape,
                memory_limit_bytes,
            });
        }
        Ok(RealStage {
            hosts,
            conns: Vec::new(),
            network,
            dir,
            program,
            began: Instant::now(),
            rng: Rng::fork(seed, "scenario"),
            _running: running,
        })
    }

    /// Leaves logs and data behind and says where.
    pub fn keep_files(&mut self) -> PathBuf {
        self.dir.keep = true;
        self.dir.path.clone()
    }

    /// Starts a command on the host; what it says goes into the host's log.
    fn start(&mut self, host: HostIndex, mut command: Command) -> Result<(), Trouble> {
        let host = &mut self.hosts[host];
        host.stop();
        let path = host.log_path();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let started = log.and_then(|log| {
            host.log_from = log.metadata()?.len();
            let again = log.try_clone()?;
            command.current_dir(&host.dir).stdin(Stdio::null()).stdout(log).stderr(again).spawn()
        });
        host.child = Some(started.map_err(|e| Trouble::Failed(e.to_string()))?);
        Ok(())
    }

    fn signal(&mut self, host: HostIndex, signal: Signal) -> Result<(), Trouble> {
        let Some(child) = &self.hosts[host].child else { return Ok(()) };
        let pid = i32::try_from(child.id()).map_err(|e| Trouble::Failed(e.to_string()))?;
        kill(Pid::from_raw(pid), signal).map_err(|e| Trouble::Failed(format!("{signal}: {e}")))
    }

    /// What the link from one host to another is like; what is not named is unchanged.
    fn change_link(
        &mut self,
        from: HostIndex,
        to: HostIndex,
        quality: LinkQuality,
    ) -> Result<(), String> {
        let (source, sink) = (self.network.ip(from), self.network.ip(to));
        let LinkQuality { bits_per_sec: bits, queue_bytes: queue, .. } = quality;
        if let Some(share) = quality.loss {
            self.hosts[to].shape.lose(&self.network, to, source, share)?;
        }
        if let Some(cut) = quality.cut() {
            self.hosts[to].shape.cut(&self.network, to, source, cut)?;
        }
        if bits.is_some() || queue.is_some() {
            self.hosts[from].shape.limit(&self.network, from, sink, bits, queue)?;
        }
        if let Some(router) = self.network.router() {
            router.change(from, to, quality);
        }
        Ok(())
    }
}

impl Stage for RealStage {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn pass(&mut self, span: Duration, waiting: Option<StageConn>) -> Result<(), Trouble> {
        let nap = span.min(NAP_MAX).max(Duration::from_micros(1));
        let stream = waiting.and_then(|conn| self.conns[conn.0].as_ref());
        match stream {
            Some(stream) => {
                // A closed stream ends the wait like an arrival: `take` then tells.
                let waited =
                    stream.set_read_timeout(Some(nap)).and_then(|()| stream.peek(&mut [0]));
                if let Err(e) = waited
                    && !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            None => std::thread::sleep(nap),
        }
        if signals::interrupted() { Err(Trouble::Interrupted) } else { Ok(()) }
    }

    fn serve(&mut self, host: HostIndex, flags: &[String]) -> Result<(), Trouble> {
        let mut command = self.network.command(host);
        if let Some(clock) = &mut self.hosts[host].clock {
            let worn = clock.wear(&mut command);
            worn.map_err(|e| Trouble::Failed(format!("the clock's file: {e}")))?;
        }
        if let Some(bytes) = self.hosts[host].memory_limit_bytes {
            command.arg("prlimit").arg(format!("--data={bytes}"));
        }
        command.arg(&self.program).arg("server").args(flags);
        self.start(host, command)
    }

    fn proxy(&mut self, host: HostIndex, words: &[String]) -> Result<(), Trouble> {
        let config = ProxyConfig::from_words(words).map_err(Trouble::not_a_proxy)?;
        let resolve = |name: &str| match self.network.ip_of(name) {
            Some(ip) => ip.to_string(),
            None => name.to_owned(),
        };
        let file = self.hosts[host].dir.join("haproxy.cfg");
        let written = fs::write(&file, haproxy::configuration(&config, resolve));
        written.map_err(|e| Trouble::Failed(format!("{}: {e}", file.display())))?;
        let mut command = self.network.command(host);
        command.args(["haproxy", "-db", "-f"]).arg(file);
        self.start(host, command)
    }

    fn ran_out_of_memory(&mut self, host: HostIndex) -> bool {
        let host = &self.hosts[host];
        host.memory_limit_bytes.is_some() && host.log().contains(NO_MEMORY)
    }

    fn limit_memory(&mut self, host: HostIndex, bytes: Option<u64>) -> Result<(), Trouble> {
        let host = &mut self.hosts[host];
        host.memory_limit_bytes = bytes;
        let Some(child) = &mut host.child else { return Ok(()) };
        if child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return Ok(());
        }
        let bytes = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let pid = child.id().to_string();
        let limited = network::run("prlimit", &["--pid", &pid, &format!("--data={bytes}")]);
        limited.map(drop).map_err(Trouble::Unavailable)
    }

    fn ended(&mut self, host: HostIndex) -> Option<String> {
        let host = &mut self.hosts[host];
        let status = host.child.as_mut()?.try_wait().ok().flatten()?;
        let log = host.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n");
        Some(format!("{last} ({status})"))
    }

    fn iptables(&mut self, host: HostIndex, words: &[String]) -> Result<(), Trouble> {
        let words = words.iter().map(String::as_str);
        self.network.iptables(host, words).map_err(Trouble::Failed)
    }

    fn connect(
        &mut self,
        host: HostIndex,
        port: u16,
    ) -> Result<Result<StageConn, String>, Trouble> {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let connected = self.network.within(host, || {
            let stream = TcpStream::connect_timeout(&to, CONNECT_MAX)?;
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(WRITE_MAX))?;
            Ok(stream)
        });
        Ok(match connected {
            Ok(stream) => {
                self.conns.push(Some(stream));
                Ok(StageConn(self.conns.len() - 1))
            }
            Err(e) => Err(e.to_string()),
        })
    }

    fn send(&mut self, conn: StageConn, bytes: Bytes) {
        // A failure shows when the answer is taken: the connection is closed then.
        let stream = &mut self.conns[conn.0];
        if stream.as_mut().is_some_and(|s| s.write_all(&bytes).is_err()) {
            *stream = None;
        }
    }

    fn take(&mut self, conn: StageConn, buf: &mut BytesMut) -> bool {
        let slot = &mut self.conns[conn.0];
        let Some(stream) = slot else { return false };
        if stream.set_nonblocking(true).is_err() {
            return false;
        }
        let mut chunk = [0; 16 * 1024];
        let open = loop {
            match stream.read(&mut chunk) {
                Ok(0) => break false,
                Ok(len) => buf.extend_from_slice(&chunk[..len]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        if !open || stream.set_nonblocking(false).is_err() {
            *slot = None;
            return false;
        }
        true
    }

    fn hang_up(&mut self, conn: StageConn) {
        self.conns[conn.0] = None;
    }

    fn kill(&mut self, host: HostIndex) -> Result<(), Trouble> {
        self.hosts[host].stop();
        Ok(())
    }

    fn wipe(&mut self, host: HostIndex, dir: &str) -> Result<(), Trouble> {
        match fs::remove_dir_all(self.hosts[host].dir.join(dir)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Trouble::Failed(format!("{dir}: {e}")))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn pause(&mut self, host: HostIndex) -> Result<(), Trouble> {
        self.signal(host, Signal::SIGSTOP)
    }

    fn resume(&mut self, host: HostIndex) -> Result<(), Trouble> {
        self.signal(host, Signal::SIGCONT)
    }

    fn clock(&mut self, host: HostIndex, change: ClockChange) -> Result<(), Trouble> {
        let clock = self.hosts[host].clock.as_mut().expect("every line was looked at before");
        clock.change(change).map_err(|e| Trouble::Failed(format!("the clock's file: {e}")))
    }

    fn link(
        &mut self,
        from: HostIndex,
        to: HostIndex,
        quality: LinkQuality,
    ) -> Result<(), Trouble> {
        // What the kernel refuses here is missing here.
        self.change_link(from, to, quality).map_err(Trouble::Unavailable)
    }

    fn log(&mut self, host: HostIndex) -> String {
        self.hosts[host].log()
    }

    fn last_facts(&mut self, host: HostIndex) -> Vec<String> {
        let log = self.hosts[host].log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
        lines[from..].iter().map(|line| (*line).to_owned()).collect()
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }
}

impl RealHost {
    fn log_path(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// What the last start has logged so far.
    fn log(&self) -> String {
        let read = |path: &Path| -> std::io::Result<Vec<u8>> {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(self.log_from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read(&self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// SIGKILL, and waits until the process is gone.
    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _already_gone = child.kill();
            let _status = child.wait();
            if self.clock.is_some() {
                clocks::forget(child.id());
            }
        }
    }
}

impl Drop for RealHost {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if !self.keep && !std::thread::panicking() {
            let _best_effort = fs::remove_dir_all(&self.path);
        }
    }
}

/// A command whose output is of interest only if it fails.
fn quiet(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} ({})", said.trim(), output.status))
}
