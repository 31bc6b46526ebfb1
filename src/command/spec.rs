//! What the table says of a command, and the words COMMAND uses for it.

use super::DataHandler;

/// One command or subcommand.
#[derive(Debug)]
pub struct Command {
    /// In lower case; a subcommand's with its container's in front, `client|id`.
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least so many.
    pub arity: i8,
    pub flags: Flags,
    pub keys: Keys,
    pub handler: Handler,
    /// With these the command is a container, and its second argument names one of them.
    pub subcommands: &'static [Command],
    /// Categories beyond those that follow from the flags.
    categories: Categories,
    pub docs: Docs,
    /// Advice for proxies in front of several nodes.
    pub tips: &'static [&'static str],
}

/// Who executes a command.
#[derive(Copy, Clone, Debug)]
pub enum Handler {
    /// Works on data alone: one function, which can be called without a session.
    Data(DataHandler),
    /// Belongs to a session or to the server: the node does it.
    Session(SessionCommand),
}

/// The commands that the node does itself.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum SessionCommand {
    Auth,
    Hello,
    Select,
    Quit,
    ClientId,
    ClientGetName,
    ClientSetName,
    ClientSetInfo,
    ConfigGet,
    ConfigSet,
    ConfigResetStat,
    ConfigRewrite,
    Info,
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    /// REPLICAOF and SLAVEOF.
    ReplicaOf,
    Role,
    Wait,
    Shutdown,
    Save,
    /// BGSAVE.
    BackgroundSave,
    /// BGREWRITEAOF.
    RewriteLog,
    LastSave,
    /// `QUORATE PEER …`: the connection is a peer's from here on.
    QuoratePeer,
    /// `QUORATE CLOCK ACCEPT origin`.
    QuorateClock,
    /// `QUORATE DIGEST`.
    QuorateDigest,
    /// CLUSTER's subcommands.
    Cluster,
    /// READONLY, READWRITE and ASKING: words of the cluster protocol.
    ClusterWord,
    /// `QUORATE MESH version`: the connection is another node's of a strong cluster.
    QuorateMesh,
    /// `QUORATE ROSTER …`.
    QuorateRoster,
    /// `QUORATE RECLUSTER`.
    QuorateRecluster,
    /// `QUORATE REVIVE`.
    QuorateRevive,
    /// `QUORATE PMAP`.
    QuoratePmap,
}

/// Which arguments are keys: from `first` to `last` (negative: counted from the end, -1 is the
/// last), every `step`-th. `first` 0: none.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Keys {
    pub first: u8,
    pub last: i8,
    pub step: u8,
    /// How the keys are used, in the words of key specifications.
    pub access: &'static [&'static str],
    pub notes: Option<&'static str>,
}

/// Properties that decide when a command may run.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Flags(u16);

/// Access-control categories.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Categories(u16);

/// What COMMAND DOCS tells.
#[derive(Debug)]
pub struct Docs {
    pub summary: &'static str,
    pub since: &'static str,
    pub group: Group,
    /// Empty for containers.
    pub complexity: &'static str,
    pub args: &'static [Arg],
}

/// The chapter of the documentation a command belongs to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Group {
    Generic,
    String,
    Hash,
    Connection,
    Server,
    Transactions,
    Cluster,
    Scripting,
}

