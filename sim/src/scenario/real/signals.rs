//! Ctrl-C and SIGTERM during real runs: the runs stop and clean up, then the process ends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::super::outcome::INTERRUPTED_CODE;

/// How long the clean-up may take before the process ends all the same.
const CLEAN_UP_MAX: Duration = Duration::from_secs(20);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static RUNNING: AtomicUsize = AtomicUsize::new(0);
static HANDLER: OnceLock<Result<(), String>> = OnceLock::new();

/// A run that has something to clean up. Dropped when nothing of it is left.
pub struct Running(());

impl Running {
    pub fn begin() -> Result<Running, String> {
        HANDLER.get_or_init(|| ctrlc::set_handler(on_signal).map_err(|e| e.to_string())).clone()?;
        if interrupted() {
            return Err("interrupted".to_owned());
        }
        RUNNING.fetch_add(1, Ordering::SeqCst);
        Ok(Running(()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Runs on a thread of its own.
fn on_signal() {
    INTERRUPTED.store(true, Ordering::SeqCst);
    let began = Instant::now();
    while RUNNING.load(Ordering::SeqCst) > 0 && began.elapsed() < CLEAN_UP_MAX {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::process::exit(i32::from(INTERRUPTED_CODE));
}
