//! Words that several commands end with.

use quorate::base::mutant::Mutant;

use super::{BAD_USAGE, HELD, UNDECIDED, VIOLATED};
use crate::check::Verdict;
use crate::plan::Profile;

/// The last lines about a seed that did not hold, and its exit code.
pub fn failing(
    profile: Profile,
    seed: u64,
    verdict: &Verdict,
    digest: &str,
    mutant: Option<Mutant>,
) -> u8 {
    let with = mutant.map_or(String::new(), |m| format!(" --mutant {}", m.name()));
    eprintln!("{}", reason(verdict));
    eprintln!("digest {digest}, commit {}", commit());
    eprintln!("cargo sim shrink {seed} --profile {}{with}", profile.name());
    eprintln!("cargo sim replay {seed} --profile {}{with}", profile.name());
    match verdict {
        Verdict::Violated(_) => VIOLATED,
        Verdict::Undecided { .. } => UNDECIDED,
        Verdict::Ok => HELD,
    }
}

pub fn reason(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Ok => "held".to_owned(),
        Verdict::Violated(v) => format!("violated: {}: {}", v.property.name(), v.evidence),
        Verdict::Undecided { budget } => format!("undecided: {budget}"),
    }
}

/// The exit code, if the page could be written.
pub fn written(page: Result<(), String>, code: u8) -> u8 {
    match page {
        Ok(()) => code,
        Err(error) => {
            eprintln!("{error}");
            BAD_USAGE
        }
    }
}

/// The commit of the sources, if git can tell.
fn commit() -> String {
    let asked = std::process::Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .stderr(std::process::Stdio::null())
        .output();
    match asked {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}
