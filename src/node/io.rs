//! The boundary between a node and its driver. The types live on floor 0, because the modes use them too.

pub use crate::base::io::{
    CloseReason, ConnOrigin, DialError, DiskError, Effect, Effects, HostPort, HostStats, Input,
    Past, Recover, ShellSetting,
};
