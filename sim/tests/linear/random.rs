//! Random histories: the checker agrees with the brute-force judge on small ones, finds an order for
//! what a correct object did, and mostly none for what it did not do.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use quorate_sim::linear::history::{Event, Function, History};
use quorate_sim::linear::value::Value;
use quorate_sim::linear::{Budget, Limit, Report, Specification, Undecided, Verdict, check};

use super::brute;
use super::generate::{Draft, KV, REGISTER, Shape, drafts, play, reads};

const SMALL: Shape = Shape { operations: 7, processes: 4, keys: 1, values: 3, unanswered: 30 };
const BUSY: Shape = Shape { operations: 16, processes: 6, keys: 1, values: 2, unanswered: 15 };
const TWO_KEYS: Shape = Shape { keys: 2, operations: 8, ..SMALL };
const LARGE: Shape = Shape { operations: 300, processes: 12, keys: 3, values: 5, unanswered: 10 };

/// So many times the usual number of cases (`PROPTEST_CASES`).
fn cases(times: f64) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: (f64::from(usual.cases) * times) as u32, ..usual }
}

fn judge(history: &History) -> Report {
    let budget = Budget { states_max: 2_000_000, bytes_max: 1 << 28, stop: &|| false };
    check(history, Specification::of(history), &budget).expect("a history that can be")
}

/// Lets some reads show something else.
fn with_lies(mut history: History, lies: &[(Index, Value)]) -> History {
    let reads = reads(&history);
    for (index, value) in lies.iter().filter(|_| !reads.is_empty()) {
        history.events[*index.get(&reads)].value = value.clone();
    }
    history
}

fn agrees(history: &History) -> Result<(), TestCaseError> {
    let events = &history.events;
    match judge(history).verdict {
        Verdict::Ok => {
            prop_assert!(brute::linearizable(events, events.len()), "Ok, but:\n{history}")
        }
        Verdict::Undecided(undecided) => prop_assert!(false, "{undecided:?}:\n{history}"),
        Verdict::Violated(evidence) => {
            let end = evidence.event;
            let judged =
                |events: &[Event], upto| brute::key_linearizable(events, upto, &evidence.key);
            prop_assert!(!judged(events, end + 1), "{evidence}\nbut:\n{history}");
            prop_assert!(judged(events, end), "too long: {evidence}\n{history}");
            prop_assert!(evidence.shortest);
            for result in results(&events[end]) {
                let mut changed = events.clone();
                changed[end].value = result.clone();
                let possible = judged(&changed, end + 1);
                let said = evidence.expected.contains(&result.to_string());
                prop_assert!(possible || !said, "{result} is impossible: {evidence}\n{history}");
                let complete = evidence.complete;
                prop_assert!(said || !(possible && complete), "{result}: {evidence}\n{history}");
            }
        }
    }
    Ok(())
}

/// What a read of a register may have shown.
fn results(event: &Event) -> Vec<Value> {
    match event.function {
        Function::Read => [Value::Nil].into_iter().chain((0..4).map(Value::Int)).collect(),
        Function::Write | Function::Cas | Function::Get | Function::Append | Function::Put => {
            Vec::new()
        }
    }
}

fn number_or_nil() -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::Nil), 5 => (0i64..3).prop_map(Value::Int)]
}

fn text() -> impl Strategy<Value = Value> {
    proptest::collection::vec(0i64..2, 0..4)
        .prop_map(|parts| Value::Str(parts.iter().map(|part| format!("{part}.")).collect()))
}

