use clap::Args;
use micro_sdk::{
    blocks::store::StoreClient,
    proto::store::{DeleteOptions, DeleteRequest},
};

use super::{Place, completion};
use crate::cli::context::Context;

/// Delete a record; one that is not there is no failure.
#[derive(Args)]
pub(super) struct Delete {
    /// The key.
    #[arg(add = completion::keys())]
    key: String,
    /// Only if the record has this version.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    #[command(flatten)]
    place: Place,
}

impl Delete {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let store: StoreClient = connection.block("store")?;
        let options = DeleteOptions {
            database: self.place.database.name(&connection),
            table: self.place.table,
            if_version: self.if_version,
        };
        store.delete(DeleteRequest { key: self.key, options: Some(options) }).await?;
        Ok(())
    }
}
