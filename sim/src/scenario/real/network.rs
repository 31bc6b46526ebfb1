//! Network namespaces: one for each host, and one for the switch between them. Names begin with the
//! process id of the run, so that what a killed run left behind can be told apart and removed.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

use super::super::ast::{HostIndex, HostLine};
use super::router::{self, Router};
use super::{clocks, quiet};

const NAMESPACES: &str = "/run/netns";
const HOSTS_FILES: &str = "/etc/netns";
const PREFIX: &str = "qs";

/// What waits for the router at most, if it does not come to reading.
const TUN_QUEUE_PACKETS: &str = "5000";

/// Runs of this process so far.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// The namespaces of one run. Dropping it removes them.
pub struct Network {
    /// First, so that its devices are gone before their namespaces.
    router: Option<Router>,
    prefix: String,
    /// Of hosts, as the file says them.
    names: Vec<String>,
    /// Namespaces and addresses of hosts.
    hosts: Vec<(String, Ipv4Addr)>,
    /// Namespaces made so far.
    made: Vec<String>,
}

/// Runs a program and returns what it printed.
pub fn run(program: &str, args: &[&str]) -> Result<String, String> {
    quiet(Command::new(program).args(args))
}

impl Network {
    /// Makes the namespaces and connects them: by the kernel's switch, or by a router that draws what it draws
    /// from this seed.
    ///
    /// # Errors
    /// The command that failed and what it said; what was made before is removed.
    pub fn build(hosts: &[HostLine], router: Option<u64>) -> Result<Network, String> {
        remove_leftovers();
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}", std::process::id());
        let namespace = |h: &HostLine| (format!("{prefix}-{}", h.name), h.ip);
        let mut network = Network {
            router: None,
            names: hosts.iter().map(|h| h.name.clone()).collect(),
            hosts: hosts.iter().map(namespace).collect(),
            prefix,
            made: Vec::new(),
        };
        network.make_hosts(hosts)?;
        for host in 0..hosts.len() {
            // A rule without a target: connections are tracked from the beginning, as on a machine whose rules
            // have always asked for their states, and not only from the first line that does.
            let rule = "-t mangle -A PREROUTING -m state --state INVALID";
            network.iptables(host, rule.split_whitespace())?;
        }
        match router {
            Some(seed) => network.router = Some(network.route(seed)?),
            None => network.switch(prefix_bits(hosts))?,
        }
        Ok(network)
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// If packets go through one.
    pub fn router(&self) -> Option<&Router> {
        self.router.as_ref()
    }

    pub fn ip(&self, host: HostIndex) -> Ipv4Addr {
        self.hosts[host].1
    }

    /// The address of the host of this name.
    pub fn ip_of(&self, name: &str) -> Option<Ipv4Addr> {
        let found = self.names.iter().position(|own| own == name)?;
        Some(self.hosts[found].1)
    }

