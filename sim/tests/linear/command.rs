//! `quorate-sim check` as people call it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::recorded::folder;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(file: &Path, more: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
        .arg("check")
        .arg(file)
        .args(more)
        .output()
        .expect("the simulator runs");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn written(name: &str, text: &[u8]) -> PathBuf {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, text).expect("a file");
    file
}

#[test]
fn verdicts_have_their_exit_codes() {
    let good = run(&folder().join("kv/c50-ok.txt"), &[]);
    assert_eq!((good.code, good.err.as_str()), (Some(0), ""), "{}", good.out);
    assert!(good.out.contains("c50-ok.txt: linearizable\n"), "{}", good.out);
    assert!(good.out.contains("10 keys"), "{}", good.out);

    let bad = run(&folder().join("etcd/etcd_004.log"), &["--model", "register"]);
    assert_eq!(bad.code, Some(1), "{}", bad.out);
    for wanted in [
        "NOT linearizable",
        "ends at line 63",
        "process 4: read 2 (invoked line 62, completed line 63)",
        "and nothing else: 4",
    ] {
        assert!(bad.out.contains(wanted), "{wanted}\n{}", bad.out);
    }

    let late = run(&folder().join("kv/c50-bad.txt"), &["--budget", "0s"]);
    assert_eq!(late.code, Some(3), "{}", late.out);
    assert!(late.out.contains("undecided"), "{}", late.out);
}

#[test]
fn bad_input_is_named_with_its_line() {
    let file = written("bad.edn", b"{:process 0, :type :invoke, :f :read}\n{:process 0}\n");
    let ran = run(&file, &[]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert_eq!(ran.err, format!("{}:2: expected :type, found a map without it\n", file.display()));
    for (name, text, wanted) in [
        ("end.log", &b"0 :invoke :read nil\n1 :ok :read 1\n"[..], ":2: expected an invocation"),
        ("bytes.log", b"0 :invoke :read nil\n\xff\n", ":2: expected UTF-8"),
        ("mixed.log", b"0 :invoke :read nil\n1 :invoke :get nil\n", ":2: expected :read, :write"),
        ("cas.log", b"0 :invoke :cas 7\n", ":1: expected [old new] for a :cas, found :cas 7"),
        ("append.log", b"0 :invoke :append 7\n", ":1: expected a string for :append"),
        ("get.log", b"0 :invoke :get nil\n0 :ok :get 7\n", ":2: expected a string or nil"),
    ] {
        let ran = run(&written(name, text), &[]);
        assert_eq!(ran.code, Some(2), "{}", ran.out);
        assert!(ran.err.contains(wanted), "{} does not say {wanted}", ran.err);
    }
    let missing = run(Path::new("no-such-file.edn"), &[]);
    assert_eq!(missing.code, Some(2));
    assert!(missing.err.starts_with("no-such-file.edn: "), "{}", missing.err);
    let model = run(&file, &["--model", "queue"]);
    assert_eq!(model.code, Some(2));
    assert!(model.err.contains("there are: register, kv"), "{}", model.err);
}

#[test]
fn what_was_passed_over_is_said() {
    let text = b"{:process 0, :type :invoke, :f :write, :value 1, :time 9}\n\
        {:process :nemesis, :type :info, :f :start}\n\
        {:process 0, :type :ok, :f :write, :value 1, :time 3}\n";
    let ran = run(&written("note.edn", text), &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    assert!(ran.out.contains("skipped 1 entry"), "{}", ran.out);
    assert!(ran.out.contains(":time steps back on line 3"), "{}", ran.out);
}
