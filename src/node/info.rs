//! INFO: the server in lines of `name:value`, Redis's names and sections.

use std::fmt::Write as _;

use crate::base::ids::DbIndex;
use crate::base::mutant::Mutants;
use crate::store::{Store, StoreStats};
use crate::wire::resp::Args;

use super::REDIS_VERSION;
use super::server::{Cx, Server};
use crate::base::time::{Now, Span};

/// One section of INFO.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Section {
    Server,
    Clients,
    Memory,
    Persistence,
    Stats,
    Replication,
    Cpu,
    Modules,
    Cluster,
    Keyspace,
}

impl Section {
    /// In the order in which they are printed.
    const ALL: [Section; 10] = [
        Section::Server,
        Section::Clients,
        Section::Memory,
        Section::Persistence,
        Section::Stats,
        Section::Replication,
        Section::Cpu,
        Section::Modules,
        Section::Cluster,
        Section::Keyspace,
    ];

    fn name(self) -> &'static str {
        match self {
            Section::Server => "Server",
            Section::Clients => "Clients",
            Section::Memory => "Memory",
            Section::Persistence => "Persistence",
            Section::Stats => "Stats",
            Section::Replication => "Replication",
            Section::Cpu => "CPU",
            Section::Modules => "Modules",
            Section::Cluster => "Cluster",
            Section::Keyspace => "Keyspace",
        }
    }
}

/// `INFO [section …]`; `default`, `all` and `everything` are all sections.
pub fn info(cx: &mut Cx<'_>, args: Args<'_>) {
    let names = args.from(1);
    let everything = names.is_empty()
        || names
            .iter()
            .any(|name| ["default", "all", "everything"].iter().any(|all| is(name, all)));
    let mut text = String::new();
    for section in Section::ALL {
        if everything || names.iter().any(|name| is(name, section.name())) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            write_section(cx.server, cx.store, cx.now, section, &mut text);
        }
    }
    cx.session.reply().verbatim(text.as_bytes());
}

fn is(name: &[u8], wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted.as_bytes())
}

fn write_section(server: &mut Server, store: &Store, now: Now, section: Section, out: &mut String) {
    let mut lines = Lines { out };
    lines.heading(section.name());
    match section {
        Section::Server => server_lines(server, now, &mut lines),
        Section::Clients => client_lines(server, &mut lines),
        Section::Memory => memory_lines(server, &store.stats(), &mut lines),
        Section::Persistence => persistence_lines(server, now, &mut lines),
        Section::Stats => stats_lines(server, &store.stats(), &mut lines),
        Section::Replication => server.active.info(now, store, lines.out),
        Section::Cpu => {
            lines.put("used_cpu_sys", seconds(server.host.cpu_sys_us));
            lines.put("used_cpu_user", seconds(server.host.cpu_user_us));
        }
        Section::Modules => {}
        Section::Cluster => {
            lines.put("cluster_enabled", u8::from(server.strong.is_some()));
            if let Some(strong) = &server.strong {
                let sent = strong.mesh.sent();
                lines.put("mesh_batches_sent", sent.batches);
                lines.put("mesh_items_sent", sent.items);
                lines.put("rounds_begun", strong.mesh.strong.rounds_begun());
            }
        }
        Section::Keyspace => {
            for db in (0..server.config.databases).map(DbIndex) {
                let keys = store.len(db);
                if keys > 0 {
                    let expires = store.expiring(db);
                    let text = format!("keys={keys},expires={expires},avg_ttl=0");
                    lines.put(&format!("db{}", db.0), text);
                }
            }
        }
    }
}

/// Appends `name:value` lines.
struct Lines<'a> {
    out: &'a mut String,
}

impl Lines<'_> {
    fn heading(&mut self, name: &str) {
        self.out.push_str("# ");
        self.out.push_str(name);
        self.out.push_str("\r\n");
    }

    fn put(&mut self, name: &str, value: impl std::fmt::Display) {
        // A String takes everything that is written to it.
        let _ = write!(self.out, "{name}:{value}\r\n");
    }
}

fn server_lines(server: &Server, now: Now, lines: &mut Lines<'_>) {
    let uptime_secs = now.mono.since(server.started).0 / 1_000_000_000;
    lines.put("redis_version", REDIS_VERSION);
    lines.put("quorate_version", env!("CARGO_PKG_VERSION"));
    if Mutants::compiled_in() {
        lines.put("mutants", "yes");
    }
    let mode = if server.strong.is_some() { "cluster" } else { "standalone" };
    lines.put("redis_mode", mode);
    lines.put("os", std::env::consts::OS);
    lines.put("arch_bits", usize::BITS);
    lines.put("run_id", server.run_id);
    lines.put("tcp_port", server.config.port);
    lines.put("server_time_usec", now.wall.0);
    lines.put("uptime_in_seconds", uptime_secs);
    lines.put("uptime_in_days", uptime_secs / 86_400);
    if let Some(stopping) = &server.stopping {
        lines.put("shutdown_in_milliseconds", stopping.until.since(now.mono).as_ms());
    }
}

