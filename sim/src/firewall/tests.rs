//! What each word does.

use std::net::Ipv4Addr;

use crate::decide::Decisions;

use super::{Chain, ConnState, Firewall, FirewallError, Packet, Protocol, RejectWith, Verdict};

fn addr(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

fn packet(src: &str, dport: u16) -> Packet {
    Packet {
        src: addr(src),
        dst: addr("172.18.0.2"),
        protocol: Protocol::Tcp,
        sport: 40_000,
        dport,
        loopback: false,
        state: ConnState::Established,
    }
}

fn no_names(name: &str) -> Option<Ipv4Addr> {
    (name == "node2").then(|| addr("172.18.0.3"))
}

fn wall(lines: &[&str]) -> Firewall {
    let mut firewall = Firewall::new();
    for line in lines {
        firewall.apply(line, &no_names).expect("known words");
    }
    firewall
}

fn judge(firewall: &Firewall, chain: Chain, packet: &Packet) -> Verdict {
    firewall.judge(chain, packet, &mut Decisions::from_seed(1))
}

fn error(line: &str) -> FirewallError {
    let mut firewall = Firewall::new();
    let error = firewall.apply(line, &no_names).expect_err(line);
    assert!(firewall.is_open(Chain::Input) && firewall.is_open(Chain::Output));
    error
}

#[test]
fn first_match_wins_and_policy_decides_the_rest() {
    let mut firewall =
        wall(&["iptables -A INPUT -s 172.18.0.3 -j ACCEPT", "-A INPUT -s 172.18.0.0/16 -j DROP"]);
    assert_eq!(judge(&firewall, Chain::Input, &packet("172.18.0.3", 1)), Verdict::Accept);
    assert_eq!(judge(&firewall, Chain::Input, &packet("172.18.0.4", 1)), Verdict::Drop);
    assert_eq!(judge(&firewall, Chain::Input, &packet("172.19.0.4", 1)), Verdict::Accept);
    firewall.apply("-P INPUT DROP", &no_names).expect("known");
    assert_eq!(judge(&firewall, Chain::Input, &packet("172.19.0.4", 1)), Verdict::Drop);
    assert_eq!(judge(&firewall, Chain::Output, &packet("172.19.0.4", 1)), Verdict::Accept);
    assert!(!firewall.is_open(Chain::Input) && firewall.is_open(Chain::Output));
}

#[test]
fn insert_delete_and_flush_change_the_order_as_iptables_does() {
    let mut firewall = wall(&[
        "-A INPUT -s 172.18.0.3 -j DROP",
        "-I INPUT -s 172.18.0.3 -j ACCEPT",
        "-I INPUT 2 -s 172.18.0.4 -j DROP",
    ]);
    let from_3 = packet("172.18.0.3", 1);
    assert_eq!(judge(&firewall, Chain::Input, &from_3), Verdict::Accept);
    firewall.apply("-D INPUT -s 172.18.0.3 -j ACCEPT", &no_names).expect("is there");
    assert_eq!(judge(&firewall, Chain::Input, &from_3), Verdict::Drop);
    firewall.apply("-D INPUT 2", &no_names).expect("is there");
    assert_eq!(judge(&firewall, Chain::Input, &from_3), Verdict::Accept);
    assert_eq!(judge(&firewall, Chain::Input, &packet("172.18.0.4", 1)), Verdict::Drop);
    firewall.apply("-F INPUT", &no_names).expect("known");
    assert!(firewall.is_open(Chain::Input));
    let gone = firewall.apply("-D INPUT -s 172.18.0.3 -j DROP", &no_names);
    assert_eq!(gone, Err(FirewallError::NoSuchRule));
    assert_eq!(firewall.apply("-D INPUT 1", &no_names), Err(FirewallError::BadIndex(1)));
    assert_eq!(firewall.apply("-I INPUT 3 -j DROP", &no_names), Err(FirewallError::BadIndex(3)));
}

#[test]
fn each_condition_matches_what_it_says_and_its_opposite_with_an_exclamation_mark() {
    let there = packet("172.18.0.3", 6379);
    let mut looped = there;
    looped.loopback = true;
    let mut fresh = there;
    fresh.state = ConnState::New;
    let mut icmp = there;
    icmp.protocol = Protocol::Icmp;
    let other_port = packet("172.18.0.3", 80);
    let other_host = packet("10.0.0.1", 6379);
    let mut other_sport = there;
    other_sport.sport = 5;
    let mut other_dst = there;
    other_dst.dst = addr("172.18.0.9");
    let cases = [
        ("-s 172.18.0.3", there, other_host),
        ("-s 172.18.0.0/255.255.0.0", there, other_host),
        ("-s node2", there, other_host),
        ("-d 172.18.0.2", there, other_dst),
        ("-p tcp", there, icmp),
        ("-p tcp --dport 6379", there, other_port),
        ("-p tcp -m tcp --dport 6000:7000", there, other_port),
        ("-p tcp --sport 32768:", there, other_sport),
        ("-i eth0", there, looped),
        ("-m state --state ESTABLISHED,RELATED", there, fresh),
    ];
    for (words, matching, other) in cases {
        let firewall = wall(&[&format!("-A INPUT {words} -j DROP")]);
        assert_eq!(judge(&firewall, Chain::Input, &matching), Verdict::Drop, "{words}");
        assert_eq!(judge(&firewall, Chain::Input, &other), Verdict::Accept, "{words}");
        // The last option of the condition is inverted.
        let at = words.rfind(" -").map_or(0, |at| at + 1);
        if words[at..].starts_with("-p") {
            continue;
        }
        let inverted = format!("-A INPUT {}! {} -j DROP", &words[..at], &words[at..]);
        let firewall = wall(&[&inverted]);
        assert_eq!(judge(&firewall, Chain::Input, &matching), Verdict::Accept, "{inverted}");
        assert_eq!(judge(&firewall, Chain::Input, &other), Verdict::Drop, "{inverted}");
    }
    let firewall = wall(&["-A INPUT ! -p tcp -j DROP"]);
    assert_eq!(judge(&firewall, Chain::Input, &icmp), Verdict::Drop);
    assert_eq!(judge(&firewall, Chain::Input, &there), Verdict::Accept);
    let firewall = wall(&["-A INPUT -i lo -j DROP"]);
    assert_eq!(judge(&firewall, Chain::Input, &looped), Verdict::Drop);
}

#[test]
fn statistic_matches_about_as_often_as_it_says() {
    let firewall = wall(&["-A INPUT -m statistic --mode random --probability 0.25 -j DROP"]);
    let mut decisions = Decisions::from_seed(9);
    let there = packet("172.18.0.3", 1);
    let judged = (0..10_000).map(|_| firewall.judge(Chain::Input, &there, &mut decisions));
    let dropped = judged.filter(|verdict| *verdict == Verdict::Drop).count();
    assert!((2300..2700).contains(&dropped), "{dropped}");
    let never = wall(&["-A INPUT -m statistic --mode random --probability 0 -j DROP"]);
    assert_eq!(judge(&never, Chain::Input, &there), Verdict::Accept);
    let always = wall(&["-A INPUT -m statistic --mode random --probability 1 -j DROP"]);
    assert_eq!(judge(&always, Chain::Input, &there), Verdict::Drop);
}

#[test]
fn reject_says_how_it_answers() {
    let there = packet("172.18.0.3", 1);
    let firewall = wall(&["-A OUTPUT -j REJECT"]);
    let plain = Verdict::Reject(RejectWith::IcmpPortUnreachable);
    assert_eq!(judge(&firewall, Chain::Output, &there), plain);
    let firewall = wall(&["-A INPUT -p tcp -j REJECT --reject-with tcp-reset"]);
    let reset = Verdict::Reject(RejectWith::TcpReset);
    assert_eq!(judge(&firewall, Chain::Input, &there), reset);
}

#[test]
fn rule_without_target_changes_nothing() {
    let firewall = wall(&["-A INPUT -s 172.18.0.3", "-A INPUT -j DROP"]);
    let there = packet("172.18.0.3", 1);
    assert_eq!(judge(&firewall, Chain::Input, &there), Verdict::Drop);
}

#[test]
fn unknown_words_are_named() {
    let unknown = |word: &str| FirewallError::UnknownWord(word.to_owned());
    assert_eq!(error("-A INPUT --tcp-flags SYN -j DROP"), unknown("--tcp-flags"));
    assert_eq!(error("-A INPUT stray -j DROP"), FirewallError::UnknownWord("stray".into()));
    assert_eq!(error("-X"), unknown("-X"));
    let named = |word: &str, value: &str| FirewallError::BadValue {
        word: word.to_owned(),
        value: value.to_owned(),
    };
    assert_eq!(error("-A INPUT -j LOG"), named("-j", "LOG"));
    assert_eq!(error("-A INPUT -m conntrack -j DROP"), named("-m", "conntrack"));
    assert_eq!(error("-A INPUT -s node9 -j DROP"), named("-s", "node9"));
    assert_eq!(error("-A INPUT -s 1.2.3.4/33 -j DROP"), named("-s", "1.2.3.4/33"));
    assert_eq!(error("-A INPUT -i wlan0 -j DROP"), named("-i", "wlan0"));
    assert_eq!(error("-A INPUT -m state --state FRESH -j DROP"), named("--state", "FRESH"));
    assert_eq!(error("-P INPUT REJECT"), named("-P", "REJECT"));
    assert_eq!(error("-t nat -F"), named("-t", "nat"));
    assert_eq!(error("-A FORWARD -j DROP"), FirewallError::NoSuchChain("FORWARD".into()));
    assert_eq!(error("iptables"), FirewallError::NoCommand);
    assert_eq!(error("-F -L"), FirewallError::SecondCommand("-L".into()));
    assert_eq!(error("-F -s 1.2.3.4"), FirewallError::SecondCommand("-s".into()));
    assert_eq!(error("-A INPUT ! -j DROP"), FirewallError::NotInvertible("-j".into()));
    let text = error("-A INPUT --tcp-flags SYN -j DROP").to_string();
    assert!(text.contains("--tcp-flags"), "{text}");
}

#[test]
fn words_that_need_others_say_so() {
    for line in [
        "-A INPUT --dport 6379 -j DROP",
        "-A INPUT -p udp --sport 6379 -j DROP",
        "-A INPUT -j REJECT --reject-with tcp-reset",
        "-A INPUT -p tcp -j DROP --reject-with tcp-reset",
        "-A INPUT --mode random --probability 0.5 -j DROP",
        "-A INPUT -m statistic --mode random -j DROP",
        "-A INPUT --state NEW -j DROP",
    ] {
        let error = error(line);
        assert!(matches!(error, FirewallError::Needs { .. }), "{line}: {error}");
    }
    assert!(matches!(error("-A INPUT -s"), FirewallError::Missing { .. }));
    assert!(matches!(error("-A"), FirewallError::Missing { .. }));
}

#[test]
fn list_shows_policies_and_rules_in_order() {
    let mut firewall = wall(&[
        "-P OUTPUT DROP",
        "-A INPUT -s 172.18.0.3 -j DROP",
        "-A INPUT -p tcp ! --dport 6379 -m state --state NEW -j REJECT --reject-with tcp-reset",
    ]);
    let listed = firewall.apply("iptables -L -n --line-numbers", &no_names).expect("known");
    let lines: Vec<&str> = listed.lines().map(str::trim_end).collect();
    assert_eq!(lines[0], "Chain INPUT (policy ACCEPT)");
    assert_eq!(lines[2], "1    DROP       all  --  172.18.0.3           anywhere");
    let third = "2    REJECT     tcp  --  anywhere             anywhere             \
                 tcp dpt:!6379 state NEW reject-with tcp-reset";
    assert_eq!(lines[3], third);
    assert_eq!(lines[5], "Chain OUTPUT (policy DROP)");
    let one = firewall.apply("-L OUTPUT", &no_names).expect("known");
    assert!(!one.contains("INPUT"));
}
