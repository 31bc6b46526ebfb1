//! Runs in the formats of other tools.

pub mod edn;
pub mod shiviz;

use std::path::Path;

/// Writes a text to a file.
///
/// # Errors
/// The file cannot be written: why.
pub fn write_text(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
