//! From the answer of a call to an HTTP response: JSON, a JSON document a line, or an error with
//! its status.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use micro_sdk::{Error, JSON_LIMIT, MESSAGE_LIMIT, Result, handler::apart};
use prost_reflect::MessageDescriptor;
use tonic::Status;

use crate::{
    server::{
        budget::{Hold, SMALL},
        connection::Connection,
        inbound::Meter,
        outbound::Outbound,
        plain::{self, JSON},
    },
    transcode::{self, Frames},
};

/// An error as JSON, with its code as the status.
pub(super) fn error(error: &Error) -> Response {
    plain::error(error).map(Body::from)
}

/// Who reads an answer: what is on its way to them is counted, and given up when they take nothing.
pub(super) struct Reader {
    hold: Hold,
    connection: Arc<Connection>,
}

impl Reader {
    pub(super) fn new(meter: &Meter, connection: &Arc<Connection>) -> Self {
        Self { hold: meter.another(), connection: connection.clone() }
    }

    /// A whole answer.
    ///
    /// # Errors
    /// 503 when the server holds as much as it may.
    fn whole(mut self, body: Bytes, content_type: HeaderValue) -> Result<Response> {
        let body = if body.len() <= SMALL {
            Body::from(body)
        } else {
            self.hold.grow(body.len())?;
            Body::new(Outbound::<Empty<Bytes>>::whole(body, self.hold, self.connection))
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        Ok(response)
    }
}

/// The messages of a gRPC response, then its error if it has one.
struct Messages {
    body: tonic::body::Body,
    frames: Frames,
    /// For what has come and was not given out.
    hold: Hold,
    ended: bool,
}

impl Messages {
    /// # Errors
    /// The error of a response that has nothing else.
    fn of(response: http::Response<tonic::body::Body>, reader: &Reader) -> Result<Self> {
        let (head, body) = response.into_parts();
        failure(&head.headers)?;
        Ok(Self { body, frames: Frames::new(MESSAGE_LIMIT), hold: reader.hold.another(), ended: false })
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.frame().await {
                None => self.ended = true,
                Some(Err(status)) => return Err(status.into()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.hold.grow(data.len())?;
                        self.frames.push(data);
                    }
                    Err(frame) => {
                        self.ended = true;
                        failure(&frame.into_trailers().unwrap_or_default())?;
                    }
                },
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<Bytes>> {
        let message = self.frames.next().map_err(|error| match error.code {
            413 => Error::too_large(format!(
                "the service answered with a {}: it has to be sent in parts as a stream, or kept as a blob",
                error.detail
            )),
            _ => Error::internal("the service answered with a message that cannot be read"),
        })?;
        if message.is_some() && !self.frames.is_partial() {
            self.hold.release();
        }
        Ok(message)
    }
}

/// The error that trailers, or the head of a response, tell of.
fn failure(headers: &HeaderMap) -> Result<()> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != tonic::Code::Ok => {
            let error = Error::from(status);
            // The words of every framework for a method that is not there.
            let missing = error.code == 501 && error.detail.starts_with("unknown service ");
            Err(if missing { Error::not_found(error.detail).with_id(error.id) } else { error })
        }
        _ => Ok(()),
    }
}

async fn to_json(message: Bytes, output: Option<MessageDescriptor>) -> Result<Bytes> {
    let Some(output) = output else { return Ok(message) };
    apart(message.len(), move || {
        transcode::to_json(&output, &message, JSON_LIMIT).map_err(|invalid| {
            Error::internal(format!("the answer of the service cannot be JSON: {invalid}"))
        })
    })
    .await
}

async fn single(response: http::Response<tonic::body::Body>, reader: &Reader) -> Result<Bytes> {
    let mut messages = Messages::of(response, reader)?;
    let message = messages.next().await?;
    // What follows can only be the status: a part of the answer is not passed off as all of it.
    if messages.next().await?.is_some() {
        return Err(Error::more_than_one());
    }
    message.ok_or_else(|| Error::internal("the service ended the call without an answer"))
}

/// A single answer.
///
/// # Errors
/// What the service failed with.
pub(super) async fn json(
    response: http::Response<tonic::body::Body>,
    output: Option<MessageDescriptor>,
    reader: Reader,
) -> Result<Response> {
    let body = to_json(single(response, &reader).await?, output).await?;
    reader.whole(body, JSON)
}

/// A single answer, as the bytes of its message.
///
/// # Errors
/// What the service failed with.
pub(super) async fn protobuf(
    response: http::Response<tonic::body::Body>,
    reader: Reader,
) -> Result<Response> {
    let body = single(response, &reader).await?;
    reader.whole(body, HeaderValue::from_static("application/protobuf"))
}

/// A stream of answers, one JSON document a line. An error before the first is the response; a
/// later one is the last line.
pub(super) async fn lines(
    response: http::Response<tonic::body::Body>,
    output: Option<MessageDescriptor>,
    reader: Reader,
) -> Response {
    let first = match Messages::of(response, &reader) {
        Ok(mut messages) => messages.next().await.map(|first| (first, messages)),
        Err(error) => Err(error),
    };
    let (first, messages) = match first {
        Ok(first) => first,
        Err(failed) => return error(&failed.with_id("micro.api")),
    };
    let start = (first, Some(messages));
    let body = stream::unfold(start, move |(ready, messages)| {
        let output = output.clone();
        async move {
            let mut messages = messages?;
            let next = match ready {
                Some(message) => Ok(Some(message)),
                None => messages.next().await,
            };
            let line = match next {
                Ok(Some(message)) => to_json(message, output).await.map(Some),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            match line {
                Ok(Some(line)) => {
                    Some((Ok::<_, std::convert::Infallible>(ended(&line)), (None, Some(messages))))
                }
                Ok(None) => None,
                Err(error) => Some((Ok(ended(error.to_json().as_bytes())), (None, None))),
            }
        }
    });
    let Reader { hold, connection } = reader;
    let refuse = |error: Error| Frame::data(ended(error.with_id("micro.api").to_json().as_bytes()));
    let body = Outbound::new(Body::from_stream(body), hold, Some(connection), refuse);
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}

fn ended(line: &[u8]) -> Bytes {
    [line, b"\n"].concat().into()
}
