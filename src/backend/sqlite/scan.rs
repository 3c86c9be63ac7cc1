//! Reading many tables as they are at one moment: a connection of its own holds one read transaction,
//! which in WAL mode neither waits for commits nor keeps them waiting.

use std::path::Path;

use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection, sqlite::SqliteRow};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::{entry, open::options, storage_error};
use crate::backend::{Entry, Error, Scan, expiry, range::names};

/// Entries read ahead of whoever takes them; each may have a value of the largest size.
const AHEAD: usize = 8;

const SCAN: &str = "
    SELECT key, version, expires, value, table_name FROM entries
    WHERE table_name >= ?1 AND (table_name < ?2 OR ?2 IS NULL) AND (expires IS NULL OR expires > ?3)
    ORDER BY table_name, key";

/// Begins to read; the moment that is read is now. Ends early when nobody takes any more, and with
/// an error when the database closes.
pub(super) async fn begin(
    path: &Path,
    prefix: &str,
    closing: CancellationToken,
) -> Result<Scan, sqlx::Error> {
    let mut connection = options(path).read_only(true).connect().await?;
    // A transaction begins to see with its first read.
    sqlx::query("BEGIN").execute(&mut connection).await?;
    sqlx::query("SELECT version FROM counter").execute(&mut connection).await?;
    let (entries, taken) = mpsc::channel(AHEAD);
    let (prefix, path) = (prefix.to_owned(), path.to_owned());
    tokio::spawn(async move {
        let read = closing.run_until_cancelled(read(&mut connection, &prefix, &entries)).await;
        let failed = match read {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(storage_error(&path, &error)),
            None => Some(Error::Closed),
        };
        drop(connection.close().await);
        if let Some(error) = failed {
            drop(entries.send(Err(error)).await);
        }
    });
    Ok(ReceiverStream::new(taken).boxed())
}

async fn read(
    connection: &mut SqliteConnection,
    prefix: &str,
    entries: &mpsc::Sender<Result<(String, Entry), Error>>,
) -> Result<(), sqlx::Error> {
    let (start, end) = names(prefix);
    let mut rows = sqlx::query(SCAN).bind(start).bind(end).bind(expiry::now()).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        if entries.send(Ok(named(&row)?)).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn named(row: &SqliteRow) -> Result<(String, Entry), sqlx::Error> {
    Ok((row.try_get(4)?, entry(row)?))
}
