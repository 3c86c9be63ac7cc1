//! What a caller can ask of a call, and what it learns when the call fails.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use micro_sdk::{
    Client, Context, Error, Kind, Origin, Result, Sender,
    blocks::broker::{Broker, BrokerClient, BrokerServer},
    proto::broker::{Empty, Message, PublishRequest, SubscribeRequest},
    testing::Harness,
};
use tokio_stream::StreamExt as _;

/// Answers by what the topic says; asks the service `other` where it has one.
#[derive(Default)]
struct Shop {
    deadlines: Arc<Mutex<Vec<Option<Instant>>>>,
}

impl Broker for Shop {
    async fn publish(&self, cx: Context, request: PublishRequest) -> Result<Empty> {
        self.deadlines.lock().unwrap().push(cx.deadline());
        match request.topic.as_str() {
            "wait" => std::future::pending().await,
            "missing" => Err(Error::not_found("no such product")),
            "header" => match cx.header("X-Shop") {
                Some("berlin") => Ok(Empty {}),
                other => Err(Error::bad_request(format!("{other:?}"))),
            },
            "caller" => cx.caller().await.map(|_| Empty {}),
            "scope" => cx.require_scope("shop").await.map(|_| Empty {}),
            "endpoint" => Err(Error::conflict(cx.endpoint())),
            other => {
                let client = cx.client::<BrokerClient>(other).timeout(Duration::from_hours(1));
                client.publish(publish("ok")).await
            }
        }
    }

    async fn subscribe(&self, _: Context, request: SubscribeRequest, replies: Sender<Message>) -> Result<()> {
        for number in 0..3 {
            replies.send(Message { body: vec![number], ..Message::default() }).await?;
        }
        if request.topic == "wait" {
            std::future::pending().await
        } else {
            Err(Error::conflict("after three"))
        }
    }
}

/// Notes until when it is waited for.
struct Other(Arc<Mutex<Vec<Option<Instant>>>>);

impl Broker for Other {
    async fn publish(&self, cx: Context, _: PublishRequest) -> Result<Empty> {
        self.0.lock().unwrap().push(cx.deadline());
        Ok(Empty {})
    }

    async fn subscribe(&self, _: Context, _: SubscribeRequest, _: Sender<Message>) -> Result<()> {
        Err(Error::not_implemented("not here"))
    }
}

fn publish(topic: &str) -> PublishRequest {
    PublishRequest { topic: topic.to_owned(), message: None }
}

fn subscribe(topic: &str) -> SubscribeRequest {
    SubscribeRequest { topic: topic.to_owned(), ..SubscribeRequest::default() }
}

fn shop() -> BrokerClient {
    BrokerClient::new(Harness::new().serve(BrokerServer::new(Shop::default())))
}

