//! Clocks of real processes: libfaketime, loaded before the C library, shows them the time that a file says.
//! Only the wall clock is shown differently; timers and timeouts keep to the machine's monotonic clock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::network;

/// Where libfaketime leaves what a killed process shared with its children.
const SHARED_MEMORY: &str = "/dev/shm";

/// What the processes of one host take for the time.
pub struct FakeClock {
    library: String,
    file: PathBuf,
    ahead_ms: i64,
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
        let clock = FakeClock { library, file: dir.join("clock"), ahead_ms: 0 };
        clock.show()?;
        Ok(clock)
    }

    /// Jumps; processes that run notice at once.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn step(&mut self, by_ms: i64) -> io::Result<()> {
        self.ahead_ms += by_ms;
        self.show()
    }

    /// The program that is still to be added to this command will see this clock.
    pub fn wear(&self, command: &mut Command) {
        let file = self.file.display();
        command.arg("env").arg(format!("LD_PRELOAD={}", self.library)).args([
            format!("FAKETIME_TIMESTAMP_FILE={file}").as_str(),
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "NO_FAKE_STAT=1",
        ]);
    }

    /// Readers never find half of it: it is written beside and then moved.
    fn show(&self) -> io::Result<()> {
        let beside = self.file.with_extension("new");
        fs::write(&beside, offset(self.ahead_ms))?;
        fs::rename(&beside, &self.file)
    }
}

/// Removes what a process with such a clock has left behind.
pub fn forget(pid: u32) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        let _had_no_such_clock = fs::remove_file(Path::new(SHARED_MEMORY).join(name));
    }
}

/// As libfaketime reads it: seconds, with a sign.
fn offset(ahead_ms: i64) -> String {
    let sign = if ahead_ms < 0 { '-' } else { '+' };
    let ms = ahead_ms.unsigned_abs();
    format!("{sign}{}.{:03}\n", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_signed_seconds() {
        assert_eq!(offset(0), "+0.000\n");
        assert_eq!(offset(2050), "+2.050\n");
        assert_eq!(offset(-500), "-0.500\n");
        assert_eq!(offset(-61_000), "-61.000\n");
    }

    #[test]
    fn a_stepped_clock_shows_where_it_stands_now() {
        let dir = tempfile::tempdir().unwrap();
        let mut clock = FakeClock::new("lib.so".to_owned(), dir.path()).unwrap();
        let file = dir.path().join("clock");
        assert_eq!(fs::read_to_string(&file).unwrap(), "+0.000\n");
        clock.step(2000).unwrap();
        clock.step(-500).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "+1.500\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
