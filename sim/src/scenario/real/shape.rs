//! What the kernel does to the packets of a link: loss by iptables' `statistic`, bandwidth by `tc`.

use std::net::Ipv4Addr;

use super::super::ast::HostIndex;
use super::super::quality::LINE_QUEUE_BYTES;
use super::network::Network;

/// What has been done to the links of one host so far.
#[derive(Default)]
pub struct Shape {
    /// Loss rules that stand in the mangle table: source and share.
    loss: Vec<(Ipv4Addr, f64)>,
    /// Sources that nothing arrives from.
    cut: Vec<Ipv4Addr>,
    /// Receivers with a bandwidth or a queue; the number of a class is one more than the place here.
    limited: Vec<Limit>,
}

#[derive(Copy, Clone)]
struct Limit {
    to: Ipv4Addr,
    bits_per_sec: u64,
    queue_bytes: u64,
}

/// More than any line here carries, for a link that has a queue and no bandwidth yet.
const UNLIMITED_BITS_PER_SEC: u64 = 1_000_000_000_000;

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

    /// Nothing arrives at `host` from `from` any more, or again.
    ///
    /// # Errors
    /// What iptables says.
    pub fn cut(
        &mut self,
        network: &Network,
        host: HostIndex,
        from: Ipv4Addr,
        cut: bool,
    ) -> Result<(), String> {
        let known = self.cut.iter().position(|source| *source == from);
        let action = match (known, cut) {
            (None, true) => "-I",
            (Some(_), false) => "-D",
            (Some(_), true) | (None, false) => return Ok(()),
        };
        let rule = format!("-t mangle {action} PREROUTING -s {from} -j DROP");
        network.iptables(host, rule.split_whitespace())?;
        match known {
            Some(place) => drop(self.cut.remove(place)),
            None => self.cut.push(from),
        }
        Ok(())
    }

    /// Bandwidth of what `host` sends to `to`, and what may wait for it. A token bucket of `tbf` would be one for
    /// all receivers; `htb` has one for each, and what goes to others passes it by.
    ///
    /// # Errors
    /// What tc says.
    pub fn limit(
        &mut self,
        network: &Network,
        host: HostIndex,
        to: Ipv4Addr,
        bits_per_sec: Option<u64>,
        queue_bytes: Option<u64>,
    ) -> Result<(), String> {
        let tc = |line: String| network.tc(host, line.split_whitespace());
        let known = self.limited.iter().position(|limit| limit.to == to);
        let place = known.unwrap_or(self.limited.len());
        let old = known.map_or((UNLIMITED_BITS_PER_SEC, LINE_QUEUE_BYTES), |place| {
            let Limit { bits_per_sec, queue_bytes, .. } = self.limited[place];
            (bits_per_sec, queue_bytes)
        });
        let limit = Limit {
            to,
            bits_per_sec: bits_per_sec.unwrap_or(old.0),
            queue_bytes: queue_bytes.unwrap_or(old.1),
        };
        let verb = if known.is_some() { "change" } else { "add" };
        if known.is_none() && place == 0 {
            tc("qdisc add dev eth0 root handle 1: htb".to_owned())?;
        }
        let class = format!("1:{:x}", place + 1);
        let Limit { bits_per_sec, queue_bytes, .. } = limit;
        tc(format!(
            "class {verb} dev eth0 parent 1: classid {class} htb rate {bits_per_sec}bit burst 2k \
             cburst 2k"
        ))?;
        tc(format!(
            "qdisc {verb} dev eth0 parent {class} handle {:x}: bfifo limit {queue_bytes}b",
            place + 2
        ))?;
        if known.is_none() {
            tc(format!(
                "filter add dev eth0 parent 1: protocol ip u32 match ip dst {to}/32 flowid {class}"
            ))?;
            self.limited.push(limit);
        } else {
            self.limited[place] = limit;
        }
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
