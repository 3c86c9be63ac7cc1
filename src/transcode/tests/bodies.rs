use super::order;
use crate::transcode::{Refusal, body::response_body, request_body, response, to_protobuf};
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use micro_sdk::Error;
use prost_reflect::MessageDescriptor;
use tonic::{Code, Status, body::Body};

const LIMIT: usize = 1_000;

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![flag];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}

fn address() -> MessageDescriptor {
    super::message("shop.Address")
}

fn protobuf(zip: i32) -> Vec<u8> {
    to_protobuf(&address(), format!(r#"{{"zip":{zip}}}"#).as_bytes()).unwrap().to_vec()
}

/// A body in chunks of `size` bytes, then an error or trailers if any.
fn body(bytes: &[u8], size: usize, end: Option<Result<HeaderMap, Status>>) -> Body {
    let chunks: Vec<_> =
        bytes.chunks(size).map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk)))).collect();
    let end = end.map(|end| end.map(Frame::trailers));
    Body::new(StreamBody::new(futures::stream::iter(chunks.into_iter().chain(end))))
}

/// The data frames of a body, and how it ends.
async fn drain(mut body: Body) -> (Vec<Vec<u8>>, Result<Option<HeaderMap>, Status>) {
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => frames.push(data.to_vec()),
            Ok(Err(frame)) => return (frames, Ok(frame.into_trailers().ok())),
            Err(status) => return (frames, Err(status)),
        }
    }
    (frames, Ok(None))
}

/// The error in the trailers at the end of a response.
fn trailed(end: Result<Option<HeaderMap>, Status>) -> (Code, Error) {
    let status = Status::from_header_map(&end.unwrap().unwrap()).unwrap();
    (status.code(), status.into())
}

fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    Status::ok("").add_header(&mut trailers).unwrap();
    trailers.insert("x-mine", "1".parse().unwrap());
    trailers
}

async fn request(bytes: &[u8], refusal: &Refusal) -> (Vec<Vec<u8>>, Result<Option<HeaderMap>, Status>) {
    drain(request_body(body(bytes, 7, None), address(), LIMIT, refusal.clone())).await
}

async fn answer(bytes: &[u8]) -> (Vec<Vec<u8>>, Result<Option<HeaderMap>, Status>) {
    let body = body(bytes, 7, Some(Ok(ok_trailers())));
    drain(response_body(body, address(), LIMIT, Refusal::new("shop"))).await
}

