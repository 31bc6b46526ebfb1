//! A register, nil at first: read, write, compare and set.

use super::calls::{Call, Outcome};
use super::history::Function;
use super::model::{Model, Unfit};
use super::value::{Value, brief};

#[derive(Copy, Clone, Debug)]
pub struct Register;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RegisterOp {
    Read(Value),
    Write(Value),
    /// One that succeeded, or may have.
    Cas {
        old: Value,
        new: Value,
    },
}

impl Model for Register {
    type Op = RegisterOp;
    type State = Value;

    fn name(&self) -> &'static str {
        "register"
    }

    fn op(&self, call: &Call) -> Result<Option<RegisterOp>, Unfit> {
        let unfit = |expected: &str| Unfit { completion: false, expected: expected.to_owned() };
        match call.function {
            Function::Read => Ok(match &call.outcome {
                Outcome::Known(value) => Some(RegisterOp::Read(value.clone())),
                Outcome::Unknown => None,
            }),
            Function::Write => Ok(Some(RegisterOp::Write(call.argument.clone()))),
            Function::Cas => {
                let (old, new) =
                    old_and_new(&call.argument).ok_or_else(|| unfit("[old new] for a :cas"))?;
                Ok(Some(RegisterOp::Cas { old: old.clone(), new: new.clone() }))
            }
            Function::Get | Function::Append | Function::Put => {
                Err(unfit(":read, :write or :cas on a register"))
            }
        }
    }

    fn initial(&self) -> Value {
        Value::Nil
    }

    fn reads_only(&self, op: &RegisterOp) -> bool {
        match op {
            RegisterOp::Read(_) => true,
            RegisterOp::Write(_) => false,
            RegisterOp::Cas { old, new } => old == new,
        }
    }

    fn shows(&self, state: &Value, reader: &RegisterOp) -> bool {
        self.needs(reader) == Some(state)
    }

    fn apply(&self, state: &Value, mutator: &RegisterOp) -> Option<Value> {
        match mutator {
            RegisterOp::Write(value) => Some(value.clone()),
            RegisterOp::Cas { old, new } => (state == old).then(|| new.clone()),
            RegisterOp::Read(value) => (state == value).then(|| value.clone()),
        }
    }

    fn needs<'a>(&self, op: &'a RegisterOp) -> Option<&'a Value> {
        match op {
            RegisterOp::Read(value) => Some(value),
            RegisterOp::Write(_) => None,
            RegisterOp::Cas { old, .. } => Some(old),
        }
    }

    fn leaves<'a>(&self, op: &'a RegisterOp) -> Option<&'a Value> {
        match op {
            RegisterOp::Read(_) => None,
            RegisterOp::Write(value) => Some(value),
            RegisterOp::Cas { new, .. } => Some(new),
        }
    }

    fn looks_ahead(&self) -> bool {
        false
    }

    fn grows_into(&self, _: &Value, _: &RegisterOp) -> bool {
        true
    }

    fn bytes(&self, state: &Value) -> usize {
        size_of::<Value>() + if let Value::Str(text) = state { text.len() } else { 0 }
    }

    fn result_in(&self, op: &RegisterOp, state: &Value) -> Option<RegisterOp> {
        match op {
            RegisterOp::Read(_) => Some(RegisterOp::Read(state.clone())),
            RegisterOp::Write(_) => None,
            RegisterOp::Cas { new, .. } => {
                Some(RegisterOp::Cas { old: state.clone(), new: new.clone() })
            }
        }
    }

    fn describe(&self, op: &RegisterOp) -> String {
        let text = |value: &Value| brief(&value.to_string());
        match op {
            RegisterOp::Read(value) => format!("read {}", text(value)),
            RegisterOp::Write(value) => format!("write {}", text(value)),
            RegisterOp::Cas { old, new } => {
                format!("compare-and-set from {} to {}", text(old), text(new))
            }
        }
    }

    fn contrast(&self, _: &RegisterOp, state: &Value) -> String {
        brief(&state.to_string())
    }

    fn closeness(&self, _: &RegisterOp, _: &Value) -> usize {
        0
    }

    fn concerns(&self, op: &RegisterOp, _: &[Value], other: &RegisterOp) -> bool {
        self.needs(op).is_some() && self.leaves(other) == self.needs(op)
    }
}

fn old_and_new(argument: &Value) -> Option<(&Value, &Value)> {
    let Value::Vector(parts) = argument else { return None };
    let [old, new] = parts.as_slice() else { return None };
    Some((old, new))
}
