//! Ctrl-C, SIGTERM and SIGHUP: a campaign ends in order, with what it has found so far.

use std::process::exit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code of whoever does not wait for that.
const AT_ONCE: i32 = 130;

/// Set by the first signal; the second one ends the process at once.
///
/// # Errors
/// The system does not let signals be handled.
pub fn flag() -> Result<&'static AtomicBool, String> {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    static HANDLER: OnceLock<Result<(), String>> = OnceLock::new();
    let handler = || {
        ctrlc::set_handler(|| {
            if INTERRUPTED.swap(true, Ordering::Relaxed) {
                exit(AT_ONCE);
            }
        })
        .map_err(|error| format!("signals cannot be handled: {error}"))
    };
    HANDLER.get_or_init(handler).clone().map(|()| &INTERRUPTED)
}
