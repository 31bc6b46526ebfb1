//! The workload of a plan: which clients, which commands.

use super::generate::Draw;
use super::hashes;
use super::{NodePlan, Profile};
use crate::workload::client::{ClientPlan, Library, Step};
use crate::workload::command::{Command, Family};

/// How many of 100 plans have clients that use WAIT.
const WAITS_PERCENT: u64 = 8;

/// How many of 100 plans have clients that use hashes.
const HASHES_PERCENT: u64 = 35;

/// What the commands of one plan have in common.
struct Mix {
    families: Vec<(Family, u64)>,
    keys: Vec<String>,
    /// Longest pause between two commands of one client.
    wait_max_ms: u64,
    value_bytes: u64,
    numbers: bool,
}

/// All clients of a plan, each drawn from a stream of its own.
pub(super) fn clients(
    profile: Profile,
    seed: u64,
    nodes: &[NodePlan],
    load_ms: u64,
) -> Vec<ClientPlan> {
    let mut draw = Draw::new(seed, "workload");
    let hosts = nodes.len() as u64;
    let count = hosts + draw.below(hosts + 1);
    let total = match profile {
        Profile::Smoke => 80,
        Profile::Active | Profile::Durability | Profile::Strong => draw.between(80, 400),
    };
    let each = total / count;
    let mix = mix(&mut draw, total, each, load_ms);
    let hashes = Draw::new(seed, "hashes").percent(HASHES_PERCENT);
    let waits = profile != Profile::Smoke && Draw::new(seed, "waits").percent(WAITS_PERCENT);
    (0..count)
        .map(|index| {
            let host = if index < hosts { index } else { draw.below(hosts) } as u16;
            let steps = if index < total % count { each + 1 } else { each };
            let mut client = client(seed, index, host, nodes[host as usize].replica, steps, &mix);
            if waits {
                with_waits(&mut client, seed, index, hosts);
            }
            if hashes && !nodes[host as usize].replica {
                let count = client.steps.len() as u64 / 2 + 1;
                // The smallest profile keeps its size.
                let replaces = profile == Profile::Smoke;
                hashes::mix_in(&mut client, seed, (index, count), &mix.keys, replaces);
            }
            client
        })
        .collect()
}

/// Puts a WAIT behind some of a client's commands.
fn with_waits(client: &mut ClientPlan, seed: u64, index: u64, hosts: u64) {
    let mut draw = Draw::new(seed, &format!("waits {index}"));
    let steps = std::mem::take(&mut client.steps);
    for step in steps {
        client.steps.push(step);
        if draw.percent(10) {
            let (replicas, timeout_ms) = (draw.between(1, hosts), draw.magnitude(1, 2000));
            let command = Command::Wait { replicas, timeout_ms };
            client.steps.push(Step { wait_ms: 0, command });
        }
    }
}

fn mix(draw: &mut Draw, total: u64, each: u64, load_ms: u64) -> Mix {
    let weight = |family: Family| match family {
        Family::Set => 10,
        Family::SetEx => 4,
        Family::Get => 10,
        Family::Del => 6,
        Family::Incr => 10,
        Family::Append => 4,
        Family::Expire => 4,
        Family::Persist => 2,
        Family::Multiple => 3,
        Family::Transaction => 4,
        Family::Flush => 1,
    };
    let mut families: Vec<(Family, u64)> = Vec::new();
    for family in Family::ALL {
        let on = draw.percent(if family == Family::Flush { 25 } else { 60 });
        if on {
            families.push((family, weight(family)));
        }
    }
    let certain = draw.pick(&[Family::Set, Family::Set, Family::Incr]);
    if !families.iter().any(|f| f.0 == certain) {
        families.push((certain, weight(certain)));
    }
    let steady = (2 * load_ms / each.max(1)).max(2);
    Mix {
        families,
        keys: (0..draw.between(1, (total / 25).clamp(1, 6))).map(|n| format!("key:{n}")).collect(),
        wait_max_ms: if draw.percent(25) { 3 } else { steady },
        value_bytes: if draw.percent(20) { 200 } else { 0 },
        numbers: draw.percent(40),
    }
}

