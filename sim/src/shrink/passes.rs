//! Ways to make a draft shorter. Each keeps only what still fails as it is to.

use super::bench::Bench;
use super::ddmin::ddmin;
use super::draft::{Doing, Draft, Event};
use crate::check::Property;
use crate::plan::LimitsPlan;
use crate::runner::deeds::Deed;
use crate::workload::command::Command;

/// Shorter and shorter until nothing more can go or the time is over.
pub fn shrink(draft: &mut Draft, bench: &mut Bench) {
    loop {
        let before = draft.clone();
        hosts(draft, bench);
        whole_causes(draft, bench);
        begins_with_their_ends(draft, bench);
        single_events(draft, bench);
        transactions(draft, bench);
        surroundings(draft, bench);
        commands(draft, bench);
        times(draft, bench);
        if *draft == before || bench.is_over() {
            return;
        }
    }
}

/// Takes the candidate in the draft's place if it fails.
fn take(draft: &mut Draft, candidate: Draft, bench: &mut Bench) -> bool {
    let better = candidate != *draft && bench.fails(&candidate);
    if better {
        *draft = candidate;
    }
    better
}

/// The draft with a change; taken if it fails.
fn attempt(draft: &mut Draft, bench: &mut Bench, change: impl FnOnce(&mut Draft)) -> bool {
    let mut candidate = draft.clone();
    change(&mut candidate);
    take(draft, candidate, bench)
}

/// Whole hosts, with all that concerns them.
fn hosts(draft: &mut Draft, bench: &mut Bench) {
    let numbers: Vec<u16> = draft.hosts.iter().map(|host| host.number).collect();
    for number in numbers.into_iter().rev() {
        attempt(draft, bench, |candidate| {
            candidate.hosts.retain(|host| host.number != number);
            for host in &mut candidate.hosts {
                host.masters.retain(|&master| master != number);
            }
            candidate.links.retain(|link| link.a != number && link.b != number);
            candidate.events.retain(|event| !event.what.hosts().contains(&number));
            for event in &mut candidate.events {
                if let Doing::Deed(Deed::Start { masters, .. }) = &mut event.what {
                    masters.retain(|&master| master != number);
                }
            }
        });
    }
}

