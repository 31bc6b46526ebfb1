//! What is written is read back; what cannot be read is named.

use proptest::prelude::*;
use quorate_sim::linear::calls::{Calls, Outcome};
use quorate_sim::linear::history::{Event, Function, History, Process, Stage};
use quorate_sim::linear::read::{Notation, Recorded, read};
use quorate_sim::linear::value::Value;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        "[a-z][a-z0-9-]{0,8}".prop_map(Value::Keyword),
        any::<String>().prop_map(Value::Str),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        proptest::collection::vec(inner, 0..4).prop_map(Value::Vector)
    })
}

fn event() -> impl Strategy<Value = Event> {
    let key = prop_oneof![
        Just(None),
        any::<String>().prop_map(|key| Some(Value::Str(key))),
        any::<i64>().prop_map(|key| Some(Value::Int(key))),
    ];
    let time = proptest::option::of(0..i64::MAX.unsigned_abs());
    let process = (0..i64::MAX.unsigned_abs()).prop_map(Process);
    let stage = proptest::sample::select(Stage::ALL.to_vec());
    let function = proptest::sample::select(Function::ALL.to_vec());
    (process, stage, function, key, value(), time).prop_map(
        |(process, stage, function, key, value, time)| Event {
            process,
            stage,
            function,
            key,
            value,
            time,
        },
    )
}

