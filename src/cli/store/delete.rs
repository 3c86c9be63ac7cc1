//! `micro store delete`.

use clap::Args;
use micro_sdk::{
    blocks::store::StoreClient,
    proto::store::{BatchRequest, Change, DeleteOptions, DeleteRequest, ListOptions, ListRequest, change},
};

use super::{Place, completion};
use crate::cli::{
    context::Context,
    failure::{Failure, exit},
};

/// How many records are deleted at once.
const BATCH: usize = 1000;

/// Delete a record, or all whose keys begin alike.
///
/// A record that is not there is no failure. With --prefix it asks on a terminal, and needs --yes
/// without one; what was deleted until something failed stays deleted.
#[derive(Args)]
pub(super) struct Delete {
    /// The key.
    #[arg(add = completion::keys(), required_unless_present = "prefix", conflicts_with = "prefix")]
    key: Option<String>,
    /// All records whose keys begin with this.
    #[arg(short, long, value_name = "TEXT")]
    prefix: Option<String>,
    /// With --prefix at most so many, in the order of their keys.
    #[arg(short, long, value_name = "COUNT", requires = "prefix")]
    limit: Option<u64>,
    /// Only if the record has this version.
    #[arg(long, value_name = "VERSION", conflicts_with = "prefix")]
    if_version: Option<u64>,
    #[command(flatten)]
    place: Place,
}

impl Delete {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let store: StoreClient = connection.block("store");
        let (database, table) = (self.place.database.name(&connection), self.place.table);
        if let Some(prefix) = self.prefix {
            return Many { store, database, table, prefix, limit: self.limit }.delete(cx).await;
        }
        let key = self.key.unwrap_or_default();
        let options = DeleteOptions { database, table, if_version: self.if_version };
        let deleted = store.delete(DeleteRequest { key: key.clone(), options: Some(options) }).await?;
        match key.split_once('*') {
            Some((prefix, _)) if !deleted.existed => {
                let text = format!("there is no record `{key}`: a `*` in a key stands for itself");
                let hint =
                    format!("delete all that begins alike with `micro store delete --prefix '{prefix}'`");
                Err(Failure::new(exit::NOT_FOUND, text).hint(hint).into())
            }
            _ => Ok(()),
        }
    }
}

/// The records of a table whose keys begin alike.
struct Many {
    store: StoreClient,
    database: String,
    table: String,
    prefix: String,
    limit: Option<u64>,
}

impl Many {
    async fn delete(self, cx: &Context) -> anyhow::Result<()> {
        let mut left = self.count().await?;
        let which = if self.prefix.is_empty() {
            format!("table {} of database {}", self.table, self.database)
        } else {
            format!("table {} of database {} that begin with `{}`", self.table, self.database, self.prefix)
        };
        if left == 0 {
            cx.ui.say(format_args!("there are no records in {which}"));
            return Ok(());
        }
        let question = format!("Delete {} in {which}?", records(left));
        cx.ui.confirm(question, &format!("{} would be deleted", records(left))).await?;
        let (progress, mut deleted) = (cx.ui.progress(), 0);
        while left > 0 {
            // What was deleted is gone from the next page.
            let keys = self.keys(left.min(BATCH as u64)).await?;
            if keys.is_empty() {
                break;
            }
            let count = keys.len() as u64;
            let change = |key| {
                let change = Some(change::Change::Delete(key));
                Change { table: self.table.clone(), change, if_version: None }
            };
            let changes = keys.into_iter().map(change).collect();
            self.store.batch(BatchRequest { database: self.database.clone(), changes }).await?;
            deleted += count;
            left = left.saturating_sub(count);
            progress.message(format!("deleted {}", records(deleted)));
        }
        drop(progress);
        cx.ui.say(format_args!("deleted {} in {which}", records(deleted)));
        Ok(())
    }

    async fn count(&self) -> anyhow::Result<u64> {
        let mut pages = self.list(self.limit.unwrap_or(0)).await?;
        let mut count = 0;
        while let Some(page) = pages.next().await? {
            count += page.keys.len() as u64;
        }
        Ok(count)
    }

    async fn keys(&self, most: u64) -> anyhow::Result<Vec<String>> {
        let mut pages = self.list(most).await?;
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await? {
            keys.extend(page.keys);
        }
        Ok(keys)
    }

    async fn list(
        &self,
        limit: u64,
    ) -> micro_sdk::Result<micro_sdk::Receiver<micro_sdk::proto::store::ListResponse>> {
        let options = ListOptions {
            database: self.database.clone(),
            table: self.table.clone(),
            prefix: self.prefix.clone(),
            limit,
            ..ListOptions::default()
        };
        self.store.list(ListRequest { options: Some(options) }).await
    }
}

fn records(count: u64) -> String {
    format!("{count} record{}", if count == 1 { "" } else { "s" })
}