/// Events that share a key go or stay together.
fn groups<K: Ord>(draft: &mut Draft, bench: &mut Bench, key: impl Fn(usize, &Event) -> K) {
    let mut groups: std::collections::BTreeMap<K, Vec<usize>> = std::collections::BTreeMap::new();
    for (index, event) in draft.events.iter().enumerate() {
        groups.entry(key(index, event)).or_default().push(index);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.sort_by_key(|group| group[0]);
    let of = |kept: &[usize]| {
        let mut indexes: Vec<usize> = kept.iter().flat_map(|&k| groups[k].clone()).collect();
        indexes.sort_unstable();
        let events = indexes.into_iter().map(|index| draft.events[index].clone()).collect();
        Draft { events, ..draft.clone() }
    };
    let kept = ddmin(groups.len(), &mut |kept| bench.fails(&of(kept)));
    *draft = of(&kept);
}

/// Whole faults, whole clients, the healing as a whole.
fn whole_causes(draft: &mut Draft, bench: &mut Bench) {
    groups(draft, bench, |_, event| match (&event.what, event.fault) {
        (Doing::Ask { client, .. }, _) => (0, *client),
        (Doing::Deed(_), Some(fault)) => (1, fault),
        (Doing::Deed(_), None) => (2, 0),
    });
}

/// What begins goes with what ends it.
fn begins_with_their_ends(draft: &mut Draft, bench: &mut Bench) {
    groups(draft, bench, |index, event| {
        let of = |kind: u8, host: u16, rest: &str| (kind, host, rest.to_owned(), 0);
        match &event.what {
            Doing::Deed(deed) => match deed {
                Deed::Iptables { host, rule } if rule == "-F" => of(1, *host, ""),
                Deed::Iptables { host, rule } => of(2, *host, &rule[2..]),
                Deed::Kill { host } | Deed::Start { host, .. } => of(3, *host, ""),
                Deed::Pause { host } | Deed::Resume { host } => of(4, *host, ""),
                Deed::Latency { a, b, .. } => of(5, *a, &b.to_string()),
                Deed::Step { .. }
                | Deed::LinksHeal { .. }
                | Deed::Tell { .. }
                | Deed::Unsayable(_) => (6, 0, String::new(), index),
            },
            Doing::Ask { .. } => (7, 0, String::new(), index),
        }
    });
}

fn single_events(draft: &mut Draft, bench: &mut Bench) {
    groups(draft, bench, |index, _| index);
    one_rule_for_all(draft, bench);
}

/// Several rules deleted at one time: `-F` says it shorter.
fn one_rule_for_all(draft: &mut Draft, bench: &mut Bench) {
    let deleted = |event: &Event| match &event.what {
        Doing::Deed(Deed::Iptables { host, rule }) if rule.starts_with("-D") => {
            Some((event.at_us, *host))
        }
        Doing::Deed(_) | Doing::Ask { .. } => None,
    };
    let mut index = 0;
    while index < draft.events.len() {
        if let Some((at_us, host)) = deleted(&draft.events[index]) {
            attempt(draft, bench, |candidate| {
                let flush = Deed::Iptables { host, rule: "-F".to_owned() };
                candidate.events[index].what = Doing::Deed(flush);
                let mut at = 0;
                candidate.events.retain(|event| {
                    at += 1;
                    at - 1 <= index || deleted(event) != Some((at_us, host))
                });
            });
        }
        index += 1;
    }
}

/// Transactions lose commands, or become single commands.
fn transactions(draft: &mut Draft, bench: &mut Bench) {
    let mut index = 0;
    while index < draft.events.len() {
        let Doing::Ask { command: Command::Multi { commands }, .. } = &draft.events[index].what
        else {
            index += 1;
            continue;
        };
        let commands = commands.clone();
        let of = |draft: &Draft, kept: &[usize]| {
            let mut candidate = draft.clone();
            if let Doing::Ask { command: Command::Multi { commands: inner }, .. } =
                &mut candidate.events[index].what
            {
                *inner = kept.iter().map(|&k| commands[k].clone()).collect();
            }
            candidate
        };
        let kept = ddmin(commands.len(), &mut |kept| bench.fails(&of(draft, kept)));
        *draft = of(draft, &kept);
        attempt(draft, bench, |candidate| {
            let event = candidate.events.remove(index);
            if let Doing::Ask { client, host, command: Command::Multi { commands } } = event.what {
                for (at, command) in commands.into_iter().enumerate() {
                    let what = Doing::Ask { client, host, command };
                    candidate.events.insert(index + at, Event { what, ..event });
                }
            }
        });
        index += 1;
    }
}

/// All that is not an event: links, clocks, flags, limits, the seed.
fn surroundings(draft: &mut Draft, bench: &mut Bench) {
    attempt(draft, bench, |candidate| candidate.links.clear());
    attempt(draft, bench, |c| c.links.iter_mut().for_each(|link| link.loss_permille = 0));
    for index in (0..draft.links.len()).rev() {
        attempt(draft, bench, |candidate| {
            candidate.links.remove(index);
        });
    }
    attempt(draft, bench, |c| c.hosts.iter_mut().for_each(|host| host.offset_ms = 0));
    for index in 0..draft.hosts.len() {
        attempt(draft, bench, |candidate| candidate.hosts[index].offset_ms = 0);
    }
    attempt(draft, bench, |candidate| candidate.password = None);
    attempt(draft, bench, |candidate| candidate.backlog_bytes = None);
    attempt(draft, bench, |candidate| candidate.seed = None);
    for usual in [LimitsPlan::Production, LimitsPlan::Tiny] {
        if draft.limits == LimitsPlan::Production
            || attempt(draft, bench, |candidate| candidate.limits = usual)
        {
            break;
        }
    }
    for index in 0..draft.hosts.len() {
        for master in draft.hosts[index].masters.clone() {
            attempt(draft, bench, |c| c.hosts[index].masters.retain(|&other| other != master));
        }
    }
    // Never a shorter time for converging when that is what fails: it would fail for being short.
    if bench.property != Property::Convergence && draft.end.converged_secs > 10 {
        attempt(draft, bench, |candidate| candidate.end.converged_secs = 10);
    }
}

/// Simpler commands with the same effect.
fn commands(draft: &mut Draft, bench: &mut Bench) {
    for index in 0..draft.events.len() {
        let Doing::Ask { command, .. } = &draft.events[index].what else { continue };
        for simpler in simpler(command) {
            let taken = attempt(draft, bench, |candidate| {
                if let Doing::Ask { command, .. } = &mut candidate.events[index].what {
                    *command = simpler;
                }
            });
            if taken {
                break;
            }
        }
    }
}

fn simpler(command: &Command) -> Vec<Command> {
    match command {
        Command::Set { key, value, px } => {
            let set = |value: &str, px| Command::Set { key: key.clone(), value: value.into(), px };
            let short = value.trim_end_matches('.');
            vec![set(short, None), set(short, *px)]
        }
        Command::Append { key, .. } => {
            vec![Command::Set { key: key.clone(), value: "x".to_owned(), px: None }]
        }
        Command::Del { keys } if keys.len() > 1 => {
            keys.iter().map(|key| Command::Del { keys: vec![key.clone()] }).collect()
        }
        Command::MSet { pairs } => {
            let set = |(key, value): &(String, String)| Command::Set {
                key: key.clone(),
                value: value.trim_end_matches('.').to_owned(),
                px: None,
            };
            let single = pairs.iter().map(set);
            let all = |(key, value): &(String, String)| {
                (key.clone(), value.trim_end_matches('.').to_owned())
            };
            single.chain([Command::MSet { pairs: pairs.iter().map(all).collect() }]).collect()
        }
        Command::IncrBy { key, delta } if ![1, 10].contains(delta) => {
            [1, 10].map(|delta| Command::IncrBy { key: key.clone(), delta }).into()
        }
        Command::MGet { keys } => {
            keys.iter().map(|key| Command::Get { key: key.clone() }).collect()
        }
        Command::HSet { key, pairs } if pairs.len() > 1 => {
            let one = |pair: &(String, String)| Command::HSet {
                key: key.clone(),
                pairs: vec![pair.clone()],
            };
            pairs.iter().map(one).collect()
        }
        Command::HDel { key, fields } if fields.len() > 1 => {
            let one =
                |field: &String| Command::HDel { key: key.clone(), fields: vec![field.clone()] };
            fields.iter().map(one).collect()
        }
        Command::HIncrBy { key, field, delta } if ![1, 10].contains(delta) => {
            let by = |delta| Command::HIncrBy { key: key.clone(), field: field.clone(), delta };
            [1, 10].map(by).into()
        }
        Command::HSet { .. }
        | Command::HDel { .. }
        | Command::HIncrBy { .. }
        | Command::HGet { .. }
        | Command::HGetAll { .. }
        | Command::Del { .. }
        | Command::IncrBy { .. }
        | Command::Get { .. }
        | Command::PExpire { .. }
        | Command::Persist { .. }
        | Command::FlushDb
        | Command::Wait { .. }
        | Command::Multi { .. } => Vec::new(),
    }
}

/// Shorter pauses between events, at rounder times.
fn times(draft: &mut Draft, bench: &mut Bench) {
    for index in 0..draft.events.len() {
        let before = if index == 0 { 0 } else { draft.events[index - 1].at_us };
        let gap = draft.events[index].at_us - before;
        let candidates = [0, 1_000, 10_000, 100_000, 500_000, 1_000_000, gap / 2];
        for shorter in candidates.into_iter().filter(|&shorter| shorter < gap) {
            let taken = attempt(draft, bench, |candidate| {
                for event in &mut candidate.events[index..] {
                    event.at_us -= gap - shorter;
                }
            });
            if taken {
                break;
            }
        }
    }
    for unit in [1_000_000, 100_000, 10_000, 1_000, 100] {
        for index in 0..draft.events.len() {
            let at = draft.events[index].at_us;
            if at.is_multiple_of(unit) {
                continue;
            }
            for round in [at / unit * unit, at.next_multiple_of(unit)] {
                // Everything from here on moves along.
                let taken = attempt(draft, bench, |candidate| {
                    for event in &mut candidate.events[index..] {
                        event.at_us = (event.at_us + round).saturating_sub(at);
                    }
                    candidate.events.sort_by_key(|event| event.at_us);
                });
                if taken {
                    break;
                }
            }
        }
    }
}
