//! The one suite every backend passes: what [`super::Kv`] and [`super::Log`] promise, said as tests.
//! What only one backend promises (files, formats) is tested beside it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use super::{Commit, Database, Range, open};

pub(super) type Backend = Arc<dyn Database>;

/// Every test of the list as a test of each backend.
macro_rules! on_every_backend {
    ($($name:ident)+) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $name() {
                    let backend = crate::backend::open("memory:").await.unwrap();
                    super::$name(backend.clone()).await;
                    backend.close().await;
                }
            )+
        }
        mod sqlite {
            use crate::backend::{conformance::address, open};

            $(
                #[tokio::test]
                async fn $name() {
                    let folder = tempfile::tempdir().unwrap();
                    let backend = open(&address(&folder)).await.unwrap();
                    super::$name(backend.clone()).await;
                    backend.close().await;
                }
            )+
        }
    };
}

mod clock;
mod commits;
mod expiry;
mod listings;
mod logs;
mod model;
mod whole;

pub(super) fn address(folder: &tempfile::TempDir) -> String {
    format!("sqlite:{}", folder.path().join("state.db").display())
}

fn soon(milliseconds: u64) -> SystemTime {
    SystemTime::now() + Duration::from_millis(milliseconds)
}

async fn value(kv: &Backend, table: &str, key: &[u8]) -> Option<Bytes> {
    kv.get(table, key).await.unwrap().map(|entry| entry.value)
}

async fn keys(kv: &Backend, range: Range) -> Vec<Vec<u8>> {
    let entries = kv.list("t", &range).await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

async fn fill(kv: &Backend, keys: &[&[u8]]) {
    let commit = keys.iter().fold(Commit::new(), |commit, key| commit.put("t", *key, "value"));
    kv.commit(commit).await.unwrap();
}

#[tokio::test]
async fn an_unknown_address_names_the_known_ones() {
    for url in ["", "sqlite:", "memory", "memory:x", "postgres://localhost"] {
        let Err(error) = open(url).await else {
            panic!("`{url}` was accepted");
        };
        let text = error.to_string();
        assert!(text.contains("`sqlite:<path>` or `memory:`"), "{text}");
    }
}
