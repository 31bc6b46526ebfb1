use std::time::Duration;

use super::action::Action;
use super::session::{Said, Session};
use super::setup::Setup;
use crate::scenario::live::{Refused, play_on};
use crate::scenario::outcome::Verdict;
use crate::scenario::{run_text, run_text_taped};
use crate::trace::{Recorder, Tape};

/// Something done at a simulated time, ms.
type Deed<'a> = (u64, &'a str);

fn setup(nodes: u8) -> Setup {
    Setup { nodes, seed: 7, latency_ms: 0, mutant: None }
}

fn action(json: &str) -> Action {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// Plays a lab; `end` looks at it.
fn lab<R>(
    setup: &Setup,
    deeds: &[Deed<'_>],
    until_ms: u64,
    end: impl FnOnce(&mut Session<'_, '_>) -> R,
) -> (R, Tape) {
    let tape = Recorder::new();
    let source = format!("# A lab.   real: yes\n{}", setup.lines());
    let out = play_on(&source, setup.seed, setup.mutant, &tape, |live| {
        let mut session = Session::new(live, tape.clone(), setup.clone());
        for (at, json) in deeds {
            session.pass_until(Duration::from_millis(*at)).expect("no node falls");
            session.act(&action(json)).unwrap_or_else(|error| panic!("{json}: {error}"));
        }
        session.pass_until(Duration::from_millis(until_ms)).expect("no node falls");
        end(&mut session)
    });
    (out.unwrap_or_else(|verdict| panic!("{verdict:?}")), tape.take())
}

/// What each host shows of a key at the end.
fn values(tape: &Tape, key: &str) -> Vec<String> {
    let series = tape.series.iter().find(|s| s.key == key).expect("the key was written");
    let last = |changes: &Vec<(u64, Option<crate::trace::Text>)>| match changes.last() {
        Some((_, Some(text))) => tape.texts()[text.0 as usize].clone(),
        Some((_, None)) | None => "(nil)".to_owned(),
    };
    series.hosts.iter().map(last).collect()
}

fn replies(said: &[Said]) -> Vec<&str> {
    said.iter().filter_map(|said| said.reply.as_deref()).collect()
}

const SPLIT: &str = r#"{"do":"wall","pairs":[["node1","node2"],["node2","node1"]]}"#;
const HEAL: &str = r#"{"do":"heal"}"#;

/// The guided tour, with a clock step, a pause and a kill on the way.
const TOUR: [Deed<'_>; 14] = [
    (1000, r#"{"do":"command","host":"node1","line":"SET greeting \"hello there\""}"#),
    (1500, r#"{"do":"command","host":"node2","line":"INCR visits"}"#),
    (2000, SPLIT),
    (2500, r#"{"do":"command","host":"node1","line":"SET greeting left"}"#),
    (2500, r#"{"do":"command","host":"node1","line":"INCRBY visits 10"}"#),
    (3000, r#"{"do":"command","host":"node2","line":"SET greeting right"}"#),
    (3001, r#"{"do":"command","host":"node2","line":"INCRBY visits 100"}"#),
    (4000, r#"{"do":"clock","host":"node1","by_ms":-2000}"#),
    (4500, r#"{"do":"pause","host":"node2"}"#),
    (5500, r#"{"do":"resume","host":"node2"}"#),
    (9000, HEAL),
    (22_000, r#"{"do":"kill","host":"node1"}"#),
    (23_000, r#"{"do":"restart","host":"node1"}"#),
    (25_000, r#"{"do":"line","line":"node2> DEL nothing"}"#),
];

#[test]
fn newest_write_stays_and_counters_add_up() {
    let (said, tape) = lab(&setup(2), &TOUR, 30_000, |session| session.said().to_vec());
    assert_eq!(values(&tape, "greeting"), ["right", "right"]);
    assert_eq!(values(&tape, "visits"), ["111", "111"]);
    assert_eq!(
        replies(&said),
        ["OK", "(integer) 1", "OK", "(integer) 11", "OK", "(integer) 101", "(integer) 0"]
    );
    assert!(tape.walls_now().is_empty());
}

#[test]
fn one_lab_is_one_run() {
    let run =
        || lab(&setup(3), &TOUR, 26_000, |session| (session.standing().digest, session.file())).0;
    assert_eq!(run(), run());
    let other = Setup { seed: 8, ..setup(3) };
    let digest = lab(&other, &TOUR, 26_000, |session| session.standing().digest).0;
    assert_ne!(digest, run().0, "another seed is another run");
}

#[test]
fn pace_changes_nothing() {
    let digest = |ticks: u64| {
        let tape = Recorder::new();
        let source = format!("# A lab.   real: yes\n{}", setup(2).lines());
        play_on(&source, 7, None, &tape, |live| {
            let mut session = Session::new(live, tape.clone(), setup(2));
            session.act(&action(SPLIT)).expect("a wall");
            let begin = session.now();
            for tick in 1..=ticks {
                let at = begin + Duration::from_secs(12) * tick as u32 / ticks as u32;
                session.pass_until(at).expect("no node falls");
            }
            session.standing().digest
        })
        .expect("the lab begins")
    };
    assert_eq!(digest(1), digest(997));
}

/// The file plays the same run: the same messages, at the same times, with the same fates.
#[test]
fn file_of_a_session_plays_it_again() {
    for (setup, until) in [(setup(2), 30_000), (setup(2), 8_000), (setup(4), 30_000)] {
        let (file, tape) =
            lab(&setup, &TOUR[..if until < 9000 { 10 } else { 14 }], until, |s| s.file());
        let again = Recorder::new();
        let verdict = run_text_taped(&file, 0, None, &again);
        assert!(matches!(verdict, Verdict::Held(_)), "{verdict:?}\n{file}");
        let again = again.take();
        let end = Duration::from_millis(until).as_nanos() as u64;
        let messages = |tape: &Tape| -> Vec<String> {
            let before = tape.messages.iter().filter(|m| m.ends <= end);
            before.map(|m| format!("{m:?} {}", tape.texts()[m.text.0 as usize])).collect()
        };
        // What the file itself asks at the end comes later, or is within a host.
        assert!(messages(&tape).len() > 50);
        let differ =
            messages(&tape).iter().zip(&messages(&again)).position(|(a, b)| strip(a) != strip(b));
        assert_eq!(differ, None, "{file}");
    }
}

/// Without the numbers of texts, which count what was said before.
fn strip(message: &str) -> String {
    let cut = message.find("text: ").expect("a message has a text");
    let said = message.rfind('}').expect("a message ends");
    format!("{}{}", &message[..cut], &message[said..])
}

#[test]
fn file_says_what_was_to_be_seen() {
    let whole = lab(&setup(2), &TOUR, 30_000, |s| s.file()).0;
    assert!(whole.contains("at 2s node2$ iptables -A INPUT -s 172.18.0.2 -j DROP\n"), "{whole}");
    assert!(whole.contains("at 1s node1> SET greeting \"hello there\"\n"), "{whole}");
    assert!(whole.contains("every GET visits = 111\n"), "{whole}");
    assert!(whole.starts_with("# A session of the lab: 2 hosts, 16 lines.          real: yes\n"));
    let plain = lab(&setup(2), &TOUR[..7], 3500, |s| s.file()).0;
    assert!(plain.contains("node1> GET greeting = left\n"), "{plain}");
    assert!(plain.contains("node2> GET greeting = right\n"), "{plain}");
    // An expectation that is wrong fails.
    let wrong = whole.replace("GET visits = 111", "GET visits = 112");
    assert!(matches!(run_text(&wrong, 0, None), Verdict::Failed(_)));
}

#[test]
fn one_way_wall_lets_the_other_way_pass() {
    let deeds = [
        (1000, r#"{"do":"wall","pairs":[["node1","node2"]]}"#),
        (1100, r#"{"do":"command","host":"node1","line":"SET a 1"}"#),
        (1200, r#"{"do":"command","host":"node2","line":"SET b 2"}"#),
    ];
    let (file, tape) = lab(&setup(2), &deeds, 1900, |session| session.file());
    assert_eq!(values(&tape, "a"), ["1", "(nil)"]);
    assert_eq!(values(&tape, "b"), ["2", "2"]);
    assert_eq!(tape.walls_now().len(), 1);
    assert!(file.contains("at 1s node2$ iptables -A INPUT -s 172.18.0.2 -j DROP\n"), "{file}");
}

#[test]
fn healing_takes_away_what_was_put_up_and_what_was_typed() {
    let deeds = [
        (1000, SPLIT),
        (1100, r#"{"do":"line","line":"node1$ iptables -P OUTPUT DROP"}"#),
        (1200, r#"{"do":"heal","pairs":[["node1","node2"]]}"#),
        (1300, HEAL),
        (1400, HEAL),
    ];
    let (lines, tape) = lab(&setup(2), &deeds, 1500, |session| {
        session.said().iter().map(|said| said.line.clone()).collect::<Vec<_>>()
    });
    assert!(tape.walls_now().is_empty());
    assert_eq!(
        lines[3..],
        [
            "node2$ iptables -D INPUT -s 172.18.0.2 -j DROP",
            "node1$ iptables -F",
            "node1$ iptables -P INPUT ACCEPT",
            "node1$ iptables -P OUTPUT ACCEPT"
        ]
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_what_was_expected() {
    let long = format!(r#"{{"do":"command","host":"node1","line":"SET k {}"}}"#, "x".repeat(5000));
    for (json, found) in [
        (r#"{"do":"command","host":"node3","line":"GET k"}"#, "host \"node3\""),
        (r#"{"do":"command","host":"node1","line":"  "}"#, "an empty line"),
        (r#"{"do":"command","host":"node1","line":"GET \"k"}"#, "the end of the line"),
        (r#"{"do":"command","host":"node1","line":"GET k\nkill node1"}"#, "several lines"),
        (r#"{"do":"command","host":"node1","line":"GET k = 3"}"#, "`node1> GET k = 3`"),
        (&long, "a line of 5006 bytes"),
        (r#"{"do":"wall","pairs":[]}"#, "no pairs"),
        (r#"{"do":"wall","pairs":[["node1","node1"]]}"#, "node1 twice"),
        (r#"{"do":"heal","pairs":[["node1","node2"]]}"#, "no wall"),
        (r#"{"do":"resume","host":"node1"}"#, "a running server"),
        (r#"{"do":"clock","host":"node1","by_ms":0}"#, "a step of 0 ms"),
        (r#"{"do":"line","line":"frobnicate"}"#, "`frobnicate`"),
        (r#"{"do":"line","line":"repeat 3"}"#, "`repeat`"),
        (r#"{"do":"line","line":"client c@node1"}"#, "`client c@node1`"),
        (r#"{"do":"line","line":"c> GET k"}"#, "`c`"),
        (r#"{"do":"line","line":"node1$ iptables -X"}"#, "-X"),
        (r#"{"do":"line","line":"node1$ iptables -D INPUT -s node2 -j DROP"}"#, "ule"),
    ] {
        let (before, after) = lab(&setup(2), &[(1000, HEAL)], 1000, |session| {
            let before = session.standing().digest;
            let refused = session.act(&action(json)).expect_err(json);
            assert!(matches!(refused, Refused::BadLine { .. }), "{json}: {refused:?}");
            let text = refused.to_string();
            assert!(text.contains(found) && text.contains(", expected "), "{json}: {text}");
            assert!(session.said().is_empty(), "nothing was played");
            (before, session.standing().digest)
        })
        .0;
        assert_eq!(before, after, "{json}: nothing happens");
    }
}

#[test]
fn command_to_a_host_without_a_server_says_so() {
    let deeds = [(1000, r#"{"do":"kill","host":"node1"}"#)];
    lab(&setup(2), &deeds, 1100, |session| {
        let get = r#"{"do":"command","host":"node1","line":"GET k"}"#;
        let refused = session.act(&action(get)).expect_err("nobody listens");
        assert!(matches!(refused, Refused::Unmet { .. }), "{refused:?}");
        assert!(session.said().last().is_some_and(|said| said.bad));
        session.act(&action(r#"{"do":"restart","host":"node1"}"#)).expect("it starts");
        session.act(&action(get)).expect("it answers");
        assert_eq!(session.standing().trouble, None);
        let ended = r#"{"do":"command","host":"node1","line":"SHUTDOWN NOSAVE"}"#;
        session.act(&action(ended)).expect("it is sent");
        session.pass_until(session.now() + Duration::from_secs(1)).expect("no node falls");
        assert_eq!(session.standing().trouble, None, "it was told to");
    });
}

#[test]
fn fault_in_the_nodes_shows_and_is_named() {
    let mutant = Some(quorate::base::mutant::Mutant::AppendNotReplicated);
    let deeds = [
        (1000, r#"{"do":"command","host":"node1","line":"SET k a"}"#),
        (1500, r#"{"do":"command","host":"node1","line":"APPEND k x"}"#),
    ];
    let faulty = Setup { mutant, ..setup(2) };
    let (file, tape) = lab(&faulty, &deeds, 5000, |session| session.file());
    assert!(file.ends_with("--mutant append-not-replicated\n"), "{file}");
    assert_eq!(values(&tape, "k"), ["ax", "a"]);
}

/// A write over a counter keeps what it should have overwritten: all hosts agree, and are wrong.
#[test]
fn hosts_that_agree_are_compared_with_what_was_written() {
    let deeds = [
        (1000, r#"{"do":"command","host":"node1","line":"INCR n"}"#),
        (1100, r#"{"do":"command","host":"node2","line":"INCR n"}"#),
        (2000, r#"{"do":"command","host":"node2","line":"SET n 5"}"#),
    ];
    let mutant = Some(quorate::base::mutant::Mutant::SeenListIgnored);
    for (setup, wrong) in [(setup(2), false), (Setup { mutant, ..setup(2) }, true)] {
        let (trouble, tape) = lab(&setup, &deeds, 5000, |session| session.standing().trouble);
        let shown = values(&tape, "n");
        assert_eq!(shown[0], shown[1]);
        assert_eq!(shown[0] != "5", wrong, "{shown:?}");
        assert_eq!(trouble.is_some(), wrong, "{trouble:?}");
    }
}

#[test]
fn setups_out_of_range_are_refused() {
    assert!(setup(2).check().is_ok());
    assert!(setup(1).check().is_err_and(|e| e.to_string() == "nodes: found 1, expected 2 to 5"));
    assert!(Setup { latency_ms: 1001, ..setup(2) }.check().is_err());
    for nodes in 2..=5 {
        for latency_ms in [0, 40] {
            let digest = lab(&Setup { latency_ms, ..setup(nodes) }, &[], 2000, |s| s.standing());
            assert_eq!(digest.0.trouble, None);
        }
    }
}
