//! What clients asked and were told, as a history in Jepsen's EDN: one map per line, in the order of events.
//!
//! - `SET`, `DEL` of one key and `GET` are `:write`, `:write nil` and `:read` of the register `:key`; every other
//!   command is `:command` with its words as `:value`, the keys it may change as `:touches`, and its `:reply`.
//! - An answer is `:ok`, an error `:fail`, no answer `:info`, told at the end: it may take effect at any time.
//! - `:process`: a client, or a part of one that has several commands under way. Whoever was not answered is not
//!   heard of again, as Jepsen wants it: the client goes on as another process.
//! - Faults are entries of `:nemesis`.
//!
//! Source: jepsen.history; elle and knossos read it after `(map edn/read-string lines)`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bytes::Bytes;

use crate::linear::read::COMMAND;
use crate::linear::value::Value;
use crate::plan::Plan;
use crate::runner::player::name_of;
use crate::workload::command::Command;
use crate::workload::history::{Attempt, History, Outcome};
use crate::workload::resp::Reply;

/// What an entry says besides its value.
struct Entry {
    /// The order of entries: time, faults of a moment first, then as they happened.
    order: (u64, u64),
    /// `:process …, :type …` and what follows.
    text: String,
}

/// The history of a run of this plan.
pub fn text(plan: &Plan, history: &History) -> String {
    let mut entries = nemesis(plan);
    let processes = processes(plan, history);
    let steps = plan.clients.iter().flat_map(|client| &client.steps);
    let all: BTreeSet<&str> = steps.flat_map(|step| step.command.keys()).collect();
    let end = history.attempts.iter().map(|a| a.done).max().unwrap_or(0);
    for (nth, (attempt, process)) in history.attempts.iter().zip(&processes).enumerate() {
        let client = &plan.clients[attempt.client];
        let command = &client.steps[attempt.command].command;
        let head = |stage: &str| format!(":process {process}, :type :{stage}, ");
        let tail = format!(", :node {}", Value::Str(name_of(client.host)));
        let invoke = head("invoke") + &asked(command, &all) + &tail;
        entries.push(Entry { order: (attempt.sent, attempt.sent_nth), text: invoke });
        let (stage, said) = match &attempt.outcome {
            Outcome::Replied(Reply::Error(why)) => {
                ("fail", format!("{}, :error {}", asked(command, &all), text_of(why)))
            }
            Outcome::Replied(reply) => ("ok", told(command, reply, &all)),
            Outcome::InDoubt => ("info", format!("{}, :error :no-answer", asked(command, &all))),
        };
        let order = match attempt.outcome {
            Outcome::Replied(_) => (attempt.done, attempt.done_nth),
            Outcome::InDoubt => (end, u64::MAX - (history.attempts.len() - nth) as u64),
        };
        entries.push(Entry { order, text: head(stage) + &said + &tail });
    }
    entries.sort_by_key(|entry| entry.order);
    let mut out = String::new();
    for (index, Entry { order: (time, _), text }) in entries.iter().enumerate() {
        let _ = writeln!(out, "{{:index {index}, :time {time}, {text}}}");
    }
    out
}

/// The process of each attempt. Process `p` belongs to client `p mod clients`.
fn processes(plan: &Plan, history: &History) -> Vec<u64> {
    let clients = plan.clients.len().max(1) as u64;
    // By client and process: when it is free again, as a number of an event.
    let mut free: Vec<Vec<Option<u64>>> = vec![Vec::new(); plan.clients.len()];
    let process = |attempt: &Attempt| {
        let until = match attempt.outcome {
            Outcome::Replied(_) => Some(attempt.done_nth),
            Outcome::InDoubt => None,
        };
        let of_client = &mut free[attempt.client];
        let is_free = |at: &Option<u64>| at.is_some_and(|at| at < attempt.sent_nth);
        let number = match of_client.iter().position(is_free) {
            Some(number) => {
                of_client[number] = until;
                number
            }
            None => {
                of_client.push(until);
                of_client.len() - 1
            }
        };
        number as u64 * clients + attempt.client as u64
    };
    history.attempts.iter().map(process).collect()
}

