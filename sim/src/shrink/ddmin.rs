//! Delta debugging: from a list that fails to a part of it that fails, of which nothing can go.

/// The indexes below `count` that are left when everything that is not needed for `fails` has gone, in rising
/// order. `fails` is taken to hold for all of them; it need not be monotonic: what is left fails, and does not
/// without any one of its elements.
///
/// Source: Zeller, Hildebrandt, "Simplifying and isolating failure-inducing input", without the step to subsets.
pub fn ddmin(count: usize, fails: &mut dyn FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..count).collect();
    if kept.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut chunk = kept.len().div_ceil(2);
    loop {
        let mut shrunk = false;
        // From the end: what comes last is needed least by what comes before.
        let mut end = kept.len();
        while end > 0 {
            let start = end.saturating_sub(chunk);
            let rest: Vec<usize> = [&kept[..start], &kept[end..]].concat();
            if !rest.is_empty() && fails(&rest) {
                kept = rest;
                shrunk = true;
            }
            end = start;
        }
        if chunk > 1 {
            chunk = chunk.div_ceil(2);
        } else if !shrunk {
            return kept;
        }
    }
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
