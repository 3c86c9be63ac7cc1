//! `micro config watch`.

use clap::Args;
use micro_sdk::proto::config::{Options, WatchRequest, WatchResponse};
use serde_json::{Value, json};

use super::{client, completion, parsed};
use crate::cli::{
    context::{Context, within},
    failure::{Failure, exit},
};

/// Print the value of a key, then again each time it changes, one JSON document a line.
#[derive(Args)]
pub(super) struct Watch {
    /// The key; without one, everything is watched.
    #[arg(add = completion::keys())]
    key: Option<String>,
    /// Show secrets in clear.
    #[arg(short, long)]
    secret: bool,
    /// Go on after this revision: what happened since comes first.
    #[arg(long, value_name = "REVISION")]
    after_revision: Option<u64>,
}

impl Watch {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let path = self.key.unwrap_or_default();
        let request = WatchRequest {
            namespace: connection.namespace().to_owned(),
            path: path.clone(),
            options: Some(Options { secret: self.secret }),
            after_revision: self.after_revision,
        };
        let mut last = self.after_revision;
        let mut changes = client(&connection).watch(request).await?;
        let printing = async {
            let ended = loop {
                match changes.next().await {
                    Ok(Some(change)) => {
                        last = Some(change.revision);
                        cx.ui.line(seen(&path, &change)?)?;
                    }
                    Ok(None) => break "the server has stopped".to_owned(),
                    // What the server itself says is the reason; all else is a connection that broke.
                    Err(error) if !error.id.is_empty() => return Err(error.into()),
                    Err(error) => break format!("the connection to the server broke: {error}"),
                }
            };
            let after = last.map(|revision| format!(" --after-revision {revision}")).unwrap_or_default();
            let key = if path.is_empty() { path } else { format!(" {path}") };
            Err(Failure::new(exit::UNREACHABLE, ended)
                .hint(format!("go on with `micro config watch{key}{after}`"))
                .into())
        };
        cx.ui.while_read(within(cx.limit, printing)).await
    }
}

fn seen(path: &str, change: &WatchResponse) -> anyhow::Result<Value> {
    Ok(json!({
        "path": path,
        "value": parsed(change.value.as_ref())?,
        "revision": change.revision,
        "found": change.found,
        "changed": change.changed,
    }))
}
