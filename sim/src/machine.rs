//! What runs in a host's process: the real node, or in tests something simpler.

use quorate::base::io::{Effects, Input};
use quorate::base::mutant::Mutant;
use quorate::base::time::{Mono, Now};
use quorate::node::config::{Config, Identity};
use quorate::node::{Node, Scope, VisibleKey};

/// A server without I/O, as the boundary defines it.
pub trait Machine: Sized {
    type Config: Clone;

    /// A process at its start. Nothing but `identity` outlives it.
    fn boot(config: &Self::Config, identity: Identity, seed: u64, now: Now) -> Self;
    /// The port the driver listens on for it.
    fn port(config: &Self::Config) -> u16;
    /// Whether it keeps a log on the host's disk.
    fn keeps_log(config: &Self::Config) -> bool {
        let _ = config;
        false
    }
    /// A deliberate fault of its driver: the torn end of a log stays where it is.
    fn keeps_torn_end(config: &Self::Config) -> bool {
        let _ = config;
        false
    }
    fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects);
    fn flush(&mut self, now: Now, out: &mut Effects);
    fn poll_timeout(&self) -> Option<Mono>;

    /// # Panics
    /// If an invariant does not hold.
    fn check(&self, scope: Scope) {
        let _ = scope;
    }

    /// What it takes of its host's memory for what it holds.
    fn memory_bytes(&self) -> u64 {
        0
    }

    /// Its live keys, for whoever looks at the run; nothing if it keeps none.
    fn shows(&self, now: Now) -> Vec<VisibleKey> {
        let _ = now;
        Vec::new()
    }
}

impl Machine for Node {
    type Config = Config;

    fn boot(config: &Config, identity: Identity, seed: u64, now: Now) -> Node {
        Node::new(Config { identity, ..config.clone() }, seed, now)
    }

    fn port(config: &Config) -> u16 {
        config.port
    }

    fn keeps_log(config: &Config) -> bool {
        config.appendonly
    }

    fn keeps_torn_end(config: &Config) -> bool {
        config.mutants.has(Mutant::TailNotTruncated)
    }

    fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        Node::handle(self, now, input, out);
    }

    fn flush(&mut self, now: Now, out: &mut Effects) {
        Node::flush(self, now, out);
    }

    fn poll_timeout(&self) -> Option<Mono> {
        Node::poll_timeout(self)
    }

    fn check(&self, scope: Scope) {
        self.check_invariants(scope);
    }

    fn memory_bytes(&self) -> u64 {
        Node::memory_bytes(self)
    }

    fn shows(&self, now: Now) -> Vec<VisibleKey> {
        self.visible(now)
    }
}