    /// A command inside the host's namespace, which sees the host's own hosts file. The program is an
    /// argument still to be added.
    pub fn command(&self, host: HostIndex) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.hosts[host].0]);
        command
    }

    /// The real iptables inside the host's namespace.
    pub fn iptables<'a>(
        &self,
        host: HostIndex,
        words: impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        quiet(self.command(host).args(["iptables", "-w", "5"]).args(words)).map(drop)
    }

    /// The real tc inside the host's namespace.
    pub fn tc<'a>(
        &self,
        host: HostIndex,
        words: impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        quiet(self.command(host).arg("tc").args(words)).map(drop)
    }

    /// Calls `open` on a thread inside the host's namespace; sockets made there stay there.
    pub fn within<T: Send>(
        &self,
        host: HostIndex,
        open: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let path = Path::new(NAMESPACES).join(&self.hosts[host].0);
        let enter_and_open = || {
            setns(fs::File::open(path)?, CloneFlags::CLONE_NEWNET)?;
            open()
        };
        std::thread::scope(|scope| scope.spawn(enter_and_open).join())
            .unwrap_or_else(|_| Err(io::Error::other("the connecting thread panicked")))
    }

    fn make_hosts(&mut self, hosts: &[HostLine]) -> Result<(), String> {
        let names: String = hosts.iter().map(|h| format!("{} {}\n", h.ip, h.name)).collect();
        for (name, _) in self.hosts.clone() {
            self.make(&name)?;
            write_hosts_file(&name, &names)?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    fn switch(&mut self, bits: u32) -> Result<(), String> {
        let switch = format!("{}-switch-", self.prefix);
        self.make(&switch)?;
        ip(&["-n", &switch, "link", "add", "switch", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "switch", "up"])?;
        for (index, (name, address)) in self.hosts.iter().enumerate() {
            let port = format!("port{index}");
            let pair = ["name", "eth0", "netns", name, "type", "veth", "peer", "name", &port];
            ip(&[&["link", "add"], &pair[..], &["netns", &switch]].concat())?;
            ip(&["-n", &switch, "link", "set", &port, "master", "switch", "up"])?;
            ip(&["-n", name, "addr", "add", &format!("{address}/{bits}"), "dev", "eth0"])?;
            ip(&["-n", name, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    /// Nobody tells a host behind a router that an address is nobody's: its routes do.
    fn route(&self, seed: u64) -> Result<Router, String> {
        let mut devices = Vec::new();
        for (index, (name, address)) in self.hosts.iter().enumerate() {
            let device = self.within(index, router::device);
            devices.push((*address, device.map_err(|e| format!("a TUN device: {e}"))?));
            ip(&["-n", name, "addr", "add", &format!("{address}/32"), "dev", "eth0"])?;
            ip(&["-n", name, "link", "set", "eth0", "up", "txqueuelen", TUN_QUEUE_PACKETS])?;
            for (_, other) in self.hosts.iter().filter(|(_, other)| other != address) {
                let (to, own) = (format!("{other}/32"), address.to_string());
                ip(&["-n", name, "route", "add", &to, "dev", "eth0", "src", &own])?;
            }
            ip(&["-n", name, "route", "add", "unreachable", "default"])?;
        }
        Ok(Router::start(devices, seed))
    }

    fn make(&mut self, name: &str) -> Result<(), String> {
        ip(&["netns", "add", name])?;
        self.made.push(name.to_owned());
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.made {
            remove(name);
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    run("ip", args).map(drop).map_err(|said| format!("ip {}: {said}", args.join(" ")))
}

/// The hosts file that `ip netns exec` lays over the machine's.
fn write_hosts_file(namespace: &str, names: &str) -> Result<(), String> {
    let dir = Path::new(HOSTS_FILES).join(namespace);
    let write = || {
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("hosts"), format!("127.0.0.1 localhost\n{names}"))
    };
    // Another run that ends may remove the empty parent in between.
    write().or_else(|_| write()).map_err(|e| format!("{}: {e}", dir.display()))
}

/// Removes a namespace with its devices and its hosts file, and kills what still runs in it.
fn remove(name: &str) {
    for pid in run("ip", &["netns", "pids", name]).unwrap_or_default().split_whitespace() {
        let _already_gone = run("kill", &["-9", pid]);
        pid.parse().into_iter().for_each(clocks::forget);
    }
    let _already_gone = run("ip", &["netns", "del", name]);
    let _never_written = fs::remove_dir_all(Path::new(HOSTS_FILES).join(name));
    let _still_used = fs::remove_dir(HOSTS_FILES);
}

/// Removes the namespaces of runs whose process is gone.
fn remove_leftovers() {
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    for name in entries.filter_map(|e| e.file_name().into_string().ok()) {
        let pid =
            name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
        let pid = pid.filter(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()));
        if pid.is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) {
            remove(&name);
        }
    }
}

/// Length of the network's prefix: 16, or less if the hosts lie further apart.
fn prefix_bits(hosts: &[HostLine]) -> u32 {
    let first = hosts.first().map_or(0, |h| h.ip.to_bits());
    hosts.iter().map(|h| (h.ip.to_bits() ^ first).leading_zeros()).min().unwrap_or(16).min(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_wide_enough_for_all_hosts() {
        let hosts = |ips: &[&str]| -> Vec<HostLine> {
            let host = |ip: &&str| HostLine { name: String::new(), ip: ip.parse().unwrap() };
            ips.iter().map(host).collect()
        };
        assert_eq!(prefix_bits(&hosts(&["172.18.0.2", "172.18.0.3"])), 16);
        assert_eq!(prefix_bits(&hosts(&["10.1.0.1", "10.2.0.1"])), 14);
        assert_eq!(prefix_bits(&hosts(&["10.0.0.1"])), 16);
    }
}
