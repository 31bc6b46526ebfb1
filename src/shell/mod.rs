//! Floor 4: the tokio driver.
