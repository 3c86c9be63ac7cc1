//! The logins that have ended before their tokens expire, in bounded memory. Where an account ends more
//! logins than are told apart, all that began before a moment have ended, also those that had not: who logs
//! in and out all day ends his own other logins, and nobody else's. Where all namespaces together have too
//! many, the same happens to the namespace that has most of them.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use uuid::{NoContext, Timestamp, Uuid};

/// The most bytes of memory of the ended logins of an account, and of all.
const LIMITS: (usize, usize) = (64 << 10, 32 << 20);
/// What an ended login takes, and an account that has one beside its id.
const LOGIN: usize = 64;
const ACCOUNT: usize = 256;

/// Unix time in milliseconds.
pub(super) type Millis = u64;

/// A login that begins now, or after `floor` where that is later.
pub(super) fn begin(floor: Option<Millis>) -> Uuid {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = now.max(Duration::from_millis(floor.map_or(0, |floor| floor + 1)));
    Uuid::new_v7(Timestamp::from_unix(NoContext, now.as_secs(), now.subsec_nanos()))
}

/// When a login began. Those that a server before this one began do not tell.
fn began(login: &Uuid) -> Option<Millis> {
    let (seconds, nanos) = login.get_timestamp()?.to_unix();
    Some(seconds * 1000 + u64::from(nanos / 1_000_000))
}

/// All logins that began until a moment have ended.
#[derive(Clone, Copy)]
struct Before {
    began: Millis,
    /// When this does not matter any more.
    until: SystemTime,
}

fn covers(before: Option<Before>, login: &Uuid) -> bool {
    before.is_some_and(|before| began(login).is_none_or(|began| began <= before.began))
}

/// Those of an account.
#[derive(Default)]
struct Logins {
    before: Option<Before>,
    /// In the order in which they began, with the time when each does not matter any more.
    ended: BTreeMap<Uuid, SystemTime>,
}

impl Logins {
    fn bytes(&self, id: &str) -> usize {
        ACCOUNT + id.len() + self.ended.len() * LOGIN
    }
}

/// Those of a namespace.
#[derive(Default)]
struct Space {
    before: Option<Before>,
    accounts: HashMap<String, Logins>,
    bytes: usize,
}

/// Logins that are not told apart any more: all of an account, or of a namespace, until a moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) namespace: String,
    /// None for all accounts of the namespace.
    pub(super) id: Option<String>,
    /// The logins that need not be told apart any more.
    pub(super) logins: Vec<Uuid>,
}

/// All of them.
pub(super) struct Ended {
    spaces: HashMap<String, Space>,
    bytes: usize,
    limits: (usize, usize),
}

impl Default for Ended {
    fn default() -> Self {
        Self { spaces: HashMap::new(), bytes: 0, limits: LIMITS }
    }
}

impl Ended {
    /// Whether a login has ended.
    pub(super) fn contains(&self, namespace: &str, id: &str, login: &Uuid) -> bool {
        let Some(space) = self.spaces.get(namespace) else { return false };
        let of_account = space.accounts.get(id);
        covers(space.before, login)
            || of_account.is_some_and(|of| of.ended.contains_key(login) || covers(of.before, login))
    }

    /// Until when all logins of an account, or of a namespace, have begun that have ended.
    pub(super) fn floor(&self, namespace: &str, id: Option<&str>) -> Option<Millis> {
        let space = self.spaces.get(namespace)?;
        let of_account = id.and_then(|id| space.accounts.get(id)?.before);
        of_account.into_iter().chain(space.before).map(|before| before.began).max()
    }

    /// How many are told apart.
    pub(super) fn len(&self) -> usize {
        let accounts = self.spaces.values().flat_map(|space| space.accounts.values());
        accounts.map(|logins| logins.ended.len() + 1).sum()
    }

    /// A login has ended, which matters until then.
    pub(super) fn end(&mut self, namespace: &str, id: &str, login: Uuid, until: SystemTime) -> Vec<Merged> {
        if self.contains(namespace, id, &login) {
            return Vec::new();
        }
        let mut merged = Vec::new();
        let most = self.limits.0;
        self.change(namespace, id, |logins| {
            logins.ended.insert(login, until);
            if logins.ended.len() * LOGIN <= most {
                return;
            }
            let later = logins.ended.keys().nth(logins.ended.len() / 2).copied().unwrap_or(login);
            let kept = logins.ended.split_off(&later);
            let ended = std::mem::replace(&mut logins.ended, kept);
            let last = ended.keys().filter_map(began).max().unwrap_or_default();
            let before = logins.before.map_or(last, |before| before.began.max(last));
            logins.before = Some(Before { began: before, until });
            let (namespace, id) = (namespace.to_owned(), Some(id.to_owned()));
            merged.push(Merged { namespace, id, logins: ended.into_keys().collect() });
        });
        while self.bytes > self.limits.1
            && let Some(collapsed) = self.collapse(until)
        {
            merged.push(collapsed);
        }
        merged
    }

    /// All logins of an account, or of a namespace, that began until then have ended.
    pub(super) fn end_until(&mut self, namespace: &str, id: Option<&str>, began: Millis, until: SystemTime) {
        let before = Some(Before { began, until });
        match id {
            Some(id) => self.change(namespace, id, |logins| logins.before = before),
            None => self.spaces.entry(namespace.to_owned()).or_default().before = before,
        }
    }

    fn change(&mut self, namespace: &str, id: &str, change: impl FnOnce(&mut Logins)) {
        let space = self.spaces.entry(namespace.to_owned()).or_default();
        let (logins, before) = match space.accounts.get_mut(id) {
            Some(logins) => {
                let before = logins.bytes(id);
                (logins, before)
            }
            None => (space.accounts.entry(id.to_owned()).or_default(), 0),
        };
        change(logins);
        let after = logins.bytes(id);
        space.bytes = space.bytes + after - before;
        self.bytes = self.bytes + after - before;
    }

