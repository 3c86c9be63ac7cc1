//! One way in: every call of every door is authenticated, authorised and routed here, to a
//! building block in this process or to the nodes of a service.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::Body as HttpBody;
use micro_sdk::{Error, MESSAGE_LIMIT, Result, Unsent, handler::Guard, header, local::State};
use prost_reflect::MethodDescriptor;
use tokio::{sync::watch, time::Instant};
use tonic::{Status, body::Body, codegen::StdError};

use super::{
    VERSION,
    budget::{self, Budget},
    connection::Connection,
    fate::{self, Fate},
    heads::Limits,
    hooked::Hooked,
    inbound::{self, Inbound, Meter, Terms},
    introduce::introduce,
    origin::BrowserPolicy,
    outbound::Outbound,
    peer::Peer,
    plain,
    revocable::{Granted, Revocable, Way},
    target::{Target, Wire},
    travel,
    upstream::{self, Forwarded},
    waiting::{Lost, Waiting},
};
use crate::{
    names,
    services::{
        Blocks, PLATFORM,
        auth::Caller,
        methods::Method,
        registry::{Schema, Target as Nodes},
        rules_of,
    },
    transcode::{self, Weights},
};

/// What a call that follows changes counts for while it is open: a change or two wait for it.
const FOLLOWED: usize = 128 << 10;

/// What stands behind every door.
#[derive(Clone)]
pub(super) struct Router(Arc<Inner>);

struct Inner {
    blocks: Arc<Blocks>,
    schema: Arc<Schema>,
    weights: Arc<Weights>,
    browsers: BrowserPolicy,
    heads: Limits,
    waiting: Waiting,
    /// Stands for the connection of requests that carry none.
    unknown: Arc<Connection>,
    /// Where the server is and how it does.
    state: watch::Receiver<State>,
}

/// Where a call goes, decided before its body is looked at.
pub(super) struct Route {
    pub(super) target: Target,
    /// The schema of the endpoint; none for a service that registered without one.
    pub(super) method: Option<MethodDescriptor>,
    /// The service has a schema, so an endpoint without one does not exist.
    pub(super) described: bool,
    /// The endpoint has no schema, and is registered as a stream of answers.
    pub(super) stream: bool,
    caller: Caller,
    /// `Auth::epoch`, read before authentication so that a revocation during it is not missed.
    epoch: u64,
    namespace: String,
    /// How long the service was waited for, which the caller's deadline includes.
    waited: Duration,
    to: To,
    pub(super) meter: Arc<Meter>,
}

enum To {
    Block(micro_sdk::Router, Option<&'static Method>),
    Nodes(Nodes),
}

/// The head of a call.
pub(super) struct Head<'a> {
    pub(super) target: Target,
    /// What is meant where the service of `target` is not known.
    pub(super) otherwise: Option<Target>,
    pub(super) headers: &'a http::HeaderMap,
    pub(super) connection: &'a Arc<Connection>,
}

impl Route {
    /// The largest message it takes, in bytes.
    pub(super) fn limit(&self) -> usize {
        match &self.to {
            To::Block(_, Some(method)) => method.limit,
            To::Block(_, None) | To::Nodes(_) => MESSAGE_LIMIT,
        }
    }

    /// What the body of the call is held to; messages are collected here where they are JSON. `encoded`:
    /// the caller says how they are compressed.
    fn terms(&self, wire: Wire, encoded: bool) -> Terms {
        match (&self.to, &self.method) {
            (To::Block(_, method), _) => {
                let prompt = method.is_some_and(|method| !method.streams);
                Terms { limit: self.limit(), kept: true, prompt, compressed: false }
            }
            (To::Nodes(_), Some(method)) if wire == Wire::Json => {
                let prompt = !method.is_client_streaming();
                Terms { limit: MESSAGE_LIMIT, kept: true, prompt, compressed: false }
            }
            // It passes unopened, and the service has a limit of its own.
            (To::Nodes(_), _) => Terms { limit: usize::MAX, kept: false, prompt: false, compressed: encoded },
        }
    }
}

impl Router {
    pub(super) fn new(
        blocks: Arc<Blocks>,
        browsers: BrowserPolicy,
        budget: Arc<Budget>,
        heads: Limits,
        state: watch::Receiver<State>,
    ) -> Result<Self> {
        let schema = Arc::new(Schema::decode(micro_sdk::proto::DESCRIPTORS)?);
        let method = schema.method_in("auth", "Auth.Token");
        let pool = method.map(|method| method.parent_pool().clone()).unwrap_or_default();
        let weights = Arc::new(Weights::of(&pool));
        let (waiting, unknown) = (Waiting::new(blocks.clone()), Connection::new(budget, Peer::Unknown));
        Ok(Self(Arc::new(Inner { blocks, schema, weights, browsers, heads, waiting, unknown, state })))
    }

