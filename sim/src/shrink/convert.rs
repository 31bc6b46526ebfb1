//! From a recorded run to the draft of a scenario file that does the same.

use std::collections::BTreeSet;

use super::draft::{Doing, Draft, End, Event, HostDraft, LinkDraft};
use crate::check::Property;
use crate::plan::{Heal, Plan, Rest};
use crate::runner::deeds::{Deed, Recorded};
use crate::runner::judge::collection_bound;
use crate::workload::command::Command;

/// How much longer a plan's clients take to reach their server than those of a file, which are on its host, µs.
const WAY_US: u64 = 65;

/// What a file has no words for, found in a run.
pub fn unsayable(plan: &Plan, recorded: &Recorded) -> BTreeSet<&'static str> {
    let what = |deed: &Deed| if let Deed::Unsayable(what) = deed { Some(*what) } else { None };
    let proxied = plan.nodes.iter().any(|node| node.proxied);
    let proxy = proxied.then_some("a plain replica behind a proxy");
    recorded.deeds.list.iter().filter_map(|(_, _, deed)| what(deed)).chain(proxy).collect()
}

/// The draft of a recorded run that broke `property`.
pub fn draft_of(plan: &Plan, recorded: &Recorded, property: Property, title: String) -> Draft {
    let mut events = commands_of(plan, recorded);
    events.extend(deeds_of(recorded, plan.nodes.len()));
    events.extend(left_out(plan, recorded));
    events.sort_by_key(|event| event.at_us);
    let hosts = plan.nodes.iter().zip(&recorded.following).enumerate();
    let hosts = hosts.map(|(number, (node, masters))| HostDraft {
        number: number as u16,
        offset_ms: node.offset_ms,
        masters: if node.proxied {
            masters.iter().take(1).copied().collect()
        } else {
            masters.clone()
        },
        replica: node.replica,
        log: node.log,
    });
    let collected_secs =
        (property == Property::BoundedMemory).then(|| collection_bound(plan).as_ms() / 1000 + 1);
    Draft {
        title,
        seed: None,
        limits: plan.limits,
        hosts: hosts.collect(),
        links: links_of(plan),
        password: plan.password.clone(),
        backlog_bytes: Some(plan.backlog_bytes),
        events,
        end: End { converged_secs: plan.bound_ms / 1000, collected_secs },
    }
}

/// Every sending of every command that was not for waiting only.
fn commands_of(plan: &Plan, recorded: &Recorded) -> Vec<Event> {
    let sent = recorded.history.attempts.iter().map(|attempt| {
        let client = &plan.clients[attempt.client];
        let command = client.steps[attempt.command].command.clone();
        let what = Doing::Ask { client: attempt.client, host: client.host, command };
        // Clocks of a file do not drift: the command comes when its server's clock showed what it shows here.
        let sent_us = (attempt.sent / 1000) as i64;
        let drift_us =
            sent_us * i64::from(plan.nodes[usize::from(client.host)].drift_ppm) / 1_000_000;
        let at_us = (sent_us + drift_us).max(0) as u64 + WAY_US;
        Event { at_us, fault: None, what }
    });
    let waits =
        |event: &Event| matches!(event.what, Doing::Ask { command: Command::Wait { .. }, .. });
    sent.filter(|event| !waits(event)).collect()
}

fn links_of(plan: &Plan) -> Vec<LinkDraft> {
    let hosts = plan.nodes.len() as u16;
    let pairs = (0..hosts).flat_map(|a| (a + 1..hosts).map(move |b| (a, b)));
    pairs
        .map(|(a, b)| LinkDraft {
            a,
            b,
            latency_us: plan.network.latency_us(a, b),
            loss_permille: plan.network.loss_permille,
        })
        .collect()
}

/// Hosts that stay cut off: for a file they stand still, because it waits for all that run.
fn left_out(plan: &Plan, recorded: &Recorded) -> Vec<Event> {
    let healed = recorded
        .deeds
        .list
        .iter()
        .any(|(at, fault, _)| fault.is_none() && *at >= plan.load_ms * 1_000_000);
    let core = plan.core();
    let out = (0..plan.nodes.len() as u16).filter(|host| !core.contains(host));
    let pause = |host| Event {
        at_us: plan.load_ms * 1000,
        fault: None,
        what: Doing::Deed(Deed::Pause { host }),
    };
    match plan.heal {
        Heal::Core { rest: Rest::Cut, .. } if healed => out.map(pause).collect(),
        Heal::Core { rest: Rest::Cut | Rest::Crashed | Rest::Paused, .. } | Heal::All => Vec::new(),
    }
}

/// How a host stands while its deeds are gone through.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    Down,
    Running,
    Paused,
}

/// The deeds that did something to the hosts of the plan, without those that the file would stumble over.
fn deeds_of(recorded: &Recorded, hosts: usize) -> Vec<Event> {
    let mut states = vec![State::Running; hosts];
    let mut rules = vec![0i64; hosts];
    let mut slow: BTreeSet<(u16, u16)> = BTreeSet::new();
    let mut events = Vec::new();
    for (at, fault, deed) in &recorded.deeds.list {
        let mut push = |deed: Deed| {
            events.push(Event { at_us: at / 1000, fault: *fault, what: Doing::Deed(deed) });
        };
        match deed {
            Deed::Iptables { host, rule } => {
                let rules = &mut rules[usize::from(*host)];
                let known = match rule.as_str() {
                    "-F" => std::mem::take(rules) > 0,
                    rule => {
                        *rules += if rule.starts_with("-A") { 1 } else { -1 };
                        true
                    }
                };
                if known {
                    push(deed.clone());
                }
            }
            Deed::Kill { host } => {
                states[usize::from(*host)] = State::Down;
                push(deed.clone());
            }
            Deed::Start { host, .. } => {
                states[usize::from(*host)] = State::Running;
                push(deed.clone());
            }
            Deed::Pause { host } => {
                let state = &mut states[usize::from(*host)];
                if *state == State::Running {
                    *state = State::Paused;
                    push(deed.clone());
                }
            }
            Deed::Resume { host } => {
                let state = &mut states[usize::from(*host)];
                if *state == State::Paused {
                    *state = State::Running;
                    push(deed.clone());
                }
            }
            Deed::Latency { a, b, ms } => {
                let pair = (*a.min(b), *a.max(b));
                let known = if ms.is_some() { slow.insert(pair) } else { slow.remove(&pair) };
                if known || ms.is_some() {
                    push(deed.clone());
                }
            }
            Deed::LinksHeal { host } => {
                for pair in slow.clone().into_iter().filter(|p| p.0 == *host || p.1 == *host) {
                    slow.remove(&pair);
                    push(Deed::Latency { a: pair.0, b: pair.1, ms: None });
                }
            }
            Deed::Step { .. } | Deed::Tell { .. } => push(deed.clone()),
            Deed::Unsayable(_) => {}
        }
    }
    events
}
