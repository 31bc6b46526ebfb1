//! What kind of value an object type stands for.

use core::fmt;

/// A kind of value. Each has several types, one for each way it has been laid out.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Stream,
    Module,
    /// A script that KeyDB runs by the clock.
    CronJob,
}

impl Kind {
    /// The kind of a type of any version that is read; `None` if there is no such type.
    pub const fn of(type_byte: u8) -> Option<Kind> {
        match type_byte {
            0 => Some(Kind::String),
            1 | 10 | 14 | 18 => Some(Kind::List),
            2 | 11 | 20 => Some(Kind::Set),
            3 | 5 | 12 | 17 => Some(Kind::SortedSet),
            // 22 to 25 have fields that expire: those of Redis 7.4, and 22 of Valkey 9 as well.
            4 | 9 | 13 | 16 | 22..=25 => Some(Kind::Hash),
            15 | 19 | 21 => Some(Kind::Stream),
            6 | 7 => Some(Kind::Module),
            64 => Some(Kind::CronJob),
            8 | 26..=63 | 65..=255 => None,
        }
    }

    /// With its article, for the middle of a sentence.
    const fn text(self) -> &'static str {
        match self {
            Kind::String => "a string",
            Kind::List => "a list",
            Kind::Set => "a set",
            Kind::SortedSet => "a sorted set",
            Kind::Hash => "a hash",
            Kind::Stream => "a stream",
            Kind::Module => "a module's value",
            Kind::CronJob => "a cron job of KeyDB",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
