//! `micro store databases`.

use clap::Args;
use micro_sdk::{blocks::store::StoreClient, proto::store::DatabasesRequest};

use crate::cli::context::Context;

/// Print the databases that have records; for administrators of `micro`.
#[derive(Args)]
pub(super) struct Databases {}

impl Databases {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let store: StoreClient = connection.block("store");
        let databases = store.databases(DatabasesRequest {}).await?.databases;
        cx.ui.names(&databases)
    }
}
