//! The table of commands: lookup by name, and the checks that come before anything else.

mod cluster;
mod connection;
mod data;
mod hash;
mod server;

use crate::wire::reply::Reply;
use crate::wire::resp::Args;

use super::Ctx;
use super::errors::{self, printed};
use super::spec::Command;

/// Slots of the name index: a power of two, at least twice the number of commands.
const SLOTS: usize = 256;
/// Marks a slot without a command.
const FREE: u8 = u8::MAX;
/// How much of a client's words an error repeats.
const QUOTED_BYTES_MAX: usize = 128;

const COUNT: usize = data::COMMANDS.len()
    + connection::COMMANDS.len()
    + server::COMMANDS.len()
    + cluster::COMMANDS.len()
    + hash::COMMANDS.len();
const _: () = assert!(COUNT <= SLOTS / 2 && COUNT < FREE as usize);

static ALL: [&Command; COUNT] = all();
static INDEX: [u8; SLOTS] = index();

/// Why a request is no call of a command.
#[derive(Copy, Clone, Debug)]
pub enum Unresolved {
    UnknownCommand,
    /// The second argument is no subcommand of the first.
    UnknownSubcommand,
    WrongArity(&'static Command),
}

/// The command of this name, in any case; a container if it is one.
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    let mut slot = slot_of(name);
    loop {
        let place = INDEX[slot];
        if place == FREE {
            return None;
        }
        let command = ALL[usize::from(place)];
        if command.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(command);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The command, or subcommand, that a request calls, its arity checked.
#[inline]
pub fn resolve(args: Args<'_>) -> Result<&'static Command, Unresolved> {
    let mut command = lookup(args.get(0)).ok_or(Unresolved::UnknownCommand)?;
    if !command.subcommands.is_empty() && args.len() > 1 {
        command = subcommand(command, args.get(1)).ok_or(Unresolved::UnknownSubcommand)?;
    }
    if command.accepts(args.len()) { Ok(command) } else { Err(Unresolved::WrongArity(command)) }
}

/// A subcommand by its own name, without the container's.
pub(super) fn subcommand(container: &Command, name: &[u8]) -> Option<&'static Command> {
    let own_start = container.name.len() + 1;
    container
        .subcommands
        .iter()
        .find(|command| command.name.as_bytes()[own_start..].eq_ignore_ascii_case(name))
}

/// A command by its full name, `get` or `client|id`.
pub(super) fn lookup_full(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|&byte| byte == b'|') {
        None => lookup(name),
        Some(bar) => subcommand(lookup(&name[..bar])?, &name[bar + 1..]),
    }
}

/// All commands, subcommands not among them.
pub fn commands() -> impl ExactSizeIterator<Item = &'static Command> + Clone {
    ALL.iter().copied()
}

impl Unresolved {
    /// Whether this was meant to be EXEC: in Redis the transaction ends all the same.
    pub fn ends_transaction(self) -> bool {
        matches!(self, Unresolved::WrongArity(command) if command.is_exec())
    }

    /// Writes the error; `args` is the request.
    pub fn write(self, reply: &mut Reply<'_>, args: Args<'_>) {
        match self {
            Unresolved::WrongArity(command) if command.is_exec() => reply.error(
                "EXECABORT Transaction discarded because of: \
                 wrong number of arguments for 'exec' command",
            ),
            Unresolved::WrongArity(command) => errors::wrong_arity(reply, command.name),
            Unresolved::UnknownSubcommand => {
                let container = args.get(0).to_ascii_uppercase();
                let name = printed(args.get(1), QUOTED_BYTES_MAX);
                reply.error_bytes(
                    &[b"ERR unknown subcommand '", name, b"'. Try ", &container, b" HELP."]
                        .concat(),
                );
            }
            Unresolved::UnknownCommand => {
                let mut text = b"ERR unknown command '".to_vec();
                text.extend_from_slice(printed(args.get(0), QUOTED_BYTES_MAX));
                text.extend_from_slice(b"', with args beginning with: ");
                let start = text.len();
                for argument in args.from(1).iter() {
                    let room = QUOTED_BYTES_MAX.saturating_sub(text.len() - start);
                    if room == 0 {
                        break;
                    }
                    text.push(b'\'');
                    text.extend_from_slice(printed(argument, room));
                    text.extend_from_slice(b"' ");
                }
                reply.error_bytes(&text);
            }
        }
    }
}

/// Answers a container called without a subcommand. Arity refuses that before; a container that
/// may be called alone has a handler of its own.
fn container(ctx: &mut Ctx<'_, '_>, _args: Args<'_>) {
    errors::wrong_arity(&mut ctx.reply, ctx.command.name);
}

