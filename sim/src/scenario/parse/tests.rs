use super::*;
use crate::scenario::quality::{LinkQuality, LinkState};

const HEAD: &str = "# real: yes\nhost node1 10.0.0.1\nhost node2 10.0.0.2\n";

fn step(line: &str) -> What {
    let scenario = parse(&format!("{HEAD}{line}\n")).unwrap_or_else(|e| panic!("{line}: {e}"));
    scenario.steps.into_iter().next().unwrap().what
}

fn error(line: &str) -> ParseError {
    parse(&format!("{HEAD}{line}\n")).expect_err(line)
}

#[test]
fn the_page_s_example_is_understood() {
    let source = r#"
        node1$ quorate server --multi-master yes --replicaof node2 6379
        within 5s node1> INFO replication ~ master_link_status:up
        node1> SET testkey "Hello from Node 1"          = OK
        node1$ iptables -A INPUT -s 172.18.0.3 -j DROP
        node1> SET testkey "Hello from Node 1 after split"
        sleep 10ms
        within 5s every GET testkey                     = "Hello from Node 2 after split"
        converged within 5s"#;
    let scenario = parse(&format!("{HEAD}{source}")).unwrap();
    assert_eq!(scenario.real, RealMode::Yes);
    assert_eq!(scenario.hosts.len(), 2);
    assert_eq!(scenario.steps.len(), 8);
    assert_eq!(scenario.steps[7].line, 12);
    assert_eq!(scenario.steps[7].text, "converged within 5s");
    let within = Some(Duration::from_secs(5));
    assert_eq!(scenario.steps[7].what, What::Check { within, check: Check::Converged });
    let What::Check { check: Check::Call(call), .. } = &scenario.steps[2].what else { panic!() };
    assert_eq!(call.words.len(), 3);
    assert_eq!(call.expect, Expect::Equal(split("OK").unwrap()));
}

#[test]
fn every_line_of_the_language_is_understood() {
    for line in [
        "node2$ quorate server --bogus 1 expect error bogus",
        "client c@node1",
        "client c@node1 noauth",
        "every GET k = 1",
        "within 1.5s every GET k ~ x*y",
        "sum primary QUORATE PMAP = 4096",
        "within 5s sum primary in node1 QUORATE PMAP = 682..683",
        "region eu node1 node2\nsum primary in eu QUORATE PMAP = 2048",
        "log node1 ~ refused",
        "converged",
        "within 2m converged",
        "async node1> SET k v = OK",
        "await",
        "load node1 200/s SET k:$n v",
        "stop load",
        "kill node1",
        "node1$ proxy --server node2:6379",
        "memory node1 64mb",
        "memory node1 unlimited",
        "ended node1",
        "within 5s ended node1",
        "at 1s memory node1 64mb",
        "restart node1",
        "wipe node1",
        "pause node1",
        "resume node1",
        "clock node1 -500ms",
        "clock node1 offset +1m",
        "clock node1 drift -200ppm",
        "clock node1 freeze",
        "clock node1 run",
        "clock node1 monotonic +10s",
        "clock node1 monotonic drift +200ppm",
        "clock node1 monotonic freeze",
        "clock node1 monotonic run",
        "link node1 node2 latency 40ms loss 1% bandwidth 10mbit",
        "link node1 -> node2 jitter 5ms tail 1% 200ms reorder 2% 5ms",
        "link node1 node2 queue 64kb down",
        "link node1 node2 up",
        "link node1 -> node2 flap 2s 500ms",
        "region eu node1 node2\nlink eu eu latency 1ms",
        "sleep 0ms..50ms",
        "collected",
        "within 5s collected",
        "at 10ms node1> SET k v",
        "at 1.5s node1> MULTI",
        "at 1s node1$ iptables -F",
        "at 1s node1$ quorate server --protected-mode no",
        "at 1s kill node1",
        "at 1s restart node1",
        "at 1s pause node1",
        "at 1s resume node1",
        "at 1s clock node1 +2s",
        "at 1s link node1 node2 latency 40ms",
        "node1> EXEC = OK (integer) 3",
        "node1> GET k expect error WRONGTYPE",
        "node1> GET k expect error MOVED or CLUSTERDOWN or \"INDOUBT The\"",
        "repeat 3\nrepeat 2 j\nnode1> SET k$i:$j v\nend\nend",
    ] {
        step(line);
    }
}

/// The lines of the table in the README, as they stand there.
fn documented() -> Vec<&'static str> {
    let readme = include_str!("../../../README.md");
    let section = readme.split("## Scenario files").nth(1).unwrap().split("\n## ").next().unwrap();
    let cell = |line: &'static str| line.strip_prefix("| `")?.split("` | ").next();
    section.lines().filter_map(cell).collect()
}

