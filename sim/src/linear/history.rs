//! Histories: what each process asked and was told, in real-time order. Written as EDN, one map per
//! line, in the words of Jepsen.

use std::fmt;

use super::value::Value;

/// Whoever does one operation after the other.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Process(pub u64);

/// What an event says about its operation.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// It begins.
    Invoke,
    /// It took effect, with this result.
    Ok,
    /// It had no effect and never will.
    Fail,
    /// Nobody knows: it may take effect at any later time, or never.
    Info,
}

impl Stage {
    pub const ALL: [Stage; 4] = [Stage::Invoke, Stage::Ok, Stage::Fail, Stage::Info];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Invoke => "invoke",
            Stage::Ok => "ok",
            Stage::Fail => "fail",
            Stage::Info => "info",
        }
    }
}

/// What an operation does; the first three on a register, the others on a string.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Function {
    Read,
    Write,
    /// Compare and set; the argument is `[old new]`.
    Cas,
    Get,
    Append,
    Put,
}

impl Function {
    pub const ALL: [Function; 6] = [
        Function::Read,
        Function::Write,
        Function::Cas,
        Function::Get,
        Function::Append,
        Function::Put,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Function::Read => "read",
            Function::Write => "write",
            Function::Cas => "cas",
            Function::Get => "get",
            Function::Append => "append",
            Function::Put => "put",
        }
    }

    /// True if the operation only asks: its argument means nothing, its result is everything.
    pub fn asks(self) -> bool {
        match self {
            Function::Read | Function::Get => true,
            Function::Write | Function::Cas | Function::Append | Function::Put => false,
        }
    }
}

/// One line of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub process: Process,
    pub stage: Stage,
    pub function: Function,
    /// None: the history is about one object.
    pub key: Option<Value>,
    /// The argument; in the completion of a read, its result.
    pub value: Value,
    /// Nanoseconds since any one point. Only for people: the order of the events is what counts.
    pub time: Option<u64>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stage, function) = (self.stage.name(), self.function.name());
        write!(f, "{{:process {}, :type :{stage}, :f :{function}", self.process.0)?;
        if let Some(key) = &self.key {
            write!(f, ", :key {key}")?;
        }
        write!(f, ", :value {}", self.value)?;
        if let Some(time) = self.time {
            write!(f, ", :time {time}")?;
        }
        f.write_str("}")
    }
}

/// All events in real-time order: an operation precedes another one if its completion stands before
/// the other's invocation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    pub events: Vec<Event>,
}

/// EDN, one event per line.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}
