//! Operations: an invocation and what became of it.

use std::collections::BTreeMap;

use super::history::{Event, Function, History, Process, Stage};
use super::value::Value;

/// What is known of an operation's end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It took effect between invocation and completion; a read saw this.
    Known(Value),
    /// It may take effect at any time after its invocation, or never.
    Unknown,
}

/// An operation that may have had an effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    pub process: Process,
    pub function: Function,
    pub key: Option<Value>,
    pub argument: Value,
    pub outcome: Outcome,
    /// Index of the invocation among the history's events.
    pub invoked: usize,
    /// Index of the completion; for an unknown outcome that of the `:info`, if there is one.
    pub completed: Option<usize>,
}

/// A history that no processes can have made, or an operation that no model knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Impossible {
    /// Index of the event.
    pub event: usize,
    pub expected: String,
    pub found: String,
}

/// The operations of a history in the order of their invocations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Calls {
    pub calls: Vec<Call>,
    /// Operations that failed: they had no effect and are not among `calls`.
    pub failed: usize,
}

impl Calls {
    /// Joins invocations and completions. A process that invokes again without having been answered
    /// leaves an operation of unknown outcome behind.
    pub fn of(history: &History) -> Result<Calls, Impossible> {
        let mut open: BTreeMap<Process, usize> = BTreeMap::new();
        let mut all: Vec<Option<Call>> = Vec::new();
        let mut failed = 0;
        for (index, event) in history.events.iter().enumerate() {
            if event.stage == Stage::Invoke {
                open.insert(event.process, all.len());
                all.push(Some(invoked(index, event)));
                continue;
            }
            let slot = open.remove(&event.process);
            let Some((slot, call)) = slot.and_then(|slot| Some((slot, all[slot].as_mut()?))) else {
                let expected = format!("an invocation by process {} before", event.process.0);
                return Err(Impossible { event: index, expected, found: shown(event) });
            };
            fits(call, index, event)?;
            call.completed = Some(index);
            match event.stage {
                Stage::Ok => call.outcome = Outcome::Known(event.value.clone()),
                Stage::Info | Stage::Invoke => {}
                Stage::Fail => {
                    failed += 1;
                    all[slot] = None;
                }
            }
        }
        Ok(Calls { calls: all.into_iter().flatten().collect(), failed })
    }
}

fn invoked(index: usize, event: &Event) -> Call {
    Call {
        process: event.process,
        function: event.function,
        key: event.key.clone(),
        argument: event.value.clone(),
        outcome: Outcome::Unknown,
        invoked: index,
        completed: None,
    }
}

/// A completion names its operation as the invocation did. The value of one that did not go well may
/// be an error's name; that of a write that did is its argument or nothing.
fn fits(call: &Call, index: usize, event: &Event) -> Result<(), Impossible> {
    let wrong = |expected: String| Err(Impossible { event: index, expected, found: shown(event) });
    let (process, function) = (call.process.0, call.function.name());
    if event.function != call.function {
        return wrong(format!("the completion of process {process}'s :{function}"));
    }
    if event.key != call.key {
        let key = call.key.as_ref().unwrap_or(&Value::Nil);
        return wrong(format!("the completion of process {process}'s :{function} of key {key}"));
    }
    let told = event.stage == Stage::Ok && !call.function.asks() && event.value != Value::Nil;
    if told && event.value != call.argument {
        return wrong(format!(
            "the completion of process {process}'s :{function} {}",
            call.argument
        ));
    }
    Ok(())
}

fn shown(event: &Event) -> String {
    format!(":{} :{} {}", event.stage.name(), event.function.name(), event.value)
}
