//! COMMAND and its subcommands, and HELP of every container: what the table says, as replies.

use crate::wire::reply::Reply;
use crate::wire::resp::Args;

use super::errors::SYNTAX;
use super::spec::{Arg, ArgKind, Command};
use super::table::{commands, lookup_full, resolve};
use super::{Ctx, glob};

/// COMMAND
pub(super) fn command(ctx: &mut Ctx<'_, '_>, _args: Args<'_>) {
    ctx.reply.array(commands().len());
    for command in commands() {
        write_info(&mut ctx.reply, command);
    }
}

/// COMMAND COUNT
pub(super) fn count(ctx: &mut Ctx<'_, '_>, _args: Args<'_>) {
    ctx.reply.count(commands().len() as u64);
}

/// COMMAND INFO [name …]: null for a name that is none.
pub(super) fn info(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let names = args.from(2);
    if names.is_empty() {
        command(ctx, args);
        return;
    }
    ctx.reply.array(names.len());
    for name in names.iter() {
        match lookup_full(name) {
            Some(command) => write_info(&mut ctx.reply, command),
            None => ctx.reply.null(),
        }
    }
}

/// COMMAND DOCS [name …]: names that are none are left out.
pub(super) fn docs(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let names = args.from(2);
    if names.is_empty() {
        write_docs(&mut ctx.reply, commands());
    } else {
        write_docs(&mut ctx.reply, names.iter().filter_map(lookup_full));
    }
}

/// COMMAND LIST [FILTERBY MODULE name|ACLCAT category|PATTERN pattern]
pub(super) fn list(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let every = commands().flat_map(|command| std::iter::once(command).chain(command.subcommands));
    if args.len() == 2 {
        write_names(&mut ctx.reply, commands());
        return;
    }
    if args.len() != 5 || !args.get(2).eq_ignore_ascii_case(b"FILTERBY") {
        ctx.reply.error(SYNTAX);
        return;
    }
    let (filter, value) = (args.get(3), args.get(4));
    if filter.eq_ignore_ascii_case(b"MODULE") {
        ctx.reply.array(0);
    } else if filter.eq_ignore_ascii_case(b"ACLCAT") {
        let of_category = |command: &&Command| {
            let mut names = command.categories().names();
            names.any(|name| name.as_bytes()[1..].eq_ignore_ascii_case(value))
        };
        write_names(&mut ctx.reply, every.filter(of_category));
    } else if filter.eq_ignore_ascii_case(b"PATTERN") {
        let fits = |command: &&Command| glob::matches_ignoring_case(value, command.name.as_bytes());
        write_names(&mut ctx.reply, every.filter(fits));
    } else {
        ctx.reply.error(SYNTAX);
    }
}

/// COMMAND GETKEYS name [argument …]
pub(super) fn getkeys(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let call = args.from(2);
    match resolve(call) {
        Err(super::Unresolved::WrongArity(command)) if command.keys.first > 0 => {
            ctx.reply.error("ERR Invalid number of arguments specified for command");
        }
        Err(super::Unresolved::UnknownCommand | super::Unresolved::UnknownSubcommand) => {
            ctx.reply.error("ERR Invalid command specified");
        }
        Ok(command) if command.keys.first > 0 => {
            let places = command.key_places(call.len());
            ctx.reply.array(command.key_places(call.len()).count());
            for place in places {
                ctx.reply.bulk(call.get(place));
            }
        }
        Ok(_) | Err(super::Unresolved::WrongArity(_)) => {
            ctx.reply.error("ERR The command has no key arguments");
        }
    }
}

/// FUNCTION FLUSH [ASYNC|SYNC]: no library can be loaded.
pub(super) fn function_flush(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let known =
        |word: &[u8]| word.eq_ignore_ascii_case(b"ASYNC") || word.eq_ignore_ascii_case(b"SYNC");
    match args.len() {
        2 => ctx.reply.ok(),
        3 if known(args.get(2)) => ctx.reply.ok(),
        _ => ctx.reply.error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"),
    }
}

/// FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]: no library can be loaded.
pub(super) fn function_list(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let mut at = 2;
    while at < args.len() {
        let word = args.get(at);
        if word.eq_ignore_ascii_case(b"WITHCODE") {
            at += 1;
        } else if word.eq_ignore_ascii_case(b"LIBRARYNAME") {
            if at + 1 == args.len() {
                return ctx.reply.error("ERR library name argument was not given");
            }
            at += 2;
        } else {
            let word = String::from_utf8_lossy(word);
            return ctx.reply.error(&format!("ERR Unknown argument {word}"));
        }
    }
    ctx.reply.array(0);
}

/// HELP of the container whose subcommand is called.
pub(super) fn help(ctx: &mut Ctx<'_, '_>, _args: Args<'_>) {
    let (name, _) = ctx.command.name.split_once('|').unwrap_or((ctx.command.name, ""));
    let subcommands = lookup_full(name.as_bytes()).map_or(&[][..], |command| command.subcommands);
    ctx.reply.array(1 + 2 * subcommands.len());
    let title = name.to_ascii_uppercase();
    ctx.reply.simple(&format!("{title} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for command in subcommands {
        let mut line = command.name[name.len() + 1..].to_ascii_uppercase();
        for argument in command.docs.args {
            line.push(' ');
            push_syntax(&mut line, argument);
        }
        ctx.reply.simple(&line);
        ctx.reply.simple(&format!("    {}.", command.docs.summary));
    }
}

fn write_names<'c>(reply: &mut Reply<'_>, list: impl Iterator<Item = &'c Command> + Clone) {
    reply.array(list.clone().count());
    for command in list {
        reply.bulk(command.name.as_bytes());
    }
}

