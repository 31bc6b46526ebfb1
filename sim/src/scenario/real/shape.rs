//! What the kernel does to the packets of a link: loss by iptables' `statistic`, bandwidth by `tc`.

use std::net::Ipv4Addr;

use super::super::ast::HostIndex;
use super::network::Network;

/// What waits for a line of limited bandwidth at most, as in the simulated world.
const LINE_QUEUE_BYTES: u64 = 256 << 10;

/// What has been done to the links of one host so far.
#[derive(Default)]
pub struct Shape {
    /// Loss rules that stand in the mangle table: source and share.
    loss: Vec<(Ipv4Addr, f64)>,
    /// Receivers with a bandwidth; the number of a class is one more than the place here.
    limited: Vec<Ipv4Addr>,
}

impl Shape {
    /// Loss of what arrives at `host` from `from`, in a table that the scenario's own lines leave alone.
    ///
    /// # Errors
    /// What iptables says.
    pub fn lose(
        &mut self,
        network: &Network,
        host: HostIndex,
        from: Ipv4Addr,
        share: f64,
    ) -> Result<(), String> {
        if let Some(at) = self.loss.iter().position(|(source, _)| *source == from) {
            let (_, old) = self.loss.remove(at);
            loss_rule(network, host, "-D", from, old)?;
        }
        if share > 0.0 {
            loss_rule(network, host, "-A", from, share)?;
            self.loss.push((from, share));
        }
        Ok(())
    }

    /// Bandwidth of what `host` sends to `to`. A token bucket of `tbf` would be one for all receivers; `htb` has
    /// one for each, and what goes to others passes it by.
    ///
    /// # Errors
    /// What tc says.
    pub fn limit(
        &mut self,
        network: &Network,
        host: HostIndex,
        to: Ipv4Addr,
        bits_per_sec: u64,
    ) -> Result<(), String> {
        let tc = |line: String| network.tc(host, line.split_whitespace());
        let (known, place) = match self.limited.iter().position(|ip| *ip == to) {
            Some(place) => (true, place),
            None => (false, self.limited.len()),
        };
        let class = format!("1:{:x}", place + 1);
        let rate = format!("htb rate {bits_per_sec}bit burst 2k cburst 2k");
        if known {
            return tc(format!("class change dev eth0 parent 1: classid {class} {rate}"));
        }
        if place == 0 {
            tc("qdisc add dev eth0 root handle 1: htb".to_owned())?;
        }
        tc(format!("class add dev eth0 parent 1: classid {class} {rate}"))?;
        tc(format!("qdisc add dev eth0 parent {class} bfifo limit {LINE_QUEUE_BYTES}b"))?;
        tc(format!(
            "filter add dev eth0 parent 1: protocol ip u32 match ip dst {to}/32 flowid {class}"
        ))?;
        self.limited.push(to);
        Ok(())
    }
}

fn loss_rule(
    network: &Network,
    host: HostIndex,
    action: &str,
    from: Ipv4Addr,
    share: f64,
) -> Result<(), String> {
    let rule = format!(
        "-t mangle {action} PREROUTING -s {from} -m statistic --mode random --probability {share} \
         -j DROP"
    );
    network.iptables(host, rule.split_whitespace())
}
