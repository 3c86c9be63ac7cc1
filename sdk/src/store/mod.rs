//! What a service keeps: records in tables, and blobs.
//!
//! ```
//! use micro_sdk::{
//!     Context, Result,
//!     serde::{Deserialize, Serialize},
//! };
//!
//! #[derive(Serialize, Deserialize)]
//! #[serde(crate = "micro_sdk::serde")]
//! struct User {
//!     name: String,
//! }
//!
//! async fn rename(cx: &Context, key: &str, name: &str) -> Result<Option<User>> {
//!     let users = cx.store().table::<User>("users");
//!     let before = users.get(key).await?;
//!     users.put(key, &User { name: name.to_owned() }).await?;
//!     Ok(before)
//! }
//! ```
//!
//! A service has one table in the database of its namespace, which has its name and which it may use
//! without any rule. [`Store::table`] and [`Store::bytes`] divide it: the key `jane` of `users` is the
//! record `users/jane` of the service's table, as `micro store list --table <service>` shows it. A
//! table of another name is shared with others, and takes a rule; see [`Store::shared_table`].

mod batch;
mod blobs;
mod records;
mod table;

use std::fmt;

use micro_proto::store::{BatchRequest, Record};
use prost::{Message, Name};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Client, blocks::store::StoreClient};

pub use batch::Batch;
pub use blobs::{BlobReader, BlobWriter, Blobs};
pub use records::Records;
pub use table::{Entries, Entry, MESSAGE, Put, Table};

/// The store, as a service has it. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    client: Client,
    database: String,
    service: String,
}

impl Store {
    /// The store behind a client of the building block `store`: this database, and in it the table
    /// and the blobs of this service. A handler has [`crate::Context::store`] instead.
    #[must_use]
    pub fn new(client: Client, database: impl Into<String>, service: impl Into<String>) -> Self {
        Self { client, database: database.into(), service: service.into() }
    }

    /// A part of this service's table, with values that are kept as JSON. Any name will do.
    #[must_use]
    pub fn table<T: Serialize + DeserializeOwned>(&self, name: &str) -> Table<T> {
        Table::json(self.own(name))
    }

    /// As [`Store::table`], with values that are bytes.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Table<Vec<u8>> {
        Table::plain(self.own(name))
    }

    /// As [`Store::table`], with values that are messages of a .proto file. `micro store read` shows them
    /// as JSON, by the schema that the service has registered.
    ///
    /// ```
    /// # use micro_sdk::{Context, Result, prost::{self, Message, Name}};
    /// # #[derive(Clone, PartialEq, Message)]
    /// # struct Product { #[prost(string, tag = "1")] name: String }
    /// # impl Name for Product { const NAME: &'static str = "Product"; const PACKAGE: &'static str = "shop"; }
    /// # async fn example(cx: Context) -> Result<()> {
    /// let products = cx.store().messages::<Product>("products");
    /// products.put("tea", &Product { name: "Assam".to_owned() }).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn messages<T: Message + Name + Default>(&self, name: &str) -> Table<T> {
        Table::messages(self.own(name))
    }

    /// A whole table of the database, with values that are kept as JSON. One that does not have the
    /// name of this service is open to it only by a rule.
    #[must_use]
    pub fn shared_table<T: Serialize + DeserializeOwned>(&self, name: &str) -> Table<T> {
        Table::json(self.shared(name))
    }

    /// As [`Store::shared_table`], with values that are bytes.
    #[must_use]
    pub fn shared_bytes(&self, name: &str) -> Table<Vec<u8>> {
        Table::plain(self.shared(name))
    }

    /// Several changes that are made all or none.
    pub fn batch(&self) -> Batch {
        let request = BatchRequest { changes: Vec::new(), database: self.database.clone() };
        Batch::new(StoreClient::new(self.client.clone()), request)
    }

    /// The blobs: content of any size. A service has a space of its own, so that any key will do; one
    /// that begins with `/` is meant as it stands, such as `/other/logo.png`, and takes a rule.
    #[must_use]
    pub fn blobs(&self) -> Blobs {
        Blobs::new(self.client.clone(), self.database.clone())
    }

    fn own(&self, name: &str) -> Place {
        // So that no two names share a key.
        let name = name.replace('%', "%25").replace('/', "%2F");
        Place { prefix: format!("{name}/"), ..self.shared(&self.service) }
    }

    fn shared(&self, table: &str) -> Place {
        Place {
            client: StoreClient::new(self.client.clone()),
            database: self.database.clone(),
            table: table.to_owned(),
            prefix: String::new(),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client: _, database, service } = self;
        f.debug_struct("Store").field("database", database).field("service", service).finish()
    }
}

/// A table, or the part of one whose keys begin with something.
#[derive(Clone, Debug)]
struct Place {
    client: StoreClient,
    database: String,
    table: String,
    prefix: String,
}

impl Place {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The record under the name it has here.
    fn named(&self, mut record: Record) -> Record {
        if let Some(key) = record.key.strip_prefix(&self.prefix) {
            record.key = key.to_owned();
        }
        record
    }
}
