//! Save points: after how many writes, and how long after the latest dump, another is written.

use std::fmt::Write as _;

use crate::base::time::{Mono, Span};

use super::config::Config;
use super::directive::Refusal;

/// `save SECONDS CHANGES`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SavePoint {
    pub secs: u64,
    pub changes: u64,
}

impl SavePoint {
    /// When a dump is due after `changes` writes, if it is: the latest was written at `saved`.
    pub fn due(self, saved: Mono, changes: u64) -> Option<Mono> {
        (changes >= self.changes).then(|| saved + Span::from_secs(self.secs))
    }
}

/// `900 1 300 10` in several words is added to what is there: lines of a file and flags are given so, quoted or not. In one
/// word (as CONFIG SET has it) it takes the place of what is there; the empty word takes all away.
pub fn set(config: &mut Config, values: &[&str]) -> Result<(), Refusal> {
    let words: Vec<&str> = values.iter().flat_map(|value| value.split_whitespace()).collect();
    if words.len() % 2 == 1 || values.is_empty() {
        return Err(Refusal::SavePoints);
    }
    let mut points = if values.len() == 1 { Vec::new() } else { config.save.clone() };
    for pair in words.chunks_exact(2) {
        let number = |word: &str| word.parse::<u64>().ok().filter(|n| *n <= u64::from(u32::MAX));
        let point = number(pair[0]).zip(number(pair[1])).filter(|(secs, _)| *secs > 0);
        let (secs, changes) = point.ok_or(Refusal::SavePoints)?;
        points.push(SavePoint { secs, changes });
    }
    config.save = points;
    Ok(())
}

pub fn show(config: &Config) -> String {
    let mut text = String::new();
    for SavePoint { secs, changes } in &config.save {
        let blank = if text.is_empty() { "" } else { " " };
        // A String takes everything that is written to it.
        let _ = write!(text, "{blank}{secs} {changes}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_add_up_and_one_word_takes_their_place() {
        let mut config = Config::default();
        assert_eq!(show(&config), "");
        assert_eq!(set(&mut config, &["900", "1"]), Ok(()));
        assert_eq!(set(&mut config, &["300", "10", "60", "10000"]), Ok(()));
        assert_eq!(show(&config), "900 1 300 10 60 10000");
        assert_eq!(set(&mut config, &["5 6"]), Ok(()));
        assert_eq!(show(&config), "5 6");
        for wrong in [&["5"][..], &["5", "6", "7"], &["0 1"], &["-1 1"], &["a b"], &[]] {
            assert_eq!(set(&mut config, wrong), Err(Refusal::SavePoints), "{wrong:?}");
            assert_eq!(show(&config), "5 6");
        }
        assert_eq!(set(&mut config, &[""]), Ok(()));
        assert_eq!(show(&config), "");
    }

    #[test]
    fn a_point_is_due_once_enough_was_written() {
        let point = SavePoint { secs: 2, changes: 3 };
        assert_eq!(point.due(Mono(5), 2), None);
        assert_eq!(point.due(Mono(5), 3), Some(Mono(2_000_000_005)));
    }
}
