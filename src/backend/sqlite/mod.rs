//! State in one `SQLite` file: readers of their own beside the one writer, in WAL mode, with every
//! commit synced before it is acknowledged. SQL is written here and nowhere else.

mod appends;
mod apply;
mod batch;
mod cache;
mod checkpoint;
mod checksum;
mod damage;
mod file;
mod json;
mod kv;
mod logs;
mod names;
mod open;
mod replace;
mod row;
mod scan;
mod sweep;
mod write;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use sqlx::{
    SqlitePool,
    error::DatabaseError,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use self::{
    cache::Cache,
    checkpoint::Checkpoints,
    damage::Damage,
    names::Names,
    open::Opened,
    write::Write,
    writer::{Job, Resources},
};
use super::{Error, clock::Clock};

/// All migrations in their order; only ever added to, never edited. The number of a database is
/// how many it has seen.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_entries.sql"),
    include_str!("../migrations/0002_checksums.sql"),
    include_str!("../migrations/0003_logs.sql"),
];
/// Connections that read; each is a thread that `SQLite` works in.
const READERS: u32 = 4;
/// Connections that list keys without values.
const LISTERS: u32 = 2;
/// The row buffer of lists of keys: with a small one `SQLite` would wake the reader for each few
/// of them.
const KEYS_AHEAD: usize = 1024;
/// Commits that may wait for the writer before callers wait to hand theirs over.
const QUEUE: usize = 1024;

/// An open database.
pub(super) struct Sqlite {
    path: PathBuf,
    readers: SqlitePool,
    listers: SqlitePool,
    jobs: mpsc::Sender<Job>,
    /// Ends what reads for a long time.
    closing: CancellationToken,
    finished: watch::Receiver<()>,
    damage: Damage,
    cache: Cache,
    clock: Clock,
    names: Names,
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
        let names = writer.names.clone();
        let readers = pool(READERS, open::options(&path), &names);
        let listers = pool(LISTERS, open::options(&path).row_buffer_size(KEYS_AHEAD), &names);
        let (jobs, received) = mpsc::channel(QUEUE);
        let (finished, seen) = watch::channel(());
        let checkpoints = Checkpoints::new(path.clone(), names.clone()).run(writer.written.subscribe());
        let checkpoints = tokio::spawn(checkpoints);
        let pools = [readers.clone(), listers.clone()];
        let resources = Resources { pools, tasks, checkpoints, lock, finished };
        let (damage, cache, clock) = (writer.damage.clone(), writer.cache.clone(), writer.clock.clone());
        tokio::spawn(writer.run(received, resources));
        let closing = CancellationToken::new();
        Ok(Self { path, readers, listers, jobs, closing, finished: seen, damage, cache, clock, names })
    }

    /// Refuses what could be answered by another file than the database that was opened.
    fn certain(&self) -> Result<(), Error> {
        self.names.certain()
    }

    async fn write(&self, write: Write) -> Result<u64, Error> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Write { write, answer }).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }

    /// What it takes for the present, to be set in tests.
    #[cfg(test)]
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn error(&self, error: &sqlx::Error) -> Error {
        storage_error(&self.path, error)
    }
}

/// Connections that only read, opened as they are needed.
fn pool(connections: u32, options: SqliteConnectOptions, names: &Names) -> SqlitePool {
    let names = names.clone();
    SqlitePoolOptions::new()
        // One that opened another file is not used.
        .after_connect(move |_, _| {
            let checked = names.check().map_err(|lost| sqlx::Error::Io(std::io::Error::other(lost)));
            Box::pin(std::future::ready(checked))
        })
        .max_connections(connections)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options.read_only(true))
}

/// What a failure of the database at `path` means to a caller.
fn storage_error(path: &Path, error: &sqlx::Error) -> Error {
    // The primary result codes of SQLite, https://www.sqlite.org/rescode.html.
    const BUSY: i32 = 5;
    const CORRUPT: i32 = 11;
    const FULL: i32 = 13;
    const NOT_A_DATABASE: i32 = 26;
    // SQLITE_IOERR_SHMSIZE: the file that readers and the writer share cannot be made large enough.
    const NO_ROOM_TO_SHARE: i32 = 4874;
    let path = path.to_path_buf();
    let detail = error.to_string();
    if matches!(error, sqlx::Error::PoolClosed) {
        return Error::Closed;
    }
    let code =
        error.as_database_error().and_then(DatabaseError::code).and_then(|code| code.parse::<i32>().ok());
    if code == Some(NO_ROOM_TO_SHARE) {
        return Error::Full { path };
    }
    // An extended code has the primary one in its low byte.
    match code.map(|code| code & 0xff) {
        Some(BUSY) => {
            Error::Storage(format!("`{}` is locked by another program: let it end first", path.display()))
        }
        Some(FULL) => Error::Full { path },
        Some(CORRUPT | NOT_A_DATABASE) => Error::Corrupt { path, detail },
        _ => Error::Storage(format!("cannot use `{}`: {detail}", path.display())),
    }
}
