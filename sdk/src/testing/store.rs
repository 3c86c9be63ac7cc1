//! A store in memory, for one test.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use micro_proto::store::{
    BatchRequest, BatchResponse, BlobDeleteRequest, BlobDeleteResponse, BlobInfo, BlobListRequest,
    BlobListResponse, BlobReadRequest, BlobReadResponse, BlobWriteRequest, BlobWriteResponse, Change,
    DatabasesRequest, DatabasesResponse, DeleteRequest, DeleteResponse, Field, ListRequest, ListResponse,
    ReadRequest, ReadResponse, Record, RestoreRequest, RestoreResponse, SnapshotRequest, SnapshotResponse,
    TablesRequest, TablesResponse, WriteRequest, WriteResponse, change,
};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::{
    Context, Error, Receiver, Result, Sender,
    blocks::store::{BlobStore, Store},
    header::DEFAULT_NAMESPACE,
};

/// Bytes of a blob in one message.
const PIECE: usize = 64 << 10;

/// The records of all tables.
#[derive(Clone)]
pub(super) struct StoreFake(Arc<Mutex<Tables>>);

struct Tables {
    records: BTreeMap<Place, BTreeMap<String, Kept>>,
    /// That of the last change.
    version: u64,
    begun: Instant,
    /// How much later it is than it would be.
    passed: Duration,
}

/// A database and a table.
type Place = (String, String);

#[derive(Clone)]
struct Kept {
    value: Vec<u8>,
    metadata: HashMap<String, Field>,
    version: u64,
    /// Since the beginning.
    expires: Option<Duration>,
}

/// What is wanted of a table.
#[derive(Default)]
struct Selection {
    prefix: String,
    suffix: String,
    limit: u64,
    offset: u64,
    order: String,
    after: String,
}

impl Default for StoreFake {
    fn default() -> Self {
        let (begun, passed) = (Instant::now(), Duration::ZERO);
        Self(Arc::new(Mutex::new(Tables { records: BTreeMap::new(), version: 0, begun, passed })))
    }
}

impl StoreFake {
    /// Lets time pass.
    pub(super) fn advance(&self, time: Duration) {
        self.tables().passed += time;
    }

    /// The tables, without what has expired.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = tables.now();
        for records in tables.records.values_mut() {
            records.retain(|_, kept| kept.expires.is_none_or(|at| at > now));
        }
        tables
    }
}

impl Tables {
    fn now(&self) -> Duration {
        self.begun.elapsed() + self.passed
    }

    fn version(&self, place: &Place, key: &str) -> u64 {
        self.records.get(place).and_then(|records| records.get(key)).map_or(0, |kept| kept.version)
    }

    /// Refuses a change whose condition does not hold.
    fn check(&self, place: &Place, key: &str, if_version: Option<u64>) -> Result<()> {
        if key.is_empty() {
            return Err(Error::bad_request("a key is required"));
        }
        let found = self.version(place, key);
        match if_version {
            Some(wanted) if wanted != found => Err(Error::precondition_failed(match wanted {
                0 => format!("table `{}` has a record `{key}` already", place.1),
                _ => {
                    format!(
                        "the record `{key}` of table `{}` does not have version {wanted} any more",
                        place.1
                    )
                }
            })),
            _ => Ok(()),
        }
    }

    fn put(&mut self, place: Place, record: Record, version: u64) {
        let Record { key, value, expiry, metadata, expiry_ms, .. } = record;
        let life = match (expiry_ms, expiry) {
            (0, seconds) => Duration::from_secs(seconds.unsigned_abs()),
            (milliseconds, _) => Duration::from_millis(milliseconds.unsigned_abs()),
        };
        let expires = (!life.is_zero()).then(|| self.now() + life);
        self.records.entry(place).or_default().insert(key, Kept { value, metadata, version, expires });
    }

    fn remove(&mut self, place: &Place, key: &str) -> bool {
        let Some(records) = self.records.get_mut(place) else { return false };
        records.remove(key).is_some()
    }

    fn record(&self, key: &str, kept: &Kept) -> Record {
        let left = kept.expires.map(|at| at.saturating_sub(self.now()));
        let expiry_ms = left.map_or(0, |left| i64::try_from(left.as_millis()).unwrap_or(i64::MAX).max(1));
        Record {
            key: key.to_owned(),
            value: kept.value.clone(),
            metadata: kept.metadata.clone(),
            expiry: expiry_ms.div_euclid(1000) + i64::from(expiry_ms % 1000 > 0),
            expiry_ms,
            version: kept.version,
        }
    }

