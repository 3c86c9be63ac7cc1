//! The one writer of a database. It owns the only connection that writes, takes all writes that
//! wait, and puts them on disk with one transaction and one sync, so that what callers pay for a
//! durable write shrinks as there are more of them. Each caller learns its own result.

use std::{fs::File, path::PathBuf, time::Duration};

use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{
    batch::{Batch, logs, required},
    cache::Cache,
    damage::Damage,
    file,
    names::Names,
    storage_error,
    sweep::Swept,
    write::Write,
};
use crate::backend::{Error, Scan, clock::Clock};

/// Jobs taken at once.
pub(super) const MAX_JOBS: usize = 256;
/// Bytes of keys and values after which the jobs taken at once are split, so that the memory a
/// batch needs stays within reason.
pub(super) const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How often it is looked, beside each commit, whether the files of the database are still there.
const LOOK: Duration = Duration::from_secs(1);
/// How often what has expired is removed. It is absent to every reader long before.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Rows one sweep removes; it comes back at once, but writes get their turn between.
const SWEEP_LIMIT: u32 = 1000;

/// What the writer is asked to do.
pub(super) enum Job {
    /// Carry out a write that is within the limits.
    Write { write: Write, answer: oneshot::Sender<Result<u64, Error>> },
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
    /// Logs that were cut, and where they begin; what is before is still to be removed.
    pub(super) trimmed: Vec<(String, u64)>,
    pub(super) damage: Damage,
    pub(super) cache: Cache,
    pub(super) clock: Clock,
    pub(super) names: Names,
    /// A transaction has failed and none has succeeded since. What it wrote may be in the log of the
    /// database, where a restart would find it, until another one is written in its place.
    pub(super) unsure: bool,
    /// Told of everything that was written.
    pub(super) written: watch::Sender<()>,
}

/// What ends with the writer.
pub(super) struct Resources {
    /// Ended before the last checkpoint, which readers would keep from finishing.
    pub(super) pools: [SqlitePool; 2],
    /// Work in the background on the same file that may be cut off.
    pub(super) tasks: JoinSet<()>,
    /// Ends by itself when nothing is written any more.
    pub(super) checkpoints: JoinHandle<()>,
    /// Kept until nothing touches the database any more.
    pub(super) lock: File,
    /// Dropped last: everything is done.
    pub(super) finished: watch::Sender<()>,
}

