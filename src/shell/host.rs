//! Figures of the process and its host for INFO, read from /proc.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::hub::Shared;
use crate::base::io::HostStats;

const PERIOD: Duration = Duration::from_secs(1);
/// Linux reports processor time in hundredths of a second and memory in these pages.
const TICK_US: u64 = 10_000;
const PAGE_BYTES: u64 = 4096;

/// Hands the node fresh figures every second.
pub async fn report_loop(shared: Arc<Shared>) {
    loop {
        shared.host_stats(read());
        tokio::time::sleep(PERIOD).await;
    }
}

fn read() -> HostStats {
    let mut stats = HostStats::default();
    if let Ok(text) = fs::read_to_string("/proc/self/stat") {
        // The process's name, in parentheses, may contain anything.
        let fields: Vec<&str> =
            text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
        stats.cpu_user_us = field(11) * TICK_US;
        stats.cpu_sys_us = field(12) * TICK_US;
        stats.rss_bytes = field(21) * PAGE_BYTES;
    }
    if let Ok(text) = fs::read_to_string("/proc/meminfo") {
        let kib = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
        let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        stats.memory_total_bytes = kib.unwrap_or(0) * 1024;
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_memory_and_a_host() {
        let stats = read();
        assert!(stats.rss_bytes > 100_000, "{stats:?}");
        assert!(stats.memory_total_bytes > stats.rss_bytes, "{stats:?}");
    }
}
