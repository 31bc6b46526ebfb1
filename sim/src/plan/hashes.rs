//! Hash commands of a plan: put between the others, all drawn from streams of their own, so that the rest stays as it was.

use super::generate::Draw;
use crate::workload::client::{ClientPlan, Step};
use crate::workload::command::Command;

/// What the hash commands of one plan have in common.
struct Mix {
    keys: Vec<String>,
    fields: u64,
    /// Of 100.
    counts: u64,
    deletes: u64,
    expires: u64,
    clashes: u64,
    transactions: u64,
}

/// Puts so many hash commands among the commands of the client with this index, or in the place of as many. `strings` are
/// the keys that others use for strings.
pub(super) fn mix_in(
    client: &mut ClientPlan,
    seed: u64,
    (index, count): (u64, u64),
    strings: &[String],
    replaces: bool,
) {
    let mix = mix(seed, strings);
    let mut draw = Draw::new(seed, &format!("hashes {index}"));
    let others = std::mem::take(&mut client.steps);
    let mut left = count;
    let behind = others.len() as u64;
    for (at, step) in others.into_iter().enumerate() {
        if replaces {
            let mixed = draw.below(behind - at as u64) < left;
            let number = count - left;
            left -= u64::from(mixed);
            let Step { wait_ms, command: other } = step;
            let command = if mixed { command(&mut draw, &mix, index, number) } else { other };
            client.steps.push(Step { wait_ms, command });
            continue;
        }
        client.steps.push(step);
        // So that they come evenly, and all.
        while left > 0 && draw.below(behind - at as u64) < left {
            let number = count - left;
            let wait_ms = if draw.percent(50) { 0 } else { draw.below(20) };
            let command = command(&mut draw, &mix, index, number);
            client.steps.push(Step { wait_ms, command });
            left -= 1;
        }
    }
}

fn mix(seed: u64, strings: &[String]) -> Mix {
    let mut draw = Draw::new(seed, "hash mix");
    let share = |draw: &mut Draw, percent| if draw.percent(60) { percent } else { 0 };
    let clashes = share(&mut draw, 15);
    let mut keys: Vec<String> = (0..draw.between(1, 3)).map(|n| format!("hash:{n}")).collect();
    if clashes > 0 {
        // A key that is a string to others.
        keys.extend(strings.first().cloned());
    }
    Mix {
        keys,
        fields: draw.between(1, 4),
        counts: share(&mut draw, 30),
        deletes: share(&mut draw, 20),
        expires: share(&mut draw, 8),
        clashes,
        transactions: share(&mut draw, 15),
    }
}

fn command(draw: &mut Draw, mix: &Mix, client: u64, number: u64) -> Command {
    if draw.percent(mix.transactions) {
        let count = draw.between(1, 4);
        let commands = (0..count).map(|part| single(draw, mix, client, number, part)).collect();
        return Command::Multi { commands };
    }
    single(draw, mix, client, number, 9)
}

fn single(draw: &mut Draw, mix: &Mix, client: u64, number: u64, part: u64) -> Command {
    let key = mix.keys[draw.below(mix.keys.len() as u64) as usize].clone();
    let field = |draw: &mut Draw| format!("f{}", draw.below(mix.fields));
    if draw.percent(mix.clashes) {
        return match draw.below(3) {
            0 => Command::Set { key, value: format!("s{client}-{number}-{part}"), px: None },
            1 => Command::IncrBy { key, delta: draw.between(1, 100) as i64 },
            _ => Command::Del { keys: vec![key] },
        };
    }
    if draw.percent(mix.expires) {
        return match draw.below(3) {
            0 => Command::Persist { key },
            _ => Command::PExpire { key, ms: draw.magnitude(5, 5000) as i64 },
        };
    }
    if draw.percent(mix.counts) {
        let delta = draw.magnitude(1, 1000) as i64;
        let delta = if draw.percent(25) { -delta } else { delta };
        // On fields of their own more often than on those that hold text.
        let field = if draw.percent(80) { format!("n{}", draw.below(2)) } else { field(draw) };
        return Command::HIncrBy { key, field, delta };
    }
    if draw.percent(mix.deletes) {
        if draw.percent(30) {
            return Command::Del { keys: vec![key] };
        }
        let mut fields: Vec<String> = (0..draw.between(1, 3)).map(|_| field(draw)).collect();
        if draw.percent(30) {
            fields.push(format!("n{}", draw.below(2)));
        }
        fields.sort();
        fields.dedup();
        return Command::HDel { key, fields };
    }
    if draw.percent(25) {
        return match draw.below(3) {
            0 => Command::HGetAll { key },
            _ => Command::HGet { key, field: field(draw) },
        };
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    for nth in 0..draw.between(1, 3) {
        let field = field(draw);
        if !pairs.iter().any(|(held, _)| *held == field) {
            pairs.push((field, format!("h{client}-{number}-{part}{nth}")));
        }
    }
    Command::HSet { key, pairs }
}
