//! `micro store blob list`.

use clap::Args;
use micro_sdk::proto::store::BlobInfo;
use serde_json::json;

use super::blobs;
use crate::cli::{context::Context, ui::Output};

/// Print the keys, one a line; with -v, also size, media type and SHA-256.
#[derive(Args)]
pub(super) struct List {
    /// Only keys that begin with this.
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// At most so many; 0 means all.
    #[arg(short, long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    limit: usize,
}

impl List {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let Self { prefix, limit } = self;
        let blobs = blobs(cx).await?;
        let (mut all, mut after, mut count) = (Vec::new(), String::new(), 0);
        loop {
            let mut page = blobs.list(&prefix, &after).await?;
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
}

fn shown(blob: &BlobInfo) -> serde_json::Value {
    let BlobInfo { key, size, digest, content_type } = blob;
    json!({"key": key, "size": size, "digest": digest, "content_type": content_type})
}
