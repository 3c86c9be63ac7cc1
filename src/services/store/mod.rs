//! The building block `store`: records, in tables of a database, and blobs, under keys of a
//! namespace. A database is a namespace. Names of tables and keys are data: they are compared, never
//! looked up as paths.

mod blobs;
mod contents;
mod copy;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod record;
mod records;
mod restore;
mod snapshot;
mod walk;

use std::{path::Path, sync::Arc};

use micro_sdk::{Context, Error, Result, blocks, handler::Handler};

use super::{
    auth::{Auth, Caller, Kind, Thing},
    namespace_or_default,
    transfers::Transfers,
};
use crate::{
    backend::{Blobs, Kv},
    tasks::Tasks,
};
use contents::Contents;
use copy::Snapshots;

/// Bytes the name of a table may have.
const MAX_TABLE: usize = 255;
/// The table of requests that name none.
const DEFAULT_TABLE: &str = "micro";
/// What the names of all tables of the store begin with, among those of the other building blocks.
const TABLES: &str = "store/";

/// A handle on the building block, cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    records: records::Service,
    blobs: blobs::Service,
}

impl Store {
    /// Opens it. What is to be restored is taken in below `folder`, which must be there.
    pub(crate) fn open(
        kv: Arc<dyn Kv>,
        blobs: Arc<dyn Blobs>,
        auth: Auth,
        folder: &Path,
        transfers: Arc<Transfers>,
        tasks: &Tasks,
    ) -> Self {
        let contents = Contents::open(kv.clone(), blobs, tasks);
        Self {
            records: records::Service {
                snapshots: Snapshots::new(kv.clone(), folder.into()),
                kv,
                auth: auth.clone(),
                folder: folder.into(),
                transfers: transfers.clone(),
            },
            blobs: blobs::Service { contents, auth, transfers },
        }
    }

    pub(crate) fn handlers(&self) -> Vec<Box<dyn Handler>> {
        vec![
            Box::new(blocks::store::StoreServer::new(self.records.clone())),
            Box::new(blocks::store::BlobStoreServer::new(self.blobs.clone())),
        ]
    }
}

/// The database a request means.
fn database(name: &str) -> Result<&str> {
    namespace_or_default(name)
        .map_err(|error| Error { detail: format!("the database: {}", error.detail), ..error })
}

/// What the names of all tables of a database begin with.
fn tables_of(database: &str) -> String {
    format!("{TABLES}{database}/")
}

/// Refuses a caller that may not do this with the whole of a database.
fn permit_database(auth: &Auth, cx: &Context, database: &str, method: &str) -> Result<()> {
    auth.permit(&Caller::of(cx), database, Thing { kind: Kind::Table, name: "", method })
}

/// A table, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    database: String,
    table: String,
}

impl Place {
    /// # Errors
    /// 400 for names that cannot be.
    fn of(in_database: &str, table: &str) -> Result<Self> {
        let database = database(in_database)?.to_owned();
        let table = if table.is_empty() { DEFAULT_TABLE } else { table };
        check_table(table)?;
        Ok(Self { database, table: table.to_owned() })
    }

    /// The name of the table in the state layer.
    fn name(&self) -> String {
        format!("{}{}", tables_of(&self.database), self.table)
    }

    /// Refuses a caller that may not do this with the table.
    fn permit(&self, auth: &Auth, cx: &Context, method: &str) -> Result<()> {
        auth.permit(&Caller::of(cx), &self.database, Thing { kind: Kind::Table, name: &self.table, method })
    }
}

fn check_table(name: &str) -> Result<()> {
    let wrong = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > MAX_TABLE {
        format!("it has {} bytes, {MAX_TABLE} are allowed", name.len())
    } else if name.contains(char::is_control) {
        "it has control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::bad_request(format!("`{}` cannot be the name of a table: {wrong}", shown(name))))
}

/// A name or key for a person to read, the beginning of a long one.
fn shown(text: &str) -> String {
    const LENGTH: usize = 80;
    let start: String = text.chars().take(LENGTH).collect();
    let dots = if start.len() < text.len() { "…" } else { "" };
    format!("{}{dots}", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_data() {
        let place = Place::of("", "").unwrap();
        assert_eq!(place.name(), "store/micro/micro");
        for table in ["users", "../../etc/passwd", "a/b", "..", "it's", "käse", " ", &"t".repeat(255)] {
            assert_eq!(Place::of("shop", table).unwrap().name(), format!("store/shop/{table}"));
        }
        for table in ["a\0b", "a\nb", "\u{7f}", &"t".repeat(256)] {
            assert_eq!(Place::of("shop", table).unwrap_err().code, 400, "{table:?}");
        }
        for database in ["..", "a/b", "A", "shop ", "../micro", "\0", &"d".repeat(64)] {
            assert_eq!(Place::of(database, "t").unwrap_err().code, 400, "{database:?}");
        }
    }

    #[test]
    fn long_names_are_shown_by_their_beginning() {
        assert_eq!(shown("a\0\"ü"), "a\\0\\\"ü");
        assert_eq!(shown(&"ü".repeat(5000)), format!("{}…", "ü".repeat(80)));
    }
}
