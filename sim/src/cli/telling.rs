//! Words that several commands end with.

use quorate::base::mutant::Mutant;

use super::BAD_USAGE;
use crate::check::Verdict;
use crate::plan::Profile;

/// The last lines about a seed that did not hold.
pub fn failing(
    profile: Profile,
    mutant: Option<Mutant>,
    commit: &str,
    seed: u64,
    verdict: &Verdict,
    digest: &str,
) {
    let with = mutant.map_or(String::new(), |m| format!(" --mutant {}", m.name()));
    eprintln!("{}", reason(verdict));
    eprintln!("digest {digest}, commit {commit}");
    eprintln!("cargo sim shrink {seed} --profile {}{with}", profile.name());
    eprintln!("cargo sim replay {seed} --profile {}{with}", profile.name());
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
