//! Campaigns as people start them: the command line, its files, its exit codes.

// These processes are real, and so is the time they take.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// The simulator without what the environment of the tests says of shards and commits.
fn simulator() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-sim"));
    for variable in ["JOB_COMPLETION_INDEX", "JOB_COMPLETION_COUNT"] {
        command.env_remove(variable);
    }
    command.env("QUORATE_COMMIT", "00000003e8ab");
    command
}

fn run(args: &[&str]) -> Output {
    simulator().arg("run").args(args).output().expect("the simulator runs")
}

/// Its exit code and what it says beside the summary.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// What a campaign has found, without how long it took and which seeds were run twice.
fn found(record: &Value) -> Value {
    let keys = ["profile", "seeds", "commit", "done", "seeds_run", "held", "sums", "rare_paths"];
    let keys = keys.into_iter().chain(["violated", "undecided", "failures", "verdict", "ended"]);
    keys.map(|key| (key.to_owned(), record[key].clone())).collect()
}

#[test]
fn shards_merged_are_the_campaign() {
    let dir = tempfile::tempdir().expect("a directory for files");
    let file = |i: usize| dir.path().join(format!("{i}.json")).to_string_lossy().into_owned();
    let mutant = ["--mutant", "seen-list-ignored"];
    let whole = run(&[&["--seeds", "0..41", "--json"][..], &mutant].concat());
    for i in 0..3 {
        let output = match i {
            // One as an array job starts it, one that leaves its file, one that prints it.
            0 => {
                let variables = [("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETION_COUNT", "3")];
                let file = file(i);
                let args = ["run", "--seeds", "0..41", "--json", "--resume", &file];
                let mut command = simulator();
                command.args(args).args(mutant).envs(variables).output().expect("it runs")
            }
            _ => {
                let shard = format!("{i}/3");
                let args = ["--seeds", "0..41", "--json", "--shard", &shard];
                run(&[&args[..], &mutant].concat())
            }
        };
        if i > 0 {
            std::fs::write(file(i), &output.stdout).expect("a file is written");
        }
        assert_eq!(json(&output)["shard"], format!("{i}/3"));
    }
    let merged = run(&["--json", "--merge", &file(2), &file(0), &file(1)]);
    assert_eq!(found(&json(&merged)), found(&json(&whole)));
    assert_eq!(merged.status.code(), Some(1));

    let partly = run(&["--merge", &file(2), &file(0)]);
    let (code, text) = said(&partly);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("14 of 41 seeds were not run"), "{text}");
    assert!(text.contains(": 13..27\n"), "{text}");
    let (code, text) = said(&run(&["--merge", &file(2), &file(0), &file(2)]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("2.json: seed 27 is in "), "{text}");
}

#[test]
fn record_has_what_the_text_has() {
    let args = ["--seeds", "7..11", "--profile", "active"];
    let text = run(&args);
    let record = json(&run(&[&args[..], &["--json"]].concat()));
    assert_eq!(text.status.code(), Some(0), "{text:?}");
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let Value::Object(rare) = &record["rare_paths"] else { panic!("{record}") };
    for (label, seeds) in rare {
        let line = format!("{:>9}  {label}", seeds.to_string());
        assert!(text.lines().any(|l| l == line), "{line}");
    }
    let Value::Object(faults) = &record["sums"]["faults"] else { panic!("{record}") };
    assert!(faults.keys().all(|class| text.contains(&format!(" {class} "))), "{text}");
    let run_twice = format!("; {} run twice", record["run_twice"]);
    assert!(text.contains("4 seeds of profile active") && text.contains(&run_twice), "{text}");
    for (key, value) in [("profile", "active"), ("seeds", "7..11"), ("commit", "00000003e8ab")] {
        assert_eq!(record[key], value);
    }
    assert_eq!((&record["verdict"], &record["ended"]), (&"held".into(), &"complete".into()));
    assert!(record["seconds"].as_f64().is_some_and(|s| s > 0.0), "{record}");
}

