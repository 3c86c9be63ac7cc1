//! Calls in a closed loop: of `Helloworld.Call` with one message, or of any method with those of a
//! file, one after the other. As gRPC on one connection or as JSON over HTTP/1.1
//! on one connection for each call in flight. One thread sends them all, so that the load costs
//! the same at every door.

use std::{
    cell::Cell,
    fs,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::LocalSet,
};

use crate::quantile;

/// Calls before the measured ones, so that connections and caches are warm.
const WARM_UP: Duration = Duration::from_millis(300);

/// What the address of a Unix socket begins with.
pub(crate) const UNIX: &str = "unix:";

/// What to send, where and for how long.
pub(crate) struct Plan {
    grpc: bool,
    address: String,
    what: What,
    in_flight: usize,
    time: Duration,
    pid: Option<u32>,
    token: Option<String>,
}

/// What is called with what.
enum What {
    /// A greeting for a name of so many bytes, of this service or at this path.
    Greeting { service: String, name_bytes: usize },
    /// A method, by its path, with encoded messages.
    Messages { path: String, messages: Vec<Bytes> },
}

impl Plan {
    /// The plan the arguments describe; nothing when there are too few or too many.
    pub(crate) fn parse(words: &[&str]) -> Result<Option<Self>> {
        let ([protocol @ ("grpc" | "http"), address, service, in_flight, seconds, bytes], pid) = (match words
        {
            [first @ .., pid] if first.len() == 6 => (first, Some(pid.parse()?)),
            _ => (words, None),
        }) else {
            return Ok(None);
        };
        Ok(Some(Self {
            grpc: *protocol == "grpc",
            address: (*address).to_owned(),
            what: What::Greeting { service: (*service).to_owned(), name_bytes: bytes.parse()? },
            in_flight: in_flight.parse()?,
            time: Duration::from_secs_f64(seconds.parse()?),
            pid,
            token: std::env::var("MICRO_LOAD_TOKEN").ok(),
        }))
    }

    /// The plan to send the messages of a file; nothing when there are too few arguments or too many.
    pub(crate) fn parse_messages(words: &[&str]) -> Result<Option<Self>> {
        let ([address, path, in_flight, seconds, file], pid) = (match words {
            [first @ .., pid] if first.len() == 5 => (first, Some(pid.parse()?)),
            _ => (words, None),
        }) else {
            return Ok(None);
        };
        let text = fs::read(file).with_context(|| format!("cannot read {file}"))?;
        let (mut rest, mut messages) = (Bytes::from(text), Vec::new());
        while !rest.is_empty() {
            ensure!(rest.len() >= 4, "{file} is cut off");
            let length = rest.get_u32() as usize;
            ensure!(rest.len() >= length, "{file} is cut off");
            messages.push(rest.split_to(length));
        }
        ensure!(!messages.is_empty(), "{file} has no message");
        Ok(Some(Self {
            grpc: true,
            address: (*address).to_owned(),
            what: What::Messages { path: (*path).to_owned(), messages },
            in_flight: in_flight.parse()?,
            time: Duration::from_secs_f64(seconds.parse()?),
            pid,
            token: std::env::var("MICRO_LOAD_TOKEN").ok(),
        }))
    }

    /// A single call by gRPC.
    pub(crate) fn once(address: &str, service: &str) -> Self {
        Self {
            grpc: true,
            address: address.to_owned(),
            what: What::Greeting { service: service.to_owned(), name_bytes: 4 },
            in_flight: 1,
            time: Duration::ZERO,
            pid: None,
            token: None,
        }
    }

    pub(crate) fn call(&self) -> Result<Call> {
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}"))?);
        }
        if self.grpc {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        } else {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::HOST, HeaderValue::from_str(&self.address)?);
        }
        let (path, bodies, answer_bytes) = match &self.what {
            What::Greeting { service, name_bytes } => {
                let name = "J".repeat(*name_bytes);
                let path = match (service.contains('/'), self.grpc) {
                    (true, _) => service.clone(),
                    (false, true) => format!("{service}.Helloworld/Call"),
                    (false, false) => format!("{service}/Helloworld/Call"),
                };
                let json = || Bytes::from(json!({ "name": name }).to_string());
                let body = if self.grpc { frame(&greeting(&name)) } else { json() };
                (path, vec![body], *name_bytes)
            }
            What::Messages { path, messages } => {
                (path.trim_start_matches('/').to_owned(), messages.iter().map(|m| frame(m)).collect(), 0)
            }
        };
        // A Unix socket has no authority; any will do.
        let authority = if self.address.starts_with(UNIX) { "localhost" } else { &self.address };
        let uri =
            if self.grpc { format!("http://{authority}/{path}") } else { format!("/{path}") }.parse()?;
        Ok(Call { uri, headers, bodies, next: Cell::new(0), answer_bytes })
    }
}

