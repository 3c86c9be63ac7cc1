//! What was issued and is worth nothing any more, before it expires by itself: the tokens of accounts
//! that were deleted or have another secret, and those of logins that ended. Held in memory, kept in
//! the database, and told at once to whatever is under way.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use micro_sdk::{Error, Result};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use super::{
    ended::{self, Ended, Merged, Millis},
    life::MAX_LIFE,
};
use crate::backend::{Commit, Kv, Range};

const TABLE: &str = "auth";
/// How long a revocation is kept: an hour longer than any access token lives, for clocks that were set.
pub(super) const KEPT: Duration = Duration::from_secs(MAX_LIFE.as_secs() + 3600);

/// So many revocations are not worth looking through.
const SWEPT: usize = 1024;
/// How many accounts of a namespace are deleted or get another secret while that is kept, about 400 bytes
/// each; the administrators of the platform may do so with twice as many.
const ACCOUNTS: usize = 16_384;
/// Stored logins that are deleted together.
const TOGETHER: usize = 1000;

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

    fn is_of_process(&self) -> bool {
        self.generation == u64::MAX
    }
}

#[derive(Default)]
struct Revoked {
    /// By namespace and id: the first generation that counts, and when to forget this.
    accounts: HashMap<String, HashMap<String, (u64, SystemTime)>>,
    /// The logins of accounts.
    ended: Ended,
    /// The processes of services, and logins of which a server before this one has not kept the account.
    sessions: HashMap<String, SystemTime>,
    /// How many there were when those that do not matter any more were forgotten last.
    swept: usize,
}

impl Revoked {
    /// Forgets what does not matter any more, once there is twice as much as after the last time: who
    /// verifies tokens waits meanwhile.
    fn sweep(&mut self, now: SystemTime) {
        if self.len() < 2 * self.swept.max(SWEPT) {
            return;
        }
        self.accounts.retain(|_, accounts| {
            accounts.retain(|_, (_, until)| *until > now);
            !accounts.is_empty()
        });
        self.sessions.retain(|_, until| *until > now);
        self.ended.forget(now);
        self.swept = self.len();
    }

