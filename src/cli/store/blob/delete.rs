//! `micro store blob delete`.

use clap::Args;

use super::blobs;
use crate::cli::{context::Context, store::completion};

/// Delete a blob; one that is not there is no failure.
#[derive(Args)]
pub(super) struct Delete {
    /// The key.
    #[arg(add = completion::blobs())]
    key: String,
}

impl Delete {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        blobs(cx).await?.delete(&self.key).await?;
        Ok(())
    }
}
