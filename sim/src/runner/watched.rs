//! A node and the notes of its driver: which connection was accepted from where.

use std::net::IpAddr;

use quorate::base::ids::ConnId;
use quorate::base::io::{ConnOrigin, Effects, Input};
use quorate::base::time::{Mono, Now};
use quorate::node::config::{Config, Identity};
use quorate::node::{Node, Scope, VisibleKey};

use crate::machine::Machine;

/// The real node under observation.
#[derive(Debug)]
pub struct Watched {
    pub node: Node,
    /// Connections accepted, by the other side's address.
    pub accepted: Vec<(IpAddr, u16, ConnId)>,
}

impl Machine for Watched {
    type Config = Config;

    fn boot(config: &Config, identity: Identity, seed: u64, now: Now) -> Watched {
        Watched { node: <Node as Machine>::boot(config, identity, seed, now), accepted: Vec::new() }
    }

    fn port(config: &Config) -> u16 {
        config.port
    }

    fn keeps_log(config: &Config) -> bool {
        config.appendonly
    }

    fn keeps_torn_end(config: &Config) -> bool {
        <Node as Machine>::keeps_torn_end(config)
    }

    fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        if let Input::Opened { conn, origin: ConnOrigin::Accepted { ip, port } } = &input {
            self.accepted.push((*ip, *port, *conn));
        }
        self.node.handle(now, input, out);
    }

    fn flush(&mut self, now: Now, out: &mut Effects) {
        self.node.flush(now, out);
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.node.poll_timeout()
    }

    fn check(&self, scope: Scope) {
        self.node.check_invariants(scope);
    }

    fn memory_bytes(&self) -> u64 {
        self.node.memory_bytes()
    }

    fn shows(&self, now: Now) -> Vec<VisibleKey> {
        self.node.visible(now)
    }
}
