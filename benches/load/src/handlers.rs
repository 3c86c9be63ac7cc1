//! A handler of `Helloworld.Call` by the SDK, and the same without it: by tonic alone, and by hyper alone.
//! Each listens on a Unix socket, as services do, and prints where, until it is killed.

use std::{
    convert::Infallible,
    env, fs,
    future::{Ready, pending, ready},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Collected, StreamBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use micro_sdk::{
    CONNECTION_WINDOW, STREAM_WINDOW, Service,
    handler::{Call, Handler, Reply},
};
use prost::Message as _;
use serde_json::json;
use tokio::net::UnixListener;
use tokio_stream::iter;
use tonic::{Status, server::UnaryService};

use crate::{
    calls::UNIX,
    floors::{Asked, Said, serve},
};

fn said(asked: &Asked) -> Said {
    Said { msg: format!("Hello {}", asked.name) }
}

/// Serves by one of `sdk`, `spans` (the SDK, with somebody who looks at spans), `tonic` and `hyper`.
pub(crate) fn run(kind: &str) -> Result<()> {
    let socket = env::temp_dir().join(format!("micro-load-{}.socket", std::process::id()));
    // One of a process of that number, before.
    drop(fs::remove_file(&socket));
    match kind {
        "sdk" => by_sdk(socket),
        "spans" => {
            tracing::subscriber::set_global_default(tracing_subscriber::registry())?;
            by_sdk(socket)
        }
        "tonic" => bare(socket, tonic),
        "hyper" => bare(socket, hyper),
        other => bail!("there is no handler by `{other}`"),
    }
}

fn announce(socket: &Path) -> Result<()> {
    let about = json!({ "address": format!("{UNIX}{}", socket.display()), "pid": std::process::id() });
    writeln!(io::stdout(), "{about}")?;
    Ok(io::stdout().flush()?)
}

struct Helloworld;

impl Handler for Helloworld {
    fn name(&self) -> &'static str {
        "Helloworld"
    }

    fn descriptor(&self) -> &'static [u8] {
        &[]
    }

    fn handle(&self, method: &str, call: Call) -> Option<Reply> {
        (method == "Call").then(|| call.unary(|_, asked| async move { Ok(said(&asked)) }))
    }
}

fn by_sdk(socket: PathBuf) -> Result<()> {
    serve(async move {
        let service = Service::new("helloworld").address(format!("{UNIX}{}", socket.display()));
        let running = tokio::spawn(service.handle(Helloworld).run_until(pending()));
        while !socket.exists() {
            if running.is_finished() {
                running.await??;
                bail!("the service has ended");
            }
            tokio::task::yield_now().await;
        }
        announce(&socket)?;
        Ok(running.await??)
    })
}

/// Serves each call by a function, with the settings that services of the SDK have.
fn bare<F, R, B>(socket: PathBuf, answer: F) -> Result<()>
where
    F: Fn(Request<Incoming>) -> R + Copy + Send + 'static,
    R: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    serve(async move {
        let listener = UnixListener::bind(&socket)?;
        announce(&socket)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let mut server = http2::Builder::new(TokioExecutor::new());
            server
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW);
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    })
}

struct Answers;

impl UnaryService<Asked> for Answers {
    type Response = Said;
    type Future = Ready<Result<tonic::Response<Said>, Status>>;

    fn call(&mut self, request: tonic::Request<Asked>) -> Self::Future {
        ready(Ok(tonic::Response::new(said(&request.into_inner()))))
    }
}

async fn tonic(request: Request<Incoming>) -> Response<tonic::body::Body> {
    tonic::server::Grpc::new(tonic_prost::ProstCodec::default()).unary(Answers, request).await
}

async fn hyper(
    request: Request<Incoming>,
) -> Response<StreamBody<impl tokio_stream::Stream<Item = Result<Frame<Bytes>, Infallible>>>> {
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let asked = Asked::decode(body.get(5..).unwrap_or_default()).unwrap_or_default();
    let said = said(&asked);
    let message = said.encode_to_vec();
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or_default());
    frame.extend_from_slice(&message);
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let frames = [Ok(Frame::data(frame.freeze())), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(iter(frames)));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}
