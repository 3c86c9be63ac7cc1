//! `micro store blob write`.

use std::path::PathBuf;

use clap::Args;

use super::blobs;
use crate::cli::{
    context::Context,
    store::{completion, files::Source},
};

/// Write a blob, over the one that was there.
#[derive(Args)]
pub(super) struct Write {
    /// The key.
    #[arg(add = completion::blobs())]
    key: String,
    /// The file; `-` is standard input.
    file: PathBuf,
    /// Its media type, such as image/png.
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    content_type: String,
}

impl Write {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        // Before the connection: a file that cannot be read starts no server.
        let mut source = Source::open(self.file).await?;
        let mut blob = blobs(cx).await?.write_as(&self.key, &self.content_type);
        let (progress, mut bytes) = (cx.ui.progress(), 0);
        loop {
            let piece = source.piece().await?;
            if piece.is_empty() {
                break;
            }
            bytes += piece.len() as u64;
            blob.write(piece).await?;
            progress.bytes("written", bytes);
        }
        progress.message("finishing");
        blob.finish().await?;
        Ok(())
    }
}
