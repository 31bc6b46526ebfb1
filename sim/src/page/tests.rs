use std::collections::BTreeSet;

use serde_json::Value;

use super::{Shown, render};
use crate::firewall::{Chain, ConnState, Firewall, Outlook, Packet, Protocol};
use crate::look;
use crate::plan::{Plan, Profile};
use crate::runner::run::{Options, run_plan, run_taped};
use crate::trace::{Fate, HostState, OpOutcome, Recorder, Tape, parting};

fn plan(profile: Profile, seed: u64) -> Plan {
    Plan::generate(profile, seed)
}

fn tape_of(plan: &Plan) -> Tape {
    look::run(plan, None, true).tape
}

fn page_of(tapes: &[&Tape]) -> String {
    let shown = |tape| Shown { label: "a run".into(), command: "cargo sim".into(), tape };
    let runs: Vec<Shown<'_>> = tapes.iter().map(|tape| shown(*tape)).collect();
    render("a <run> & more", &runs)
}

/// The text of the data element, as a browser finds its end.
fn data_of(html: &str) -> &str {
    let begin = "<script type=\"application/json\" id=\"data\">";
    let rest = html.split_once(begin).expect("the page has data").1;
    rest.split_once("</script").expect("the element ends").0
}

fn json_of(html: &str) -> Value {
    serde_json::from_str(data_of(html)).expect("the data is JSON")
}

fn columns(run: &Value, name: &str) -> Vec<usize> {
    let table = run[name].as_object().expect("a table of columns");
    table.values().map(|column| column.as_array().expect("a column").len()).collect()
}

#[test]
fn data_is_json_and_has_every_event() {
    let tape = tape_of(&plan(Profile::Smoke, 7));
    let page = json_of(&page_of(&[&tape]));
    let run = &page["runs"][0];
    for (name, count) in
        [("messages", tape.messages.len()), ("marks", tape.marks.len()), ("ops", tape.ops.len())]
    {
        assert!(count > 50, "{count} {name}");
        assert!(columns(run, name).iter().all(|length| *length == count), "{name}");
    }
    assert_eq!(run["hosts"].as_array().map(Vec::len), Some(4), "three nodes and the clients");
    assert_eq!(run["verdict"][0], "held");
    assert!(!run["series"].as_array().expect("keys").is_empty());
    let texts = run["texts"].as_array().expect("texts").len() as u64;
    let named = run["messages"]["text"].as_array().expect("a column");
    assert!(named.iter().all(|text| text.as_u64().is_some_and(|text| text < texts)));
}

#[test]
fn nothing_in_the_data_can_end_its_element_or_begin_another() {
    let mut tape = Tape::default();
    tape.add_host("</script><script>alert(1)</script>", "<!--".to_owned());
    tape.line(crate::time::Time(5), "<!-- <script> ]]> & </SCRIPT >");
    tape.finish(Default::default());
    let html = page_of(&[&tape]);
    let data = data_of(&html);
    assert!(!data.contains('<') && !data.contains('>') && !data.contains('&'), "{data}");
    let page = json_of(&html);
    assert_eq!(page["runs"][0]["hosts"][0][0], "</script><script>alert(1)</script>");
    assert!(html.contains("<title>a &lt;run&gt; &amp; more</title>"));
    // Two elements of script, and as many ends.
    assert_eq!(html.matches("<script").count(), 2);
    assert_eq!(html.matches("</script").count(), 2);
}

#[test]
fn page_loads_nothing_from_anywhere() {
    let tape = tape_of(&plan(Profile::Smoke, 1));
    let html = page_of(&[&tape]);
    for word in ["http://", "https://", "src=", "<link", "@import", "url(", "fetch(", "import("] {
        assert!(!html.contains(word), "{word}");
    }
    assert!(html.contains("default-src 'none'"), "and may not");
}

#[test]
fn a_run_on_tape_has_the_digest_of_one_without() {
    for (profile, seed) in
        [(Profile::Smoke, 1), (Profile::Smoke, 2), (Profile::Smoke, 9), (Profile::Active, 3)]
    {
        let plan = plan(profile, seed);
        let recorder = Recorder::new();
        let on = run_taped(&plan, Options::default(), Some(&recorder)).outcome;
        let off = run_plan(&plan, Options::default()).outcome;
        assert_eq!(on.digest, off.digest, "seed {seed}");
        assert_eq!(on.counts, off.counts, "seed {seed}");
        assert!(recorder.take().messages.len() as u64 > off.counts.deliveries / 2);
    }
}

