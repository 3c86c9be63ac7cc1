use std::path::PathBuf;

use clap::{Args, Subcommand};
use micro_sdk::{Store, proto::store::BlobInfo, store::Blobs};
use serde_json::json;

use super::{
    completion,
    files::{Sink, Source},
};
use crate::cli::{
    context::Context,
    failure::{Failure, exit},
    ui::Output,
};

/// Read and write blobs: content of any size, in the namespace you work in.
#[derive(Args)]
pub(super) struct Blob {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print a blob, or put it into a file.
    Read {
        /// The key.
        #[arg(add = completion::blobs())]
        key: String,
        /// The file; it is whole or not there.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Write a blob, over the one that was there.
    Write {
        /// The key.
        #[arg(add = completion::blobs())]
        key: String,
        /// The file; `-` is standard input.
        file: PathBuf,
        /// Its media type, such as image/png.
        #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
        content_type: String,
    },
    /// Delete a blob; one that is not there is no failure.
    Delete {
        /// The key.
        #[arg(add = completion::blobs())]
        key: String,
    },
    /// Print the keys, one a line; with -v, also size, media type and SHA-256.
    List {
        /// Only keys that begin with this.
        #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        prefix: String,
        /// At most so many; 0 means all.
        #[arg(short, long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
        limit: usize,
    },
}

impl Blob {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let source = match &self.action {
            // What cannot be read starts no server.
            Action::Write { file, .. } => Some(Source::open(file.clone()).await?),
            Action::Read { .. } | Action::Delete { .. } | Action::List { .. } => None,
        };
        let connection = cx.connect().await?;
        let blobs = Store::new(connection.block("store")?, connection.namespace(), "").blobs();
        match (self.action, source) {
            (Action::Read { key, to }, _) => read(&blobs, &key, to, cx).await,
            (Action::Write { key, content_type, .. }, Some(source)) => {
                write(&blobs, &key, &content_type, source, cx).await
            }
            (Action::Delete { key }, _) => Ok(blobs.delete(&key).await.map(drop)?),
            (Action::List { prefix, limit }, _) => list(&blobs, &prefix, limit, cx).await,
            (Action::Write { .. }, None) => Ok(()),
        }
    }
}

async fn read(blobs: &Blobs, key: &str, to: Option<PathBuf>, cx: &Context) -> anyhow::Result<()> {
    let Some(mut blob) = blobs.read(key).await? else {
        return Err(Failure::new(exit::NOT_FOUND, format!("Blob not found: there is none with key `{key}`"))
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

async fn write(
    blobs: &Blobs,
    key: &str,
    content_type: &str,
    mut source: Source,
    cx: &Context,
) -> anyhow::Result<()> {
    let mut blob = blobs.write_as(key, content_type);
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

async fn list(blobs: &Blobs, prefix: &str, limit: usize, cx: &Context) -> anyhow::Result<()> {
    let (mut all, mut after, mut count) = (Vec::new(), String::new(), 0);
    loop {
        let mut page = blobs.list(prefix, &after).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.key);
        if limit > 0 {
            page.truncate(limit - count);
        }
        count += page.len();
        let together = cx.ui.output == Output::Json || (cx.ui.output == Output::Table && cx.ui.verbose);
        match cx.ui.output {
            _ if together => all.extend(page),
            Output::Jsonl => {
                for blob in &page {
                    cx.ui.line(shown(blob))?;
                }
            }
            Output::Table | Output::Raw | Output::Json => {
                cx.ui.piece(cx.ui.lines(page.iter().map(|blob| blob.key.as_str()))).await?;
            }
        }
        if count == limit && limit > 0 {
            break;
        }
    }
    match cx.ui.output {
        Output::Json => {
            let all: Vec<_> = all.iter().map(shown).collect();
            cx.ui.records(&all, &[], |_| Vec::new())
        }
        Output::Table if !all.is_empty() => {
            let mut rows = vec![["KEY", "SIZE", "TYPE", "SHA-256"].map(str::to_owned).to_vec()];
            rows.extend(all.into_iter().map(|blob| {
                let BlobInfo { key, size, digest, content_type } = blob;
                vec![key, size.to_string(), content_type, digest]
            }));
            Ok(cx.ui.columns(&rows)?)
        }
        Output::Table | Output::Jsonl | Output::Raw => Ok(()),
    }
}

fn shown(blob: &BlobInfo) -> serde_json::Value {
    let BlobInfo { key, size, digest, content_type } = blob;
    json!({"key": key, "size": size, "digest": digest, "content_type": content_type})
}
