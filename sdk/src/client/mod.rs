//! Calls to a service, by name: typed clients are thin wrappers over [`Client`].

mod transport;
mod until;

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CONTENT_TYPE},
    uri::PathAndQuery,
};
use prost::Message;
use tokio_stream::{Stream, StreamExt as _, once};
use tonic::{Status, Streaming, client::Grpc};

use crate::{
    Channel, Error, Kind, Origin, Receiver, Result, Sender, Upload,
    codec::{Breakable, Raw},
    context::not_connected,
    error::INSTEAD,
    header,
    http2::BROKE,
    kind::CLIENT,
    message::{Frames, Queue, decode_answer, encode},
    platform::Platform,
};
use transport::Transport;
pub(crate) use until::Until;
use until::within;

/// How long a unary call may take unless said otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
/// The largest message that is accepted, in bytes.
pub const MESSAGE_LIMIT: usize = 16 << 20;
/// The largest JSON text of a message, in bytes: base64 and the names of fields make it longer.
pub const JSON_LIMIT: usize = 4 * MESSAGE_LIMIT;
/// How often a call that could not be sent is tried again unless said otherwise.
const RETRIES: u32 = 3;

/// The encoded answers to a call.
pub type Answers = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// Looks at the headers of a call before it is sent, and may add some or refuse the call.
type Intercept = dyn Fn(&str, &mut HeaderMap) -> Result<()> + Send + Sync;

/// A client of one service. Cheap to clone; connects when it is first used.
///
/// Generated clients wrap one. A value that an option cannot take, such as a header with a line break,
/// fails the calls that are made with it, with 400.
#[derive(Clone)]
pub struct Client {
    channel: Option<Channel>,
    service: Arc<str>,
    metadata: HeaderMap,
    content_type: Option<HeaderValue>,
    identity: Option<Platform>,
    intercept: Option<Arc<Intercept>>,
    /// Of unary calls without a time-out of their own.
    patience: Duration,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    retries: u32,
    /// Why no call can be made with it.
    unusable: Option<Error>,
}

impl Client {
    /// A client of `service`, reached through `channel`.
    #[must_use]
    pub fn new(channel: Channel, service: impl Into<String>) -> Self {
        Self { channel: Some(channel), ..Self::disconnected(&service.into()) }
    }

    pub(crate) fn disconnected(service: &str) -> Self {
        Self {
            channel: None,
            service: Arc::from(service),
            metadata: HeaderMap::new(),
            content_type: None,
            identity: None,
            intercept: None,
            patience: DEFAULT_TIMEOUT,
            timeout: None,
            deadline: None,
            retries: RETRIES,
            unusable: None,
        }
    }

    /// Whether there is a server at all, reachable or not.
    pub(crate) fn is_connected(&self) -> bool {
        self.channel.is_some()
    }

    /// Each call carries the token of this platform, fresh.
    pub(crate) fn with_identity(mut self, platform: Platform) -> Self {
        self.identity = Some(platform);
        self
    }

    /// Looks the service up in this namespace.
    #[must_use]
    pub fn with_namespace(self, namespace: &str) -> Self {
        self.with_header(header::NAMESPACE.as_str(), namespace)
    }

    /// Calls this version of the service.
    #[must_use]
    pub fn with_version(self, version: &str) -> Self {
        self.with_header(header::VERSION.as_str(), version)
    }

