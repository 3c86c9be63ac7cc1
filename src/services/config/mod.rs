//! The building block `config`: settings that change without a new build. Each namespace has one
//! tree of JSON values; secrets in it are encrypted. Who may read and write is `auth`'s to decide.

mod change;
mod follow;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod path;
mod space;
mod tree;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use micro_sdk::{
    Context, Error, Result, Sender, blocks,
    handler::Handler,
    proto::config::{
        Change, ChangeSet, DeleteRequest, DeleteResponse, Entry, GetRequest, GetResponse, ListRequest,
        ListResponse, Options, ReadRequest, ReadResponse, SetRequest, SetResponse, Value, WatchRequest,
        WatchResponse,
    },
};
use serde_json::Value as Json;

use super::{
    auth::{Auth, Caller, Kind, Thing},
    every, namespace_or_default,
    secrets::Secrets,
};
use crate::{backend::Kv, json as notation, tasks::Tasks};

use path::Path;
use space::{Space, TREES};
use tree::Node;

/// Bytes of a value that is set.
const MAX_VALUE: usize = 1 << 20;
/// Bytes of the paths and values of a list.
const MAX_LIST: usize = 8 << 20;
/// Shown in the place of a secret to callers that did not ask for secrets.
const HIDDEN: &str = "\"[secret]\"";

/// A handle on the building block, cheap to clone.
#[derive(Clone)]
pub(crate) struct Config(Arc<Inner>);

struct Inner {
    kv: Arc<dyn Kv>,
    auth: Auth,
    secrets: Arc<Secrets>,
    /// What is stored, and what is waited for. A damaged tree is an error, for its namespace alone.
    spaces: Mutex<HashMap<String, Result<Arc<Space>>>>,
    /// Changes under way, which end even if nobody waits for them, and streams of changes.
    tasks: Tasks,
}

impl Config {
    /// Opens it: reads every tree into memory.
    ///
    /// # Errors
    /// The trees cannot be read.
    pub(crate) async fn open(
        kv: Arc<dyn Kv>,
        auth: Auth,
        secrets: Arc<Secrets>,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let mut spaces = HashMap::new();
        for entry in every(&*kv, TREES, "").await? {
            let namespace = String::from_utf8_lossy(&entry.key).into_owned();
            let space = Space::stored(&namespace, &entry, kv.clone()).map(Arc::new);
            if let Err(error) = &space {
                tracing::error!(%error, "a namespace has no config");
            }
            spaces.insert(namespace, space);
        }
        Ok(Self(Arc::new(Inner { kv, auth, secrets, spaces: Mutex::new(spaces), tasks: tasks.clone() })))
    }

    pub(crate) fn handlers(&self) -> Vec<Box<dyn Handler>> {
        vec![Box::new(blocks::config::ConfigServer::new(self.clone()))]
    }

    fn spaces(&self) -> MutexGuard<'_, HashMap<String, Result<Arc<Space>>>> {
        // Nothing panics between two changes of the map that belong together.
        self.0.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The namespace, which may have nothing stored yet.
    fn space(&self, namespace: &str) -> Result<Arc<Space>> {
        let mut spaces = self.spaces();
        if let Some(space) = spaces.get(namespace) {
            return space.clone();
        }
        let space = Arc::new(Space::empty(namespace, self.0.kv.clone()));
        spaces.insert(namespace.to_owned(), Ok(space.clone()));
        Ok(space)
    }

    /// The tree of a namespace; none if nothing was ever stored in it.
    fn tree(&self, namespace: &str) -> Result<Option<Arc<Node>>> {
        let space = self.spaces().get(namespace).cloned().transpose()?;
        Ok(space.map(|space| space.tree()).filter(|tree| tree.revision() > 0))
    }

    /// Whether the call may be made, and on what.
    fn admit(&self, cx: &Context, namespace: &str, path: &str, method: &str) -> Result<(String, Path)> {
        let namespace = namespace_or_default(namespace)?;
        self.0.auth.permit(&Caller::of(cx), namespace, Thing { kind: Kind::Config, name: path, method })?;
        Ok((namespace.to_owned(), Path::parse(path)?))
    }

