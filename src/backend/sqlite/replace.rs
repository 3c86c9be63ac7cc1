//! Putting entries in the place of whole tables, in one transaction however many they are.

use futures::TryStreamExt as _;

use super::{
    appends::Heads,
    apply::{BEGIN, COUNT},
    batch::{Batch, Stored},
    storage_error,
    write::Write,
    writer::{MAX_BATCH_BYTES, MAX_JOBS, Writer},
};
use crate::backend::{Commit, Error, Scan, range::names};

const DELETE_TABLES: &str = "DELETE FROM entries WHERE table_name >= ?1 AND (table_name < ?2 OR ?2 IS NULL)";

impl Writer {
    /// As [`crate::backend::Kv::replace`] has it.
    pub(super) async fn replace(&mut self, prefix: &str, entries: Scan) -> Result<(u64, u64), Error> {
        self.names.check()?;
        // Dropped when the transaction is over, whatever has become of it.
        let _changing = self.cache.begin_all();
        sqlx::query(BEGIN)
            .execute(&mut self.connection)
            .await
            .map_err(|error| storage_error(&self.path, &error))?;
        let done = self.fill(prefix, entries).await;
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = sqlx::query(end).execute(&mut self.connection).await;
        match (done, ended) {
            (Ok(done), Ok(_)) => {
                self.unsure = false;
                self.written.send_replace(());
                self.names.check()?;
                Ok(done)
            }
            (Ok(_), Err(error)) => {
                let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
                self.unsure = true;
                Err(storage_error(&self.path, &error))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The work of [`Writer::replace`] within its transaction.
    async fn fill(&mut self, prefix: &str, mut entries: Scan) -> Result<(u64, u64), Error> {
        let path = self.path.clone();
        let failed = |error: sqlx::Error| storage_error(&path, &error);
        let (start, end) = names(prefix);
        sqlx::query(DELETE_TABLES)
            .bind(start)
            .bind(end)
            .execute(&mut self.connection)
            .await
            .map_err(failed)?;
        // The version is lost rather than given out twice if this fails.
        self.version += 1;
        let (version, now) = (self.version, self.clock.now());
        sqlx::query(COUNT).bind(version.cast_signed()).execute(&mut self.connection).await.map_err(failed)?;
        let mut count = 0;
        loop {
            let mut commit = Commit::new();
            while commit.bytes() < MAX_BATCH_BYTES && commit.operations.len() < MAX_JOBS {
                let Some((table, entry)) = entries.try_next().await? else { break };
                commit = entry.put_into(commit, prefix, table)?;
            }
            if commit.operations.is_empty() {
                return Ok((version, count));
            }
            let writes = [Write::Commit(commit)];
            let (batch, _) = Batch::decide(&writes, &Stored::new(), Heads::new(), version - 1, now);
            count += batch.puts().count() as u64;
            self.apply_within(&batch).await.map_err(failed)?;
        }
    }
}
