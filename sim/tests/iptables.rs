//! The simulated packet filter and the machine's iptables take and refuse the same commands.
#![cfg(target_os = "linux")]
// A real tool is run.
#![allow(clippy::disallowed_methods)]

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;

use quorate_sim::firewall::Firewall;
use quorate_sim::scenario::real_runs_lack;

/// Commands, in this order, in one namespace.
const LINES: [&str; 122] = [
    "-A INPUT -s 10.0.0.2 -j DROP",
    "-A INPUT -s 10.0.0.0/8 -j DROP",
    "-A INPUT -s 10.0.0.0/255.255.0.0 -j DROP",
    "-A INPUT -s 10.0.0.300 -j DROP",
    "-A INPUT -s 10.0.0.2/33 -j DROP",
    "-A INPUT -s no.such.host.invalid -j DROP",
    "-A INPUT ! -s 10.0.0.2 -j DROP",
    "-A INPUT -s ! 10.0.0.2 -j DROP",
    "-A OUTPUT -d 10.0.0.2 -j DROP",
    "-A OUTPUT ! -d 10.0.0.2/16 -j REJECT",
    "-A INPUT -d 10.0.0.2 -s 10.0.0.3 -j ACCEPT",
    "-A INPUT -p tcp -j DROP",
    "-A INPUT -p udp -j DROP",
    "-A INPUT -p icmp -j DROP",
    "-A INPUT -p all -j DROP",
    "-A INPUT ! -p tcp -j DROP",
    "-A INPUT ! -p all -j DROP",
    "-A INPUT -p smoke -j DROP",
    "-A INPUT -p tcp --dport 6379 -j DROP",
    "-A INPUT -p tcp --sport 6379 -j DROP",
    "-A INPUT -p tcp ! --dport 6379 -j DROP",
    "-A INPUT -p tcp --dport 6379:6380 -j DROP",
    "-A INPUT -p tcp --dport :6380 -j DROP",
    "-A INPUT -p tcp --dport 6379: -j DROP",
    "-A INPUT -p tcp --dport 6380:6379 -j DROP",
    "-A INPUT -p tcp --dport 65536 -j DROP",
    "-A INPUT -p tcp --dport x -j DROP",
    "-A INPUT --dport 6379 -j DROP",
    "-A INPUT -p tcp -m tcp --dport 6379 -j DROP",
    "-A INPUT -m tcp --dport 6379 -j DROP",
    "-A INPUT -i lo -j ACCEPT",
    "-A INPUT ! -i lo -j DROP",
    "-A INPUT -i eth0 -j DROP",
    "-A INPUT -i eth+ -j DROP",
    "-A INPUT -i + -j DROP",
    "-A OUTPUT -i eth0 -j DROP",
    "-A OUTPUT -o eth0 -j DROP",
    "-A OUTPUT ! -o lo -j DROP",
    "-A INPUT -o eth0 -j DROP",
    "-A INPUT -m statistic --mode random --probability 0.5 -j DROP",
    "-A INPUT -m statistic --mode random ! --probability 0.5 -j DROP",
    "-A INPUT -m statistic --mode random --probability 1.5 -j DROP",
    "-A INPUT -m statistic --mode random --probability -0.5 -j DROP",
    "-A INPUT -m statistic --mode random --probability x -j DROP",
    "-A INPUT -m statistic --mode random -j DROP",
    "-A INPUT -m statistic --probability 0.5 -j DROP",
    "-A INPUT -m statistic --mode sometimes --probability 0.5 -j DROP",
    "-A INPUT -m statistic -j DROP",
    "-A INPUT --mode random --probability 0.5 -j DROP",
    "-A INPUT -m state --state NEW -j DROP",
    "-A INPUT -m state --state NEW,ESTABLISHED,RELATED,INVALID -j ACCEPT",
    "-A INPUT -m state ! --state ESTABLISHED -j DROP",
    "-A INPUT -m state --state OLD -j DROP",
    "-A INPUT -m state --state NEW, -j DROP",
    "-A INPUT -m state -j DROP",
    "-A INPUT --state NEW -j DROP",
    "-A INPUT -m wisdom -j DROP",
    "-A INPUT -p tcp -j REJECT",
    "-A INPUT -p tcp -j REJECT --reject-with tcp-reset",
    "-A INPUT -j REJECT --reject-with tcp-reset",
    "-A INPUT ! -p tcp -j REJECT --reject-with tcp-reset",
    "-A INPUT -j REJECT --reject-with icmp-port-unreachable",
    "-A INPUT -j REJECT --reject-with icmp-host-unreachable",
    "-A INPUT -j REJECT --reject-with icmp-net-unreachable",
    "-A INPUT -j REJECT --reject-with icmp-admin-prohibited",
    "-A INPUT -j REJECT --reject-with sorrow",
    "-A INPUT -j DROP --reject-with tcp-reset",
    "-A INPUT -j",
    "-A INPUT -j NOWHERE",
    "-A INPUT",
    "-A",
    "-A NOWHERE -j DROP",
    "-A INPUT -s",
    "-A INPUT --frob 1 -j DROP",
    "-A INPUT -j DROP extra",
    "-A INPUT -s 10.0.0.9 -s 10.0.0.8 -j DROP",
    "-A INPUT -j DROP -j ACCEPT",
    "-A INPUT -p tcp -p tcp -j DROP",
    "! -A INPUT -j DROP",
    "-A INPUT ! -j DROP",
    "-A INPUT -j DROP -D INPUT",
    "-I INPUT -s 10.0.0.4 -j DROP",
    "-I INPUT 2 -s 10.0.0.5 -j DROP",
    "-I INPUT 0 -s 10.0.0.5 -j DROP",
    "-I INPUT 999 -s 10.0.0.5 -j DROP",
    "-I OUTPUT -d 10.0.0.4 -j DROP",
    "-D INPUT -s 10.0.0.4 -j DROP",
    "-D INPUT -s 10.0.0.4 -j DROP",
    "-D INPUT -s 10.0.0.44 -j DROP",
    "-D INPUT 1",
    "-D INPUT 0",
    "-D INPUT 999",
    "-D INPUT",
    "-P INPUT DROP",
    "-P INPUT ACCEPT",
    "-P OUTPUT DROP",
    "-P OUTPUT ACCEPT",
    "-P INPUT REJECT",
    "-P INPUT",
    "-P NOWHERE DROP",
    "-L",
    "-L INPUT",
    "-L INPUT -n",
    "-L -n -v --line-numbers",
    "-L NOWHERE",
    "-L INPUT -s 10.0.0.2",
    "-F INPUT",
    "-F",
    "-F NOWHERE",
    "-F INPUT -s 10.0.0.2",
    "-w -A INPUT -s 10.0.0.2 -j DROP",
    "-w 5 -A INPUT -s 10.0.0.2 -j DROP",
    "-t filter -A INPUT -s 10.0.0.2 -j DROP",
    "-t filters -A INPUT -s 10.0.0.2 -j DROP",
    "--append INPUT --source 10.0.0.2 --jump DROP",
    "--delete INPUT --source 10.0.0.2 --jump DROP",
    "--insert INPUT --protocol tcp --destination-port 6379 --jump REJECT",
    "--append INPUT --in-interface lo --jump ACCEPT",
    "--flush INPUT",
    "--policy INPUT ACCEPT",
    "--list INPUT",
    "-j DROP",
];

