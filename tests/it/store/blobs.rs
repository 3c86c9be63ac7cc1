//! Blobs: streamed both ways, kept once, and gone with their last key.

use std::{fs, time::Duration};

use micro_sdk::{
    blocks::store::BlobStoreClient,
    proto::store::{BlobDeleteRequest, BlobListOptions, BlobListRequest, BlobWriteRequest},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::support::{blobs, code, contents, files_below, get_blob, put_blob, started, store, write};
use crate::{
    processes::{Foreground, signal},
    support::{Home, PATIENCE, eventually, outcome},
};

/// Bytes that repeat late, so that what is lost or doubled shows.
fn long_content(megabytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let numbers = (0..megabytes << 18).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()
    });
    numbers.flatten().collect()
}

#[test]
fn a_large_blob_is_streamed_both_ways() {
    let home = Home::new();
    let content = long_content(64);
    fs::write(home.path().join("in"), &content).unwrap();
    let said = home.fails(5, ["store", "blob", "read", "large"]);
    assert!(said.contains("Blob not found"), "{said}");
    let write = ["store", "blob", "write", "large", "in", "--content-type", "application/octet-stream"];
    assert_eq!(home.ok(write), "");
    assert_eq!(home.ok(["store", "blob", "read", "large", "--to", "out"]), "");
    assert!(fs::read(home.path().join("out")).unwrap() == content);
    let listed: Value = serde_json::from_str(&home.ok(["store", "blob", "list", "-o", "json"])).unwrap();
    let digest = hex::encode(Sha256::digest(&content));
    assert_eq!(
        listed,
        json!([{"key": "large", "size": 64 << 20, "digest": digest, "content_type": "application/octet-stream"}])
    );
    assert_eq!(home.ok(["store", "blob", "list"]), "large\n");
    assert!(home.ok(["store", "blob", "list", "-v"]).ends_with(&format!("{digest}\n")));
    let mut piped = home.command(["store", "blob", "write", "piped", "-"]);
    assert_eq!(outcome(piped.stdin(fs::File::open(home.path().join("in")).unwrap())).code, Some(0));
    let read = home.command(["store", "blob", "read", "piped"]).output().unwrap();
    assert!(read.stdout == content);
    // One content, two keys.
    assert_eq!(contents(&home).len(), 1);
    home.ok(["store", "blob", "delete", "large"]);
    assert_eq!(contents(&home).len(), 1);
    home.ok(["store", "blob", "delete", "piped"]);
    home.ok(["store", "blob", "delete", "piped"]);
    assert_eq!(contents(&home).len(), 0);
    home.fails(1, ["store", "blob", "write", "k", "nowhere"]);
}

#[tokio::test]
async fn blobs_are_listed_page_by_page_and_replaced_whole() {
    let home = started();
    let blobs = blobs(&home);
    for number in 0..30 {
        put_blob(&blobs, "", &format!("k/{number:02}"), format!("content {}", number % 3)).await.unwrap();
    }
    assert_eq!(contents(&home).len(), 3);
    let list = |prefix: &str, limit, after: &str| {
        let options =
            BlobListOptions { prefix: prefix.into(), limit, after: after.into(), ..Default::default() };
        blobs.list(BlobListRequest { options: Some(options) })
    };
    assert_eq!(list("", 0, "").await.unwrap().keys.len(), 30);
    assert_eq!(list("k/1", 0, "").await.unwrap().keys.len(), 10);
    assert_eq!(list("k/", 2, "k/27").await.unwrap().keys, ["k/28", "k/29"]);
    let page = list("k/0", 1, "k/03").await.unwrap();
    assert_eq!((page.keys[0].as_str(), page.blobs[0].size), ("k/04", 9));
    put_blob(&blobs, "", "k/00", "new").await.unwrap();
    put_blob(&blobs, "", "empty", "").await.unwrap();
    assert_eq!(get_blob(&blobs, "", "k/00").await.unwrap(), b"new");
    assert_eq!(get_blob(&blobs, "", "empty").await.unwrap(), b"");
    assert_eq!(contents(&home).len(), 5);
    // The first message says what the blob is, and needs no options; the others only bring bytes.
    let mut upload = blobs.write();
    for (key, blob) in [("two", "a"), ("other", "b"), ("", "c")] {
        upload.send(BlobWriteRequest { key: key.into(), blob: blob.into(), options: None }).await.unwrap();
    }
    assert_eq!(upload.finish().await.unwrap().info.unwrap().key, "two");
    assert_eq!(get_blob(&blobs, "", "two").await.unwrap(), b"abc");
    let error = blobs.write().finish().await.unwrap_err();
    assert_eq!((error.code, error.detail.as_str()), (400, "No blob was sent"));
    let error = put_blob(&blobs, "", "", "v").await.unwrap_err();
    assert_eq!((error.code, error.detail.as_str()), (400, "Missing key"));
    assert_eq!(code(get_blob(&blobs, "", "other").await), 404);
    assert!(!blobs.delete(BlobDeleteRequest { key: "other".into(), options: None }).await.unwrap().existed);
}

