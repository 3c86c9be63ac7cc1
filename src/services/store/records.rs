//! The handler `Store`: takes a request apart, asks who may, and reads or commits.

use std::{path::PathBuf, sync::Arc};

use micro_sdk::{
    Context, Error, MESSAGE_LIMIT, Receiver, Result, Sender, blocks,
    proto::store::{
        BatchRequest, BatchResponse, Change, DatabasesRequest, DatabasesResponse, DeleteRequest,
        DeleteResponse, ListRequest, ListResponse, ReadRequest, ReadResponse, Record, RestoreRequest,
        RestoreResponse, SnapshotRequest, SnapshotResponse, TablesRequest, TablesResponse, WriteRequest,
        WriteResponse, change,
    },
};
use prost::Message as _;

use super::{
    Place, TABLES,
    copy::Snapshots,
    database, permit_database,
    record::{Put, check_key, key, record},
    restore, shown, tables_of,
    walk::{Selection, Walk, descending},
};
use crate::{
    backend::{self, Commit, Kv},
    services::{
        PLATFORM,
        auth::{Auth, Caller},
        transfers::Transfers,
    },
};

/// Changes one batch may have.
const MAX_CHANGES: usize = 2000;

/// The implementation of `Store`.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) kv: Arc<dyn Kv>,
    pub(super) auth: Auth,
    pub(super) snapshots: Snapshots,
    /// Where what is to be restored is taken in.
    pub(super) folder: PathBuf,
    pub(super) transfers: Arc<Transfers>,
}

/// A change that is part of a commit.
struct Step {
    place: Place,
    key: String,
    /// None deletes the key.
    put: Option<Put>,
    if_version: Option<u64>,
}

impl Step {
    fn put(place: Place, record: Record, if_version: Option<u64>) -> Result<Self> {
        let put = Put::of(record)?;
        Ok(Self { place, key: put.key.clone(), put: Some(put), if_version })
    }

    fn delete(place: Place, key: String, if_version: Option<u64>) -> Result<Self> {
        check_key(&key)?;
        Ok(Self { place, key, put: None, if_version })
    }

    fn add_to(self, commit: Commit) -> Commit {
        let table = self.place.name();
        let commit = match self.if_version {
            None => commit,
            Some(0) => commit.require_absent(table.as_str(), self.key.as_str()),
            Some(version) => commit.require_version(table.as_str(), self.key.as_str(), version),
        };
        match self.put {
            None => commit.delete(table, self.key),
            Some(Put { key, value, expires_at: None }) => commit.put(table, key, value),
            Some(Put { key, value, expires_at: Some(at) }) => commit.put_until(table, key, value, at),
        }
    }
}

impl Service {
    /// Makes the changes, all or none, and returns the version of what was written.
    async fn commit(&self, steps: Vec<Step>) -> Result<u64> {
        let conditions: Vec<(Place, String, u64)> = steps
            .iter()
            .filter_map(|step| Some((step.place.clone(), step.key.clone(), step.if_version?)))
            .collect();
        let commit = steps.into_iter().fold(Commit::new(), |commit, step| step.add_to(commit));
        self.kv.commit(commit).await.map_err(|error| {
            let backend::Error::Conflict { table, key } = &error else { return error.into() };
            let failed = |(place, named, _): &&(Place, String, u64)| {
                place.name() == *table && named.as_bytes() == key.as_slice()
            };
            match conditions.iter().find(failed) {
                Some((place, key, version)) => changed(place, key, *version),
                None => error.into(),
            }
        })
    }

    fn selected(&self, place: &Place, selection: Selection) -> Walk<'_> {
        Walk::new(&*self.kv, place.name(), selection)
    }

    fn step(&self, cx: &Context, database: &str, change: Change) -> Result<Step> {
        let Change { table, change, if_version } = change;
        let place = Place::of(database, &table)?;
        match change {
            Some(change::Change::Write(record)) => {
                place.permit(&self.auth, cx, "Store.Write")?;
                Step::put(place, record, if_version)
            }
            Some(change::Change::Delete(key)) => {
                place.permit(&self.auth, cx, "Store.Delete")?;
                Step::delete(place, key, if_version)
            }
            None => {
                place.permit(&self.auth, cx, "Store.Write")?;
                Err(Error::bad_request("it neither writes nor deletes"))
            }
        }
    }
}

/// What a condition that does not hold is told as.
fn changed(place: &Place, key: &str, version: u64) -> Error {
    let (key, table) = (shown(key), shown(&place.table));
    Error::precondition_failed(match version {
        0 => format!("table `{table}` has a record `{key}` already"),
        version => format!("the record `{key}` of table `{table}` does not have version {version} any more"),
    })
}

impl blocks::store::Store for Service {
    async fn read(&self, cx: Context, request: ReadRequest) -> Result<ReadResponse> {
        let options = request.options.unwrap_or_default();
        let place = Place::of(&options.database, &options.table)?;
        place.permit(&self.auth, &cx, "Store.Read")?;
        if !options.prefix && !options.suffix {
            check_key(&request.key)?;
            let Some(entry) = self.kv.get(&place.name(), request.key.as_bytes()).await? else {
                let (table, key) = (shown(&place.table), shown(&request.key));
                return Err(Error::not_found(format!("not found: table `{table}` has no record `{key}`")));
            };
            return Ok(ReadResponse { records: vec![record(entry)?] });
        }
        let part = |wanted: bool| if wanted { request.key.clone() } else { String::new() };
        let mut walk = self.selected(
            &place,
            Selection {
                prefix: part(options.prefix),
                suffix: part(options.suffix),
                limit: options.limit,
                offset: options.offset,
                descending: descending(&options.order)?,
                after: options.after,
            },
        );
        let (mut records, mut bytes) = (Vec::new(), 0);
        loop {
            let page = walk.page(false).await?;
            if page.is_empty() {
                return Ok(ReadResponse { records });
            }
            for entry in page {
                let record = record(entry)?;
                bytes += record.encoded_len() + prost::length_delimiter_len(record.encoded_len()) + 1;
                if bytes > MESSAGE_LIMIT {
                    return Err(Error::too_large(format!(
                        "the records are more than the {MESSAGE_LIMIT} bytes of a message: \
                         read them page by page, with `limit` and `after`"
                    )));
                }
                records.push(record);
            }
        }
    }

