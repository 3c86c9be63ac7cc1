//! What was issued and is worth nothing any more, before it expires by itself: the tokens of accounts
//! that were deleted or have another secret, and those of logins that ended. Held in memory, kept in
//! the database, and told at once to whatever is under way.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use micro_sdk::Result;
use tokio::sync::watch;

use crate::{
    backend::{Commit, Kv},
    services::every,
};

const TABLE: &str = "auth";
/// How long a revocation is kept: no access token lives longer.
pub(super) const KEPT: Duration = Duration::from_hours(25);

/// So many revocations are not worth looking through.
const SWEPT: usize = 1024;

/// What ties a token to its account and to the login it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ties {
    /// The generation of the account: grows with each secret.
    pub(super) generation: u64,
    /// The login; empty for tokens that have none.
    pub(super) session: String,
}

impl Ties {
    /// Those of a service's process, which has no stored account: what becomes of a person's account
    /// of the same name does not concern it.
    pub(super) fn of_process(instance: &str) -> Self {
        Self { generation: u64::MAX, session: instance.to_owned() }
    }
}

#[derive(Default)]
struct Revoked {
    /// By namespace and id: the first generation that counts, and when to forget this.
    accounts: HashMap<String, HashMap<String, (u64, SystemTime)>>,
    sessions: HashMap<String, SystemTime>,
    /// How many there were when those that do not matter any more were forgotten last.
    swept: usize,
}

impl Revoked {
    /// Forgets what does not matter any more, once there is twice as much as after the last time: who
    /// verifies tokens waits meanwhile.
    fn sweep(&mut self, now: SystemTime) {
        let count = self.sessions.len() + self.accounts.values().map(HashMap::len).sum::<usize>();
        if count < 2 * self.swept.max(SWEPT) {
            return;
        }
        self.accounts.retain(|_, accounts| {
            accounts.retain(|_, (_, until)| *until > now);
            !accounts.is_empty()
        });
        self.sessions.retain(|_, until| *until > now);
        self.swept = self.sessions.len() + self.accounts.values().map(HashMap::len).sum::<usize>();
    }

    fn floor(&self, namespace: &str, id: &str) -> u64 {
        let accounts = self.accounts.get(namespace);
        accounts.and_then(|accounts| accounts.get(id)).map_or(0, |(floor, _)| *floor)
    }

    fn revoke_account(&mut self, namespace: &str, id: &str, floor: u64, until: SystemTime) {
        self.accounts.entry(namespace.to_owned()).or_default().insert(id.to_owned(), (floor, until));
    }
}

/// All revocations that still matter.
pub(super) struct Revocations {
    revoked: RwLock<Revoked>,
    changed: watch::Sender<u64>,
}

fn account_key(namespace: &str, id: &str) -> String {
    format!("revoked/account/{namespace}/{id}")
}