    /// How the secrets of a namespace are shown.
    fn shown<'a>(
        &'a self,
        namespace: &'a str,
        options: Option<&Options>,
    ) -> impl Fn(&str, &str) -> Result<String> + Send + Sync + 'a {
        let secret = options.is_some_and(|options| options.secret);
        move |path, sealed| {
            if secret { self.0.secrets.open_sealed(namespace, path, sealed) } else { Ok(HIDDEN.to_owned()) }
        }
    }

    /// The value at a path and its revision.
    fn find(&self, namespace: &str, path: &Path, options: Option<&Options>) -> Result<GetResponse> {
        let tree = self.tree(namespace)?.ok_or_else(|| Error::not_found("Not found"))?;
        let mut data = String::new();
        let node = tree.at(path.as_str());
        match node {
            Some(node) => {
                let open = self.shown(namespace, options);
                node.write(&mut path.as_str().to_owned(), &open, &mut data)?;
            }
            None => data.push_str("null"),
        }
        Ok(GetResponse {
            value: Some(json(data)),
            revision: node.map_or(0, |node| node.revision()),
            found: node.is_some(),
        })
    }

    /// Runs a change to its end, whether or not the caller still waits.
    async fn change<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let changed = self.0.tasks.spawn(change).await;
        changed.map_err(|_| Error::internal("the change was not made; the log of the server says why"))?
    }
}

fn json(data: String) -> Value {
    Value { data, format: String::new() }
}

/// The value that is to be set.
fn given(value: Option<Value>, path: &Path) -> Result<Json> {
    let Some(Value { data, .. }) = value else {
        return Err(Error::bad_request("invalid change: the request has no value"));
    };
    if data.len() > MAX_VALUE {
        let text = format!("a value of {} bytes; the limit is {MAX_VALUE}", data.len());
        return Err(Error::too_large(text));
    }
    let value: Json = serde_json::from_str(&data)
        .map_err(|e| Error::bad_request(format!("Request is invalid JSON: {}", notation::fault(&e))))?;
    if let Some(number) = large_number(&data) {
        let text = format!(
            "{number} has more than the 64 bits of a whole number here and would be rounded: keep it as text, \"{number}\""
        );
        return Err(Error::bad_request(text));
    }
    if path.is_whole() && !value.is_object() {
        return Err(Error::bad_request(
            "the whole tree can be set to an object only; name a path for any other value",
        ));
    }
    Ok(value)
}

/// The first whole number of a JSON text that 64 bits do not hold.
fn large_number(json: &str) -> Option<&str> {
    let mut rest = json;
    while let Some(start) = rest.find(|c: char| matches!(c, '"' | '-' | '0'..='9')) {
        rest = &rest[start..];
        let end = if let Some(text) = rest.strip_prefix('"') {
            let mut escaped = false;
            let closing = |(_, c): &(usize, char)| {
                let closes = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                closes
            };
            1 + text.char_indices().find(closing).map_or(text.len(), |(at, _)| at + 1)
        } else {
            let number = |c: char| matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E');
            rest.find(|c| !number(c)).unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(end);
        let whole = token.bytes().all(|c| c == b'-' || c.is_ascii_digit());
        if whole && token.parse::<i64>().is_err() && token.parse::<u64>().is_err() {
            return Some(token);
        }
        rest = after;
    }
    None
}

/// Refuses a change of what is at another revision than the caller thinks.
fn check_revision(tree: &Arc<Node>, path: &Path, wanted: Option<u64>) -> Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let found = tree.at(path.as_str()).map_or(0, |node| node.revision());
    if found == wanted {
        return Ok(());
    }
    let path = path.as_str();
    Err(Error::precondition_failed(match (found, wanted) {
        (0, _) => format!("`{path}` has no value, so it is not at revision {wanted}"),
        (_, 0) => format!("`{path}` has a value already, at revision {found}"),
        _ => format!("`{path}` is at revision {found}, not {wanted}: get it again, then decide again"),
    }))
}

impl blocks::config::Config for Config {
    async fn get(&self, cx: Context, request: GetRequest) -> Result<GetResponse> {
        let (namespace, path) = self.admit(&cx, &request.namespace, &request.path, "Config.Get")?;
        self.find(&namespace, &path, request.options.as_ref())
    }

