//! Scenario files on real processes, from outside: what is missing here is named, and nothing stays behind.
#![cfg(target_os = "linux")]
// Real processes take real time.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate_sim::scenario::real_runs_lack;

const HOSTS: &str = "host node1 10.0.0.1\nhost node2 10.0.0.2\n";
const SERVE: &str = "node1$ quorate server --protected-mode no\n";

/// Whether real runs are possible; says so if they are not.
fn possible() -> bool {
    let Some(lack) = real_runs_lack() else { return true };
    assert!(std::env::var_os("CI").is_none(), "scenarios cannot run on real processes: {lack}");
    let said = format!("\nSKIPPED: scenarios on real processes: {lack}\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    false
}

fn file(dir: &Path, lines: &str) -> PathBuf {
    let path = dir.join("test.scn");
    fs::write(&path, format!("# test   real: yes\n{HOSTS}{SERVE}{lines}\n")).unwrap();
    path
}

fn real_run(path: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-sim"));
    command.arg("scenario").arg(path).arg("--real");
    command
}

fn printed(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn a_missing_tool_is_exit_code_3_naming_the_line() {
    if !possible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // A machine that has nothing but what every real run needs.
    for tool in ["ip", "iptables"] {
        let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        let found = places.iter().map(|place| Path::new(place).join(tool)).find(|p| p.exists());
        symlink(found.unwrap(), dir.path().join(tool)).unwrap();
    }
    for (line, lack) in [
        ("clock node2 +2s", "faketime"),
        ("link node1 node2 bandwidth 10mbit", "tc for bandwidth"),
        ("repeat 2\nat 9s link node1 node2 bandwidth 1mbit\nend", "tc for bandwidth"),
        ("node2$ proxy --server node1:6379", "haproxy for a proxy"),
        ("memory node2 64mb", "prlimit for a limit of memory"),
        ("clock node1 monotonic +2s", "a monotonic clock"),
        ("collected", "only the simulator has"),
    ] {
        let path = file(dir.path(), &format!("node1> SET k 1\n{line}"));
        let output = real_run(&path).env("PATH", dir.path()).output().unwrap();
        let said = printed(&output);
        assert_eq!(output.status.code(), Some(3), "{line}: {said}");
        let place = if line.starts_with("repeat") { "test.scn:7: " } else { "test.scn:6: " };
        assert!(said.contains(place) && said.contains(lack), "{line}: {said}");
    }
}

/// Everything a run with this process id may leave on the machine.
fn left_behind(pid: u32) -> Vec<PathBuf> {
    let places = ["/run/netns", "/etc/netns", "/tmp"];
    let entries = places.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten());
    let of_run = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.trim_start_matches("quorate-").starts_with(&format!("qs{pid}-"))
    };
    entries.flatten().map(|entry| entry.path()).filter(of_run).collect()
}

fn shared_memory_of(server: &str) -> PathBuf {
    Path::new("/dev/shm").join(format!("faketime_shm_{server}"))
}

/// Every kind of thing that is made outside: devices, rules, classes, clocks, files.
const EVERYTHING: &str = "\
clock node1 +1s
link node1 node2 latency 5ms loss 1% bandwidth 10mbit
restart node1
node2$ quorate server --protected-mode no
node1> SET k 1 = OK
pause node2
";

#[test]
fn nothing_is_left_behind_by_a_run_that_fails() {
    if !possible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &format!("{EVERYTHING}node1> GET k = 2"));
    let run = real_run(&path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = run.id();
    let output = run.wait_with_output().unwrap();
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    // Logs and data are kept for a look, and said to be.
    let kept = said.lines().find_map(|line| line.trim().strip_prefix("logs and data: ")).unwrap();
    let log = fs::read_to_string(Path::new(kept).join("node1/server.log")).unwrap();
    fs::remove_dir_all(kept).unwrap();
    assert_eq!(left_behind(pid), Vec::<PathBuf>::new());
    let servers: Vec<&str> = log.lines().filter_map(|line| line.split(':').next()).collect();
    assert!(!servers.is_empty());
    for server in servers {
        assert!(!Path::new("/proc").join(server).exists(), "server {server} runs on");
        assert!(!shared_memory_of(server).exists(), "{server}");
    }
}

#[test]
fn nothing_is_left_behind_by_a_run_that_is_interrupted() {
    if !possible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &format!("{EVERYTHING}node1> SET all 1\nsleep 60s"));
    let run = real_run(&path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = run.id();
    let pids = |host: &str| {
        let namespace = format!("qs{pid}-0-{host}");
        let output = Command::new("ip").args(["netns", "pids", &namespace]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.split_whitespace().map(str::to_owned).collect::<Vec<String>>()
    };
    let began = Instant::now();
    let stopped = |server: &String| {
        let stat = fs::read_to_string(format!("/proc/{server}/stat")).unwrap_or_default();
        stat.contains(") T ")
    };
    let servers = loop {
        let (first, second) = (pids("node1"), pids("node2"));
        // The last of the lines before the long wait has been carried out.
        if first.len() == 1 && second.len() == 1 && second.iter().all(stopped) {
            break [first, second].concat();
        }
        assert!(began.elapsed() < Duration::from_secs(300), "it does not come to waiting");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(shared_memory_of(&servers[0]).exists(), "node1 has a clock of its own");
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGINT).unwrap();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", printed(&output));
    assert_eq!(left_behind(pid), Vec::<PathBuf>::new());
    for server in servers {
        assert!(!Path::new("/proc").join(&server).exists(), "server {server} runs on");
        assert!(!shared_memory_of(&server).exists(), "{server}");
    }
}
