//! Named logs: records that are only ever added at the end and read in their order, each with its
//! offset and the time it was appended. Old ones are cut off at the front ([`Log::trim`]); a record
//! is never changed, and no offset is given twice.
//!
//! The first offset of a log is 0. A log begins with its first record and has no other beginning:
//! one that was never appended to is empty.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Error, MAX_COMMIT_BYTES, MAX_OPERATIONS, MAX_VALUE,
    commit::{at_most, validate_table},
};

/// Logs of records, which are any bytes up to [`MAX_VALUE`]. The name of a log is held to what a
/// name of a table is held to; a log and a table of the same name have nothing in common.
///
/// What the disk changed after it was written is [`Error::DamagedLog`] to its readers; the records
/// before and after it can be read. After [`super::Kv::close`], every method fails with [`Error::Closed`].
#[cfg_attr(not(test), expect(dead_code, reason = "the audit log and the events come to use all of it"))]
#[async_trait]
pub(crate) trait Log: Send + Sync + 'static {
    /// All or nothing: when this returns `Ok`, the records are on disk (where the backend has one),
    /// one after another with nothing between them. Returns the offset of the first one; with no
    /// records, the offset that the next one will get. At most [`MAX_OPERATIONS`] records with
    /// [`MAX_COMMIT_BYTES`] together.
    ///
    /// Once begun, it is carried out even if nobody waits for the answer any more.
    async fn append(&self, log: &str, records: Vec<Bytes>) -> Result<u64, Error>;

    /// Records from the offset `from` on, one page: at most `limit` of them, never more than
    /// [`super::MAX_PAGE`], and none after [`super::MAX_PAGE_BYTES`]. Only an empty page says that
    /// there are no more (or that `limit` is 0).
    ///
    /// # Errors
    /// [`Error::Trimmed`] if records at or after `from` were trimmed; it names the oldest one left.
    async fn read(&self, log: &str, from: u64, limit: usize) -> Result<Vec<Record>, Error>;

    /// Which offsets there are.
    async fn bounds(&self, log: &str) -> Result<Bounds, Error>;

    /// The offset of the first record appended at `time` or later, counted in whole milliseconds;
    /// where there is none, the offset that the next one will get.
    async fn offset_at(&self, log: &str, time: SystemTime) -> Result<u64, Error>;

    /// Deletes the records below the offset `below`; all of them if it is beyond the last.
    async fn trim(&self, log: &str, below: u64) -> Result<(), Error>;

    /// Names with this prefix of all logs ever appended to, also those trimmed empty, sorted bytewise.
    async fn logs(&self, prefix: &str) -> Result<Vec<String>, Error>;
}

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its place in the log.
    pub(crate) offset: u64,
    /// When it was appended, in whole milliseconds; never before the record before it, even if the
    /// clock was set back.
    pub(crate) time: SystemTime,
    /// What was appended.
    pub(crate) value: Bytes,
}

/// The offsets of a log: `first` is that of the oldest record, `next` the one that the next record
/// gets. They are equal if the log is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bounds {
    /// That of the oldest record.
    pub(crate) first: u64,
    /// That of the record that comes next.
    pub(crate) next: u64,
}

/// Refuses what is beyond a limit, before any backend sees it.
pub(super) fn validate(log: &str, records: &[Bytes]) -> Result<(), Error> {
    validate_table(log)?;
    at_most("records appended at once", records.len(), MAX_OPERATIONS)?;
    at_most("bytes appended at once", records.iter().map(Bytes::len).sum(), MAX_COMMIT_BYTES)?;
    records.iter().try_for_each(|record| at_most("bytes in a record", record.len(), MAX_VALUE))
}
