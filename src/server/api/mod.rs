//! The HTTP API: `GET /helloworld/Call?name=John` becomes a call, its answer JSON. Nothing but a
//! translation: who may call and where it goes is decided by the router, as at every door.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod parameters;
mod path;
mod payload;
mod reply;

use std::{
    fmt::Display,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use axum::{
    Router as Axum,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts};
use http_body::Body as HttpBody;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use micro_sdk::{Error, Result, handler::apart};
use prost_reflect::MessageDescriptor;
use tokio::time::timeout;
use tonic::codegen::StdError;

use super::{
    budget::SMALL,
    inbound::{Meter, Progress},
    plain,
    router::{Head, Route, Router},
    target::Wire,
    travel::{self, travels},
};
use crate::{names, transcode};
use payload::Form;
use reply::Reader;

/// How long a call may take whose caller names no time-out.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
/// The methods that make calls, and the one that asks whether they may be made.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS");
/// How long a browser may remember that a page is welcome.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");
/// The headers that pages send, for a browser that does not say which.
const PAGE_HEADERS: HeaderValue =
    HeaderValue::from_static("Accept, Content-Type, Authorization, Micro-Namespace, Micro-Version, Timeout");
/// The headers of HTTP/1 that concern one connection only (RFC 9110, section 7.6.1), and those
/// that are made anew for the call.
const NOT_FORWARDED: [HeaderName; 10] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::EXPECT,
];

/// Where the version, the public keys and the picture of the site are.
const PAGES: [&str; 3] = ["/", "/.well-known/jwks.json", "/favicon.ico"];

/// The API over a router.
#[derive(Clone)]
pub(super) struct Api {
    router: Router,
    pages: TowerToHyperService<Axum>,
}

impl Api {
    pub(super) fn new(router: Router) -> Self {
        let [root, keys, picture] = PAGES;
        let pages = Axum::new()
            .route(root, any(version))
            .route(keys, get(public_keys))
            .route(picture, any(|| async { StatusCode::NO_CONTENT }))
            .fallback(call::<Body>)
            .with_state(router.clone());
        Self { router, pages: TowerToHyperService::new(pages) }
    }

    /// Answers a request: keeps strangers out, and tells the browsers of welcome pages that they are.
    pub(super) async fn serve<B>(self, request: http::Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError> + Display,
    {
        let Self { router, pages } = self;
        if let Err(error) = router.admit(&request) {
            let refusal = reply::error(&error);
            return if request.method() == Method::HEAD { without_body(refusal) } else { refusal };
        }
        let origin =
            router.browsers().origin(request.headers()).and_then(|origin| HeaderValue::from_str(origin).ok());
        let asked = (request.method() == Method::OPTIONS).then(|| page_headers(request.headers()));
        let mut response = if asked.is_some() {
            StatusCode::NO_CONTENT.into_response()
        } else if PAGES.contains(&request.uri().path()) || request.method() == Method::HEAD {
            // Apart: seldom, and it would be carried by each call. What HEAD gets loses its body there.
            let answer = Box::pin(pages.call(request.map(Body::new)));
            answer.await.unwrap_or_else(|never| match never {})
        } else {
            call(State(router), request).await
        };
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::VARY, HeaderValue::from_static("Origin, Access-Control-Request-Headers"));
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            if let Some(asked) = asked {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
                headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
            }
        }
        response
    }
}

/// What HEAD gets, as the library has it: the length, and no body (RFC 9110, section 9.3.2).
fn without_body(mut response: Response) -> Response {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response.map(|_| Body::empty())
}

async fn version() -> Response {
    plain::version().map(Body::from)
}

/// The public keys, with which a service verifies tokens itself (RFC 7517).
async fn public_keys(State(router): State<Router>) -> Response {
    let body = format!("{}\n", router.public_keys());
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        // A token may be signed with a new key at any time.
        (header::CACHE_CONTROL, "max-age=60"),
    ];
    (headers, body).into_response()
}

/// The headers that a page may send, of those it asks for: all that travel with a call.
fn page_headers(headers: &HeaderMap) -> HeaderValue {
    let asked = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let names = asked.filter_map(|names| names.to_str().ok()).flat_map(|names| names.split(','));
    let names = names.filter_map(|name| name.trim().parse::<HeaderName>().ok());
    let names: Vec<String> = names
        .filter(|name| *name == header::CONTENT_TYPE || (travels(name) && !NOT_FORWARDED.contains(name)))
        .map(|name| name.to_string())
        .collect();
    if names.is_empty() {
        return PAGE_HEADERS;
    }
    HeaderValue::from_str(&names.join(", ")).unwrap_or(PAGE_HEADERS)
}

