//! From an HTTP request to a handler: what a service, and the server for its building blocks,
//! put behind their listeners.
//!
//! Every method is served as a stream in both directions, since a Go client of a server-streaming
//! method does not half-close (tonic's own adapters for it would wait for ever).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as Task, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Status, Streaming, body::Body, server::Grpc};
use tracing::{Instrument as _, Span, field, info_span};

use crate::{
    Context, Error, Next,
    client::MESSAGE_LIMIT,
    codec::Raw,
    end::End,
    error::INSTEAD,
    handler::{Call, Handler, Replies, Reply, begun},
    layer::Layer,
    platform::Platform,
};

/// The handler that every service has.
pub(crate) const DEBUG: &str = "Debug";

/// The handlers of one service.
#[derive(Clone, Default)]
pub struct Router(Arc<Inner>);

#[derive(Default)]
struct Inner {
    service: String,
    handlers: Vec<Box<dyn Handler>>,
    /// Around the calls of all handlers but `Debug`.
    layers: Arc<[Layer]>,
    platform: Option<Platform>,
    end: Option<End>,
    requests: AtomicU64,
    errors: AtomicU64,
}

impl Router {
    /// A router over the handlers of `service`, which names itself so in errors.
    #[must_use]
    pub fn new(service: impl Into<String>, handlers: Vec<Box<dyn Handler>>) -> Self {
        Self(Arc::new(Inner { service: service.into(), handlers, ..Inner::default() }))
    }

    /// The router of a service, which ends and calls others.
    pub(crate) fn on(
        service: String,
        handlers: Vec<Box<dyn Handler>>,
        layers: Vec<Layer>,
        platform: Option<Platform>,
        end: End,
    ) -> Self {
        let (layers, end) = (layers.into(), Some(end));
        Self(Arc::new(Inner { service, handlers, layers, platform, end, ..Inner::default() }))
    }

    /// The names of the handlers, in the order they were added.
    pub fn handlers(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.handlers.iter().map(|handler| handler.name())
    }

    /// Calls served and calls failed since the start.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.0.requests.load(Ordering::Relaxed), self.0.errors.load(Ordering::Relaxed))
    }

    /// Answers a gRPC request. What stands before the last dot of the path's first part is ignored.
    pub async fn serve<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        let Some((handler, method)) = split(request.uri().path()) else {
            let text = format!("malformed method name: {:?}", request.uri().path());
            return Error::not_implemented(text).into_response();
        };
        let Some(index) = self.0.handlers.iter().position(|h| h.name() == handler) else {
            self.0.errors.fetch_add(1, Ordering::Relaxed);
            return Error::not_implemented(format!("unknown service {handler}"))
                .with_id(&self.0.service)
                .into_response();
        };
        let method = method.to_owned();
        // Tonic takes a stream of requests that its caller cancels for one that ends: half an upload
        // would be a whole one. Told by another name, it is an error.
        let request = request.map(|body| {
            body.map_err(|error| {
                let status = Status::from_error(error.into());
                let cancelled = status.code() == Code::Cancelled;
                if cancelled { Status::aborted("the caller gave the stream up") } else { status }
            })
        });
        Grpc::new(Raw)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT)
            .streaming(Endpoint { router: self.0.clone(), index, method }, request)
            .await
    }
}

/// `Handler` and `Method` of `/any.thing.Handler/Method`.
fn split(path: &str) -> Option<(&str, &str)> {
    let (first, method) = path.strip_prefix('/')?.split_once('/')?;
    let handler = first.rsplit('.').next()?;
    (!handler.is_empty() && !method.is_empty() && !method.contains('/')).then_some((handler, method))
}

fn too_large(endpoint: &str, length: usize) -> Error {
    Error::too_large(format!(
        "{endpoint} answers with {length} bytes; at most {MESSAGE_LIMIT} are possible: {INSTEAD}"
    ))
}

impl Error {
    /// The error as a gRPC response without messages.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        Status::from(self).into_http()
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.handlers()).finish()
    }
}

struct Endpoint {
    router: Arc<Inner>,
    index: usize,
    method: String,
}

impl Endpoint {
    /// The call within what goes around it.
    fn wrapped(&self, call: Call) -> Reply {
        let (router, index, method) = (self.router.clone(), self.index, self.method.clone());
        let layers = self.router.layers.clone();
        let handler = move |call: Call| -> Reply {
            let handler = &router.handlers[index];
            let unknown = format!("unknown service {}.{method}", handler.name());
            let reply = handler.handle(&method, call);
            reply.unwrap_or_else(|| Box::pin(async { Err(Error::not_implemented(unknown)) }))
        };
        let next = Next::new(layers, Box::new(handler));
        Box::pin(next.run(call))
    }
}

impl tonic::server::StreamingService<Bytes> for Endpoint {
    type Response = Bytes;
    type ResponseStream = Replies;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Replies>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let (metadata, extensions, requests) = request.into_parts();
        let handler = &self.router.handlers[self.index];
        let endpoint: Arc<str> = format!("{}.{}", handler.name(), self.method).into();
        let (platform, end) = (self.router.platform.clone(), self.router.end.clone());
        let is_service = end.is_some();
        let end = end.unwrap_or_else(End::never);
        let context = Context::new(metadata.into_headers(), extensions, platform, endpoint.clone(), end);
        // A building block is part of the server, whose log is about other things.
        let span = if is_service {
            info_span!("call", endpoint = &*endpoint, request = field::Empty)
        } else {
            Span::none()
        };
        if !span.is_disabled() {
            span.record("request", context.request_id());
        }
        let call = Call { context: context.clone(), requests };
        let reply = if self.router.layers.is_empty() || handler.name() == DEBUG {
            handler.handle(&self.method, call)
        } else {
            Some(self.wrapped(call))
        };
        let id = format!("{}.{endpoint}", self.router.service);
        let (router, within) = (self.router.clone(), span.clone());
        let answer = async move {
            let result = match reply {
                Some(reply) => begun(&context, reply).await,
                None => Err(Error::not_implemented(format!("unknown service {endpoint}"))),
            };
            let failed = move |error: Error| {
                router.errors.fetch_add(1, Ordering::Relaxed);
                // What this service met on the way to another one is not on the way to this one.
                Status::from(if is_service { error.passed_on() } else { error }.with_id(&id))
            };
            let replies = result.map_err(&failed)?;
            // What a stream fails with later names its place too.
            let replies = replies.map(move |reply| match reply {
                Ok(message) if message.len() > MESSAGE_LIMIT => {
                    Err(failed(too_large(&endpoint, message.len())))
                }
                reply => reply.map_err(|status| failed(status.into())),
            });
            let replies: Replies = Box::pin(replies);
            // What goes on while the answers are read is part of the call, too.
            let replies = if within.is_disabled() { replies } else { Box::pin(Spanned { replies, within }) };
            Ok(tonic::Response::new(replies))
        };
        Box::pin(answer.instrument(span))
    }
}

/// Answers that are made within a span.
struct Spanned {
    replies: Replies,
    within: Span,
}

impl Stream for Spanned {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let Self { replies, within } = &mut *self;
        within.in_scope(|| replies.as_mut().poll_next(cx))
    }
}
