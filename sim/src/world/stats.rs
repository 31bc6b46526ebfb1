//! What a world counts.

/// Counts since the world began.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    pub events: u64,
    /// Segments that reached a host and passed its INPUT.
    pub deliveries: u64,
    /// Inputs given to processes.
    pub inputs: u64,
    /// Segments a firewall dropped or rejected.
    pub segments_filtered: u64,
    /// Segments a link lost.
    pub segments_lost: u64,
    /// Payload between two server processes that did not arrive (each transmission counts).
    pub peer_bytes_lost: u64,
    /// Payload between two server processes that took a link's tail or waited for the line.
    pub peer_bytes_delayed: u64,
    /// Payload between two server processes that arrived.
    pub peer_bytes_delivered: u64,
    pub kills: u64,
    pub crashes: u64,
    pub pauses: u64,
}
