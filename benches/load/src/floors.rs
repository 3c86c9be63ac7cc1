//! What a call costs with nothing between: the libraries of the server, without the server. A `gateway`
//! turns JSON over HTTP/1.1 into a gRPC call of `Helloworld.Call` with types known beforehand; a `forwarder`
//! passes gRPC calls on unopened. Each serves a free port of 127.0.0.1, which it prints, until it is killed.

use std::{
    io::{self, Write as _},
    net::Ipv4Addr,
};

use anyhow::{Context as _, Result};
use axum::{Json, Router, extract::State, http::StatusCode, routing::post, serve::ListenerExt as _};
use bytes::Bytes;
use http::{Request, uri::PathAndQuery};
use hyper::{body::Incoming, client::conn::http2::SendRequest, server, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

use crate::calls::{UNIX, connect};

/// The request of `Helloworld.Call`.
#[derive(Clone, PartialEq, Deserialize, prost::Message)]
pub(crate) struct Asked {
    #[serde(default)]
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// Its response.
#[derive(Clone, PartialEq, Serialize, prost::Message)]
pub(crate) struct Said {
    #[prost(string, tag = "1")]
    pub(crate) msg: String,
}

/// Serves as a gateway to `Helloworld.Call` of a service at this address.
pub(crate) fn gateway(upstream: &str) -> Result<()> {
    serve(async {
        let uri = match upstream.strip_prefix(UNIX) {
            Some(path) => format!("{UNIX}//{path}"),
            None => format!("http://{upstream}"),
        };
        let channel = Endpoint::from_shared(uri)?.tcp_nodelay(true).connect().await?;
        let client = tonic::client::Grpc::new(channel);
        let listener = listen().await?.tap_io(|stream| drop(stream.set_nodelay(true)));
        let gateway = Router::new().route("/helloworld/Helloworld/Call", post(call)).with_state(client);
        Ok(axum::serve(listener, gateway).await?)
    })
}

async fn call(
    State(mut client): State<tonic::client::Grpc<Channel>>,
    Json(asked): Json<Asked>,
) -> Result<Json<Said>, StatusCode> {
    client.ready().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let (path, codec) =
        (PathAndQuery::from_static("/helloworld.Helloworld/Call"), tonic_prost::ProstCodec::default());
    let said = client.unary(tonic::Request::new(asked), path, codec).await;
    said.map(|said: tonic::Response<Said>| Json(said.into_inner())).map_err(|_| StatusCode::BAD_GATEWAY)
}

/// Passes on whatever is called at a service at this address.
pub(crate) fn forwarder(upstream: &str) -> Result<()> {
    serve(async {
        let stream = connect(upstream).await?;
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        let listener = listen().await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let sender = sender.clone();
            let service = service_fn(move |request| forward(sender.clone(), request));
            let server = server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    })
}

async fn forward(
    mut sender: SendRequest<Incoming>,
    request: Request<Incoming>,
) -> hyper::Result<http::Response<impl http_body::Body<Data = Bytes, Error = hyper::Error>>> {
    sender.send_request(request).await
}

async fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let about = json!({ "address": listener.local_addr()?.to_string(), "pid": std::process::id() });
    writeln!(io::stdout(), "{about}")?;
    io::stdout().flush()?;
    Ok(listener)
}

/// Runs what serves, on a thread for each core.
pub(crate) fn serve(serving: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serving)
        .context("cannot serve")
}
