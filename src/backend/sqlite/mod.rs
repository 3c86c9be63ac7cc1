//! State in one `SQLite` file: readers of their own beside the one writer, in WAL mode, with every
//! commit synced before it is acknowledged. SQL is written here and nowhere else.

mod batch;
mod file;
mod open;
mod scan;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::{
    Row, SqlitePool,
    error::DatabaseError,
    sqlite::{SqlitePoolOptions, SqliteRow},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use self::{
    open::Opened,
    writer::{Belongings, Job},
};
use super::{
    Commit, Entry, Error, Kv, MAX_KEY, Range, Scan, expiry,
    range::{Page, names},
};

/// All migrations in their order; only ever added to, never edited. The number of a database is
/// how many it has seen.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_entries.sql")];
/// Connections that read; each is a thread that `SQLite` works in.
const READERS: u32 = 4;
/// Commits that may wait for the writer before callers wait to hand theirs over.
const QUEUE: usize = 1024;

const GET: &str = "
    SELECT key, version, expires, value FROM entries
    WHERE table_name = ? AND key = ? AND (expires IS NULL OR expires > ?)";
const LIST: &str = concat!(include_str!("list.sql"), " ASC LIMIT ?");
const LIST_DESCENDING: &str = concat!(include_str!("list.sql"), " DESC LIMIT ?");
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

/// An open database.
pub(super) struct Sqlite {
    path: PathBuf,
    readers: SqlitePool,
    jobs: mpsc::Sender<Job>,
    /// Ends what reads for a long time.
    closing: CancellationToken,
    finished: watch::Receiver<()>,
}

impl Sqlite {
    /// Opens the database at `path`, made if it is not there, converted if it is of an older
    /// program, refused and left alone if it is of a newer one, damaged or in use.
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, MIGRATIONS).await
    }

    async fn open_with(path: &Path, migrations: &[&'static str]) -> Result<Self, Error> {
        let path = std::path::absolute(path)
            .map_err(|error| Error::Storage(format!("cannot find `{}`: {error}", path.display())))?;
        let Opened { lock, writer, unchecked } = open::open(&path, migrations).await?;
        let mut tasks = JoinSet::new();
        if unchecked {
            tasks.spawn(open::check_in_background(path.clone()));
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(open::options(&path).read_only(true));
        let (jobs, received) = mpsc::channel(QUEUE);
        let (finished, seen) = watch::channel(());
        let belongings = Belongings { readers: readers.clone(), tasks, lock, finished };
        tokio::spawn(writer.run(received, belongings));
        Ok(Self { path, readers, jobs, closing: CancellationToken::new(), finished: seen })
    }

    fn error(&self, error: &sqlx::Error) -> Error {
        storage_error(&self.path, error)
    }
}

#[async_trait]
impl Kv for Sqlite {
    async fn get(&self, table: &str, key: &[u8]) -> Result<Option<Entry>, Error> {
        let row = sqlx::query(GET)
            .bind(table)
            .bind(key)
            .bind(expiry::now())
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.error(&error))?;
        row.map(|row| entry(&row)).transpose().map_err(|error| self.error(&error))
    }

    async fn list(&self, table: &str, range: &Range) -> Result<Vec<Entry>, Error> {
        let bounds = range.bounds();
        let statement = if range.is_descending() { LIST_DESCENDING } else { LIST };
        let limit = u32::try_from(range.entries()).unwrap_or(u32::MAX);
        let mut rows = sqlx::query(statement)
            .bind(range.is_keys_only())
            .bind(table)
            .bind(bounds.start)
            .bind(bounds.end.as_deref().unwrap_or(BEYOND))
            .bind(expiry::now())
            .bind(limit)
            .fetch(&self.readers);
        let mut entries = Vec::new();
        let mut page = Page::new(range);
        while let Some(row) = rows.try_next().await.map_err(|error| self.error(&error))? {
            let entry = entry(&row).map_err(|error| self.error(&error))?;
            let room = page.take(entry.bytes());
            entries.push(entry);
            if !room {
                break;
            }
        }
        Ok(entries)
    }

    async fn commit(&self, commit: Commit) -> Result<u64, Error> {
        commit.validate()?;
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Commit { commit, answer }).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }

    async fn tables(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let (start, end) = names(prefix);
        sqlx::query_scalar(TABLES)
            .bind(start)
            .bind(end)
            .bind(expiry::now())
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.error(&error))
    }

    async fn scan(&self, prefix: &str) -> Result<Scan, Error> {
        if self.closing.is_cancelled() {
            return Err(Error::Closed);
        }
        scan::begin(&self.path, prefix, self.closing.clone()).await.map_err(|error| self.error(&error))
    }

    async fn replace(&self, prefix: &str, entries: Scan) -> Result<(u64, u64), Error> {
        let (answer, answered) = oneshot::channel();
        let job = Job::Replace { prefix: prefix.to_owned(), entries, answer };
        self.jobs.send(job).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }

    async fn close(&self) {
        self.closing.cancel();
        // Refused if it closes already; then there is only the end to wait for.
        let _ = self.jobs.send(Job::Close).await;
        let mut finished = self.finished.clone();
        while finished.changed().await.is_ok() {}
    }
}

fn entry(row: &SqliteRow) -> Result<Entry, sqlx::Error> {
    Ok(Entry {
        key: row.try_get(0)?,
        version: row.try_get::<i64, _>(1)?.cast_unsigned(),
        expires_at: row.try_get::<Option<i64>, _>(2)?.map(expiry::from_millis),
        value: Bytes::from(row.try_get::<Vec<u8>, _>(3)?),
    })
}

/// What a failure of the database at `path` means to a caller.
fn storage_error(path: &Path, error: &sqlx::Error) -> Error {
    // The primary result codes of SQLite, https://www.sqlite.org/rescode.html.
    const CORRUPT: i32 = 11;
    const FULL: i32 = 13;
    const NOT_A_DATABASE: i32 = 26;
    let path = path.to_path_buf();
    let detail = error.to_string();
    if matches!(error, sqlx::Error::PoolClosed) {
        return Error::Closed;
    }
    let code =
        error.as_database_error().and_then(DatabaseError::code).and_then(|code| code.parse::<i32>().ok());
    // An extended code has the primary one in its low byte.
    match code.map(|code| code & 0xff) {
        Some(FULL) => Error::Full { path },
        Some(CORRUPT | NOT_A_DATABASE) => Error::Corrupt { path, detail },
        _ => Error::Storage(format!("cannot use `{}`: {detail}", path.display())),
    }
}