    async fn set(&self, cx: Context, request: SetRequest) -> Result<SetResponse> {
        let (namespace, path) = self.admit(&cx, &request.namespace, &request.path, "Config.Set")?;
        let value = given(request.value, &path)?;
        if let Some((element, list)) = path.element() {
            return Err(Error::bad_request(format!(
                "`{element}` is written like an element of an array, to which no path leads: set `{list}` as a whole"
            )));
        }
        let (secret, reveal) = (request.options.is_some_and(|options| options.secret), request.reveal);
        let (space, config) = (self.space(&namespace)?, self.clone());
        let change = async move {
            let edit = |tree: &mut Arc<Node>, revision| {
                check_revision(tree, &path, request.if_revision)?;
                if let Some((above, what)) = tree.end_above(path.as_str()) {
                    return Err(Error::bad_request(format!(
                        "`{above}` is {what}, so there is no key below it: set `{above}` as a whole, or delete it first"
                    )));
                }
                let before = tree.clone();
                let leaf = |at: &str, text: String| {
                    Ok(if secret || (!reveal && before.is_secret(at)) {
                        Node::Secret(revision, config.0.secrets.seal(&namespace, at, &text)?.into())
                    } else {
                        Node::Value(revision, text.into())
                    })
                };
                Ok(tree.set(path.as_str(), Node::build(value, revision, &path, &leaf)?))
            };
            space.change(path.as_str(), edit).await
        };
        Ok(SetResponse { revision: self.change(change).await? })
    }

    async fn delete(&self, cx: Context, request: DeleteRequest) -> Result<DeleteResponse> {
        let (namespace, path) = self.admit(&cx, &request.namespace, &request.path, "Config.Delete")?;
        if path.is_whole() {
            return Err(Error::bad_request("a path is required: the whole tree cannot be deleted"));
        }
        let space = self.space(&namespace)?;
        let change = async move {
            let mut existed = false;
            let edit = |tree: &mut Arc<Node>, revision| {
                check_revision(tree, &path, request.if_revision)?;
                let slot = tree.delete(path.as_str(), revision);
                existed = slot.is_some();
                Ok(slot.into_iter().collect())
            };
            let revision = space.change(path.as_str(), edit).await?;
            Ok(DeleteResponse { revision, existed })
        };
        self.change(change).await
    }

    async fn read(&self, cx: Context, request: ReadRequest) -> Result<ReadResponse> {
        let (namespace, path) = self.admit(&cx, &request.namespace, &request.path, "Config.Read")?;
        let data = self.find(&namespace, &path, None)?.value.unwrap_or_default().data;
        let set = ChangeSet { data, format: "json".to_owned(), ..ChangeSet::default() };
        let change = Change { namespace, path: path.as_str().to_owned(), change_set: Some(set) };
        Ok(ReadResponse { change: Some(change) })
    }

    async fn list(&self, cx: Context, request: ListRequest) -> Result<ListResponse> {
        let (namespace, path) = self.admit(&cx, &request.namespace, &request.path, "Config.List")?;
        let Some(tree) = self.tree(&namespace)? else { return Ok(ListResponse::default()) };
        let open = self.shown(&namespace, request.options.as_ref());
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut visit = |at: &mut String, node: &Node| {
            if at.is_empty() {
                return Ok(());
            }
            let mut data = String::new();
            node.write(at, &open, &mut data)?;
            bytes += at.len() + data.len();
            if bytes > MAX_LIST {
                return Err(Error::too_large(format!(
                    "a list of more than {MAX_LIST} bytes, which is the limit: name a path to list less"
                )));
            }
            entries.push(Entry {
                path: at.clone(),
                value: Some(json(data)),
                secret: matches!(node, Node::Secret(..)),
                revision: node.revision(),
            });
            Ok(())
        };
        if let Some(node) = tree.at(path.as_str()) {
            node.leaves(&mut path.as_str().to_owned(), &mut visit)?;
        }
        Ok(ListResponse { entries, revision: tree.revision() })
    }

    async fn watch(&self, cx: Context, request: WatchRequest, replies: Sender<WatchResponse>) -> Result<()> {
        let (namespace, path) = self.admit(&cx, &request.namespace, &request.path, "Config.Watch")?;
        let space = self.space(&namespace)?;
        let open = self.shown(&namespace, request.options.as_ref());
        let following = follow::follow(&space, &path, request.after_revision, &open, &replies);
        let caller = Caller::of(&cx);
        let thing = Thing { kind: Kind::Config, name: &request.path, method: "Config.Watch" };
        tokio::select! {
            ended = self.0.tasks.until_streams_end(following) => ended.unwrap_or(Ok(())),
            error = self.0.auth.until_refused(&caller, &namespace, thing) => Err(error),
        }
    }
}
