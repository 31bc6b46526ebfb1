//! What a driver of a world changes from outside: firewalls, links, clocks, names.

use std::net::Ipv4Addr;

use quorate::base::ids::NodeId;

use crate::clock::ClockChange;
use crate::firewall::FirewallError;
use crate::ids::HostId;
use crate::link::Link;
use crate::machine::Machine;
use crate::tcp::TcpConfig;

use super::World;

impl<M: Machine> World<M> {
    /// Carries out an iptables command on a host; returns what it prints.
    ///
    /// # Errors
    /// Names the word that is wrong; nothing has changed then.
    pub fn iptables(&mut self, host: HostId, line: &str) -> Result<String, FirewallError> {
        let names = &self.names;
        let resolve = |name: &str| names.get(name).copied();
        let printed = self.hosts[host.index()].firewall.apply(line, &resolve)?;
        self.digest.bytes(line.as_bytes());
        self.note(7, host);
        Ok(printed)
    }

    /// The link from one host to another, to be changed. Segments under way stay under way.
    pub fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        self.note(8, from);
        self.links.get(from.index(), to.index())
    }

    /// Cuts or mends the link in one direction.
    pub fn cut(&mut self, from: HostId, to: HostId, cut: bool) {
        self.link(from, to).cut = cut;
    }

    pub fn clock(&mut self, host: HostId, change: ClockChange) {
        self.note(9, host);
        self.hosts[host.index()].clock.change(self.now, change);
        // A timer may be due sooner than its event: the event of the old deadline finds out otherwise.
        self.arm_process(host);
    }

    /// Kernel settings of a host, for connections from now on.
    pub fn tcp(&mut self, host: HostId) -> &mut TcpConfig {
        &mut self.hosts[host.index()].tcp
    }

    /// What a name resolves to from now on; `None`: to nothing.
    pub fn set_name(&mut self, name: &str, ip: Option<Ipv4Addr>) {
        match ip {
            Some(ip) => {
                self.names.insert(name.to_owned(), ip);
            }
            None => {
                self.names.remove(name);
            }
        }
    }

    /// Gives a host another node id, as copying a data directory does.
    pub fn set_node_id(&mut self, host: HostId, node_id: NodeId) {
        self.hosts[host.index()].identity.node_id = node_id;
    }

    /// Takes every fault of the network away: rules, policies, cuts, flapping.
    pub fn heal_network(&mut self) {
        let hosts: Vec<HostId> = self.hosts().collect();
        for &from in &hosts {
            for line in ["-F", "-P INPUT ACCEPT", "-P OUTPUT ACCEPT"] {
                let healed = self.iptables(from, line);
                debug_assert!(healed.is_ok());
            }
            for &to in &hosts {
                let link = self.link(from, to);
                link.cut = false;
                link.flap = None;
            }
        }
    }
}