/// An element of COMMAND and COMMAND INFO.
fn write_info(reply: &mut Reply<'_>, command: &Command) {
    let keys = &command.keys;
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(i64::from(command.arity));
    write_words(reply, command.flags.names());
    reply.integer(i64::from(keys.first));
    reply.integer(i64::from(keys.last));
    reply.integer(i64::from(keys.step));
    write_words(reply, command.categories().names());
    reply.set(command.tips.len());
    for tip in command.tips {
        reply.bulk(tip.as_bytes());
    }
    if keys.first == 0 {
        reply.set(0);
    } else {
        reply.set(1);
        write_key_spec(reply, command);
    }
    reply.set(command.subcommands.len());
    for subcommand in command.subcommands {
        write_info(reply, subcommand);
    }
}

fn write_words(reply: &mut Reply<'_>, words: impl Iterator<Item = &'static str> + Clone) {
    reply.set(words.clone().count());
    for word in words {
        reply.simple(word);
    }
}

/// How to find the keys: from the first one to the last, counted from the first.
fn write_key_spec(reply: &mut Reply<'_>, command: &Command) {
    let keys = &command.keys;
    reply.map(3 + usize::from(keys.notes.is_some()));
    if let Some(notes) = keys.notes {
        reply.bulk(b"notes");
        reply.bulk(notes.as_bytes());
    }
    reply.bulk(b"flags");
    write_words(reply, keys.access.iter().copied());
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"index");
    reply.bulk(b"spec");
    reply.map(1);
    reply.bulk(b"index");
    reply.integer(i64::from(keys.first));
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"range");
    reply.bulk(b"spec");
    reply.map(3);
    reply.bulk(b"lastkey");
    let from_end = keys.last < 0;
    reply.integer(i64::from(keys.last) - if from_end { 0 } else { i64::from(keys.first) });
    reply.bulk(b"keystep");
    reply.integer(i64::from(keys.step));
    reply.bulk(b"limit");
    reply.integer(0);
}

fn write_docs<'c>(reply: &mut Reply<'_>, list: impl Iterator<Item = &'c Command> + Clone) {
    reply.map(list.clone().count());
    for command in list {
        let docs = &command.docs;
        let mut fields = 3 + usize::from(!docs.complexity.is_empty());
        fields += usize::from(!docs.args.is_empty());
        fields += usize::from(!command.subcommands.is_empty());
        reply.bulk(command.name.as_bytes());
        reply.map(fields);
        write_pair(reply, "summary", docs.summary);
        write_pair(reply, "since", docs.since);
        write_pair(reply, "group", docs.group.name());
        if !docs.complexity.is_empty() {
            write_pair(reply, "complexity", docs.complexity);
        }
        if !docs.args.is_empty() {
            reply.bulk(b"arguments");
            write_arguments(reply, docs.args);
        }
        if !command.subcommands.is_empty() {
            reply.bulk(b"subcommands");
            write_docs(reply, command.subcommands.iter());
        }
    }
}

fn write_pair(reply: &mut Reply<'_>, name: &str, value: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
}

fn write_arguments(reply: &mut Reply<'_>, arguments: &[Arg]) {
    reply.array(arguments.len());
    for argument in arguments {
        let is_key = argument.kind == ArgKind::Key;
        let mut fields = 2 + usize::from(is_key) + usize::from(argument.token.is_some());
        fields += usize::from(argument.optional || argument.multiple);
        fields += usize::from(!argument.parts.is_empty());
        reply.map(fields);
        write_pair(reply, "name", argument.name);
        write_pair(reply, "type", argument.kind.name());
        if is_key {
            reply.bulk(b"key_spec_index");
            reply.integer(0);
        }
        if let Some(token) = argument.token {
            write_pair(reply, "token", token);
        }
        if argument.optional || argument.multiple {
            reply.bulk(b"flags");
            let words = [(argument.optional, "optional"), (argument.multiple, "multiple")];
            write_words(reply, words.into_iter().filter(|(set, _)| *set).map(|(_, word)| word));
        }
        if !argument.parts.is_empty() {
            reply.bulk(b"arguments");
            write_arguments(reply, argument.parts);
        }
    }
}

/// `[NX|XX]`, `key [key ...]`: an argument as a usage line shows it.
fn push_syntax(line: &mut String, argument: &Arg) {
    let mut text = String::new();
    match argument.kind {
        ArgKind::Token => text.push_str(argument.token.unwrap_or(argument.name)),
        ArgKind::OneOf | ArgKind::Block => {
            let separator = if argument.kind == ArgKind::OneOf { "|" } else { " " };
            for (place, part) in argument.parts.iter().enumerate() {
                text.push_str(if place == 0 { "" } else { separator });
                push_syntax(&mut text, part);
            }
        }
        ArgKind::String
        | ArgKind::Integer
        | ArgKind::Key
        | ArgKind::Pattern
        | ArgKind::UnixTime
        | ArgKind::Double => text.push_str(&format!("<{}>", argument.name)),
    }
    if let Some(token) = argument.token.filter(|_| argument.kind != ArgKind::Token) {
        text.insert_str(0, &format!("{token} "));
    }
    if argument.multiple {
        text = format!("{text} [{text} ...]");
    }
    if argument.optional {
        text = format!("[{text}]");
    }
    line.push_str(&text);
}