    fn select(&self, place: &Place, wanted: &Selection) -> Result<Vec<(&String, &Kept)>> {
        let is_descending = match wanted.order.as_str() {
            "" | "asc" => false,
            "desc" => true,
            other => return Err(Error::bad_request(format!("`{other}` is no order: `asc` or `desc`"))),
        };
        let mut found: Vec<_> = self.records.get(place).into_iter().flatten().collect();
        if is_descending {
            found.reverse();
        }
        let follows = |key: &str| match wanted.after.as_str() {
            "" => true,
            after if is_descending => key < after,
            after => key > after,
        };
        found.retain(|(key, _)| {
            key.starts_with(&wanted.prefix) && key.ends_with(&wanted.suffix) && follows(key)
        });
        let skipped = found.into_iter().skip(usize::try_from(wanted.offset).unwrap_or(usize::MAX));
        let limit = if wanted.limit == 0 { u64::MAX } else { wanted.limit };
        Ok(skipped.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
    }
}

fn place(database: &str, table: &str) -> Place {
    let or_default = |name: &str| if name.is_empty() { DEFAULT_NAMESPACE } else { name }.to_owned();
    (or_default(database), or_default(table))
}

fn absent<T>() -> Result<T> {
    Err(Error::not_implemented("a harness does not do this: test it with a server"))
}

impl Store for StoreFake {
    async fn read(&self, _: Context, request: ReadRequest) -> Result<ReadResponse> {
        let options = request.options.unwrap_or_default();
        let place = place(&options.database, &options.table);
        let tables = self.tables();
        if !options.prefix && !options.suffix {
            let kept = tables.records.get(&place).and_then(|records| records.get(&request.key));
            let missing = || {
                Error::not_found(format!("not found: table `{}` has no record `{}`", place.1, request.key))
            };
            let record = tables.record(&request.key, kept.ok_or_else(missing)?);
            return Ok(ReadResponse { records: vec![record] });
        }
        let part = |wanted: bool| if wanted { request.key.clone() } else { String::new() };
        let wanted = Selection {
            prefix: part(options.prefix),
            suffix: part(options.suffix),
            limit: options.limit,
            offset: options.offset,
            order: options.order,
            after: options.after,
        };
        let found = tables.select(&place, &wanted)?;
        Ok(ReadResponse { records: found.into_iter().map(|(key, kept)| tables.record(key, kept)).collect() })
    }

    async fn write(&self, _: Context, request: WriteRequest) -> Result<WriteResponse> {
        let options = request.options.unwrap_or_default();
        let place = place(&options.database, &options.table);
        let record = request.record.ok_or_else(|| Error::bad_request("no record specified"))?;
        let mut tables = self.tables();
        tables.check(&place, &record.key, options.if_version)?;
        tables.version += 1;
        let version = tables.version;
        tables.put(place, record, version);
        Ok(WriteResponse { version })
    }

    async fn delete(&self, _: Context, request: DeleteRequest) -> Result<DeleteResponse> {
        let options = request.options.unwrap_or_default();
        let place = place(&options.database, &options.table);
        let mut tables = self.tables();
        tables.check(&place, &request.key, options.if_version)?;
        Ok(DeleteResponse { existed: tables.remove(&place, &request.key) })
    }

    async fn list(&self, _: Context, request: ListRequest, replies: Sender<ListResponse>) -> Result<()> {
        let options = request.options.unwrap_or_default();
        let place = place(&options.database, &options.table);
        let wanted = Selection {
            prefix: options.prefix,
            suffix: options.suffix,
            limit: options.limit,
            offset: options.offset,
            order: options.order,
            after: options.after,
        };
        let keys = self.tables().select(&place, &wanted)?.into_iter().map(|(key, _)| key.clone()).collect();
        replies.send(ListResponse { keys }).await
    }

    async fn databases(&self, _: Context, _: DatabasesRequest) -> Result<DatabasesResponse> {
        absent()
    }