/// A message with one field of text, number 1.
fn greeting(text: &str) -> Bytes {
    let mut message = BytesMut::new();
    message.put_u8(0x0a);
    let mut length = text.len();
    while length >= 0x80 {
        message.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.put_u8(length as u8);
    message.put_slice(text.as_bytes());
    message.freeze()
}

/// A message as gRPC frames it.
fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put(message);
    framed.freeze()
}

/// One request, made anew for each call, with the bodies by turns.
pub(crate) struct Call {
    uri: Uri,
    headers: HeaderMap,
    bodies: Vec<Bytes>,
    next: Cell<usize>,
    answer_bytes: usize,
}

impl Call {
    fn request(&self) -> Request<Full<Bytes>> {
        let next = self.next.replace(self.next.get() + 1) % self.bodies.len();
        let mut request = Request::new(Full::new(self.bodies[next].clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// A connection of either kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(crate) async fn connect(address: &str) -> Result<TokioIo<Box<dyn Stream>>> {
    let cannot = || format!("cannot connect to {address}");
    if let Some(path) = address.strip_prefix(UNIX) {
        return Ok(TokioIo::new(Box::new(UnixStream::connect(path).await.with_context(cannot)?)));
    }
    let stream = TcpStream::connect(address).await.with_context(cannot)?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(Box::new(stream)))
}

pub(crate) enum Line {
    Grpc(http2::SendRequest<Full<Bytes>>),
    Http(http1::SendRequest<Full<Bytes>>),
}

impl Line {
    /// As many lines as there are calls in flight.
    pub(crate) async fn open(plan: &Plan) -> Result<Vec<Self>> {
        if plan.grpc {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), connect(&plan.address).await?).await?;
            tokio::spawn(connection);
            return Ok((0..plan.in_flight).map(|_| Self::Grpc(sender.clone())).collect());
        }
        let mut lines = Vec::new();
        for _ in 0..plan.in_flight {
            let (sender, connection) = http1::handshake(connect(&plan.address).await?).await?;
            tokio::spawn(connection);
            lines.push(Self::Http(sender));
        }
        Ok(lines)
    }

    /// Sends one call and waits for its whole answer, which has to be as long as the greeting.
    pub(crate) async fn call(&mut self, call: &Call) -> Result<Bytes> {
        let response = match self {
            Self::Grpc(sender) => sender.send_request(call.request()).await?,
            Self::Http(sender) => {
                sender.ready().await?;
                sender.send_request(call.request()).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let is_grpc = matches!(self, Self::Grpc(_));
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        let good = !is_grpc || status.is_some_and(|status| status == "0");
        let trailers = body.trailers().cloned();
        let bytes = body.to_bytes();
        ensure!(
            head.status == 200 && good && bytes.len() >= call.answer_bytes,
            "the call failed: {} {:?} {trailers:?} {}",
            head.status,
            head.headers.get("grpc-message"),
            String::from_utf8_lossy(&bytes),
        );
        Ok(bytes)
    }
}

/// Calls on every line until the time is over: the time each took, in microseconds.
async fn round(lines: Vec<Line>, call: &Rc<Call>, time: Duration) -> Result<(Vec<Line>, Vec<f64>)> {
    let end = Instant::now() + time;
    let tasks: Vec<_> = lines
        .into_iter()
        .map(|mut line| {
            let call = call.clone();
            tokio::task::spawn_local(async move {
                let mut times = Vec::new();
                let mut now = Instant::now();
                while now < end {
                    line.call(&call).await?;
                    let after = Instant::now();
                    times.push((after - now).as_secs_f64() * 1e6);
                    now = after;
                }
                anyhow::Ok((line, times))
            })
        })
        .collect();
    let (mut lines, mut all) = (Vec::new(), Vec::new());
    for task in tasks {
        let (line, times) = task.await??;
        lines.push(line);
        all.extend(times);
    }
    Ok((lines, all))
}

/// User and system time a process has used, in clock ticks (proc(5)).
pub(crate) fn ticks(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let fields: Vec<&str> =
        text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    ensure!(fields.len() > 12, "{path} is not as proc(5) says");
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

pub(crate) fn run(plan: &Plan) -> Result<Value> {
    let call = Rc::new(plan.call()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let lines = Line::open(plan).await?;
        let (lines, _) = round(lines, &call, WARM_UP).await?;
        let before = plan.pid.map(ticks).transpose()?;
        let begun = Instant::now();
        let (_, mut times) = round(lines, &call, plan.time).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let used = plan.pid.map(ticks).transpose()?.zip(before).map(|(after, before)| after - before);
        times.sort_by(f64::total_cmp);
        Ok(json!({
            "requests": times.len(),
            "seconds": seconds,
            "p50_us": quantile(&times, 0.5),
            "p99_us": quantile(&times, 0.99),
            "ticks": used,
        }))
    })
}
