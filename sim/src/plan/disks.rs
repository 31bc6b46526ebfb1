//! What goes wrong with disks: room, syncs, speed, damage, backups; and clocks that are set back while nothing runs.

use super::generate::Draw;
use super::{Fault, FaultClass, FaultKind, Remedy};

/// How many of 100 plans with logs have faults of disks at all, and of those how many have each class, or a clock that is
/// set back across a restart.
const ANY_PERCENT: u64 = 60;
const EACH_PERCENT: u64 = 35;

/// The faults of a plan's disks.
pub(super) fn faults(seed: u64, hosts: u16, load_ms: u64) -> Vec<Fault> {
    let mut swarm = Draw::new(seed, "disk fault classes");
    let mut faults = Vec::new();
    let any = swarm.percent(ANY_PERCENT);
    for &class in &FaultClass::ALL[FaultClass::WITHOUT_DISKS..] {
        let on = swarm.percent(EACH_PERCENT);
        let count = swarm.between(1, 2);
        for element in (0..count).filter(|_| any && on) {
            let mut draw = Draw::new(seed, &format!("disk fault {} {element}", class.name()));
            faults.extend(fault(class, &mut draw, hosts, load_ms));
        }
    }
    if any && swarm.percent(EACH_PERCENT) {
        let mut draw = Draw::new(seed, "clock set back");
        faults.extend(clock_set_back(&mut draw, hosts, load_ms));
    }
    faults
}

fn fault(class: FaultClass, draw: &mut Draw, hosts: u16, load_ms: u64) -> Option<Fault> {
    let at_ms = draw.below(load_ms);
    let until_ms = at_ms + draw.magnitude(20, load_ms);
    let host = draw.below(u64::from(hosts)) as u16;
    let kind = match class {
        FaultClass::Full => FaultKind::Full { host, room_bytes: draw.magnitude(1, 4000) },
        FaultClass::SyncFails => {
            FaultKind::SyncFails { host, ppm: draw.magnitude(1000, 1_000_000) as u32 }
        }
        FaultClass::SlowDisk => FaultKind::SlowDisk { host, times: draw.magnitude(2, 2000) as u32 },
        FaultClass::Rot => {
            let bits = draw.magnitude(1, 20) as u32;
            let remedy = draw.pick(&[Remedy::Fix, Remedy::Wipe]);
            let until_ms = at_ms + draw.magnitude(5, 4000);
            return Some(Fault { at_ms, until_ms, kind: FaultKind::Rot { host, bits, remedy } });
        }
        FaultClass::OlderImage => FaultKind::OlderImage { host },
        FaultClass::Drop
        | FaultClass::OneWay
        | FaultClass::Split
        | FaultClass::Reject
        | FaultClass::Loss
        | FaultClass::Crash
        | FaultClass::Pause
        | FaultClass::Step
        | FaultClass::Slow
        | FaultClass::Reset
        | FaultClass::Clients
        | FaultClass::Newcomer
        | FaultClass::Unfollow
        | FaultClass::Twin
        | FaultClass::Garbage
        | FaultClass::Memory => return None,
    };
    Some(Fault { at_ms, until_ms, kind })
}

/// A host's clock is set back while nothing runs on it.
fn clock_set_back(draw: &mut Draw, hosts: u16, load_ms: u64) -> [Fault; 2] {
    let host = draw.below(u64::from(hosts)) as u16;
    let at_ms = draw.below(load_ms);
    let until_ms = at_ms + draw.magnitude(5, 2000);
    let (power, by_ms) = (draw.percent(50), -(draw.magnitude(5, 20_000) as i64));
    let step = FaultKind::Step { host, by_ms };
    let crash = FaultKind::Crash { host, power };
    [Fault { at_ms, until_ms, kind: crash }, Fault { at_ms: at_ms + 2, until_ms, kind: step }]
}