#[tokio::test]
async fn messages_are_found_however_the_body_is_cut() {
    let input = [framed(0, br#"{"zip":"5"}"#), framed(0, b""), framed(0, br#"{"zip":7}"#)].concat();
    for size in 1..=input.len() {
        let refusal = Refusal::new("shop");
        let (frames, end) =
            drain(request_body(body(&input, size, None), address(), LIMIT, refusal.clone())).await;
        // Messages that came together go on together.
        let messages = [framed(0, &protobuf(5)), framed(0, b""), framed(0, &protobuf(7))];
        assert_eq!(frames.concat(), messages.concat());
        assert_eq!(frames.len() == 1, size == input.len(), "{size}");
        assert!(end.unwrap().is_none() && refusal.error().is_none());
    }
}

#[tokio::test]
async fn what_came_before_a_bad_message_in_one_piece_is_passed_on() {
    let refusal = Refusal::new("shop");
    let input = [framed(0, br#"{"zip":1}"#), framed(0, br#"{"zip":"x"}"#), framed(0, b"{}")].concat();
    let whole = body(&input, input.len(), None);
    let (frames, end) = drain(request_body(whole, address(), LIMIT, refusal.clone())).await;
    assert_eq!(frames, [framed(0, &protobuf(1))]);
    assert_eq!(end.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(refusal.error().map(|error| error.code), Some(400));
}

#[tokio::test]
async fn answers_become_json_and_trailers_stay() {
    let (frames, end) = answer(&[framed(0, &protobuf(5)), framed(0, b"")].concat()).await;
    assert_eq!(
        frames,
        [
            framed(0, br#"{"street":"","zip":5,"lines":[]}"#),
            framed(0, br#"{"street":"","zip":0,"lines":[]}"#)
        ]
    );
    assert_eq!(end.unwrap().unwrap(), ok_trailers());
}

#[tokio::test]
async fn a_bad_message_ends_the_request_and_is_what_the_client_hears() {
    let refusal = Refusal::new("shop");
    let input = [framed(0, br#"{"zip":1}"#), framed(0, br#"{"zip":"x"}"#), framed(0, b"{}")].concat();
    let (frames, end) = request(&input, &refusal).await;
    assert_eq!(frames.len(), 1);
    assert_eq!(end.unwrap_err().code(), Code::InvalidArgument);

    let meant = Error::bad_request("field `zip`: expected an integer, got `x`").with_id("shop");
    assert_eq!(refusal.error(), Some(&meant));
    let mut cancelled = HeaderMap::new();
    Status::cancelled("gone").add_header(&mut cancelled).unwrap();
    for end in [Some(Ok(cancelled.clone())), Some(Err(Status::internal("reset"))), None] {
        let heard = drain(response_body(body(b"", 1, end), address(), LIMIT, refusal.clone())).await;
        assert_eq!(trailed(heard.1), (Code::InvalidArgument, meant.clone()));
    }

    let mut headers_alone = http::Response::new(Body::empty());
    *headers_alone.headers_mut() = cancelled;
    let heard = response(headers_alone, address(), LIMIT, refusal);
    assert_eq!(Error::from(Status::from_header_map(heard.headers()).unwrap()), meant);
    assert_eq!(heard.headers()["content-type"], "application/grpc+json");
}

#[tokio::test]
async fn an_answer_in_headers_alone_stays() {
    let mut headers = http::Response::new(Body::empty());
    Status::not_found("no such order").add_header(headers.headers_mut()).unwrap();
    let heard = response(headers, address(), LIMIT, Refusal::new("shop"));
    assert_eq!(Status::from_header_map(heard.headers()).unwrap().code(), Code::NotFound);
    assert_eq!(heard.headers()["content-type"], "application/grpc+json");
}

#[tokio::test]
async fn a_whole_response_is_recoded() {
    let inner = body(&framed(0, &protobuf(3)), 100, Some(Ok(ok_trailers())));
    let mut whole = http::Response::new(inner);
    whole.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    whole.headers_mut().insert("x-mine", "1".parse().unwrap());
    let heard = response(whole, address(), LIMIT, Refusal::new("shop"));
    assert_eq!(heard.headers()["content-type"], "application/grpc+json");
    assert_eq!(heard.headers()["x-mine"], "1");
    let (frames, _) = drain(heard.into_body()).await;
    assert_eq!(frames, [framed(0, br#"{"street":"","zip":3,"lines":[]}"#)]);
}

#[tokio::test]
async fn a_request_that_breaks_the_framing_is_refused() {
    let cut = framed(0, b"{}");
    for (input, code, words) in [
        (framed(1, b"{}"), 501, "compressed messages"),
        (framed(9, b"{}"), 400, "flag 9"),
        (framed(0, &[b' '; 1_001]), 413, "message of 1001 bytes, the limit is 1000 bytes"),
        (cut[..6].to_vec(), 400, "ends inside a message"),
        (cut[..3].to_vec(), 400, "ends inside a message"),
    ] {
        let refusal = Refusal::new("shop");
        let (frames, end) = request(&input, &refusal).await;
        assert!(frames.is_empty() && end.is_err());
        let error = refusal.error().unwrap();
        assert!(error.code == code && error.detail.contains(words), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_written_ends_in_trailers() {
    let good = framed(0, &protobuf(1));
    // A line of 900 control characters, each of which is six in JSON.
    let wide = [&[0x1a, 0x84, 0x07][..], &[1; 900]].concat();
    for (bad, code, words) in [
        (framed(1, b""), 501, "compressed messages"),
        (framed(0, &[0xff]), 500, "the response is not a valid `shop.Address`"),
        (framed(0, &[0; 1_001]), 413, "the limit is 1000 bytes"),
        (framed(0, &wide), 413, "larger than 4000 bytes as JSON"),
        (framed(0, b"x")[..5].to_vec(), 500, "ends inside a message"),
    ] {
        let (frames, end) = answer(&[good.clone(), bad].concat()).await;
        assert_eq!(frames.len(), 1);
        let (_, error) = trailed(end);
        assert!(error.code == code && error.detail.contains(words) && error.id == "shop", "{error:?}");
    }
}

#[tokio::test]
async fn the_status_of_a_service_outlives_an_answer_cut_short() {
    let mut trailers = HeaderMap::new();
    Status::aborted("midway").add_header(&mut trailers).unwrap();
    let cut = body(&framed(0, &protobuf(1))[..4], 10, Some(Ok(trailers)));
    let (frames, end) = drain(response_body(cut, address(), LIMIT, Refusal::new("shop"))).await;
    assert!(frames.is_empty());
    assert_eq!(trailed(end).0, Code::Aborted);
}

#[tokio::test]
async fn a_request_cut_off_by_the_client_is_no_refusal() {
    let refusal = Refusal::new("shop");
    let cut = body(b"", 1, Some(Err(Status::cancelled("client left"))));
    let (_, end) = drain(request_body(cut, order(), LIMIT, refusal.clone())).await;
    assert_eq!(end.unwrap_err().code(), Code::Cancelled);
    assert!(refusal.error().is_none());
}
