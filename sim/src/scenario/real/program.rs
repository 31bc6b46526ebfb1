//! The server that real runs start: `QUORATE_BIN`, or the release binary of this source.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Built at most once by this process.
static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// The path of the binary; builds it if need be. The build has a target directory of its own, so that no
/// feature of another build leaks into it.
pub fn quorate() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("QUORATE_BIN") {
        let path = PathBuf::from(path);
        return path.canonicalize().map_err(|e| format!("QUORATE_BIN={}: {e}", path.display()));
    }
    BUILT.get_or_init(build).clone()
}

fn build() -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.parent().unwrap_or(here);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args =
        ["build", "--release", "-p", "quorate", "--bin", "quorate", "--target-dir", "target/real"];
    let status = Command::new(cargo).args(args).current_dir(root).status();
    match status {
        Ok(status) if status.success() => Ok(root.join("target/real/release/quorate")),
        Ok(status) => Err(format!("cargo {} failed ({status})", args.join(" "))),
        Err(e) => Err(format!("cargo: {e}; set QUORATE_BIN to a release binary")),
    }
}