/// Faults that began and ended before the load did, and the healing.
fn nemesis(plan: &Plan) -> Vec<Entry> {
    let entry = |ms: u64, f: &str, what: &str| Entry {
        order: (ms * 1_000_000, 0),
        text: format!(
            ":process :nemesis, :type :info, :f :{f}, :value {}",
            Value::Str(what.to_owned())
        ),
    };
    let mut entries = Vec::new();
    for fault in &plan.faults {
        let what = fault.kind.to_string();
        if fault.at_ms < plan.load_ms {
            entries.push(entry(fault.at_ms, "begin", &what));
        }
        if fault.until_ms < plan.load_ms {
            entries.push(entry(fault.until_ms, "end", &what));
        }
    }
    let core: Vec<String> = plan.core().into_iter().map(name_of).collect();
    entries.push(entry(plan.load_ms, "heal", &core.join(", ")));
    entries
}

/// `:f …, :value …` of a command.
fn asked(command: &Command, all: &BTreeSet<&str>) -> String {
    match command {
        Command::Get { key } => register("read", key, &Value::Nil),
        Command::Set { key, value, px: None } => register("write", key, &Value::Str(value.clone())),
        Command::Del { keys } if keys.len() == 1 => register("write", &keys[0], &Value::Nil),
        Command::Set { .. }
        | Command::Del { .. }
        | Command::IncrBy { .. }
        | Command::Append { .. }
        | Command::PExpire { .. }
        | Command::Persist { .. }
        | Command::MSet { .. }
        | Command::MGet { .. }
        | Command::HSet { .. }
        | Command::HDel { .. }
        | Command::HIncrBy { .. }
        | Command::HGet { .. }
        | Command::HGetAll { .. }
        | Command::FlushDb
        | Command::Wait { .. }
        | Command::Multi { .. } => {
            format!(":f :{COMMAND}, :value {}, :touches {}", words(command), touches(command, all))
        }
    }
}

/// The same with the answer.
fn told(command: &Command, reply: &Reply, all: &BTreeSet<&str>) -> String {
    match command {
        Command::Get { key } => register("read", key, &value(reply)),
        Command::Set { .. }
        | Command::Del { .. }
        | Command::IncrBy { .. }
        | Command::Append { .. }
        | Command::PExpire { .. }
        | Command::Persist { .. }
        | Command::MSet { .. }
        | Command::MGet { .. }
        | Command::HSet { .. }
        | Command::HDel { .. }
        | Command::HIncrBy { .. }
        | Command::HGet { .. }
        | Command::HGetAll { .. }
        | Command::FlushDb
        | Command::Wait { .. }
        | Command::Multi { .. } => format!("{}, :reply {}", asked(command, all), value(reply)),
    }
}

fn register(function: &str, key: &str, value: &Value) -> String {
    format!(":f :{function}, :key {}, :value {value}", Value::Str(key.to_owned()))
}

/// The words of a command; of a transaction those of each of its commands.
fn words(command: &Command) -> Value {
    if let Command::Multi { commands } = command {
        return Value::Vector(commands.iter().map(words).collect());
    }
    let text = command.to_string();
    Value::Vector(text.split(' ').map(Value::from).collect())
}

/// The keys that a command may change, of all that there are.
fn touches(command: &Command, all: &BTreeSet<&str>) -> Value {
    let mut keys = BTreeSet::new();
    if command.writes() {
        keys.extend(command.keys());
    }
    if flushes(command) {
        keys.extend(all);
    }
    Value::Vector(keys.into_iter().map(Value::from).collect())
}

fn flushes(command: &Command) -> bool {
    match command {
        Command::FlushDb => true,
        Command::Multi { commands } => commands.iter().any(flushes),
        Command::Get { .. }
        | Command::Set { .. }
        | Command::Del { .. }
        | Command::IncrBy { .. }
        | Command::Append { .. }
        | Command::PExpire { .. }
        | Command::Persist { .. }
        | Command::MSet { .. }
        | Command::MGet { .. }
        | Command::HSet { .. }
        | Command::HDel { .. }
        | Command::HIncrBy { .. }
        | Command::HGet { .. }
        | Command::HGetAll { .. }
        | Command::Wait { .. } => false,
    }
}

fn value(reply: &Reply) -> Value {
    match reply {
        Reply::Status(text) | Reply::Bulk(text) => text_of(text),
        Reply::Error(why) => Value::Vector(vec![Value::Keyword("error".to_owned()), text_of(why)]),
        Reply::Int(number) => Value::Int(*number),
        Reply::Null => Value::Nil,
        Reply::Array(parts) => Value::Vector(parts.iter().map(value).collect()),
    }
}