    fn len(&self) -> usize {
        let accounts = self.accounts.values().map(HashMap::len).sum::<usize>();
        self.sessions.len() + self.ended.len() + accounts
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
    /// Held by who stores what was merged, so that a later moment is never replaced by an earlier one.
    storing: Mutex<()>,
}

fn account_key(namespace: &str, id: &str) -> String {
    format!("revoked/account/{namespace}/{id}")
}

fn session_key(session: &str) -> String {
    format!("revoked/session/{session}")
}

/// The key of the moment until when all logins of an account, or of a namespace, have begun that ended.
fn before_key(namespace: &str, id: Option<&str>) -> String {
    match id {
        Some(id) => format!("revoked/before/{namespace}/{id}"),
        None => format!("revoked/before/{namespace}"),
    }
}

impl Revoked {
    /// Takes in what is stored under a key.
    fn restore(&mut self, key: &str, value: &str, until: SystemTime) {
        let mut parts = key.splitn(4, '/').skip(1);
        match (parts.next(), parts.next(), parts.next()) {
            (Some("account"), Some(namespace), Some(id)) => {
                self.revoke_account(namespace, id, value.parse().unwrap_or(u64::MAX), until);
            }
            (Some("before"), Some(namespace), id) => {
                self.ended.end_until(namespace, id, value.parse().unwrap_or(Millis::MAX), until);
            }
            (Some("session"), Some(session), None) => {
                match (value.split_once('/'), Uuid::try_parse(session)) {
                    // What is merged now will be merged at the next start too.
                    (Some((namespace, id)), Ok(login)) => {
                        drop(self.ended.end(namespace, id, login, until));
                    }
                    _ => {
                        self.sessions.insert(session.to_owned(), until);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Revocations {
    /// Reads those that are stored.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) async fn open(kv: &Arc<dyn Kv>) -> Result<Self> {
        let mut revoked = Revoked::default();
        let mut range = Range::prefix("revoked/");
        loop {
            let page = kv.list(TABLE, &range).await?;
            let Some(last) = page.last() else { break };
            range = range.after(last.key.clone());
            for entry in &page {
                let (key, value) =
                    (String::from_utf8_lossy(&entry.key), String::from_utf8_lossy(&entry.value));
                let until = entry.expires_at.unwrap_or_else(|| SystemTime::now() + KEPT);
                revoked.restore(&key, &value, until);
            }
        }
        Ok(Self { revoked: RwLock::new(revoked), changed: watch::Sender::new(0), storing: Mutex::default() })
    }

    /// Whether what these ties belong to still counts.
    pub(super) fn allow(&self, namespace: &str, id: &str, ties: &Ties) -> bool {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        let ended = !ties.session.is_empty()
            && (revoked.sessions.contains_key(&ties.session)
                || (!ties.is_of_process()
                    && Uuid::try_parse(&ties.session)
                        .is_ok_and(|login| revoked.ended.contains(namespace, id, &login))));
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

    /// Refuses to end one more account of a namespace than may end within [`KEPT`].
    ///
    /// # Errors
    /// 429 with words.
    pub(super) fn check_room(&self, namespace: &str, id: &str, of_platform: bool) -> Result<()> {
        let most = if of_platform { 2 * ACCOUNTS } else { ACCOUNTS };
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        let Some(accounts) = revoked.accounts.get_mut(namespace) else { return Ok(()) };
        if accounts.contains_key(id) || accounts.len() < most {
            return Ok(());
        }
        let now = SystemTime::now();
        accounts.retain(|_, (_, until)| *until > now);
        if accounts.len() < most {
            return Ok(());
        }
        let text = format!(
            "{most} accounts of namespace {namespace} were deleted or got another secret within {} hours, which \
             is the limit",
            KEPT.as_secs() / 3600
        );
        Err(Error::too_many(text))
    }

    /// A name for a login of an account that begins now.
    pub(super) fn begin_session(&self, namespace: &str, id: &str) -> String {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        ended::begin(revoked.ended.floor(namespace, Some(id))).simple().to_string()
    }

    /// A login of an account has ended, for good.
    ///
    /// # Errors
    /// It cannot be stored, and goes on.
    pub(super) async fn end_session(
        &self,
        kv: &dyn Kv,
        namespace: &str,
        id: &str,
        session: &str,
    ) -> Result<()> {
        let until = SystemTime::now() + KEPT;
        let account = format!("{namespace}/{id}").into_bytes();
        kv.commit(Commit::new().put_until(TABLE, session_key(session), account, until)).await?;
        let Ok(login) = Uuid::try_parse(session) else {
            self.revoke_session(session);
            return Ok(());
        };
        let mut merged = Vec::new();
        self.change(|revoked, until| merged = revoked.ended.end(namespace, id, login, until));
        if !merged.is_empty() {
            let _storing = self.storing.lock().await;
            for merged in merged {
                self.store_merged(kv, &merged).await?;
            }
        }
        Ok(())
    }

    /// Stores the moment until when all logins have ended that are not told apart any more, then deletes what
    /// was stored of each.
    async fn store_merged(&self, kv: &dyn Kv, merged: &Merged) -> Result<()> {
        let Merged { namespace, id, logins } = merged;
        let floor = {
            let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
            revoked.ended.floor(namespace, id.as_deref()).unwrap_or_default()
        };
        tracing::warn!(
            namespace,
            id,
            "too many logins have ended to tell them apart: older ones of the same account, or of the namespace \
             where that is not named, have ended with them"
        );
        let (key, until) = (before_key(namespace, id.as_deref()), SystemTime::now() + KEPT);
        kv.commit(Commit::new().put_until(TABLE, key, floor.to_string().into_bytes(), until)).await?;
        for together in logins.chunks(TOGETHER) {
            let keys = together.iter().map(|login| session_key(&login.simple().to_string()));
            kv.commit(keys.fold(Commit::new(), |commit, key| commit.delete(TABLE, key))).await?;
        }
        Ok(())
    }

    /// What [`Revocations::store_account`] stored holds from now on.
    pub(super) fn revoke_account(&self, namespace: &str, id: &str, floor: u64) {
        self.change(|revoked, until| revoked.revoke_account(namespace, id, floor, until));
    }

    /// What a process of a service was given has ended, until this server ends.
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
    async fn what_was_revoked_is_kept_for_as_long_as_a_token_may_live() {
        let kv: Arc<dyn Kv> = backend::open("memory:").await.unwrap();
        let revocations = Revocations::open(&kv).await.unwrap();
        let session = revocations.begin_session("shop", "a");
        kv.commit(Revocations::store_account(Commit::new(), "shop", "a", 2)).await.unwrap();
        revocations.revoke_account("shop", "a", 2);
        revocations.end_session(&*kv, "shop", "a", &session).await.unwrap();
        let last = SystemTime::now() + MAX_LIFE;
        let stored = crate::services::every(&*kv, TABLE, "").await.unwrap();
        assert!(stored.len() >= 2, "{stored:?}");
        for entry in stored {
            assert!(entry.expires_at.is_none_or(|until| until > last), "{entry:?}");
        }
        let mut revoked = revocations.revoked.write().unwrap();
        revoked.swept = 0;
        revoked.sweep(last);
        drop(revoked);
        assert!(!revocations.allow("shop", "a", &ties(1, "")));
        assert!(!revocations.allow("shop", "a", &ties(2, &session)));
    }

    #[tokio::test]
    async fn what_was_revoked_stays_so_after_a_restart() {
        let kv: Arc<dyn Kv> = backend::open("memory:").await.unwrap();
        let revocations = Revocations::open(&kv).await.unwrap();
        let mut changed = revocations.changed();
        assert!(revocations.allow("shop", "a/b", &ties(0, "s")));
        let session = revocations.begin_session("shop", "a/b");
        kv.commit(Revocations::store_account(Commit::new(), "shop", "a/b", 2)).await.unwrap();
        revocations.revoke_account("shop", "a/b", 2);
        revocations.end_session(&*kv, "shop", "a/b", &session).await.unwrap();
        // A token without a login, such as that of a service started by hand, ends with no login.
        revocations.revoke_session("");
        assert!(changed.has_changed().unwrap());
        changed.mark_unchanged();
        for revocations in [revocations, Revocations::open(&kv).await.unwrap()] {
            for (namespace, id, ties, expected) in [
                ("shop", "a/b", ties(1, ""), false),
                ("shop", "a/b", ties(2, ""), true),
                ("shop", "a/b", ties(2, &session), false),
                ("shop", "b", ties(2, &session), true),
                ("shop", "b", ties(0, ""), true),
                ("micro", "a/b", ties(0, "t"), true),
                ("shop", "a/b", Ties::of_process(&session), true),
            ] {
                assert_eq!(revocations.allow(namespace, id, &ties), expected, "{namespace} {id} {ties:?}");
            }
        }
    }

    #[tokio::test]
    async fn who_logs_in_and_out_all_day_is_kept_in_bounds_also_after_a_restart() {
        let kv: Arc<dyn Kv> = backend::open("memory:").await.unwrap();
        let revocations = Revocations::open(&kv).await.unwrap();
        let (live, other) = (revocations.begin_session("shop", "a"), revocations.begin_session("shop", "b"));
        let mut sessions = Vec::new();
        for _ in 0..2100 {
            let session = revocations.begin_session("shop", "a");
            assert!(revocations.allow("shop", "a", &ties(0, &session)));
            revocations.end_session(&*kv, "shop", "a", &session).await.unwrap();
            sessions.push(session);
        }
        let stored = crate::services::every(&*kv, TABLE, "revoked/").await.unwrap().len();
        assert!(stored <= 1024 + 1, "{stored}");
        for revocations in [revocations, Revocations::open(&kv).await.unwrap()] {
            assert!(revocations.revoked.read().unwrap().len() <= 1024 + 1);
            assert!(sessions.iter().all(|session| !revocations.allow("shop", "a", &ties(0, session))));
            assert!(!revocations.allow("shop", "a", &ties(0, &live)), "it began before those that ended");
            assert!(revocations.allow("shop", "b", &ties(0, &other)));
            let next = revocations.begin_session("shop", "a");
            assert!(revocations.allow("shop", "a", &ties(0, &next)));
        }
    }

    #[tokio::test]
    async fn a_namespace_ends_so_many_accounts_a_day_and_the_platform_some_more() {
        let kv: Arc<dyn Kv> = backend::open("memory:").await.unwrap();
        let revocations = Revocations::open(&kv).await.unwrap();
        for number in 0..ACCOUNTS {
            let id = number.to_string();
            revocations.check_room("shop", &id, false).unwrap();
            revocations.revoke_account("shop", &id, 1);
        }
        assert_eq!(revocations.check_room("shop", "one more", false).unwrap_err().code, 429);
        revocations.check_room("shop", "0", false).unwrap();
        revocations.check_room("shop", "one more", true).unwrap();
        revocations.check_room("other", "one more", false).unwrap();
    }
}
