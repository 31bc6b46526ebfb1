//! What `replay` and `mutants` write for people and for other programs: the command line, its files, its exit codes.

// These processes are real, and so is the time they take.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn run(args: &[&str]) -> Output {
    let simulator = env!("CARGO_BIN_EXE_quorate-sim");
    Command::new(simulator).args(args).output().expect("the simulator runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).expect("the file was written")
}

#[test]
fn likelihood_prints_a_curve_and_writes_it() {
    let dir = tempfile::tempdir().expect("a directory for files");
    let file = dir.path().join("curve.json");
    let name = file.to_string_lossy();
    let page = dir.path().join("curve.html");
    let page_name = page.to_string_lossy();
    let args = ["replay", "0", "--mutant", "seen-list-ignored", "--likelihood", "--points", "4"];
    let again = [&args[..], &["--redraws", "2", "--json", &name, "--html", &page_name]].concat();
    let output = run(&again);
    assert_eq!(output.status.code(), Some(1), "{}", error(&output));
    let text = out(&output);
    assert!(text.contains("violated: counters: ") && text.contains("fails again"), "{text}");
    let curve: Value = serde_json::from_str(&read(&file)).expect("JSON");
    let points = curve["points"].as_array().expect("points");
    let last = points.last().expect("there are some");
    assert_eq!((&points[0]["choices"], &last["choices"]), (&Value::from(0), &curve["choices"]));
    assert_eq!((&last["same"], &curve["property"]), (&Value::from(2), &Value::from("counters")));
    let html = read(&page);
    assert_eq!(html.matches("<circle").count(), points.len());
    assert_eq!(out(&run(&again)), text);
    assert_eq!(read(&page), html);
}

#[test]
fn likelihood_of_a_run_that_holds_is_refused() {
    let output = run(&["replay", "0", "--likelihood"]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(2), ""));
    assert!(error(&output).contains("the run holds"), "{}", error(&output));
    let output = run(&["replay", "0", "--redraws", "3"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("--likelihood"), "{}", error(&output));
}

#[test]
fn exports_change_no_digest() {
    let dir = tempfile::tempdir().expect("a directory for files");
    let (edn, log) = (dir.path().join("h.edn"), dir.path().join("run.log"));
    let (edn_name, log_name) = (edn.to_string_lossy(), log.to_string_lossy());
    let plain = run(&["replay", "2", "--quiet"]);
    let output = run(&["replay", "2", "--quiet", "--edn", &edn_name, "--shiviz", &log_name]);
    assert_eq!((output.status.code(), out(&output)), (Some(0), out(&plain)));
    assert!(read(&edn).starts_with("{:index 0, :time "));
    assert!(read(&log).starts_with("(?<host>\\S*) (?<clock>{.*})\\n(?<event>.*)\n\n"));
    // Whatever the verdict, the file is understood, or what is missing in it is named.
    let checked = run(&["check", &edn_name]);
    let said = out(&checked) + &error(&checked);
    assert!(said.contains("linearizable") || said.contains("only reads and writes"), "{said}");
}

#[test]
fn mutants_are_told_to_programs() {
    let output = run(&["mutants", "--quick", "--json", "--only", "seen-list-ignored"]);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let table: Value = serde_json::from_str(&out(&output)).expect("JSON");
    let row = &table[0];
    assert_eq!((&row["mutant"], &row["area"]), (&"seen-list-ignored".into(), &"merge".into()));
    assert!(row["seed"].is_u64() && row["property"].is_string(), "{row}");
}
