//! What is wanted of a service, as it is stored, so that services come back after a restart.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use micro_sdk::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    backend::{Commit, Kv},
    services::every,
    supervisor::{BuildEnvironment, Id, Source, Spec},
};

const TABLE: &str = "runtime";

/// Where the program of a service comes from.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Origin {
    /// A cargo project in a folder of this machine.
    Cargo { folder: PathBuf, arguments: Vec<String> },
    /// A program that is there already.
    Command { folder: PathBuf, command: Vec<String> },
}

impl Origin {
    pub(super) fn folder(&self) -> &PathBuf {
        match self {
            Self::Cargo { folder, .. } | Self::Command { folder, .. } => folder,
        }
    }
}

/// A service as somebody asked for it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Record {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) version: String,
    /// The source as it was named.
    pub(super) source: String,
    pub(super) origin: Origin,
    pub(super) environment: Vec<(String, String)>,
    pub(super) instances: u32,
    pub(super) path: Option<String>,
    pub(super) cargo_home: Option<String>,
    pub(super) rustup_home: Option<String>,
    /// The content hash of the last good build.
    pub(super) binary: Option<String>,
    /// The name of the account that asked for it.
    pub(super) owner: String,
    pub(super) metadata: BTreeMap<String, String>,
}

impl Record {
    pub(super) fn id(&self) -> Id {
        Id { namespace: self.namespace.clone(), name: self.name.clone(), version: self.version.clone() }
    }

    pub(super) fn spec(&self) -> Spec {
        Spec {
            id: self.id(),
            source: match self.origin.clone() {
                Origin::Cargo { folder, arguments } => Source::Cargo { folder, arguments },
                Origin::Command { folder, command } => Source::Command { folder, command },
            },
            environment: self.environment.clone(),
            instances: self.instances,
            build_environment: BuildEnvironment {
                path: self.path.clone(),
                cargo_home: self.cargo_home.clone(),
                rustup_home: self.rustup_home.clone(),
            },
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
pub(super) struct Records(Arc<dyn Kv>);

impl Records {
    pub(super) fn new(kv: Arc<dyn Kv>) -> Self {
        Self(kv)
    }

    pub(super) async fn all(&self) -> Result<Vec<Record>> {
        let entries = every(&*self.0, TABLE, "").await?;
        entries.iter().map(|entry| decode(&entry.value)).collect()
    }

    pub(super) async fn get(&self, id: &Id) -> Result<Option<Record>> {
        let entry = self.0.get(TABLE, key(id).as_bytes()).await?;
        entry.map(|entry| decode(&entry.value)).transpose()
    }

    pub(super) async fn put(&self, record: &Record) -> Result<()> {
        let value = serde_json::to_vec(record).map_err(|e| Error::internal(e.to_string()))?;
        self.0.commit(Commit::new().put(TABLE, key(&record.id()), value)).await?;
        Ok(())
    }

    /// Notes the last good build of a service, if it is still there.
    pub(super) async fn put_binary(&self, id: &Id, hash: &str) -> Result<()> {
        let Some(entry) = self.0.get(TABLE, key(id).as_bytes()).await? else { return Ok(()) };
        let mut record = decode(&entry.value)?;
        record.binary = Some(hash.to_owned());
        let value = serde_json::to_vec(&record).map_err(|e| Error::internal(e.to_string()))?;
        let commit = Commit::new().require_version(TABLE, key(id), entry.version).put(TABLE, key(id), value);
        match self.0.commit(commit).await {
            // Somebody changed or removed it meanwhile; the next build is noted anew.
            Ok(_) | Err(crate::backend::Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn delete(&self, id: &Id) -> Result<()> {
        self.0.commit(Commit::new().delete(TABLE, key(id))).await?;
        Ok(())
    }
}

fn decode(value: &[u8]) -> Result<Record> {
    serde_json::from_slice(value).map_err(|e| Error::internal(format!("a stored service is damaged: {e}")))
}
