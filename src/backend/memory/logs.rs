//! Logs in memory.

use std::{collections::VecDeque, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use super::Memory;
use crate::backend::{
    Bounds, Error, Log, MAX_PAGE, Record,
    commit::validate_table,
    expiry,
    log::validate,
    range::{Page, names},
};

/// A log.
#[derive(Debug, Default)]
pub(super) struct Records {
    kept: VecDeque<Record>,
    /// The offset of the first of them.
    first: u64,
    /// That of the last record there was, in milliseconds since 1970.
    time: i64,
}

impl Records {
    fn bounds(&self) -> Bounds {
        Bounds { first: self.first, next: self.first + self.kept.len() as u64 }
    }
}

#[async_trait]
impl Log for Memory {
    async fn append(&self, log: &str, records: Vec<Bytes>) -> Result<u64, Error> {
        validate(log, &records)?;
        let mut state = self.open_state()?;
        if records.is_empty() {
            return Ok(state.logs.get(log).map_or(0, |log| log.bounds().next));
        }
        let log = state.logs.entry(log.to_owned()).or_default();
        log.time = log.time.max(self.clock.now());
        let (next, time) = (log.bounds().next, expiry::from_millis(log.time));
        log.kept.extend((next..).zip(records).map(|(offset, value)| Record { offset, time, value }));
        Ok(next)
    }

    async fn read(&self, log: &str, from: u64, limit: usize) -> Result<Vec<Record>, Error> {
        let state = self.open_state()?;
        let (Some(records), true) = (state.logs.get(log), limit > 0) else {
            return Ok(Vec::new());
        };
        let skipped = from
            .checked_sub(records.first)
            .ok_or_else(|| Error::Trimmed { log: log.to_owned(), first: records.first })?;
        let mut page = Page::of(limit.min(MAX_PAGE));
        let mut found = Vec::new();
        for record in records.kept.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)) {
            found.push(record.clone());
            if !page.take(record.value.len()) {
                break;
            }
        }
        Ok(found)
    }

    async fn bounds(&self, log: &str) -> Result<Bounds, Error> {
        Ok(self.open_state()?.logs.get(log).map_or_else(Bounds::default, Records::bounds))
    }

    async fn offset_at(&self, log: &str, time: SystemTime) -> Result<u64, Error> {
        let state = self.open_state()?;
        let time = expiry::from_millis(expiry::to_millis(time));
        Ok(state
            .logs
            .get(log)
            .map_or(0, |log| log.first + log.kept.partition_point(|record| record.time < time) as u64))
    }

    async fn trim(&self, log: &str, below: u64) -> Result<(), Error> {
        validate_table(log)?;
        let mut state = self.open_state()?;
        if let Some(records) = state.logs.get_mut(log) {
            let below = below.clamp(records.first, records.bounds().next);
            records.kept.drain(..usize::try_from(below - records.first).unwrap_or(usize::MAX));
            records.first = below;
        }
        Ok(())
    }

    async fn logs(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let state = self.open_state()?;
        let (start, end) = names(prefix);
        let found = state.logs.keys().filter(|name| name.as_str() >= start);
        Ok(found.filter(|name| end.as_ref().is_none_or(|end| *name < end)).cloned().collect())
    }
}