const fn all() -> [&'static Command; COUNT] {
    let parts: [&'static [Command]; 5] =
        [data::COMMANDS, hash::COMMANDS, connection::COMMANDS, server::COMMANDS, cluster::COMMANDS];
    let mut all = [&parts[0][0]; COUNT];
    let (mut part, mut place, mut count) = (0, 0, 0);
    while part < parts.len() {
        if place == parts[part].len() {
            part += 1;
            place = 0;
            continue;
        }
        all[count] = &parts[part][place];
        place += 1;
        count += 1;
    }
    all
}

const fn index() -> [u8; SLOTS] {
    let all = all();
    let mut index = [FREE; SLOTS];
    let mut place = 0;
    while place < COUNT {
        let mut slot = slot_of(all[place].name.as_bytes());
        while index[slot] != FREE {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = place as u8;
        place += 1;
    }
    index
}

/// Where the search for a name begins: letters of either case begin at the same slot.
#[inline]
const fn slot_of(name: &[u8]) -> usize {
    let len = name.len();
    if len == 0 {
        return 0;
    }
    let (first, middle, last) = (name[0] | 0x20, name[len / 2] | 0x20, name[len - 1] | 0x20);
    let mixed = (first as u32 * 31 + middle as u32) * 37 + last as u32 + len as u32 * 113;
    (mixed.wrapping_mul(0x9e37_79b1) >> 24) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::wire::reply::Protocol;
    use crate::wire::resp::OwnedArgs;

    fn refused(words: &[&str]) -> String {
        let owned = OwnedArgs::new(words.iter().map(|word| word.as_bytes()));
        let mut out = BytesMut::new();
        let unresolved = resolve(owned.args()).expect_err("no such call");
        unresolved.write(&mut Reply::new(&mut out, Protocol::Resp2), owned.args());
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn every_command_is_found_in_any_case_and_nothing_else_is() {
        for command in commands() {
            let upper = command.name.to_ascii_uppercase();
            for name in [command.name, &upper] {
                let found = lookup(name.as_bytes()).expect("in the table");
                assert!(std::ptr::eq(found, command), "{name} is there once");
            }
            assert!(lookup(&command.name.as_bytes()[1..]).is_none_or(|c| c.name != command.name));
        }
        for name in ["", "ge", "gett", "foo", "client|id", "get\0"] {
            assert!(lookup(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn index_is_sparse_enough_for_short_searches() {
        let longest = commands()
            .map(|command| {
                let from = slot_of(command.name.as_bytes());
                (0..SLOTS)
                    .position(|step| {
                        std::ptr::eq(ALL[usize::from(INDEX[(from + step) % SLOTS])], command)
                    })
                    .expect("indexed")
            })
            .max();
        assert!(longest.is_some_and(|steps| steps <= 4), "{longest:?}");
    }

    #[test]
    fn every_entry_is_complete() {
        for container in commands() {
            for command in container.subcommands.iter().chain([container]) {
                let name = command.name;
                assert!(
                    !command.docs.summary.is_empty() && !command.docs.since.is_empty(),
                    "{name}"
                );
                assert!(command.arity != 0, "{name}");
                assert_eq!(command.keys.first > 0, command.keys.step > 0, "{name}");
                assert_eq!(command.keys.first > 0, !command.keys.access.is_empty(), "{name}");
                let writes = command.flags.names().filter(|f| *f == "write" || *f == "readonly");
                assert!(writes.count() <= 1, "{name} either writes or reads");
            }
            for command in container.subcommands {
                let (outer, _) = command.name.split_once('|').expect("a full name");
                assert_eq!(outer, container.name);
            }
        }
    }

    #[test]
    fn what_is_no_command_is_refused_in_the_words_of_redis() {
        let cases: [(&[&str], &str); 9] = [
            (&["FOO"], "ERR unknown command 'FOO', with args beginning with: "),
            (
                &["foo", "a", "b c"],
                "ERR unknown command 'foo', with args beginning with: 'a' 'b c' ",
            ),
            (&["foo\0bar", "\0"], "ERR unknown command 'foo', with args beginning with: '' "),
            (&["GET"], "ERR wrong number of arguments for 'get' command"),
            (&["get", "a", "b"], "ERR wrong number of arguments for 'get' command"),
            (&["SET", "a"], "ERR wrong number of arguments for 'set' command"),
            (&["Client"], "ERR wrong number of arguments for 'client' command"),
            (&["client", "id", "x"], "ERR wrong number of arguments for 'client|id' command"),
            (&["client", "Foo"], "ERR unknown subcommand 'Foo'. Try CLIENT HELP."),
        ];
        for (words, text) in cases {
            assert_eq!(refused(words), format!("-{text}\r\n"));
        }
    }

    #[test]
    fn long_words_are_repeated_in_part() {
        let long = "x".repeat(300);
        let text = refused(&[&long, &long, "y"]);
        let part = "x".repeat(128);
        assert_eq!(
            text,
            format!("-ERR unknown command '{part}', with args beginning with: '{part}' \r\n")
        );
    }
}
