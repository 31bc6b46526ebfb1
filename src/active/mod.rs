//! Floor 2: active mode.