fn client(seed: u64, index: u64, host: u16, replica: bool, steps: u64, mix: &Mix) -> ClientPlan {
    let mut draw = Draw::new(seed, &format!("client {index}"));
    let library = draw.pick(&Library::ALL);
    let pipeline = if draw.percent(75) { 1 } else { draw.between(2, 6) as usize };
    let steps = (0..steps)
        .map(|number| {
            let wait_ms = draw.below(mix.wait_max_ms + 1);
            let name = Name { client: index, number };
            let command = if replica && draw.percent(95) {
                Command::Get { key: key(&mut draw, mix) }
            } else {
                command(&mut draw, mix, name)
            };
            Step { wait_ms, command }
        })
        .collect();
    ClientPlan { host, library, pipeline, steps }
}

/// What makes the values of one command unique.
#[derive(Copy, Clone)]
struct Name {
    client: u64,
    number: u64,
}

fn key(draw: &mut Draw, mix: &Mix) -> String {
    mix.keys[draw.below(mix.keys.len() as u64) as usize].clone()
}

fn keys(draw: &mut Draw, mix: &Mix) -> Vec<String> {
    let mut keys: Vec<String> = (0..draw.between(1, 3)).map(|_| key(draw, mix)).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn value(draw: &mut Draw, mix: &Mix, name: Name, part: u64) -> String {
    if mix.numbers && draw.percent(70) {
        // Far apart, so that no sum of increments of one makes another.
        let unique = (name.client + 1) * 1_000_000 + name.number * 100 + part;
        return (unique * 1_000_000).to_string();
    }
    let mut value = format!("v{}-{}-{part}", name.client, name.number);
    if mix.value_bytes > 0 {
        let length = draw.below(mix.value_bytes) as usize;
        value.extend(std::iter::repeat_n('.', length));
    }
    value
}

fn command(draw: &mut Draw, mix: &Mix, name: Name) -> Command {
    let total = mix.families.iter().map(|f| f.1).sum();
    let mut at = draw.below(total);
    let mut family = mix.families[0].0;
    for &(candidate, weight) in &mix.families {
        if at < weight {
            family = candidate;
            break;
        }
        at -= weight;
    }
    if family == Family::Transaction {
        let count = draw.between(1, 4);
        let commands = (0..count)
            .map(|part| match draw.pick(&mix.families).0 {
                Family::Transaction | Family::Flush => single(draw, mix, Family::Get, name, part),
                family => single(draw, mix, family, name, part),
            })
            .collect();
        return Command::Multi { commands };
    }
    single(draw, mix, family, name, 0)
}

fn single(draw: &mut Draw, mix: &Mix, family: Family, name: Name, part: u64) -> Command {
    match family {
        Family::Get | Family::Transaction => Command::Get { key: key(draw, mix) },
        Family::Set => {
            let key = key(draw, mix);
            Command::Set { key, value: value(draw, mix, name, part), px: None }
        }
        Family::SetEx => {
            let key = key(draw, mix);
            let px = Some(lifetime(draw));
            Command::Set { key, value: value(draw, mix, name, part), px }
        }
        Family::Del => Command::Del { keys: keys(draw, mix) },
        Family::Incr => {
            let delta = draw.magnitude(1, 10_000) as i64;
            let delta = if draw.percent(25) { -delta } else { delta };
            Command::IncrBy { key: key(draw, mix), delta }
        }
        Family::Append => Command::Append {
            key: key(draw, mix),
            value: format!("+{}-{}-{part}", name.client, name.number),
        },
        Family::Expire => {
            let ms = if draw.percent(5) { -1 } else { lifetime(draw) as i64 };
            Command::PExpire { key: key(draw, mix), ms }
        }
        Family::Persist => Command::Persist { key: key(draw, mix) },
        Family::Multiple if draw.percent(50) => Command::MGet { keys: keys(draw, mix) },
        Family::Multiple => {
            let pairs = keys(draw, mix).into_iter().enumerate();
            let pairs =
                pairs.map(|(i, k)| (k, value(draw, mix, name, part * 10 + i as u64))).collect();
            Command::MSet { pairs }
        }
        Family::Flush => Command::FlushDb,
    }
}

/// How long a key may live: mostly so short that it ends within the run, sometimes longer than it.
fn lifetime(draw: &mut Draw) -> u64 {
    if draw.percent(15) { draw.between(600_000, 900_000) } else { draw.magnitude(5, 5000) }
}