    /// Calls as the account of this token.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    /// Adds a header to each call, in place of one of the same name.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => drop(self.metadata.insert(name, value)),
            (Err(_), _) => self.refuse(format!("`{name}` cannot be the name of a header")),
            // The value may be a secret.
            (_, Err(_)) => {
                self.refuse(format!("the value of header `{name}` has characters it must not have"));
            }
        }
        self
    }

    fn refuse(&mut self, why: String) {
        self.unusable.get_or_insert(Error::bad_request(why).with_id(CLIENT));
    }

    /// Limits how long each call may take, streams included (default: 60 s for calls with one request
    /// and one response, no limit for streams). The deadline of the call that is being served holds
    /// besides: see [`Client::with_deadline`].
    #[must_use]
    pub fn with_timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Limits how long calls with one request and one response may take that have no
    /// [`Client::with_timeout`], in place of 60 s. Streams stay without a limit.
    #[must_use]
    pub fn with_default_timeout(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// No call goes on after this moment. Of two deadlines the earlier one counts, so that a call that
    /// is made to answer another never outlives it.
    #[must_use]
    pub fn with_deadline(mut self, at: Instant) -> Self {
        self.deadline = Some(self.deadline.map_or(at, |earlier| earlier.min(at)));
        self
    }

    /// How often a call is tried again that could not be sent, at once, then after 100 ms, 600 ms and
    /// so on within its time (default: 3). A call of which a byte was sent is never tried again: it may have
    /// been carried out.
    #[must_use]
    pub fn with_retries(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }

    /// Looks at the headers of each call before it is sent, as the last of all: `intercept` is given the
    /// endpoint, such as `Catalog.Get`, and may add headers or refuse the call. Of two, the first one set is asked first.
    ///
    /// ```
    /// # fn example(client: micro_sdk::Client) {
    /// let traced = client.with_interceptor(|_endpoint, headers| {
    ///     headers.insert("x-shop", "berlin".parse().expect("a header value"));
    ///     Ok(())
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn with_interceptor(
        mut self,
        intercept: impl Fn(&str, &mut HeaderMap) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.intercept = Some(match self.intercept.take() {
            None => Arc::new(intercept),
            Some(first) => Arc::new(move |endpoint: &str, headers: &mut HeaderMap| {
                first(endpoint, headers)?;
                intercept(endpoint, headers)
            }),
        });
        self
    }

    /// Messages are JSON text (`application/grpc+json`), given and returned as bytes.
    #[must_use]
    pub fn with_json(mut self) -> Self {
        self.content_type = Some(HeaderValue::from_static("application/grpc+json"));
        self
    }

    /// The name of the service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// One request, one response. `endpoint` is `Handler.Method`.
    ///
    /// # Errors
    /// What the service answered, 408 after the timeout, 503 when it cannot be reached.
    pub async fn unary<I: Message, O: Message + Default + 'static>(
        &self,
        endpoint: &str,
        request: &I,
    ) -> Result<O> {
        self.unary_bytes(endpoint, encode(request)).await.and_then(decode_answer)
    }

    /// One request, a stream of responses.
    ///
    /// # Errors
    /// As [`Client::unary`]; later ones come from the stream.
    pub async fn server_stream<I: Message, O: Message + Default + 'static>(
        &self,
        endpoint: &str,
        request: &I,
    ) -> Result<Receiver<O>> {
        let ends = self.ends();
        let frames = self.open(endpoint, once(Ok(encode(request))), ends).await?;
        Ok(Receiver::of_call(frames, self.service.clone(), ends))
    }

    /// A stream of requests, one response.
    pub fn client_stream<I: Message, O: Message + Default + 'static>(&self, endpoint: &str) -> Upload<I, O> {
        let (sender, queue) = Sender::new();
        let (client, endpoint) = (self.clone(), endpoint.to_owned());
        let requests = sent(queue, sender.abandoned());
        let ends = self.ends();
        let response = async move {
            let call =
                async { only(client.open(&endpoint, requests, ends).await?).await.and_then(decode_answer) };
            let answered = within(ends, &client.service, call).await;
            answered.map_err(|error| client.attributed(&endpoint, error))
        };
        Upload::new(sender, response)
    }

    /// Streams in both directions.
    ///
    /// # Errors
    /// As [`Client::unary`]; later ones come from the stream.
    pub async fn stream<I: Message, O: Message + Default + 'static>(
        &self,
        endpoint: &str,
    ) -> Result<(Sender<I>, Receiver<O>)> {
        let (sender, queue) = Sender::new();
        let ends = self.ends();
        let frames = self.open(endpoint, sent(queue, sender.abandoned()), ends).await?;
        Ok((sender, Receiver::of_call(frames, self.service.clone(), ends)))
    }

    /// [`Client::unary`] with encoded messages.
    ///
    /// # Errors
    /// As [`Client::unary`].
    pub async fn unary_bytes(&self, endpoint: &str, request: Bytes) -> Result<Bytes> {
        if request.len() > MESSAGE_LIMIT {
            let length = request.len();
            let text = format!(
                "a request of {length} bytes for {endpoint}; at most {MESSAGE_LIMIT} are possible: {INSTEAD}"
            );
            return Err(Error::too_large(text).with_id(CLIENT));
        }
        let until = Until::first(Some(self.timeout.unwrap_or(self.patience)), self.deadline);
        let call = async |request| {
            let (mut grpc, path) = self.prepare(endpoint, until).await?;
            let request = tonic::Request::new(request);
            only(grpc.server_streaming(request, path, Raw).await?.into_inner()).await
        };
        let calls = async {
            match call(request.clone()).await {
                // Nothing was done: the server refused the call at its door.
                Err(error) if self.renews(&error) => call(request).await,
                answered => answered,
            }
        };
        let answered = within(until, &self.service, calls).await;
        answered.map_err(|error| self.attributed(endpoint, error))
    }

    /// Whether the server takes this service's token no more, which is then forgotten: another one may be
    /// better. So it is after the clock was set back, and with a server that has lost its keys.
    fn renews(&self, error: &Error) -> bool {
        let Some(platform) = &self.identity else { return false };
        let is_refused = error.kind() == Kind::Unauthorized && error.origin() == Origin::Server;
        if is_refused {
            platform.forget_token();
        }
        is_refused
    }

    /// A stream of encoded messages each way.
    ///
    /// # Errors
    /// As [`Client::unary`].
    pub async fn stream_bytes(
        &self,
        endpoint: &str,
        requests: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Answers> {
        let ends = self.ends();
        let frames = self.open(endpoint, requests.map(Ok), ends).await?;
        Ok(Box::pin(Frames::of_call(frames, self.service.clone(), ends)))
    }

    /// Begins a call, whose requests end in an error when they break off.
    async fn open(
        &self,
        endpoint: &str,
        requests: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
        until: Option<Until>,
    ) -> Result<Streaming<Bytes>> {
        let call = async {
            let (mut grpc, path) = self.prepare(endpoint, until).await?;
            Ok(grpc.streaming(tonic::Request::new(requests), path, Breakable).await?.into_inner())
        };
        within(until, &self.service, call).await.map_err(|error| {
            // The next call has another token.
            self.renews(&error);
            self.attributed(endpoint, error)
        })
    }

    /// When a stream that begins now has to have ended.
    fn ends(&self) -> Option<Until> {
        Until::first(self.timeout, self.deadline)
    }

    /// An error that names nobody is that of a service which knows nothing of ours; the connection's and
    /// those of messages that are too large for this side are this side's.
    fn attributed(&self, endpoint: &str, error: Error) -> Error {
        match error.code {
            _ if !error.id.is_empty() => error,
            _ if error.is_too_large_here() => {
                let detail = format!("{endpoint} of {}: {}", self.service, error.detail);
                Error { detail, ..error }.with_id(CLIENT)
            }
            _ => attributed(error, &self.service),
        }
    }

    async fn prepare(&self, endpoint: &str, until: Option<Until>) -> Result<(Grpc<Transport>, PathAndQuery)> {
        if let Some(error) = &self.unusable {
            return Err(error.clone());
        }
        let channel = self.channel.clone().ok_or_else(not_connected)?;
        let mut headers = self.metadata.clone();
        // Who calls as somebody else has said so.
        if let Some(platform) = self.identity.as_ref().filter(|_| !headers.contains_key(AUTHORIZATION)) {
            let token = platform.token().await.map_err(no_identity)?;
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            headers.insert(
                AUTHORIZATION,
                value.map_err(|_| Error::internal("the server issued an unusable token"))?,
            );
        }
        if let Some(content_type) = &self.content_type {
            headers.insert(CONTENT_TYPE, content_type.clone());
        }
        if let Some(until) = until {
            let left = until.left();
            if left.is_zero() {
                return Err(until.late(&self.service));
            }
            header::set_timeout(&mut headers, left);
        }
        if let Some(intercept) = &self.intercept {
            intercept(endpoint, &mut headers)?;
        }
        let path = endpoint
            .rsplit_once('.')
            .and_then(|(handler, method)| format!("/{}.{handler}/{method}", self.service).parse().ok())
            .ok_or_else(|| {
                Error::bad_request(format!("`{endpoint}` is no endpoint; expected `Handler.Method`"))
                    .with_id(CLIENT)
            })?;
        let limit = if self.content_type.is_some() { JSON_LIMIT } else { MESSAGE_LIMIT };
        let grpc = Grpc::new(Transport { channel, headers, retries: self.retries })
            .max_decoding_message_size(limit)
            .max_encoding_message_size(MESSAGE_LIMIT);
        Ok((grpc, path))
    }
}

