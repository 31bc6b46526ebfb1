//! A string, empty at first: append, get, put. A get that finds nothing may say nil or "".

use super::calls::{Call, Outcome};
use super::history::Function;
use super::model::{Model, Unfit};
use super::value::{Value, brief};

#[derive(Copy, Clone, Debug)]
pub struct Kv;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KvOp {
    Get(String),
    Append(String),
    Put(String),
}

/// Bytes of context shown on each side of a difference.
const CONTEXT: usize = 30;

impl Model for Kv {
    type Op = KvOp;
    type State = String;

    fn name(&self) -> &'static str {
        "kv"
    }

    fn op(&self, call: &Call) -> Result<Option<KvOp>, Unfit> {
        let argument = || match &call.argument {
            Value::Str(text) => Ok(text.clone()),
            Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Keyword(_) | Value::Vector(_) => {
                Err(Unfit {
                    completion: false,
                    expected: format!("a string for :{}", call.function.name()),
                })
            }
        };
        match call.function {
            Function::Get => match &call.outcome {
                Outcome::Known(Value::Str(text)) => Ok(Some(KvOp::Get(text.clone()))),
                Outcome::Known(Value::Nil) => Ok(Some(KvOp::Get(String::new()))),
                Outcome::Unknown => Ok(None),
                Outcome::Known(
                    Value::Bool(_) | Value::Int(_) | Value::Keyword(_) | Value::Vector(_),
                ) => Err(Unfit {
                    completion: true,
                    expected: "a string or nil as result of :get".to_owned(),
                }),
            },
            Function::Append => Ok(Some(KvOp::Append(argument()?))),
            Function::Put => Ok(Some(KvOp::Put(argument()?))),
            Function::Read | Function::Write | Function::Cas => Err(Unfit {
                completion: false,
                expected: ":get, :append or :put on a string".to_owned(),
            }),
        }
    }

    fn initial(&self) -> String {
        String::new()
    }

    fn reads_only(&self, op: &KvOp) -> bool {
        match op {
            KvOp::Get(_) => true,
            KvOp::Append(text) => text.is_empty(),
            KvOp::Put(_) => false,
        }
    }

    fn shows(&self, state: &String, reader: &KvOp) -> bool {
        match reader {
            KvOp::Get(text) => state == text,
            KvOp::Append(_) | KvOp::Put(_) => true,
        }
    }

    fn apply(&self, state: &String, mutator: &KvOp) -> Option<String> {
        match mutator {
            KvOp::Append(text) => Some([state.as_str(), text].concat()),
            KvOp::Put(text) => Some(text.clone()),
            KvOp::Get(text) => (state == text).then(|| state.clone()),
        }
    }

    fn needs<'a>(&self, op: &'a KvOp) -> Option<&'a String> {
        match op {
            KvOp::Get(text) => Some(text),
            KvOp::Append(_) | KvOp::Put(_) => None,
        }
    }

    fn leaves<'a>(&self, op: &'a KvOp) -> Option<&'a String> {
        match op {
            KvOp::Put(text) => Some(text),
            KvOp::Get(_) | KvOp::Append(_) => None,
        }
    }

    fn looks_ahead(&self) -> bool {
        true
    }

    /// Strings only grow.
    fn grows_into(&self, state: &String, reader: &KvOp) -> bool {
        match reader {
            KvOp::Get(text) => text.starts_with(state.as_str()),
            KvOp::Append(_) | KvOp::Put(_) => true,
        }
    }

    fn bytes(&self, state: &String) -> usize {
        size_of::<String>() + state.len()
    }

    fn result_in(&self, op: &KvOp, state: &String) -> Option<KvOp> {
        match op {
            KvOp::Get(_) => Some(KvOp::Get(state.clone())),
            KvOp::Append(_) | KvOp::Put(_) => None,
        }
    }

    fn describe(&self, op: &KvOp) -> String {
        match op {
            KvOp::Get(text) => format!("get {}", brief(&format!("{text:?}"))),
            KvOp::Append(text) => format!("append {}", brief(&format!("{text:?}"))),
            KvOp::Put(text) => format!("put {}", brief(&format!("{text:?}"))),
        }
    }

    fn contrast(&self, op: &KvOp, state: &String) -> String {
        let KvOp::Get(text) = op else { return brief(&format!("{state:?}")) };
        let same = common(text, state);
        if same == 0 {
            return brief(&format!("{state:?}"));
        }
        let (meant, got) = (around(state, same), around(text, same));
        format!("the same for {same} bytes, but then {meant} instead of {got}")
    }

    fn closeness(&self, op: &KvOp, state: &String) -> usize {
        match op {
            KvOp::Get(text) => common(text, state),
            KvOp::Append(_) | KvOp::Put(_) => 0,
        }
    }

    fn concerns(&self, op: &KvOp, expected: &[String], other: &KvOp) -> bool {
        let KvOp::Get(got) = op else { return false };
        let (KvOp::Append(text) | KvOp::Put(text)) = other else { return false };
        let near = |whole: &str, same: usize| {
            let from = back(whole, same.saturating_sub(text.len().saturating_sub(1)));
            let to = ahead(whole, same + text.len());
            whole.get(from..to).is_some_and(|part| part.contains(text.as_str()))
        };
        match expected.first() {
            None => near(got, 0),
            Some(meant) => {
                let same = common(got, meant);
                near(got, same) || near(meant, same)
            }
        }
    }
}

/// Bytes, whole characters, that both begin with.
fn common(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(x, y)| x == y).map(|(c, _)| c.len_utf8()).sum()
}

/// The text around a place, and whether it ends there.
fn around(text: &str, at: usize) -> String {
    if at >= text.len() {
        return "the end".to_owned();
    }
    let to = ahead(text, at + CONTEXT);
    let more = if to < text.len() { " …" } else { "" };
    format!("{:?}{more}", &text[at..to])
}

/// The last border of characters at or before a place.
fn back(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The first border of characters at or after a place.
fn ahead(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}