impl Revocations {
    /// Reads those that are stored.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) async fn open(kv: &Arc<dyn Kv>) -> Result<Self> {
        let mut revoked = Revoked::default();
        for entry in every(&**kv, TABLE, "revoked/").await? {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            let until = entry.expires_at.unwrap_or_else(|| SystemTime::now() + KEPT);
            let mut parts = key.splitn(4, '/').skip(1);
            match (parts.next(), parts.next(), parts.next()) {
                (Some("account"), Some(namespace), Some(id)) => {
                    let floor = String::from_utf8_lossy(&entry.value).parse().unwrap_or(u64::MAX);
                    revoked.revoke_account(namespace, id, floor, until);
                }
                (Some("session"), Some(session), None) => {
                    revoked.sessions.insert(session.to_owned(), until);
                }
                _ => {}
            }
        }
        Ok(Self { revoked: RwLock::new(revoked), changed: watch::Sender::new(0) })
    }

    /// Whether what these ties belong to still counts.
    pub(super) fn allow(&self, namespace: &str, id: &str, ties: &Ties) -> bool {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        let ended = !ties.session.is_empty() && revoked.sessions.contains_key(&ties.session);
        ties.generation >= revoked.floor(namespace, id) && !ended
    }

    /// The first generation of an account that counts.
    pub(super) fn floor(&self, namespace: &str, id: &str) -> u64 {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).floor(namespace, id)
    }

    /// Adds to a commit that older generations of an account do not count any more.
    pub(super) fn store_account(commit: Commit, namespace: &str, id: &str, floor: u64) -> Commit {
        let until = SystemTime::now() + KEPT;
        commit.put_until(TABLE, account_key(namespace, id), floor.to_string().into_bytes(), until)
    }

    /// Adds to a commit that a login has ended.
    pub(super) fn store_session(commit: Commit, session: &str) -> Commit {
        commit.put_until(TABLE, format!("revoked/session/{session}"), Vec::new(), SystemTime::now() + KEPT)
    }

    /// What [`Revocations::store_account`] stored holds from now on.
    pub(super) fn revoke_account(&self, namespace: &str, id: &str, floor: u64) {
        self.change(|revoked, until| revoked.revoke_account(namespace, id, floor, until));
    }

    /// The login has ended, for good or until this server ends.
    pub(super) fn revoke_session(&self, session: &str) {
        self.change(|revoked, until| {
            revoked.sessions.insert(session.to_owned(), until);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Revoked, SystemTime)) {
        let now = SystemTime::now();
        {
            let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
            revoked.sweep(now);
            change(&mut revoked, now + KEPT);
        }
        self.tell();
    }

    /// Something else has changed that a call under way may depend on.
    pub(super) fn tell(&self) {
        self.changed.send_modify(|epoch| *epoch += 1);
    }

    /// How often something was told.
    pub(super) fn epoch(&self) -> u64 {
        *self.changed.borrow()
    }

    /// Changes with each revocation, and whatever else was told.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend;

    fn ties(generation: u64, session: &str) -> Ties {
        Ties { generation, session: session.to_owned() }
    }

    #[test]
    fn what_does_not_matter_any_more_is_forgotten_in_time() {
        let mut revoked = Revoked::default();
        let now = SystemTime::now();
        for number in 0..10 * SWEPT {
            // One of ten still matters.
            let until = if number % 10 == 0 { now + KEPT } else { now };
            revoked.sweep(now);
            revoked.sessions.insert(number.to_string(), until);
            assert!(revoked.sessions.len() <= number / 10 + 2 * SWEPT + 1, "{number}");
        }
        assert_eq!(revoked.sessions.values().filter(|until| **until > now).count(), SWEPT);
    }

    #[tokio::test]
    async fn what_was_revoked_stays_so_after_a_restart() {
        let kv: Arc<dyn Kv> = backend::open("memory:").await.unwrap();
        let revocations = Revocations::open(&kv).await.unwrap();
        let mut changed = revocations.changed();
        assert!(revocations.allow("shop", "a/b", &ties(0, "s")));
        let commit = Revocations::store_account(Commit::new(), "shop", "a/b", 2);
        kv.commit(Revocations::store_session(commit, "s")).await.unwrap();
        revocations.revoke_account("shop", "a/b", 2);
        revocations.revoke_session("s");
        // A token without a login, such as that of a service started by hand, ends with no login.
        revocations.revoke_session("");
        assert!(changed.has_changed().unwrap());
        changed.mark_unchanged();
        for revocations in [revocations, Revocations::open(&kv).await.unwrap()] {
            for (namespace, id, ties, expected) in [
                ("shop", "a/b", ties(1, ""), false),
                ("shop", "a/b", ties(2, ""), true),
                ("shop", "a/b", ties(2, "s"), false),
                ("shop", "b", ties(0, ""), true),
                ("micro", "a/b", ties(0, "t"), true),
            ] {
                assert_eq!(revocations.allow(namespace, id, &ties), expected, "{namespace} {id} {ties:?}");
            }
        }
    }
}