proptest! {
    #[test]
    fn written_histories_are_read_back(events in proptest::collection::vec(event(), 1..20)) {
        let history = History { events };
        let text = history.to_string();
        prop_assert_eq!(Notation::of("history.txt", &text), Notation::Edn);
        let recorded = read(&text, Notation::Edn).expect("what was written can be read");
        prop_assert_eq!(&recorded.history, &history);
        let lines = text.lines().enumerate().filter(|(_, line)| line.starts_with("{:process"));
        prop_assert_eq!(recorded.lines.len(), lines.count());
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[ -~\\n]{0,60}|[\\[\\]{}()#:\\\\\" a1;,_\\n]{0,40}") {
        for notation in [Notation::Edn, Notation::Log] {
            let _ = read(&text, notation);
        }
    }
}

fn parsed(text: &str) -> Result<Recorded, String> {
    read(text, Notation::of("history.txt", text))
        .map_err(|e| format!("{}: expected {}, found {}", e.line, e.expected, e.found))
}

#[test]
fn edn_is_read_in_all_its_forms() {
    let text = "; a comment\n[{:process 0, :type :invoke, :f :cas, :value (1 2), :index 0}\n\
        {:process :nemesis, :type :info, :f :start, :value {:n1 #{:n2}}}\n\
        #jepsen.history.Op{:process 0 :type :info :f :cas :value [1 2] :error [:x 1.5 \\a]}]\n\
        #_{:process 1} {:process 1, :type :invoke, :f :read, :key \"k\\n\\u00e9\", :time 7}";
    let recorded = parsed(text).expect("a history");
    assert_eq!(recorded.lines, [2, 4, 5]);
    assert_eq!(recorded.skipped, 1);
    let [cas, info, ask] = &recorded.history.events[..] else { panic!("{recorded:?}") };
    assert_eq!(cas.value, Value::Vector(vec![Value::Int(1), Value::Int(2)]));
    assert_eq!((info.stage, &info.value), (Stage::Info, &cas.value));
    assert_eq!((&ask.key, ask.time), (&Some(Value::from("k\né")), Some(7)));
}

#[test]
fn logs_are_read_in_all_their_forms() {
    let text = "INFO  jepsen.util - 3\t:invoke\t:cas\t[0 3]\r\n\
        2017-01-01 12:00:00,123{GMT}\tINFO\t[jepsen worker 1] jepsen.util: 3\n";
    assert_eq!(parsed(text), Err("2: expected \" - \" after jepsen.util, found : 3".to_owned()));
    let text = "INFO  jepsen.util - 3\t:invoke\t:cas\t[0 3]\r\n\
        INFO  jepsen.core - Everything looks fine\n\n\
        INFO  jepsen.util - :nemesis\t:info\t:start\tnil\n\
        3 :info :cas [0 3] :timed-out\n\
        4 :invoke :read nil\n";
    let recorded = parsed(text).expect("a history");
    assert_eq!((recorded.lines, recorded.skipped), (vec![1, 5, 6], 2));
}

#[test]
fn errors_name_line_and_expectation() {
    let start = "{:process 0, :type :invoke, :f :read, :value nil}\n";
    for (text, wanted) in [
        ("", "1: expected at least one operation of a client, found none"),
        ("{:process 0, :type :invoke, :f :read", "1: expected '}' for what was opened on line 1"),
        ("{:process 0\n:type}", "2: expected a value for :type, found the end of the map"),
        ("{:type :ok}", "1: expected :process, found a map without it"),
        ("{:process -1, :type :ok}", "1: expected the number of a process, found -1"),
        ("{:process 0, :type :done}", "1: expected one of :invoke :ok :fail :info, found :done"),
        (
            "{:process 0, :type :ok, :f :push}",
            "expected one of :read :write :cas :get :append :put",
        ),
        ("{:process 0, :process 1}", "1: expected one :process, found two"),
        ("{:process 0, :type :ok, :f :get, :value \"a\n", "2: expected '\"' for the string"),
        ("{:process 0, :type :ok, :f :get, :value \"\\q\"}", "found \\q"),
        ("{:process 0, :type :ok, :f :get, :value 1.5}", "a whole number, a keyword, a string"),
        ("{:process 0, :type :ok, :f :get, :time 1.5}", "a :time in nanoseconds, 0 or more"),
        ("[[[{]]]", "1: expected a form, found ']'"),
        ("[1]", "expected a map {:process … :type … :f … :value …}, found 1"),
        ("0\t:invoke\t:read", "1: expected a value, found the end of the line"),
        ("0\t:invoke\t:read\tnil\tnil\tnil", "1: expected the end of the line, found nil"),
        ("hello", "1: expected the number of a process, found hello"),
        ("INFO  jepsen.util - hello", "1: expected the number of a process, found hello"),
        (&format!("{start}hello"), "2: expected a map"),
        (&"[".repeat(100_000), "at most 64 levels of nesting"),
        (&"#_".repeat(100_000), "at most 64 levels of nesting"),
    ] {
        let error = parsed(text).expect_err(text);
        assert!(error.contains(wanted), "{error:?} does not say {wanted:?}");
    }
}

#[test]
fn impossible_histories_are_named() {
    let of = |text: &str| Calls::of(&parsed(text).expect("well-formed").history);
    let found = |text: &str| {
        let error = of(text).expect_err(text);
        format!("{}: expected {}, found {}", error.event, error.expected, error.found)
    };
    for (text, wanted) in [
        ("0 :ok :read 1", "0: expected an invocation by process 0 before, found :ok :read 1"),
        (
            "0 :invoke :read nil\n0 :ok :write 1",
            "1: expected the completion of process 0's :read, found :ok :write 1",
        ),
        (
            "0 :invoke :write 2\n0 :ok :write 1",
            "1: expected the completion of process 0's :write 2, found :ok :write 1",
        ),
        (
            "{:process 0, :type :invoke, :f :read, :key 1}{:process 0, :type :ok, :f :read, :key 2}",
            "1: expected the completion of process 0's :read of key 1, found :ok :read nil",
        ),
    ] {
        assert_eq!(found(text), wanted);
    }
}

#[test]
fn an_operation_without_completion_is_of_unknown_outcome() {
    let text = "0 :invoke :write 1\n0 :invoke :write 2\n0 :ok :write 2\n1 :invoke :write 3";
    let recorded = parsed(text).expect("a history");
    let calls = Calls::of(&recorded.history).expect("a history that can be").calls;
    let outcomes: Vec<&Outcome> = calls.iter().map(|call| &call.outcome).collect();
    let known = Outcome::Known(Value::Int(2));
    assert_eq!(outcomes, [&Outcome::Unknown, &known, &Outcome::Unknown]);
}
