//! Recorded histories: EDN maps, or lines of Jepsen's log. Nothing is skipped without being counted.

use std::collections::BTreeSet;

use super::edn::{Form, Located, Malformed, Reader};
use super::history::{Event, Function, History, Process, Stage};
use super::value::{Value, brief};

/// What commands do that are neither reads nor writes of one key: `:f :command`.
pub const COMMAND: &str = "command";

/// How a file writes a history.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Notation {
    /// `{:process 0, :type :invoke, :f :read, :value nil}`, one after the other or in vectors.
    Edn,
    /// `INFO  jepsen.util - 0 :invoke :read nil`, one per line; what stands before the process may be
    /// missing.
    Log,
}

impl Notation {
    /// By the extension if it is `.edn`, else by the first character that says something.
    pub fn of(name: &str, text: &str) -> Notation {
        let first = text.chars().find(|c| !c.is_whitespace() && *c != ',');
        if name.ends_with(".edn") || first.is_some_and(|c| "{[(;#".contains(c)) {
            Notation::Edn
        } else {
            Notation::Log
        }
    }
}

/// A history and where it was read from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recorded {
    pub history: History,
    /// The line of each event, counted from 1.
    pub lines: Vec<usize>,
    /// Events of no client (the nemesis) and log lines of other loggers.
    pub skipped: usize,
    /// Entries of commands that no model knows, and the keys that they may have changed. Nothing can be said of such
    /// keys: their events are left out and counted here, too.
    pub commands: usize,
    pub touched: BTreeSet<Value>,
}

impl Recorded {
    /// The first event whose time is before that of an earlier event. Lines count, not times; but
    /// whoever reads the verdict should know.
    pub fn time_steps_back(&self) -> Option<usize> {
        let mut latest = 0;
        self.history.events.iter().position(|event| {
            let time = event.time.unwrap_or(latest);
            let back = time < latest;
            latest = latest.max(time);
            back
        })
    }

    fn push(&mut self, line: usize, event: Option<Event>) {
        match event {
            Some(event) => {
                self.history.events.push(event);
                self.lines.push(line);
            }
            None => self.skipped += 1,
        }
    }

    fn leave_out_touched(&mut self) {
        let Recorded { history, lines, touched, commands, .. } = self;
        let known: Vec<bool> = history
            .events
            .iter()
            .map(|event| event.key.as_ref().is_none_or(|key| !touched.contains(key)))
            .collect();
        *commands += known.iter().filter(|known| !**known).count();
        let mut of = known.iter();
        history.events.retain(|_| of.next().is_some_and(|known| *known));
        let mut of = known.iter();
        lines.retain(|_| of.next().is_some_and(|known| *known));
    }
}

/// Reads a history. A text without any event is malformed.
pub fn read(text: &str, notation: Notation) -> Result<Recorded, Malformed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut recorded = Recorded::default();
    match notation {
        Notation::Edn => {
            let mut reader = Reader::new(text, 1);
            while let Some(form) = reader.next_form()? {
                edn_events(&form, &mut recorded)?;
            }
        }
        Notation::Log => {
            for (index, line) in text.lines().enumerate() {
                if !line.trim().is_empty() {
                    recorded.push(index + 1, log_event(line, index + 1)?);
                }
            }
        }
    }
    recorded.leave_out_touched();
    if recorded.history.events.is_empty() && recorded.commands > 0 {
        let lines = text.lines().count().max(1);
        let expected = "at least one key that only reads and writes touch";
        return Err(Malformed::new(lines, expected, "other commands on every key"));
    }
    if recorded.history.events.is_empty() {
        let lines = text.lines().count().max(1);
        return Err(Malformed::new(lines, "at least one operation of a client", "none"));
    }
    Ok(recorded)
}

fn edn_events(form: &Located, into: &mut Recorded) -> Result<(), Malformed> {
    match &form.form {
        Form::Map(pairs) => {
            let fields = Fields { line: form.line, pairs };
            if let Some(touched) = fields.touched()? {
                into.commands += 1;
                into.touched.extend(touched);
            } else {
                into.push(form.line, fields.event()?);
            }
            Ok(())
        }
        Form::Vector(parts) => parts.iter().try_for_each(|part| edn_events(part, into)),
        Form::Scalar(_) | Form::Other(_) => Err(Malformed::new(
            form.line,
            "a map {:process … :type … :f … :value …}",
            form.describe(),
        )),
    }
}

/// The map of one event.
struct Fields<'a> {
    line: usize,
    pairs: &'a [(Located, Located)],
}

