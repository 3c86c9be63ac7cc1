//! gRPC bodies with JSON messages on the client's side and protobuf on the service's side, unary and
//! streams alike: each message is passed on as soon as it is whole, trailers stay as they are.
//!
//! A request that cannot be read must fail with its own error, and the service at the other end knows
//! nothing of it: its stream breaks off, and it answers `CANCELLED` or nothing. Hence [`Refusal`], shared
//! by both bodies of a call, which puts the reason in place of that answer.

use super::{
    Invalid, encode,
    frames::{Frames, HEAD},
    from_json, weight,
    write::{self, Unwritable},
};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use micro_sdk::{Error, JSON_LIMIT, MESSAGE_LIMIT, handler::apart};
use prost_reflect::MessageDescriptor;
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};
use tonic::{Code, Status, body::Body};

const GRPC_JSON: HeaderValue = HeaderValue::from_static("application/grpc+json");
const GRPC_STATUS: &str = "grpc-status";
/// How many bytes of messages that are there already are passed on at once.
const ENOUGH: usize = 32 << 10;

/// Why the request of a call was refused, once it was. Clones share one answer.
#[derive(Clone)]
pub(crate) struct Refusal(Arc<Refused>);

struct Refused {
    id: String,
    error: OnceLock<Error>,
}

impl Refusal {
    /// No refusal yet; errors will say that they come from `id`, the service or endpoint.
    pub(crate) fn new(id: impl Into<String>) -> Self {
        Self(Arc::new(Refused { id: id.into(), error: OnceLock::new() }))
    }

    /// The reason, once the request was refused. It goes before whatever else the call came to.
    pub(crate) fn error(&self) -> Option<&Error> {
        self.0.error.get()
    }

    fn named(&self, error: Error) -> Error {
        error.with_id(self.0.id.as_str())
    }

    fn refuse(&self, error: Error) -> Status {
        self.0.error.get_or_init(|| self.named(error)).clone().into()
    }
}

/// The body for the service: JSON messages of up to `limit` bytes become protobuf of type `input`. A bad
/// message ends the body with an error, and its reason is in `refusal`.
pub(crate) fn request_body(body: Body, input: MessageDescriptor, limit: usize, refusal: Refusal) -> Body {
    Body::new(Recoded::new(body, Direction::Request, input, limit, refusal))
}

/// The body for the client: protobuf messages of type `output`, each of up to `limit` bytes, become JSON of
/// up to [`GROWTH`] times as many. Failures, a refused request among them, end in trailers.
pub(crate) fn response_body(body: Body, output: MessageDescriptor, limit: usize, refusal: Refusal) -> Body {
    Body::new(Recoded::new(body, Direction::Response, output, limit, refusal))
}

/// The whole response for the client: the body as [`response_body`], the content type, and a refused
/// request also where the service answered with headers alone.
pub(crate) fn response(
    response: http::Response<Body>,
    output: MessageDescriptor,
    limit: usize,
    refusal: Refusal,
) -> http::Response<Body> {
    let (mut head, body) = response.into_parts();
    let body = if head.headers.contains_key(GRPC_STATUS) {
        if let Some(error) = refusal.error() {
            head.headers = trailers(&error.clone().into());
        }
        Body::empty()
    } else {
        response_body(body, output, limit, refusal)
    };
    head.headers.insert(header::CONTENT_TYPE, GRPC_JSON);
    head.headers.remove(header::CONTENT_LENGTH);
    http::Response::from_parts(head, body)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Response,
}

/// How messages are turned into the other form.
#[derive(Clone)]
struct Recoder {
    direction: Direction,
    descriptor: MessageDescriptor,
    limit: usize,
}

/// How many times as long JSON may be: base64 and the names of fields make it longer.
const GROWTH: usize = JSON_LIMIT / MESSAGE_LIMIT;

/// A message that is being recoded apart from other calls.
type Apart = Pin<Box<dyn Future<Output = Result<Bytes, Error>> + Send>>;

impl Recoder {
    fn recode(&self, message: &[u8]) -> Result<Bytes, Error> {
        match self.direction {
            Direction::Request => self.frame_of_protobuf(message),
            Direction::Response => self.frame_of_json(message),
        }
    }

    fn frame_of_protobuf(&self, json: &[u8]) -> Result<Bytes, Error> {
        weight::check_json(json)?;
        let message = from_json(&self.descriptor, json).map_err(|Invalid(what)| Error::bad_request(what))?;
        let message = encode::message(&message);
        let mut frame = BytesMut::with_capacity(HEAD + message.len());
        frame.put_u8(0);
        frame.put_u32(self.length(message.len())?);
        frame.put_slice(&message);
        Ok(frame.freeze())
    }

