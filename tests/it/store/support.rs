//! What the tests of the store have in common: clients as the owner of the home, and short requests.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use micro_sdk::{
    Channel, Client, Error,
    blocks::store::{BlobStoreClient, StoreClient},
    proto::store::{
        BlobOptions, BlobReadRequest, BlobWriteRequest, ListOptions, ListRequest, ReadOptions, ReadRequest,
        Record, WriteRequest,
    },
};

use crate::support::Home;

/// A home whose server runs.
pub(super) fn started() -> Home {
    let home = Home::new();
    home.ok(["server", "start"]);
    home
}

/// A client as the owner of the home.
pub(super) fn owner(home: &Home) -> Client {
    Client::new(Channel::unix(home.state().socket), "store")
}

pub(super) fn store(home: &Home) -> StoreClient {
    StoreClient::new(owner(home))
}

pub(super) fn blobs(home: &Home) -> BlobStoreClient {
    BlobStoreClient::new(owner(home))
}

pub(super) fn write(key: &str, value: impl Into<Vec<u8>>) -> WriteRequest {
    let record = Record { key: key.into(), value: value.into(), ..Record::default() };
    WriteRequest { record: Some(record), options: None }
}

pub(super) fn read(key: &str, options: ReadOptions) -> ReadRequest {
    ReadRequest { key: key.into(), options: Some(options) }
}

pub(super) fn code<T>(result: Result<T, Error>) -> i32 {
    result.map_or_else(|e| e.code, |_| 200)
}

pub(super) async fn listed(store: &StoreClient, options: ListOptions) -> Vec<String> {
    let mut pages = store.list(ListRequest { options: Some(options) }).await.unwrap();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        assert!(page.keys.len() <= 1000, "{} keys in one message", page.keys.len());
        keys.extend(page.keys);
    }
    keys
}

pub(super) async fn every_key(store: &StoreClient, database: &str) -> Vec<String> {
    listed(store, ListOptions { database: database.into(), ..ListOptions::default() }).await
}

pub(super) fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.insert(entry.path());
        }
    }
    found
}

/// The files of the blobs of a home.
pub(super) fn contents(home: &Home) -> BTreeSet<PathBuf> {
    files_below(&home.data().join("server/blobs"))
}

pub(super) fn blob_options(namespace: &str) -> BlobOptions {
    BlobOptions { namespace: namespace.into(), ..BlobOptions::default() }
}

pub(super) async fn put_blob(
    blobs: &BlobStoreClient,
    namespace: &str,
    key: &str,
    content: impl Into<Vec<u8>>,
) -> Result<String, Error> {
    let mut upload = blobs.write();
    let options = Some(blob_options(namespace));
    upload.send(BlobWriteRequest { key: key.into(), options, blob: content.into() }).await?;
    Ok(upload.finish().await?.info.unwrap().digest)
}

pub(super) async fn get_blob(blobs: &BlobStoreClient, namespace: &str, key: &str) -> Result<Vec<u8>, Error> {
    let request = BlobReadRequest { key: key.into(), options: Some(blob_options(namespace)) };
    let mut pieces = blobs.read(request).await?;
    let mut content = Vec::new();
    while let Some(piece) = pieces.next().await? {
        content.extend(piece.blob);
    }
    Ok(content)
}
