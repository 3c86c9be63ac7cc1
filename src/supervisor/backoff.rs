//! When a process that ended is started again, and when it is given up.

use std::time::Duration;

use super::settings::Restart;

/// The memory of how the starts of one instance went.
#[derive(Debug)]
pub(super) struct Backoff {
    policy: Restart,
    waits: u32,
    quick_failures: u32,
}

/// What to do after a process ended unasked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Start it again after this long.
    Wait(Duration),
    /// It failed too often too quickly.
    GiveUp {
        /// How many quick failures there were in a row.
        failures: u32,
    },
}

impl Backoff {
    pub(super) fn new(policy: Restart) -> Self {
        Self { policy, waits: 0, quick_failures: 0 }
    }

    /// Notes an end after the process had been ready for `ready` (zero: never). `chance` in 0..=1
    /// spreads the waits of services that ended together, between half and all of the wait.
    pub(super) fn ended(&mut self, ready: Duration, chance: f64) -> Next {
        if ready >= self.policy.reset_after {
            self.waits = 0;
        }
        if ready < self.policy.quick {
            self.quick_failures += 1;
        } else {
            self.quick_failures = 0;
        }
        if self.quick_failures >= self.policy.limit {
            return Next::GiveUp { failures: self.quick_failures };
        }
        let doubled = self.policy.first.saturating_mul(2_u32.saturating_pow(self.waits));
        self.waits = self.waits.saturating_add(1);
        Next::Wait(doubled.min(self.policy.longest).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Restart = Restart {
        first: Duration::from_millis(100),
        longest: Duration::from_secs(30),
        reset_after: Duration::from_mins(1),
        quick: Duration::from_secs(10),
        limit: 5,
        unhealthy: Duration::from_secs(30),
    };

    fn wait(next: &Next) -> Duration {
        match next {
            Next::Wait(wait) => *wait,
            Next::GiveUp { .. } => panic!("given up"),
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(POLICY);
        let waits: Vec<_> =
            (0..40).map(|_| wait(&backoff.ended(Duration::from_secs(20), 1.0)).as_millis()).collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[39], 30_000);
    }

    #[test]
    fn chance_takes_at_most_half_of_a_wait() {
        assert_eq!(wait(&Backoff::new(POLICY).ended(Duration::ZERO, 0.0)), Duration::from_millis(50));
    }

    #[test]
    fn the_fifth_quick_failure_in_a_row_is_final() {
        let mut backoff = Backoff::new(POLICY);
        for _ in 0..4 {
            wait(&backoff.ended(Duration::ZERO, 1.0));
        }
        assert_eq!(backoff.ended(Duration::ZERO, 1.0), Next::GiveUp { failures: 5 });
    }

    #[test]
    fn running_well_for_a_while_forgives() {
        let mut backoff = Backoff::new(POLICY);
        for _ in 0..4 {
            wait(&backoff.ended(Duration::ZERO, 1.0));
        }
        assert_eq!(wait(&backoff.ended(Duration::from_mins(2), 1.0)), Duration::from_millis(100));
        for _ in 0..4 {
            wait(&backoff.ended(Duration::ZERO, 1.0));
        }
        assert_eq!(backoff.ended(Duration::ZERO, 1.0), Next::GiveUp { failures: 5 });
    }
}
