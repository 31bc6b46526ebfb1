//! Seeds kept of each deliberate fault: those that find it.

use quorate::base::mutant::Mutant;

use super::Found;
use crate::plan::Profile;

/// The list that the simulator was built with.
const BUILT_IN: &str = include_str!("../../mutants.seeds");
/// How the list begins.
const HEAD: &str = "\
# MUTANT PROFILE SEED PROPERTY: seeds that find a deliberate fault, and hold without it.
# Written by `cargo sim mutants --write-seeds sim/mutants.seeds`, and to be written again \
when a change of the
# protocol or of plans has made them others; `cargo sim mutants --quick` and the tests look \
through it.
";

/// A line of the list; what follows the seed is for people.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    pub mutant: Mutant,
    pub profile: Profile,
    pub seed: u64,
}

/// The seeds that the simulator was built with.
///
/// # Errors
/// A line is not as it should be: which one.
pub fn built_in() -> Result<Vec<Kept>, String> {
    read(BUILT_IN)
}

/// # Errors
/// A line is not as it should be: which one, and what was expected.
pub fn read(text: &str) -> Result<Vec<Kept>, String> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let kept = |(number, line): (usize, &str)| {
        let mut words = line.split_whitespace();
        let mutant = words.next().and_then(Mutant::from_name);
        let profile = words.next().and_then(Profile::from_name);
        let seed = words.next().and_then(|word| word.parse().ok());
        match (mutant, profile, seed) {
            (Some(mutant), Some(profile), Some(seed)) => Ok(Kept { mutant, profile, seed }),
            _ => Err(format!(
                "line {} of the kept seeds: expected MUTANT PROFILE SEED, found {line:?}",
                number + 1
            )),
        }
    };
    lines.map(kept).collect()
}

/// The list of these: those of each fault that was looked for, and what `before` has of all others.
pub fn text(before: &str, looked_for: &[(Mutant, Vec<Found>)]) -> String {
    let mut text = HEAD.to_owned();
    for mutant in Mutant::ALL {
        let name = mutant.name();
        let Some((_, found)) = looked_for.iter().find(|(of, _)| *of == mutant) else {
            let is_its = |line: &&str| line.split(' ').next() == Some(name);
            for line in before.lines().filter(is_its) {
                text += line;
                text += "\n";
            }
            continue;
        };
        for Found { profile, seed, violation } in found {
            let (profile, property) = (profile.name(), violation.property.name());
            text += &format!("{name} {profile} {seed} {property}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Property, Violation};

    #[test]
    fn the_list_is_read_as_it_is_written() {
        let violation = Violation { property: Property::Counters, evidence: "n".to_owned() };
        let found = Found { profile: Profile::Active, seed: 7, violation };
        let (one, other) = (Mutant::TieKeepsHeld, Mutant::FloorIgnored);
        let list = text("", &[(one, vec![found.clone()]), (other, vec![found])]);
        let kept = read(&list).expect("a list");
        let as_kept = |mutant| Kept { mutant, profile: Profile::Active, seed: 7 };
        assert_eq!(kept, [as_kept(one), as_kept(other)]);
        let fewer = text(&list, &[(one, Vec::new())]);
        assert_eq!(read(&fewer).expect("a list"), [as_kept(other)], "the other's are as before");
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = read("# x\n\ntie-keeps-held smoke many").expect_err("no number");
        assert!(error.contains("line 3") && error.contains("MUTANT PROFILE SEED"), "{error}");
        assert!(read("no-such-mutant smoke 1").is_err());
    }
}
