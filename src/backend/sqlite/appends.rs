//! What the appends and trims that waited together come to: the bounds of the logs they touch, and
//! the new records with their offsets. Nothing here touches the database.

use std::collections::BTreeMap;

use bytes::Bytes;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{
    checksum,
    json::{array, push_hex, push_text},
    write::MAX_INLINE,
};
use crate::backend::{Bounds, Error};

/// What is known of a log without its records.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Head {
    pub(super) first: u64,
    pub(super) next: u64,
    /// That of the last record.
    pub(super) time: i64,
}

impl Head {
    /// Reads first, next, time and checksum from the columns from `at` on; none if they are not
    /// what was written.
    pub(super) fn read(log: &str, row: &SqliteRow, at: usize) -> Option<Self> {
        let column = |offset: usize| row.try_get::<i64, _>(at + offset).ok();
        let head =
            Self { first: column(0)?.cast_unsigned(), next: column(1)?.cast_unsigned(), time: column(2)? };
        (column(3)? == head.checksum(log)).then_some(head)
    }

    pub(super) fn bounds(self) -> Bounds {
        Bounds { first: self.first, next: self.next }
    }

    fn checksum(self, log: &str) -> i64 {
        checksum::of_head(log, self.first, self.next, self.time)
    }
}

/// The logs that a batch touches, as they are stored; none if they are damaged.
pub(super) type Heads<'a> = BTreeMap<&'a str, Option<Head>>;

/// The changes to logs.
#[derive(Default)]
pub(super) struct Appends<'a> {
    stored: Heads<'a>,
    changed: BTreeMap<&'a str, Head>,
    records: Vec<Record<'a>>,
}

/// A new record.
pub(super) struct Record<'a> {
    pub(super) log: &'a str,
    pub(super) offset: u64,
    pub(super) time: i64,
    pub(super) value: &'a Bytes,
}

impl Record<'_> {
    pub(super) fn checksum(&self) -> i64 {
        checksum::of_record(self.log, self.offset, self.time, self.value)
    }
}

impl<'a> Appends<'a> {
    pub(super) fn new(stored: Heads<'a>) -> Self {
        Self { stored, ..Self::default() }
    }

    /// Appends records at the time `now`, or at that of the last one if the clock was set back.
    /// Returns the offset of the first.
    pub(super) fn append(&mut self, log: &'a str, values: &'a [Bytes], now: i64) -> Result<u64, Error> {
        let mut head = self.head(log)?;
        let first = head.next;
        if values.is_empty() {
            return Ok(first);
        }
        head.time = head.time.max(now);
        for value in values {
            self.records.push(Record { log, offset: head.next, time: head.time, value });
            head.next += 1;
        }
        self.changed.insert(log, head);
        Ok(first)
    }

    /// Moves the beginning of a log. Returns where it is now.
    pub(super) fn trim(&mut self, log: &'a str, below: u64) -> Result<u64, Error> {
        let mut head = self.head(log)?;
        let below = below.min(head.next);
        if below > head.first {
            head.first = below;
            self.changed.insert(log, head);
        }
        Ok(head.first)
    }

    fn head(&self, log: &str) -> Result<Head, Error> {
        if let Some(head) = self.changed.get(log) {
            return Ok(*head);
        }
        match self.stored.get(log) {
            None => Ok(Head::default()),
            Some(Some(head)) => Ok(*head),
            Some(None) => Err(Error::DamagedLog { log: log.to_owned(), offset: None }),
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// Where the logs that were cut begin now.
    pub(super) fn trimmed(&self) -> impl Iterator<Item = (&'a str, u64)> {
        self.changed
            .iter()
            .filter(|(log, head)| {
                let stored = self.stored.get(*log).copied().flatten().unwrap_or_default();
                head.first > stored.first
            })
            .map(|(log, head)| (*log, head.first))
    }

    /// The records that are bound one by one.
    pub(super) fn large(&self) -> impl Iterator<Item = &Record<'a>> {
        self.records.iter().filter(|record| record.value.len() > MAX_INLINE)
    }

    /// The logs as `[[name, first, next, time, checksum], …]`.
    pub(super) fn heads_json(&self) -> String {
        array(self.changed.iter(), |json, (log, head)| {
            push_text(json, log);
            json.push_str(&format!(",{},{},{},{}", head.first, head.next, head.time, head.checksum(log)));
        })
    }

    /// The other records as `[[log, offset, time, checksum, value], …]` with the values in
    /// hexadecimal.
    pub(super) fn records_json(&self) -> String {
        let small = self.records.iter().filter(|record| record.value.len() <= MAX_INLINE);
        array(small, |json, record| {
            push_text(json, record.log);
            json.push_str(&format!(",{},{},{},\"", record.offset, record.time, record.checksum()));
            push_hex(json, record.value);
            json.push('"');
        })
    }
}
