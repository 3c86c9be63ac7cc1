//! `micro store blob`: content of any size, in the namespace the command works in.

mod delete;
mod list;
mod read;
mod write;

use clap::{Args, Subcommand};
use micro_sdk::{Store, store::Blobs};

use crate::cli::context::Context;

/// Read and write blobs: content of any size, in the namespace you work in.
#[derive(Args)]
pub(super) struct Blob {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Read(read::Read),
    Write(write::Write),
    Delete(delete::Delete),
    List(list::List),
}

impl Blob {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.action {
            Action::Read(read) => read.run(cx).await,
            Action::Write(write) => write.run(cx).await,
            Action::Delete(delete) => delete.run(cx).await,
            Action::List(list) => list.run(cx).await,
        }
    }
}

/// The blobs of the namespace the command works in.
async fn blobs(cx: &Context) -> anyhow::Result<Blobs> {
    let connection = cx.connect().await?;
    Ok(Store::new(connection.block("store"), connection.namespace(), "").blobs())
}
