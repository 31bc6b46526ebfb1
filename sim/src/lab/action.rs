//! What somebody does in the lab, and the lines of a scenario that say so.

use serde::Deserialize;

/// One thing done, as the page sends it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Action {
    /// `redis-cli` on a host: `SET greeting "hello"`.
    Command {
        host: String,
        line: String,
    },
    /// Nothing from the first host of each pair reaches the second any more.
    Wall {
        pairs: Vec<(String, String)>,
    },
    /// Takes these walls away again; without pairs every wall there is.
    Heal {
        #[serde(default)]
        pairs: Vec<(String, String)>,
    },
    /// SIGKILL.
    Kill {
        host: String,
    },
    Restart {
        host: String,
    },
    /// SIGSTOP.
    Pause {
        host: String,
    },
    /// SIGCONT.
    Resume {
        host: String,
    },
    /// The wall clock of a host jumps.
    Clock {
        host: String,
        by_ms: i64,
    },
    /// Any line of a scenario that may stand after a time.
    Line {
        line: String,
    },
}

/// Longest line that is played, in bytes.
pub const LINE_BYTES_MAX: usize = 4096;

/// A clock jumps by at most this at once: a day.
pub const CLOCK_STEP_MS_MAX: i64 = 86_400_000;