impl Writer {
    /// Serves jobs until it is told to close or nobody can ask any more, then tidies up.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>, mut resources: Resources) {
        let mut waiting = Vec::with_capacity(MAX_JOBS);
        let mut sweeps = interval_at(Instant::now() + SWEEP_EVERY, SWEEP_EVERY);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = jobs.recv_many(&mut waiting, MAX_JOBS) => {
                    if received == 0 {
                        break;
                    }
                    let cut = self.trimmed.len();
                    self.serve(&mut waiting, &mut jobs).await;
                    if self.trimmed.len() > cut {
                        sweeps.reset_immediately();
                    }
                }
                // `Kv::trouble` tells it.
                _ = looks.tick() => self.look(&mut resources.lock).await,
                _ = sweeps.tick() => match self.sweep(SWEEP_LIMIT).await {
                    Ok(Swept::Part) => sweeps.reset_immediately(),
                    Ok(Swept::Everything) | Err(Error::Lost { .. }) => {}
                    Err(error) => tracing::warn!(%error, "cannot remove what has expired"),
                },
            }
        }
        self.finish(resources).await;
    }

    async fn serve(&mut self, waiting: &mut Vec<Job>, jobs: &mut mpsc::Receiver<Job>) {
        let (mut writes, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
        for job in waiting.drain(..) {
            match job {
                Job::Close => jobs.close(),
                Job::Replace { prefix, entries, answer } => {
                    self.answer(&mut writes, &mut answers).await;
                    bytes = 0;
                    let replaced = self.replace(&prefix, entries).await;
                    // A caller that left does not undo it.
                    let _ = answer.send(replaced);
                }
                Job::Write { write, answer } => {
                    if bytes > 0 && bytes + write.bytes() > MAX_BATCH_BYTES {
                        self.answer(&mut writes, &mut answers).await;
                        bytes = 0;
                    }
                    bytes += write.bytes();
                    writes.push(write);
                    answers.push(answer);
                }
            }
        }
        self.answer(&mut writes, &mut answers).await;
    }

    async fn answer(
        &mut self,
        writes: &mut Vec<Write>,
        answers: &mut Vec<oneshot::Sender<Result<u64, Error>>>,
    ) {
        let results = self.write(writes).await;
        writes.clear();
        for (answer, result) in answers.drain(..).zip(results) {
            // A caller that left does not undo its write.
            let _ = answer.send(result);
        }
    }

    /// Decides writes in their order and carries out what they come to. If the database fails, every
    /// one of them fails and nothing of them is kept.
    pub(super) async fn write(&mut self, writes: &[Write]) -> Vec<Result<u64, Error>> {
        if let Err(lost) = self.names.certain() {
            return vec![Err(lost); writes.len()];
        }
        match self.try_write(writes).await {
            // What is acknowledged is in files that have a name.
            Ok(results) => match self.names.check() {
                Ok(()) => results,
                Err(lost) => {
                    self.save().await;
                    vec![Err(lost); writes.len()]
                }
            },
            Err(error) => {
                let error = storage_error(&self.path, &error);
                tracing::error!(%error, writes = writes.len(), "cannot write");
                vec![Err(error); writes.len()]
            }
        }
    }

    /// Looks whether the files are still there.
    async fn look(&mut self, lock: &mut File) {
        if let Err(error) = file::keep_lock(&self.path, lock) {
            tracing::error!(%error, "the lock of the database cannot be made again");
        }
        if self.names.certain().is_ok() && self.names.check().is_err() {
            self.save().await;
        }
    }

    /// Moves what was acknowledged from a log that has no name any more to the database, which has one.
    async fn save(&mut self) {
        if !self.names.lacks_only_the_log() {
            return;
        }
        match sqlx::query("PRAGMA wal_checkpoint(FULL)").execute(&mut self.connection).await {
            Ok(_) => {
                tracing::warn!("the log of the database was deleted; what stood in it is in the database");
            }
            Err(error) => {
                tracing::error!(%error, "the log of the database was deleted, and what stood in it is lost");
            }
        }
    }

    async fn try_write(&mut self, writes: &[Write]) -> Result<Vec<Result<u64, Error>>, sqlx::Error> {
        let now = self.clock.now();
        let stored = self.stored(&required(writes), now).await?;
        let heads = self.heads(&logs(writes)).await?;
        let (batch, results) = Batch::decide(writes, &stored, heads, self.version, now);
        // Versions of a batch that fails are lost rather than given out twice.
        self.version = batch.version();
        if let Err(error) = self.apply(&batch).await {
            // Refused if the failure has already undone the transaction.
            let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
            self.unsure = true;
            return Err(error);
        }
        let trimmed = batch.appends().trimmed();
        self.trimmed.extend(trimmed.map(|(log, first)| (log.to_owned(), first)));
        Ok(results)
    }

    async fn finish(mut self, resources: Resources) {
        let Resources { pools, tasks, checkpoints, lock, finished } = resources;
        drop(tasks);
        drop(self.written);
        if checkpoints.await.is_err() {
            tracing::error!("the checkpoints of the database broke off");
        }
        for readers in pools {
            readers.close().await;
        }
        if self.names.check().is_err() {
            // SQLite would delete the log that was put in the place of its own.
            std::mem::forget(self.connection);
            return drop((lock, finished));
        }
        let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut self.connection).await;
        if let Err(error) = checkpoint.and(self.connection.close().await) {
            let error = storage_error(&self.path, &error);
            tracing::warn!(%error, "cannot close the database; the next start finishes it");
        }
        drop(lock);
        drop(finished);
    }
}