#[test]
fn tape_has_what_happened_in_order() {
    let mut fates = BTreeSet::new();
    let (mut outcomes, mut states) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..30 {
        let tape = tape_of(&plan(Profile::Smoke, seed));
        assert!(tape.messages.is_sorted_by_key(|m| m.sent));
        assert!(tape.marks.is_sorted_by_key(|m| m.at));
        assert!(tape.ops.is_sorted_by_key(|o| o.sent));
        assert!(tape.messages.iter().all(|m| m.ends >= m.sent && m.from != m.to));
        assert!(tape.ops.iter().all(|o| o.ends >= o.sent && o.ends <= tape.ended_at));
        for series in &tape.series {
            assert!(series.hosts.iter().all(|changes| changes.is_sorted_by_key(|c| c.0)));
        }
        fates.extend(tape.messages.iter().map(|m| m.fate as u8));
        outcomes.extend(tape.ops.iter().map(|o| o.outcome as u8));
        states.extend(tape.states.iter().map(|s| s.1 as u8));
    }
    for fate in [Fate::Delivered, Fate::LostOnLink, Fate::DroppedByInput, Fate::RejectedByInput] {
        assert!(fates.contains(&(fate as u8)), "{fate:?}");
    }
    for outcome in [OpOutcome::Ok, OpOutcome::Refused, OpOutcome::InDoubt] {
        assert!(outcomes.contains(&(outcome as u8)), "{outcome:?}");
    }
    for state in [HostState::Down, HostState::Running, HostState::Paused, HostState::Off] {
        assert!(states.contains(&(state as u8)), "{state:?}");
    }
}

#[test]
fn operations_on_tape_are_those_of_the_history() {
    for seed in 0..10 {
        let looked = look::run(&plan(Profile::Smoke, seed), None, true);
        let ops: Vec<_> = looked.tape.ops.iter().filter(|op| !op.greeting).collect();
        let counts = looked.outcome.counts;
        let of = |outcome| ops.iter().filter(|op| op.outcome == outcome).count() as u64;
        assert_eq!(ops.len() as u64, counts.sendings, "seed {seed}");
        assert_eq!(of(OpOutcome::Refused), counts.refused, "seed {seed}");
        assert_eq!(of(OpOutcome::InDoubt), counts.in_doubt, "seed {seed}");
    }
}

#[test]
fn a_mutant_parts_from_the_sound_run_and_a_run_never_from_itself() {
    let sound = tape_of(&plan(Profile::Smoke, 6));
    assert_eq!(parting(&sound, &tape_of(&plan(Profile::Smoke, 6))), None);
    let mutant = Some("clock-ignores-received".to_owned());
    let faulty = look::run(&Plan { mutant, ..plan(Profile::Smoke, 6) }, None, true);
    let parting = parting(&faulty.tape, &sound).expect("they differ");
    assert!(parting.same > 20, "the runs begin alike");
    let page = json_of(&page_of(&[&faulty.tape, &sound]));
    assert_eq!(page["parting"]["same"], parting.same);
    assert_eq!(page["runs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn outlook_of_a_firewall_needs_no_chance() {
    let packet = Packet {
        src: "10.0.0.2".parse().unwrap(),
        dst: "10.0.0.1".parse().unwrap(),
        protocol: Protocol::Tcp,
        sport: 40_000,
        dport: 6379,
        loopback: false,
        state: ConnState::New,
    };
    for (lines, outlook) in [
        (&[][..], Outlook::Passes),
        (&["-A INPUT -s 10.0.0.3 -j DROP"], Outlook::Passes),
        (&["-A INPUT -s 10.0.0.2 -j DROP"], Outlook::Dropped),
        (&["-A INPUT -p tcp -j REJECT --reject-with tcp-reset"], Outlook::Refused),
        (&["-A INPUT -s 10.0.0.2 -j ACCEPT", "-P INPUT DROP"], Outlook::Passes),
        (&["-P INPUT DROP"], Outlook::Dropped),
        (&["-A INPUT -m statistic --mode random --probability 0.5 -j DROP"], Outlook::Some),
        (
            &["-A INPUT -m statistic --mode random --probability 0.5 -j DROP", "-P INPUT DROP"],
            Outlook::Dropped,
        ),
    ] {
        let mut firewall = Firewall::new();
        for line in lines {
            firewall.apply(line, &|_| None).expect("a good line");
        }
        assert_eq!(firewall.outlook(Chain::Input, &packet), outlook, "{lines:?}");
    }
}
