//! Settings of one test, which can be watched.

use std::sync::Arc;

use micro_proto::config::{
    Change, ChangeSet, DeleteRequest, DeleteResponse, Entry, GetRequest, GetResponse, ListRequest,
    ListResponse, ReadRequest, ReadResponse, SetRequest, SetResponse, Value, WatchRequest, WatchResponse,
};
use serde_json::{Map, Value as Json};
use tokio::sync::watch;

use crate::{Context, Error, Result, Sender, blocks::config::Config};

/// A tree of settings. One namespace is as good as another.
#[derive(Clone)]
pub(super) struct ConfigFake(Arc<watch::Sender<State>>);

#[derive(Clone)]
struct State {
    tree: Json,
    /// Of the last change.
    revision: u64,
}

impl Default for ConfigFake {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State { tree: Json::Object(Map::new()), revision: 0 })))
    }
}

impl ConfigFake {
    /// Sets the value at a path; an object is merged with what is there.
    pub(super) fn set(&self, path: &str, value: Json) -> u64 {
        self.change(|tree| merge(place(tree, path), value))
    }

    fn change(&self, change: impl FnOnce(&mut Json)) -> u64 {
        self.0.send_modify(|state| {
            change(&mut state.tree);
            state.revision += 1;
        });
        self.0.borrow().revision
    }
}

fn keys(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|key| !key.is_empty())
}

fn found<'a>(tree: &'a Json, path: &str) -> Option<&'a Json> {
    keys(path).try_fold(tree, |node, key| node.get(key))
}

/// The node at a path, which is made where there is none.
fn place<'a>(tree: &'a mut Json, path: &str) -> &'a mut Json {
    keys(path).fold(tree, |node, key| {
        if !node.is_object() {
            *node = Json::Object(Map::new());
        }
        &mut node[key]
    })
}

fn merge(node: &mut Json, value: Json) {
    match (node, value) {
        (Json::Object(members), Json::Object(new)) => {
            for (key, value) in new {
                merge(members.entry(key).or_insert(Json::Null), value);
            }
        }
        (node, value) => *node = value,
    }
}

/// The values that have none below them.
fn leaves(path: &str, node: &Json, revision: u64, entries: &mut Vec<Entry>) {
    match node {
        Json::Object(members) => {
            for (key, below) in members {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&path, below, revision, entries);
            }
        }
        value => {
            entries.push(Entry { path: path.to_owned(), value: Some(json(value)), secret: false, revision });
        }
    }
}

fn json(value: &Json) -> Value {
    Value { data: value.to_string(), format: String::new() }
}

impl Config for ConfigFake {
    async fn get(&self, _: Context, request: GetRequest) -> Result<GetResponse> {
        let state = self.0.borrow().clone();
        let found = found(&state.tree, &request.path);
        Ok(GetResponse {
            value: Some(json(found.unwrap_or(&Json::Null))),
            revision: found.map_or(0, |_| state.revision),
            found: found.is_some(),
        })
    }

    async fn set(&self, _: Context, request: SetRequest) -> Result<SetResponse> {
        let data = request.value.unwrap_or_default().data;
        let value = serde_json::from_str(&data)
            .map_err(|e| Error::bad_request(format!("Request is invalid JSON: {e}")))?;
        Ok(SetResponse { revision: self.set(&request.path, value) })
    }

    async fn delete(&self, _: Context, request: DeleteRequest) -> Result<DeleteResponse> {
        let (above, key) = request.path.rsplit_once('.').unwrap_or(("", &request.path));
        if key.is_empty() {
            return Err(Error::bad_request("a path is required: the whole tree cannot be deleted"));
        }
        let mut existed = false;
        let revision = self.change(|tree| {
            if let Json::Object(members) = place(tree, above) {
                existed = members.remove(key).is_some();
            }
        });
        Ok(DeleteResponse { revision, existed })
    }

    async fn read(&self, _: Context, request: ReadRequest) -> Result<ReadResponse> {
        let state = self.0.borrow().clone();
        let data = found(&state.tree, &request.path).unwrap_or(&Json::Null).to_string();
        let set = ChangeSet { data, format: "json".to_owned(), ..ChangeSet::default() };
        let ReadRequest { namespace, path } = request;
        Ok(ReadResponse { change: Some(Change { namespace, path, change_set: Some(set) }) })
    }

    async fn list(&self, _: Context, request: ListRequest) -> Result<ListResponse> {
        let state = self.0.borrow().clone();
        let mut entries = Vec::new();
        if let Some(node) = found(&state.tree, &request.path) {
            leaves(&request.path, node, state.revision, &mut entries);
        }
        Ok(ListResponse { entries, revision: state.revision })
    }

    async fn watch(&self, _: Context, request: WatchRequest, replies: Sender<WatchResponse>) -> Result<()> {
        let mut changes = self.0.subscribe();
        let mut last = None;
        loop {
            let state = changes.borrow_and_update().clone();
            let value = found(&state.tree, &request.path).cloned();
            let is_known = request.after_revision.is_some_and(|after| after >= state.revision);
            if !is_known && last.as_ref() != Some(&value) {
                let shown = json(value.as_ref().unwrap_or(&Json::Null));
                replies
                    .send(WatchResponse {
                        value: Some(shown),
                        revision: state.revision,
                        found: value.is_some(),
                        changed: String::new(),
                    })
                    .await?;
            }
            last = Some(value);
            if changes.changed().await.is_err() {
                return Ok(());
            }
        }
    }
}
