//! `micro store tables`.

use clap::Args;
use micro_sdk::{blocks::store::StoreClient, proto::store::TablesRequest};

use super::Database;
use crate::cli::context::Context;

/// Print the tables of a database that have records.
#[derive(Args)]
pub(super) struct Tables {
    #[command(flatten)]
    database: Database,
}

impl Tables {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let store: StoreClient = connection.block("store");
        let request = TablesRequest { database: self.database.name(&connection) };
        cx.ui.names(&store.tables(request).await?.tables)
    }
}
