//! Slows down whoever guesses secrets: after some failures each further attempt has to wait, longer
//! each time. What is counted is the pair of an account and an address, so that nobody can keep an
//! account from its owner, and the address alone, so that many accounts are no way round.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;
use micro_sdk::{Error, Result};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How many pairs and addresses are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");
/// Failures that cost nothing: of one account from one address, and of one address.
const FREE: (u32, u32) = (5, 50);
/// The longest wait, of each.
const LONGEST: (Duration, Duration) = (Duration::from_mins(1), Duration::from_secs(5));
/// How many attempts are under way at once: so many more than are free can be made at the same time.
const AT_ONCE: usize = 4;
/// After this long without a failure all is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(15);

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
enum Key {
    Account(String, String, Option<IpAddr>),
    Address(Option<IpAddr>),
}

struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// How long the next attempt has to wait at `now`.
    fn wait(&self, now: Instant, free: u32, longest: Duration) -> Duration {
        let Some(over) = self.count.checked_sub(free) else { return Duration::ZERO };
        let pause = Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(over.min(16))).min(longest);
        (self.last + pause).saturating_duration_since(now)
    }
}

/// The failures of late.
pub(super) struct Attempts {
    failures: Mutex<LruCache<Key, Failures>>,
    turns: Semaphore,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { failures: Mutex::new(LruCache::new(REMEMBERED)), turns: Semaphore::new(AT_ONCE) }
    }
}

/// An attempt that may be made.
pub(super) struct Attempt<'a> {
    attempts: &'a Attempts,
    keys: [Key; 2],
}

impl Attempts {
    /// Waits until an attempt may begin; held until it has failed or succeeded, so that a thousand
    /// at once are not all begun before the first of them has failed.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.turns.acquire().await.ok()
    }

    /// Lets an attempt be made, or not yet.
    ///
    /// # Errors
    /// 429 with the seconds to wait.
    pub(super) fn begin(
        &self,
        namespace: &str,
        id: &str,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Attempt<'_>> {
        let keys = [Key::Account(namespace.to_owned(), id.to_owned(), address), Key::Address(address)];
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, (free, longest)) in keys.iter().zip([(FREE.0, LONGEST.0), (FREE.1, LONGEST.1)]) {
            let wait = failures.get(key).map_or(Duration::ZERO, |failures| failures.wait(now, free, longest));
            if !wait.is_zero() {
                let seconds = wait.as_secs() + 1;
                return Err(Error::new(429, format!("too many failed logins: try again in {seconds} s")));
            }
        }
        drop(failures);
        Ok(Attempt { attempts: self, keys })
    }
}

impl Attempt<'_> {
    /// It failed.
    pub(super) fn failed(self, now: Instant) {
        let mut failures = self.attempts.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for key in self.keys {
            let known = failures.get_or_insert_mut(key, || Failures { count: 0, last: now });
            if now.saturating_duration_since(known.last) > FORGOTTEN {
                known.count = 0;
            }
            (known.count, known.last) = (known.count + 1, now);
        }
    }

    /// It succeeded: the account is who it says, so its failures from there are forgotten.
    pub(super) fn succeeded(self) {
        self.attempts.failures.lock().unwrap_or_else(PoisonError::into_inner).pop(&self.keys[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_slowed_for_who_fails_and_for_nobody_else() {
        let attempts = Attempts::default();
        let (here, there) = (Some("10.0.0.1".parse().unwrap()), Some("10.0.0.2".parse().unwrap()));
        let mut now = Instant::now();
        for _ in 0..FREE.0 {
            attempts.begin("micro", "a", here, now).unwrap().failed(now);
        }
        assert_eq!(attempts.begin("micro", "a", here, now).err().unwrap().code, 429);
        attempts.begin("micro", "a", there, now).unwrap();
        attempts.begin("micro", "b", here, now).unwrap();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let mut waited = 0;
            while attempts.begin("micro", "a", here, now).is_err() {
                now += Duration::from_secs(1);
                waited += 1;
            }
            waits.push(waited);
            attempts.begin("micro", "a", here, now).unwrap().failed(now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        now += LONGEST.0;
        attempts.begin("micro", "a", here, now).unwrap().succeeded();
        attempts.begin("micro", "a", here, now).unwrap().failed(now);
        attempts.begin("micro", "a", here, now).unwrap();
    }

    #[test]
    fn many_accounts_are_no_way_round() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for number in 0..FREE.1 {
            attempts.begin("micro", &number.to_string(), None, now).unwrap().failed(now);
        }
        assert_eq!(attempts.begin("micro", "fresh", None, now).err().unwrap().code, 429);
        attempts.begin("micro", "fresh", None, now + LONGEST.1).unwrap();
    }
}
