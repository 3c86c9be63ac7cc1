//! What is wanted of a service, as it is stored, so that services come back after a restart.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use micro_sdk::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    backend::{Commit, Kv},
    services::{encode, every, secrets::Secrets},
    supervisor::{BuildEnvironment, Id, RestartPolicy, Source, Spec},
};

const TABLE: &str = "runtime";
/// How long a service that was killed is remembered, so that its callers learn that it was stopped
/// and are not told that nobody knows it.
const REMEMBERED: Duration = Duration::from_hours(24 * 30);

/// A service as somebody asked for it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Record {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) version: String,
    /// The source as it was named.
    pub(super) source: String,
    pub(super) origin: Source,
    /// Stored encrypted, in `sealed`; in clear only by programs older than that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) environment: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed: Option<String>,
    pub(super) instances: u32,
    pub(super) path: Option<String>,
    pub(super) cargo_home: Option<String>,
    pub(super) rustup_home: Option<String>,
    /// The content hash of the last good build.
    pub(super) binary: Option<String>,
    /// The name of the account that asked for it.
    pub(super) owner: String,
    pub(super) metadata: BTreeMap<String, String>,
    /// What the account of its processes may do, beside what every service may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "RestartPolicy::is_default")]
    pub(super) restart: RestartPolicy,
    /// It was killed: nothing of it is wanted, and only its name and source are remembered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) killed: bool,
}

impl Record {
    /// What is remembered of it after it was killed: its name, source and program, for those who call
    /// it or purge it, not its variables.
    fn after_kill(&self) -> Self {
        Self {
            environment: Vec::new(),
            sealed: None,
            path: None,
            cargo_home: None,
            rustup_home: None,
            killed: true,
            ..self.clone()
        }
    }

    pub(super) fn id(&self) -> Id {
        Id { namespace: self.namespace.clone(), name: self.name.clone(), version: self.version.clone() }
    }

    pub(super) fn spec(&self) -> Spec {
        Spec {
            id: self.id(),
            source: self.origin.clone(),
            environment: self.environment.clone(),
            scopes: self.scopes.clone(),
            instances: self.instances,
            build_environment: BuildEnvironment {
                path: self.path.clone(),
                cargo_home: self.cargo_home.clone(),
                rustup_home: self.rustup_home.clone(),
            },
            restart: self.restart,
            binary: self.binary.clone(),
        }
    }
}

/// A name may not have `/`, but a version, such as a branch, may.
fn key(id: &Id) -> String {
    format!("{}/{}/{}", id.namespace, id.name, id.version)
}

/// The stored services.
#[derive(Clone)]
pub(super) struct Records {
    kv: Arc<dyn Kv>,
    secrets: Arc<Secrets>,
}

impl Records {
    pub(super) fn new(kv: Arc<dyn Kv>, secrets: Arc<Secrets>) -> Self {
        Self { kv, secrets }
    }

    /// The services that are wanted.
    pub(super) async fn all(&self) -> Result<Vec<Record>> {
        let mut records = self.stored("").await?;
        records.retain(|record| !record.killed);
        records.into_iter().map(|record| self.unseal(record)).collect()
    }

    /// The versions of a service that are wanted or were killed, without their variables.
    pub(super) async fn versions(&self, namespace: &str, name: &str) -> Result<Vec<Record>> {
        // A name with a slash would be looked for among the versions of another one.
        if namespace.contains('/') || name.contains('/') {
            return Ok(Vec::new());
        }
        self.stored(&format!("{namespace}/{name}/")).await
    }

    /// A service that is wanted.
    pub(super) async fn get(&self, id: &Id) -> Result<Option<Record>> {
        let entry = self.kv.get(TABLE, key(id).as_bytes()).await?;
        let record = entry.map(|entry| decode(&entry.value)).transpose()?;
        record.filter(|record| !record.killed).map(|record| self.unseal(record)).transpose()
    }

    async fn stored(&self, prefix: &str) -> Result<Vec<Record>> {
        every(&*self.kv, TABLE, prefix).await?.iter().map(|entry| decode(&entry.value)).collect()
    }

    pub(super) async fn put(&self, record: &Record) -> Result<()> {
        let value = self.encode(record)?;
        self.kv.commit(Commit::new().put(TABLE, key(&record.id()), value)).await?;
        Ok(())
    }

