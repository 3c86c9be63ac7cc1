//! Changes that belong together.

use micro_proto::store::{BatchRequest, Change, change};

use super::{Put, Table};
use crate::{Error, Result, blocks::store::StoreClient};

/// Changes that are made all or none, in the order they are named. At most 2,000, and together no
/// larger than a message.
#[derive(Debug)]
#[must_use = "nothing is changed before `commit`"]
pub struct Batch {
    client: StoreClient,
    request: BatchRequest,
    /// Why it cannot be sent.
    problem: Option<Error>,
}

impl Batch {
    pub(super) fn new(client: StoreClient, request: BatchRequest) -> Self {
        Self { client, request, problem: None }
    }

    /// Sets the value of a key, for good.
    pub fn put<T>(self, table: &Table<T>, key: &str, value: &T) -> Self {
        self.put_with(table, key, value, Put::new())
    }

    /// Sets the value of a key with a time to live, or makes all of the batch depend on a condition,
    /// which speaks of what is there before it.
    pub fn put_with<T>(mut self, table: &Table<T>, key: &str, value: &T, put: Put) -> Self {
        let if_version = put.if_version;
        match table.record(key, value, put) {
            Ok(record) => self.add(table, Some(change::Change::Write(record)), if_version),
            Err(error) => self.problem = self.problem.or(Some(error)),
        }
        self
    }

    /// Removes a key; no matter if it is not there.
    pub fn delete<T>(mut self, table: &Table<T>, key: &str) -> Self {
        self.add(table, Some(change::Change::Delete(table.place.key(key))), None);
        self
    }

    /// Removes a key, and makes all of the batch depend on its having this version.
    pub fn delete_version<T>(mut self, table: &Table<T>, key: &str, version: u64) -> Self {
        self.add(table, Some(change::Change::Delete(table.place.key(key))), Some(version));
        self
    }

    /// Makes the changes; returns the version of all values that were put.
    ///
    /// # Errors
    /// 412 when a condition does not hold, and whatever else the store answers. Then nothing was
    /// changed.
    pub async fn commit(self) -> Result<u64> {
        match self.problem {
            Some(problem) => Err(problem),
            None => Ok(self.client.batch(self.request).await?.version),
        }
    }

    fn add<T>(&mut self, table: &Table<T>, change: Option<change::Change>, if_version: Option<u64>) {
        let table = table.place.table.clone();
        self.request.changes.push(Change { table, change, if_version });
    }
}
