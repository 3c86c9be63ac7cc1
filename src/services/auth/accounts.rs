//! The stored accounts and refresh tokens.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use micro_sdk::{Error, Result, proto::auth::Account};
use ring::hmac;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{
    caller::USER,
    life::now,
    place::Place,
    revocation::{Revocations, Ties},
    secret,
    turns::Turns,
};
use crate::{
    backend::{self, Commit, Kv, Range},
    names,
    services::{PLATFORM, encode, every},
};

const TABLE: &str = "auth";
/// How long a login can be renewed.
const REFRESH_LIFE: Duration = Duration::from_hours(30 * 24);
/// How long it is known that an account has logged in at a place.
const PLACE_LIFE: Duration = Duration::from_hours(90 * 24);
/// How long an exchanged refresh token still gets its successor, for commands that run at the same
/// time, in seconds.
const REFRESH_GRACE: u64 = 60;
/// The account and secret of a fresh server (reference: Micro v4's bootstrap account).
const DEFAULT_ACCOUNT: (&str, &str) = (names::ADMINISTRATOR, "micro");

/// An account as it is stored.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) r#type: String,
    pub(super) scopes: Vec<String>,
    pub(super) metadata: BTreeMap<String, String>,
    /// The stored form of the secret.
    pub(super) secret: String,
    /// The secret is the one that every fresh server has.
    #[serde(default)]
    pub(super) default_secret: bool,
    /// Grows with each secret; what was issued for an older one does not count any more.
    #[serde(default)]
    pub(super) generation: u64,
    /// Tells the account from others of its id, before it and after it.
    #[serde(default)]
    pub(super) incarnation: String,
}

/// A refresh token as it is stored, under its digest.
#[derive(Debug, Deserialize, Serialize)]
struct Refresh {
    id: String,
    /// The login it comes from.
    session: String,
    generation: u64,
    /// That of the account.
    #[serde(default)]
    incarnation: String,
    /// When the login ends whatever happens, in Unix seconds.
    until: u64,
    /// When it was exchanged, in Unix seconds.
    used: Option<u64>,
}

/// A login that goes on.
pub(super) struct Renewed {
    pub(super) record: Record,
    pub(super) ties: Ties,
    /// The refresh token from now on.
    pub(super) successor: String,
}

impl Record {
    pub(super) fn account(&self, namespace: &str) -> Account {
        Account {
            id: self.id.clone(),
            name: self.name.clone(),
            r#type: self.r#type.clone(),
            scopes: self.scopes.clone(),
            metadata: self.metadata.clone().into_iter().collect::<HashMap<_, _>>(),
            issuer: namespace.to_owned(),
            secret: String::new(),
        }
    }
}

/// The accounts of every namespace.
pub(super) struct Accounts {
    kv: Arc<dyn Kv>,
    /// Makes the successors of refresh tokens.
    refresh_key: hmac::Key,
    /// There is a person's account on the platform; asked before every login, so kept in memory. Locked
    /// while the database is asked, so that an answer from before a deletion is not noted after it.
    has_person: Mutex<bool>,
    turns: Turns,
}

fn account_key(namespace: &str, id: &str) -> String {
    format!("account/{namespace}/{id}")
}

fn place_key(pair: &[u8; 32]) -> String {
    format!("place/{}", hex::encode(pair))
}

fn name_key(namespace: &str, name: &str) -> String {
    format!("name/{namespace}/{name}")
}

/// What the id of no other account may look like. Accounts of homes that are older than this have none.
fn look_keys(namespace: &str, id: &str) -> BTreeSet<String> {
    names::looks(id).into_iter().map(|look| format!("look/{namespace}/{}", secret::digest(&look))).collect()
}

fn refresh_key(namespace: &str, token: &str) -> String {
    format!("refresh/{namespace}/{}", secret::digest(token))
}

impl Accounts {
    /// `refresh_key` must be the same after a restart, and known to this server alone.
    pub(super) fn new(kv: Arc<dyn Kv>, refresh_key: hmac::Key, turns: Turns) -> Self {
        Self { kv, refresh_key, has_person: Mutex::default(), turns }
    }

