//! How fast the simulator is, in CPU time of this thread, beside madsim and turmoil:
//!
//!     cargo bench -p quorate-sim
//!     RUSTFLAGS="--cfg madsim" cargo bench -p quorate-sim --target-dir target/madsim
//!
//! Each figure is the median of five. The first three have targets, the others are to be compared.

mod engine;
#[cfg(madsim)]
mod madsim_world;
mod nodes;
mod seeds;
mod turmoil_world;

use nix::time::{ClockId, clock_gettime};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 5;
const NODES: usize = 3;
/// Messages under way at a time in long runs.
const TOKENS: usize = 48;
/// A tiny world: three messages that are passed on until there were so many deliveries.
const TINY: usize = 30;
const TINY_TOKENS: usize = 3;

/// Processor time of this thread so far, in seconds.
fn cpu_secs() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock every Unix has");
    time.tv_sec() as f64 + time.tv_nsec() as f64 * 1e-9
}

/// How much of it `work` does in a second; it says how much it did. The first time does not count.
fn per_second(mut work: impl FnMut() -> u64) -> f64 {
    work();
    let mut rates: Vec<f64> = (0..RUNS)
        .map(|_| {
            let before = cpu_secs();
            let done = work();
            done as f64 / (cpu_secs() - before)
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[RUNS / 2]
}

fn with_target(what: &str, target: f64, rate: f64) {
    let verdict = if rate >= target { "PASS" } else { "MISS" };
    println!("{what:<64} {rate:>12.0}  target {target:>10.0}  {verdict}");
}

fn told(what: &str, rate: f64) {
    println!("{what:<64} {rate:>12.0}");
}

fn main() {
    println!("per CPU-second, median of {RUNS}");
    let deliveries = 2_000_000;
    with_target(
        "engine alone, trivial nodes: deliveries",
        10e6,
        per_second(|| engine::play(1, NODES, TOKENS, deliveries)),
    );
    with_target(
        "full world, real nodes (TCP, firewall, RESP, frames): deliveries",
        1.5e6,
        per_second(|| nodes::play(1, 40_000)),
    );
    with_target("smoke seeds with all checkers", 1e3, per_second(|| seeds::play(0..400)));

    println!("\nworlds of {NODES} nodes that do nothing but pass on messages");
    let tiny = 20_000;
    told("this: deliveries", per_second(|| engine::play(1, NODES, TOKENS, deliveries)));
    told(
        "this: tiny worlds",
        per_second(|| (0..tiny).map(|s| engine::tiny(s, NODES, TINY_TOKENS, TINY)).sum()),
    );
    told("turmoil: deliveries", per_second(|| turmoil_world::play(1, TOKENS, 200_000)));
    told(
        "turmoil: tiny worlds",
        per_second(|| {
            (0..500).map(|s| u64::from(turmoil_world::play(s, TINY_TOKENS, TINY) > 0)).sum()
        }),
    );
    #[cfg(madsim)]
    {
        told("madsim: deliveries", per_second(|| madsim_world::play(1, TOKENS, 200_000)));
        told(
            "madsim: tiny worlds",
            per_second(|| {
                (0..500).map(|s| u64::from(madsim_world::play(s, TINY_TOKENS, TINY) > 0)).sum()
            }),
        );
    }
    #[cfg(not(madsim))]
    println!(
        "madsim: SKIPPED, it is there with\n    \
         RUSTFLAGS=\"--cfg madsim\" cargo bench -p quorate-sim --target-dir target/madsim"
    );
}