    async fn tables(&self, _: Context, request: TablesRequest) -> Result<TablesResponse> {
        let (database, _) = place(&request.database, "");
        let tables = self.tables();
        let names = tables.records.iter().filter(|((of, _), records)| *of == database && !records.is_empty());
        Ok(TablesResponse { tables: names.map(|((_, table), _)| table.clone()).collect() })
    }

    async fn batch(&self, _: Context, request: BatchRequest) -> Result<BatchResponse> {
        let mut tables = self.tables();
        for Change { table, change, if_version } in &request.changes {
            let key = match change {
                Some(change::Change::Write(record)) => &record.key,
                Some(change::Change::Delete(key)) => key,
                None => return Err(Error::bad_request("it neither writes nor deletes")),
            };
            tables.check(&place(&request.database, table), key, *if_version)?;
        }
        tables.version += 1;
        let version = tables.version;
        for Change { table, change, .. } in request.changes {
            let place = place(&request.database, &table);
            match change {
                Some(change::Change::Write(record)) => tables.put(place, record, version),
                Some(change::Change::Delete(key)) => drop(tables.remove(&place, &key)),
                None => {}
            }
        }
        Ok(BatchResponse { version })
    }

    async fn snapshot(&self, _: Context, _: SnapshotRequest, _: Sender<SnapshotResponse>) -> Result<()> {
        absent()
    }

    async fn restore(&self, _: Context, _: Receiver<RestoreRequest>) -> Result<RestoreResponse> {
        absent()
    }
}

/// The blobs, by namespace and key.
type KeptBlobs = BTreeMap<(String, String), (BlobInfo, Vec<u8>)>;

/// The blobs of all namespaces.
#[derive(Default)]
pub(super) struct BlobsFake(Mutex<KeptBlobs>);

impl BlobsFake {
    fn blobs(&self) -> MutexGuard<'_, KeptBlobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing() -> Error {
    Error::bad_request("Missing key")
}

impl BlobStore for BlobsFake {
    async fn read(
        &self,
        _: Context,
        request: BlobReadRequest,
        replies: Sender<BlobReadResponse>,
    ) -> Result<()> {
        let at = (request.options.unwrap_or_default().namespace, request.key);
        let found = self.blobs().get(&at).cloned();
        let (info, content) = found
            .ok_or_else(|| Error::not_found(format!("Blob not found: there is none with key `{}`", at.1)))?;
        let mut info = Some(info);
        for piece in content.chunks(PIECE) {
            replies.send(BlobReadResponse { blob: piece.to_vec(), info: info.take() }).await?;
        }
        if info.is_some() {
            replies.send(BlobReadResponse { blob: Vec::new(), info }).await?;
        }
        Ok(())
    }

    async fn write(&self, _: Context, mut requests: Receiver<BlobWriteRequest>) -> Result<BlobWriteResponse> {
        let BlobWriteRequest { key, options, blob: mut content } =
            requests.next().await?.ok_or_else(|| Error::bad_request("No blob was sent"))?;
        if key.is_empty() {
            return Err(missing());
        }
        while let Some(piece) = requests.next().await? {
            content.extend_from_slice(&piece.blob);
        }
        let options = options.unwrap_or_default();
        let info = BlobInfo {
            key: key.clone(),
            size: content.len() as u64,
            digest: hex::encode(Sha256::digest(&content)),
            content_type: options.content_type,
        };
        self.blobs().insert((options.namespace, key), (info.clone(), content));
        Ok(BlobWriteResponse { info: Some(info) })
    }

    async fn delete(&self, _: Context, request: BlobDeleteRequest) -> Result<BlobDeleteResponse> {
        if request.key.is_empty() {
            return Err(missing());
        }
        let at = (request.options.unwrap_or_default().namespace, request.key);
        Ok(BlobDeleteResponse { existed: self.blobs().remove(&at).is_some() })
    }

    async fn list(&self, _: Context, request: BlobListRequest) -> Result<BlobListResponse> {
        let options = request.options.unwrap_or_default();
        let limit = if options.limit == 0 { u64::MAX } else { options.limit };
        let blobs: Vec<BlobInfo> = (self.blobs().iter())
            .filter(|((namespace, key), _)| {
                *namespace == options.namespace && key.starts_with(&options.prefix) && *key > options.after
            })
            .map(|(_, (info, _))| info.clone())
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .collect();
        Ok(BlobListResponse { keys: blobs.iter().map(|blob| blob.key.clone()).collect(), blobs })
    }
}
