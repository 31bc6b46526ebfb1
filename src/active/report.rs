//! What INFO and ROLE say of replication.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::base::ids::NodeId;
use crate::base::io::HostPort;
use crate::base::time::Now;
use crate::base::vector::Vector;
use crate::store::Store;

use super::Active;
use super::dial::Master;
use super::peer::{Outbound, Peer, Side};

/// One line of ROLE's or INFO's list of replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaReport {
    pub ip: Option<IpAddr>,
    pub port: u16,
    /// Bytes of the log it has acknowledged.
    pub offset: u64,
}

/// What ROLE answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoleReport {
    /// Takes writes: a master, or an active replica.
    Master { offset: u64, replicas: Vec<ReplicaReport> },
    /// A plain replica of its (only or first) master.
    Replica { host: String, port: u16, state: &'static str, offset: u64 },
}

impl Active {
    pub fn role(&self) -> RoleReport {
        match self.masters.first() {
            Some(master) if self.is_plain() => RoleReport::Replica {
                host: master.to.host.clone(),
                port: master.to.port,
                state: match master.link {
                    None => "connect",
                    Some(_) if self.is_streaming(master) => "connected",
                    Some(_) => "sync",
                },
                offset: self.log.total_bytes(),
            },
            Some(_) | None => {
                let offset = self.log.total_bytes();
                let replicas = self.replicas().into_values();
                let replicas = replicas
                    .map(|(peer, outbound)| ReplicaReport {
                        ip: peer.ip,
                        port: outbound.port,
                        offset: outbound.acked_bytes,
                    })
                    .collect();
                RoleReport::Master { offset, replicas }
            }
        }
    }

    /// The newest stream to each replica, in the order of node ids.
    fn replicas(&self) -> BTreeMap<NodeId, (&Peer, &Outbound)> {
        let mut replicas = BTreeMap::new();
        for peer in self.peers.iter() {
            if let (Side::Replica(outbound), Some(node)) = (&peer.side, peer.node) {
                replicas.insert(node.node, (peer, outbound));
            }
        }
        replicas
    }

    /// The configured masters, as they are now.
    pub fn master_addresses(&self) -> Vec<HostPort> {
        self.masters.iter().map(|master| master.to.clone()).collect()
    }

    /// How many of the nodes that take the stream have acknowledged all of `vector`, and how many take it.
    /// What a node has written itself it has.
    pub fn replicas_in_sync(&self, vector: &Vector) -> (usize, usize) {
        let mut nodes: BTreeMap<NodeId, bool> = BTreeMap::new();
        for peer in self.peers.iter() {
            let (Side::Replica(outbound), Some(node)) = (&peer.side, peer.node) else { continue };
            let has = |(origin, time)| origin == node.origin || outbound.acked.get(origin) >= time;
            *nodes.entry(node.node).or_default() |= vector.iter().all(has);
        }
        (nodes.values().filter(|&&in_sync| in_sync).count(), nodes.len())
    }

    /// INFO's section `replication`, lines ended by CRLF, without its heading.
    pub fn info(&self, now: Now, store: &Store, text: &mut String) {
        let role = if self.is_plain() { "slave" } else { "master" };
        line(text, "role", role);
        if self.config.active_replica {
            line(text, "keydb_role", "active-replica");
        }
        self.info_masters(now, text);
        self.info_replicas(now, text);
        line(text, "master_failover_state", "no-failover");
        line(text, "master_replid", format_args!("{}{:08x}", self.life.run, self.life.origin.0));
        line(text, "master_replid2", "0".repeat(40));
        line(text, "master_repl_offset", self.log.total_bytes());
        line(text, "second_repl_offset", -1);
        line(text, "repl_backlog_active", u8::from(!self.alone));
        line(text, "repl_backlog_size", self.log.bytes_max());
        line(text, "repl_backlog_histlen", self.log.bytes());
        self.info_active(now, store, text);
    }

