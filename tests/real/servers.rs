//! Real servers for tests: the released binary on free ports of the loopback interface, each with a directory
//! of its own, killed at the end of the test.

// Real processes take real time, and that has to be waited for.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::io;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long anything may take before the test fails. Two busy cores are slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// The released binary, built once. A build of its own target directory, because a workspace build of the
/// tests compiles the library with the simulator's deliberate faults.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = root.join("target/real");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "-p", "quorate", "--bin", "quorate"])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(root)
            .status()
            .expect("cargo can be run");
        assert!(status.success(), "the release build failed");
        target.join("release/quorate")
    })
}

/// Whether a program can be run. If not, the test must say so and end; under CI it fails instead.
pub fn available(what: &str, probe: &mut Command) -> bool {
    let found = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "{what} is missing");
    // Shown although the test passes, unlike what a macro prints.
    let text = format!("\nSKIPPED: {what} is missing\n");
    io::stderr().write_all(text.as_bytes()).expect("standard error can be written");
    false
}

pub fn have_redis_cli() -> bool {
    available("redis-cli (Debian: redis-tools)", Command::new("redis-cli").arg("--version"))
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let probe = TcpListener::bind("127.0.0.1:0").expect("the loopback interface has free ports");
    probe.local_addr().expect("it is bound").port()
}

/// Repeats `look` until it gives something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running server.
pub struct Server {
    pub port: u16,
    pub dir: PathBuf,
    child: Child,
}

impl Server {
    /// Starts a server and waits until it answers.
    pub fn start(dir: &Path, port: u16, flags: &[&str]) -> Server {
        Server::launch(dir, port, None, flags)
    }

    /// As [`Server::start`], with a configuration file.
    pub fn start_with_file(dir: &Path, port: u16, file: &Path, flags: &[&str]) -> Server {
        Server::launch(dir, port, Some(file), flags)
    }

    fn launch(dir: &Path, port: u16, file: Option<&Path>, flags: &[&str]) -> Server {
        fs::create_dir_all(dir).expect("a directory for the server");
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log"));
        let log = log.expect("a log file");
        // With the soft limit of open files that most systems have, which the server raises itself.
        let child = Command::new("sh")
            .args(["-c", "ulimit -Sn 1024; exec \"$0\" \"$@\""])
            .arg(binary())
            .arg("server")
            .args(file)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(dir)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the server can be started");
        let mut server = Server { port, dir: dir.to_path_buf(), child };
        wait_for("an answer to PING", || {
            if let Some(status) = server.child.try_wait().expect("the child is ours") {
                panic!("the server ended with {status}:\n{}", server.log());
            }
            server.answers().then_some(())
        });
        server
    }

    /// What it wrote on standard output and standard error, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// `redis-cli` for this server, to be given more arguments.
    pub fn cli(&self) -> Command {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string(), "--no-auth-warning"]);
        command
    }

    /// What redis-cli prints for `args`, without the line's end.
    pub fn ask(&self, args: &[&str]) -> String {
        output(self.cli().args(args))
    }

    /// As [`Server::ask`], where redis-cli may fail: all it prints.
    pub fn cli_text(&self, word: &str) -> String {
        let run = self.cli().arg(word).output().expect("redis-cli can be run");
        String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill can be run");
        assert!(sent.success(), "kill {signal} {pid}");
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_some()
    }

    /// Ends it with a signal and waits for that.
    pub fn stop(self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.await_end()
    }

    pub fn await_end(mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the end of the server", || child.try_wait().expect("the child is ours"))
    }

    fn answers(&self) -> bool {
        let Ok(mut link) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let timed = link.set_read_timeout(Some(Duration::from_secs(1)));
        let mut answer = [0; 5];
        timed.is_ok()
            && link.write_all(b"PING\r\n").is_ok()
            && link.read_exact(&mut answer).is_ok()
            && (answer == *b"+PONG" || answer == *b"-NOAU")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and gives back what it printed.
pub fn output(command: &mut Command) -> String {
    let run = command.stdin(Stdio::null()).output().expect("the command can be run");
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{command:?}: {}\n{text}\n{errors}", run.status);
    text.trim_end_matches('\n').to_owned()
}

/// Runs a command with `input` on its standard input.
pub fn output_with_input(command: &mut Command, input: &[u8]) -> String {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the command can be run");
    let mut stdin = child.stdin.take().expect("it was piped");
    stdin.write_all(input).expect("the command reads its input");
    drop(stdin);
    let run = child.wait_with_output().expect("the command ends");
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{command:?}: {}\n{errors}", run.status);
    String::from_utf8_lossy(&run.stdout).into_owned()
}

/// Starts the binary with arguments that must be refused: its exit code and standard error.
pub fn refused(args: &[&str]) -> (Option<i32>, String) {
    let child = Command::new(binary())
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("the binary can be started");
    let status = wait_for("the refusal", || child.try_wait().expect("the child is ours"));
    let mut text = String::new();
    let mut stderr = child.stderr.take().expect("it was piped");
    stderr.read_to_string(&mut text).expect("standard error is text");
    (status.code(), text)
}