/// What a call is told that cannot be made in the name of this service.
fn no_identity(error: Error) -> Error {
    match error.kind() {
        Kind::Deadline | Kind::Unreachable => error,
        _ => Error::unavailable(format!("this service cannot prove who it is: {error}")).with_id(CLIENT),
    }
}

/// An error on the way from a service, with the name of who it comes from.
pub(crate) fn attributed(error: Error, service: &str) -> Error {
    let own = error.detail.starts_with(BROKE) || error.is_too_large_here();
    let id = if own { CLIENT } else { service };
    error.with_id(id)
}

/// The only message of an answer. tonic's own unary call leaves out whatever follows the first.
async fn only(mut messages: Streaming<Bytes>) -> Result<Bytes> {
    let Some(message) = messages.message().await? else {
        return Err(Error::internal("the service ended the call without a response"));
    };
    match messages.message().await? {
        Some(_) => Err(Error::more_than_one()),
        None => Ok(message),
    }
}

/// What arrives in the queue of a [`Sender`], and an error at its end if it was abandoned.
fn sent(queue: Queue, abandoned: Arc<AtomicBool>) -> impl Stream<Item = Result<Bytes, Status>> {
    let broken = move |()| {
        let abandoned = abandoned.load(Ordering::Acquire);
        abandoned.then(|| Err(Status::cancelled("the caller gave the stream up")))
    };
    queue.chain(once(()).filter_map(broken))
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("service", &self.service).finish_non_exhaustive()
    }
}