fn lies(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<(Index, Value)>> {
    proptest::collection::vec((any::<Index>(), value), 0..3)
}

proptest! {
    #![proptest_config(cases(8.0))]

    #[test]
    fn registers_are_judged_as_by_brute_force(
        drafts in drafts(REGISTER, SMALL),
        lies in lies(number_or_nil()),
    ) {
        agrees(&with_lies(play(&drafts, SMALL.processes), &lies))?;
    }

    #[test]
    fn strings_are_judged_as_by_brute_force(drafts in drafts(KV, SMALL), lies in lies(text())) {
        agrees(&with_lies(play(&drafts, SMALL.processes), &lies))?;
    }

    #[test]
    fn busy_registers_are_judged_as_by_brute_force(
        drafts in drafts(REGISTER, BUSY),
        lies in lies(number_or_nil()),
    ) {
        agrees(&with_lies(play(&drafts, BUSY.processes), &lies))?;
    }

    #[test]
    fn busy_strings_are_judged_as_by_brute_force(
        drafts in drafts(KV, BUSY),
        lies in lies(text()),
    ) {
        agrees(&with_lies(play(&drafts, BUSY.processes), &lies))?;
    }

    #[test]
    fn keys_are_judged_each_for_itself(
        drafts in drafts(REGISTER, TWO_KEYS),
        lies in lies(number_or_nil()),
    ) {
        agrees(&with_lies(play(&drafts, TWO_KEYS.processes), &lies))?;
    }
}

proptest! {
    #![proptest_config(cases(0.25))]

    #[test]
    fn correct_registers_are_linearizable(drafts in drafts(REGISTER, LARGE)) {
        let report = judge(&play(&drafts, LARGE.processes));
        prop_assert_eq!(report.verdict, Verdict::Ok);
    }

    #[test]
    fn correct_strings_are_linearizable(drafts in drafts(KV, LARGE)) {
        let report = judge(&play(&drafts, LARGE.processes));
        prop_assert_eq!(report.verdict, Verdict::Ok);
    }
}

/// Draws that are the same in every run.
fn drawn<T>(count: usize, strategy: &impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a draw").current()).collect()
}

fn one_wrong_read(mut drafts: Vec<Draft>, pick: Index) -> Option<History> {
    for (number, draft) in (0..).zip(&mut drafts) {
        draft.values.0 = number;
    }
    let history = play(&drafts, LARGE.processes);
    let reads = reads(&history);
    let read = *reads.get(pick.index(reads.len().max(1)))?;
    // The value is one that was written, but another one.
    let wrong = reads.iter().map(|read| &history.events[*read].value);
    let wrong = wrong.filter(|value| **value != history.events[read].value).min()?.clone();
    let mut history = history;
    history.events[read].value = wrong;
    Some(history)
}

#[test]
fn one_wrong_read_is_mostly_found() {
    let strategy = (drafts(REGISTER, LARGE), any::<Index>());
    let (mut wrong, mut found) = (0, 0);
    for (drafts, pick) in drawn(100, &strategy) {
        let Some(history) = one_wrong_read(drafts, pick) else { continue };
        wrong += 1;
        match judge(&history).verdict {
            Verdict::Violated(_) => found += 1,
            Verdict::Ok => {}
            Verdict::Undecided(undecided) => panic!("{undecided:?}"),
        }
    }
    println!("{found} of {wrong} wrong reads found");
    assert!(wrong >= 80 && found * 10 >= wrong * 8, "{found} of {wrong}");
}

#[test]
fn small_budgets_leave_it_undecided() {
    let shape = Shape { operations: 400, keys: 1, ..LARGE };
    let all = drawn(20, &drafts(REGISTER, shape));
    let history = all
        .iter()
        .map(|drafts| play(drafts, shape.processes))
        .max_by_key(|history| history.events.len());
    let history = history.expect("twenty of them");
    let plenty = Budget { states_max: u64::MAX, bytes_max: usize::MAX, stop: &|| false };
    for (budget, limit) in [
        (Budget { states_max: 10, ..plenty }, Limit::States),
        (Budget { bytes_max: 1000, ..plenty }, Limit::Bytes),
        (Budget { stop: &|| true, ..plenty }, Limit::Time),
    ] {
        let report = check(&history, Specification::Register, &budget).expect("a history");
        let keys = vec![Some(Value::from("k0"))];
        assert_eq!(report.verdict, Verdict::Undecided(Undecided { limit, keys }));
    }
    assert_eq!(judge(&history).verdict, Verdict::Ok);
}