    /// Tells the logins of the namespace that has most of them apart no longer.
    fn collapse(&mut self, until: SystemTime) -> Option<Merged> {
        let (namespace, space) = self
            .spaces
            .iter_mut()
            .filter(|(_, space)| space.bytes > 0)
            .max_by_key(|(_, space)| space.bytes)?;
        let accounts = std::mem::take(&mut space.accounts);
        self.bytes -= std::mem::take(&mut space.bytes);
        let moments = accounts.values().filter_map(|logins| logins.before).chain(space.before);
        let moments: Vec<_> = moments.map(|before| before.began).collect();
        let logins: Vec<_> = accounts.into_values().flat_map(|logins| logins.ended.into_keys()).collect();
        let last = logins.iter().filter_map(began).chain(moments).max().unwrap_or_default();
        space.before = Some(Before { began: last, until });
        Some(Merged { namespace: namespace.clone(), id: None, logins })
    }

    /// Forgets what does not matter any more.
    pub(super) fn forget(&mut self, now: SystemTime) {
        self.bytes = 0;
        self.spaces.retain(|_, space| {
            let matters = |before: &Before| before.until > now;
            space.before = space.before.filter(matters);
            space.accounts.retain(|_, logins| {
                logins.ended.retain(|_, until| *until > now);
                logins.before = logins.before.filter(matters);
                logins.before.is_some() || !logins.ended.is_empty()
            });
            space.bytes = space.accounts.iter().map(|(id, logins)| logins.bytes(id)).sum();
            self.bytes += space.bytes;
            space.before.is_some() || !space.accounts.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    /// The login that began so many milliseconds after another time.
    fn login(millis: Millis) -> Uuid {
        begin(Some(4_000_000_000_000 + millis))
    }

    fn ended(limits: (usize, usize)) -> Ended {
        Ended { limits, ..Ended::default() }
    }

    #[test]
    fn who_ends_logins_all_day_ends_his_own_older_ones_and_nobody_elses() {
        let mut ended = ended((4 * LOGIN, usize::MAX));
        let until = SystemTime::now() + DAY;
        let all: Vec<_> = (0..100).map(login).collect();
        let mut bytes = 0;
        for (number, login) in all.iter().enumerate() {
            // Every second one goes on.
            if number % 2 == 0 {
                for merged in ended.end("shop", "jane", *login, until) {
                    assert_eq!((merged.namespace.as_str(), merged.id.as_deref()), ("shop", Some("jane")));
                    assert_eq!(merged.logins.len(), 2);
                }
            }
            bytes = bytes.max(ended.bytes);
        }
        assert!(bytes <= ACCOUNT + "jane".len() + 4 * LOGIN, "{bytes}");
        assert!(all.iter().step_by(2).all(|login| ended.contains("shop", "jane", login)));
        assert!(ended.contains("shop", "jane", &all[1]) && !ended.contains("shop", "jane", &all[99]));
        assert!(!all.iter().any(|login| ended.contains("shop", "joan", login)));
        // What begins now has not ended, also where the clock was set back.
        let floor = ended.floor("shop", Some("jane"));
        assert!(floor > Some(4_000_000_000_000));
        assert!(!ended.contains("shop", "jane", &begin(floor)));
    }

    #[test]
    fn a_login_that_does_not_tell_when_it_began_has_ended_with_all_others() {
        let mut ended = ended((2 * LOGIN, usize::MAX));
        let (first, live) = (Uuid::new_v4(), Uuid::new_v4());
        for login in [first, login(1), login(2), login(3), login(4)] {
            ended.end("shop", "jane", login, SystemTime::now() + DAY);
        }
        assert!([first, live].iter().all(|login| ended.contains("shop", "jane", login)));
    }

    #[test]
    fn the_namespace_with_most_ended_logins_makes_room() {
        let mut ended = ended((usize::MAX, 10 * (ACCOUNT + LOGIN + 8)));
        let until = SystemTime::now() + DAY;
        let few = login(0);
        ended.end("other", "jane", few, until);
        let (all, live): (Vec<_>, _) = ((0..100).map(login).collect(), login(100));
        let mut collapsed = 0;
        for (number, login) in all.iter().enumerate() {
            for merged in ended.end("shop", &format!("user{number}"), *login, until) {
                assert_eq!((merged.namespace.as_str(), merged.id.as_deref()), ("shop", None));
                collapsed += 1;
            }
            assert!(ended.bytes <= ended.limits.1);
        }
        assert!(collapsed > 5, "{collapsed}");
        let mut all = all.iter().enumerate();
        assert!(all.all(|(number, login)| ended.contains("shop", &format!("user{number}"), login)));
        assert!(ended.contains("shop", "user99", &login(1)) && !ended.contains("shop", "user99", &live));
        assert!(ended.contains("other", "jane", &few) && !ended.contains("other", "jane", &login(0)));
    }

    #[test]
    fn what_does_not_matter_any_more_is_forgotten() {
        let mut ended = ended((2 * LOGIN, usize::MAX));
        let now = SystemTime::now();
        for number in 0..10 {
            ended.end("shop", "jane", login(number), now);
        }
        ended.end("shop", "joan", login(1), now + DAY);
        ended.end_until("other", None, 5, now);
        ended.forget(now);
        assert_eq!((ended.spaces.len(), ended.len()), (1, 2));
        assert_eq!(ended.bytes, ACCOUNT + "joan".len() + LOGIN);
        ended.forget(now + DAY);
        assert_eq!((ended.spaces.len(), ended.bytes), (0, 0));
    }
}
