//! A commit: several changes and what must hold for them, all or nothing. It is a plain value;
//! the backends decide it (with [`Commit::check`], so that they agree) and carry it out.

use std::time::SystemTime;

use bytes::Bytes;

use super::{Entry, Error, MAX_COMMIT_BYTES, MAX_KEY, MAX_OPERATIONS, MAX_TABLE, MAX_VALUE, expiry};

/// Changes to make together. Preconditions speak of the state before the commit; the changes are
/// made in the order they are named, so the last one to a key counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commit {
    pub(super) operations: Vec<Operation>,
    pub(super) preconditions: Vec<Precondition>,
}

#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) table: String,
    pub(super) key: Vec<u8>,
    pub(super) change: Change,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Delete,
    Put {
        value: Bytes,
        /// Milliseconds since 1970.
        expires: Option<i64>,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Precondition {
    pub(super) table: String,
    pub(super) key: Vec<u8>,
    /// The version the entry must have; none if there must be no entry.
    pub(super) version: Option<u64>,
}

impl Commit {
    /// A commit that changes nothing and asks for nothing.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Set the value of a key, for good.
    pub(crate) fn put(
        self,
        table: impl Into<String>,
        key: impl Into<Vec<u8>>,
        value: impl Into<Bytes>,
    ) -> Self {
        let value = value.into();
        let expires = None;
        self.with(table, key, Change::Put { value, expires })
    }

    /// Set the value of a key until `expires_at` (kept in whole milliseconds). A time that has
    /// passed leaves the key absent.
    pub(crate) fn put_until(
        self,
        table: impl Into<String>,
        key: impl Into<Vec<u8>>,
        value: impl Into<Bytes>,
        expires_at: SystemTime,
    ) -> Self {
        let value = value.into();
        let expires = Some(expiry::to_millis(expires_at));
        self.with(table, key, Change::Put { value, expires })
    }

    /// Remove a key; no matter if it is not there.
    pub(crate) fn delete(self, table: impl Into<String>, key: impl Into<Vec<u8>>) -> Self {
        self.with(table, key, Change::Delete)
    }

    /// Only if the key is not there.
    pub(crate) fn require_absent(self, table: impl Into<String>, key: impl Into<Vec<u8>>) -> Self {
        self.require(table, key, None)
    }

    /// Only if the key is there in this version (see [`super::Entry::version`]).
    pub(crate) fn require_version(
        self,
        table: impl Into<String>,
        key: impl Into<Vec<u8>>,
        version: u64,
    ) -> Self {
        self.require(table, key, Some(version))
    }

    fn with(mut self, table: impl Into<String>, key: impl Into<Vec<u8>>, change: Change) -> Self {
        let (table, key) = (table.into(), key.into());
        self.operations.push(Operation { table, key, change });
        self
    }

    fn require(mut self, table: impl Into<String>, key: impl Into<Vec<u8>>, version: Option<u64>) -> Self {
        let (table, key) = (table.into(), key.into());
        self.preconditions.push(Precondition { table, key, version });
        self
    }

    /// Refuses what is beyond a limit, before any backend sees it.
    pub(super) fn validate(&self) -> Result<(), Error> {
        at_most(
            "changes and preconditions in a commit",
            self.operations.len() + self.preconditions.len(),
            MAX_OPERATIONS,
        )?;
        at_most("bytes in a commit", self.bytes(), MAX_COMMIT_BYTES)?;
        for operation in &self.operations {
            validate_name(&operation.table, &operation.key)?;
            if let Change::Put { value, .. } = &operation.change {
                at_most("bytes in a value", value.len(), MAX_VALUE)?;
            }
        }
        for precondition in &self.preconditions {
            validate_name(&precondition.table, &precondition.key)?;
        }
        Ok(())
    }

    /// Whether every precondition holds, where `version` tells the present version of a key.
    pub(super) fn check(&self, version: impl Fn(&str, &[u8]) -> Option<u64>) -> Result<(), Error> {
        for precondition in &self.preconditions {
            if version(&precondition.table, &precondition.key) != precondition.version {
                return Err(Error::Conflict {
                    table: precondition.table.clone(),
                    key: precondition.key.clone(),
                });
            }
        }
        Ok(())
    }

    /// The size of its keys and values.
    pub(super) fn bytes(&self) -> usize {
        self.operations.iter().map(Operation::bytes).sum()
    }
}

impl Operation {
    fn bytes(&self) -> usize {
        let value = match &self.change {
            Change::Delete => 0,
            Change::Put { value, .. } => value.len(),
        };
        self.key.len() + value
    }
}

impl Change {
    /// What the change comes to at the time `now`: a put in the past removes the key.
    pub(super) fn at(&self, now: i64) -> &Self {
        match self {
            Self::Put { expires: Some(expires), .. } if *expires <= now => &Self::Delete,
            change => change,
        }
    }
}

impl Entry {
    /// Adds a put of this entry to a commit that may only touch tables whose names begin with `prefix`.
    ///
    /// # Errors
    /// The table is another, or something is beyond a limit.
    pub(super) fn put_into(self, commit: Commit, prefix: &str, table: String) -> Result<Commit, Error> {
        if !table.starts_with(prefix) {
            return Err(Error::Invalid(format!("the table `{table}` does not begin with `{prefix}`")));
        }
        validate_name(&table, &self.key)?;
        at_most("bytes in a value", self.value.len(), MAX_VALUE)?;
        let expires = self.expires_at.map(expiry::to_millis);
        Ok(commit.with(table, self.key, Change::Put { value: self.value, expires }))
    }
}

fn validate_name(table: &str, key: &[u8]) -> Result<(), Error> {
    validate_table(table)?;
    at_most("bytes in a key", key.len(), MAX_KEY)
}

/// Refuses what cannot be the name of a table.
pub(super) fn validate_table(table: &str) -> Result<(), Error> {
    if table.is_empty() || table.contains('\0') {
        return Err(Error::Invalid("the name of a table is empty or contains a zero byte".into()));
    }
    at_most("bytes in the name of a table", table.len(), MAX_TABLE)
}

/// Refuses more of something than is allowed.
pub(super) fn at_most(what: &str, found: usize, limit: usize) -> Result<(), Error> {
    if found <= limit {
        return Ok(());
    }
    Err(Error::Invalid(format!("too many {what}: {found}, at most {limit} are allowed")))
}
