//! Histories of an object that does what it should, with random delays and unknown outcomes.

use proptest::prelude::*;
use quorate_sim::linear::history::{Event, Function, History, Process, Stage};
use quorate_sim::linear::value::Value;

/// What becomes of an operation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It takes effect and is answered.
    Answered,
    /// It takes effect this much later than it could have been answered at the latest; the client
    /// has given up.
    Late(u64),
    /// It never takes effect; the client has given up.
    Lost,
    /// It never takes effect, and the client knows.
    Failed,
}

/// One operation, its times counted from the end of its process's last one.
#[derive(Clone, Debug)]
pub struct Draft {
    pub process: usize,
    pub key: u64,
    pub function: Function,
    pub values: (i64, i64),
    pub gap: u64,
    pub length: u64,
    /// Where within its length it takes effect.
    pub effect: u64,
    pub fate: Fate,
    /// True: the giving up is written down.
    pub told: bool,
}

/// How histories are drawn.
#[derive(Copy, Clone, Debug)]
pub struct Shape {
    pub operations: usize,
    pub processes: usize,
    pub keys: u64,
    pub values: i64,
    /// Of a hundred operations so many are not answered.
    pub unanswered: u32,
}

pub const REGISTER: [Function; 3] = [Function::Read, Function::Write, Function::Cas];
pub const KV: [Function; 3] = [Function::Get, Function::Append, Function::Put];

pub fn drafts(functions: [Function; 3], shape: Shape) -> impl Strategy<Value = Vec<Draft>> {
    let fate = prop_oneof![
        100 - shape.unanswered => Just(Fate::Answered),
        shape.unanswered => prop_oneof![
            (0u64..60).prop_map(Fate::Late),
            Just(Fate::Lost),
            Just(Fate::Failed),
        ],
    ];
    let function = prop_oneof![
        4 => Just(functions[0]),
        4 => Just(functions[1]),
        2 => Just(functions[2]),
    ];
    let values = (0..shape.values, 0..shape.values);
    let draft = (
        (0..shape.processes, 0..shape.keys, function, values, fate, any::<bool>()),
        (0u64..6, 1u64..20, 0u64..100),
    )
        .prop_map(|((process, key, function, values, fate, told), (gap, length, effect))| {
            let effect = effect % length;
            Draft { process, key, function, values, gap, length, effect, fate, told }
        });
    proptest::collection::vec(draft, 1..=shape.operations)
}

struct Timed {
    draft: Draft,
    argument: Value,
    process: u64,
    begins: u64,
    ends: u64,
    effect: Option<u64>,
    result: Value,
    failed: bool,
}

/// Lets the object run.
pub fn play(drafts: &[Draft], processes: usize) -> History {
    let mut free = vec![0u64; processes];
    let mut next = u64::try_from(processes).unwrap();
    let mut names: Vec<u64> = (0..next).collect();
    let mut all = Vec::new();
    for draft in drafts {
        let begins = free[draft.process] + draft.gap;
        let ends = begins + draft.length;
        let effect = match draft.fate {
            Fate::Answered => Some(begins + draft.effect),
            Fate::Late(by) => Some(ends + by),
            Fate::Lost | Fate::Failed => None,
        };
        let process = names[draft.process];
        if draft.fate != Fate::Answered {
            // Who was not answered is not heard of again; another one takes its place.
            names[draft.process] = next;
            next += 1;
        }
        free[draft.process] = ends + 1;
        let argument = argument(draft);
        let (result, failed) = (Value::Nil, draft.fate == Fate::Failed);
        let draft = draft.clone();
        all.push(Timed { draft, argument, process, begins, ends, effect, result, failed });
    }
    let mut order: Vec<usize> = (0..all.len()).filter(|i| all[*i].effect.is_some()).collect();
    order.sort_by_key(|index| all[*index].effect);
    let mut states: Vec<Option<Value>> = vec![None; 16];
    for index in order {
        let one = &mut all[index];
        let state = &mut states[usize::try_from(one.draft.key).unwrap()];
        take_effect(one, state);
    }
    events(&all)
}

fn argument(draft: &Draft) -> Value {
    let (a, b) = draft.values;
    match draft.function {
        Function::Read | Function::Get => Value::Nil,
        Function::Write => Value::Int(a),
        Function::Cas => Value::Vector(vec![Value::Int(b), Value::Int(a)]),
        Function::Append | Function::Put => Value::Str(format!("{a}.")),
    }
}

fn take_effect(one: &mut Timed, state: &mut Option<Value>) {
    match (one.draft.function, &one.argument) {
        (Function::Read, _) => one.result = state.clone().unwrap_or(Value::Nil),
        (Function::Get, _) => one.result = state.clone().unwrap_or_else(|| Value::from("")),
        (Function::Cas, Value::Vector(parts)) => {
            if state.as_ref() == Some(&parts[0]) {
                *state = Some(parts[1].clone());
            } else {
                one.failed = one.draft.fate == Fate::Answered;
            }
        }
        (Function::Append, Value::Str(tail)) => {
            let head = match state.take() {
                Some(Value::Str(head)) => head,
                Some(_) | None => String::new(),
            };
            *state = Some(Value::Str(head + tail));
        }
        (_, value) => *state = Some(value.clone()),
    }
}

fn events(all: &[Timed]) -> History {
    let mut timed: Vec<(u64, usize, Event)> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let function = one.draft.function;
        let event = |stage, time, value: &Value| Event {
            process: Process(one.process),
            stage,
            function,
            key: Some(Value::Str(format!("k{}", one.draft.key))),
            value: value.clone(),
            time: Some(time),
        };
        timed.push((one.begins, index, event(Stage::Invoke, one.begins, &one.argument)));
        let answered = one.draft.fate == Fate::Answered;
        let (stage, value) = match () {
            () if one.failed => (Stage::Fail, &one.argument),
            () if !answered && !one.draft.told => continue,
            () if !answered => (Stage::Info, &Value::Keyword("timed-out".to_owned())),
            () if function.asks() => (Stage::Ok, &one.result),
            () => (Stage::Ok, &one.argument),
        };
        timed.push((one.ends, index, event(stage, one.ends, value)));
    }
    timed.sort_by_key(|(time, index, _)| (*time, *index));
    History { events: timed.into_iter().map(|(_, _, event)| event).collect() }
}

/// The answered reads of a history.
pub fn reads(history: &History) -> Vec<usize> {
    let events = history.events.iter().enumerate();
    let reads = events.filter(|(_, event)| event.stage == Stage::Ok && event.function.asks());
    reads.map(|(index, _)| index).collect()
}
