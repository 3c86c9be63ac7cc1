//! `micro clean`.

use clap::Args;
use indicatif::HumanBytes;
use micro_sdk::{
    blocks::runtime::RuntimeClient,
    proto::runtime::{CleanRequest, Leftover},
};
use serde_json::json;

use super::{context::Context, ui::Output};

/// Delete what services that do not exist any more left on disk.
///
/// That is their logs, the folders they were built in, and programs that no service runs. Nothing of a
/// service that `micro status` lists is touched.
#[derive(Args)]
pub(super) struct Clean {
    /// Delete nothing, only show what would be deleted.
    #[arg(long)]
    dry_run: bool,
}

impl Clean {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let runtime: RuntimeClient = connection.block("runtime");
        let leftovers = runtime.clean(CleanRequest { dry_run: self.dry_run }).await?.leftovers;
        let total: u64 = leftovers.iter().map(|left| left.bytes).sum();
        let records: Vec<_> = leftovers
            .iter()
            .map(|Leftover { kind, path, bytes }| json!({"kind": kind, "path": path, "bytes": bytes}))
            .collect();
        cx.ui.records(&records, &["KIND", "SIZE", "PATH"], |record| {
            let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
            let size = HumanBytes(record["bytes"].as_u64().unwrap_or_default());
            vec![text("kind"), size.to_string(), text("path")]
        })?;
        if cx.ui.output == Output::Table {
            let size = HumanBytes(total);
            cx.ui.say(match (leftovers.is_empty(), self.dry_run) {
                (true, _) => "nothing is left over".to_owned(),
                (false, true) => format!("{size} would be deleted by `micro clean`"),
                (false, false) => format!("{size} deleted"),
            });
        }
        Ok(())
    }
}