    /// Stores a new account.
    ///
    /// # Errors
    /// 400 when its id or its name is taken.
    pub(super) async fn create(&self, namespace: &str, record: &Record) -> Result<()> {
        let (account, name) = (account_key(namespace, &record.id), name_key(namespace, &record.name));
        let value = encode(record)?;
        let mut commit = Commit::new()
            .require_absent(TABLE, account.as_bytes())
            .require_absent(TABLE, name.as_bytes())
            .put(TABLE, account.as_bytes(), value)
            .put(TABLE, name.as_bytes(), record.id.clone().into_bytes());
        for look in look_keys(namespace, &record.id) {
            commit = commit.require_absent(TABLE, look.as_bytes()).put(
                TABLE,
                look.as_bytes(),
                record.id.clone().into_bytes(),
            );
        }
        match self.kv.commit(commit).await {
            Ok(_) => Ok(()),
            Err(backend::Error::Conflict { key, .. }) if key.starts_with(b"look/") => {
                let other = self.kv.get(TABLE, &key).await?.map(|entry| entry.value);
                let other = other.map(|id| String::from_utf8_lossy(&id).into_owned()).unwrap_or_default();
                let refused = names::Refused::Alike(record.id.clone(), other);
                Err(Error::bad_request(refused.to_string()))
            }
            Err(backend::Error::Conflict { key, .. }) => {
                Err(Error::bad_request(if key == account.as_bytes() {
                    format!("an account with the id {} exists already", record.id)
                } else {
                    format!("an account with the name {} exists already", record.name)
                }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The account with this id, else the one with this name.
    pub(super) async fn find(&self, namespace: &str, id_or_name: &str) -> Result<Option<Record>> {
        if let Some(record) = self.by_id(namespace, id_or_name).await? {
            return Ok(Some(record));
        }
        match self.kv.get(TABLE, name_key(namespace, id_or_name).as_bytes()).await? {
            Some(entry) => self.by_id(namespace, &String::from_utf8_lossy(&entry.value)).await,
            None => Ok(None),
        }
    }

    async fn by_id(&self, namespace: &str, id: &str) -> Result<Option<Record>> {
        let key = account_key(namespace, id);
        let Some(entry) = self.kv.get(TABLE, key.as_bytes()).await? else {
            return Ok(None);
        };
        decode(id, &entry).map(Some)
    }

    /// Creates the account of a fresh server, if its namespace has no person's account yet.
    pub(super) async fn ensure_default(&self, revocations: &Revocations, place: Place) -> Result<()> {
        let mut has_person = self.has_person.lock().await;
        if *has_person {
            return Ok(());
        }
        let mut range = Range::prefix(account_key(PLATFORM, ""));
        loop {
            let page = self.kv.list(TABLE, &range).await?;
            let Some(last) = page.last() else { break };
            let person = |entry: &backend::Entry| {
                serde_json::from_slice::<Record>(&entry.value).is_ok_and(|record| record.r#type == USER)
            };
            if page.iter().any(person) {
                *has_person = true;
                return Ok(());
            }
            range = range.after(last.key.clone());
        }
        let (id, chosen) = DEFAULT_ACCOUNT;
        let turn = self.turns.take(place).await?;
        let record = Record {
            id: id.to_owned(),
            name: id.to_owned(),
            r#type: USER.to_owned(),
            scopes: vec![super::caller::ADMIN.to_owned()],
            metadata: BTreeMap::from([("created".to_owned(), now().to_string())]),
            secret: secret::hash(turn, chosen.to_owned()).await?,
            default_secret: true,
            generation: revocations.floor(PLATFORM, id),
            incarnation: unique(),
        };
        match self.create(PLATFORM, &record).await {
            // Somebody else was first.
            Err(error) if error.code == 400 => Ok(()),
            result => result,
        }
    }

    /// The accounts of a namespace, in the order of their ids.
    pub(super) async fn list(&self, namespace: &str) -> Result<Vec<Record>> {
        let entries = every(&*self.kv, TABLE, &account_key(namespace, "")).await?;
        let record = |entry: &backend::Entry| {
            serde_json::from_slice(&entry.value)
                .map_err(|e| Error::internal(format!("a stored account is damaged: {e}")))
        };
        entries.iter().map(record).collect()
    }

    /// Deletes an account, and with it all that was issued for it.
    ///
    /// # Errors
    /// 409 when it was changed meanwhile, 404 when it is gone.
    pub(super) async fn delete(&self, namespace: &str, id: &str, revocations: &Revocations) -> Result<()> {
        let (record, version) = self.present(namespace, id).await?;
        let floor = record.generation + 1;
        let key = account_key(namespace, id);
        let mut commit = Commit::new()
            .require_version(TABLE, key.as_bytes(), version)
            .delete(TABLE, key.as_bytes())
            .delete(TABLE, name_key(namespace, &record.name));
        for look in look_keys(namespace, id) {
            let entry = self.kv.get(TABLE, look.as_bytes()).await?;
            if entry.is_some_and(|entry| &*entry.value == id.as_bytes()) {
                commit = commit.delete(TABLE, look.as_bytes());
            }
        }
        self.end_generation(commit, namespace, id, floor, revocations).await?;
        // It may have been the last one.
        if namespace == PLATFORM {
            *self.has_person.lock().await = false;
        }
        Ok(())
    }

    /// Gives an account another secret; all that was issued for the old one ends.
    ///
    /// # Errors
    /// 409 when it was changed meanwhile, 404 when it is gone.
    pub(super) async fn change_secret(
        &self,
        namespace: &str,
        id: &str,
        stored_secret: String,
        revocations: &Revocations,
    ) -> Result<()> {
        let (mut record, version) = self.present(namespace, id).await?;
        record.secret = stored_secret;
        record.default_secret = false;
        record.generation += 1;
        let key = account_key(namespace, id);
        let commit = Commit::new().require_version(TABLE, key.as_bytes(), version).put(
            TABLE,
            key.as_bytes(),
            encode(&record)?,
        );
        self.end_generation(commit, namespace, id, record.generation, revocations).await
    }

    /// An account and its version.
    async fn present(&self, namespace: &str, id: &str) -> Result<(Record, u64)> {
        let gone = || Error::not_found(format!("no account {id} in namespace {namespace}"));
        let entry = self.kv.get(TABLE, account_key(namespace, id).as_bytes()).await?.ok_or_else(gone)?;
        Ok((decode(id, &entry)?, entry.version))
    }

    /// Makes a change after which what was issued for older generations of an account has ended.
    async fn end_generation(
        &self,
        commit: Commit,
        namespace: &str,
        id: &str,
        floor: u64,
        revocations: &Revocations,
    ) -> Result<()> {
        match self.kv.commit(Revocations::store_account(commit, namespace, id, floor)).await {
            Ok(_) => {}
            Err(backend::Error::Conflict { .. }) => {
                return Err(Error::conflict(format!("account {id} was changed meanwhile: try again")));
            }
            Err(error) => return Err(error.into()),
        }
        revocations.revoke_account(namespace, id, floor);
        Ok(())
    }

    /// Whether an account has logged in at a place before.
    pub(super) async fn knows(&self, pair: &[u8; 32]) -> Result<bool> {
        Ok(self.kv.get(TABLE, place_key(pair).as_bytes()).await?.is_some())
    }

    /// An account has logged in at a place for the first time, or after a long time.
    pub(super) async fn remember(&self, pair: &[u8; 32]) -> Result<()> {
        let until = SystemTime::now() + PLACE_LIFE;
        self.kv.commit(Commit::new().put_until(TABLE, place_key(pair), Vec::new(), until)).await?;
        Ok(())
    }

    /// A new login of an account: its refresh token, and what ties its tokens to it.
    pub(super) async fn begin_session(
        &self,
        namespace: &str,
        record: &Record,
        revocations: &Revocations,
    ) -> Result<(String, Ties)> {
        let (token, session) = (secret::generate()?, revocations.begin_session(namespace, &record.id));
        let until = now() + REFRESH_LIFE.as_secs();
        let refresh = Refresh {
            id: record.id.clone(),
            session: session.clone(),
            generation: record.generation,
            incarnation: record.incarnation.clone(),
            until,
            used: None,
        };
        self.kv.commit(put_refresh(Commit::new(), namespace, &token, &refresh)?).await?;
        Ok((token, Ties { generation: record.generation, session }))
    }

    /// Exchanges a refresh token for its successor. One that was exchanged before gets the same
    /// successor for a minute; later it must have been stolen, and the whole login ends.
    ///
    /// # Errors
    /// 400 for a token that is not valid, without a word about why.
    pub(super) async fn renew(
        &self,
        namespace: &str,
        token: &str,
        revocations: &Revocations,
    ) -> Result<Renewed> {
        let invalid = || Error::bad_request("the refresh token is not valid or has expired: log in again");
        let key = refresh_key(namespace, token);
        let successor = self.successor(token);
        loop {
            let entry = self.kv.get(TABLE, key.as_bytes()).await?.ok_or_else(invalid)?;
            let refresh: Refresh = serde_json::from_slice(&entry.value).map_err(|_| invalid())?;
            let ties = Ties { generation: refresh.generation, session: refresh.session.clone() };
            let record = self.by_id(namespace, &refresh.id).await?.ok_or_else(invalid)?;
            let same = (record.generation, &record.incarnation) == (refresh.generation, &refresh.incarnation);
            if !same || !revocations.allow(namespace, &record.id, &ties) {
                return Err(invalid());
            }
            match refresh.used {
                Some(used) if now() <= used + REFRESH_GRACE => {}
                Some(_) => {
                    self.end_session(namespace, token, &refresh, revocations).await?;
                    tracing::warn!(
                        account = record.id,
                        namespace,
                        "a refresh token was used again: its login has ended"
                    );
                    return Err(invalid());
                }
                None => {
                    let next = Refresh { used: None, ..refresh.clone_for_successor() };
                    let used = Refresh { used: Some(now()), ..refresh };
                    let commit = Commit::new().require_version(TABLE, key.as_bytes(), entry.version);
                    let commit = put_refresh(commit, namespace, token, &used)?;
                    match self.kv.commit(put_refresh(commit, namespace, &successor, &next)?).await {
                        Ok(_) => {}
                        // Another command exchanged it at the same time.
                        Err(backend::Error::Conflict { .. }) => continue,
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            return Ok(Renewed { record, ties, successor });
        }
    }

    /// The one token that follows a refresh token: made of it and of a key of this server, so that it
    /// is the same for all who ask, and stored nowhere in clear.
    fn successor(&self, token: &str) -> String {
        secret::encode(hmac::sign(&self.refresh_key, token.as_bytes()).as_ref())
    }

    /// Ends the login a refresh token belongs to; an unknown one is no error.
    pub(super) async fn revoke(&self, namespace: &str, token: &str, revocations: &Revocations) -> Result<()> {
        let Some(entry) = self.kv.get(TABLE, refresh_key(namespace, token).as_bytes()).await? else {
            return Ok(());
        };
        match serde_json::from_slice::<Refresh>(&entry.value) {
            Ok(refresh) => self.end_session(namespace, token, &refresh, revocations).await,
            Err(_) => Ok(()),
        }
    }

    /// Ends the login a refresh token belongs to, for good: its access tokens do not count any more, and
    /// the last of the tokens that followed this one, which alone could renew it, is gone.
    async fn end_session(
        &self,
        namespace: &str,
        token: &str,
        refresh: &Refresh,
        revocations: &Revocations,
    ) -> Result<()> {
        // No renewal of it begins from now on, so that there is a last one.
        revocations.end_session(&*self.kv, namespace, &refresh.id, &refresh.session).await?;
        let mut last = token.to_owned();
        loop {
            let next = self.successor(&last);
            if self.kv.get(TABLE, refresh_key(namespace, &next).as_bytes()).await?.is_some() {
                last = next;
                continue;
            }
            let key = refresh_key(namespace, &last);
            let Some(entry) = self.kv.get(TABLE, key.as_bytes()).await? else { return Ok(()) };
            let commit = Commit::new().require_version(TABLE, key.as_bytes(), entry.version);
            match self.kv.commit(commit.delete(TABLE, key.as_bytes())).await {
                Ok(_) => return Ok(()),
                // A renewal that had begun before has given it a successor.
                Err(backend::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Refresh {
    fn clone_for_successor(&self) -> Self {
        Self {
            id: self.id.clone(),
            session: self.session.clone(),
            incarnation: self.incarnation.clone(),
            ..*self
        }
    }
}

/// A name that nothing else has.
pub(super) fn unique() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn decode(id: &str, entry: &backend::Entry) -> Result<Record> {
    let damaged = |e| Error::internal(format!("the stored account {id} is damaged: {e}"));
    serde_json::from_slice(&entry.value).map_err(damaged)
}

fn put_refresh(commit: Commit, namespace: &str, token: &str, refresh: &Refresh) -> Result<Commit> {
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(refresh.until);
    Ok(commit.put_until(TABLE, refresh_key(namespace, token), encode(refresh)?, until))
}

#[cfg(test)]
mod tests;
