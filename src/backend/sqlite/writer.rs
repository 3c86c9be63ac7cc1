//! The one writer of a database. It owns the only connection that writes, takes all commits that
//! wait, and puts them on disk with one transaction and one sync, so that what callers pay for a
//! durable write shrinks as there are more of them. Each caller learns its own result.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::TryStreamExt as _;
use sqlx::{Connection, Row, SqliteConnection, SqlitePool};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{
    batch::{Batch, Found, Name, Stored, names_json, required},
    checksum,
    damage::Damage,
    storage_error,
};
use crate::backend::{Commit, Error, Scan, expiry, range::names};

/// Jobs taken at once.
const MAX_JOBS: usize = 256;
/// Bytes of keys and values after which the jobs taken at once are split, so that the memory a
/// batch needs stays within reason.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How often expired entries are removed. They are absent to every reader long before.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Entries one sweep removes; it comes back at once, but commits get their turn between.
const SWEEP_LIMIT: u32 = 1000;

/// Versions of the required keys, by their position in a JSON array of names. CROSS JOIN keeps the
/// order of the loops: one look-up a name.
const VERSIONS: &str = "
    SELECT item.key, entries.version, entries.expires, entries.checksum
    FROM json_each(?) AS item CROSS JOIN entries
    ON entries.table_name = item.value ->> 0 AND entries.key = unhex(item.value ->> 1)";
/// A whole transaction: one trip to the thread of the connection and back.
const WRITE: &str = concat!("BEGIN IMMEDIATE;\n", include_str!("batch.sql"), ";\nCOMMIT");
/// The same within a transaction.
const WRITE_REST: &str = include_str!("batch.sql");
const BEGIN: &str = "BEGIN IMMEDIATE";
const PUT_LARGE: &str = "
    INSERT INTO entries (table_name, key, version, expires, checksum, value) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (table_name, key) DO UPDATE SET
        version = excluded.version, expires = excluded.expires,
        checksum = excluded.checksum, value = excluded.value";
const DELETE_TABLES: &str = "DELETE FROM entries WHERE table_name >= ?1 AND (table_name < ?2 OR ?2 IS NULL)";
/// The index finds them, but the entries themselves must say that they have expired too: neither of
/// the two loses data alone if it is damaged.
const SWEEP: &str = "
    DELETE FROM entries WHERE (table_name, key) IN (
        SELECT table_name, key FROM entries WHERE expires <= ?1 ORDER BY expires LIMIT ?2
    ) AND +expires <= ?1";

/// Every statement on the entries, for the test that looks at their plans.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[VERSIONS, WRITE_REST, PUT_LARGE, SWEEP];

/// What the writer is asked to do.
pub(super) enum Job {
    /// Carry out a commit that is within the limits.
    Commit { commit: Commit, answer: oneshot::Sender<Result<u64, Error>> },
    /// Put these entries in the place of those of some tables.
    Replace { prefix: String, entries: Scan, answer: oneshot::Sender<Result<(u64, u64), Error>> },
    /// Take no more jobs, finish those accepted, end.
    Close,
}

/// The connection that writes, and the last version given out.
pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) connection: SqliteConnection,
    pub(super) version: u64,
    pub(super) damage: Damage,
}

/// What ends with the writer.
pub(super) struct Belongings {
    /// Ended before the last checkpoint, which readers would keep from finishing.
    pub(super) readers: SqlitePool,
    /// Work in the background on the same file.
    pub(super) tasks: JoinSet<()>,
    /// Kept until nothing touches the database any more.
    pub(super) lock: File,
    /// Dropped last: everything is done.
    pub(super) finished: watch::Sender<()>,
}