/// One argument as the documentation describes it.
#[derive(Debug)]
pub struct Arg {
    pub name: &'static str,
    pub kind: ArgKind,
    /// The word in front of the value, or the whole argument for [`ArgKind::Token`].
    pub token: Option<&'static str>,
    pub optional: bool,
    pub multiple: bool,
    /// Parts of a block, or alternatives.
    pub parts: &'static [Arg],
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ArgKind {
    String,
    Integer,
    Key,
    Pattern,
    UnixTime,
    Double,
    Token,
    OneOf,
    Block,
}

impl Flags {
    pub const NONE: Flags = Flags(0);
    pub const WRITE: Flags = Flags(1);
    pub const READONLY: Flags = Flags(1 << 1);
    /// Refused while memory is above `maxmemory`.
    pub const DENYOOM: Flags = Flags(1 << 2);
    pub const ADMIN: Flags = Flags(1 << 3);
    /// Not in scripts.
    pub const NOSCRIPT: Flags = Flags(1 << 4);
    /// Answered while the node loads its data.
    pub const LOADING: Flags = Flags(1 << 5);
    /// Answered by a replica without its master.
    pub const STALE: Flags = Flags(1 << 6);
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 7);
    pub const FAST: Flags = Flags(1 << 8);
    /// Needs no authentication.
    pub const NO_AUTH: Flags = Flags(1 << 9);
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 10);
    /// Not inside MULTI.
    pub const NO_MULTI: Flags = Flags(1 << 11);
    pub const ALLOW_BUSY: Flags = Flags(1 << 12);

    /// In the order in which COMMAND lists them.
    const NAMES: [&'static str; 13] = [
        "write",
        "readonly",
        "denyoom",
        "admin",
        "noscript",
        "loading",
        "stale",
        "skip_slowlog",
        "fast",
        "no_auth",
        "no_async_loading",
        "no_multi",
        "allow_busy",
    ];

    pub const fn or(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        set_bits(self.0, &Flags::NAMES)
    }
}

impl Categories {
    pub const NONE: Categories = Categories(0);
    pub const KEYSPACE: Categories = Categories(1);
    const READ: Categories = Categories(1 << 1);
    const WRITE: Categories = Categories(1 << 2);
    pub const STRING: Categories = Categories(1 << 3);
    pub const ADMIN: Categories = Categories(1 << 4);
    const FAST: Categories = Categories(1 << 5);
    const SLOW: Categories = Categories(1 << 6);
    pub const DANGEROUS: Categories = Categories(1 << 7);
    pub const CONNECTION: Categories = Categories(1 << 8);
    pub const TRANSACTION: Categories = Categories(1 << 9);
    pub const HASH: Categories = Categories(1 << 10);

    /// In the order in which COMMAND lists them.
    const NAMES: [&'static str; 11] = [
        "@keyspace",
        "@read",
        "@write",
        "@string",
        "@admin",
        "@fast",
        "@slow",
        "@dangerous",
        "@connection",
        "@transaction",
        "@hash",
    ];

    pub const fn or(self, other: Categories) -> Categories {
        Categories(self.0 | other.0)
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        set_bits(self.0, &Categories::NAMES)
    }
}

fn set_bits(
    bits: u16,
    names: &'static [&'static str],
) -> impl Iterator<Item = &'static str> + Clone {
    names.iter().enumerate().filter(move |(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name)
}

impl Group {
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::Hash => "hash",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Transactions => "transactions",
            Group::Cluster => "cluster",
            Group::Scripting => "scripting",
        }
    }
}

impl ArgKind {
    pub const fn name(self) -> &'static str {
        match self {
            ArgKind::String => "string",
            ArgKind::Integer => "integer",
            ArgKind::Key => "key",
            ArgKind::Pattern => "pattern",
            ArgKind::UnixTime => "unix-time",
            ArgKind::Double => "double",
            ArgKind::Token => "pure-token",
            ArgKind::OneOf => "oneof",
            ArgKind::Block => "block",
        }
    }
}

/// The table's entries are written with these, one line a property.
impl Command {
    pub const fn data(
        name: &'static str,
        arity: i8,
        flags: Flags,
        handler: DataHandler,
    ) -> Command {
        Command::new(name, arity, flags, Handler::Data(handler))
    }

    pub const fn session(
        name: &'static str,
        arity: i8,
        flags: Flags,
        command: SessionCommand,
    ) -> Command {
        Command::new(name, arity, flags, Handler::Session(command))
    }

    const fn new(name: &'static str, arity: i8, flags: Flags, handler: Handler) -> Command {
        Command {
            name,
            arity,
            flags,
            keys: Keys { first: 0, last: 0, step: 0, access: &[], notes: None },
            handler,
            subcommands: &[],
            categories: Categories::NONE,
            docs: Docs { summary: "", since: "", group: Group::Generic, complexity: "", args: &[] },
            tips: &[],
        }
    }

