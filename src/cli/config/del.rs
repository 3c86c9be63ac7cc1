//! `micro config del`.

use clap::Args;
use micro_sdk::proto::config::DeleteRequest;

use super::{client, completion};
use crate::cli::context::Context;

/// Delete a key, with all below it.
#[derive(Args)]
pub(super) struct Del {
    /// The key.
    #[arg(add = completion::keys())]
    key: String,
    /// Only if the key is at this revision.
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
}

impl Del {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let request = DeleteRequest {
            namespace: connection.namespace().to_owned(),
            path: self.key.clone(),
            if_revision: self.if_revision,
        };
        let deleted = client(&connection).delete(request).await?;
        // A server of Micro v4 counts no revisions, and does not say what was there.
        if !deleted.existed && deleted.revision > 0 {
            cx.ui.say(format_args!("there was nothing at {}", self.key));
        }
        Ok(())
    }
}
