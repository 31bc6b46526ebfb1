//! How well a server is, as HAProxy counts it.

/// Up from `rise` on; every check that succeeds while it is up makes it as well as can be.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Health {
    points: u32,
    rise: u32,
    fall: u32,
}

impl Health {
    /// Up, and down again with the first check that fails.
    pub fn new(rise: u32, fall: u32) -> Health {
        Health { points: rise, rise, fall }
    }

    pub fn is_up(self) -> bool {
        self.points >= self.rise
    }

    /// A check has ended.
    pub fn checked(&mut self, well: bool) {
        let best = self.rise + self.fall - 1;
        self.points = match (well, self.is_up()) {
            (true, true) => best,
            (true, false) if self.points + 1 >= self.rise => best,
            (true, false) => self.points + 1,
            (false, true) if self.points > self.rise => self.points - 1,
            (false, _) => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_and_rises_by_so_many_checks_in_a_row() {
        let mut health = Health::new(2, 3);
        let mut after = |checks: &[bool]| -> Vec<bool> {
            let one = |well: &bool| {
                health.checked(*well);
                health.is_up()
            };
            checks.iter().map(one).collect()
        };
        assert_eq!(after(&[true, false, false, false]), [true, true, true, false]);
        assert_eq!(after(&[true, false, true, true]), [false, false, false, true]);
        // One that succeeds in between starts the count again.
        assert_eq!(after(&[false, false, true, false, false]), [true, true, true, true, true]);
        assert_eq!(after(&[false]), [false]);
    }

    #[test]
    fn at_first_it_falls_at_once() {
        let mut health = Health::new(2, 3);
        assert!(health.is_up());
        health.checked(false);
        assert!(!health.is_up());
    }
}
