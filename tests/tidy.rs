//! The house rules that the compiler does not check: imports go downwards only, files stay short, our own
//! enums are matched without a wildcard arm, the reference model stays independent.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 600;

/// Floors of `src/`, from the ground up. What stands on one floor does not know its neighbours, but for
/// `command`, `active` and later `strong`, which must not either.
const FLOORS: [&[&str]; 6] = [
    &["base"],
    &["store", "wire", "rdb"],
    // The log says things in the format of the wire.
    &["wal"],
    &["command", "active", "strong"],
    &["node"],
    &["shell"],
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, into);
        } else if name.ends_with(".rs") {
            into.push(path);
        }
    }
}

fn files_below(dirs: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for dir in dirs {
        rust_files(&root().join(dir), &mut files);
    }
    assert!(!files.is_empty(), "no files below {dirs:?}");
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text)
        })
        .collect()
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The modules of this crate that a source text names after `crate::`.
fn named_modules(text: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let mut rest = line;
        while let Some(at) = rest.find("crate::") {
            rest = &rest[at + "crate::".len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            modules.insert(rest[..end].to_owned());
        }
    }
    modules
}

#[test]
fn imports_go_downwards_only() {
    let mut wrong = Vec::new();
    for (path, text) in files_below(&["src"]) {
        let own = path.split('/').nth(1).unwrap().trim_end_matches(".rs").to_owned();
        let Some(floor) = floor_of(&own) else { continue };
        for module in named_modules(&text) {
            let Some(other) = floor_of(&module) else { continue };
            if module != own && other >= floor {
                wrong.push(format!("{path} (floor {floor}) names crate::{module} (floor {other})"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that do not go downwards:\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_short() {
    let long: Vec<String> = files_below(&["src", "sim", "tests", "fuzz"])
        .into_iter()
        .filter(|(_, text)| text.lines().count() > LINES_MAX)
        .map(|(path, text)| format!("{path}: {} lines", text.lines().count()))
        .collect();
    assert!(long.is_empty(), "files over {LINES_MAX} lines:\n{}", long.join("\n"));
}

/// Names of the enums declared with `enum` in a text.
fn declared_enums(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim_start().trim_start_matches("pub ").strip_prefix("enum "))
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect()
}

/// Line numbers of wildcard arms in matches of which another arm names a variant of `enums`.
fn wildcard_arms(text: &str, enums: &BTreeSet<String>) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut wrong = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let arm = line.trim_start();
        if !(arm.starts_with("_ =>") || arm.starts_with("_ if ")) {
            continue;
        }
        let depth = indent(line);
        let siblings =
            lines[..number].iter().rev().take_while(|l| l.is_empty() || indent(l) >= depth);
        let names_ours = siblings.filter(|l| indent(l) == depth).any(|l| {
            let arm = l.trim_start().trim_start_matches("| ");
            let pattern = arm.split("=>").next().unwrap_or("");
            pattern
                .split(['(', ' ', '&', ','])
                .any(|word| word.split_once("::").is_some_and(|(name, _)| enums.contains(name)))
        });
        if names_ours {
            wrong.push(number + 1);
        }
    }
    wrong
}

#[test]
fn own_enums_are_matched_without_wildcards() {
    let files = files_below(&["src", "sim/src"]);
    let enums: BTreeSet<String> = files.iter().flat_map(|(_, text)| declared_enums(text)).collect();
    assert!(enums.contains("Frame") && enums.contains("Cell"), "the search for enums is broken");
    let wrong: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| {
            wildcard_arms(text, &enums).into_iter().map(move |line| format!("{path}:{line}"))
        })
        .collect();
    assert!(wrong.is_empty(), "wildcard arms on our own enums:\n{}", wrong.join("\n"));
}

#[test]
fn wildcard_arms_are_found() {
    let enums: BTreeSet<String> = ["Frame".to_owned()].into();
    let bad = "match f {\n    Frame::Ack(v) => 1,\n    _ => 2,\n}\n";
    let good = "match n {\n    1 => Frame::Ack(v),\n    _ => 2,\n}\n";
    assert_eq!(wildcard_arms(bad, &enums), [3]);
    assert!(wildcard_arms(good, &enums).is_empty());
}

#[test]
fn reference_model_stays_independent() {
    for (path, text) in files_below(&["sim/src"]) {
        if !path.contains("/model") {
            continue;
        }
        for module in ["store", "active", "strong", "node"] {
            let name = format!("quorate::{module}");
            assert!(
                !text.contains(&name),
                "{path} imports {name}: the model must stay independent"
            );
        }
    }
}
