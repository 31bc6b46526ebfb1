//! One seed gives one run: the same digest in separate processes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the simulator in this test's own profile; its path.
fn simulator() -> PathBuf {
    let deps = std::env::current_exe().expect("a test has a path");
    let dir = deps.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "-p", "quorate-sim", "--bin", "quorate-sim"]);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.arg("--target-dir").arg(dir.parent().expect("target"));
    if dir.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success());
    dir.join("quorate-sim")
}

fn last_line(simulator: &Path, seed: u64, profile: &str) -> String {
    let seed_text = seed.to_string();
    let output = Command::new(simulator)
        .args(["replay", seed_text.as_str(), "--profile", profile, "--quiet"])
        .output()
        .expect("the simulator runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let line = text.lines().last().unwrap_or_default().to_owned();
    assert!(line.starts_with("digest "), "seed {seed}, profile {profile}: {text}");
    line
}

#[test]
fn separate_processes_print_one_digest() {
    let simulator = simulator();
    let mut digests = Vec::new();
    for (seed, profile) in [(1, "smoke"), (2, "smoke"), (3, "active"), (4, "active")] {
        let first = last_line(&simulator, seed, profile);
        assert_eq!(
            first,
            last_line(&simulator, seed, profile),
            "cargo sim replay {seed} --profile {profile}"
        );
        digests.push(first);
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 4, "different seeds make different runs");
}

#[test]
fn bad_usage_exits_with_two_and_says_what_was_expected() {
    let simulator = simulator();
    for (args, wanted) in [
        (&["run", "--seeds", "9..3"][..], "9 is not below 3"),
        (&["run", "--profile", "nice"], "smoke, active"),
        (&["conjure", "1"], "unrecognized subcommand"),
    ] {
        let output = Command::new(&simulator).args(args).output().expect("the simulator runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(wanted), "{text}");
    }
}