fn text_of(bytes: &Bytes) -> Value {
    Value::Str(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::linear::edn::{Form, Located, Reader};
    use crate::linear::read::{Notation, read};
    use crate::linear::{Budget, Specification, check};
    use crate::plan::Profile;
    use crate::runner::task::Task;
    use crate::workload::client::{ClientPlan, Library, Step};

    const BUDGET: Budget<'_> =
        Budget { states_max: 1_000_000, bytes_max: 1 << 28, stop: &|| false };

    fn field(pairs: &[(Located, Located)], name: &str) -> Value {
        let is = |form: &Form| *form == Form::Scalar(Value::Keyword(name.to_owned()));
        let (_, found) = pairs.iter().find(|(key, _)| is(&key.form)).expect("the field is there");
        found.value().expect("plain")
    }

    fn exported(plan: &Plan) -> String {
        text(plan, &Task::of(plan).run(false).history)
    }

    #[test]
    fn every_process_does_one_thing_after_the_other_and_none_goes_on_after_info() {
        for (profile, seeds) in [(Profile::Smoke, 0..12), (Profile::Active, 0..4)] {
            for seed in seeds {
                let text = exported(&Plan::generate(profile, seed));
                let mut reader = Reader::new(&text, 1);
                let mut last: BTreeMap<Value, String> = BTreeMap::new();
                let (mut index, mut time) = (0, 0);
                while let Some(form) = reader.next_form().expect("EDN") {
                    let Form::Map(pairs) = &form.form else { panic!("{form:?}") };
                    assert_eq!(field(pairs, "index"), Value::Int(index));
                    index += 1;
                    let Value::Int(now) = field(pairs, "time") else { panic!("no time") };
                    assert!(time <= now, "seed {seed}: line {}", form.line);
                    time = now;
                    let process = field(pairs, "process");
                    if process == Value::Keyword("nemesis".to_owned()) {
                        continue;
                    }
                    let Value::Keyword(stage) = field(pairs, "type") else { panic!("no type") };
                    let before = last.insert(process, stage.clone());
                    let may = match before.as_deref() {
                        None | Some("ok" | "fail") => stage == "invoke",
                        Some("invoke") => stage != "invoke",
                        Some(_) => false,
                    };
                    assert!(may, "seed {seed}: line {}: {stage} after {before:?}", form.line);
                }
                assert!(last.values().all(|stage| stage != "invoke"), "all have ended");
            }
        }
    }

    /// One node, two clients: reads and writes that are judged beside a counter that is not.
    fn small_plan() -> Plan {
        let mut plan = Plan::generate(Profile::Smoke, 3);
        let key = || "k".to_owned();
        let commands = [
            Command::Set { key: key(), value: "1".to_owned(), px: None },
            Command::Get { key: key() },
            Command::IncrBy { key: "n".to_owned(), delta: 2 },
            Command::Get { key: "n".to_owned() },
            Command::Del { keys: vec![key()] },
            Command::Get { key: key() },
        ];
        let steps = commands.map(|command| Step { wait_ms: 5, command }).to_vec();
        let client = ClientPlan { host: 0, library: Library::RedisPy, pipeline: 1, steps };
        plan.clients = vec![client.clone(), client];
        plan.faults.clear();
        plan.network.loss_permille = 0;
        plan
    }

    #[test]
    fn a_history_of_one_node_is_linearizable_where_a_model_knows_the_commands() {
        let text = exported(&small_plan());
        let recorded = read(&text, Notation::Edn).expect("a history");
        assert_eq!(recorded.touched, [Value::from("n")].into());
        // Two increments, invoked and answered, and two reads of what they change.
        assert_eq!((recorded.commands, recorded.history.events.len()), (8, 16));
        let specification = Specification::of(&recorded.history);
        let report = check(&recorded.history, specification, &BUDGET).expect("a history");
        assert_eq!((report.verdict, report.keys), (crate::linear::Verdict::Ok, 1));
    }

    #[test]
    fn a_history_of_which_nothing_can_be_judged_says_why() {
        let mut plan = small_plan();
        for client in &mut plan.clients {
            client.steps.push(Step { wait_ms: 1, command: Command::FlushDb });
        }
        let error = read(&exported(&plan), Notation::Edn).expect_err("nothing is left");
        assert!(error.expected.contains("only reads and writes"), "{error:?}");
    }
}
