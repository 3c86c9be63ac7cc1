//! Logs in the database: reads go to connections of their own, all changes to the writer.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Sqlite, appends::Head, checksum, write::Write};
use crate::backend::{
    Bounds, Error, Log, MAX_PAGE, Record,
    commit::validate_table,
    expiry,
    log::validate,
    range::{Page, names},
};

const BOUNDS: &str = "SELECT first, next, time, checksum FROM logs WHERE name = ?";
/// The bounds and the records, as they are at one moment.
const READ: &str = "
    SELECT logs.first, logs.next, logs.time, logs.checksum,
        records.position, records.time, records.checksum, records.value
    FROM logs LEFT JOIN records ON records.log = logs.name AND records.position >= ?2
    WHERE logs.name = ?1 ORDER BY records.position LIMIT ?3";
/// Halves the stretch in question until nothing is left of it.
const OFFSET_AT: &str = "
    WITH RECURSIVE search (low, high) AS (
        SELECT first, next FROM logs WHERE name = ?1
        UNION ALL
        SELECT
            CASE WHEN records.time < ?2 THEN records.position + 1 ELSE low END,
            CASE WHEN records.time < ?2 THEN high ELSE records.position END
        FROM search CROSS JOIN records
        ON records.log = ?1 AND records.position = low + (high - low) / 2
        WHERE low < high
    )
    SELECT low FROM search WHERE low = high";
const LOGS: &str = "
    SELECT name FROM logs WHERE name >= ?1 AND (name < ?2 OR ?2 IS NULL) ORDER BY name";

/// Every statement on the records, for the test that looks at their plans.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[BOUNDS, READ, OFFSET_AT];

#[async_trait]
impl Log for Sqlite {
    async fn append(&self, log: &str, records: Vec<Bytes>) -> Result<u64, Error> {
        validate(log, &records)?;
        self.write(Write::Append { log: log.to_owned(), records }).await
    }

    async fn read(&self, log: &str, from: u64, limit: usize) -> Result<Vec<Record>, Error> {
        self.certain()?;
        let mut records = Vec::new();
        let mut page = Page::of(limit.min(MAX_PAGE));
        // No record has a larger offset than fits.
        let (Ok(start), true) = (i64::try_from(from), limit > 0) else {
            return Ok(records);
        };
        let mut rows =
            sqlx::query(READ).bind(log).bind(start).bind(limit.min(MAX_PAGE) as u32).fetch(&self.readers);
        while let Some(row) = rows.try_next().await.map_err(|error| self.error(&error))? {
            let bounds = self.head(log, &row)?.bounds();
            if from < bounds.first {
                return Err(Error::Trimmed { log: log.to_owned(), first: bounds.first });
            }
            let expected = from + records.len() as u64;
            if expected >= bounds.next {
                break;
            }
            let Some(record) = record(log, expected, &row) else {
                return Err(self.damage.log(log, Some(expected)));
            };
            let room = page.take(record.value.len());
            records.push(record);
            if !room {
                break;
            }
        }
        Ok(records)
    }

    async fn bounds(&self, log: &str) -> Result<Bounds, Error> {
        self.certain()?;
        let row = sqlx::query(BOUNDS)
            .bind(log)
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.error(&error))?;
        row.map_or(Ok(Bounds::default()), |row| Ok(self.head(log, &row)?.bounds()))
    }

    async fn offset_at(&self, log: &str, time: SystemTime) -> Result<u64, Error> {
        let bounds = self.bounds(log).await?;
        if bounds.first == bounds.next {
            return Ok(bounds.next);
        }
        let found: Option<i64> = sqlx::query_scalar(OFFSET_AT)
            .bind(log)
            .bind(expiry::to_millis(time))
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.error(&error))?;
        found.map(i64::cast_unsigned).ok_or_else(|| self.damage.log(log, None))
    }

    async fn trim(&self, log: &str, below: u64) -> Result<(), Error> {
        validate_table(log)?;
        self.write(Write::Trim { log: log.to_owned(), below }).await.map(drop)
    }

    async fn logs(&self, prefix: &str) -> Result<Vec<String>, Error> {
        self.certain()?;
        let (start, end) = names(prefix);
        sqlx::query_scalar(LOGS)
            .bind(start)
            .bind(end)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.error(&error))
    }
}

impl Sqlite {
    fn head(&self, log: &str, row: &SqliteRow) -> Result<Head, Error> {
        Head::read(log, row, 0).ok_or_else(|| self.damage.log(log, None))
    }
}

/// The record of a row, if it is what was written.
fn record(log: &str, expected: u64, row: &SqliteRow) -> Option<Record> {
    let offset = row.try_get::<i64, _>(4).ok()?.cast_unsigned();
    let (time, checksum): (i64, i64) = (row.try_get(5).ok()?, row.try_get(6).ok()?);
    let value: Vec<u8> = row.try_get(7).ok()?;
    let sound = offset == expected && checksum::of_record(log, offset, time, &value) == checksum;
    sound.then(|| Record { offset, time: expiry::from_millis(time), value: Bytes::from(value) })
}
