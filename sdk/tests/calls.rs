//! Handlers and clients over a pipe: what a service and its callers can rely on.

use std::time::Duration;

use micro_sdk::{
    Client, Context, DEFAULT_TIMEOUT, Error, MESSAGE_LIMIT, Receiver, Result, Sender, blocks,
    proto::{
        broker::{Empty, Message, PublishRequest, SubscribeRequest},
        store::{
            BlobDeleteRequest, BlobDeleteResponse, BlobListRequest, BlobListResponse, BlobReadRequest,
            BlobReadResponse, BlobWriteRequest, BlobWriteResponse,
        },
    },
    testing::serve,
};
use tokio::time::timeout;

/// Answers by what the topic says.
struct Topics;

impl blocks::broker::Broker for Topics {
    async fn publish(&self, cx: Context, request: PublishRequest) -> Result<Empty> {
        match request.topic.as_str() {
            "fail" => Err(Error::not_found("no topic 100%")),
            "panic" => panic!("on purpose"),
            "wait" => std::future::pending().await,
            "namespace" if cx.namespace() == "shop" => Ok(Empty {}),
            "ok" => Ok(Empty {}),
            other => Err(Error::bad_request(other)),
        }
    }

    async fn subscribe(&self, _: Context, request: SubscribeRequest, replies: Sender<Message>) -> Result<()> {
        for number in 0..3 {
            replies.send(Message { body: vec![number], ..Message::default() }).await?;
        }
        match request.topic.as_str() {
            "many" => {
                for _ in 3..10_000 {
                    replies.send(Message { body: vec![3], ..Message::default() }).await?;
                }
                Ok(())
            }
            "fail" => Err(Error::conflict("after three")),
            "panic" => panic!("on purpose"),
            "wait" => std::future::pending().await,
            "long" => {
                for number in 3..LONG {
                    replies.send(Message { body: vec![number as u8], ..Message::default() }).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// More messages than the runtime lets a task take in one turn.
const LONG: usize = 10_000;

fn broker() -> Client {
    serve(blocks::broker::BrokerServer::new(Topics))
}

fn publish(topic: &str) -> PublishRequest {
    PublishRequest { topic: topic.to_owned(), message: None }
}

async fn publishing(client: Client, topic: &str) -> Result<Empty> {
    blocks::broker::BrokerClient::new(client).publish(publish(topic)).await
}

/// How long a call may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a subscription brings until it ends.
async fn subscribed(client: Client, topic: &str) -> (Vec<u8>, Option<Error>) {
    timeout(PATIENCE, read(client, topic)).await.expect("the stream ends")
}

async fn read(client: Client, topic: &str) -> (Vec<u8>, Option<Error>) {
    let broker = blocks::broker::BrokerClient::new(client);
    let request = SubscribeRequest { topic: topic.to_owned(), queue: String::new() };
    let mut messages = match broker.subscribe(request).await {
        Ok(messages) => messages,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut bodies = Vec::new();
    loop {
        match messages.next().await {
            Ok(Some(message)) => bodies.extend(message.body),
            Ok(None) => return (bodies, None),
            Err(error) => return (bodies, Some(error)),
        }
    }
}

#[tokio::test]
async fn an_error_arrives_as_it_was_made_with_its_place() {
    publishing(broker(), "ok").await.unwrap();
    let error = publishing(broker(), "fail").await.unwrap_err();
    assert_eq!(error, Error::not_found("no topic 100%").with_id("test.Broker.Publish"));
}

#[tokio::test]
async fn a_panic_fails_its_call_and_no_other() {
    let client = broker();
    assert_eq!(publishing(client.clone(), "panic").await.unwrap_err().code, 500);
    publishing(client.clone(), "ok").await.unwrap();
    let (bodies, error) = subscribed(client, "panic").await;
    assert_eq!((bodies, error.unwrap().code), (vec![0, 1, 2], 500));
}

#[tokio::test]
async fn what_was_sent_before_an_error_arrives_before_it() {
    assert_eq!(subscribed(broker(), "ok").await, (vec![0, 1, 2], None));
    let error = Error::conflict("after three").with_id("test.Broker.Subscribe");
    assert_eq!(subscribed(broker(), "fail").await, (vec![0, 1, 2], Some(error)));
}

#[tokio::test]
async fn a_long_stream_arrives_whole() {
    let (messages, error) = subscribed(broker(), "many").await;
    assert_eq!((messages.len(), error), (10_000, None));
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let client = broker().with_timeout(Duration::from_millis(50));
    assert_eq!(publishing(client, "wait").await.unwrap_err().code, 408);
}

#[tokio::test]
async fn a_stream_ends_at_the_deadline_of_its_header() {
    let client = broker().with_header("timeout", "50000000");
    let (bodies, error) = subscribed(client, "wait").await;
    assert_eq!((bodies, error.unwrap().code), (vec![0, 1, 2], 408));
}

#[tokio::test]
async fn the_namespace_travels_with_the_call() {
    publishing(broker().with_namespace("shop"), "namespace").await.unwrap();
    assert_eq!(publishing(broker(), "namespace").await.unwrap_err().code, 400);
}

#[tokio::test]
async fn unknown_methods_and_handlers_are_not_implemented() {
    for endpoint in ["Broker.Nope", "Nope.Publish"] {
        let error = broker().unary::<_, Empty>(endpoint, &publish("ok")).await.unwrap_err();
        assert_eq!((error.code, error.detail.starts_with("unknown service ")), (501, true), "{error:?}");
    }
    assert_eq!(broker().unary::<_, Empty>("Nope", &publish("ok")).await.unwrap_err().code, 400);
}

#[tokio::test]
async fn what_is_no_message_is_a_bad_request() {
    let error = broker().unary_bytes("Broker.Publish", vec![0xff; 3].into()).await.unwrap_err();
    assert_eq!(error.code, 400, "{error:?}");
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused() {
    let mut request = publish("ok");
    request.topic = "x".repeat(MESSAGE_LIMIT + 1);
    let error = broker().unary::<_, Empty>("Broker.Publish", &request).await.unwrap_err();
    assert_eq!(error.code, 413, "{error:?}");
}

#[tokio::test]
async fn every_service_says_how_it_is() {
    let debug = blocks::debug::DebugClient::new(broker());
    assert_eq!(debug.health(micro_sdk::proto::debug::HealthRequest {}).await.unwrap().status, "ok");
    let stats = debug.stats(micro_sdk::proto::debug::StatsRequest {}).await.unwrap();
    assert!(stats.requests >= 1 && stats.started > 0, "{stats:?}");
}

#[tokio::test]
async fn a_service_that_is_away_is_unavailable() {
    let channel = micro_sdk::Channel::tcp("127.0.0.1:1");
    let error = publishing(Client::new(channel, "broker"), "ok").await.unwrap_err();
    assert_eq!(error.code, 503, "{error:?}");
    assert!(DEFAULT_TIMEOUT > Duration::from_secs(5));
}

/// Counts what it is sent.
struct Blobs;

impl blocks::store::BlobStore for Blobs {
    async fn read(&self, _: Context, _: BlobReadRequest, _: Sender<BlobReadResponse>) -> Result<()> {
        Ok(())
    }

    async fn write(&self, _: Context, mut requests: Receiver<BlobWriteRequest>) -> Result<BlobWriteResponse> {
        let mut size = 0;
        while let Some(request) = requests.next().await? {
            size += request.blob.len();
        }
        if size == 6 { Ok(BlobWriteResponse::default()) } else { Err(Error::bad_request(size.to_string())) }
    }

    async fn delete(&self, _: Context, _: BlobDeleteRequest) -> Result<BlobDeleteResponse> {
        Err(Error::not_implemented("not here"))
    }

    async fn list(&self, cx: Context, _: BlobListRequest) -> Result<BlobListResponse> {
        // A service in a test belongs to no server.
        let client: blocks::debug::DebugClient = cx.client("other");
        client.health(micro_sdk::proto::debug::HealthRequest {}).await.map(|_| BlobListResponse::default())
    }
}

#[tokio::test]
async fn a_stream_of_requests_gets_one_response() {
    let blobs = blocks::store::BlobStoreClient::new(serve(blocks::store::BlobStoreServer::new(Blobs)));
    let mut upload = blobs.write();
    for _ in 0..2 {
        upload.send(BlobWriteRequest { blob: vec![0; 3], ..BlobWriteRequest::default() }).await.unwrap();
    }
    upload.finish().await.unwrap();
}

#[tokio::test]
async fn a_service_without_a_server_says_so_when_it_calls_another() {
    let blobs = blocks::store::BlobStoreClient::new(serve(blocks::store::BlobStoreServer::new(Blobs)));
    let error = blobs.list(BlobListRequest::default()).await.unwrap_err();
    assert_eq!(error.code, 503, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_arrives_whole_and_in_order() {
    let (bodies, failure) = subscribed(broker(), "long").await;
    assert_eq!(failure, None);
    let expected: Vec<u8> = (0..LONG).map(|number| number as u8).collect();
    assert!(bodies == expected, "{} of {LONG} messages arrived, or in another order", bodies.len());
}