    pub const fn keys(
        mut self,
        (first, last, step): (u8, i8, u8),
        access: &'static [&'static str],
    ) -> Command {
        self.keys = Keys { first, last, step, access, notes: self.keys.notes };
        self
    }

    pub const fn key_notes(mut self, notes: &'static str) -> Command {
        self.keys.notes = Some(notes);
        self
    }

    pub const fn of(mut self, categories: Categories) -> Command {
        self.categories = categories;
        self
    }

    pub const fn tips(mut self, tips: &'static [&'static str]) -> Command {
        self.tips = tips;
        self
    }

    pub const fn subcommands(mut self, subcommands: &'static [Command]) -> Command {
        self.subcommands = subcommands;
        self
    }

    pub const fn docs(
        mut self,
        group: Group,
        since: &'static str,
        complexity: &'static str,
        summary: &'static str,
    ) -> Command {
        self.docs = Docs { summary, since, group, complexity, args: self.docs.args };
        self
    }

    pub const fn args(mut self, args: &'static [Arg]) -> Command {
        self.docs.args = args;
        self
    }

    /// Categories, with those that follow from the flags.
    pub const fn categories(&self) -> Categories {
        let flags = self.flags;
        let mut all = self.categories;
        if flags.has(Flags::WRITE) {
            all = all.or(Categories::WRITE);
        }
        if flags.has(Flags::READONLY) {
            all = all.or(Categories::READ);
        }
        if flags.has(Flags::ADMIN) {
            all = all.or(Categories::ADMIN).or(Categories::DANGEROUS);
        }
        all.or(if flags.has(Flags::FAST) { Categories::FAST } else { Categories::SLOW })
    }

    pub fn is_exec(&self) -> bool {
        matches!(self.handler, Handler::Session(SessionCommand::Exec))
    }

    /// Whether a call with `len` arguments, the name included, is one.
    #[inline]
    pub const fn accepts(&self, len: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { len >= least } else { len == least }
    }

    /// Places of the keys in a call with `len` arguments.
    pub fn key_places(&self, len: usize) -> impl Iterator<Item = usize> + use<> {
        let last = match self.keys.last {
            from_end if from_end < 0 => len.saturating_sub(usize::from(from_end.unsigned_abs())),
            place => usize::from(place.unsigned_abs()),
        };
        let first = usize::from(self.keys.first);
        let end = if first == 0 { 0 } else { (last + 1).min(len) };
        (first..end).step_by(usize::from(self.keys.step.max(1)))
    }
}

impl Arg {
    pub const fn new(name: &'static str, kind: ArgKind) -> Arg {
        Arg { name, kind, token: None, optional: false, multiple: false, parts: &[] }
    }

    pub const fn key() -> Arg {
        Arg::new("key", ArgKind::Key)
    }

    pub const fn string(name: &'static str) -> Arg {
        Arg::new(name, ArgKind::String)
    }

    pub const fn integer(name: &'static str) -> Arg {
        Arg::new(name, ArgKind::Integer)
    }

    /// A word that stands for itself.
    pub const fn token(name: &'static str, token: &'static str) -> Arg {
        Arg::new(name, ArgKind::Token).after(token)
    }

    pub const fn one_of(name: &'static str, parts: &'static [Arg]) -> Arg {
        Arg::new(name, ArgKind::OneOf).parts(parts)
    }

    pub const fn block(name: &'static str, parts: &'static [Arg]) -> Arg {
        Arg::new(name, ArgKind::Block).parts(parts)
    }

    /// The word in front of the value.
    pub const fn after(mut self, token: &'static str) -> Arg {
        self.token = Some(token);
        self
    }

    pub const fn optional(mut self) -> Arg {
        self.optional = true;
        self
    }

    pub const fn multiple(mut self) -> Arg {
        self.multiple = true;
        self
    }

    const fn parts(mut self, parts: &'static [Arg]) -> Arg {
        self.parts = parts;
        self
    }
}
