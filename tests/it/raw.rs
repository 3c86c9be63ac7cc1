//! A client that writes HTTP/2 and the frames of gRPC by hand, for what finished clients cannot
//! send: JSON in frames, headers that are wrong, a request whose body stays open.

use std::{convert::Infallible, path::Path, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::support::PATIENCE;

/// What a call is sent with: a header and its value.
pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

type Body = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;

/// One HTTP/2 connection.
pub(crate) struct Raw {
    sender: http2::SendRequest<Body>,
    address: String,
}

/// A call under way.
pub(crate) struct Call {
    requests: Option<mpsc::Sender<Result<Frame<Bytes>, Infallible>>>,
    /// The head of the response.
    pub(crate) head: http::response::Parts,
    body: Incoming,
    buffer: BytesMut,
    trailers: HeaderMap,
}

/// A call that has ended.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The head of the response.
    pub(crate) head: http::response::Parts,
    pub(crate) messages: Vec<Bytes>,
    /// `grpc-status`.
    pub(crate) status: i32,
    /// `grpc-message` as it stands on the wire.
    pub(crate) message: String,
    /// `grpc-message` as the error it holds.
    pub(crate) error: Value,
}

impl Raw {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, address).await
    }

    /// A connection to a local socket.
    pub(crate) async fn local(socket: &Path) -> Self {
        Self::over(UnixStream::connect(socket).await.unwrap(), "localhost").await
    }

    /// A connection by which no byte of an answer may come until that is asked for.
    pub(crate) async fn closed_window(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        address: &str,
    ) -> Self {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(0);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        drop(tokio::spawn(connection));
        Self { sender, address: address.to_owned() }
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, address: &str) -> Self {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        // It ends when the sender is dropped.
        drop(tokio::spawn(connection));
        Self { sender, address: address.to_owned() }
    }

    /// Sends the head of a call and the first bytes of its body, which stays open.
    pub(crate) async fn start(&self, path: &str, form: &str, headers: Headers<'_>, body: Bytes) -> Call {
        let (requests, queue) = mpsc::channel(16);
        requests.send(Ok(Frame::data(body))).await.unwrap();
        self.send(path, form, headers, StreamBody::new(ReceiverStream::new(queue)), Some(requests)).await
    }

    /// Sends a call with this body, whole.
    pub(crate) async fn whole(&self, path: &str, form: &str, headers: Headers<'_>, body: Bytes) -> Call {
        let (requests, queue) = mpsc::channel(16);
        requests.send(Ok(Frame::data(body))).await.unwrap();
        drop(requests);
        self.send(path, form, headers, StreamBody::new(ReceiverStream::new(queue)), None).await
    }

    /// Makes a call with this body to its end.
    pub(crate) async fn body(&self, path: &str, form: &str, headers: Headers<'_>, body: Bytes) -> Reply {
        self.whole(path, form, headers, body).await.end().await
    }

    /// Makes a call with one message.
    pub(crate) async fn unary(&self, path: &str, form: &str, headers: Headers<'_>, message: &str) -> Reply {
        self.body(path, form, headers, frame(message.as_bytes())).await
    }

    /// Makes a call with one message in JSON.
    pub(crate) async fn json(&self, path: &str, message: &str) -> Reply {
        self.unary(path, "application/grpc+json", &[], message).await
    }

    async fn send(
        &self,
        path: &str,
        form: &str,
        headers: Headers<'_>,
        body: Body,
        requests: Option<mpsc::Sender<Result<Frame<Bytes>, Infallible>>>,
    ) -> Call {
        let mut request = Request::post(format!("http://{}{path}", self.address))
            .header("content-type", form)
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = self.sender.clone().send_request(request.body(body).unwrap());
        let response: Response<Incoming> =
            timeout(PATIENCE, sent).await.expect("a head of the response comes").unwrap();
        let (head, body) = response.into_parts();
        Call { requests, head, body, buffer: BytesMut::new(), trailers: HeaderMap::new() }
    }
}

impl Call {
    /// Sends another message.
    pub(crate) async fn write(&self, message: &str) {
        let requests = self.requests.as_ref().expect("the request is open");
        requests.send(Ok(Frame::data(frame(message.as_bytes())))).await.unwrap();
    }

    /// Ends the request.
    pub(crate) fn close(&mut self) {
        self.requests = None;
    }

    /// The next message, or none when the response has ended.
    pub(crate) async fn message(&mut self) -> Option<Bytes> {
        loop {
            if let Some(head) = self.buffer.get(..5) {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.buffer.len() >= 5 + length {
                    assert_eq!(head[0], 0, "a message is compressed though nobody asked for it");
                    self.buffer.advance(5);
                    return Some(self.buffer.split_to(length).freeze());
                }
            }
            let next = timeout(PATIENCE, self.body.frame()).await.expect("the response goes on or ends");
            match next?.expect("the response is whole").into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => self.trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
    }

    /// The next message as JSON.
    pub(crate) async fn value(&mut self) -> Value {
        serde_json::from_slice(&self.message().await.expect("a message comes")).unwrap()
    }

    /// Reads what is left, and the status.
    pub(crate) async fn end(mut self) -> Reply {
        let mut messages = Vec::new();
        while let Some(message) = self.message().await {
            messages.push(message);
        }
        let field = |name: &str| {
            let value = self.trailers.get(name).or_else(|| self.head.headers.get(name));
            value.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let message = field("grpc-message");
        let error = serde_json::from_str(&decoded(&message)).unwrap_or_default();
        let status = field("grpc-status").parse().unwrap_or(-1);
        Reply { head: self.head, messages, status, message, error }
    }
}

impl Reply {
    /// The only message, as JSON.
    pub(crate) fn value(&self) -> Value {
        assert_eq!(self.status, 0, "{self:?}");
        assert_eq!(self.messages.len(), 1, "{self:?}");
        serde_json::from_slice(&self.messages[0]).unwrap()
    }

    /// `grpc-status`, and `code` and `detail` of the error.
    pub(crate) fn failure(&self) -> (i32, i64, &str) {
        let code = self.error["code"].as_i64().unwrap_or_default();
        (self.status, code, self.error["detail"].as_str().unwrap_or_default())
    }

    /// A header of the response.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A message behind its length.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), message].concat().into()
}

/// Percent-encoding undone.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = escape.and_then(|two| u8::from_str_radix(two, 16).ok());
        if let (b'%', Some(byte)) = (first, byte) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Waits for a future, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    const LIMIT: Duration = PATIENCE;
    timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("waited {LIMIT:?} for {what}"))
}