#[tokio::test]
async fn an_upload_that_breaks_off_changes_nothing() {
    let home = started();
    let blobs = blobs(&home);
    put_blob(&blobs, "", "k", "old").await.unwrap();
    let drafts = home.data().join("server/blobs/drafts");
    let begun = |blobs: BlobStoreClient| async move {
        let mut upload = blobs.write();
        let mut request = BlobWriteRequest { key: "k".into(), blob: vec![1; 10_000], options: None };
        while files_below(&drafts).is_empty() {
            upload.send(std::mem::take(&mut request)).await.unwrap();
            request.blob = vec![1; 10_000];
            tokio::task::yield_now().await;
        }
        upload
    };
    drop(begun(blobs.clone()).await);
    let gone = || files_below(&home.data().join("server/blobs/drafts")).is_empty().then_some(());
    let waited = tokio::time::timeout(PATIENCE, async {
        while gone().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("what was sent is removed");
    assert_eq!(get_blob(&blobs, "", "k").await.unwrap(), b"old");
    assert_eq!(contents(&home).len(), 1);
}

#[tokio::test]
async fn what_a_killed_server_left_is_swept_and_what_was_acknowledged_is_there() {
    let home = Home::new();
    let server = Foreground::start(&home, &["--isolated"]);
    let blobs = blobs(&home);
    let digest = put_blob(&blobs, "", "k", "wanted").await.unwrap();
    store(&home).write(write("k", "v")).await.unwrap();
    let mut upload = blobs.write();
    let drafts = home.data().join("server/blobs/drafts");
    while files_below(&drafts).is_empty() {
        drop(upload.send(BlobWriteRequest { key: "half".into(), blob: vec![1; 1000], options: None }).await);
        tokio::task::yield_now().await;
    }
    signal(server.pid(), "KILL");
    server.wait();
    drop(upload);
    assert_eq!(files_below(&drafts).len(), 1);
    // Content that was kept just before its key was to be written.
    let unwanted = hex::encode(Sha256::digest(b"unwanted"));
    let folder = home.data().join("server/blobs").join(&unwanted[..2]);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&unwanted[2..]), "unwanted").unwrap();
    home.ok(["server", "start"]);
    eventually("what nobody has to be removed", || (contents(&home).len() == 1).then_some(()));
    let wanted = home.data().join("server/blobs").join(&digest[..2]).join(&digest[2..]);
    assert!(wanted.is_file());
    assert_eq!(home.ok(["store", "blob", "read", "k"]), "wanted");
    assert_eq!(home.ok(["store", "read", "k"]), "v\n");
    home.fails(5, ["store", "blob", "read", "half"]);
}

#[test]
fn a_blob_that_is_damaged_on_disk_is_never_given_out_as_whole() {
    let home = Home::new();
    let content = long_content(1);
    fs::write(home.path().join("in"), &content).unwrap();
    home.ok(["store", "blob", "write", "k", "in"]);
    let path = contents(&home).into_iter().next().unwrap();
    let mut damaged = content.clone();
    damaged[1000] ^= 1;
    for damaged in [&damaged[..], &content[..content.len() - 1]] {
        fs::write(&path, damaged).unwrap();
        let said = home.fails(7, ["store", "blob", "read", "k", "--to", "out"]);
        assert!(said.contains("damaged"), "{said}");
        assert!(!home.path().join("out").exists());
    }
    fs::remove_file(&path).unwrap();
    home.fails(7, ["store", "blob", "read", "k"]);
    home.ok(["store", "blob", "write", "k", "in"]);
    home.ok(["store", "blob", "read", "k", "--to", "out"]);
    assert!(fs::read(home.path().join("out")).unwrap() == content);
}

#[tokio::test]
async fn one_content_may_be_written_and_deleted_by_many_at_once() {
    let home = started();
    let blobs = blobs(&home);
    let callers = (0..8).map(|number| {
        let blobs = blobs.clone();
        tokio::spawn(async move {
            let key = format!("k{number}");
            for _ in 0..10 {
                put_blob(&blobs, "", &key, "the same").await.unwrap();
                assert_eq!(get_blob(&blobs, "", &key).await.unwrap(), b"the same");
                let request = BlobDeleteRequest { key: key.clone(), options: None };
                assert!(blobs.delete(request).await.unwrap().existed);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(contents(&home).len(), 0);
}
