//! The commit that the simulator was built from, and the seeds that follow from it.

use std::num::NonZeroU64;
use std::ops::Range;
use std::process::{Command, Stdio};

/// Tells the commit where there is no repository, such as in a container.
pub const VARIABLE: &str = "QUORATE_COMMIT";
/// Hexadecimal digits that are shown.
const DIGITS: usize = 12;
/// Hexadecimal digits that the first seed is made of: a number one can still type.
const SEED_DIGITS: usize = 10;
/// The commit that nobody knows.
const UNKNOWN: &str = "unknown";

/// The commit of the sources; with `-dirty` behind it if files that belong to it have changed since.
pub fn commit() -> String {
    let told = std::env::var(VARIABLE).ok();
    told.as_deref().map(str::trim).filter(|t| !t.is_empty()).map_or_else(asked, shortened)
}

/// What git says of the sources.
fn asked() -> String {
    let args = ["describe", "--always", "--exclude=*", "--dirty", "--abbrev=12"];
    let output = Command::new("git")
        .arg("-C")
        .arg(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            shortened(String::from_utf8_lossy(&output.stdout).trim())
        }
        Ok(_) | Err(_) => UNKNOWN.to_owned(),
    }
}

fn shortened(commit: &str) -> String {
    let digits = commit.bytes().take_while(u8::is_ascii_hexdigit).count();
    let (hash, rest) = commit.split_at(digits);
    format!("{}{rest}", &hash[..digits.min(DIGITS)])
}

/// So many seeds, others for each commit: the first ten digits of its hash are the number of the first.
pub fn seeds_of(commit: &str, count: NonZeroU64) -> Result<Range<u64>, String> {
    let digits = commit.get(..SEED_DIGITS).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
    let first = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match first {
        Some(first) => Ok(first..first.saturating_add(count.get())),
        None => Err(format!(
            "--seeds commit:{count}: the commit is {commit}: expected its hash, from git in {} or \
             in {VARIABLE}",
            env!("CARGO_MANIFEST_DIR")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_follow_from_the_commit() {
        let count = NonZeroU64::new(2000).expect("not zero");
        let range = seeds_of("00000000ff01-dirty", count);
        assert_eq!(range, Ok(255..2255));
        assert_ne!(seeds_of("a151e1b94d3c", count), seeds_of("cd24f6b02b7e", count));
        for none in ["unknown", "a151", "", "a151e1b94_x"] {
            let error = seeds_of(none, count).expect_err("no hash");
            assert!(error.contains(VARIABLE), "{error}");
        }
    }

    #[test]
    fn hash_is_shortened_whoever_tells_it() {
        assert_eq!(shortened("a151e1b94d3cffffffff"), "a151e1b94d3c");
        assert_eq!(shortened("a151e1b94d3cfff-dirty"), "a151e1b94d3c-dirty");
        assert_eq!(shortened("release-7"), "release-7");
    }
}
