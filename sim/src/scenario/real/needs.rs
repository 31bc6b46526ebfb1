//! What the lines of a file need of this machine before anything is started for them.

use std::collections::BTreeSet;
use std::fs::OpenOptions;

use super::super::ast::{Check, HostIndex, Step, What};
use super::{clocks, network};
use crate::clock::ClockChange;

/// What a file needs beyond namespaces and iptables.
#[derive(Default)]
pub struct Needs {
    /// Packets must be held back.
    pub router: bool,
    /// Hosts with a clock of their own.
    pub clocks: BTreeSet<HostIndex>,
    /// The library that shows processes another time, if any needs it.
    pub library: Option<String>,
}

impl Needs {
    /// What these lines need.
    ///
    /// # Errors
    /// The first line that cannot be played here, and why.
    pub fn of(steps: &[Step]) -> Result<Needs, (usize, String)> {
        let mut needs = Needs::default();
        needs.add(steps)?;
        Ok(needs)
    }

    fn add(&mut self, steps: &[Step]) -> Result<(), (usize, String)> {
        for step in steps {
            let what = if let What::At { what, .. } = &step.what { &**what } else { &step.what };
            if let What::Repeat { body, .. } = what {
                self.add(body)?;
                continue;
            }
            self.add_one(what)
                .map_err(|lack| (step.line, format!("`{}`: --real needs {lack}", step.text)))?;
        }
        Ok(())
    }

    /// The error says what is missing.
    fn add_one(&mut self, what: &What) -> Result<(), String> {
        match what {
            What::Check { check: Check::Collected, .. } => {
                return Err("a look into the servers, which only the simulator has".to_owned());
            }
            What::Clock { host, change } => {
                if is_monotonic(change) {
                    return Err("a monotonic clock that is not the machine's".to_owned());
                }
                if self.library.is_none() {
                    let library = clocks::library();
                    let lack = |why| format!("faketime for clocks that differ: {why}");
                    self.library = Some(library.map_err(lack)?);
                }
                self.clocks.insert(*host);
            }
            What::Link { quality, .. } => {
                if quality.delays() && !self.router {
                    let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
                    tun.map_err(|e| format!("/dev/net/tun for latency: {e}"))?;
                    self.router = true;
                }
                if quality.bits_per_sec.or(quality.queue_bytes).is_some() {
                    let tc = network::run("tc", &["-V"]);
                    tc.map_err(|why| format!("tc for bandwidth: {why}"))?;
                }
            }
            What::Proxy { .. } => {
                let haproxy = network::run("haproxy", &["-v"]);
                haproxy.map_err(|why| format!("haproxy for a proxy: {why}"))?;
            }
            What::Memory { .. } => {
                let prlimit = network::run("prlimit", &["--version"]);
                prlimit.map_err(|why| format!("prlimit for a limit of memory: {why}"))?;
            }
            What::At { .. }
            | What::Server { .. }
            | What::Iptables { .. }
            | What::Check { .. }
            | What::Async { .. }
            | What::Await
            | What::Sleep { .. }
            | What::Kill { .. }
            | What::Wipe { .. }
            | What::Restart { .. }
            | What::Pause { .. }
            | What::Resume { .. }
            | What::Client { .. }
            | What::Repeat { .. }
            | What::Load { .. }
            | What::StopLoad => {}
        }
        Ok(())
    }
}

fn is_monotonic(change: &ClockChange) -> bool {
    match change {
        ClockChange::StepWall(_)
        | ClockChange::SetWallOffset(_)
        | ClockChange::DriftWall(_)
        | ClockChange::FreezeWall(_) => false,
        ClockChange::JumpMono(_) | ClockChange::DriftMono(_) | ClockChange::FreezeMono(_) => true,
    }
}
