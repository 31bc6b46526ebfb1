//! Strong mode's directives.

use crate::base::io::HostPort;
use crate::strong::{NodeName, RackId};

use super::super::config::Config;
use super::super::directive::{
    Directive, Refusal, host_port, number, one, show_yes_no, text, yes_no,
};

/// What strong mode is told at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StrongSettings {
    /// `strong-consistency yes`: all the rest means nothing without.
    pub on: bool,
    pub cluster_name: String,
    pub node: Option<NodeName>,
    pub rack: RackId,
    pub seeds: Vec<HostPort>,
    pub heartbeat_interval_ms: u64,
    pub heartbeat_timeout_intervals: u64,
    /// What a roster that is begun by this node says.
    pub replication_factor: u8,
    pub write_timeout_ms: u64,
    pub read_consistency: ReadConsistency,
    pub redirect: Redirect,
    pub announce_ip: Option<String>,
    /// 0: the port.
    pub announce_port: u16,
    /// Partitions there are: no directive, fewer in simulations.
    pub partitions: u16,
}

/// What a read is told.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum ReadConsistency {
    /// The newest acknowledged write, whoever made it: a round of the copies confirms each read.
    #[default]
    Linearizable,
    /// What the master has, without a round: a client's own writes, as long as the master is one.
    Session,
    /// What any copy in sync has committed, possibly long ago: as if every client had sent READONLY.
    Replica,
}

/// What becomes of a command at a node that is not its slot's master.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Redirect {
    /// The client is told where to go.
    #[default]
    Moved,
    /// The node asks the master in its place.
    Proxy,
}

impl Default for StrongSettings {
    fn default() -> StrongSettings {
        StrongSettings {
            on: false,
            cluster_name: String::new(),
            node: None,
            rack: RackId(0),
            seeds: Vec::new(),
            heartbeat_interval_ms: 150,
            heartbeat_timeout_intervals: 10,
            replication_factor: 2,
            write_timeout_ms: 3000,
            read_consistency: ReadConsistency::Linearizable,
            redirect: Redirect::Moved,
            announce_ip: None,
            announce_port: 0,
            partitions: crate::base::ids::PARTITION_COUNT,
        }
    }
}

/// By name.
pub static DIRECTIVES: &[Directive] = &[
    Directive::at_start("cluster-announce-ip", set_announce_ip, |c| {
        c.strong.announce_ip.clone().unwrap_or_default()
    }),
    Directive::at_start(
        "cluster-announce-port",
        |c, v| number(v, 0, 65535, &mut c.strong.announce_port),
        |c| c.strong.announce_port.to_string(),
    ),
    Directive::at_start("cluster-enabled", set_cluster_enabled, |c| show_yes_no(c.strong.on)),
    Directive::at_start(
        "cluster-name",
        |c, v| text(v, &mut c.strong.cluster_name),
        |c| c.strong.cluster_name.clone(),
    ),
    Directive::at_start("cluster-redirect", set_redirect, |c| match c.strong.redirect {
        Redirect::Moved => "moved".to_owned(),
        Redirect::Proxy => "proxy".to_owned(),
    }),
    Directive::at_start(
        "heartbeat-interval-ms",
        |c, v| number(v, 10, 10_000, &mut c.strong.heartbeat_interval_ms),
        |c| c.strong.heartbeat_interval_ms.to_string(),
    ),
    Directive::at_start(
        "heartbeat-timeout-intervals",
        |c, v| number(v, 3, 100, &mut c.strong.heartbeat_timeout_intervals),
        |c| c.strong.heartbeat_timeout_intervals.to_string(),
    ),
    Directive::at_start("mesh-seed", set_seed, |c| {
        let seeds = c.strong.seeds.iter().map(|to| format!("{} {}", to.host, to.port));
        seeds.collect::<Vec<_>>().join(" ")
    }),
    Directive::at_start("node-id", set_node, |c| {
        c.strong.node.map(|name| name.to_string()).unwrap_or_default()
    }),
    Directive::at_start(
        "rack-id",
        |c, v| number(v, 0, 65535, &mut c.strong.rack.0),
        |c| c.strong.rack.0.to_string(),
    ),
    Directive::at_start("read-consistency", set_read_consistency, |c| {
        match c.strong.read_consistency {
            ReadConsistency::Linearizable => "linearizable".to_owned(),
            ReadConsistency::Session => "session".to_owned(),
            ReadConsistency::Replica => "replica".to_owned(),
        }
    }),
    Directive::at_start(
        "replication-factor",
        |c, v| number(v, 1, 8, &mut c.strong.replication_factor),
        |c| c.strong.replication_factor.to_string(),
    ),
    Directive::at_start(
        "strong-consistency",
        |c, v| yes_no(v, &mut c.strong.on),
        |c| show_yes_no(c.strong.on),
    ),
    Directive::at_start(
        "write-timeout-ms",
        |c, v| number(v, 100, 600_000, &mut c.strong.write_timeout_ms),
        |c| c.strong.write_timeout_ms.to_string(),
    ),
];

/// Redis's word for it: a strong cluster speaks the cluster protocol.
fn set_cluster_enabled(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    let mut wanted = false;
    yes_no(values, &mut wanted)?;
    // Strong mode needs more than this word; behind `strong-consistency yes` it says nothing new.
    if wanted && !config.strong.on {
        return Err(Refusal::Only("no"));
    }
    Ok(())
}

fn set_redirect(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    config.strong.redirect = match one(values)? {
        "moved" => Redirect::Moved,
        "proxy" => Redirect::Proxy,
        _ => return Err(Refusal::Only("moved or proxy")),
    };
    Ok(())
}

fn set_announce_ip(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    let given = one(values)?;
    config.strong.announce_ip = Some(given.to_owned()).filter(|text| !text.is_empty());
    Ok(())
}

fn set_node(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    config.strong.node = Some(one(values)?.parse().map_err(|_| Refusal::NodeName)?);
    Ok(())
}

fn set_seed(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    let [host, port] = values else { return Err(Refusal::Count { wanted: 2 }) };
    let to = host_port(host, port).ok_or(Refusal::HostPort)?;
    if !config.strong.seeds.contains(&to) {
        config.strong.seeds.push(to);
    }
    Ok(())
}

fn set_read_consistency(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    config.strong.read_consistency = match one(values)? {
        "linearizable" => ReadConsistency::Linearizable,
        "session" => ReadConsistency::Session,
        "replica" => ReadConsistency::Replica,
        _ => return Err(Refusal::Only("linearizable, session or replica")),
    };
    Ok(())
}