    fn frame_of_json(&self, protobuf: &[u8]) -> Result<Bytes, Error> {
        let mut frame = vec![0; HEAD];
        write::message(&self.descriptor, protobuf, &mut frame, self.written()).map_err(|failure| {
            let detail = format!("the response is {failure}");
            match failure {
                Unwritable::TooLarge(_) => Error::too_large(detail),
                Unwritable::Malformed(..) => Error::internal(detail),
            }
        })?;
        let length = self.length(frame.len() - HEAD)?;
        frame[1..HEAD].copy_from_slice(&length.to_be_bytes());
        Ok(frame.into())
    }

    /// Bytes that a message may have when it is recoded.
    fn written(&self) -> usize {
        match self.direction {
            Direction::Request => self.limit,
            Direction::Response => self.limit.saturating_mul(GROWTH),
        }
    }

    fn length(&self, length: usize) -> Result<u32, Error> {
        u32::try_from(length).ok().filter(|_| length <= self.written()).ok_or_else(|| {
            Error::too_large(format!("message of {length} bytes, the limit is {} bytes", self.written()))
        })
    }
}

struct Recoded {
    inner: Body,
    recoder: Recoder,
    frames: Frames,
    apart: Option<Apart>,
    refusal: Refusal,
    /// Ends the body once what came before it is passed on.
    failed: Option<Error>,
    done: bool,
}

type Item = Result<Frame<Bytes>, Status>;

impl Recoded {
    fn new(
        inner: Body,
        direction: Direction,
        descriptor: MessageDescriptor,
        limit: usize,
        refusal: Refusal,
    ) -> Self {
        Self {
            inner,
            recoder: Recoder { direction, descriptor, limit },
            frames: Frames::new(limit),
            apart: None,
            refusal,
            failed: None,
            done: false,
        }
    }

    /// The messages that are whole, recoded, in one piece: receivers take many small frames for an
    /// attack and close the connection.
    fn whole(&mut self) -> Option<Result<Bytes, Error>> {
        let mut whole: Option<BytesMut> = None;
        while whole.as_ref().is_none_or(|whole| whole.len() < ENOUGH) {
            let recoded = match self.frames.next() {
                Ok(Some(message)) if message.len() > ENOUGH => {
                    let recoder = self.recoder.clone();
                    self.apart = Some(Box::pin(apart(message.len(), move || recoder.recode(&message))));
                    break;
                }
                Ok(Some(message)) => self.recoder.recode(&message),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            match (recoded, &mut whole) {
                (Ok(frame), None) => whole = Some(frame.into()),
                (Ok(frame), Some(whole)) => whole.extend_from_slice(&frame),
                (Err(error), None) => return Some(Err(error)),
                (Err(error), Some(_)) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        whole.map(|whole| Ok(whole.freeze()))
    }

    /// Ends the body for a reason of our own.
    fn fail(&mut self, error: Error) -> Item {
        let status = match self.recoder.direction {
            Direction::Request => self.refusal.refuse(error),
            Direction::Response => self.refusal.named(error).into(),
        };
        self.stop(status)
    }

    /// Ends the body with a status, and lets go of where it came from.
    fn stop(&mut self, status: Status) -> Item {
        self.done = true;
        self.inner = Body::empty();
        match self.recoder.direction {
            Direction::Request => Err(status),
            Direction::Response => {
                let refused = self.refusal.error().map(|error| Status::from(error.clone()));
                Ok(Frame::trailers(trailers(&refused.unwrap_or(status))))
            }
        }
    }

    /// The body is at its end, with these trailers if any.
    fn end(&mut self, received: Option<HeaderMap>) -> Option<Item> {
        let failed = received.as_ref().and_then(Status::from_header_map).filter(|s| s.code() != Code::Ok);
        if self.recoder.direction == Direction::Response
            && let Some(error) = self.refusal.error()
        {
            let status = error.clone().into();
            return Some(self.stop(status));
        }
        if self.frames.is_partial() && failed.is_none() {
            let detail = "the body ends inside a message";
            return Some(self.fail(match self.recoder.direction {
                Direction::Request => Error::bad_request(detail),
                Direction::Response => Error::internal(detail),
            }));
        }
        self.done = true;
        received.map(|trailers| Ok(Frame::trailers(trailers)))
    }
}

impl http_body::Body for Recoded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let this = &mut *self;
        loop {
            if this.done {
                return Poll::Ready(None);
            }
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Some(this.fail(error)));
            }
            if let Some(apart) = &mut this.apart {
                let recoded = ready!(apart.as_mut().poll(cx));
                this.apart = None;
                return Poll::Ready(Some(match recoded {
                    Ok(frame) => Ok(Frame::data(frame)),
                    Err(error) => this.fail(error),
                }));
            }
            match this.whole() {
                Some(Ok(frame)) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
                Some(Err(error)) => return Poll::Ready(Some(this.fail(error))),
                None if this.apart.is_some() => continue,
                None => {}
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                None => return Poll::Ready(this.end(None)),
                Some(Err(status)) => return Poll::Ready(Some(this.stop(status))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => this.frames.push(chunk),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            return Poll::Ready(this.end(Some(trailers)));
                        }
                    }
                },
            }
        }
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(GRPC_STATUS, HeaderValue::from(Code::Internal as i32));
    }
    trailers
}
