//! Reading many records without having them all in one message.

use std::{collections::VecDeque, fmt};

use micro_proto::store::{ReadOptions, ReadRequest, Record};

use crate::{Result, blocks::store::StoreClient};

/// Records that are asked for at once, unless they are too large.
const PAGE: u64 = 500;

/// The records of a request, read page by page as they are wanted. What is written meanwhile may or
/// may not be among them.
pub struct Records {
    client: StoreClient,
    key: String,
    options: ReadOptions,
    page: VecDeque<Record>,
    /// How many are asked for at once.
    size: u64,
    /// How many are wanted still; none for all.
    left: Option<u64>,
    ended: bool,
    /// How many were passed over or read.
    seen: u64,
    /// The first key of the page before.
    first: Option<String>,
    /// The server knows pages by number alone.
    counts: bool,
}

impl Records {
    /// The records that `Store.Read` would return for this request, however many.
    #[must_use]
    pub fn new(client: StoreClient, request: ReadRequest) -> Self {
        let options = request.options.unwrap_or_default();
        let left = (options.limit > 0).then_some(options.limit);
        let (page, seen) = (VecDeque::new(), options.offset);
        let (first, counts) = (None, false);
        Self { client, key: request.key, options, page, size: PAGE, left, ended: false, first, seen, counts }
    }

    /// The next record, or none after the last.
    ///
    /// # Errors
    /// What the store answers: 404 for one key that is not there, 403 where the caller may not.
    pub async fn next(&mut self) -> Result<Option<Record>> {
        while self.page.is_empty() && !self.ended {
            self.read().await?;
        }
        Ok(self.page.pop_front())
    }

    async fn read(&mut self) -> Result<()> {
        let wanted = self.left.map_or(self.size, |left| left.min(self.size));
        if wanted == 0 {
            self.ended = true;
            return Ok(());
        }
        let options = ReadOptions { limit: wanted, ..self.options.clone() };
        let request = ReadRequest { key: self.key.clone(), options: Some(options) };
        let records = match self.client.read(request).await {
            Ok(response) => response.records,
            // More than a message holds.
            Err(error) if error.code == 413 && wanted > 1 => {
                self.size = wanted.div_ceil(8);
                return Ok(());
            }
            Err(error) => {
                self.ended = true;
                return Err(error);
            }
        };
        if self.first.is_some() && records.first().map(|record| &record.key) == self.first.as_ref() {
            // A server of Micro v4 does not know `after`, and began from the front again.
            (self.options.after, self.options.offset) = (String::new(), self.seen);
            self.first = None;
            self.counts = true;
            return Ok(());
        }
        let read = records.len() as u64;
        self.seen += read;
        let one = !self.options.prefix && !self.options.suffix;
        self.ended = one || read < wanted;
        self.left = self.left.map(|left| left.saturating_sub(read));
        if self.counts {
            self.options.offset = self.seen;
        } else if let (Some(first), Some(last)) = (records.first(), records.last()) {
            self.options.offset = 0;
            self.options.after.clone_from(&last.key);
            self.first = Some(first.key.clone());
        }
        self.page = records.into();
        Ok(())
    }

    pub(super) fn options(&mut self) -> &mut ReadOptions {
        &mut self.options
    }

    pub(super) fn limit(&mut self, limit: u64) {
        self.left = Some(limit);
    }

    /// One of them was read by other means.
    pub(super) fn count_one(&mut self) {
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    pub(super) fn stop(&mut self) {
        self.ended = true;
        self.page.clear();
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("options", &self.options).finish_non_exhaustive()
    }
}
