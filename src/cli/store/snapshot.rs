//! `micro store snapshot`.

use std::path::PathBuf;

use clap::Args;
use micro_sdk::{blocks::store::StoreClient, proto::store::SnapshotRequest};

use super::{Database, files::Sink};
use crate::cli::{context::Context, failure::Failure};

/// Copy all records of a database, as they are at one moment, into a file
///
/// Writing goes on meanwhile. `micro store restore` puts the copy back, also under another name, and
/// refuses one that is not whole. Blobs are not part of it.
#[derive(Args)]
pub(super) struct Snapshot {
    /// The file; `-` or none is standard output.
    file: Option<PathBuf>,
    /// Replace the file if there is one.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    database: Database,
}

impl Snapshot {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        if self.file.is_none() && cx.ui.prints_on_terminal() {
            return Err(Failure::usage("a snapshot is no text for a terminal")
                .hint("name a file: `micro store snapshot FILE`")
                .into());
        }
        // A device or a pipe with a name has nothing to lose.
        let kept = self.file.as_ref().filter(|file| !self.force && file.is_file());
        if let Some(file) = kept {
            let question = format!("Replace the file {}?", file.display());
            let what = format!("{} is there already, and --force to replace it is missing", file.display());
            cx.ui.confirm(question, &what).await?;
        }
        let connection = cx.connect().await?;
        let store: StoreClient = connection.block("store");
        let database = self.database.name(&connection);
        let mut pieces = store.snapshot(SnapshotRequest { database: database.clone() }).await?;
        let mut sink = Sink::open(self.file, true)?;
        let (progress, mut bytes) = (cx.ui.progress(), 0);
        while let Some(piece) = pieces.next().await? {
            bytes += piece.data.len() as u64;
            sink.write(piece.data, cx).await?;
            progress.bytes("copied", bytes);
        }
        drop(progress);
        if let Some(file) = sink.finish()? {
            cx.ui.say(format_args!("database {database} is copied to {}", file.display()));
        }
        Ok(())
    }
}
