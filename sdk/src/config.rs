//! Settings of the service's namespace, read when they are needed or watched as they change.

use std::{fmt, marker::PhantomData, time::Duration};

use micro_proto::config::{
    DeleteRequest, GetRequest, Options, SetRequest, Value, WatchRequest, WatchResponse,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;
use tokio::time::sleep;

use crate::{
    Client, Error, Kind, Origin, Receiver, Result, Setting, blocks::config::ConfigClient,
    context::not_connected,
};

/// Before the first attempt to reach the server again; the wait doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait between attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The settings of the service's namespace. Cheap to clone.
///
/// A path is keys joined by dots, such as `payment.currency`. A service reads every setting of its
/// namespace, secrets in clear, and sets what stands below its own name.
///
/// ```no_run
/// # async fn example(cx: micro_sdk::Context) -> micro_sdk::Result<()> {
/// let config = cx.config();
/// let limit = config.get_or("orders.limit", 100).await?;
/// let password: Option<String> = config.get("database.password").await?;
/// config.set("orders.started", &true).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Config {
    client: Client,
    namespace: String,
}

impl Config {
    /// Settings of a namespace, reached through a client of the building block.
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    fn block(&self) -> ConfigClient {
        ConfigClient::new(self.client.clone())
    }

    /// The value at a path; none if it has none, or is `null`.
    ///
    /// # Errors
    /// 400 for a path that cannot be, 500 for a value that is no `T`, 503 when the server cannot be
    /// reached.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let request = GetRequest {
            namespace: self.namespace.clone(),
            path: path.to_owned(),
            options: Some(Options { secret: true }),
        };
        match self.block().get(request).await {
            Ok(answer) => read(path, answer.value.as_ref()),
            // Nothing was ever set in this namespace.
            Err(error) if error.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The value at a path, or `default` if it has none.
    ///
    /// # Errors
    /// As [`Config::get`].
    pub async fn get_or<T: DeserializeOwned>(&self, path: &str, default: T) -> Result<T> {
        Ok(self.get(path).await?.unwrap_or(default))
    }

    /// Sets the value at a path: an object is merged with what is there, all else replaces it.
    ///
    /// # Errors
    /// 403 for what is not below the name of this service, 413 for a value over 1 MiB, 500 for one
    /// that has no JSON form, 503 when the server cannot be reached.
    pub async fn set<T: Serialize + ?Sized>(&self, path: &str, value: &T) -> Result<()> {
        self.put(path, value, false).await
    }

    /// As [`Config::set`], but what is set is kept encrypted.
    ///
    /// # Errors
    /// As [`Config::set`].
    pub async fn set_secret<T: Serialize + ?Sized>(&self, path: &str, value: &T) -> Result<()> {
        self.put(path, value, true).await
    }

    async fn put<T: Serialize + ?Sized>(&self, path: &str, value: &T, secret: bool) -> Result<()> {
        let data = serde_json::to_string(value)
            .map_err(|e| Error::internal(format!("the value for config `{path}` has no JSON form: {e}")))?;
        let request = SetRequest {
            namespace: self.namespace.clone(),
            path: path.to_owned(),
            value: Some(Value { data, format: String::new() }),
            options: Some(Options { secret }),
            reveal: false,
            if_revision: None,
        };
        self.block().set(request).await.map(drop)
    }

    /// Deletes what stands at a path, with all below it; false if there was nothing.
    ///
    /// # Errors
    /// 403 for what is not below the name of this service, 503 when the server cannot be reached.
    pub async fn delete(&self, path: &str) -> Result<bool> {
        let (namespace, path) = (self.namespace.clone(), path.to_owned());
        let request = DeleteRequest { namespace, path, if_revision: None };
        Ok(self.block().delete(request).await?.existed)
    }

    /// The value at a path as it is now, followed in the background; the default of `T` where there is
    /// none. Must be called within a tokio runtime.
    #[must_use]
    pub fn setting<T: DeserializeOwned + Default + Send + Sync + 'static>(&self, path: &str) -> Setting<T> {
        Setting::follow(self, path)
    }

    /// Follows the value at a path, from the present one on.
    #[must_use]
    pub fn watch<T: DeserializeOwned>(&self, path: &str) -> Watch<T> {
        Watch {
            config: self.clone(),
            path: path.to_owned(),
            revision: None,
            changes: None,
            wait: FIRST_WAIT,
            of: PhantomData,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// The values of a path, one after the other. It outlives the server: when that comes back, what
/// was missed comes first.
pub struct Watch<T> {
    config: Config,
    path: String,
    /// That of the last value.
    revision: Option<u64>,
    changes: Option<Receiver<WatchResponse>>,
    wait: Duration,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Watch<T> {
    /// The present value at first, then each that follows; none when the path has no value. Waits
    /// while nothing changes, and while the server is away. May be dropped before it is ready, as in
    /// `select!`, without losing a value.
    ///
    /// # Errors
    /// 403 and other refusals of the server; 500 for a value that is no `T`, after which the next
    /// one may be asked for.
    pub async fn next(&mut self) -> Result<Option<T>> {
        self.next_value().await?
    }

    /// As [`Watch::next`], with what the server refuses apart from what is no `T`.
    pub(crate) async fn next_value(&mut self) -> Result<Result<Option<T>>> {
        if !self.config.client.is_connected() {
            return Err(not_connected());
        }
        loop {
            match self.change().await {
                Ok(Some(change)) => {
                    (self.revision, self.wait) = (Some(change.revision), FIRST_WAIT);
                    return Ok(read(&self.path, change.value.as_ref()));
                }
                Err(error) if !is_passing(&error) => {
                    self.changes = None;
                    return Err(error);
                }
                Ok(None) | Err(_) => {
                    self.changes = None;
                    sleep(self.wait).await;
                    self.wait = (self.wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// The next message; none when the server has ended the stream.
    async fn change(&mut self) -> Result<Option<WatchResponse>> {
        let changes = if let Some(changes) = &mut self.changes {
            changes
        } else {
            let request = WatchRequest {
                namespace: self.config.namespace.clone(),
                path: self.path.clone(),
                options: Some(Options { secret: true }),
                after_revision: self.revision,
            };
            self.changes.insert(self.config.block().watch(request).await?)
        };
        changes.next().await
    }
}

/// Whether another attempt may succeed: the server is away or ends, or the connection broke.
fn is_passing(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unreachable | Kind::Unavailable | Kind::Deadline)
        || error.origin() == Origin::Client
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A value as the type that is asked for. What is said when it is none never has the value in it,
/// which may be a secret.
fn read<T: DeserializeOwned>(path: &str, value: Option<&Value>) -> Result<Option<T>> {
    let json: Json = serde_json::from_str(value.map_or("null", |value| &value.data))
        .map_err(|_| Error::internal(format!("config `{path}` is no JSON")))?;
    if json.is_null() {
        return Ok(None);
    }
    serde_path_to_error::deserialize(&json).map(Some).map_err(|error| {
        let place = inner(error.path());
        let at = [path, &place].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        let pointer = place.split('.').filter(|part| !part.is_empty()).map(|part| format!("/{part}"));
        let kind = kind(json.pointer(&pointer.collect::<String>()).unwrap_or(&json));
        let reason = error.inner().to_string();
        // What else the reason says may quote the value.
        let names = ["missing field", "unknown field"].iter().any(|start| reason.starts_with(start));
        let reason = if names {
            reason
        } else if let Some((_, wanted)) = reason.rsplit_once(", expected ") {
            format!("it is {kind}, expected {wanted}")
        } else {
            format!("it is {kind}, which does not fit")
        };
        let name = std::any::type_name::<T>();
        Error::internal(format!("config `{at}` is not what {name} needs: {reason}"))
    })
}

/// Where in a value something is, as the path of the config names it.
fn inner(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;

    let parts = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    });
    parts.collect::<Vec<_>>().join(".")
}

fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "nothing",
        Json::Bool(_) => "a truth value",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use micro_proto::config::{
        DeleteResponse, GetResponse, ListRequest, ListResponse, ReadRequest, ReadResponse, SetResponse,
    };
    use serde::Deserialize;

    use super::*;
    use crate::{
        Context, Sender,
        blocks::config::{Config as Block, ConfigServer},
        testing,
    };

    /// A server whose streams end after two values, and which refuses who has seen four.
    struct Restless;

    impl Block for Restless {
        async fn get(&self, _: Context, _: GetRequest) -> Result<GetResponse> {
            Err(Error::not_found("Not found"))
        }

        async fn set(&self, _: Context, _: SetRequest) -> Result<SetResponse> {
            Err(Error::forbidden("no"))
        }

        async fn delete(&self, _: Context, _: DeleteRequest) -> Result<DeleteResponse> {
            Err(Error::forbidden("no"))
        }

        async fn read(&self, _: Context, _: ReadRequest) -> Result<ReadResponse> {
            Err(Error::forbidden("no"))
        }

        async fn list(&self, _: Context, _: ListRequest) -> Result<ListResponse> {
            Err(Error::forbidden("no"))
        }

        async fn watch(&self, _: Context, request: WatchRequest, to: Sender<WatchResponse>) -> Result<()> {
            let after = request.after_revision.unwrap_or(0);
            if after >= 4 {
                return Err(Error::forbidden("enough"));
            }
            for revision in [after + 1, after + 2] {
                let value = Some(Value { data: revision.to_string(), format: String::new() });
                to.send(WatchResponse { value, revision, found: true, ..WatchResponse::default() }).await?;
            }
            if after == 0 { Ok(()) } else { Err(Error::unavailable("stopping")) }
        }
    }

    #[tokio::test]
    async fn a_watch_goes_on_where_it_was_when_the_server_is_back() {
        let client = testing::serve(ConfigServer::new(Restless));
        let mut watch = Config::new(client, "micro").watch::<u64>("a");
        for expected in 1..=4 {
            assert_eq!(watch.next().await.unwrap(), Some(expected));
        }
        assert_eq!(watch.next().await.unwrap_err().code, 403);
    }

    #[tokio::test]
    async fn what_was_never_set_is_the_default() {
        let config = Config::new(testing::serve(ConfigServer::new(Restless)), "micro");
        assert_eq!(config.get::<u64>("a").await.unwrap(), None);
        assert_eq!(config.get_or("a", 7).await.unwrap(), 7);
        assert_eq!(config.set("a", "b").await.unwrap_err().code, 403);
    }

    fn of<T: DeserializeOwned>(data: &str) -> Result<Option<T>> {
        read("a.b", Some(&Value { data: data.to_owned(), format: String::new() }))
    }

    #[test]
    fn values_have_the_type_that_is_asked_for() {
        #[derive(Debug, Deserialize, PartialEq)]
        struct Limits {
            most: u32,
        }
        assert_eq!(of::<u64>("7").unwrap(), Some(7));
        assert_eq!(of::<String>("\"<ä>\"").unwrap().as_deref(), Some("<ä>"));
        assert_eq!(of::<Vec<f64>>("[1, 2.5]").unwrap(), Some(vec![1.0, 2.5]));
        assert_eq!(of::<Limits>("{\"most\": 3}").unwrap(), Some(Limits { most: 3 }));
        assert_eq!(of::<u64>("null").unwrap(), None);
        assert_eq!(read::<u64>("a.b", None).unwrap(), None);
        let error = of::<Limits>("{}").unwrap_err();
        assert!(error.detail.contains("missing field `most`"), "{error}");
    }

    #[test]
    fn what_is_of_another_type_is_told_without_its_value() {
        for data in ["\"hunter2\"", "[\"hunter2\"]", "{\"hunter2\": 1}"] {
            let error = of::<u64>(data).unwrap_err();
            assert!(error.detail.starts_with("config `a.b` is not what u64 needs: it is a"), "{error}");
            assert!(!error.detail.contains("hunter2"), "{error}");
        }
        assert!(!of::<bool>("4711").unwrap_err().detail.contains("4711"));
    }

    #[test]
    fn what_is_of_another_type_is_told_with_its_place() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "it is never made")]
        struct Limits {
            steps: Vec<Step>,
        }
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "it is never made")]
        struct Step {
            most: u32,
        }
        let error = of::<Limits>(r#"{"steps": [{"most": 1}, {"most": "hunter2"}]}"#).unwrap_err();
        assert!(error.detail.starts_with("config `a.b.steps.1.most` is not what "), "{error}");
        assert!(error.detail.ends_with("Limits needs: it is a text, expected u32"), "{error}");
        let error = of::<Limits>(r#"{"steps": [{}]}"#).unwrap_err();
        assert!(
            error.detail.contains("`a.b.steps.0`") && error.detail.contains("missing field `most`"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn without_a_server_nothing_waits_for_ever() {
        let config = Config::new(Client::disconnected("config"), "micro");
        assert_eq!(config.get_or("a", 1).await.unwrap_err().code, 503);
        assert_eq!(config.watch::<u64>("a").next().await.unwrap_err().code, 503);
    }
}
