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
}

impl Records {
    /// The records that `Store.Read` would return for this request, however many.
    #[must_use]
    pub fn new(client: StoreClient, request: ReadRequest) -> Self {
        let options = request.options.unwrap_or_default();
        let left = (options.limit > 0).then_some(options.limit);
        Self { client, key: request.key, options, page: VecDeque::new(), size: PAGE, left, ended: false }
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
        let read = records.len() as u64;
        let one = !self.options.prefix && !self.options.suffix;
        self.ended = one || read < wanted;
        self.left = self.left.map(|left| left.saturating_sub(read));
        self.options.offset = 0;
        if let Some(last) = records.last() {
            self.options.after.clone_from(&last.key);
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
