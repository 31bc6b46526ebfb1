//! Every bound in one place. `Limits::tiny` makes rollover and truncation happen within seconds of
//! simulated time.

use super::time::Span;

/// What a collection takes in memory, bytes, beyond which it does not grow: all of it has to fit into one frame for a
/// peer, together with what others have made of it meanwhile.
pub const COLLECTION_BYTES_MAX: usize = 256 << 20;

/// Bounds and periods of a node that no directive sets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest peer frame accepted, without its length prefix.
    pub frame_bytes_max: usize,
    /// The same before the other side has said who it is.
    pub hello_bytes_max: usize,
    /// Bytes handed to a link and not yet written out, beyond which nothing more is handed over.
    pub link_window_bytes: usize,
    /// Bytes of log entries kept beyond the backlog for replicas that follow it and have yet to get them.
    pub replica_bytes_max: usize,
    /// Cells of how many bytes go into one frame of a state transfer, about.
    pub state_chunk_bytes: usize,
    /// Bytes of units held for a resync or a paused origin, per link.
    pub held_bytes_max: usize,
    /// Longest inline command; Redis's PROTO_INLINE_MAX_SIZE.
    pub inline_bytes_max: usize,
    /// Most arguments of one command; Redis's limit of the multibulk length. What they take is bounded by
    /// `query_bytes_max`.
    pub arguments_max: usize,
    /// Most bytes of a client's commands that are not yet executed (client-query-buffer-limit).
    pub query_bytes_max: usize,
    /// How often a link says that it is alive.
    pub ping_period: Span,
    /// A link silent for this long is suspect.
    pub suspect_after: Span,
    /// Time for one attempt to connect.
    pub dial_timeout: Span,
    /// Time from the connection to the end of the handshake.
    pub handshake_timeout: Span,
    /// First and longest wait between attempts to connect.
    pub backoff_min: Span,
    pub backoff_max: Span,
    /// A log that has grown by so much since the latest snapshot, and at least by that one's size, gets another.
    pub snapshot_log_bytes_min: u64,
    /// Cells of how many bytes go into one chunk of a snapshot, about: it is made in one step.
    pub snapshot_chunk_bytes: usize,
    /// How often tombstones and expired keys are looked after.
    pub sweep_period: Span,
    /// Most keys looked at in one sweep.
    pub sweep_keys_max: usize,
}

impl Limits {
    /// The bounds of a production server.
    pub const fn production() -> Limits {
        Limits {
            frame_bytes_max: 1 << 30,
            hello_bytes_max: 4 << 20,
            link_window_bytes: 1 << 20,
            replica_bytes_max: 256 << 20,
            state_chunk_bytes: 64 << 10,
            held_bytes_max: 64 << 20,
            inline_bytes_max: 64 << 10,
            arguments_max: i32::MAX as usize,
            query_bytes_max: 1 << 30,
            ping_period: Span::from_secs(1),
            suspect_after: Span::from_secs(2),
            dial_timeout: Span::from_secs(1),
            handshake_timeout: Span::from_secs(2),
            backoff_min: Span::from_ms(100),
            backoff_max: Span::from_secs(2),
            snapshot_log_bytes_min: 64 << 20,
            snapshot_chunk_bytes: 32 << 10,
            sweep_period: Span::from_ms(100),
            sweep_keys_max: 400,
        }
    }

    /// Small bounds for simulation: transfers come in many chunks, windows fill, sweeps are partial.
    pub const fn tiny() -> Limits {
        Limits {
            frame_bytes_max: 1 << 20,
            hello_bytes_max: 64 << 10,
            link_window_bytes: 512,
            replica_bytes_max: 1 << 10,
            state_chunk_bytes: 96,
            held_bytes_max: 1 << 10,
            query_bytes_max: 1 << 20,
            snapshot_log_bytes_min: 2 << 10,
            snapshot_chunk_bytes: 100,
            sweep_keys_max: 2,
            ..Limits::production()
        }
    }
}

const _: () = {
    let sane = [Limits::production(), Limits::tiny()];
    let mut i = 0;
    while i < sane.len() {
        assert!(sane[i].suspect_after.0 >= 2 * sane[i].ping_period.0);
        assert!(sane[i].suspect_after.0 <= 3_000_000_000);
        assert!(sane[i].backoff_min.0 <= sane[i].backoff_max.0);
        assert!(sane[i].state_chunk_bytes < sane[i].frame_bytes_max);
        assert!(sane[i].hello_bytes_max <= sane[i].frame_bytes_max);
        i += 1;
    }
};
