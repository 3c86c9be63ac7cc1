//! The statements of the writer: what it looks at before it decides a batch, and how a batch gets to
//! the disk. Few and fat ones, since each costs a trip to the thread of the connection and back.

use sqlx::Row as _;

use super::{
    appends::{Appends, Head, Heads},
    batch::{Batch, Found, Stored, names_json},
    checksum,
    write::Name,
    writer::Writer,
};

/// Versions of the required keys, by their position in a JSON array of names. CROSS JOIN keeps the
/// order of the loops: one look-up a name.
const VERSIONS: &str = "
    SELECT item.key, entries.version, entries.expires, entries.checksum
    FROM json_each(?) AS item CROSS JOIN entries
    ON entries.table_name = item.value ->> 0 AND entries.key = unhex(item.value ->> 1)";
/// The logs of a JSON array of names, by their position in it.
const HEADS: &str = "
    SELECT item.key, logs.first, logs.next, logs.time, logs.checksum
    FROM json_each(?) AS item CROSS JOIN logs ON logs.name = item.value";
/// A whole transaction: one trip to the thread of the connection and back.
const WRITE: &str = concat!("BEGIN IMMEDIATE;\n", include_str!("batch.sql"), ";\nCOMMIT");
/// The same within a transaction.
const WRITE_REST: &str = include_str!("batch.sql");
/// A whole transaction that only logs have a part in.
const APPEND: &str = concat!("BEGIN IMMEDIATE;\n", include_str!("append.sql"), ";\nCOMMIT");
/// The same within a transaction.
const APPEND_REST: &str = include_str!("append.sql");
/// The version given out last.
pub(super) const COUNT: &str = "UPDATE counter SET version = ?";
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
const PUT_LARGE: &str = "
    INSERT INTO entries (table_name, key, version, expires, checksum, value) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (table_name, key) DO UPDATE SET
        version = excluded.version, expires = excluded.expires,
        checksum = excluded.checksum, value = excluded.value";
const APPEND_LARGE: &str = "
    INSERT INTO records (log, position, time, checksum, value) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (log, position) DO UPDATE
    SET time = excluded.time, checksum = excluded.checksum, value = excluded.value";

/// Every statement here, for the test that looks at their plans.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[VERSIONS, HEADS, WRITE_REST, PUT_LARGE, APPEND_REST];

impl Writer {
    /// What is stored under these names at the time `now`.
    pub(super) async fn stored<'a>(
        &mut self,
        names: &[Name<'a>],
        now: i64,
    ) -> Result<Stored<'a>, sqlx::Error> {
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

    /// What is known of these logs.
    pub(super) async fn heads<'a>(&mut self, names: &[&'a str]) -> Result<Heads<'a>, sqlx::Error> {
        let mut heads = Heads::new();
        if names.is_empty() {
            return Ok(heads);
        }
        let json = serde_json::Value::from(names).to_string();
        for row in sqlx::query(HEADS).bind(json).fetch_all(&mut self.connection).await? {
            let position: u32 = row.try_get(0)?;
            let name = names[position as usize];
            let head = Head::read(name, &row, 1);
            if head.is_none() {
                let _reported = self.damage.log(name, None);
            }
            heads.insert(name, head);
        }
        Ok(heads)
    }

    /// Carries out a batch in a transaction of its own, if there is anything to do.
    pub(super) async fn apply(&mut self, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
        let appends = batch.appends();
        // Dropped when the transaction is over, whatever has become of it.
        let changing = self.cache.begin(batch.names());
        let large = batch.large().next().is_some() || appends.large().next().is_some();
        match (batch.is_empty(), appends.is_empty(), large) {
            (true, true, _) if !self.unsure => return Ok(()),
            // Nothing to do was decided by what is there: first it must be sure what that is. The
            // version has moved on since the failure, so that there is something to write.
            (true, true, _) => {
                let version = self.version.cast_signed();
                sqlx::query(COUNT).bind(version).execute(&mut self.connection).await?;
            }
            (false, true, false) => self.apply_entries(WRITE, batch).await?,
            (true, false, false) => self.apply_appends(APPEND, appends).await?,
            _ => {
                sqlx::query(BEGIN).execute(&mut self.connection).await?;
                self.apply_within(batch).await?;
                sqlx::query("COMMIT").execute(&mut self.connection).await?;
            }
        }
        self.unsure = false;
        changing.refill(batch.outcomes());
        self.written.send_replace(());
        Ok(())
    }

    /// Carries out a batch in the transaction that is open.
    pub(super) async fn apply_within(&mut self, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
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
        if !batch.is_empty() {
            self.apply_entries(WRITE_REST, batch).await?;
        }
        for record in batch.appends().large() {
            sqlx::query(APPEND_LARGE)
                .bind(record.log)
                .bind(record.offset.cast_signed())
                .bind(record.time)
                .bind(record.checksum())
                .bind(record.value.as_ref())
                .execute(&mut self.connection)
                .await?;
        }
        if !batch.appends().is_empty() {
            self.apply_appends(APPEND_REST, batch.appends()).await?;
        }
        Ok(())
    }

    async fn apply_entries(&mut self, statement: &'static str, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
        sqlx::query(statement)
            .bind(batch.deletes_json())
            .bind(batch.puts_json())
            .bind(batch.version().cast_signed())
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn apply_appends(
        &mut self,
        statement: &'static str,
        appends: &Appends<'_>,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(statement)
            .bind(appends.heads_json())
            .bind(appends.records_json())
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}
