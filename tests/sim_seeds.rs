//! Seeds that were bugs are run for ever, and a few thousand fresh ones beside them.

use std::fs;
use std::path::{Path, PathBuf};

use quorate_sim::check::Verdict;
use quorate_sim::plan::{Plan, Profile};
use quorate_sim::runner::campaign::{Campaign, guarded};
use quorate_sim::runner::run::{Options, run_plan};

/// A line of a seeds file: profile, seed, and what it was.
struct Kept {
    profile: Profile,
    seed: u64,
    reason: String,
}

fn read(file: &Path) -> Vec<Kept> {
    let text = fs::read_to_string(file).expect("a seeds file can be read");
    let lines = text.lines().enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|(number, line)| {
            let wrong =
                || format!("{}:{}: expected PROFILE SEED REASON", file.display(), number + 1);
            let mut words = line.splitn(3, ' ');
            let profile = words.next().and_then(Profile::from_name);
            let seed = words.next().and_then(|w| w.parse().ok());
            let reason = words.next().filter(|r| !r.trim().is_empty());
            let (Some(profile), Some(seed), Some(reason)) = (profile, seed, reason) else {
                panic!("{}", wrong());
            };
            Kept { profile, seed, reason: reason.to_owned() }
        })
        .collect()
}

#[test]
fn kept_seeds_hold() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).expect("tests/seeds is there").map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "seeds"));
    files.sort();
    let kept: Vec<Kept> = files.iter().flat_map(|f| read(f)).collect();
    assert!(!kept.is_empty(), "no seeds are kept");
    for Kept { profile, seed, reason } in kept {
        let run = |seed| run_plan(&Plan::generate(profile, seed), Options::default()).outcome;
        let outcome = guarded(seed, &run);
        assert!(
            outcome.verdict.is_ok(),
            "{reason}: {:?}\ncargo sim replay {seed} --profile {}",
            outcome.verdict,
            profile.name()
        );
    }
}

fn campaign(profile: Profile, count: u64) {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let seeds = 0..count;
    let campaign = Campaign { seeds, jobs, time: None, first_only: true, progress: false };
    let report =
        campaign.run(&|seed| run_plan(&Plan::generate(profile, seed), Options::default()).outcome);
    print!("{}", report.summary.text(profile, report.secs, report.cpu_secs));
    if let Some(worst) = report.summary.worst() {
        let what = match &worst.verdict {
            Verdict::Violated(v) => format!("{}: {}", v.property.name(), v.evidence),
            Verdict::Undecided { budget } => budget.clone(),
            Verdict::Ok => String::new(),
        };
        panic!("{what}\ncargo sim replay {} --profile {}", worst.seed, profile.name());
    }
    assert_eq!(report.summary.dull(profile), Vec::<String>::new());
}

#[test]
fn fresh_smoke_seeds_hold() {
    campaign(Profile::Smoke, 1500);
}

#[test]
fn fresh_active_seeds_hold() {
    campaign(Profile::Active, 150);
}

#[test]
fn fresh_durability_seeds_hold() {
    campaign(Profile::Durability, 150);
}