/// What the simulated one refuses by name although the real one takes it: its worlds know no UDP.
const REFUSED: [&str; 2] =
    ["-A INPUT -p udp --dport 53 -j DROP", "-A INPUT ! -p tcp --dport 6379 -j DROP"];

/// A network namespace that goes away with its value.
struct Namespace(String);

impl Namespace {
    fn new() -> Namespace {
        let name = format!("qs{}-iptables", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).status().unwrap();
        assert!(made.success());
        Namespace(name)
    }

    /// Whether the machine's iptables carries the command out, and what it says.
    fn iptables(&self, words: &str) -> (bool, String) {
        let command = ["netns", "exec", &self.0, "iptables"];
        let output =
            Command::new("ip").args(command).args(words.split_whitespace()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _already_gone = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[test]
fn commands_are_taken_and_refused_as_the_real_iptables_does() {
    if let Some(lack) = real_runs_lack() {
        assert!(std::env::var_os("CI").is_none(), "no iptables to compare with: {lack}");
        let said = format!("\nSKIPPED: comparison with iptables: {lack}\n");
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    }
    let real = Namespace::new();
    let mut simulated = Firewall::new();
    let nobody = |_: &str| -> Option<Ipv4Addr> { None };
    let mut differ = Vec::new();
    for line in LINES {
        let (taken, said) = real.iptables(line);
        let applied = simulated.apply(line, &nobody);
        if taken != applied.is_ok() {
            differ.push(format!(
                "{line}\n  iptables: {taken} {}\n  simulated: {applied:?}",
                said.trim()
            ));
        }
    }
    for line in REFUSED {
        let (taken, said) = real.iptables(line);
        assert!(taken, "{line}: {said}");
        let refused = simulated.apply(line, &nobody).expect_err(line).to_string();
        assert!(refused.contains("--dport"), "{refused}");
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}