async fn call<B>(State(router): State<Router>, request: http::Request<B>) -> Response
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let (head, body) = request.into_parts();
    let unread = !body.is_end_stream() && head.version < Version::HTTP_2;
    match route(&router, &head).await {
        Ok(route) => answer(&router, route, head, body)
            .await
            .unwrap_or_else(|error| reply::error(&error.with_id("micro.api"))),
        Err(error) => {
            let refused = error.code == 405;
            let mut response = reply::error(&error.with_id("micro.api"));
            if refused {
                response.headers_mut().insert(header::ALLOW, METHODS);
            }
            if unread {
                // The body stands in the way of the next request, so there can be none.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// Where a call goes, decided before its body is read.
async fn route(router: &Router, head: &Parts) -> Result<Route> {
    if !matches!(head.method, Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE) {
        return Err(Error::new(405, format!("{} is not supported", names::shown(head.method.as_str()))));
    }
    if is_websocket(&head.headers) {
        return Err(Error::not_implemented(
            "WebSockets are not supported yet; a POST to the endpoint answers with one JSON document a line",
        ));
    }
    let target = path::target(head.uri.path())?.ok_or_else(|| Error::not_found("there is no such path"))?;
    let otherwise = path::without_version(head.uri.path());
    let connection = router.connection(&head.extensions);
    let route = router.resolve(Head { target, otherwise, headers: &head.headers, connection }, true).await?;
    if route.described && route.method.is_none() {
        return Err(unknown_endpoint(&route));
    }
    Ok(route)
}

/// Whether a client wants to go on in the `WebSocket` protocol (RFC 6455, section 4.1).
fn is_websocket(headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(header::UPGRADE).iter().filter_map(|value| value.to_str().ok());
    protocols.any(|list| list.split(',').any(|one| one.trim().eq_ignore_ascii_case("websocket")))
}

async fn answer<B>(router: &Router, route: Route, head: Parts, body: B) -> Result<Response>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let form = Form::of(&head.headers)?;
    let query = head.uri.query().unwrap_or_default().to_owned();
    let (method, stream) = (route.method.clone(), route.stream);
    let streams = method.as_ref().map_or(stream, prost_reflect::MethodDescriptor::is_server_streaming);
    if form == Form::Protobuf && streams {
        return Err(Error::new(
            415,
            "the endpoint answers with a stream, which is JSON over HTTP: send JSON",
        ));
    }
    if form == Form::Protobuf && !parameters::is_empty(query.as_bytes()) {
        return Err(Error::bad_request("parameters cannot be added to protobuf: put them into the message"));
    }
    let patience = micro_sdk::header::timeout(&head.headers).unwrap_or(DEFAULT_TIMEOUT);
    let body = in_time(patience, read(body, route.limit(), &route.meter)).await?;
    let (wire, message) = if form == Form::Protobuf {
        (Wire::Protobuf, body)
    } else {
        let wire = if method.is_some() { Wire::Protobuf } else { Wire::Json };
        let input = method.as_ref().map(prost_reflect::MethodDescriptor::input);
        (wire, apart(body.len(), move || message(&query, form, &body, input.as_ref())).await?)
    };
    let reader = Reader::new(&route.meter, router.connection(&head.extensions));
    let mut request = http::Request::post(route.target.path());
    if let Some(headers) = request.headers_mut() {
        *headers = forwarded(&head);
    }
    let request = request
        .body(tonic::body::Body::new(http_body_util::Full::new(frame(&message))))
        .map_err(|e| Error::bad_request(format!("the request cannot be forwarded: {e}")))?;
    let meter = route.meter.clone();
    let response = router.send(route, wire, request).await?;
    // What answers has read the request; the answer may be as large.
    meter.release();
    let output = method.map(|method| method.output());
    let mut answer = if form == Form::Protobuf {
        reply::protobuf(response, reader).await?
    } else if streams {
        reply::lines(response, output, reader).await
    } else {
        reply::json(response, output, reader).await?
    };
    answer.extensions_mut().insert(meter);
    Ok(answer)
}

/// The message of a call: of its type in protobuf, or JSON where that is not known.
fn message(query: &str, form: Form, body: &Bytes, input: Option<&MessageDescriptor>) -> Result<Bytes> {
    transcode::check_parameters(query.as_bytes())?;
    transcode::check_json(body)?;
    // `curl -d '{…}'` says that it sends a form.
    let is_json = matches!(transcode::without_mark(body).trim_ascii_start().first(), Some(b'{' | b'['));
    if form == Form::UrlEncoded && !is_json {
        transcode::check_parameters(body)?;
    }
    // Blank input is `null`, which is a value of some types.
    let blank = transcode::without_mark(body).trim_ascii().is_empty();
    let straight = form == Form::Json && !blank && parameters::is_empty(query.as_bytes());
    if let Some(input) = input.filter(|_| straight) {
        return transcode::to_protobuf(input, body).map_err(|invalid| Error::bad_request(invalid.0));
    }
    let value = payload::request(query, form, body, input)?;
    match input {
        Some(input) => {
            transcode::value_to_protobuf(input, value).map_err(|invalid| Error::bad_request(invalid.0))
        }
        None => Ok(value.to_string().into()),
    }
}

fn unknown_endpoint(route: &Route) -> Error {
    let target = &route.target;
    let (service, endpoint) = (names::shown(&target.service), names::shown(&target.endpoint));
    Error::not_found(format!("service {service} has no endpoint {endpoint}"))
}

/// What is read, if it is there in time.
async fn in_time<T>(patience: Duration, reading: impl Future<Output = Result<T>>) -> Result<T> {
    let mut reading = pin!(reading);
    // Most bodies have come with their head, and need no timer.
    if let Some(read) = reading.as_mut().now_or_never() {
        return read;
    }
    timeout(patience, reading).await.map_err(|_| Error::timeout("the body did not come in time"))?
}

/// A whole body, which has to come at some rate and is counted from its first byte.
async fn read<B>(mut body: B, limit: usize, meter: &Arc<Meter>) -> Result<Bytes>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let too_large =
        || Error::too_large(format!("the body is larger than {limit} bytes, which is the limit here"));
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    // What says beforehand that it is too large is not waited for.
    if expected > limit {
        return Err(too_large());
    }
    // What is announced is not yet there: room is made for what came.
    let (mut progress, mut whole) = (Progress::default(), BytesMut::with_capacity(expected.min(SMALL)));
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => progress.poll(cx).map(Err),
        });
        let Some(frame) = frame.await? else { return Ok(whole.freeze()) };
        let frame = frame.map_err(|error| Error::bad_request(format!("the body broke off: {error}")))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if whole.len() + chunk.len() > limit {
            return Err(too_large());
        }
        progress.came(chunk.len());
        meter.grow_to(chunk.len(), expected)?;
        whole.extend_from_slice(&chunk);
    }
}

