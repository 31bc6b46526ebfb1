//! A judge that tries every order. It shares nothing with the checker but the events.

use std::collections::BTreeSet;

use quorate_sim::linear::history::{Event, Function, Stage};
use quorate_sim::linear::value::Value;

#[derive(Debug)]
struct Operation {
    function: Function,
    argument: Value,
    result: Value,
    invoked: usize,
    /// None: it may come at any time, or never.
    returned: Option<usize>,
}

/// True if the operations of each key have an order up to an event. Operations that have not ended
/// then may be left out; those that fail, be it later, must be.
pub fn linearizable(events: &[Event], upto: usize) -> bool {
    let keys: BTreeSet<&Option<Value>> = events.iter().map(|event| &event.key).collect();
    keys.into_iter().all(|key| key_linearizable(events, upto, key))
}

/// The same for one key.
pub fn key_linearizable(events: &[Event], upto: usize, key: &Option<Value>) -> bool {
    let start = match events[0].function {
        Function::Read | Function::Write | Function::Cas => Value::Nil,
        Function::Get | Function::Append | Function::Put => Value::from(""),
    };
    let all = operations(events, upto, key);
    assert!(all.len() < 32, "too many operations to try all orders");
    ordered(&all, (1 << all.len()) - 1, &start, &mut BTreeSet::new())
}

fn operations(events: &[Event], upto: usize, key: &Option<Value>) -> Vec<Operation> {
    let mut all = Vec::new();
    for (index, event) in events.iter().enumerate().take(upto) {
        if event.stage != Stage::Invoke || event.key != *key {
            continue;
        }
        let mut rest = events.iter().enumerate().skip(index + 1);
        let end = rest.find(|(_, other)| other.process == event.process);
        let (result, returned) = match end {
            Some((at, end)) if end.stage == Stage::Ok && at < upto => (end.value.clone(), Some(at)),
            Some((_, end)) if end.stage == Stage::Fail => continue,
            _ => (Value::Nil, None),
        };
        let (function, argument) = (event.function, event.value.clone());
        all.push(Operation { function, argument, result, invoked: index, returned });
    }
    all
}

/// Tries every order of the operations in `left` (one bit each); `dead` are the ends known to be none.
fn ordered(all: &[Operation], left: u32, state: &Value, dead: &mut BTreeSet<(u32, Value)>) -> bool {
    let those_left = || (0..all.len()).filter(|index| left >> index & 1 == 1);
    let Some(first_end) = those_left().filter_map(|index| all[index].returned).min() else {
        return true;
    };
    if !dead.insert((left, state.clone())) {
        return false;
    }
    those_left().filter(|index| all[*index].invoked < first_end).any(|index| {
        let next = after(state, &all[index]);
        next.is_some_and(|state| ordered(all, left & !(1 << index), &state, dead))
    })
}

fn after(state: &Value, operation: &Operation) -> Option<Value> {
    let Operation { function, argument, result, returned, .. } = operation;
    match (function, argument, state) {
        (Function::Read | Function::Get, _, _) => {
            (returned.is_none() || state == result).then(|| state.clone())
        }
        (Function::Write | Function::Put, value, _) => Some(value.clone()),
        (Function::Cas, Value::Vector(parts), _) => (*state == parts[0]).then(|| parts[1].clone()),
        (Function::Append, Value::Str(tail), Value::Str(head)) => {
            Some(Value::Str(format!("{head}{tail}")))
        }
        (function, argument, _) => panic!("{function:?} {argument}"),
    }
}