    fn info_masters(&self, now: Now, text: &mut String) {
        if self.masters.is_empty() {
            return;
        }
        let up = self.masters.iter().filter(|m| m.link.is_some()).count();
        let all_up = if up == self.masters.len() { "up" } else { "down" };
        line(text, "master_global_link_status", all_up);
        line(text, "connected_masters", up);
        for (index, master) in self.masters.iter().enumerate() {
            let name = |field: &str| match index {
                0 => format!("master_{field}"),
                _ => format!("master_{index}_{field}"),
            };
            line(text, &name("host"), &master.to.host);
            line(text, &name("port"), master.to.port);
            self.info_master(now, master, &name, text);
        }
        if self.is_plain() {
            line(text, "slave_repl_offset", self.log.total_bytes());
            line(text, "slave_priority", 100);
        }
        line(text, "slave_read_only", u8::from(self.is_read_only_replica()));
    }

    fn info_master(
        &self,
        now: Now,
        master: &Master,
        name: &dyn Fn(&str) -> String,
        text: &mut String,
    ) {
        let peer = master.link.and_then(|link| self.peers.get(link.conn));
        let status = if peer.is_some() { "up" } else { "down" };
        line(text, &name("link_status"), status);
        let last_io = peer.map(|peer| now.mono.since(peer.last_heard).as_ms() / 1000);
        let last_io = last_io.map_or("-1".to_owned(), |secs| secs.to_string());
        line(text, &name("last_io_seconds_ago"), last_io);
        let syncing = peer.is_some() && !self.is_streaming(master);
        line(text, &name("sync_in_progress"), u8::from(syncing));
        if peer.is_none() {
            let down = now.mono.since(master.down_since).as_ms() / 1000;
            line(text, &name("link_down_since_seconds"), down);
        }
    }

    fn info_replicas(&self, now: Now, text: &mut String) {
        let replicas = self.replicas();
        line(text, "connected_slaves", replicas.len());
        for (index, (peer, outbound)) in replicas.into_values().enumerate() {
            let (port, offset) = (outbound.port, outbound.acked_bytes);
            let state = if outbound.transfer.is_some() { "send_bulk" } else { "online" };
            let ip = peer.ip.map_or("?".to_owned(), |ip| ip.to_string());
            let lag = now.mono.since(peer.last_heard).as_ms() / 1000;
            line(
                text,
                &format!("slave{index}"),
                format_args!("ip={ip},port={port},state={state},offset={offset},lag={lag}"),
            );
        }
    }

    fn info_active(&self, now: Now, store: &Store, text: &mut String) {
        let stats = store.stats();
        line(text, "node_id", self.life.node);
        line(text, "epoch", self.life.epoch.0);
        line(text, "origin", self.life.origin);
        let vector: Vec<String> =
            self.vector.iter().map(|(origin, time)| format!("{origin}:{time}")).collect();
        line(text, "vector", vector.join(","));
        line(text, "members", self.members.len() + 1);
        line(text, "conflicts_resolved", stats.conflicts);
        line(text, "tombstones", stats.tombstones);
        line(text, "awaited_members", self.members.awaited());
        line(text, "horizon", self.members.horizon(&self.vector));
        line(text, "horizon_collected", store.collected());
        line(text, "clock_ahead_ms", self.skew.correction_ms(now));
        line(text, "units_taken", self.units_taken);
        line(text, "resyncs_completed", self.resyncs_complete);
        line(text, "transfers_begun", self.transfers_begun);
        let paused: Vec<String> = self.paused().iter().map(ToString::to_string).collect();
        line(text, "origins_paused", paused.join(","));
        for (index, record) in self.members.others().enumerate() {
            let behind = self
                .vector
                .get(self.life.origin)
                .saturating_sub(record.vector.get(self.life.origin));
            let lag_ms = behind >> crate::base::stamp::COUNTER_BITS;
            line(
                text,
                &format!("member{index}"),
                format_args!(
                    "node_id={},epoch={},origin={},announced_lag_ms={lag_ms}",
                    record.node, record.epoch.0, record.origin
                ),
            );
        }
    }
}

fn line(text: &mut String, field: &str, value: impl core::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{field}:{value}\r\n");
}
