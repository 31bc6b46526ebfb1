//! Every scenario file in the simulated world, and those that say `real: yes` on real processes too.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use quorate_sim::scenario::{may_be_real, real_runs_lack, run_file, run_files_real};

/// Seeds each file is simulated with.
const SEEDS: u64 = 40;

/// Seeds of files with more than five hosts: a second of six strong nodes costs what a minute of two others does.
const SEEDS_OF_LARGE: u64 = 4;

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("sim/scenarios");
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "scn")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn is_large(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().filter(|line| line.starts_with("host ")).count() > 5
}

/// Shown although the test passes.
fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

#[test]
fn every_scenario_holds_in_the_simulated_world() {
    let mut failed = Vec::new();
    for file in files() {
        for seed in 0..if is_large(&file) { SEEDS_OF_LARGE } else { SEEDS } {
            let outcome = run_file(&file, false, seed);
            if !outcome.held() {
                failed.push(format!("seed {seed}: {outcome}"));
                break;
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn one_seed_gives_one_run() {
    for file in files() {
        let outcomes: Vec<_> = (0..2).map(|_| run_file(&file, false, 7)).collect();
        assert_eq!(outcomes[0], outcomes[1]);
    }
}

#[test]
fn every_real_scenario_holds_on_real_processes() {
    if let Some(lack) = real_runs_lack() {
        assert!(std::env::var_os("CI").is_none(), "scenarios cannot run on real processes: {lack}");
        say(&format!("\nSKIPPED: scenarios on real processes: {lack}\n"));
        return;
    }
    let real = |file: &PathBuf| may_be_real(file).unwrap_or_else(|outcome| panic!("{outcome}"));
    let files: Vec<PathBuf> = files().into_iter().filter(real).collect();
    assert!(!files.is_empty());
    let outcomes = run_files_real(&files, 0);
    let failed: Vec<String> =
        outcomes.iter().filter(|o| !o.held()).map(|o| format!("\n{o}\n")).collect();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), files.len(), failed.concat());
}

/// Plays a file with these lines after two hosts; its exit code and what it prints.
fn play(real: bool, lines: &str) -> (u8, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.scn");
    let hosts = "host node1 10.0.0.1\nhost node2 10.0.0.2\n";
    let serve = "node1$ quorate server --protected-mode no\n";
    std::fs::write(&path, format!("# test   real: yes\n{hosts}{serve}{lines}\n")).unwrap();
    let outcome = run_file(&path, real, 0);
    (outcome.exit_code(), outcome.to_string())
}

#[track_caller]
fn prints(real: bool, lines: &str, exit_code: u8, texts: &[&str]) {
    let (code, printed) = play(real, lines);
    assert_eq!(code, exit_code, "{printed}");
    for text in texts {
        assert!(printed.contains(text), "no {text:?} in:\n{printed}");
    }
}

#[test]
fn a_failed_line_prints_expected_got_time_and_last_facts() {
    let lines = "node1> SET k 1\nwithin 2s node1> GET k = 2";
    let texts = ["test.scn:6: failed after 2.", "within 2s node1> GET k = 2", "expected: 2"];
    prints(false, lines, 1, &texts);
    prints(
        false,
        lines,
        1,
        &["got:      \"1\" (for 2.000 s)", "last facts of node1:", "UnitIssued"],
    );
}

#[test]
fn checks_that_do_not_hold_fail() {
    let second = "node2$ quorate server --protected-mode no\n";
    prints(false, "sum tcp_port INFO server = 6379\nsum tcp_port INFO server = 1..9999", 0, &[]);
    prints(false, "sum tcp_port in node2 INFO server = 0", 2, &["no running server among these"]);
    for (line, text) in [
        ("node1> GET k = 1", "(nil)"),
        ("node1> INCR", "(error) ERR wrong number of arguments"),
        ("node1> INCR k expect error integer", "(integer) 1"),
        ("node2> PING", "Refused"),
        ("node1> INCR expect error WRONGTYPE or OOM", "an error like WRONGTYPE or OOM"),
        ("sum tcp_port INFO server = 1", "6379: 6379 of node1"),
        ("sum nothing INFO server = 1..2", "a sum of 1 to 2, and a number `nothing` in each"),
        ("log node1 ~ frobnicated", "a log line like frobnicated"),
        ("async node1> INCR k = 2\nsleep 1s", "async node1> INCR k = 2"),
        ("node1$ iptables -D INPUT -s 10.0.0.2 -j DROP", "Bad rule"),
        ("node2$ quorate server --bogus yes", "bogus"),
        ("node2$ quorate server expect error bogus", "the server goes on running"),
        ("load node1 10/s GET\nsleep 1s\nstop load", "wrong number of arguments"),
        ("ended node1", "no process on node1 any more"),
        ("link node1 node2 down\nnode1> GET k = 1", "(nil)"),
        ("pause node1\nevery PING", "no running server"),
    ] {
        let (code, printed) = play(false, line);
        let code_expected = if line.starts_with("pause") { 2 } else { 1 };
        assert_eq!(code, code_expected, "{line}: {printed}");
        assert!(printed.contains(text), "{line}: no {text:?} in:\n{printed}");
    }
    let apart = format!("{second}node1> SET k 1\nwithin 1s converged");
    prints(false, &apart, 1, &["one digest on all hosts", "last facts of node2:"]);
    let stranger = format!("{second}node1> SET k 1\nevery GET k = 1");
    prints(false, &stranger, 1, &["(nil) from node2"]);
}

#[test]
fn a_bad_line_is_exit_code_2_with_its_number() {
    prints(false, "frobnicate", 2, &["test.scn:5: found `frobnicate`, expected `host`"]);
    let iptables = "node1$ iptables -A INPUT --frob 1 -j DROP";
    prints(false, iptables, 2, &["test.scn:5:", "--frob"]);
    prints(false, "node2$ proxy --frob 1", 2, &["test.scn:5:", "--frob"]);
    prints(false, "node2$ proxy --balance first", 2, &["test.scn:5:", "no --server"]);
    let missing = run_file(Path::new("no/such/file.scn"), false, 0);
    assert_eq!(missing.exit_code(), 2);
    assert!(missing.to_string().starts_with("no/such/file.scn: found"));
}

#[test]
fn what_real_processes_cannot_play_is_exit_code_3_naming_the_line() {
    prints(true, "repeat 2\ncollected\nend", 3, &["test.scn:6: `collected`: --real needs"]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no.scn");
    std::fs::write(&path, "# real: no (it is a test)\nhost a 10.0.0.1\nkill a\n").unwrap();
    let outcome = run_file(&path, true, 0);
    assert_eq!(outcome.exit_code(), 3);
    assert!(outcome.to_string().contains("no.scn:1: real: no (it is a test)"), "{outcome}");
}
