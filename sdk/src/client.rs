//! Calls to a service, by name: typed clients are thin wrappers over [`Client`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as Task, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CONTENT_TYPE},
    uri::PathAndQuery,
};
use prost::Message;
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _, once};
use tonic::{Status, Streaming, body::Body, client::Grpc, codegen::Service as Tower};

use crate::{
    Channel, Error, Receiver, Result, Sender,
    codec::{Breakable, Raw},
    context::not_connected,
    error::INSTEAD,
    header,
    http2::Incoming,
    message::{Queue, decode, encode},
    platform::Platform,
};

/// How long a unary call may take unless said otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
/// The largest message that is accepted, in bytes.
pub const MESSAGE_LIMIT: usize = 16 << 20;
/// The largest JSON text of a message, in bytes: base64 and the names of fields make it longer.
pub const JSON_LIMIT: usize = 4 * MESSAGE_LIMIT;

/// A client of one service. Cheap to clone; connects when it is first used.
#[derive(Clone)]
pub struct Client {
    channel: Option<Channel>,
    service: String,
    metadata: HeaderMap,
    timeout: Duration,
    content_type: Option<HeaderValue>,
    identity: Option<Platform>,
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
            service: service.to_owned(),
            metadata: HeaderMap::new(),
            timeout: DEFAULT_TIMEOUT,
            content_type: None,
            identity: None,
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
    ///
    /// # Errors
    /// 400 for a namespace that cannot stand in a header.
    pub fn with_namespace(self, namespace: &str) -> Result<Self> {
        self.with_header(header::NAMESPACE, namespace)
    }

    /// Calls as the account of this token.
    ///
    /// # Errors
    /// 400 for a token that cannot stand in a header.
    pub fn with_token(self, token: &str) -> Result<Self> {
        self.with_header(AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// Adds a header to each call.
    ///
    /// # Errors
    /// 400 for a value that cannot stand in a header.
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Result<Self> {
        let value = HeaderValue::from_str(value).map_err(|_| {
            Error::bad_request(format!("the value of header `{name}` has characters it must not have"))
        })?;
        self.metadata.insert(name, value);
        Ok(self)
    }

    /// Limits how long a unary call may take (default: 60 s). Streams have no limit.
    #[must_use]
    pub fn with_timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
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
        self.unary_bytes(endpoint, encode(request)).await.and_then(decode)
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
        let frames = self.stream_bytes(endpoint, once(encode(request))).await?;
        Ok(Receiver::new(frames))
    }

    /// A stream of requests, one response. Drop the sender, then await the response.
    pub fn client_stream<I: Message, O: Message + Default + 'static>(
        &self,
        endpoint: &str,
    ) -> (Sender<I>, impl Future<Output = Result<O>> + Send + use<I, O>) {
        let (sender, queue) = Sender::new();
        let (client, endpoint) = (self.clone(), endpoint.to_owned());
        let requests = sent(queue, sender.abandoned());
        let response =
            async move { only(client.stream_results(&endpoint, requests).await?).await.and_then(decode) };
        (sender, response)
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
        let frames = self.stream_results(endpoint, sent(queue, sender.abandoned())).await?;
        Ok((sender, Receiver::new(frames)))
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
            return Err(Error::too_large(text));
        }
        let call = async {
            let (mut grpc, path) = self.prepare(endpoint).await?;
            let mut request = tonic::Request::new(request);
            request.set_timeout(self.timeout);
            only(grpc.server_streaming(request, path, Raw).await?.into_inner()).await
        };
        let late = |_| Error::timeout(format!("no answer from `{}` within {:?}", self.service, self.timeout));
        timeout(self.timeout, call).await.map_err(late)?.map_err(|error| self.named(endpoint, error))
    }

    /// An answer that is larger than this side takes is told with the name of what answered.
    fn named(&self, endpoint: &str, error: Error) -> Error {
        if error.code != 413 || !error.id.is_empty() {
            return error;
        }
        Error { detail: format!("{endpoint} of {}: {}", self.service, error.detail), ..error }
    }

    /// A stream of encoded messages each way.
    ///
    /// # Errors
    /// As [`Client::unary`].
    pub async fn stream_bytes(
        &self,
        endpoint: &str,
        requests: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>> {
        self.stream_results(endpoint, requests.map(Ok)).await
    }

    /// [`Client::stream_bytes`] with requests that end in an error when they break off.
    async fn stream_results(
        &self,
        endpoint: &str,
        requests: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    ) -> Result<Streaming<Bytes>> {
        let (mut grpc, path) = self.prepare(endpoint).await?;
        Ok(grpc.streaming(tonic::Request::new(requests), path, Breakable).await?.into_inner())
    }

    async fn prepare(&self, endpoint: &str) -> Result<(Grpc<Transport>, PathAndQuery)> {
        let channel = self.channel.clone().ok_or_else(not_connected)?;
        let mut headers = self.metadata.clone();
        if let Some(platform) = &self.identity {
            let value = HeaderValue::from_str(&format!("Bearer {}", platform.token().await?));
            headers.insert(
                AUTHORIZATION,
                value.map_err(|_| Error::internal("the server issued an unusable token"))?,
            );
        }
        if let Some(content_type) = &self.content_type {
            headers.insert(CONTENT_TYPE, content_type.clone());
        }
        let path = endpoint
            .rsplit_once('.')
            .and_then(|(handler, method)| format!("/{}.{handler}/{method}", self.service).parse().ok())
            .ok_or_else(|| {
                Error::bad_request(format!("`{endpoint}` is no endpoint; expected `Handler.Method`"))
            })?;
        let limit = if self.content_type.is_some() { JSON_LIMIT } else { MESSAGE_LIMIT };
        let grpc = Grpc::new(Transport { channel, headers })
            .max_decoding_message_size(limit)
            .max_encoding_message_size(MESSAGE_LIMIT);
        Ok((grpc, path))
    }
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

/// A channel as tonic's client wants it, with the headers of one call.
struct Transport {
    channel: Channel,
    headers: HeaderMap,
}

impl Tower<http::Request<Body>> for Transport {
    type Response = http::Response<Incoming>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        request.headers_mut().extend(std::mem::take(&mut self.headers));
        let channel = self.channel.clone();
        Box::pin(async move { Ok(channel.ready().await?.send(request).await?) })
    }
}