fn client_lines(server: &Server, lines: &mut Lines<'_>) {
    lines.put("connected_clients", server.stats.clients);
    lines.put("cluster_connections", 0);
    lines.put("maxclients", server.config.maxclients);
    lines.put("blocked_clients", server.stats.clients_blocked);
    lines.put("tracking_clients", 0);
    lines.put("watching_clients", server.watch.clients());
}

fn memory_lines(server: &mut Server, store: &StoreStats, lines: &mut Lines<'_>) {
    let backlog = server.active.backlog_bytes();
    let used = store.used_bytes + backlog;
    let peak = server.stats.used_bytes_peak.max(used);
    server.stats.used_bytes_peak = peak;
    let (rss, total) = (server.host.rss_bytes, server.host.memory_total_bytes);
    lines.put("used_memory", used);
    lines.put("used_memory_human", human(used));
    lines.put("used_memory_rss", rss);
    lines.put("used_memory_rss_human", human(rss));
    lines.put("used_memory_peak", peak);
    lines.put("used_memory_peak_human", human(peak));
    lines.put("used_memory_dataset", store.used_bytes);
    lines.put("total_system_memory", total);
    lines.put("total_system_memory_human", human(total));
    lines.put("maxmemory", 0);
    lines.put("maxmemory_human", "0B");
    lines.put("maxmemory_policy", "noeviction");
    if used > 0 && rss > 0 {
        let hundredths = rss.saturating_mul(100) / used;
        let ratio = format!("{}.{:02}", hundredths / 100, hundredths % 100);
        lines.put("mem_fragmentation_ratio", ratio);
    }
    lines.put("mem_replication_backlog", backlog);
    lines.put("hidden_keys", store.hidden);
    lines.put("contributions", store.contributions);
}

fn persistence_lines(server: &Server, now: Now, lines: &mut Lines<'_>) {
    lines.put("loading", u8::from(server.loading.is_some()));
    lines.put("async_loading", 0);
    let snapshots = &server.snapshots;
    let dumps = &snapshots.dumps;
    let status = |failures: u32| if failures > 0 { "err" } else { "ok" };
    let secs = |span: Option<Span>| span.map_or(-1, |span| (span.as_ms() / 1000) as i64);
    let saved = dumps.saved.unwrap_or(server.started_wall);
    let takes = server.dump_takes(now.mono);
    lines.put("rdb_changes_since_last_save", server.changes_since_dump());
    lines.put("rdb_bgsave_in_progress", u8::from(takes.is_some()));
    lines.put("rdb_last_save_time", saved.0 / 1_000_000);
    lines.put("rdb_last_bgsave_status", status(dumps.failures));
    lines.put("rdb_last_bgsave_time_sec", secs(dumps.took));
    lines.put("rdb_current_bgsave_time_sec", secs(takes));
    lines.put("rdb_saves", dumps.written);
    lines.put("aof_enabled", u8::from(server.config.appendonly));
    lines.put("aof_rewrite_in_progress", u8::from(snapshots.is_under_way()));
    let is_scheduled = snapshots.wanted && snapshots.target().is_some();
    lines.put("aof_rewrite_scheduled", u8::from(is_scheduled));
    lines.put("aof_last_bgrewrite_status", status(snapshots.failures));
    if server.config.appendonly {
        lines.put("aof_current_size", snapshots.base_bytes + snapshots.log_bytes);
        lines.put("aof_base_size", snapshots.base_bytes);
    }
    if let Some(loading) = &server.loading {
        lines.put("loading_loaded_bytes", loading.bytes);
        lines.put("loading_loaded_records", loading.records);
    }
}

fn stats_lines(server: &Server, store: &StoreStats, lines: &mut Lines<'_>) {
    let stats = &server.stats;
    lines.put("total_connections_received", stats.connections_received);
    lines.put("total_commands_processed", stats.commands_processed);
    lines.put("total_net_input_bytes", stats.input_bytes);
    lines.put("total_net_output_bytes", stats.output_bytes);
    lines.put("rejected_connections", stats.connections_rejected);
    lines.put("expired_keys", store.expired);
    lines.put("evicted_keys", 0);
    lines.put("client_query_buffer_limit_disconnections", stats.query_limit_disconnections);
    lines.put("client_output_buffer_limit_disconnections", stats.output_limit_disconnections);
}

/// Microseconds as Redis prints seconds.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// Bytes as Redis abbreviates them.
fn human(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match UNITS.into_iter().find(|&(unit, _)| bytes >= unit) {
        Some((unit, letter)) => format!("{:.2}{letter}", bytes as f64 / unit as f64),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_in_redis() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1_572_864), "1.50M");
        assert_eq!(seconds(1_000_042), "1.000042");
    }
}
