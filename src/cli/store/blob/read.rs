//! `micro store blob read`.

use std::path::PathBuf;

use clap::Args;

use super::blobs;
use crate::cli::{
    context::Context,
    failure::{Failure, exit},
    store::{completion, files::Sink},
};

/// Print a blob, or put it into a file.
#[derive(Args)]
pub(super) struct Read {
    /// The key.
    #[arg(add = completion::blobs())]
    key: String,
    /// The file; it is whole or not there.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

impl Read {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let Self { key, to } = self;
        let Some(mut blob) = blobs(cx).await?.read(&key).await? else {
            return Err(Failure::new(
                exit::NOT_FOUND,
                format!("Blob not found: there is none with key `{key}`"),
            )
            .hint("list the keys with `micro store blob list`")
            .into());
        };
        let mut sink = Sink::open(to, false)?;
        let (progress, mut bytes) = (cx.ui.progress(), 0);
        while let Some(piece) = blob.next().await? {
            bytes += piece.len() as u64;
            sink.write(piece, cx).await?;
            progress.bytes("read", bytes);
        }
        sink.finish().map(drop)
    }
}