/// One gRPC message.
fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    // A body is limited to far less than 4 GiB.
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

/// The headers that travel with the call. They tell the service which HTTP request it answers, in the metadata
/// that Micro v4's gateway uses: what the caller sent under these names is left out.
fn forwarded(head: &Parts) -> HeaderMap {
    const OURS: [HeaderName; 3] = micro_sdk::header::OF_HTTP;
    let mut forwarded = HeaderMap::with_capacity(head.headers.len() + OURS.len() + 4);
    for (name, value) in &head.headers {
        if travels(name) && !NOT_FORWARDED.contains(name) && !OURS.contains(name) {
            forwarded.append(name, value.clone());
        }
    }
    for name in travel::named(&head.headers) {
        forwarded.remove(name);
    }
    forwarded.insert(header::TE, HeaderValue::from_static("trailers"));
    if micro_sdk::header::timeout(&forwarded).is_none() {
        // Less than 64 bits of nanoseconds.
        forwarded.insert(micro_sdk::header::TIMEOUT, HeaderValue::from(DEFAULT_TIMEOUT.as_nanos() as u64));
    }
    let host = head.headers.get(header::HOST).cloned();
    let host = host.or_else(|| head.uri.authority().and_then(|host| host.as_str().parse().ok()));
    let url = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let said = [host, head.method.as_str().parse().ok(), url.parse().ok()];
    for (name, value) in OURS.into_iter().zip(said) {
        if let Some(value) = value {
            forwarded.insert(name, value);
        }
    }
    forwarded
}

#[cfg(test)]
mod tests {
    use hyper::body::Incoming;

    use super::*;
    use crate::server::future_size;

    /// As at the doors of gRPC: what a call carries is allocated and copied with each.
    #[test]
    fn a_call_carries_little() {
        type Arguments = (Api, http::Request<Incoming>);
        let bytes = future_size(|(api, request): Arguments| api.serve(request));
        assert!(bytes <= 6656, "{bytes} bytes");
    }
}
