//! Tables with values of one type.

use std::{collections::HashMap, fmt, time::Duration};

use micro_proto::store::{
    DeleteOptions, DeleteRequest, Field, ReadOptions, ReadRequest, Record, WriteOptions, WriteRequest,
};
use prost::{Message, Name};
use serde::{Serialize, de::DeserializeOwned};

use super::{Place, records::Records};
use crate::{Error, Result};

/// The metadata of a record whose value is a message: its full name, such as `shop.Product`.
pub const MESSAGE: &str = "message";

/// A table with values of type `T`. Cheap to clone; made by [`super::Store`].
///
/// A key is any text of at most 4,096 bytes without NUL, the name of the table included.
pub struct Table<T> {
    pub(super) place: Place,
    /// The full name of the message that a value is, for those who read it without knowing the type.
    message: Option<String>,
    encode: fn(&T) -> Result<Vec<u8>>,
    decode: fn(Vec<u8>) -> Result<T>,
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    pub(super) fn json(place: Place) -> Self {
        let encode = |value: &T| {
            let unfit = |e| Error::internal(format!("the value cannot be written as JSON: {e}"));
            serde_json::to_vec(value).map_err(unfit)
        };
        let decode = |bytes: Vec<u8>| {
            serde_json::from_slice(&bytes).map_err(|e| Error::internal(format!("has another form: {e}")))
        };
        Self { place, message: None, encode, decode }
    }
}

impl Table<Vec<u8>> {
    pub(super) fn plain(place: Place) -> Self {
        Self { place, message: None, encode: |value| Ok(value.clone()), decode: Ok }
    }
}

impl<T: Message + Name + Default> Table<T> {
    pub(super) fn messages(place: Place) -> Self {
        let decode = |bytes: Vec<u8>| {
            T::decode(bytes.as_slice())
                .map_err(|e| Error::internal(format!("is no message `{}`: {e}", T::full_name())))
        };
        Self { place, message: Some(T::full_name()), encode: |value| Ok(value.encode_to_vec()), decode }
    }
}

impl<T> Table<T> {
    /// The value of a key, if it is there.
    ///
    /// # Errors
    /// What the store answers, or 500 for a value of another form than `T`.
    pub async fn get(&self, key: &str) -> Result<Option<T>> {
        Ok(self.entry(key).await?.map(|entry| entry.value))
    }

