//! A connection to a server of `h2`, which shows what was sent frame by frame.

use std::{
    future::poll_fn,
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use h2::server;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::{
    io::{DuplexStream, ReadBuf, duplex},
    sync::mpsc,
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;

use super::*;

/// Counts what is written at a time.
struct Counted {
    stream: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

type Call = (Request<RecvStream>, server::SendResponse<Bytes>);

/// A connection, how often it wrote, and the calls that come out of it.
async fn connected() -> (Sender, Arc<AtomicUsize>, mpsc::Receiver<Call>) {
    connected_to(server::Builder::new(), PATIENCE).await
}

async fn connected_to(
    server: server::Builder,
    patience: Patience,
) -> (Sender, Arc<AtomicUsize>, mpsc::Receiver<Call>) {
    let (ours, theirs) = duplex(1 << 20);
    let (calls, incoming) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut server = server.handshake(theirs).await.unwrap();
        while let Some(Ok(call)) = server.accept().await {
            calls.send(call).await.unwrap();
        }
    });
    let writes = Arc::new(AtomicUsize::new(0));
    let (sender, connection) =
        connect_with(Counted { stream: ours, writes: writes.clone() }, patience).await.unwrap();
    tokio::spawn(connection);
    (sender, writes, incoming)
}

fn post(body: Body) -> Request<Body> {
    Request::builder().method(Method::POST).uri("http://localhost/a.B/C").body(body).unwrap()
}

fn whole(text: &'static str) -> Body {
    Body::new(Full::new(Bytes::from_static(text.as_bytes())))
}

/// A body of the chunks that are sent to it.
fn streamed() -> (mpsc::Sender<Result<Frame<Bytes>, Status>>, Body) {
    let (chunks, received) = mpsc::channel(4);
    (chunks, Body::new(StreamBody::new(ReceiverStream::new(received))))
}

fn answer(mut respond: server::SendResponse<Bytes>) {
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream.send_data(Bytes::from_static(b"yes"), false).unwrap();
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), "0".parse().unwrap())]);
    stream.send_trailers(trailers).unwrap();
}

async fn all(mut stream: RecvStream) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        content.extend_from_slice(&data);
    }
    content
}

#[tokio::test]
async fn the_head_and_a_body_that_is_there_leave_in_one_write() {
    let (mut sender, writes, mut calls) = connected().await;
    for round in 0..2 {
        let mut request = post(whole("hello"));
        request.headers_mut().extend([
            (CONNECTION, "x-hop".parse().unwrap()),
            (HeaderName::from_static("x-hop"), "1".parse().unwrap()),
            (HeaderName::from_static("x-stays"), "1".parse().unwrap()),
            (TE, "gzip".parse().unwrap()),
        ]);
        let before = writes.load(Ordering::Relaxed);
        let served = async {
            let (request, respond) = calls.recv().await.unwrap();
            let (head, body) = request.into_parts();
            assert_eq!(all(body).await, b"hello");
            let written = writes.load(Ordering::Relaxed) - before;
            answer(respond);
            (head, written)
        };
        let (response, (head, written)) = tokio::join!(sender.send(request), served);
        let names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-stays"], "what belongs to a connection is not sent");
        // With the first request the settings of the other side are acknowledged too.
        assert!(round == 0 || written == 1, "{written} writes");
        let answer = response.ok().unwrap().into_body().collect().await.unwrap();
        assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(answer.to_bytes(), "yes");
    }
}

#[tokio::test]
async fn a_body_larger_than_all_windows_comes_whole_and_no_faster_than_it_is_read() {
    let (mut sender, _, mut calls) = connected().await;
    let (chunks, body) = streamed();
    let uploading = tokio::spawn(async move {
        for _ in 0..64 {
            chunks.send(Ok(Frame::data(Bytes::from(vec![7; 16 << 10])))).await.unwrap();
        }
        chunks.send(Ok(Frame::trailers(HeaderMap::new()))).await.unwrap();
    });
    let sending = tokio::spawn(async move { sender.send(post(body)).await.ok().unwrap() });
    let (request, respond) = calls.recv().await.unwrap();
    let mut idle = 0;
    while idle < 100 {
        idle += 1;
        tokio::task::yield_now().await;
    }
    assert!(!uploading.is_finished(), "1 MiB was taken although nobody reads it");
    assert_eq!(all(request.into_body()).await.len(), 1 << 20);
    uploading.await.unwrap();
    answer(respond);
    assert_eq!(sending.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_comes_back_from_a_connection_that_is_closed() {
    let (mut sender, _, calls) = connected().await;
    drop(calls);
    // The first one is refused while the other side goes.
    drop(sender.send(post(whole("a"))).await);
    let failed = sender.send(post(whole("b"))).await.err().unwrap();
    let request = failed.request.expect("nothing of it was sent");
    assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "b");
}

#[tokio::test]
async fn who_does_not_wait_for_the_response_breaks_the_call_off() {
    let (sender, _, mut calls) = connected().await;
    for waits_for_the_head in [false, true] {
        let (chunks, body) = streamed();
        chunks.send(Ok(Frame::data(Bytes::from_static(b"a")))).await.unwrap();
        let mut own = sender.clone();
        let sending = tokio::spawn(async move { own.send(post(body)).await });
        let (request, mut respond) = calls.recv().await.unwrap();
        let mut content = request.into_body();
        assert_eq!(content.data().await.unwrap().unwrap(), "a");
        if waits_for_the_head {
            drop(respond.send_response(Response::new(()), false).unwrap());
            drop(sending.await.unwrap().ok().unwrap());
        } else {
            sending.abort();
        }
        let error = content.data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::CANCEL));
        // What is sent is let go of.
        chunks.closed().await;
    }
}

