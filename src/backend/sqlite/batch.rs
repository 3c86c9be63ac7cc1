//! The writes that waited together, decided one after another as if each had run alone, and boiled
//! down to the last change of every key and what logs get. Nothing here touches the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use super::{
    appends::{Appends, Heads},
    checksum,
    json::{array, push_hex, push_text},
    write::{MAX_INLINE, Name, Write},
};
use crate::backend::{
    Commit, Entry, Error,
    commit::{Change, Operation, Precondition},
    expiry,
};

/// What a batch leaves behind: for every key it touches, in the order of the primary key, and in logs.
pub(super) struct Batch<'a> {
    changes: BTreeMap<Name<'a>, Outcome<'a>>,
    appends: Appends<'a>,
    version: u64,
}

enum Outcome<'a> {
    Absent,
    Present(Put<'a>),
}

/// The last put to a key.
#[derive(Clone, Copy)]
pub(super) struct Put<'a> {
    pub(super) value: &'a Bytes,
    pub(super) version: u64,
    pub(super) expires: Option<i64>,
}

impl Put<'_> {
    /// The checksum of the entry that this makes.
    pub(super) fn checksum(&self, name: Name<'_>) -> i64 {
        checksum::of_entry(name, self.version, self.expires, self.value)
    }

    /// The entry that this makes. The value is a copy, since it may be a small part of a message.
    fn entry(&self, key: &[u8]) -> Entry {
        Entry {
            key: key.to_vec(),
            value: Bytes::copy_from_slice(self.value),
            version: self.version,
            expires_at: self.expires.map(expiry::from_millis),
        }
    }
}

/// What is stored under the required keys that are there.
pub(super) type Stored<'a> = HashMap<Name<'a>, Found>;

/// What is stored under a required key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// An entry of this version.
    Version(u64),
    /// Not what was written, so that nothing can be decided by it.
    Damaged,
}

/// The keys whose present version decides about the commits, each once.
pub(super) fn required(writes: &[Write]) -> Vec<Name<'_>> {
    let names: BTreeSet<Name<'_>> = writes
        .iter()
        .filter_map(|write| match write {
            Write::Commit(commit) => Some(&commit.preconditions),
            Write::Append { .. } | Write::Trim { .. } => None,
        })
        .flatten()
        .map(|precondition| (precondition.table.as_str(), precondition.key.as_slice()))
        .collect();
    names.into_iter().collect()
}

/// The logs that are written to, each once.
pub(super) fn logs(writes: &[Write]) -> Vec<&str> {
    let names: BTreeSet<&str> = writes
        .iter()
        .filter_map(|write| match write {
            Write::Commit(_) => None,
            Write::Append { log, .. } | Write::Trim { log, .. } => Some(log.as_str()),
        })
        .collect();
    names.into_iter().collect()
}

impl<'a> Batch<'a> {
    /// Decides every write at the time `now`, where `version` is the last one given out. A commit
    /// that requires something of a damaged entry fails; one that only writes it heals it.
    pub(super) fn decide(
        writes: &'a [Write],
        stored: &Stored<'_>,
        heads: Heads<'a>,
        version: u64,
        now: i64,
    ) -> (Self, Vec<Result<u64, Error>>) {
        let mut batch = Self { changes: BTreeMap::new(), appends: Appends::new(heads), version };
        let answers = writes
            .iter()
            .map(|write| match write {
                Write::Commit(commit) => batch.commit(commit, stored, now),
                Write::Append { log, records } => batch.appends.append(log, records, now),
                Write::Trim { log, below } => batch.appends.trim(log, *below),
            })
            .collect();
        (batch, answers)
    }

    fn commit(&mut self, commit: &'a Commit, stored: &Stored<'_>, now: i64) -> Result<u64, Error> {
        self.refuse_damaged(commit, stored)?;
        commit.check(|table, key| self.current((table, key), stored))?;
        if !commit.operations.is_empty() {
            self.version += 1;
        }
        for operation in &commit.operations {
            self.apply(operation, now);
        }
        Ok(self.version)
    }

    /// The last version given out.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether no key is touched.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The keys it touches, each with the entry it will have, if any.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (Name<'a>, Option<Entry>)> {
        self.changes.iter().map(|(name, outcome)| match outcome {
            Outcome::Absent => (*name, None),
            Outcome::Present(put) => (*name, Some(put.entry(name.1))),
        })
    }

    /// The keys it touches.
    pub(super) fn names(&self) -> impl Iterator<Item = Name<'a>> {
        self.changes.keys().copied()
    }

    /// What logs get.
    pub(super) fn appends(&self) -> &Appends<'a> {
        &self.appends
    }

    /// The puts that are bound one by one.
    pub(super) fn large(&self) -> impl Iterator<Item = (Name<'a>, Put<'a>)> {
        self.puts().filter(|(_, put)| put.value.len() > MAX_INLINE)
    }

    /// The keys to delete, as `[[table, key], …]` with the keys in hexadecimal.
    pub(super) fn deletes_json(&self) -> String {
        let absent = self.changes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Absent));
        names_json(absent.map(|(name, _)| *name))
    }

    /// The other puts, as `[[table, key, version, expires, checksum, value], …]` with keys and
    /// values in hexadecimal.
    pub(super) fn puts_json(&self) -> String {
        let small = self.puts().filter(|(_, put)| put.value.len() <= MAX_INLINE);
        array(small, |json, (name, put)| {
            push_name(json, name);
            json.push(',');
            json.push_str(&put.version.to_string());
            json.push(',');
            match put.expires {
                Some(expires) => json.push_str(&expires.to_string()),
                None => json.push_str("null"),
            }
            json.push(',');
            json.push_str(&put.checksum(name).to_string());
            json.push_str(",\"");
            push_hex(json, put.value);
            json.push('"');
        })
    }

    /// Every put.
    pub(super) fn puts(&self) -> impl Iterator<Item = (Name<'a>, Put<'a>)> {
        self.changes.iter().filter_map(|(name, outcome)| match outcome {
            Outcome::Absent => None,
            Outcome::Present(put) => Some((*name, *put)),
        })
    }

    fn refuse_damaged(&self, commit: &Commit, stored: &Stored<'_>) -> Result<(), Error> {
        for Precondition { table, key, .. } in &commit.preconditions {
            let name = (table.as_str(), key.as_slice());
            if stored.get(&name) == Some(&Found::Damaged) && !self.changes.contains_key(&name) {
                return Err(Error::DamagedEntry { table: table.clone(), key: key.clone() });
            }
        }
        Ok(())
    }

    fn current(&self, name: Name<'_>, stored: &Stored<'_>) -> Option<u64> {
        match self.changes.get(&name) {
            Some(Outcome::Absent) => None,
            Some(Outcome::Present(put)) => Some(put.version),
            None => match stored.get(&name)? {
                Found::Version(version) => Some(*version),
                Found::Damaged => None,
            },
        }
    }

    fn apply(&mut self, operation: &'a Operation, now: i64) {
        let outcome = match operation.change.at(now) {
            Change::Delete => Outcome::Absent,
            Change::Put { value, expires } => {
                Outcome::Present(Put { value, version: self.version, expires: *expires })
            }
        };
        self.changes.insert((&operation.table, &operation.key), outcome);
    }
}

/// Names as `[[table, key], …]` with the keys in hexadecimal.
pub(super) fn names_json<'a>(names: impl Iterator<Item = Name<'a>>) -> String {
    array(names, push_name)
}

fn push_name(json: &mut String, (table, key): Name<'_>) {
    push_text(json, table);
    json.push_str(",\"");
    push_hex(json, key);
    json.push('"');
}
