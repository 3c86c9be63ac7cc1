//! Slows down the guessing of secrets: after some failures each further attempt has to wait, longer
//! each time. What is counted is the pair of an account and a place, so that nobody can keep an
//! account from its owner, and the place alone, so that many accounts are no way round.
//!
//! Where an account has logged in before, only its own failures there count; and the secret it last
//! logged in with there is looked at whatever failed since, so that nobody who shares the place
//! keeps it out. Everything that is remembered has one size, whatever the callers name.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;
use micro_sdk::{Error, Result};
use ring::{hmac, rand::SystemRandom};

use super::place::Place;

/// How many pairs and places with failures are remembered, about 100 bytes each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");
/// How many pairs with a right secret are remembered, about 100 bytes each.
const RIGHT: NonZeroUsize = NonZeroUsize::new(4_096).expect("it is not zero");
/// Failures of one account at one place that cost nothing.
const FREE_OF_PAIR: u32 = 5;
/// Failures of one place that cost nothing.
const FREE_OF_PLACE: u32 = 50;
/// The longest wait of one account at one place.
const LONGEST_OF_PAIR: Duration = Duration::from_mins(1);
/// The longest wait of one place.
const LONGEST_OF_PLACE: Duration = Duration::from_secs(5);
/// After this long without a failure all is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(15);
/// How many secrets are compared with the last right one of a pair that has to wait, until one is
/// right: so many guesses this gives away.
const COMPARED: u32 = 1_000;

/// An account at a place.
type Pair = [u8; 32];

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Key {
    Pair(Pair),
    Place(Place),
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

/// The right secret of a pair, under a key that this process alone knows.
struct Right {
    tag: hmac::Tag,
    compared: u32,
}

/// The failures and successes of late.
pub(super) struct Attempts {
    failures: Mutex<LruCache<Key, Failures>>,
    right: Mutex<LruCache<Pair, Right>>,
    key: hmac::Key,
}

/// What wants to log in.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) place: Place,
    pub(super) namespace: &'a str,
    pub(super) id: &'a str,
    pub(super) secret: &'a str,
    /// The account has logged in at this place before.
    pub(super) known: bool,
}

impl Attempt<'_> {
    /// The account at the place.
    pub(super) fn pair(&self) -> Pair {
        self.place.with(self.namespace, self.id)
    }
}

