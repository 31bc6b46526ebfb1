//! Where a scenario is played: the simulated world, or real processes in network namespaces.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::ast::HostIndex;
use super::quality::LinkQuality;
use crate::check::Violation;
use crate::clock::ClockChange;
use crate::proxy::ProxyError;

/// Why a stage could not do what a line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The line failed: what happened instead.
    Failed(String),
    /// The line makes no sense here.
    BadLine { found: String, expected: String },
    /// This machine lacks something, or this stage cannot do it.
    Unavailable(String),
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

impl Trouble {
    /// A line has words that a proxy does not have.
    pub fn not_a_proxy(error: ProxyError) -> Trouble {
        let expected = "words of a proxy, such as `--server node1:6379`".to_owned();
        Trouble::BadLine { found: error.to_string(), expected }
    }
}

/// What servers of one digest show, compared with what was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judged {
    Fine,
    /// Something is still under way: what waits for what.
    NotYet(String),
    Violated(Violation),
}

/// A client connection of the stage.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StageConn(pub usize);

/// What scenario lines are carried out with. Time is counted from the beginning of the run.
pub trait Stage {
    fn now(&self) -> Duration;

    /// The line that is carried out next.
    fn line(&mut self, text: &str) {
        let _ = text;
    }

    /// Lets at most `span` pass; less if something arrives on `waiting`.
    fn pass(&mut self, span: Duration, waiting: Option<StageConn>) -> Result<(), Trouble>;

    /// Starts `quorate server` with these flags in the host's own directory.
    fn serve(&mut self, host: HostIndex, flags: &[String]) -> Result<(), Trouble>;

    /// Starts a proxy with these words.
    fn proxy(&mut self, host: HostIndex, words: &[String]) -> Result<(), Trouble>;

    /// What a server that was started and has ended by itself said last.
    fn ended(&mut self, host: HostIndex) -> Option<String>;

    /// Whether that was because it took more memory than [`Stage::limit_memory`] leaves it.
    fn ran_out_of_memory(&mut self, host: HostIndex) -> bool;

    /// What servers on the host may take from now on.
    fn limit_memory(&mut self, host: HostIndex, bytes: Option<u64>) -> Result<(), Trouble>;

    fn iptables(&mut self, host: HostIndex, words: &[String]) -> Result<(), Trouble>;

    /// Connects a client on the host itself over its loopback device. The error says why not.
    fn connect(&mut self, host: HostIndex, port: u16)
    -> Result<Result<StageConn, String>, Trouble>;

    fn send(&mut self, conn: StageConn, bytes: Bytes);

    /// Sends a command of a line with a time: its answer is for the stage alone to judge.
    fn send_unasked(&mut self, conn: StageConn, bytes: Bytes) {
        self.send(conn, bytes);
    }

    /// Appends what has arrived; false once the connection is closed and all of it was taken.
    fn take(&mut self, conn: StageConn, buf: &mut BytesMut) -> bool;

    /// Closes a client's connection.
    fn hang_up(&mut self, conn: StageConn);

    fn kill(&mut self, host: HostIndex) -> Result<(), Trouble>;

    /// Takes away what a server that does not run has kept in a directory of its host's.
    fn wipe(&mut self, host: HostIndex, dir: &str) -> Result<(), Trouble>;

    fn pause(&mut self, host: HostIndex) -> Result<(), Trouble>;

    fn resume(&mut self, host: HostIndex) -> Result<(), Trouble>;

    fn clock(&mut self, host: HostIndex, change: ClockChange) -> Result<(), Trouble>;

    /// Changes one direction.
    fn link(&mut self, from: HostIndex, to: HostIndex, quality: LinkQuality)
    -> Result<(), Trouble>;

    /// What the server of this host has logged since it started.
    fn log(&mut self, host: HostIndex) -> String;

    /// The last things that happened at this host, oldest first, for the report of a failed line.
    fn last_facts(&mut self, host: HostIndex) -> Vec<String>;

    /// A random number below `n`, which is not 0.
    fn below(&mut self, n: u64) -> u64;

    /// What is known to have gone wrong so far. A stage that looks at its servers from outside knows nothing.
    fn violation(&self) -> Option<Violation> {
        None
    }

    /// Compares what these servers, which have one digest, show with what was written, where that is known.
    fn judge(&mut self, running: &[HostIndex]) -> Judged {
        let _ = running;
        Judged::Fine
    }

    /// What one of these servers holds that it should have let go.
    fn uncollected(&mut self, running: &[HostIndex]) -> Result<Option<String>, Trouble> {
        let _ = running;
        Err(Trouble::Unavailable("only the simulator can tell what is collected".to_owned()))
    }
}
