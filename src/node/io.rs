//! The boundary between a node and its driver. The types live on floor 0, because the modes use them too.

pub use crate::base::io::{
    CloseReason, ConnOrigin, DialError, Effect, Effects, HostPort, HostStats, Input, ShellSetting,
};