impl Attempts {
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn new() -> anyhow::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| anyhow::anyhow!("the system has no random numbers"))?;
        let (failures, right) = (LruCache::new(REMEMBERED), LruCache::new(RIGHT));
        Ok(Self { failures: Mutex::new(failures), right: Mutex::new(right), key })
    }

    /// Lets an attempt be made, or not yet.
    ///
    /// # Errors
    /// 429 with the seconds to wait.
    pub(super) fn check(&self, attempt: Attempt<'_>, now: Instant) -> Result<()> {
        let pair = attempt.pair();
        let wait = {
            let mut failures = self.failures();
            let mut wait = |key, free, longest| {
                failures.get(&key).map_or(Duration::ZERO, |failures| failures.wait(now, free, longest))
            };
            let own = wait(Key::Pair(pair), FREE_OF_PAIR, LONGEST_OF_PAIR);
            if attempt.known {
                own
            } else {
                own.max(wait(Key::Place(attempt.place), FREE_OF_PLACE, LONGEST_OF_PLACE))
            }
        };
        if wait.is_zero() || (attempt.known && self.is_last_right(&pair, attempt.secret)) {
            return Ok(());
        }
        let seconds = u32::try_from(wait.as_secs() + 1).unwrap_or(u32::MAX);
        let text = format!("too many failed logins: try again in {seconds} s");
        Err(Error::too_many(text).with_retry_after(seconds))
    }

    fn is_last_right(&self, pair: &Pair, secret: &str) -> bool {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(right) = right.get_mut(pair).filter(|right| right.compared < COMPARED) else { return false };
        right.compared += 1;
        hmac::verify(&self.key, secret.as_bytes(), right.tag.as_ref()).is_ok()
    }

    /// An attempt failed.
    pub(super) fn failed(&self, attempt: Attempt<'_>, now: Instant) {
        let mut failures = self.failures();
        for key in [Key::Pair(attempt.pair()), Key::Place(attempt.place)] {
            let known = failures.get_or_insert_mut(key, || Failures { count: 0, last: now });
            if now.saturating_duration_since(known.last) > FORGOTTEN {
                known.count = 0;
            }
            (known.count, known.last) = (known.count.saturating_add(1), now);
        }
    }

    /// An attempt succeeded: the account is who it says, so its failures there are forgotten.
    pub(super) fn succeeded(&self, attempt: Attempt<'_>) {
        let pair = attempt.pair();
        self.failures().pop(&Key::Pair(pair));
        let right = Right { tag: hmac::sign(&self.key, attempt.secret.as_bytes()), compared: 0 };
        self.right.lock().unwrap_or_else(PoisonError::into_inner).put(pair, right);
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, LruCache<Key, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = Place::V4(1);
    const THERE: Place = Place::V4(2);

    fn attempt<'a>(place: Place, id: &'a str, secret: &'a str) -> Attempt<'a> {
        Attempt { place, namespace: "micro", id, secret, known: false }
    }

    fn known<'a>(place: Place, id: &'a str, secret: &'a str) -> Attempt<'a> {
        Attempt { known: true, ..attempt(place, id, secret) }
    }

    fn fail(attempts: &Attempts, attempt: Attempt<'_>, times: u32, now: Instant) {
        for _ in 0..times {
            attempts.failed(attempt, now);
        }
    }

    #[test]
    fn failures_are_slowed_for_who_fails_and_for_nobody_else() {
        let attempts = Attempts::new().unwrap();
        let (a, mut now) = (attempt(HERE, "a", "guess"), Instant::now());
        fail(&attempts, a, FREE_OF_PAIR, now);
        let refused = attempts.check(a, now).unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (429, Some(2)));
        attempts.check(attempt(THERE, "a", "guess"), now).unwrap();
        attempts.check(attempt(HERE, "b", "guess"), now).unwrap();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let mut waited = 0;
            while attempts.check(a, now).is_err() {
                now += Duration::from_secs(1);
                waited += 1;
            }
            waits.push(waited);
            attempts.failed(a, now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        now += LONGEST_OF_PAIR;
        attempts.succeeded(a);
        attempts.failed(a, now);
        attempts.check(a, now).unwrap();
    }

    #[test]
    fn many_accounts_are_no_way_round() {
        let attempts = Attempts::new().unwrap();
        let now = Instant::now();
        for number in 0..FREE_OF_PLACE {
            attempts.failed(attempt(HERE, &number.to_string(), "guess"), now);
        }
        let fresh = attempt(HERE, "fresh", "guess");
        assert_eq!(attempts.check(fresh, now).unwrap_err().code, 429);
        attempts.check(fresh, now + LONGEST_OF_PLACE).unwrap();
        // What others have failed at does not concern who has logged in there before.
        attempts.check(known(HERE, "old", "guess"), now).unwrap();
    }

    #[test]
    fn a_right_secret_is_not_kept_out_of_the_place_it_was_right_at() {
        let attempts = Attempts::new().unwrap();
        let now = Instant::now();
        attempts.succeeded(known(HERE, "a", "right"));
        attempts.succeeded(known(HERE, "b", "other"));
        fail(&attempts, known(HERE, "a", "wrong"), 100, now);
        for (attempt, allowed) in [
            (known(HERE, "a", "right"), true),
            (known(HERE, "a", "wrong"), false),
            (known(HERE, "a", "other"), false),
            (known(HERE, "a", ""), false),
            // It was never right there.
            (attempt(HERE, "c", "right"), false),
        ] {
            assert_eq!(attempts.check(attempt, now).is_ok(), allowed, "{} {}", attempt.id, attempt.secret);
        }
        // Guessing by this way has an end, until the right one comes.
        for number in 0..COMPARED {
            drop(attempts.check(known(HERE, "a", &number.to_string()), now));
        }
        assert!(attempts.check(known(HERE, "a", "right"), now).is_err());
        attempts.succeeded(known(HERE, "a", "right"));
        attempts.check(known(HERE, "a", "right"), now).unwrap();
    }
}