    /// The connection that a request came by; where that is not known, one of an unknown peer, who is not trusted.
    pub(super) fn connection<'a>(&'a self, extensions: &'a http::Extensions) -> &'a Arc<Connection> {
        extensions.get().unwrap_or(&self.0.unknown)
    }

    pub(super) fn blocks(&self) -> &Blocks {
        &self.0.blocks
    }

    pub(super) fn browsers(&self) -> &BrowserPolicy {
        &self.0.browsers
    }

    /// Lets the head of a request in, or not.
    ///
    /// # Errors
    /// 431 for one that is too large, else as [`BrowserPolicy::check`].
    pub(super) fn admit<B>(&self, request: &Request<B>) -> Result<()> {
        self.0.heads.check(request).map_err(|error| error.with_id("micro.server"))?;
        self.0.browsers.check(request)
    }

    /// What tokens can be verified with, as a JSON web key set.
    pub(super) fn public_keys(&self) -> serde_json::Value {
        self.0.blocks.auth.public_keys()
    }

    /// Answers a call at a gRPC door.
    pub(super) async fn serve<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        if let Err(error) = self.admit(&request) {
            // A web page cannot read an answer of gRPC; a client that sends too many headers may be one of gRPC.
            let is_grpc = error.code == 431 && Wire::of(request.headers()).is_ok();
            return if is_grpc { error.into_response() } else { plain(plain::error(&error)) };
        }
        if request.method() == http::Method::GET && request.uri().path() == "/" {
            let peer = self.connection(request.extensions()).peer;
            return plain(if peer == Peer::Owner { self.about() } else { plain::version() });
        }
        let wire = match Wire::of(request.headers()) {
            Ok(wire) => wire,
            Err(error) if error.code == 415 => return plain(plain::error(&error)),
            Err(error) => return error.into_response(),
        };
        self.call(wire, request).await.unwrap_or_else(Error::into_response)
    }

    /// The version, and for the owner of the home the state of the server too.
    fn about(&self) -> Response<String> {
        let about = serde_json::json!({ "version": format!("v{VERSION}"), "state": *self.0.state.borrow() });
        plain::json(about.to_string())
    }

    async fn call<B>(&self, wire: Wire, mut request: Request<B>) -> Result<Response<Body>>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let target = Target::parse(request.uri().path())?;
        // These are for the HTTP API to say, which sets them.
        for name in header::OF_HTTP {
            request.headers_mut().remove(name);
        }
        let connection = self.connection(request.extensions()).clone();
        let head = Head { target, otherwise: None, headers: request.headers(), connection: &connection };
        let route = self.resolve(head, wire == Wire::Json).await.map_err(budget::for_grpc)?;
        let encoded = request.headers().contains_key("grpc-encoding");
        let (terms, meter) = (route.terms(wire, encoded), route.meter.clone());
        let one_message = terms.prompt;
        let request = request.map(|body| Hooked::new(body, Inbound::new(terms, meter.clone())));
        let mut response = if wire == Wire::Json {
            // Apart: what it takes to translate would be carried, and copied, by each call.
            Box::pin(self.call_json(route, request.map(Body::new))).await?
        } else {
            let sent = if route.described { Wire::Protobuf } else { wire };
            let mut response = self.send(route, sent, request).await?;
            if wire != sent {
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(wire.content_type()));
            }
            response
        };
        // What answers has read the only message there is; the answer may be as large.
        if one_message {
            meter.release();
        }
        let hold = meter.another();
        response.extensions_mut().insert(meter);
        Ok(response.map(|body| {
            let body = Outbound::new(body, hold, Some(connection), over_budget);
            // The only answer is there as soon as it has a head.
            Body::new(if one_message { body.begun() } else { body })
        }))
    }

    async fn call_json(&self, route: Route, request: Request<Body>) -> Result<Response<Body>> {
        let Some(method) = route.method.clone() else {
            if route.described {
                let text = format!("unknown service {}", names::shown(&route.target.endpoint));
                return Err(Error::not_implemented(text).with_id(&route.target.service));
            }
            // The service registered no schema: it is trusted to read JSON, as services in Go do.
            return self.send(route, Wire::Json, request).await;
        };
        let id = format!("{}.{}", route.target.service, route.target.endpoint);
        let refusal = transcode::Refusal::new(id);
        let limit = route.limit();
        let request =
            request.map(|body| transcode::request_body(body, method.input(), limit, refusal.clone()));
        match self.send(route, Wire::Protobuf, request).await {
            Ok(response) => Ok(transcode::response(response, method.output(), MESSAGE_LIMIT, refusal)),
            Err(error) => Err(refusal.error().cloned().unwrap_or(error)),
        }
    }

    /// Finds out who calls and where the call goes. With `schema` the schema of the endpoint is
    /// looked up too.
    ///
    /// # Errors
    /// 401 or 403 for a caller that may not, 404 for a service that nobody knows, 503 for one that
    /// does not run and is not there in time.
    pub(super) async fn resolve(&self, head: Head<'_>, schema: bool) -> Result<Route> {
        let Head { mut target, otherwise, headers, connection } = head;
        travel::check(headers)?;
        let epoch = self.0.blocks.auth.epoch();
        let caller = self.authenticate(headers, connection.peer)?;
        let issuer = caller.account.as_ref().map(|account| account.issuer.clone());
        let asked = header::text(headers, header::NAMESPACE).map(str::to_owned);
        let asked = asked.or(issuer).unwrap_or_else(|| PLATFORM.to_owned());
        if let Some(otherwise) = otherwise {
            target = Box::pin(self.known(&caller, &asked, target, otherwise)).await?;
        }
        let block = self.0.blocks.find(&target.service);
        let home = rules_of(block.is_some(), &asked);
        let mut allowed = self.allows(&caller, home, &target);
        // Before anything is looked up for the call.
        if !allowed && !self.may_allow(&caller, home, &target) {
            return Err(self.refuse(&caller, home, &target, &target.endpoint));
        }
        let announced = header::text(headers, CONTENT_LENGTH).and_then(|length| length.parse().ok());
        if connection.purse.is_to_be_identified(announced) {
            // Apart: what it takes to find out would be carried, and copied, by each call.
            Box::pin(connection.purse.identify()).await;
        }
        let head = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let meter = Meter::new(&connection.purse, caller.account.clone(), head)?;
        let mut waited = Duration::ZERO;
        let mut to = if let Some(block) = block {
            To::Block(block.clone(), None)
        } else {
            let version = header::text(headers, header::VERSION);
            let routed = self.0.blocks.registry.catalog.route(&asked, &target.service, version);
            let found = if let Ok(found) = routed {
                found
            } else {
                // Who may not call does not wait, and is not told how a service is doing.
                if !allowed {
                    return Err(self.refuse(&caller, home, &target, &target.endpoint));
                }
                let since = Instant::now();
                let (caller, namespace, service) = (&caller, asked.as_str(), target.service.as_str());
                let patience = header::timeout(headers);
                let lost = Lost { caller, namespace, service, version, patience, refused: None };
                // Apart: what it takes to wait would be carried, and copied, by each call.
                let found = Box::pin(self.0.waiting.find(lost)).await?;
                waited = since.elapsed();
                found
            };
            To::Nodes(found)
        };
        let described = match &to {
            To::Block(..) => true,
            To::Nodes(found) => !found.service.descriptor_hash.is_empty(),
        };
        let catalog = &self.0.blocks.registry.catalog;
        let stream = schema && !described && catalog.is_stream(&asked, &target.service, &target.endpoint);
        let method = match &to {
            To::Block(..) if schema => Ok(self.block_method(&target)),
            To::Nodes(found) if schema && described => {
                let hash = &found.service.descriptor_hash;
                let schema = self.0.blocks.registry.descriptors.schema(hash).await;
                schema.map(|schema| schema.method(&target.endpoint).cloned())
            }
            To::Block(..) | To::Nodes(_) => Ok(None),
        };
        // Rules name a method as it is called, not as the caller spells it. A refusal says it as the caller
        // does, who learns nothing of it.
        let mut spelled = None;
        if let Ok(Some(method)) = &method {
            let endpoint = format!("{}.{}", method.parent_service().name(), method.name());
            if endpoint != target.endpoint {
                spelled = Some(std::mem::replace(&mut target.endpoint, endpoint));
                allowed = self.allows(&caller, home, &target);
            }
        }
        if !allowed {
            return Err(self.refuse(&caller, home, &target, spelled.as_deref().unwrap_or(&target.endpoint)));
        }
        if let To::Block(_, known) = &mut to {
            *known = Method::find(&target.service, &target.endpoint);
            if let Some(Err(error)) = known.map(|method| method.admit(&caller)) {
                let endpoint = format!("{}.{}", target.service, target.endpoint);
                self.0.blocks.auth.note_refusal(&caller, &asked, &endpoint, "the building block");
                return Err(error.with_id(endpoint));
            }
        }
        let namespace = asked;
        Ok(Route { target, method: method?, described, stream, caller, epoch, namespace, waited, to, meter })
    }

    /// Looks at the messages for a building block before they are decoded.
    fn guard(&self, target: &Target, meter: &Arc<Meter>) -> Option<Guard> {
        let number = self.0.weights.number(&self.block_method(target)?.input())?;
        Some(inbound::guard(&self.0.weights, number, target, meter))
    }

    /// The method of a building block: handlers of two blocks may share a name.
    fn block_method(&self, target: &Target) -> Option<MethodDescriptor> {
        self.0.schema.method_in(&target.service, &target.endpoint).cloned()
    }

    /// Sends a request where the route leads.
    ///
    /// # Errors
    /// 503 when no node can be reached, 408 when the deadline passes.
    pub(super) async fn send<B>(
        &self,
        route: Route,
        wire: Wire,
        mut request: Request<B>,
    ) -> Result<Response<Body>>
    where
        B: HttpBody<Data = Bytes, Error = Status> + Send + Unpin + 'static,
    {
        // The rules were asked about this spelling.
        if !route.target.is_at(request.uri().path()) {
            let path = route.target.path();
            *request.uri_mut() =
                path.parse().map_err(|_| Error::bad_request("the path cannot stand in a request"))?;
        }
        let headers = request.headers_mut();
        travel::keep(headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(wire.content_type()));
        // The one that was looked at, if there were several.
        let namespace = HeaderValue::from_str(&route.namespace)
            .map_err(|_| Error::bad_request("the namespace cannot stand in a header"))?;
        headers.insert(header::NAMESPACE, namespace);
        if !route.waited.is_zero() {
            header::elapse(headers, route.waited);
        }
        let Route { caller, epoch, namespace, target, to, meter, .. } = route;
        if let To::Nodes(found) = &to {
            let called = (namespace.as_str(), target.service.as_str());
            introduce(&self.0.blocks.auth, &caller, called, &found.nodes, headers)?;
        }
        let block = matches!(to, To::Block(..));
        let auth = self.0.blocks.auth.clone();
        let guard = if block { self.guard(&target, &meter) } else { None };
        if matches!(to, To::Block(_, Some(method)) if method.follows()) {
            meter.keep(FOLLOWED)?;
        }
        let epoch = epoch.into();
        let service = match &to {
            To::Nodes(found) => Some(found.service.clone()),
            To::Block(..) => None,
        };
        let granted = Granted { auth, caller, epoch, namespace, block, target, service, meter };
        let granted = Arc::new(granted);
        let revocable = |way| Revocable::new(way, granted.clone());
        let mut request = request.map(|body| Body::new(Hooked::new(body, revocable(Way::In))));
        match to {
            To::Block(block, _) => {
                request.extensions_mut().insert(granted.caller.clone());
                if let Some(guard) = guard {
                    request.extensions_mut().insert(guard);
                }
                let response = block.serve(request).await;
                granted.note_if_refused(response.headers());
                Ok(response.map(|body| Body::new(Hooked::new(body, revocable(Way::Out)))))
            }
            To::Nodes(Nodes { nodes, service }) => {
                // It is remembered with the call.
                drop(service);
                let response = match upstream::forward(&self.0.blocks.registry, nodes, request).await {
                    Ok(response) => response,
                    // Apart: what it takes would be carried, and copied, by each call.
                    Err(unsent) => Box::pin(self.not_answered(unsent, &granted)).await?,
                };
                Ok(response.map(|body| {
                    let body = Hooked::new(body, Fate::new(self.0.blocks.clone(), granted.clone()));
                    Body::new(Hooked::new(body, revocable(Way::Out)))
                }))
            }
        }
    }

    /// What becomes of a call that no node has answered.
    ///
    /// # Errors
    /// Why it has no answer, in terms of its service.
    async fn not_answered(&self, unsent: Unsent, granted: &Granted) -> Result<Response<Forwarded>> {
        let answer = match unsent.request {
            Some(request) => self.0.waiting.send_again(granted, unsent.error, *request).await,
            None => Err(unsent.error),
        };
        let Err(error) = answer else { return answer };
        // A request that broke off because of that is told by its reason.
        granted.still()?;
        Err(fate::of(error, self.blocks(), granted).await)
    }
}

/// The end of an answer that the server cannot hold while it is read.
fn over_budget(error: Error) -> http_body::Frame<Bytes> {
    upstream::trailers(budget::used_up(error).with_id("micro.server"))
}

/// An answer in plain HTTP.
fn plain(answer: Response<String>) -> Response<Body> {
    answer.map(|text| Body::new(http_body_util::Full::from(text)))
}

#[cfg(test)]
mod tests {
    use hyper::body::Incoming;

    use super::*;
    use crate::server::future_size;

    /// What a call carries is allocated and copied with each: seldom taken ways are boxed.
    #[test]
    fn a_call_carries_little() {
        type Arguments = (&'static Router, Request<Incoming>);
        let bytes = future_size(|(router, request): Arguments| router.serve(request));
        assert!(bytes <= 5376, "{bytes} bytes");
    }
}
