//! So many runs over several threads, and their results in order.
#![allow(clippy::disallowed_methods)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

/// What `run` gives for each number below `count`, in their order, whoever is done first. `run` must be a
/// pure function. Progress is shown on a terminal, as so many of `what`.
///
/// # Panics
/// If `run` does.
pub fn in_parallel<T: Send>(
    count: usize,
    jobs: usize,
    what: &str,
    run: &(dyn Fn(usize) -> T + Sync),
) -> Vec<T> {
    let bar = ProgressBar::new(count as u64);
    let style = ProgressStyle::with_template(&format!("{{bar:30}} {{pos}}/{{len}} {what}"));
    bar.set_style(style.expect("the template is well-formed"));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, count.max(1)) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let result = run(number);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_whatever_the_number_of_threads() {
        let squares: Vec<usize> = (0..100).map(|n| n * n).collect();
        for jobs in [1, 3, 200] {
            assert_eq!(in_parallel(100, jobs, "squares", &|n| n * n), squares);
        }
        assert!(in_parallel(0, 2, "nothing", &|n| n).is_empty());
    }
}
