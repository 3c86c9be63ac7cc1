//! Tables of keys and values in the database: reads go to connections of their own, all changes to
//! the writer.

use async_trait::async_trait;
use futures::TryStreamExt as _;
use tokio::sync::oneshot;

use super::{
    Sqlite,
    cache::Known,
    row::{Found, Reading},
    scan,
    write::Write,
    writer::Job,
};
use crate::backend::{
    Commit, Entry, Error, Kv, MAX_KEY, Range, Scan,
    range::{Page, names},
};

const GET: &str = "
    SELECT key, version, expires, checksum, value FROM entries WHERE table_name = ? AND key = ?";
const LIST: &str = concat!(include_str!("list.sql"), " ASC\n", include_str!("limit.sql"));
const LIST_DESCENDING: &str = concat!(include_str!("list.sql"), " DESC\n", include_str!("limit.sql"));
/// One look-up a table, whatever is in them.
const TABLES: &str = "
    WITH RECURSIVE found (name) AS (
        SELECT (SELECT min(table_name) FROM entries WHERE table_name >= ?1)
        UNION ALL
        SELECT (SELECT min(table_name) FROM entries WHERE table_name > found.name)
        FROM found WHERE found.name IS NOT NULL AND (found.name < ?2 OR ?2 IS NULL)
    )
    SELECT name FROM found WHERE name IS NOT NULL AND (name < ?2 OR ?2 IS NULL) AND EXISTS (
        SELECT 1 FROM entries WHERE table_name = name AND (expires IS NULL OR expires > ?3)
    )";
/// Larger than any key.
const BEYOND: &[u8] = &[u8::MAX; MAX_KEY + 1];

/// Every statement on the entries, for the test that looks at their plans.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[GET, LIST, LIST_DESCENDING];

#[async_trait]
impl Kv for Sqlite {
    async fn get(&self, table: &str, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.certain()?;
        let (name, now) = ((table, key), self.clock.now());
        let moment = match self.cache.get(name, now) {
            Known::Entry(_) if self.jobs.is_closed() => return Err(Error::Closed),
            Known::Entry(entry) => return Ok(entry),
            Known::Nothing(moment) => moment,
        };
        let row = sqlx::query(GET)
            .bind(table)
            .bind(key)
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.error(&error))?;
        let Some(row) = row else {
            self.cache.keep(name, None, moment);
            return Ok(None);
        };
        let reading = Reading { table, now, keys_only: false, damage: &self.damage };
        let entry = reading.row(&row)?.live();
        if entry.is_some() {
            self.cache.keep(name, entry.as_ref(), moment);
        }
        Ok(entry)
    }

    async fn list(&self, table: &str, range: &Range) -> Result<Vec<Entry>, Error> {
        self.certain()?;
        let keys_only = range.is_keys_only();
        let reading = Reading { table, now: self.clock.now(), keys_only, damage: &self.damage };
        let mut listing = Listing { entries: Vec::new(), page: Page::new(range) };
        let mut rest = range.clone();
        while let Some(last) = self.fill(&reading, &rest, &mut listing).await? {
            rest = rest.after(last);
        }
        Ok(listing.entries)
    }

    async fn commit(&self, commit: Commit) -> Result<u64, Error> {
        commit.validate()?;
        self.write(Write::Commit(commit)).await
    }

    async fn tables(&self, prefix: &str) -> Result<Vec<String>, Error> {
        self.certain()?;
        let (start, end) = names(prefix);
        sqlx::query_scalar(TABLES)
            .bind(start)
            .bind(end)
            .bind(self.clock.now())
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.error(&error))
    }

    async fn scan(&self, prefix: &str) -> Result<Scan, Error> {
        if self.closing.is_cancelled() {
            return Err(Error::Closed);
        }
        self.names.check()?;
        let now = self.clock.now();
        scan::begin(&self.path, prefix, now, self.closing.clone(), self.damage.clone())
            .await
            .map_err(|error| self.error(&error))
    }

    async fn replace(&self, prefix: &str, entries: Scan) -> Result<(u64, u64), Error> {
        let (answer, answered) = oneshot::channel();
        let job = Job::Replace { prefix: prefix.to_owned(), entries, answer };
        self.jobs.send(job).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }

    fn trouble(&self) -> Option<Error> {
        self.certain().err()
    }

    async fn close(&self) {
        self.closing.cancel();
        // Refused if it closes already; then there is only the end to wait for.
        let _ = self.jobs.send(Job::Close).await;
        let mut finished = self.finished.clone();
        while finished.changed().await.is_ok() {}
    }
}

/// A page that is being filled.
struct Listing {
    entries: Vec<Entry>,
    page: Page,
}

impl Sqlite {
    /// Adds entries of a range to a page. Returns the last key it came by if the page has room and
    /// there may be more, which is so only if a great many entries have expired and not been
    /// removed yet.
    async fn fill(
        &self,
        reading: &Reading<'_>,
        range: &Range,
        listing: &mut Listing,
    ) -> Result<Option<Vec<u8>>, Error> {
        let limit = u32::try_from(range.entries()).unwrap_or(u32::MAX);
        if limit == 0 {
            return Ok(None);
        }
        let bounds = range.bounds();
        let mut rows = sqlx::query(if range.is_descending() { LIST_DESCENDING } else { LIST })
            .bind(reading.keys_only)
            .bind(reading.table)
            .bind(bounds.start)
            .bind(bounds.end.as_deref().unwrap_or(BEYOND))
            .bind(reading.now)
            .bind(limit)
            .fetch(if reading.keys_only { &self.listers } else { &self.readers });
        let (mut passed, mut last) = (0, None);
        while let Some(row) = rows.try_next().await.map_err(|error| self.error(&error))? {
            let Found { entry, live } = reading.row(&row)?;
            passed += 1;
            last = Some(entry.key.clone());
            if live {
                let room = listing.page.take(entry.bytes());
                listing.entries.push(entry);
                if !room {
                    return Ok(None);
                }
            }
        }
        Ok(last.filter(|_| passed >= limit))
    }
}