#[tokio::test]
async fn a_body_that_fails_is_not_taken_for_a_whole_one() {
    let (mut sender, _, mut calls) = connected().await;
    let (chunks, body) = streamed();
    let mut own = sender.clone();
    let sending = tokio::spawn(async move { own.send(post(body)).await });
    let (request, _respond) = calls.recv().await.unwrap();
    chunks.send(Ok(Frame::data(Bytes::from_static(b"a")))).await.unwrap();
    let mut content = request.into_body();
    assert_eq!(content.data().await.unwrap().unwrap(), "a");
    chunks.send(Err(Status::aborted("x"))).await.unwrap();
    let error = content.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert!(sending.await.unwrap().is_err());

    let (chunks, body) = streamed();
    chunks.send(Err(Status::aborted("x"))).await.unwrap();
    assert!(sender.send(post(body)).await.is_err(), "it failed before anything was sent");
}

#[tokio::test]
async fn a_response_that_breaks_off_says_so() {
    for (reason, code) in [
        (Reason::INTERNAL_ERROR, tonic::Code::Internal),
        (Reason::NO_ERROR, tonic::Code::Internal),
        (Reason::CANCEL, tonic::Code::Unavailable),
        (Reason::ENHANCE_YOUR_CALM, tonic::Code::Unavailable),
        (Reason::REFUSED_STREAM, tonic::Code::Unavailable),
    ] {
        let (mut sender, _, mut calls) = connected().await;
        let sending = tokio::spawn(async move { sender.send(post(whole("a"))).await.ok().unwrap() });
        let (_request, mut respond) = calls.recv().await.unwrap();
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        let response = sending.await.unwrap();
        stream.send_reset(reason);
        let ended = response.into_body().collect().await;
        assert_eq!(ended.err().map(|status| status.code()), Some(code), "{reason:?}");
    }
}

#[tokio::test]
async fn a_side_that_is_silent_loses_its_calls_and_one_without_calls_is_left_alone() {
    let [look, silence, answer] = [5, 10, 10].map(Duration::from_millis);
    let patience = Patience { look, silence, answer };
    // It takes all that comes, and answers nothing after its settings.
    let (ours, theirs) = duplex(1 << 20);
    let silent = tokio::spawn(async move { server::handshake(theirs).await.unwrap() });
    let (mut sender, connection) = connect_with(ours, patience).await.unwrap();
    let connection = tokio::spawn(connection);
    let _server: server::Connection<_, Bytes> = silent.await.unwrap();
    sleep(10 * (silence + look + answer)).await;
    assert!(!connection.is_finished(), "nothing was asked of it");

    let begun = Instant::now();
    let failed = sender.send(post(whole("a"))).await.err().unwrap();
    assert!(failed.request.is_none(), "it may have been seen");
    assert!(begun.elapsed() >= silence, "{:?}", begun.elapsed());
    connection.await.unwrap();
}

#[tokio::test]
async fn a_side_that_is_quiet_and_answers_when_asked_keeps_its_calls() {
    let [look, silence, longest] = [5, 10, 100].map(Duration::from_millis);
    let patience = Patience { look, silence, answer: longest };
    let (mut sender, _, mut calls) = connected_to(server::Builder::new(), patience).await;
    let sending = tokio::spawn(async move { sender.send(post(whole("a"))).await });
    let (_request, respond) = calls.recv().await.unwrap();
    // It is asked some times meanwhile.
    sleep(3 * (silence + look + longest)).await;
    answer(respond);
    assert!(sending.await.unwrap().is_ok());
}