impl Fields<'_> {
    fn get(&self, name: &str) -> Result<Option<&Located>, Malformed> {
        let is = |key: &Located| matches!(&key.form, Form::Scalar(Value::Keyword(k)) if k == name);
        let mut found = self.pairs.iter().filter(|(key, _)| is(key)).map(|(_, value)| value);
        let first = found.next();
        match found.next() {
            Some(again) => Err(Malformed::new(again.line, format!("one :{name}"), "two")),
            None => Ok(first),
        }
    }

    fn need(&self, name: &str) -> Result<&Located, Malformed> {
        let missing = || Malformed::new(self.line, format!(":{name}"), "a map without it");
        self.get(name)?.ok_or_else(missing)
    }

    fn value(&self, name: &str) -> Result<Value, Malformed> {
        self.get(name)?.map_or(Ok(Value::Nil), Located::value)
    }

    /// The keys that a command may have changed which no model knows (`:f :command, :touches [keys]`); None if the
    /// event is of another kind.
    fn touched(&self) -> Result<Option<Vec<Value>>, Malformed> {
        let Some(function) = self.get("f")? else { return Ok(None) };
        if function.form != Form::Scalar(Value::Keyword(COMMAND.to_owned())) {
            return Ok(None);
        }
        let keys = self.need("touches")?;
        match keys.value()? {
            Value::Vector(keys) => Ok(Some(keys)),
            Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Keyword(_) | Value::Str(_) => {
                Err(Malformed::new(keys.line, "a vector of keys", keys.describe()))
            }
        }
    }

    fn event(&self) -> Result<Option<Event>, Malformed> {
        let Some(process) = process(self.need("process")?)? else { return Ok(None) };
        let stage = stage(self.need("type")?)?;
        let function = function(self.need("f")?)?;
        let key = Some(self.value("key")?).filter(|key| *key != Value::Nil);
        let time = match self.get("time")? {
            None => None,
            Some(form) => match &form.form {
                Form::Scalar(Value::Nil) => None,
                Form::Scalar(Value::Int(ns)) if *ns >= 0 => u64::try_from(*ns).ok(),
                Form::Scalar(_) | Form::Vector(_) | Form::Map(_) | Form::Other(_) => {
                    let expected = "a :time in nanoseconds, 0 or more";
                    return Err(Malformed::new(form.line, expected, form.describe()));
                }
            },
        };
        Ok(Some(Event { process, stage, function, key, value: self.value("value")?, time }))
    }
}

/// None for a process that is no client, such as `:nemesis`.
fn process(form: &Located) -> Result<Option<Process>, Malformed> {
    match &form.form {
        Form::Scalar(Value::Int(number)) if *number >= 0 => {
            Ok(u64::try_from(*number).ok().map(Process))
        }
        Form::Scalar(Value::Keyword(_)) => Ok(None),
        Form::Scalar(_) | Form::Vector(_) | Form::Map(_) | Form::Other(_) => {
            Err(Malformed::new(form.line, "the number of a process", form.describe()))
        }
    }
}

fn stage(form: &Located) -> Result<Stage, Malformed> {
    named(form, &Stage::ALL, |stage| stage.name())
}

fn function(form: &Located) -> Result<Function, Malformed> {
    named(form, &Function::ALL, |function| function.name())
}

fn named<T: Copy>(
    form: &Located,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, Malformed> {
    if let Form::Scalar(Value::Keyword(word)) = &form.form
        && let Some(one) = all.iter().find(|one| name(**one) == word)
    {
        return Ok(*one);
    }
    let names: Vec<String> = all.iter().map(|one| format!(":{}", name(*one))).collect();
    Err(Malformed::new(form.line, format!("one of {}", names.join(" ")), form.describe()))
}

const LOGGER: &str = "jepsen.util";
const LEVELS: [&str; 5] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];

/// One line of a log; None if it is not about an operation of a client.
fn log_event(line: &str, number: usize) -> Result<Option<Event>, Malformed> {
    let body = match line.split_once(LOGGER) {
        Some((_, rest)) => rest.trim_start().strip_prefix('-').ok_or_else(|| {
            Malformed::new(number, format!("\" - \" after {LOGGER}"), brief(rest.trim()))
        })?,
        // The date and the level come first, then the logger's name.
        None if line.split_whitespace().take(4).any(|word| LEVELS.contains(&word)) => {
            return Ok(None);
        }
        None => line,
    };
    let mut reader = Reader::new(body, number);
    let mut need = |what: &str| {
        let missing = || Malformed::new(number, what.to_owned(), "the end of the line");
        reader.next_form()?.ok_or_else(missing)
    };
    let Some(process) = process(&need("the number of a process")?)? else { return Ok(None) };
    let stage = stage(&need("the type of the event")?)?;
    let function = function(&need("what the operation does")?)?;
    let value = need("a value")?.value()?;
    // A fifth form is the error that ended the operation.
    reader.next_form()?;
    if let Some(more) = reader.next_form()? {
        return Err(Malformed::new(number, "the end of the line", more.describe()));
    }
    Ok(Some(Event { process, stage, function, key: None, value, time: None }))
}