    /// Notes the last good build of a service, if it is still there.
    pub(super) async fn put_binary(&self, id: &Id, hash: &str) -> Result<()> {
        let Some(entry) = self.kv.get(TABLE, key(id).as_bytes()).await? else { return Ok(()) };
        let record = decode(&entry.value)?;
        if record.killed {
            return Ok(());
        }
        let mut record = self.unseal(record)?;
        record.binary = Some(hash.to_owned());
        let value = self.encode(&record)?;
        let commit = Commit::new().require_version(TABLE, key(id), entry.version).put(TABLE, key(id), value);
        match self.kv.commit(commit).await {
            // Somebody changed or removed it meanwhile; the next build is noted anew.
            Ok(_) | Err(crate::backend::Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The service is not wanted any more, but remembered for a while.
    pub(super) async fn kill(&self, record: &Record) -> Result<()> {
        let until = SystemTime::now() + REMEMBERED;
        let value = self.encode(&record.after_kill())?;
        self.kv.commit(Commit::new().put_until(TABLE, key(&record.id()), value, until)).await?;
        Ok(())
    }

    /// Nothing is known of the service any more.
    pub(super) async fn delete(&self, id: &Id) -> Result<()> {
        self.kv.commit(Commit::new().delete(TABLE, key(id))).await?;
        Ok(())
    }

    fn encode(&self, record: &Record) -> Result<Vec<u8>> {
        let mut stored = record.clone();
        let environment = std::mem::take(&mut stored.environment);
        if !environment.is_empty() {
            let text = serde_json::to_string(&environment).map_err(|e| Error::internal(e.to_string()))?;
            stored.sealed = Some(self.secrets.seal(&record.namespace, &place(&record.id()), &text)?);
        }
        encode(&stored)
    }

    fn unseal(&self, mut record: Record) -> Result<Record> {
        if let Some(sealed) = record.sealed.take() {
            let id = record.id();
            let text = self.secrets.open_sealed(&record.namespace, &place(&id), &sealed).map_err(|_| {
                let text = format!("the variables of {} cannot be read, see the log: run it again", id.name);
                Error::internal(text)
            })?;
            record.environment = serde_json::from_str(&text).map_err(|error| damaged(&error))?;
        }
        Ok(record)
    }
}

fn decode(value: &[u8]) -> Result<Record> {
    serde_json::from_slice(value).map_err(|error| damaged(&error))
}

fn damaged(error: &serde_json::Error) -> Error {
    Error::internal(format!("a stored service is damaged: {error}"))
}

/// What the variables of a service are bound to; no path of the config is like it.
fn place(id: &Id) -> String {
    format!("\u{1}runtime/{}/{}", id.name, id.version)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Databases have records in these forms: they are read for ever, and written so.
    #[test]
    fn the_stored_form_stays() {
        for form in [
            r#"{"namespace":"shop","name":"cart","version":"latest","source":"/home/jane/cart","origin":{"kind":"cargo","folder":"/home/jane/cart","arguments":["-v"],"program":"cart"},"sealed":"AbC=","instances":2,"path":"/usr/bin","cargo_home":null,"rustup_home":"/r","binary":"00ff","owner":"jane","metadata":{"team":"a"},"scopes":["shop"],"restart":"never"}"#,
            r#"{"namespace":"micro","name":"web","version":"v1","source":".","origin":{"kind":"command","folder":"/srv/web","command":["node","main.js"]},"environment":[["A","1"]],"instances":1,"path":null,"cargo_home":null,"rustup_home":null,"binary":null,"owner":"admin","metadata":{},"killed":true}"#,
        ] {
            let record = decode(form.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&record).unwrap(), form);
        }
        let record = decode(br#"{"namespace":"shop","name":"cart","version":"latest","source":"c","origin":{"kind":"cargo","folder":"/c","arguments":[]},"instances":1,"path":null,"cargo_home":null,"rustup_home":null,"binary":null,"owner":"jane","metadata":{}}"#).unwrap();
        assert_eq!((record.restart, record.killed, record.sealed), (RestartPolicy::Unhealthy, false, None));
        let folder = PathBuf::from("/c");
        assert_eq!(record.origin, Source::Cargo { folder, arguments: Vec::new(), program: None });
    }
}
