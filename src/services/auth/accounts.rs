//! The stored accounts and refresh tokens.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use micro_sdk::{Error, Result, proto::auth::Account};
use serde::{Deserialize, Serialize};

use super::{caller::USER, secret, token::now};
use crate::{
    backend::{self, Commit, Kv},
    services::{PLATFORM, every},
};

const TABLE: &str = "auth";
/// How long a refresh token lives after its login.
const REFRESH_LIFE: Duration = Duration::from_hours(30 * 24);
/// The account and secret of a fresh server (reference: Micro v4's bootstrap account).
const DEFAULT_ACCOUNT: (&str, &str) = ("admin", "micro");

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
}

fn account_key(namespace: &str, id: &str) -> String {
    format!("account/{namespace}/{id}")
}

fn name_key(namespace: &str, name: &str) -> String {
    format!("name/{namespace}/{name}")
}

fn refresh_key(namespace: &str, token: &str) -> String {
    format!("refresh/{namespace}/{}", secret::digest(token))
}

impl Accounts {
    pub(super) fn new(kv: Arc<dyn Kv>) -> Self {
        Self { kv }
    }

    /// Stores a new account.
    ///
    /// # Errors
    /// 400 when its id or its name is taken.
    pub(super) async fn create(&self, namespace: &str, record: &Record) -> Result<()> {
        let (account, name) = (account_key(namespace, &record.id), name_key(namespace, &record.name));
        let value = serde_json::to_vec(record).map_err(|e| Error::internal(e.to_string()))?;
        let commit = Commit::new()
            .require_absent(TABLE, account.as_bytes())
            .require_absent(TABLE, name.as_bytes())
            .put(TABLE, account.as_bytes(), value)
            .put(TABLE, name.as_bytes(), record.id.clone().into_bytes());
        match self.kv.commit(commit).await {
            Ok(_) => Ok(()),
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
        let damaged = |e| Error::internal(format!("the stored account {id} is damaged: {e}"));
        serde_json::from_slice(&entry.value).map(Some).map_err(damaged)
    }

    /// Creates the account of a fresh server, if its namespace has no person's account yet.
    pub(super) async fn ensure_default(&self) -> Result<()> {
        let prefix = account_key(PLATFORM, "");
        for entry in every(&*self.kv, TABLE, &prefix).await? {
            if serde_json::from_slice::<Record>(&entry.value).is_ok_and(|record| record.r#type == USER) {
                return Ok(());
            }
        }
        let (id, chosen) = DEFAULT_ACCOUNT;
        let record = Record {
            id: id.to_owned(),
            name: id.to_owned(),
            r#type: USER.to_owned(),
            scopes: vec![super::caller::ADMIN.to_owned()],
            metadata: BTreeMap::from([("created".to_owned(), now().to_string())]),
            secret: secret::hash(chosen.to_owned()).await?,
            default_secret: true,
        };
        match self.create(PLATFORM, &record).await {
            // Somebody else was first.
            Err(error) if error.code == 400 => Ok(()),
            result => result,
        }
    }

    /// A new refresh token for an account.
    pub(super) async fn new_refresh_token(&self, namespace: &str, id: &str) -> Result<String> {
        let token = secret::generate()?;
        let until = SystemTime::now() + REFRESH_LIFE;
        let key = refresh_key(namespace, &token);
        self.kv.commit(Commit::new().put_until(TABLE, key.as_bytes(), id.as_bytes().to_vec(), until)).await?;
        Ok(token)
    }

    /// The account a refresh token was given to.
    pub(super) async fn refresh(&self, namespace: &str, token: &str) -> Result<Option<Record>> {
        match self.kv.get(TABLE, refresh_key(namespace, token).as_bytes()).await? {
            Some(entry) => self.by_id(namespace, &String::from_utf8_lossy(&entry.value)).await,
            None => Ok(None),
        }
    }

    /// Ends a refresh token; an unknown one is no error.
    pub(super) async fn revoke(&self, namespace: &str, token: &str) -> Result<()> {
        self.kv.commit(Commit::new().delete(TABLE, refresh_key(namespace, token).as_bytes())).await?;
        Ok(())
    }
}
