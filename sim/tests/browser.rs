//! The timeline page and the lab in a headless Chromium, driven by playwright-core (see `tests/browser/`).

// A browser takes real time.
#![allow(clippy::disallowed_methods)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Where Debian puts it, unless CHROMIUM says otherwise.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Longest wait for the lab to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Three hosts under load, with a split: more than 50,000 events.
const MANY: &str = "# Many events.   real: no (made to be looked at)
host node1 172.18.0.2
host node2 172.18.0.3
host node3 172.18.0.4
node1$ quorate server --multi-master yes --active-replica yes --replicaof node2 6379 --replicaof node3 6379 --protected-mode no
node2$ quorate server --multi-master yes --active-replica yes --replicaof node1 6379 --replicaof node3 6379 --protected-mode no
node3$ quorate server --multi-master yes --active-replica yes --replicaof node1 6379 --replicaof node2 6379 --protected-mode no
load node1 80/s INCR visits
load node2 80/s SET greeting $n
load node3 60/s SET other $n
sleep 4s
node1$ iptables -A INPUT -s node2 -j DROP
sleep 4s
node1$ iptables -F
sleep 4s
stop load
converged within 60s
";

struct Tools {
    chromium: PathBuf,
    scripts: PathBuf,
}

/// What is needed besides the simulator. If something is missing the test says so and ends; under CI it fails.
fn tools() -> Option<Tools> {
    let chromium = std::env::var_os("CHROMIUM").map_or_else(|| CHROMIUM.into(), PathBuf::from);
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).status();
    let missing = if !node.is_ok_and(|status| status.success()) {
        "node (Debian: nodejs)".to_owned()
    } else if !chromium.exists() {
        format!("{} (Debian: chromium; or CHROMIUM=PATH)", chromium.display())
    } else if !scripts.join("node_modules/playwright-core").exists() {
        "playwright-core: npm ci --prefix sim/tests/browser".to_owned()
    } else {
        return Some(Tools { chromium, scripts });
    };
    assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "{missing} is missing");
    // Shown although the test passes, unlike what a macro prints.
    let text = format!("\nSKIPPED: pages in a browser: {missing} is missing\n");
    std::io::stderr().write_all(text.as_bytes()).expect("standard error can be written");
    None
}

fn simulator(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim")).args(args).output();
    output.expect("the simulator starts")
}

/// Runs the simulator for a page; it must end with this code.
fn page(args: &[&str], code: i32) {
    let output = simulator(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
}

struct Lab {
    process: Child,
    url: String,
}

impl Lab {
    fn start() -> Lab {
        let mut process = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
            .args(["lab", "--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the simulator starts");
        let mut line = String::new();
        let out = process.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it says where it is");
        let url = line.split(' ').find(|word| word.starts_with("http"));
        Lab { process, url: url.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned() }
    }

    /// It was told to end; its exit code.
    fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("a child") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the lab does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn pages_and_the_lab_in_a_browser() {
    let Some(Tools { chromium, scripts }) = tools() else { return };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let split = scenarios.join("keydb-split-brain.scn").to_string_lossy().into_owned();
    let mutant = ["replay", "47", "--mutant", "increment-applied-twice", "--quiet", "--html"];
    page(&[&mutant[..], &[&file("mutant.html")]].concat(), 1);
    page(&[&mutant[..], &[&file("two.html"), "--diff", "47"]].concat(), 1);
    page(&["scenario", &split, "--html", &file("split.html")], 0);
    std::fs::write(file("many.scn"), MANY).expect("it can be written");
    page(&["scenario", &file("many.scn"), "--html", &file("many.html")], 0);

    let mut lab = Lab::start();
    let given = serde_json::json!({
        "chromium": chromium, "dir": dir, "url": lab.url, "pid": lab.process.id(),
    });
    let output = Command::new("node")
        .arg(scripts.join("run.mjs"))
        .arg(given.to_string())
        .output()
        .expect("node starts");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Frame times are worth seeing also when all is well.
    std::io::stderr().write_all(format!("\n{out}").as_bytes()).expect("it can be written");
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(lab.ended(), Some(0), "Ctrl-C ends the lab in order");

    // What was downloaded plays the session again.
    let again = simulator(&["scenario", &file("lab.scn")]);
    let said = String::from_utf8_lossy(&again.stdout);
    assert_eq!(
        again.status.code(),
        Some(0),
        "{said}\n{}",
        std::fs::read_to_string(file("lab.scn")).unwrap_or_default()
    );
}