    /// The value of a key with what else is known of it.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn entry(&self, key: &str) -> Result<Option<Entry<T>>> {
        let request = self.reading(self.place.key(key), false);
        match self.place.client.read(request).await {
            Ok(response) => response.records.into_iter().next().map(|record| self.told(record)).transpose(),
            Err(error) if error.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the value of a key, for good; returns its version.
    ///
    /// # Errors
    /// What the store answers: 413 for a value that is too large, 403 for a table that takes a rule.
    pub async fn put(&self, key: &str, value: &T) -> Result<u64> {
        self.put_with(key, value, Put::new()).await
    }

    /// Sets the value of a key with a time to live, or only if a condition holds; returns its version.
    ///
    /// # Errors
    /// 412 when the condition does not hold; else as [`Table::put`].
    pub async fn put_with(&self, key: &str, value: &T, put: Put) -> Result<u64> {
        let if_version = put.if_version;
        let options = WriteOptions {
            database: self.place.database.clone(),
            table: self.place.table.clone(),
            if_version,
        };
        let request = WriteRequest { record: Some(self.record(key, value, put)?), options: Some(options) };
        Ok(self.place.client.write(request).await?.version)
    }

    /// Sets the value of a key if its version is the expected one, none meaning that the key is not
    /// there. Returns the new version, or none when somebody else was faster: read again, then try
    /// again.
    ///
    /// # Errors
    /// As [`Table::put`].
    pub async fn compare_and_set(&self, key: &str, expected: Option<u64>, value: &T) -> Result<Option<u64>> {
        match self.put_with(key, value, Put::new().if_version(expected.unwrap_or(0))).await {
            Ok(version) => Ok(Some(version)),
            Err(error) if error.code == 412 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a key; false if it was not there.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn delete(&self, key: &str) -> Result<bool> {
        let options = DeleteOptions {
            database: self.place.database.clone(),
            table: self.place.table.clone(),
            if_version: None,
        };
        let request = DeleteRequest { key: self.place.key(key), options: Some(options) };
        Ok(self.place.client.delete(request).await?.existed)
    }

    /// The entries whose keys begin with `prefix`, in the order of their keys.
    #[must_use]
    pub fn list(&self, prefix: &str) -> Entries<T> {
        let request = self.reading(self.place.key(prefix), true);
        let records = Records::new(self.place.client.clone(), request);
        Entries { table: self.clone(), records, bounds: None, first: None }
    }

    /// The entries whose keys are at least `from` and less than `to`, in the order of their keys.
    #[must_use]
    pub fn range(&self, from: &str, to: &str) -> Entries<T> {
        let common: String =
            from.chars().zip(to.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
        let mut entries = self.list(&common);
        if from >= to {
            entries.records.stop();
            return entries;
        }
        let (from, to) = (self.place.key(from), self.place.key(to));
        // What comes after a key leaves that key out: the first one is asked for by itself.
        entries.records.options().after.clone_from(&from);
        entries.first = (!from.is_empty()).then(|| from.clone());
        entries.bounds = Some((from, to));
        entries
    }

    pub(super) fn record(&self, key: &str, value: &T, put: Put) -> Result<Record> {
        let Put { life, mut metadata, .. } = put;
        if let Some(name) = &self.message {
            let field = Field { r#type: "string".to_owned(), value: name.clone() };
            metadata.insert(MESSAGE.to_owned(), field);
        }
        // Less than a millisecond is still not without end.
        let life = life.map_or(0, |life| i64::try_from(life.as_millis()).unwrap_or(i64::MAX).max(1));
        Ok(Record {
            key: self.place.key(key),
            value: (self.encode)(value)?,
            metadata,
            expiry_ms: life,
            ..Record::default()
        })
    }

    fn reading(&self, key: String, prefix: bool) -> ReadRequest {
        let options = ReadOptions {
            database: self.place.database.clone(),
            table: self.place.table.clone(),
            prefix,
            ..ReadOptions::default()
        };
        ReadRequest { key, options: Some(options) }
    }

    fn told(&self, record: Record) -> Result<Entry<T>> {
        let Record { key, value, metadata, expiry_ms, version, .. } = self.place.named(record);
        let value = (self.decode)(value)
            .map_err(|e| Error { detail: format!("the value of `{key}` {}", e.detail), ..e })?;
        let expires_in = u64::try_from(expiry_ms).ok().filter(|life| *life > 0).map(Duration::from_millis);
        let metadata = metadata.into_iter().map(|(name, field)| (name, field.value)).collect();
        Ok(Entry { key, value, version, expires_in, metadata })
    }
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        let Self { place, message, encode, decode } = self;
        Self { place: place.clone(), message: message.clone(), encode: *encode, decode: *decode }
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { table, prefix, .. } = &self.place;
        f.debug_struct("Table").field("table", table).field("prefix", prefix).finish_non_exhaustive()
    }
}

/// A value with what else is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<T> {
    /// Its key in the table.
    pub key: String,
    /// The value.
    pub value: T,
    /// Larger with each write.
    pub version: u64,
    /// How long it is still there; none if for good.
    pub expires_in: Option<Duration>,
    /// The metadata given by its writer.
    pub metadata: HashMap<String, String>,
}

/// How a value is put.
#[derive(Clone, Debug, Default)]
pub struct Put {
    life: Option<Duration>,
    pub(super) if_version: Option<u64>,
    metadata: HashMap<String, Field>,
}

impl Put {
    /// For good, whatever is there.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// It is gone after this time, at least a millisecond.
    #[must_use]
    pub fn ttl(mut self, life: Duration) -> Self {
        self.life = Some(life);
        self
    }

    /// Only if the key is not there.
    #[must_use]
    pub fn if_absent(self) -> Self {
        self.if_version(0)
    }

    /// Only if the key has this version.
    #[must_use]
    pub fn if_version(mut self, version: u64) -> Self {
        self.if_version = Some(version);
        self
    }

    /// With a note.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let field = Field { r#type: "string".to_owned(), value: value.into() };
        self.metadata.insert(name.into(), field);
        self
    }
}

/// Entries of a table, read page by page as they are wanted. What is written meanwhile may or may not
/// be among them.
#[derive(Debug)]
pub struct Entries<T> {
    table: Table<T>,
    records: Records,
    /// The first whole key, and the one after the last.
    bounds: Option<(String, String)>,
    /// A key that is to be looked up before the pages.
    first: Option<String>,
}

impl<T> Entries<T> {
    /// From the last to the first. To be said before the first [`Entries::next`].
    #[must_use]
    pub fn descending(mut self) -> Self {
        if let Some((_, to)) = &self.bounds {
            self.first = None;
            self.records.options().after.clone_from(to);
        }
        "desc".clone_into(&mut self.records.options().order);
        self
    }

    /// Only those that follow `key` in the order they are listed in, which need not be there any more: the
    /// last key of a page begins the next one. To be said after [`Entries::descending`] and before the first
    /// [`Entries::next`].
    ///
    /// ```
    /// # use micro_sdk::{Context, Result};
    /// # async fn example(cx: Context, token: &str) -> Result<()> {
    /// let table = cx.store().table::<String>("products");
    /// let page = table.list("").after(token).limit(50).collect().await?;
    /// let next_token = page.last().map(|entry| entry.key.clone());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn after(mut self, key: &str) -> Self {
        if key.is_empty() {
            return self;
        }
        let key = self.table.place.key(key);
        let is_descending = self.records.options().order == "desc";
        match &self.bounds {
            // Before where the listing begins anyway.
            Some((from, _)) if !is_descending && key < *from => return self,
            Some((_, to)) if is_descending && key >= *to => return self,
            _ => {}
        }
        self.first = None;
        self.records.options().after = key;
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.records.limit(limit);
        if limit == 0 {
            self.first = None;
        }
        self
    }

    /// The next entry, or none after the last.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub async fn next(&mut self) -> Result<Option<Entry<T>>> {
        if let Some(first) = &self.first {
            let first = first.strip_prefix(&self.table.place.prefix).unwrap_or(first);
            let entry = self.table.entry(first).await?;
            // Only now, so that a caller that asks again after a failure does not miss it.
            self.first = None;
            if entry.is_some() {
                self.records.count_one();
                return Ok(entry);
            }
        }
        let Some(record) = self.records.next().await? else { return Ok(None) };
        if self.bounds.as_ref().is_some_and(|(from, to)| record.key < *from || record.key >= *to) {
            self.records.stop();
            return Ok(None);
        }
        self.table.told(record).map(Some)
    }

    /// All that are left, at once.
    ///
    /// # Errors
    /// As [`Entries::next`].
    pub async fn collect(mut self) -> Result<Vec<Entry<T>>> {
        let mut entries = Vec::new();
        while let Some(entry) = self.next().await? {
            entries.push(entry);
        }
        Ok(entries)
    }
}
