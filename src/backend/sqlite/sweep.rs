//! Removing what nobody sees any more: entries that have expired and records that were cut off, in
//! portions, so that writes get their turn between.

use super::{storage_error, writer::Writer};
use crate::backend::Error;

/// The index finds them, but the entries themselves must say that they have expired too: neither of
/// the two loses data alone if it is damaged.
const SWEEP: &str = "
    DELETE FROM entries WHERE (table_name, key) IN (
        SELECT table_name, key FROM entries WHERE expires <= ?1 ORDER BY expires LIMIT ?2
    ) AND +expires <= ?1";
const SWEEP_LOG: &str = "
    DELETE FROM records WHERE (log, position) IN (
        SELECT log, position FROM records WHERE log = ?1 AND position < ?2 ORDER BY position LIMIT ?3
    )";

/// Every statement here, for the test that looks at their plans.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[SWEEP, SWEEP_LOG];

/// How far a sweep came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Swept {
    /// Nothing is left to remove.
    Everything,
    /// There may be more.
    Part,
}

impl Writer {
    /// Removes at most `limit` records that were cut off, and if none are left, as many entries that
    /// have expired.
    pub(super) async fn sweep(&mut self, limit: u32) -> Result<Swept, Error> {
        self.names.check()?;
        let limit_reached = |rows: u64| rows >= u64::from(limit);
        while let Some((log, first)) = self.trimmed.last().cloned() {
            if limit_reached(self.sweep_log(&log, first, limit).await?) {
                return Ok(Swept::Part);
            }
            self.trimmed.pop();
        }
        let entries = self.sweep_entries(limit).await?;
        Ok(if limit_reached(entries) { Swept::Part } else { Swept::Everything })
    }

    /// Removes at most `limit` entries that have expired; returns how many.
    pub(super) async fn sweep_entries(&mut self, limit: u32) -> Result<u64, Error> {
        let now = self.clock.now();
        let _changing = self.cache.begin_sweep(now);
        let statement = sqlx::query(SWEEP).bind(now).bind(limit);
        let done = statement.execute(&mut self.connection).await;
        self.swept(done)
    }

    async fn sweep_log(&mut self, log: &str, first: u64, limit: u32) -> Result<u64, Error> {
        let statement = sqlx::query(SWEEP_LOG).bind(log).bind(first.cast_signed()).bind(limit);
        let done = statement.execute(&mut self.connection).await;
        self.swept(done)
    }

    fn swept(&self, done: Result<sqlx::sqlite::SqliteQueryResult, sqlx::Error>) -> Result<u64, Error> {
        let rows = done.map_err(|error| storage_error(&self.path, &error))?.rows_affected();
        if rows > 0 {
            self.written.send_replace(());
        }
        Ok(rows)
    }
}
