//! Streams of requests that break off: who reads one to its end has all of it, or knows better.

use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use micro_sdk::{
    Client, Context, Error, Receiver, Result, Router, Sender,
    blocks::store::{BlobStore, BlobStoreClient, BlobStoreServer},
    proto::store::{
        BlobDeleteRequest, BlobDeleteResponse, BlobListRequest, BlobListResponse, BlobReadRequest,
        BlobReadResponse, BlobWriteRequest, BlobWriteResponse,
    },
    testing::serve,
};
use prost::Message as _;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Tells how each stream of requests went on and ended, also when its call is gone.
struct Watched(mpsc::UnboundedSender<Seen>);

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Piece(usize),
    End,
    Failure(i32),
}

impl BlobStore for Watched {
    async fn read(&self, _: Context, _: BlobReadRequest, _: Sender<BlobReadResponse>) -> Result<()> {
        Err(Error::not_implemented("not here"))
    }

    async fn write(&self, _: Context, mut requests: Receiver<BlobWriteRequest>) -> Result<BlobWriteResponse> {
        let seen = self.0.clone();
        let tell = move |what| seen.send(what).expect("the test waits");
        let reading = tokio::spawn(async move {
            loop {
                match requests.next().await {
                    Ok(Some(request)) if request.key == "enough" => break,
                    Ok(Some(request)) => tell(Seen::Piece(request.blob.len())),
                    Ok(None) => break tell(Seen::End),
                    Err(error) => break tell(Seen::Failure(error.code)),
                }
            }
        });
        reading.await.map_err(|e| Error::internal(e.to_string()))?;
        Err(Error::conflict("read"))
    }

    async fn delete(&self, _: Context, _: BlobDeleteRequest) -> Result<BlobDeleteResponse> {
        Err(Error::not_implemented("not here"))
    }

    async fn list(&self, _: Context, _: BlobListRequest) -> Result<BlobListResponse> {
        Err(Error::not_implemented("not here"))
    }
}

fn client() -> (BlobStoreClient, mpsc::UnboundedReceiver<Seen>) {
    let (client, seen) = plain_client();
    (BlobStoreClient::new(client), seen)
}

fn plain_client() -> (Client, mpsc::UnboundedReceiver<Seen>) {
    let (sender, seen) = mpsc::unbounded_channel();
    (serve(BlobStoreServer::new(Watched(sender))), seen)
}

async fn next(seen: &mut mpsc::UnboundedReceiver<Seen>) -> Seen {
    timeout(PATIENCE, seen.recv()).await.expect("the stream goes on").expect("the handler is there")
}

fn piece(size: usize) -> BlobWriteRequest {
    BlobWriteRequest { blob: vec![1; size], ..BlobWriteRequest::default() }
}

#[tokio::test]
async fn an_upload_that_is_finished_ends() {
    let (client, mut seen) = client();
    let mut upload = client.write();
    for size in 1..100 {
        upload.send(piece(size)).await.unwrap();
    }
    assert_eq!(upload.finish().await.unwrap_err().detail, "read");
    for size in 1..100 {
        assert_eq!(next(&mut seen).await, Seen::Piece(size));
    }
    assert_eq!(next(&mut seen).await, Seen::End);
}

#[tokio::test]
async fn an_upload_that_is_dropped_fails() {
    let (client, mut seen) = client();
    for _ in 0..20 {
        let mut upload = client.write();
        while seen.is_empty() {
            upload.send(piece(1)).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(upload);
        let end = loop {
            match next(&mut seen).await {
                Seen::Piece(_) => {}
                end => break end,
            }
        };
        assert!(matches!(end, Seen::Failure(_)), "{end:?}");
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_is_not_taken_for_the_end_of_its_requests() {
    let (client, mut seen) = plain_client();
    let (sender, requests) = mpsc::channel(1);
    let requests = ReceiverStream::new(requests);
    let call = tokio::spawn(async move { client.stream_bytes("BlobStore.Write", requests).await.map(drop) });
    sender.send(piece(3).encode_to_vec().into()).await.unwrap();
    assert_eq!(next(&mut seen).await, Seen::Piece(3));
    call.abort();
    assert!(matches!(next(&mut seen).await, Seen::Failure(_)));
    drop(sender);
}

/// Whatever is seen first, the end of the call or the break in its requests.
#[tokio::test]
async fn requests_that_break_off_are_an_error_at_both_ends() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let router = Router::new("store", vec![Box::new(BlobStoreServer::new(Watched(sender)))]);
    for broken in [Status::cancelled("by the caller"), Status::internal("the connection broke")] {
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(piece(3).encoded_len()).unwrap().to_be_bytes());
        piece(3).encode(&mut frame).unwrap();
        let frames = [Ok(Frame::data(Bytes::from(frame))), Err(broken)];
        let request = http::Request::post("/store.BlobStore/Write")
            .header("content-type", "application/grpc")
            .body(StreamBody::new(tokio_stream::iter(frames)))
            .unwrap();
        let answer = router.serve(request).await;
        assert_eq!(next(&mut seen).await, Seen::Piece(3));
        assert!(matches!(next(&mut seen).await, Seen::Failure(_)));
        drop(answer);
    }
}

#[tokio::test]
async fn an_answer_before_the_end_stops_the_upload() {
    let (client, _seen) = client();
    let mut upload = client.write();
    upload.send(BlobWriteRequest { key: "enough".into(), ..piece(0) }).await.unwrap();
    let error = loop {
        if let Err(error) = upload.send(piece(1)).await {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(error.detail, "read");
    assert_eq!(upload.send(piece(1)).await.unwrap_err().code, 499);
    assert_eq!(upload.finish().await.unwrap_err().detail, "read");
}