#[test]
fn failing_seeds_of_one_kind_are_one_line() {
    let output = run(&["--seeds", "0..60", "--mutant", "tombstone-dropped"]);
    let (code, text) = said(&output);
    assert_eq!(code, Some(1), "{text}");
    let groups: Vec<&str> = text.lines().filter(|l| l.contains("seed")).collect();
    let kind = "no resurrection: host #: key \"…\" of database # was removed by #";
    assert_eq!(groups.iter().filter(|l| l.contains(kind)).count(), 1, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let [.., digest, shrink, replay] = lines[..] else { panic!("{text}") };
    assert!(digest.ends_with(", commit 00000003e8ab"), "{text}");
    assert!(shrink.starts_with("cargo sim shrink "), "{text}");
    let command = replay.strip_prefix("cargo sim ").expect("the last line is a command");
    let again = simulator().args(command.split(' ')).arg("--quiet").output().expect("it runs");
    assert_eq!(again.status.code(), Some(1), "{replay}");
    let told = digest.split([' ', ',']).nth(1).expect("a digest");
    assert!(String::from_utf8_lossy(&again.stdout).contains(told), "{replay} {told}");
}

#[test]
fn seeds_follow_from_the_commit() {
    let output = run(&["--seeds", "commit:6", "--json", "--mutant", "seen-list-ignored"]);
    let (_, text) = said(&output);
    assert!(text.contains("seeds 1000..1006, which follow from commit 00000003e8ab"), "{text}");
    assert_eq!(json(&output)["seeds"], "1000..1006");
    let failed = json(&output)["violated"] != 0;
    assert_eq!(failed, text.contains("these seeds are new with this commit"), "{text}");
}

#[cfg(unix)]
#[test]
fn interrupted_campaign_says_what_it_found_and_goes_on_the_next_time() {
    let dir = tempfile::tempdir().expect("a directory for a file");
    let file = dir.path().join("state.json");
    let file = file.to_str().expect("a name in UTF-8");
    let args = ["run", "--seeds", "0..80", "--jobs", "1", "--json", "--resume", file];
    let pieces = || simulator().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = pieces().expect("the simulator runs");
    // The file is there before the first seed is run.
    while !Path::new(file).exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("kill runs").success());
    let output = child.wait_with_output().expect("it ends");
    let (code, text) = said(&output);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("of 80 seeds were not run, because it was interrupted"), "{text}");
    let record = json(&output);
    assert_eq!(
        (&record["verdict"], &record["ended"]),
        (&"undecided".into(), &"interrupted".into())
    );
    let left = std::fs::read(file).expect("the file is there");
    assert_eq!(serde_json::from_slice::<Value>(&left).ok(), Some(record.clone()));

    let output = pieces().expect("it runs").wait_with_output().expect("it ends");
    let (code, text) = said(&output);
    assert_eq!(code, Some(0), "{text}");
    let done = format!("{} of 80 seeds are done", record["seeds_run"]);
    assert!(text.contains(&done), "{text}");
    let whole = json(&run(&["--seeds", "0..80", "--json"]));
    assert_eq!(found(&json(&output)), found(&whole));
    // A third time there is nothing to run, and the verdict is the same.
    let again = simulator().args(args).output().expect("it runs");
    assert_eq!((again.status.code(), found(&json(&again))), (Some(0), found(&whole)));
}