    async fn write(&self, cx: Context, request: WriteRequest) -> Result<WriteResponse> {
        let options = request.options.unwrap_or_default();
        let place = Place::of(&options.database, &options.table)?;
        place.permit(&self.auth, &cx, "Store.Write")?;
        let record = request.record.ok_or_else(|| Error::bad_request("no record specified"))?;
        let version = self.commit(vec![Step::put(place, record, options.if_version)?]).await?;
        Ok(WriteResponse { version })
    }

    async fn delete(&self, cx: Context, request: DeleteRequest) -> Result<DeleteResponse> {
        let options = request.options.unwrap_or_default();
        let place = Place::of(&options.database, &options.table)?;
        place.permit(&self.auth, &cx, "Store.Delete")?;
        check_key(&request.key)?;
        loop {
            let found = self.kv.get(&place.name(), request.key.as_bytes()).await?;
            let version = found.map_or(0, |entry| entry.version);
            if options.if_version.is_some_and(|required| required != version) {
                return Err(changed(&place, &request.key, options.if_version.unwrap_or_default()));
            }
            // Also where there is nothing: that it will be so after a restart is for the backend to say.
            let step = Step::delete(place.clone(), request.key.clone(), Some(version))?;
            match self.commit(vec![step]).await {
                Ok(_) => return Ok(DeleteResponse { existed: version != 0 }),
                // Somebody was faster: what is there now decides.
                Err(error) if error.code == 412 => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn list(&self, cx: Context, request: ListRequest, replies: Sender<ListResponse>) -> Result<()> {
        let options = request.options.unwrap_or_default();
        let place = Place::of(&options.database, &options.table)?;
        place.permit(&self.auth, &cx, "Store.List")?;
        let mut walk = self.selected(
            &place,
            Selection {
                prefix: options.prefix,
                suffix: options.suffix,
                limit: options.limit,
                offset: options.offset,
                descending: descending(&options.order)?,
                after: options.after,
            },
        );
        let mut first = true;
        loop {
            let page = walk.page(true).await?;
            // Clients of Micro v4 know one message, also of an empty table.
            if page.is_empty() && !first {
                return Ok(());
            }
            first = false;
            let keys = page.into_iter().map(|entry| key(entry.key)).collect::<Result<_>>()?;
            replies.send(ListResponse { keys }).await?;
        }
    }

    async fn databases(&self, cx: Context, _: DatabasesRequest) -> Result<DatabasesResponse> {
        Caller::of(&cx).may_administer(PLATFORM)?;
        let tables = self.kv.tables(TABLES).await?;
        let mut databases: Vec<String> = tables
            .iter()
            .filter_map(|name| name.strip_prefix(TABLES)?.split('/').next())
            .map(str::to_owned)
            .collect();
        // `a-b/` comes before `a/`, but `a` before `a-b`.
        databases.sort_unstable();
        databases.dedup();
        Ok(DatabasesResponse { databases })
    }

    async fn tables(&self, cx: Context, request: TablesRequest) -> Result<TablesResponse> {
        let database = database(&request.database)?;
        permit_database(&self.auth, &cx, database, "Store.Tables")?;
        let prefix = tables_of(database);
        let names = self.kv.tables(&prefix).await?;
        let tables = names.iter().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect();
        Ok(TablesResponse { tables })
    }

    async fn batch(&self, cx: Context, request: BatchRequest) -> Result<BatchResponse> {
        Caller::of(&cx).account()?;
        let BatchRequest { changes, database } = request;
        if changes.is_empty() || changes.len() > MAX_CHANGES {
            return Err(Error::bad_request(format!(
                "a batch has 1 to {MAX_CHANGES} changes, not {}",
                changes.len()
            )));
        }
        let step = |(number, change)| {
            self.step(&cx, &database, change)
                .map_err(|e| Error::new(e.code, format!("change {}: {}", number + 1, e.detail)))
        };
        let steps = changes.into_iter().enumerate().map(step).collect::<Result<_>>()?;
        Ok(BatchResponse { version: self.commit(steps).await? })
    }

    async fn snapshot(
        &self,
        cx: Context,
        request: SnapshotRequest,
        replies: Sender<SnapshotResponse>,
    ) -> Result<()> {
        let database = database(&request.database)?;
        permit_database(&self.auth, &cx, database, "Store.Snapshot")?;
        self.snapshots.send(&Caller::of(&cx), database, &replies).await
    }

    async fn restore(&self, cx: Context, requests: Receiver<RestoreRequest>) -> Result<RestoreResponse> {
        Caller::of(&cx).account()?;
        let begin = |database: &str| {
            permit_database(&self.auth, &cx, database, "Store.Restore")?;
            self.transfers.take(&Caller::of(&cx))
        };
        let records = restore::receive(&*self.kv, &self.folder, requests, begin).await?;
        Ok(RestoreResponse { records })
    }
}
