//! Moves what was committed from the write-ahead log to the database, beside the writer rather than
//! in it: a commit waits for its own sync and nothing else. What stays in the log is not at risk, it
//! is only read again at the next start; so failures are logged and nothing more.

use std::{path::PathBuf, time::Duration};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteSynchronous};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{names::Names, open::options, storage_error};

/// Pages (of 4 KiB) in the log that are worth a checkpoint.
const ENOUGH: i64 = 1024;
/// Pages after which the log starts over, which keeps writers waiting for a moment; somewhat less than
/// what the file is cut to, so that it keeps its size and is written anew in place.
const TOO_MANY: i64 = 15 * 1024;
/// Between two looks at a log that is being written.
const BETWEEN: Duration = Duration::from_millis(100);
/// Without a write for this long, whatever is in the log is moved.
const IDLE: Duration = Duration::from_secs(1);
/// How long the log waits for readers of its old pages before it starts over; commits wait as long.
const PATIENCE: Duration = Duration::from_millis(20);
/// Until it tries again where a reader was in its way.
const RETRY: Duration = Duration::from_secs(2);

/// What the log is like now, and what has been done about it.
const LOOK: &str = "PRAGMA wal_checkpoint(NOOP)";
const MOVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
const START_OVER: &str = "PRAGMA wal_checkpoint(RESTART)";

/// Whether something was in the way, the pages in the log, and those of them that were moved.
type State = (i64, i64, i64);

/// The log of one database.
pub(super) struct Checkpoints {
    path: PathBuf,
    names: Names,
    connection: Option<SqliteConnection>,
    /// No attempt to start over before this.
    again: Instant,
    failing: bool,
}

impl Checkpoints {
    pub(super) fn new(path: PathBuf, names: Names) -> Self {
        Self { path, names, connection: None, again: Instant::now(), failing: false }
    }

    /// Works whenever something was written, until the writer is gone.
    pub(super) async fn run(mut self, mut written: watch::Receiver<()>) {
        let (mut idle, mut looked) = (true, Instant::now());
        loop {
            let told =
                if idle { Ok(written.changed().await) } else { timeout(IDLE, written.changed()).await };
            idle = told.is_err();
            match told {
                Ok(Err(_)) => break,
                Ok(Ok(())) if looked.elapsed() < BETWEEN => continue,
                Ok(Ok(())) | Err(_) => {}
            }
            let done = self.step(idle).await;
            self.report(done.err());
            looked = Instant::now();
        }
        if let Some(connection) = self.connection {
            drop(connection.close().await);
        }
    }

    async fn step(&mut self, idle: bool) -> Result<(), sqlx::Error> {
        if self.names.check().is_err() {
            return Ok(());
        }
        let (_, pages, moved) = self.ask(LOOK).await?;
        if pages - moved < if idle { 1 } else { ENOUGH } {
            return Ok(());
        }
        self.ask(MOVE).await?;
        if pages >= TOO_MANY && Instant::now() >= self.again {
            let (in_the_way, ..) = self.ask(START_OVER).await?;
            if in_the_way != 0 {
                self.again = Instant::now() + RETRY;
            }
        }
        Ok(())
    }

    async fn ask(&mut self, statement: &'static str) -> Result<State, sqlx::Error> {
        let mut connection = if let Some(connection) = self.connection.take() {
            connection
        } else {
            let options = options(&self.path).busy_timeout(PATIENCE);
            options.synchronous(SqliteSynchronous::Full).connect().await?
        };
        let state = sqlx::query_as(statement).fetch_one(&mut connection).await?;
        // One that failed is not used again.
        self.connection = Some(connection);
        Ok(state)
    }

    /// Says so when it begins to fail, not each time.
    fn report(&mut self, error: Option<sqlx::Error>) {
        let failed = error.map(|error| storage_error(&self.path, &error));
        if let Some(error) = &failed
            && !self.failing
        {
            tracing::warn!(%error, "cannot empty the log of the database; it grows until that works");
        }
        self.failing = failed.is_some();
    }
}
