//! Every scenario file in the simulated world, and those that say `real: yes` on real processes too.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use quorate_sim::scenario::{may_be_real, real_runs_lack, run_file, run_files_real};

/// Seeds each file is simulated with.
const SEEDS: u64 = 10;

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("sim/scenarios");
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "scn")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Shown although the test passes.
fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

#[test]
fn every_scenario_holds_in_the_simulated_world() {
    let mut failed = Vec::new();
    for file in files() {
        for seed in 0..SEEDS {
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
