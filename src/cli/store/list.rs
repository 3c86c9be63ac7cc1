//! `micro store list`.

use clap::Args;
use micro_sdk::{
    blocks::store::StoreClient,
    proto::store::{ListOptions, ListRequest},
};

use super::{Part, Place};
use crate::cli::{context::Context, ui::Output};

/// Print the keys of a table, one a line.
#[derive(Args)]
pub(super) struct List {
    /// Only keys that begin with this.
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Only keys that end with this.
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    suffix: String,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    place: Place,
}

impl List {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let store: StoreClient = connection.block("store");
        let options = ListOptions {
            database: self.place.database.name(&connection),
            table: self.place.table,
            prefix: self.prefix,
            suffix: self.suffix,
            limit: self.part.limit,
            offset: self.part.offset,
            order: self.part.order.name(),
            after: String::new(),
        };
        let mut pages = store.list(ListRequest { options: Some(options) }).await?;
        let mut all = Vec::new();
        while let Some(page) = pages.next().await? {
            match cx.ui.output {
                Output::Table | Output::Raw => {
                    cx.ui.piece(cx.ui.lines(page.keys.iter().map(String::as_str))).await?;
                }
                Output::Jsonl => cx.ui.records(&page.keys, &[], |_| Vec::new())?,
                Output::Json => all.extend(page.keys),
            }
        }
        if cx.ui.output == Output::Json {
            cx.ui.records(&all, &[], |_| Vec::new())?;
        }
        Ok(())
    }
}
