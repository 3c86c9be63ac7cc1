//! `micro store restore`.

use std::path::PathBuf;

use clap::Args;
use micro_sdk::{blocks::store::StoreClient, proto::store::RestoreRequest};

use super::{Database, files::Source};
use crate::cli::context::Context;

/// Put a snapshot in the place of all records of a database
///
/// Asks on a terminal, and needs --yes without one. A snapshot that is cut off or altered is refused,
/// and nothing is changed.
#[derive(Args)]
pub(super) struct Restore {
    /// A file that `micro store snapshot` wrote; `-` is standard input.
    file: PathBuf,
    #[command(flatten)]
    database: Database,
}

impl Restore {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let mut source = Source::open(self.file).await?;
        let connection = cx.connect().await?;
        let store: StoreClient = connection.block("store");
        let database = self.database.name(&connection);
        let question = format!("Replace all records of database {database}?");
        cx.ui.confirm(question, "restore replaces all records").await?;
        let mut upload = store.restore();
        let (progress, mut bytes) = (cx.ui.progress(), 0);
        let mut request = RestoreRequest { database: database.clone(), data: Vec::new() };
        loop {
            let data = source.piece().await?;
            let ended = data.is_empty();
            bytes += data.len() as u64;
            // The first message says which database, also for an empty file.
            if !ended || !request.database.is_empty() {
                upload.send(RestoreRequest { data, ..std::mem::take(&mut request) }).await?;
            }
            if ended {
                break;
            }
            progress.bytes("sent", bytes);
        }
        progress.message("restoring");
        let records = upload.finish().await?.records;
        drop(progress);
        let plural = if records == 1 { "" } else { "s" };
        cx.ui.say(format_args!("database {database} has {records} record{plural}"));
        Ok(())
    }
}
