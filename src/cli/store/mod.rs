//! `micro store`: records, whole databases, and blobs.

mod blob;
mod completion;
mod databases;
mod delete;
mod files;
mod list;
mod message;
mod read;
mod restore;
mod snapshot;
mod tables;
mod write;

use clap::{Args, Subcommand, ValueEnum};

use super::context::{Connection, Context};

/// Read and write what services keep: records and blobs.
///
/// Records stand in tables of a database; a database is a namespace. A service has the table of its
/// name, and blobs below its name: see `micro store list --table NAME`.
#[derive(Args)]
pub(super) struct Store {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Read(read::Read),
    Write(write::Write),
    Delete(delete::Delete),
    List(list::List),
    Databases(databases::Databases),
    Tables(tables::Tables),
    Snapshot(snapshot::Snapshot),
    Restore(restore::Restore),
    Blob(blob::Blob),
}

impl Store {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.action {
            Action::Read(command) => command.run(cx).await,
            Action::Write(command) => command.run(cx).await,
            Action::Delete(command) => command.run(cx).await,
            Action::List(command) => command.run(cx).await,
            Action::Databases(command) => command.run(cx).await,
            Action::Tables(command) => command.run(cx).await,
            Action::Snapshot(command) => command.run(cx).await,
            Action::Restore(command) => command.run(cx).await,
            Action::Blob(command) => command.run(cx).await,
        }
    }
}

/// Which database.
#[derive(Args)]
struct Database {
    /// The database (default: the namespace you work in).
    #[arg(short, long, value_name = "NAME")]
    database: Option<String>,
}

impl Database {
    fn name(self, connection: &Connection) -> String {
        self.database.unwrap_or_else(|| connection.namespace().to_owned())
    }
}

/// Which table of which database.
#[derive(Args)]
struct Place {
    #[command(flatten)]
    database: Database,
    /// The table.
    #[arg(short, long, value_name = "NAME", default_value = "micro")]
    table: String,
}

/// Which of the records that were found, in which order.
#[derive(Args)]
struct Part {
    /// At most so many; 0 means all.
    #[arg(short, long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    limit: u64,
    /// Leave out the first ones.
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    offset: u64,
    /// By key, asc or desc.
    #[arg(long, value_enum, default_value = "asc", hide_possible_values = true)]
    order: Order,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    Asc,
    Desc,
}

impl Order {
    fn name(self) -> String {
        match self {
            Self::Asc => "asc".to_owned(),
            Self::Desc => "desc".to_owned(),
        }
    }
}