#[test]
fn every_line_of_the_readme_s_table_is_understood() {
    let documented = documented();
    assert!(documented.len() > 40, "{documented:?}");
    for line in documented {
        // What a line needs around it.
        let source = match line.split(' ').next().unwrap() {
            "host" | "region" | "seed" => format!("{HEAD}{line}\nkill node1\n"),
            "limits" => format!("# real: yes\n{line}\nhost node1 10.0.0.1\nkill node1\n"),
            "repeat" => format!("{HEAD}{}\n", line.replace("` … `", "\nkill node1\n")),
            "link" | "sum" => format!("{HEAD}host node3 10.0.0.3\nregion eu node1 node2\n{line}\n"),
            _ => format!("{HEAD}{line}\n"),
        };
        parse(&source).unwrap_or_else(|e| panic!("{line}: {e}"));
    }
}

#[test]
fn every_word_of_the_language_is_in_the_readme_s_table() {
    let documented = documented().join("\n");
    for word in STATEMENTS.split('`').skip(1).step_by(2) {
        let word = word.replace("NAME", "node1").replace(" COMMAND", "");
        assert!(documented.contains(&word), "`{word}` is not in the table");
    }
    for word in super::links::LINK.split('`').skip(1).step_by(2).skip(2) {
        let word = word.split(' ').next().unwrap();
        assert!(documented.contains(&format!(" {word}")), "link … {word} is not in the table");
    }
}

#[test]
fn quoted_signs_are_words_of_the_command() {
    let What::Check { check: Check::Call(call), .. } = step("node1> SET '=' '~' = '='") else {
        panic!()
    };
    assert_eq!(call.words.len(), 3);
    assert_eq!(call.expect, Expect::Equal(split("'='").unwrap()));
}

#[test]
fn a_client_is_asked_on_its_host() {
    let source = format!("{HEAD}client c@node2\nc> PING\n");
    let scenario = parse(&source).unwrap();
    let What::Check { check: Check::Call(call), .. } = &scenario.steps[1].what else { panic!() };
    assert_eq!(call.who, Who::Named { name: "c".to_owned(), host: 1 });
}

#[test]
fn links_of_regions_are_those_of_their_hosts_in_each_direction() {
    let head = format!("{HEAD}host node3 10.0.0.3\nregion eu node1 node2\nregion us node3\n");
    let pairs = |line: &str| {
        let scenario = parse(&format!("{head}{line}\n")).unwrap();
        let What::Link { pairs, .. } = scenario.steps[0].what.clone() else { panic!("{line}") };
        pairs
    };
    assert_eq!(pairs("link eu us up"), [(0, 2), (1, 2), (2, 0), (2, 1)]);
    assert_eq!(pairs("link eu -> us up"), [(0, 2), (1, 2)]);
    assert_eq!(pairs("link us -> eu up"), [(2, 0), (2, 1)]);
    assert_eq!(pairs("link eu eu up"), [(0, 1), (1, 0)]);
    assert_eq!(pairs("link node1 us up"), [(0, 2), (2, 0)]);
    assert_eq!(pairs("link node1 eu up"), [(0, 1), (1, 0)]);
}

#[test]
fn a_link_line_says_only_what_it_names() {
    let What::Link { quality, .. } = step("link node1 -> node2 tail 1% 200ms flap 2s 1s") else {
        panic!()
    };
    let (up, down) = (Duration::from_secs(2), Duration::from_secs(1));
    let expected = LinkQuality {
        tail: Some((0.01, Duration::from_millis(200))),
        state: Some(LinkState::Flaps { up, down }),
        ..LinkQuality::default()
    };
    assert_eq!(quality, expected);
}