#[tokio::test]
async fn a_call_may_have_a_time_of_its_own() {
    let shop = shop();
    let short = shop.timeout(Duration::from_millis(50));
    let error = short.publish(publish("wait")).await.unwrap_err();
    assert_eq!((error.code, error.kind()), (408, Kind::Deadline));
    let mut messages = short.subscribe(subscribe("wait")).await.unwrap();
    for number in 0..3 {
        assert_eq!(messages.next().await.unwrap().unwrap().body, [number]);
    }
    assert_eq!(messages.next().await.unwrap_err().kind(), Kind::Deadline);
    assert_eq!(messages.next().await.unwrap(), None, "after an error nothing more arrives");
    // The client it was made of is as it was.
    assert_eq!(shop.publish(publish("missing")).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn no_option_lengthens_the_deadline_of_the_call_that_is_being_served() {
    let (first, second) = (Shop::default(), Arc::default());
    let seen = first.deadlines.clone();
    let harness = Harness::new().service("other", BrokerServer::new(Other(Arc::clone(&second))));
    let shop = BrokerClient::new(harness.serve(BrokerServer::new(first)));
    shop.timeout(Duration::from_mins(1)).publish(publish("other")).await.unwrap();
    let at = |seen: &Mutex<Vec<Option<Instant>>>| seen.lock().unwrap()[0].expect("a deadline");
    // The time the call takes to get there is between them.
    assert!(at(&second) < at(&seen) + Duration::from_mins(1), "an hour was asked for");
}

#[tokio::test]
async fn a_call_whose_time_is_over_is_not_made() {
    let harness = Harness::new();
    let client = harness.serve(BrokerServer::new(Shop::default()));
    let shop = BrokerClient::new(
        client.with_deadline(Instant::now()).with_deadline(Instant::now() + Duration::from_mins(1)),
    );
    assert_eq!(shop.publish(publish("missing")).await.unwrap_err().kind(), Kind::Deadline);
    assert_eq!(shop.subscribe(subscribe("x")).await.unwrap_err().kind(), Kind::Deadline);
}

#[tokio::test]
async fn headers_reach_the_handler_and_what_cannot_be_one_fails_the_call() {
    let shop = shop();
    shop.header("x-shop", "berlin").publish(publish("header")).await.unwrap();
    let intercepted = shop.with(|client| {
        client.with_interceptor(|endpoint, headers| {
            if endpoint != "Broker.Publish" {
                return Err(Error::forbidden(endpoint));
            }
            headers.insert("x-shop", "berlin".parse().unwrap());
            Ok(())
        })
    });
    intercepted.publish(publish("header")).await.unwrap();
    assert_eq!(intercepted.subscribe(subscribe("x")).await.unwrap_err().detail, "Broker.Subscribe");
    for (name, value) in [("x-shop", "a\nb"), ("no name", "x"), ("", "x")] {
        let error = shop.header(name, value).publish(publish("header")).await.unwrap_err();
        assert_eq!((error.code, error.origin()), (400, Origin::Client), "{name}: {error}");
        assert!(!error.detail.contains("a\nb"));
    }
}

#[tokio::test]
async fn the_answers_of_a_stream_are_a_stream() {
    let messages = shop().subscribe(subscribe("x")).await.unwrap();
    let (bodies, ends): (Vec<_>, Vec<_>) =
        messages.collect::<Vec<_>>().await.into_iter().partition(Result::is_ok);
    assert_eq!(bodies.into_iter().map(|message| message.unwrap().body[0]).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(ends.into_iter().map(|end| end.unwrap_err().kind()).collect::<Vec<_>>(), [Kind::Conflict]);
}

#[tokio::test]
async fn who_an_error_comes_from_is_known() {
    let harness = Harness::new();
    let shop = BrokerClient::new(harness.serve(BrokerServer::new(Shop::default())));
    let missing = shop.publish(publish("missing")).await.unwrap_err();
    assert_eq!((missing.kind(), missing.origin()), (Kind::NotFound, Origin::Service));
    assert_eq!(missing.id, "test.Broker.Publish");
    // A service that is missing is no product that is missing.
    let nobody = harness.client::<BrokerClient>("nobody").publish(publish("missing")).await.unwrap_err();
    assert_eq!((nobody.code, nobody.kind(), nobody.origin()), (404, Kind::Unreachable, Origin::Server));
    // Nor is one that the service called did not find.
    let behind = shop.publish(publish("nobody")).await.unwrap_err();
    assert_eq!((behind.code, behind.kind(), behind.origin()), (503, Kind::Unavailable, Origin::Service));
    assert!(behind.detail.contains("service nobody: route not found"), "{behind}");
    // Here is no server at all.
    let alone = BrokerClient::new(micro_sdk::testing::serve(BrokerServer::new(Shop::default())));
    let behind = alone.publish(publish("nobody")).await.unwrap_err();
    assert_eq!((behind.code, behind.origin()), (503, Origin::Service));
    assert_eq!(shop.publish(publish("endpoint")).await.unwrap_err().detail, "Broker.Publish");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_as_this_sides() {
    let client = Client::new(micro_sdk::Channel::unix("/nonexistent/socket"), "shop").with_retries(0);
    let error = BrokerClient::new(client).publish(publish("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.origin()), (Kind::Unreachable, Origin::Client));
}

#[tokio::test]
async fn a_handler_knows_its_caller_and_their_scopes() {
    let harness = Harness::new();
    let shop = BrokerClient::new(harness.serve(BrokerServer::new(Shop::default())));
    let code = async |token: Option<String>, topic: &str| {
        let shop = match token {
            Some(token) => shop.with(|client| client.with_token(&token)),
            None => shop.clone(),
        };
        shop.publish(publish(topic)).await.map_or_else(|error| error.code, |_| 200)
    };
    assert_eq!(code(None, "caller").await, 401);
    assert_eq!(code(None, "scope").await, 401);
    assert_eq!(code(Some("forged".to_owned()), "caller").await, 401);
    assert_eq!(code(Some(harness.token("jane", [])), "caller").await, 200);
    assert_eq!(code(Some(harness.token("jane", ["other"])), "scope").await, 403);
    assert_eq!(code(Some(harness.token("jane", ["other", "shop"])), "scope").await, 200);
    assert_eq!(code(Some(harness.token("boss", ["admin"])), "scope").await, 200);
}

#[tokio::test]
async fn what_is_wrapped_around_calls_sees_them_and_may_refuse() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (outer, inner) = (seen.clone(), seen.clone());
    let harness = Harness::new();
    let client: BrokerClient = harness
        .run(|service| {
            let note = |name: &'static str, to: Arc<Mutex<Vec<String>>>| {
                move |call: micro_sdk::handler::Call, next: micro_sdk::Next| {
                    let to = to.clone();
                    async move {
                        let endpoint = call.context().endpoint().to_owned();
                        if call.context().header("x-refuse") == Some(name) {
                            return Err(Error::forbidden(name));
                        }
                        let answers = next.run(call).await;
                        to.lock().unwrap().push(format!("{name} {endpoint} {}", answers.is_ok()));
                        answers
                    }
                }
            };
            let service = service.wrap(note("outer", outer)).wrap(note("inner", inner));
            service.handle(BrokerServer::new(Shop::default()))
        })
        .into();
    client.publish(publish("missing")).await.unwrap_err();
    let mut messages = client.subscribe(subscribe("x")).await.unwrap();
    while let Ok(Some(_)) = messages.next().await {}
    let refused = client.header("x-refuse", "inner").publish(publish("missing")).await.unwrap_err();
    assert_eq!((refused.code, refused.id.as_str()), (403, "test.Broker.Publish"));
    client.header("x-refuse", "outer").publish(publish("missing")).await.unwrap_err();
    // A method that is not there passes through as well; the probe of its health does not.
    let probe = harness.client::<micro_sdk::blocks::debug::DebugClient>("test").header("x-refuse", "outer");
    probe.health(micro_sdk::proto::debug::HealthRequest {}).await.unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "inner Broker.Publish false",
            "outer Broker.Publish false",
            "inner Broker.Subscribe true",
            "outer Broker.Subscribe true",
            "outer Broker.Publish false",
        ]
    );
}

/// Answers with the id of the request.
struct Ids;

impl Broker for Ids {
    async fn publish(&self, cx: Context, request: PublishRequest) -> Result<Empty> {
        match request.topic.as_str() {
            "own" => Err(Error::conflict(cx.request_id())),
            other => cx.client::<BrokerClient>(other).publish(publish("own")).await,
        }
    }

    async fn subscribe(&self, _: Context, _: SubscribeRequest, _: Sender<Message>) -> Result<()> {
        Err(Error::not_implemented("not here"))
    }
}

#[tokio::test]
async fn a_request_has_one_id_in_all_services() {
    let harness = Harness::new().service("other", BrokerServer::new(Ids));
    let client = BrokerClient::new(harness.serve(BrokerServer::new(Ids)));
    let id = async |client: &BrokerClient, topic| client.publish(publish(topic)).await.unwrap_err().detail;
    let named = client.header("x-request-id", "7f");
    assert_eq!((id(&named, "own").await, id(&named, "other").await), ("7f".to_owned(), "7f".to_owned()));
    let (first, second) = (id(&client, "own").await, id(&client, "own").await);
    assert!(first.len() == 16 && first != second, "{first} {second}");
}