#[test]
fn bad_usage_is_refused_before_anything_is_run() {
    let dir = tempfile::tempdir().expect("a directory for files");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let other = path("other.json");
    assert!(run(&["--seeds", "0..4", "--resume", &other]).status.success());
    let foreign = path("foreign.json");
    let text = std::fs::read_to_string(&other).expect("a record");
    let digest = text.split("\"digest\": \"").nth(1).expect("a probe").split('"').next();
    let swapped = text.replace(digest.expect("a digest"), "0123456789abcdef");
    std::fs::write(&foreign, swapped).expect("a file is written");
    let broken = path("broken.json");
    std::fs::write(&broken, "{\n  \"format\": 7").expect("a file is written");
    let nowhere = path("nowhere/x.json");
    let none: &[(&str, &str)] = &[];
    let index: &[(&str, &str)] = &[("JOB_COMPLETION_INDEX", "2")];
    let count: &[(&str, &str)] = &[("JOB_COMPLETION_COUNT", "2")];
    let beyond: &[(&str, &str)] = &[("JOB_COMPLETION_INDEX", "2"), ("JOB_COMPLETION_COUNT", "2")];
    let commit: &[(&str, &str)] = &[("QUORATE_COMMIT", "somewhere")];
    for (args, env, wanted) in [
        (&["--shard", "2/2"][..], none, "0/2 to 1/2"),
        (&[], index, "JOB_COMPLETION_COUNT is not"),
        (&[], count, "JOB_COMPLETION_INDEX is not"),
        (&[], beyond, "there is no shard 2 of 2"),
        (&["--shard", "3/9", "--seeds", "0..2"], none, "more shards than seeds"),
        (&["--seeds", "commit:5"], commit, "the commit is somewhere: expected its hash"),
        (&["--seeds", "0..5", "--resume", &other], none, "expected seeds 0..5, found 0..4"),
        (&["--seeds", "0..4", "--resume", &other], commit, "commit somewhere, found 00000003e8ab"),
        (&["--seeds", "0..4", "--resume", &foreign], none, "another build: seed 0 had digest 0123"),
        (&["--resume", &broken], none, "broken.json: expected the record of a campaign"),
        (&["--resume", &nowhere], none, "x.json: No such file"),
        (&["--resume", &path("")], none, "Is a directory"),
        (&["--merge", &broken], none, "line 2 column"),
        (&["--merge", &nowhere], none, "x.json: No such file"),
        (&["--merge", &other, &foreign], none, "seed 0 is in"),
        (&["--merge"], none, "--merge"),
        (&["--merge", &other, "--seeds", "0..4"], none, "cannot be used with"),
    ] {
        let mut command = simulator();
        command.arg("run").args(args).envs(env.iter().copied());
        let (code, text) = said(&command.output().expect("the simulator runs"));
        assert_eq!(code, Some(2), "{args:?}: {text}");
        assert!(text.contains(wanted), "{args:?}: {text}");
    }
    let explicit = simulator()
        .args(["run", "--seeds", "0..4", "--shard", "1/2"])
        .envs(index.iter().copied())
        .output();
    assert!(explicit.expect("it runs").status.success(), "an argument wins over the environment");
}

/// What follows `key: ` on the only line of a manifest that has it.
fn only<'m>(manifest: &'m str, key: &str) -> &'m str {
    let mut found = manifest.lines().filter_map(|line| line.trim().strip_prefix(key));
    let value = found.next().unwrap_or_else(|| panic!("no {key}"));
    assert_eq!(found.next(), None, "{key} twice");
    value.trim().trim_matches('"')
}

#[test]
fn manifest_starts_shards_that_can_be_merged() {
    let manifest = include_str!("../deploy/kubernetes-job.yaml");
    assert_eq!(only(manifest, "completionMode:"), "Indexed");
    let count = only(manifest, "value:");
    assert_eq!(count, only(manifest, "completions:"), "shards that nobody runs");
    assert_eq!(only(manifest, "- name: JOB_COMPLETION_COUNT"), "");
    assert_eq!(only(manifest, "image:"), "QUORATE_SIM_IMAGE");
    let mount = only(manifest, "mountPath:");
    let dir = tempfile::tempdir().expect("a directory for files");
    let below = manifest.split_once("args:\n").expect("arguments").1;
    let args: Vec<String> = below
        .lines()
        .map_while(|line| line.trim().strip_prefix("- "))
        .map(|arg| arg.replace("$(JOB_COMPLETION_INDEX)", "5"))
        .map(|arg| arg.replace(mount, &dir.path().to_string_lossy()))
        .collect();
    let variables = [("JOB_COMPLETION_INDEX", "5"), ("JOB_COMPLETION_COUNT", count)];
    let mut command = simulator();
    // All of a pod's life but its seeds.
    command.args(&args).arg("--time=0s").envs(variables);
    let (code, text) = said(&command.output().expect("the simulator runs"));
    assert_eq!(code, Some(3), "{text}");
    let file = dir.path().join("5.json");
    let record: Value =
        serde_json::from_slice(&std::fs::read(file).expect("the pod's file")).expect("a record");
    assert_eq!(record["shard"], format!("5/{count}"));
    assert_eq!(record["ended"], "time");
}