#[test]
fn bad_lines_say_what_was_found_and_what_was_expected() {
    for (line, found, expected) in [
        ("frobnicate", "`frobnicate`", "`host`"),
        ("node3> GET k", "`node3`", "node1, node2"),
        ("node1> ", "the end of the line", "a command"),
        ("node1> GET k =", "`=`", "`= VALUE`"),
        ("node1> GET k ~ a b", "`~ a b`", "`~ PATTERN`"),
        ("node1> GET k expect error", "`expect error`", "`or PATTERN`"),
        ("node1> GET k expect error a or", "`expect error a or`", "`or PATTERN`"),
        ("node1> GET k expect error a b", "`expect error a b`", "`or PATTERN`"),
        ("node1> GET \"k", "the end of the line", "a closing \""),
        ("node1$ rm -rf x", "`rm -rf x`", "`iptables WORD …`"),
        ("node1$ iptables", "`iptables`", "`iptables WORD …`"),
        ("within 5 node1> GET k", "`5`", "a time"),
        ("within 5s sleep 1s", "`sleep`", "`converged`"),
        ("within 5s node1> INCR k", "`INCR`", "only reads"),
        ("sleep 2s..1s", "`2s..1s`", "a range"),
        ("clock node1 2s", "`2s`", "`+2s`"),
        ("link node1 node1 loss 1%", "`node1 node1 loss 1%`", "`link A B`"),
        ("memory node1", "`node1`", "`memory NAME SIZE`"),
        ("memory node1 64", "`64`", "`64mb`"),
        ("ended", "the end of the line", "the name of one host"),
        ("at 5s node1$ proxy --server a:1", "`node1$ proxy", "a line that changes something"),
        ("clock node1", "the end of the line", "`clock NAME`"),
        ("clock node1 fast", "`fast`", "`+2s`"),
        ("clock node1 drift +2s", "`+2s`", "`+200ppm`"),
        ("clock node1 monotonic -2s", "`-2s`", "to jump ahead"),
        ("clock node1 monotonic offset +2s", "`monotonic offset +2s`", "`monotonic` and `+2s`"),
        ("link node1 node2 loss 1", "`1`", "`1%`"),
        ("link node1 node2 slowly", "`slowly`", "`latency 40ms`"),
        ("link node1 node2 latency", "`latency`", "`latency 40ms`"),
        ("link node1 node2 tail 200ms 1%", "`200ms`", "a share"),
        ("link node1 node2 queue 64", "`64`", "`64kb`"),
        ("link node1 -> node1 up", "`node1 -> node1 up`", "`link A -> B`"),
        ("link node1 nowhere up", "`nowhere`", "a region: node1, node2"),
        ("region", "the end of the line", "`region NAME HOST …`"),
        ("region eu", "a region without hosts", "`region NAME HOST …`"),
        ("region node1 node2", "`node1` a second time", "a name of its own"),
        ("region eu node1 node1", "`node1` a second time", "each host once"),
        ("region eu node1\nlink eu eu up", "`eu eu up`", "`link A B`"),
        ("repeat 0\nend", "`0`", "1 to 1000000"),
        ("repeat 3", "`repeat 3` without `end`", "`end`"),
        ("end", "`end` without `repeat`", "`repeat`"),
        ("repeat 2\nrepeat 2\nend\nend", "`$i` a second time", "a name of its own"),
        ("node1> SET k $i", "`$i`", "a `repeat` around"),
        ("host node1 10.0.0.3", "`node1` a second time", "a name of its own"),
        ("host node3 10.0.0.2", "`10.0.0.2`, which `node2` has", "an address of its own"),
        ("host node3 10.0.0", "`10.0.0`", "an IPv4 address"),
        ("client c@nowhere", "`nowhere`", "node1, node2"),
        ("load node1 fast SET k v", "`fast`", "`200/s`"),
        ("at", "the end of the line", "`at TIME LINE`"),
        ("at 5s", "`5s`", "`host`"),
        ("at 5 kill node1", "`5`", "a time"),
        ("at 5s node1> GET k = 1", "`node1> GET k = 1`", "without an answer"),
        ("at 5s converged", "`converged`", "a line that changes something"),
        ("at 5s at 6s kill node1", "`at 6s kill node1`", "a line that changes something"),
        ("limits small", "`small`", "tiny, short or production"),
        ("limits short", "`limits short` in a file for real", "`real: no (reason)`"),
        ("kill node1\nlimits production", "`limits` here", "before all others"),
        ("seed x", "`x`", "a number"),
        ("sum", "the end of the line", "`sum FIELD COMMAND = N`"),
        ("sum primary QUORATE PMAP", "`QUORATE PMAP`", "`sum FIELD COMMAND = N`"),
        ("sum primary QUORATE PMAP = 1 2", "`1 2`", "`sum FIELD COMMAND = N`"),
        ("sum primary QUORATE PMAP = 2..1", "`2..1`", "`2047..2049`"),
        ("sum primary in nowhere QUORATE PMAP = 1", "`nowhere`", "a region: node1, node2"),
        ("within 5s sum n INCR k = 1", "`INCR`", "only reads"),
        ("async converged", "`converged`", "`async NAME> COMMAND`"),
        ("", "the end of the file", "something to do"),
    ] {
        let error = error(line);
        assert!(error.found.contains(found), "{line}: found {}", error.found);
        assert!(error.expected.contains(expected), "{line}: expected {}", error.expected);
        assert!((3..=6).contains(&error.line), "{line}: line {}", error.line);
    }
}

#[test]
fn a_file_says_whether_it_may_be_real() {
    let body = "host node1 10.0.0.1\nkill node1\n";
    let no = parse(&format!("# wan    real: no (no latency here)\n{body}")).unwrap();
    assert_eq!(no.real, RealMode::No { line: 1, reason: "no latency here".to_owned() });
    for head in ["", "# nothing\n", "# real: maybe\n", "# real: no\n", "# real: no ()\n"] {
        let error = parse(&format!("{head}{body}")).unwrap_err();
        assert_eq!(error.line, 1, "{head}");
        assert!(error.expected.contains("real: yes"));
    }
}

#[test]
fn a_file_may_have_limits_and_a_seed() {
    let body = "limits short\nseed 7\nhost node1 10.0.0.1\nkill node1\n";
    let scenario = parse(&format!("# real: no (small bounds)\n{body}")).unwrap();
    assert_eq!((scenario.limits, scenario.seed), (LimitsPlan::Short, Some(7)));
    let usual = parse("# real: yes\nhost node1 10.0.0.1\nkill node1\n").unwrap();
    assert_eq!((usual.limits, usual.seed), (LimitsPlan::Production, None));
}