#[tokio::test]
async fn calls_beyond_the_limit_of_the_other_side_wait_here_and_can_be_given_up() {
    let mut server = server::Builder::new();
    server.max_concurrent_streams(1);
    let (sender, _, mut calls) = connected_to(server, PATIENCE).await;
    let first = tokio::spawn({
        let mut own = sender.clone();
        async move { own.send(post(whole("first"))).await.ok().unwrap().into_body().collect().await }
    });
    let (_request, respond) = calls.recv().await.unwrap();
    let given_up: Vec<_> = (0..30)
        .map(|_| {
            let mut own = sender.clone();
            tokio::spawn(async move { own.send(post(whole("given up"))).await.map(drop).map_err(drop) })
        })
        .collect();
    tokio::task::yield_now().await;
    for call in given_up {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    // One that nobody polls for a while, and that is not given up either, keeps no other from its turn.
    let mut own = sender.clone();
    let mut unpolled = Box::pin(async move { own.send(post(whole("unpolled"))).await });
    assert!(poll_fn(|cx| Poll::Ready(unpolled.as_mut().poll(cx))).await.is_pending());
    answer(respond);
    first.await.unwrap().unwrap();
    for text in ["second", "third"] {
        let mut own = sender.clone();
        let sending = tokio::spawn(async move {
            own.send(post(whole(text))).await.ok().unwrap().into_body().collect().await
        });
        let (request, respond) = calls.recv().await.unwrap();
        assert_eq!(all(request.into_body()).await, text.as_bytes(), "nothing that was given up is sent");
        answer(respond);
        sending.await.unwrap().unwrap();
    }
    let (response, ()) = tokio::join!(unpolled, async {
        let (_request, respond) = calls.recv().await.unwrap();
        answer(respond);
    });
    assert!(response.is_ok());
}

#[tokio::test]
async fn calls_that_wait_for_their_turn_come_back_when_the_connection_ends() {
    let (ours, theirs) = duplex(1 << 20);
    let ((accepted, first_is_there), (leave, left)) = (oneshot::channel(), oneshot::channel::<()>());
    tokio::spawn(async move {
        let mut builder = server::Builder::new();
        let mut server: server::Connection<_, Bytes> =
            builder.max_concurrent_streams(1).handshake(theirs).await.unwrap();
        let _call = server.accept().await;
        accepted.send(()).unwrap();
        drop(left.await);
    });
    let (sender, connection) = connect(ours).await.unwrap();
    tokio::spawn(connection);
    let send = |text| {
        let mut own = sender.clone();
        tokio::spawn(async move { own.send(post(whole(text))).await })
    };
    let first = send("first");
    first_is_there.await.unwrap();
    let others = [send("second"), send("third")];
    tokio::task::yield_now().await;
    let mut asked = sender.clone();
    assert!(!asked.is_closed());
    drop(leave);
    assert!(first.await.unwrap().err().unwrap().request.is_none(), "it may have been seen");
    for other in others {
        assert!(other.await.unwrap().err().unwrap().request.is_some(), "nothing of it was sent");
    }
    assert!(asked.is_closed());
}

#[tokio::test]
async fn a_body_that_was_reset_resets_for_the_same_reason() {
    let (mut sender, _, mut calls) = connected().await;
    // A call whose body comes by another connection, on which it is given up.
    let (mut front, _, mut fronts) = connected().await;
    let (chunks, upload) = streamed();
    let fronting = tokio::spawn(async move { front.send(post(upload)).await });
    let (request, _respond) = fronts.recv().await.unwrap();
    let passed = passed_on(request.into_body());
    let sending = tokio::spawn(async move { sender.send(post(passed)).await });
    let (request, _respond) = calls.recv().await.unwrap();
    let mut content = request.into_body();
    chunks.send(Ok(Frame::data(Bytes::from_static(b"a")))).await.unwrap();
    assert_eq!(content.data().await.unwrap().unwrap(), "a");
    fronting.abort();
    assert_eq!(content.data().await.unwrap().unwrap_err().reason(), Some(Reason::CANCEL));
    assert!(sending.await.unwrap().is_err());
}

/// What comes in as the body of another request.
fn passed_on(mut stream: RecvStream) -> Body {
    let (chunks, body) = streamed();
    tokio::spawn(async move {
        while let Some(data) = stream.data().await {
            let passed = data.map(Frame::data).map_err(|error| Status::from_error(Box::new(error)));
            let failed = passed.is_err();
            if chunks.send(passed).await.is_err() || failed {
                return;
            }
        }
    });
    body
}