impl Writer {
    /// Serves jobs until it is told to close or nobody can ask any more, then tidies up.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>, belongings: Belongings) {
        let mut waiting = Vec::with_capacity(MAX_JOBS);
        let mut sweeps = interval_at(Instant::now() + SWEEP_EVERY, SWEEP_EVERY);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = jobs.recv_many(&mut waiting, MAX_JOBS) => {
                    if received == 0 {
                        break;
                    }
                    self.serve(&mut waiting, &mut jobs).await;
                }
                _ = sweeps.tick() => match self.sweep(SWEEP_LIMIT).await {
                    Ok(swept) if swept >= u64::from(SWEEP_LIMIT) => sweeps.reset_immediately(),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "cannot remove expired entries"),
                },
            }
        }
        self.finish(belongings).await;
    }

    async fn serve(&mut self, waiting: &mut Vec<Job>, jobs: &mut mpsc::Receiver<Job>) {
        let (mut commits, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
        for job in waiting.drain(..) {
            match job {
                Job::Close => jobs.close(),
                Job::Replace { prefix, entries, answer } => {
                    self.answer(&mut commits, &mut answers).await;
                    bytes = 0;
                    let replaced = self.replace(&prefix, entries).await;
                    // A caller that left does not undo it.
                    let _ = answer.send(replaced);
                }
                Job::Commit { commit, answer } => {
                    if bytes > 0 && bytes + commit.bytes() > MAX_BATCH_BYTES {
                        self.answer(&mut commits, &mut answers).await;
                        bytes = 0;
                    }
                    bytes += commit.bytes();
                    commits.push(commit);
                    answers.push(answer);
                }
            }
        }
        self.answer(&mut commits, &mut answers).await;
    }

    async fn answer(
        &mut self,
        commits: &mut Vec<Commit>,
        answers: &mut Vec<oneshot::Sender<Result<u64, Error>>>,
    ) {
        let results = self.commit(commits).await;
        commits.clear();
        for (answer, result) in answers.drain(..).zip(results) {
            // A caller that left does not undo its commit.
            let _ = answer.send(result);
        }
    }

    /// Decides commits in their order and writes what they come to. If the database fails, every
    /// one of them fails and nothing of them is kept.
    pub(super) async fn commit(&mut self, commits: &[Commit]) -> Vec<Result<u64, Error>> {
        match self.try_commit(commits).await {
            Ok(results) => results,
            Err(error) => {
                let error = storage_error(&self.path, &error);
                tracing::error!(%error, commits = commits.len(), "cannot write");
                vec![Err(error); commits.len()]
            }
        }
    }

    async fn try_commit(&mut self, commits: &[Commit]) -> Result<Vec<Result<u64, Error>>, sqlx::Error> {
        let now = expiry::now();
        let stored = self.stored(&required(commits), now).await?;
        let (batch, results) = Batch::decide(commits, &stored, self.version, now);
        // Versions of a batch that fails are lost rather than given out twice.
        self.version = batch.version();
        if !batch.is_empty()
            && let Err(error) = self.write(&batch).await
        {
            // Refused if the failure has already undone the transaction.
            let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
            return Err(error);
        }
        Ok(results)
    }

    async fn stored<'a>(&mut self, names: &[Name<'a>], now: i64) -> Result<Stored<'a>, sqlx::Error> {
        let mut stored = Stored::new();
        if names.is_empty() {
            return Ok(stored);
        }
        let rows = sqlx::query(VERSIONS)
            .bind(names_json(names.iter().copied()))
            .fetch_all(&mut self.connection)
            .await?;
        for row in rows {
            let position: u32 = row.try_get(0)?;
            let name = names[position as usize];
            let version = row.try_get::<i64, _>(1)?.cast_unsigned();
            let (expires, checksum): (Option<i64>, Option<i64>) = (row.try_get(2)?, row.try_get(3)?);
            let damaged = checksum
                .is_some_and(|checksum| !checksum::fits_entry(checksum, name, version, expires, None));
            if damaged {
                let _reported = self.damage.entry(name.0, name.1);
                stored.insert(name, Found::Damaged);
            } else if expires.is_none_or(|expires| expires > now) {
                stored.insert(name, Found::Version(version));
            }
        }
        Ok(stored)
    }

    /// Writes a batch in a transaction of its own.
    async fn write(&mut self, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
        if batch.large().next().is_none() {
            return self.write_small(WRITE, batch).await;
        }
        sqlx::query(BEGIN).execute(&mut self.connection).await?;
        self.write_within(batch).await?;
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        Ok(())
    }

    /// Writes a batch in the transaction that is open.
    async fn write_within(&mut self, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
        for (name, put) in batch.large() {
            sqlx::query(PUT_LARGE)
                .bind(name.0)
                .bind(name.1)
                .bind(put.version.cast_signed())
                .bind(put.expires)
                .bind(put.checksum(name))
                .bind(put.value.as_ref())
                .execute(&mut self.connection)
                .await?;
        }
        self.write_small(WRITE_REST, batch).await
    }

    async fn write_small(&mut self, statement: &'static str, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
        sqlx::query(statement)
            .bind(batch.deletes_json())
            .bind(batch.puts_json())
            .bind(batch.version().cast_signed())
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn replace(&mut self, prefix: &str, entries: Scan) -> Result<(u64, u64), Error> {
        let failed = |error: &sqlx::Error, path: &Path| storage_error(path, error);
        sqlx::query(BEGIN).execute(&mut self.connection).await.map_err(|e| failed(&e, &self.path))?;
        let done = self.fill(prefix, entries).await;
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = sqlx::query(end).execute(&mut self.connection).await;
        match (done, ended) {
            (Ok(done), Ok(_)) => Ok(done),
            (Ok(_), Err(error)) => {
                let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
                Err(failed(&error, &self.path))
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
        let (version, now) = (self.version, expiry::now());
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
            let commits = [commit];
            let (batch, _) = Batch::decide(&commits, &Stored::new(), version - 1, now);
            count += batch.puts().count() as u64;
            self.write_within(&batch).await.map_err(failed)?;
        }
    }

    /// Removes entries that have expired, at most `limit` of them; returns how many.
    pub(super) async fn sweep(&mut self, limit: u32) -> Result<u64, Error> {
        sqlx::query(SWEEP)
            .bind(expiry::now())
            .bind(limit)
            .execute(&mut self.connection)
            .await
            .map(|done| done.rows_affected())
            .map_err(|error| storage_error(&self.path, &error))
    }

    async fn finish(mut self, belongings: Belongings) {
        let Belongings { readers, tasks, lock, finished } = belongings;
        drop(tasks);
        readers.close().await;
        let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut self.connection).await;
        if let Err(error) = checkpoint.and(self.connection.close().await) {
            let error = storage_error(&self.path, &error);
            tracing::warn!(%error, "cannot close the database; the next start finishes it");
        }
        drop(lock);
        drop(finished);
    }
}
