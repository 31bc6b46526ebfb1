//! Delta debugging: from a list that fails to a part of it that fails, of which nothing can go.

/// The search, step by step: whoever drives it tries each candidate out.
///
/// Source: Zeller, Hildebrandt, "Simplifying and isolating failure-inducing input", without the step to subsets.
#[derive(Clone, Debug)]
pub struct Ddmin {
    kept: Vec<usize>,
    candidate: Vec<usize>,
    /// Elements that are taken out at once, and the end of those that were last.
    chunk: usize,
    end: usize,
    /// Nothing of all has been tried.
    begun: bool,
    /// Something went in this round.
    shrunk: bool,
}

impl Ddmin {
    /// A search in all indexes below `count`, which are taken to fail.
    pub fn new(count: usize) -> Ddmin {
        Ddmin {
            kept: (0..count).collect(),
            candidate: Vec::new(),
            chunk: count.div_ceil(2),
            end: count,
            begun: false,
            shrunk: false,
        }
    }

    /// The next indexes to try, in rising order; None if no more can go.
    pub fn candidate(&mut self) -> Option<&[usize]> {
        if self.kept.is_empty() {
            return None;
        }
        if !self.begun {
            self.begun = true;
            self.candidate.clear();
            return Some(&self.candidate);
        }
        loop {
            // From the end: what comes last is needed least by what comes before.
            while self.end > 0 {
                let start = self.end.saturating_sub(self.chunk);
                self.candidate = [&self.kept[..start], &self.kept[self.end..]].concat();
                self.end = start;
                if !self.candidate.is_empty() {
                    return Some(&self.candidate);
                }
            }
            if self.chunk > 1 {
                self.chunk = self.chunk.div_ceil(2);
            } else if !self.shrunk {
                return None;
            }
            (self.end, self.shrunk) = (self.kept.len(), false);
        }
    }

    /// The last candidate fails: the search goes on from it.
    pub fn accept(&mut self) {
        self.kept = std::mem::take(&mut self.candidate);
        self.shrunk = true;
    }
}

/// The indexes below `count` that are left when everything that is not needed for `fails` has gone, in rising
/// order. `fails` is taken to hold for all of them; it need not be monotonic: what is left fails, and does not
/// without any one of its elements.
pub fn ddmin(count: usize, fails: &mut dyn FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut search = Ddmin::new(count);
    while let Some(candidate) = search.candidate() {
        if fails(candidate) {
            search.accept();
        }
    }
    search.kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(wanted: &[usize]) -> impl FnMut(&[usize]) -> bool {
        let wanted = wanted.to_vec();
        move |kept| wanted.iter().all(|w| kept.contains(w))
    }

    #[test]
    fn what_is_needed_is_left() {
        for wanted in [&[][..], &[0], &[99], &[3, 17, 64], &[0, 1, 2, 97, 98, 99]] {
            assert_eq!(ddmin(100, &mut needs(wanted)), wanted);
        }
        assert_eq!(ddmin(1, &mut needs(&[0])), [0]);
        assert!(ddmin(0, &mut |_| true).is_empty());
    }

    #[test]
    fn nothing_can_go_although_the_failure_is_not_monotonic() {
        // A beginning needs its end, as a fault does.
        let mut fails = |kept: &[usize]| {
            let whole = |a, b| kept.contains(&a) == kept.contains(&b);
            kept.contains(&40) && whole(10, 20) && whole(30, 31) && kept.len() % 2 == 1
        };
        let kept = ddmin(101, &mut fails);
        assert!(fails(&kept));
        for gone in &kept {
            let rest: Vec<usize> = kept.iter().copied().filter(|k| k != gone).collect();
            assert!(rest.is_empty() || !fails(&rest), "{gone} of {kept:?} can go");
        }
    }

    #[test]
    fn few_tries_are_enough_for_few_needed_lines() {
        let mut tries = 0;
        let mut needed = needs(&[700]);
        ddmin(1024, &mut |kept| {
            tries += 1;
            needed(kept)
        });
        assert!(tries < 40, "{tries}");
    }
}
