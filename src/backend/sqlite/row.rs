//! From a row to an entry that can be trusted: checked against its checksum before anything it says
//! is believed, its expiry included.

use bytes::Bytes;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{checksum, damage::Damage};
use crate::backend::{Entry, Error, expiry};

/// What a row is read with.
pub(super) struct Reading<'a> {
    pub(super) table: &'a str,
    /// The time at which an entry must not have expired, in milliseconds since 1970.
    pub(super) now: i64,
    /// Whether the values were left out.
    pub(super) keys_only: bool,
    pub(super) damage: &'a Damage,
}

/// What a row says.
pub(super) struct Found {
    pub(super) entry: Entry,
    /// Whether the entry has not expired.
    pub(super) live: bool,
}

impl Found {
    /// The entry, if it has not expired.
    pub(super) fn live(self) -> Option<Entry> {
        self.live.then_some(self.entry)
    }
}

impl Reading<'_> {
    /// What a row of the columns key, version, expires, checksum and value says.
    pub(super) fn row(&self, row: &SqliteRow) -> Result<Found, Error> {
        let key: Vec<u8> = row.try_get(0).map_err(|_| self.damage.entry(self.table, b""))?;
        let Ok((version, expires, checksum, value)) = columns(row) else {
            return Err(self.damage.entry(self.table, &key));
        };
        let live = expires.is_none_or(|expires| expires > self.now);
        let read = (live && !self.keys_only).then_some(value.as_slice());
        let name = (self.table, key.as_slice());
        if checksum.is_some_and(|checksum| !checksum::fits_entry(checksum, name, version, expires, read)) {
            return Err(self.damage.entry(self.table, &key));
        }
        let (value, expires_at) = (Bytes::from(value), expires.map(expiry::from_millis));
        Ok(Found { entry: Entry { key, value, version, expires_at }, live })
    }
}

type Columns = (u64, Option<i64>, Option<i64>, Vec<u8>);

fn columns(row: &SqliteRow) -> Result<Columns, sqlx::Error> {
    let version: i64 = row.try_get(1)?;
    Ok((version.cast_unsigned(), row.try_get(2)?, row.try_get(3)?, row.try_get(4)?))
}
