//! Uploads without an end: no account takes the room of the others, and the owner has some of his own.

use std::sync::Arc;

use micro_sdk::{
    prost::Message as _,
    proto::store::{BlobWriteRequest, RestoreRequest},
};
use tokio::task::JoinSet;

use super::{
    apart::token,
    support::{blobs, files_below, put_blob},
};
use crate::{
    raw::{Raw, Reply, frame, soon},
    support::{Home, eventually, outcome},
};

const GRPC: &str = "application/grpc";
const WRITE: &str = "/store.BlobStore/Write";
const RESTORE: &str = "/store.Store/Restore";

/// A connection of an account, and the header that says so.
struct Account {
    raw: Arc<Raw>,
    bearer: String,
    namespace: String,
}

impl Account {
    async fn new(home: &Home, id: &str, namespace: &str) -> Self {
        let token = token(home, id, "user", &["admin"], namespace).await;
        let namespace = namespace.to_owned();
        Self {
            namespace,
            raw: Arc::new(Raw::connect(&home.state().proxy).await),
            bearer: format!("Bearer {token}"),
        }
    }

    /// Begins an upload, and never ends it: the answer, which comes when it is refused.
    fn begin(&self, path: &'static str) -> impl Future<Output = Reply> + 'static {
        let message = match path {
            WRITE => BlobWriteRequest { key: "k".into(), blob: vec![1; 1000], options: None }.encode_to_vec(),
            _ => RestoreRequest { database: self.namespace.clone(), data: Vec::new() }.encode_to_vec(),
        };
        let (raw, bearer) = (self.raw.clone(), self.bearer.clone());
        async move { raw.start(path, GRPC, &[("authorization", &bearer)], frame(&message)).await.end().await }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_uploads_of_one_account_leave_room_for_others_and_for_the_owner() {
    let home = Home::new();
    // Of 256 descriptors, uploads have an eighth, an account a quarter of that, a namespace half.
    let started = outcome(&mut home.shell("bash", "ulimit -n 256 && micro server start"));
    assert_eq!(started.code, Some(0), "{}", started.stderr);
    let drafts = home.data().join("server/blobs/drafts");
    let (mut accounts, mut held, mut first) = (Vec::new(), JoinSet::new(), None);
    for (id, namespace, all, whose) in [
        ("jane", "shop", 8, "of account jane"),
        ("joan", "shop", 16, "of account joan"),
        ("june", "shop", 16, "of namespace shop"),
        ("jack", "other", 24, "of account jack"),
        // A quarter is kept for the owner.
        ("root", "micro", 24, "24 blobs, restores and logs are"),
    ] {
        let account = Account::new(&home, id, namespace).await;
        while held.len() < all {
            let begun = held.spawn(account.begin(WRITE));
            first.get_or_insert(begun);
        }
        eventually("the uploads to begin", || (files_below(&drafts).len() == all).then_some(()));
        for path in [WRITE, RESTORE] {
            let refused = soon("one more to be refused", account.begin(path)).await;
            let (status, code, detail) = refused.failure();
            assert!((status, code) == (8, 429) && detail.contains(whose), "{id} {status} {code} {detail}");
        }
        accounts.push(account);
    }
    put_blob(&blobs(&home), "", "k", "mine").await.unwrap();
    home.ok(["store", "write", "a", "b"]);
    // Those that end make room.
    first.unwrap().abort();
    eventually("one to end", || (files_below(&drafts).len() == 23).then_some(()));
    held.spawn(accounts[0].begin(WRITE));
    eventually("another one to begin", || (files_below(&drafts).len() == 24).then_some(()));
}
