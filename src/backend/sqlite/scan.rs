//! Reading many tables as they are at one moment: a connection of its own holds one read transaction,
//! which in WAL mode neither waits for commits nor keeps them waiting.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{damage::Damage, open::options, row::Reading, storage_error};
use crate::{
    backend::{Entry, Error, Scan, range::names},
    weighed,
};

/// How many entries are read ahead of their reader.
const ENTRIES_AHEAD: usize = 64;
/// How many bytes of them are.
const BYTES_AHEAD: usize = 1 << 20;

/// How long a reader may take nothing: the log of the database grows as long as it holds its moment.
const STALLED: Duration = Duration::from_mins(1);

const SCAN: &str = "
    SELECT key, version, expires, checksum, value, table_name FROM entries
    WHERE table_name >= ?1 AND (table_name < ?2 OR ?2 IS NULL)
    ORDER BY table_name, key";

/// Begins to read; the moment that is read is now. Ends early when nobody takes any more, and with
/// an error when the database closes.
pub(super) async fn begin(
    path: &Path,
    prefix: &str,
    now: i64,
    closing: CancellationToken,
    damage: Damage,
) -> Result<Scan, sqlx::Error> {
    let mut connection = options(path).read_only(true).connect().await?;
    // A transaction begins to see with its first read.
    sqlx::query("BEGIN").execute(&mut connection).await?;
    sqlx::query("SELECT version FROM counter").execute(&mut connection).await?;
    let (entries, taken) = weighed::queue(ENTRIES_AHEAD, BYTES_AHEAD);
    let (prefix, path) = (prefix.to_owned(), path.to_owned());
    tokio::spawn(async move {
        let mut reader = Reader { connection, path, damage, entries };
        let read = closing.run_until_cancelled(reader.read(&prefix, now)).await;
        drop(reader.connection.close().await);
        if let Err(error) = read.unwrap_or(Err(Error::Closed)) {
            drop(reader.entries.send(Err(error), 0).await);
        }
    });
    Ok(taken.boxed())
}

struct Reader {
    connection: SqliteConnection,
    path: PathBuf,
    damage: Damage,
    entries: weighed::Sender<Result<(String, Entry), Error>>,
}

impl Reader {
    async fn read(&mut self, prefix: &str, now: i64) -> Result<(), Error> {
        let failed = |error| storage_error(&self.path, &error);
        let (start, end) = names(prefix);
        let mut rows = sqlx::query(SCAN).bind(start).bind(end).fetch(&mut self.connection);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let table: String = row.try_get(5).map_err(|_| self.damage.entry("", b""))?;
            let reading = Reading { table: &table, now, keys_only: false, damage: &self.damage };
            let Some(entry) = reading.row(&row)?.live() else { continue };
            let weight = table.len() + entry.key.len() + entry.value.len();
            match timeout(STALLED, self.entries.send(Ok((table, entry)), weight)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => break,
                Err(_) => {
                    let text = format!("nobody took what was read for {} s", STALLED.as_secs());
                    return Err(Error::Storage(text));
                }
            }
        }
        Ok(())
    }
}
