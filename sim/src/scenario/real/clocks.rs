//! Clocks of real processes: libfaketime, loaded before the C library, shows them the time that a file says.
//! Only the wall clock is shown differently; timers and timeouts keep to the machine's monotonic clock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::network;
use crate::clock::{Clock, ClockChange};
use crate::time::Time;

/// Where libfaketime leaves what a killed process shared with its children.
const SHARED_MEMORY: &str = "/dev/shm";

const NS_PER_SEC: u64 = 1_000_000_000;

/// What the processes of one host take for the time. The clock is a simulated host's own, with real time in place
/// of a world's: nanoseconds since 1970.
pub struct FakeClock {
    library: String,
    file: PathBuf,
    clock: Clock,
    /// When the present process started: libfaketime counts drift from there.
    started: Time,
}

/// The library to be loaded, as its own command line tool names it.
///
/// # Errors
/// Why there is none.
pub fn library() -> Result<String, String> {
    let said = network::run("faketime", &["-f", "+0s", "printenv", "LD_PRELOAD"])?;
    match said.trim() {
        "" => Err("it names no library".to_owned()),
        path => Ok(path.to_owned()),
    }
}

impl FakeClock {
    /// A clock that is right so far; it keeps its file in `dir`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(library: String, dir: &Path) -> io::Result<FakeClock> {
        // At 0 it shows 0, and so on.
        let (clock, started) = (Clock::new(0), now());
        let clock = FakeClock { library, file: dir.join("clock"), clock, started };
        clock.show()?;
        Ok(clock)
    }

    /// Changes the wall clock; processes that run notice at once.
    ///
    /// # Errors
    /// The file cannot be written, or the change is one of the monotonic clock.
    pub fn change(&mut self, change: ClockChange) -> io::Result<()> {
        let now = now();
        match change {
            ClockChange::StepWall(by) => self.clock.step(now, by),
            ClockChange::SetWallOffset(to) => {
                let off = i128::from(now.0) + i128::from(to) - i128::from(self.clock.read(now));
                self.clock.step(now, i64::try_from(off).unwrap_or(0));
            }
            ClockChange::DriftWall(ppm) => self.clock.set_drift(now, ppm),
            ClockChange::FreezeWall(frozen) => self.clock.freeze(now, frozen),
            ClockChange::JumpMono(_) | ClockChange::DriftMono(_) | ClockChange::FreezeMono(_) => {
                return Err(io::Error::other("the monotonic clock is the machine's"));
            }
        }
        self.show()
    }

    /// The program that is still to be added to this command, and started now, will see this clock.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn wear(&mut self, command: &mut Command) -> io::Result<()> {
        self.started = now();
        self.show()?;
        let file = self.file.display();
        command.arg("env").arg(format!("LD_PRELOAD={}", self.library)).args([
            format!("FAKETIME_TIMESTAMP_FILE={file}").as_str(),
            "FAKETIME_FMT=%s",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "NO_FAKE_STAT=1",
        ]);
        Ok(())
    }

    /// Readers never find half of it: it is written beside and then moved.
    fn show(&self) -> io::Result<()> {
        let beside = self.file.with_extension("new");
        fs::write(&beside, specification(&self.clock, self.started))?;
        fs::rename(&beside, &self.file)
    }
}

/// Removes what a process with such a clock has left behind.
pub fn forget(pid: u32) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        let _had_no_such_clock = fs::remove_file(Path::new(SHARED_MEMORY).join(name));
    }
}

/// The clock as libfaketime reads it: a time that stands still, or what is added to the true time and how fast the
/// clock has gone since the process started.
fn specification(clock: &Clock, started: Time) -> String {
    if clock.is_frozen() {
        let shows = clock.read(started);
        return format!("{}.{:09}\n", shows / NS_PER_SEC, shows % NS_PER_SEC);
    }
    let ahead = clock.line_at(started) - i128::from(started.0);
    let sign = if ahead < 0 { '-' } else { '+' };
    let (secs, ns) = (ahead.unsigned_abs() / u128::from(NS_PER_SEC), ahead.unsigned_abs());
    let ns = ns % u128::from(NS_PER_SEC);
    // Said also where it is 1: a rate that is not said stays as it was.
    let rate = 1_000_000 + i64::from(clock.drift_ppm());
    format!("{sign}{secs}.{ns:09} x{}.{:06}\n", rate / 1_000_000, rate % 1_000_000)
}

/// The true time.
fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600 * NS_PER_SEC;

    fn after(change: impl FnOnce(&mut Clock)) -> Clock {
        let mut clock = Clock::new(0);
        change(&mut clock);
        clock
    }

    #[test]
    fn a_clock_that_is_off_adds_to_the_true_time() {
        let shows = |by| specification(&after(|clock| clock.step(Time(HOUR), by)), Time(HOUR));
        assert_eq!(shows(0), "+0.000000000 x1.000000\n");
        assert_eq!(shows(2_050_000_000), "+2.050000000 x1.000000\n");
        assert_eq!(shows(-500_000_000), "-0.500000000 x1.000000\n");
        assert_eq!(shows(-61_000_000_000), "-61.000000000 x1.000000\n");
    }

    #[test]
    fn a_frozen_clock_is_the_time_it_shows() {
        let mut clock = after(|clock| clock.freeze(Time(HOUR + 7), true));
        assert_eq!(specification(&clock, Time(2 * HOUR)), "3600.000000007\n");
        clock.freeze(Time(2 * HOUR), false);
        assert_eq!(specification(&clock, Time(2 * HOUR)), "-3599.999999993 x1.000000\n");
    }

    #[test]
    fn drift_counts_from_the_start_of_the_process() {
        // Ten hours after the process has started the clock is right, and begins to go 1 % too fast: a clock that
        // had always gone like that would have been a tenth of an hour behind at the start.
        let clock = after(|clock| clock.set_drift(Time(10 * HOUR), 10_000));
        assert_eq!(specification(&clock, Time(0)), "-360.000000000 x1.010000\n");
        // A process that starts an hour later finds it a hundredth of an hour ahead.
        assert_eq!(specification(&clock, Time(11 * HOUR)), "+36.000000000 x1.010000\n");
        let slow = after(|clock| clock.set_drift(Time(10 * HOUR), -250));
        assert_eq!(specification(&slow, Time(10 * HOUR)), "+0.000000000 x0.999750\n");
    }

    #[test]
    fn a_clock_that_is_changed_says_so_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut clock = FakeClock::new("lib.so".to_owned(), dir.path()).unwrap();
        let shown = || fs::read_to_string(dir.path().join("clock")).unwrap();
        assert_eq!(shown(), "+0.000000000 x1.000000\n");
        clock.change(ClockChange::StepWall(2_000_000_000)).unwrap();
        clock.change(ClockChange::StepWall(-500_000_000)).unwrap();
        assert_eq!(shown(), "+1.500000000 x1.000000\n");
        clock.change(ClockChange::SetWallOffset(-250_000_000)).unwrap();
        assert_eq!(shown(), "-0.250000000 x1.000000\n");
        assert!(clock.change(ClockChange::JumpMono(1)).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
