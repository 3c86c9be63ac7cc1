//! From a path to a database that can be trusted: locked, looked at, backed up and converted if it
//! is of an older program. What is refused is refused before anything is written to it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use tokio::sync::watch;

use super::{
    appends::Head,
    cache::Cache,
    damage::Damage,
    file::{self, Found},
    names::Names,
    storage_error,
    writer::Writer,
};
use crate::backend::{Error, clock::Clock};

/// "micr" in ASCII, as the first migration sets it.
const APPLICATION: i64 = 0x6d69_6372;
/// Bytes up to which a database is checked before it is used; a larger one is checked meanwhile,
/// since the check reads all of it. It takes a millisecond or two for each of them.
const MAX_CHECKED_AT_ONCE: u64 = 16 * 1024 * 1024;
/// How long a statement waits for a lock that another program has on the file.
const BUSY: Duration = Duration::from_secs(10);
/// Bytes the log is cut to after a burst of writes.
const LOG_BYTES: &str = "67108864";

/// Rows `SQLite` may be ahead of their reader: each may hold a value of the largest size.
const ROWS_AHEAD: usize = 8;

/// The logs that were ever cut.
const TRIMMED: &str = "SELECT name, first, next, time, checksum FROM logs WHERE first > 0";

/// A database ready to be used.
pub(super) struct Opened {
    /// To be kept as long as the database is open.
    pub(super) lock: File,
    pub(super) writer: Writer,
    /// Whether [`check_in_background`] is still due.
    pub(super) unchecked: bool,
}

/// What all connections to a database have in common.
pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .row_buffer_size(ROWS_AHEAD)
        .disable_statement_logging()
}

/// Opens the database at an absolute path and brings it up to the last of `migrations`.
pub(super) async fn open(path: &Path, migrations: &[&'static str]) -> Result<Opened, Error> {
    let lock = file::lock(path)?;
    let mut unchecked = false;
    let mut seen = 0;
    if let Found::Database { bytes, half_made } = file::look(path)? {
        unchecked = bytes > MAX_CHECKED_AT_ONCE;
        let options = options(path).read_only(!half_made);
        seen = admit(path, &options, migrations.len(), !unchecked).await?;
    }
    file::make_private(path)?;
    let writer = connect(path, seen, migrations).await.map_err(|failure| match failure {
        Failure::Database(error) => storage_error(path, &error),
        Failure::Backup(error) => error,
    })?;
    Ok(Opened { lock, writer, unchecked })
}

/// Checks the whole database and logs what it finds. Ends early if it is dropped.
pub(super) async fn check_in_background(path: PathBuf) {
    let checked = async {
        let mut connection = options(&path).read_only(true).connect().await?;
        check(&mut connection).await
    };
    let error = match checked.await {
        Ok(None) => return,
        Ok(Some(detail)) => Error::Corrupt { path, detail },
        Err(error) => storage_error(&path, &error),
    };
    tracing::error!(%error, "the database did not pass its check");
}

enum Failure {
    Database(sqlx::Error),
    Backup(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// How many migrations the database has seen, read without writing to it, but for what it takes to
/// undo what was half made; refuses what this program must not touch.
async fn admit(
    path: &Path,
    options: &SqliteConnectOptions,
    supported: usize,
    check_all: bool,
) -> Result<usize, Error> {
    let failed = |error| storage_error(path, &error);
    let corrupt = |detail: String| Error::Corrupt { path: path.to_path_buf(), detail };
    let mut connection = options.connect().await.map_err(failed)?;
    let (application, seen, tables): (i64, u32, i64) = sqlx::query_as(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
         FROM pragma_application_id, pragma_user_version",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(failed)?;
    if check_all && let Some(detail) = check(&mut connection).await.map_err(failed)? {
        return Err(corrupt(detail));
    }
    connection.close().await.map_err(failed)?;
    if application != APPLICATION {
        // A first start that was cut off leaves a database with nothing in it.
        return if tables == 0 && seen == 0 {
            Ok(0)
        } else {
            Err(corrupt("it is the database of another program".into()))
        };
    }
    let supported = u32::try_from(supported).expect("migrations are few");
    if seen > supported {
        return Err(Error::Newer { path: path.to_path_buf(), found: seen, supported });
    }
    Ok(seen as usize)
}

async fn connect(path: &Path, seen: usize, migrations: &[&'static str]) -> Result<Writer, Failure> {
    let mut connection = options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", LOG_BYTES)
        // That is done beside the writer.
        .pragma("wal_autocheckpoint", "0")
        .connect()
        .await?;
    if seen < migrations.len() {
        if seen > 0 {
            back_up(&mut connection, path, seen).await?;
        }
        migrate(&mut connection, seen, migrations).await?;
    }
    let version: i64 =
        sqlx::query("SELECT version FROM counter").fetch_one(&mut connection).await?.try_get(0)?;
    let mut trimmed = Vec::new();
    for row in sqlx::query(TRIMMED).fetch_all(&mut connection).await? {
        let log: String = row.try_get(0)?;
        trimmed.extend(Head::read(&log, &row, 1).map(|head| (log, head.first)));
    }
    Ok(Writer {
        path: path.to_path_buf(),
        connection,
        version: version.cast_unsigned(),
        trimmed,
        damage: Damage::new(path),
        cache: Cache::new(),
        clock: Clock::default(),
        names: Names::of(path),
        unsure: false,
        written: watch::Sender::default(),
    })
}

/// Copies the database to `<path>.backup-<seen>`, whole or not at all.
async fn back_up(connection: &mut SqliteConnection, path: &Path, seen: usize) -> Result<(), Failure> {
    let backup = file::beside(path, &format!(".backup-{seen}"));
    let partial = file::beside(path, &format!(".backup-{seen}.partial"));
    // SQLite writes into an empty file, which keeps the permissions it was made with.
    file::make_empty(&partial).map_err(Failure::Backup)?;
    sqlx::query("VACUUM INTO ?")
        .bind(partial.to_string_lossy().into_owned())
        .execute(&mut *connection)
        .await?;
    file::publish(&partial, &backup).map_err(Failure::Backup)?;
    tracing::info!(backup = %backup.display(), "backed up the database before converting it");
    Ok(())
}

/// Carries out the migrations after the first `seen` in one transaction.
async fn migrate(
    connection: &mut SqliteConnection,
    seen: usize,
    migrations: &[&'static str],
) -> Result<(), sqlx::Error> {
    let statements = migrations[seen..].join(";\n");
    let number = migrations.len();
    let script = format!("BEGIN IMMEDIATE;\n{statements};\nPRAGMA user_version = {number};\nCOMMIT");
    // The script is made of this program's own migrations and a number.
    sqlx::raw_sql(AssertSqlSafe(script)).execute(connection).await?;
    Ok(())
}

/// The first thing wrong with a database, if there is any: what a row says has its checksum, but only
/// this finds a damage by which rows are passed over. `quick_check` does not see keys that are out of
/// order.
async fn check(connection: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
    let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(connection).await?;
    // Nothing is believed of that index that the entries themselves do not say.
    Ok(found.into_iter().find(|text| text != "ok" && !text.ends_with(" index entries_by_expiry")))
}
