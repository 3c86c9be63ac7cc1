//! Handlers and callers that misbehave, or are of another version.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use micro_sdk::{
    Client, Context, Error, Kind, Result, Sender,
    blocks::broker::{Broker, BrokerClient, BrokerServer},
    prost,
    proto::broker::{Empty, Message, PublishRequest, SubscribeRequest},
    testing::serve,
};
use tokio::{sync::mpsc, time::timeout};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Misbehaves by what the topic says.
#[derive(Clone)]
struct Wrong {
    /// What a handler that blocks waits for.
    open: Arc<(Mutex<bool>, Condvar)>,
    /// Answers that were sent to who does not read them.
    sent: Arc<AtomicUsize>,
    /// Told when a handler is dropped or ends.
    ended: mpsc::UnboundedSender<&'static str>,
}

struct Ends(mpsc::UnboundedSender<&'static str>, &'static str);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

impl Broker for Wrong {
    async fn publish(&self, _: Context, request: PublishRequest) -> Result<Empty> {
        match request.topic.as_str() {
            "block" => {
                let (open, changed) = &*self.open;
                let _open = changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap();
                Ok(Empty {})
            }
            "hold" => {
                let held = vec![1_u8; 200 << 20];
                if held[held.len() - 1] == 1 { Ok(Empty {}) } else { Err(Error::internal("lost")) }
            }
            "late" => {
                let _ends = Ends(self.ended.clone(), "late");
                std::future::pending().await
            }
            _ => Ok(Empty {}),
        }
    }

    async fn subscribe(&self, _: Context, _: SubscribeRequest, replies: Sender<Message>) -> Result<()> {
        let _ends = Ends(self.ended.clone(), "stream");
        loop {
            replies.send(Message { body: vec![7; 64 << 10], ..Message::default() }).await?;
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn wrong() -> (Wrong, Client, mpsc::UnboundedReceiver<&'static str>) {
    let (ended, ends) = mpsc::unbounded_channel();
    let wrong = Wrong { open: Arc::default(), sent: Arc::default(), ended };
    let client = serve(BrokerServer::new(wrong.clone()));
    (wrong, client, ends)
}

fn publish(topic: &str) -> PublishRequest {
    PublishRequest { topic: topic.to_owned(), message: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_keeps_one_thread_and_no_other_call() {
    let (wrong, client, _ends) = wrong();
    let client = BrokerClient::new(client);
    let blocked = client.clone();
    let blocked = tokio::spawn(async move { blocked.publish(publish("block")).await });
    // A connection of its own: the one it came by is driven by the thread that is blocked.
    let other = BrokerClient::new(serve(BrokerServer::new(wrong.clone())));
    for _ in 0..20 {
        timeout(PATIENCE, other.publish(publish("ok"))).await.unwrap().unwrap();
    }
    let (open, changed) = &*wrong.open;
    *open.lock().unwrap() = true;
    changed.notify_all();
    timeout(PATIENCE, blocked).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_handler_may_hold_much() {
    let (_, client, _ends) = wrong();
    BrokerClient::new(client).publish(publish("hold")).await.unwrap();
}

#[tokio::test]
async fn a_handler_is_ended_when_its_caller_waits_no_longer() {
    let (_, client, mut ends) = wrong();
    let client = BrokerClient::new(client).timeout(Duration::from_millis(50));
    assert_eq!(client.publish(publish("late")).await.unwrap_err().kind(), Kind::Deadline);
    assert_eq!(timeout(PATIENCE, ends.recv()).await.unwrap(), Some("late"));
}

#[tokio::test]
async fn who_does_not_read_stops_the_sender_and_who_goes_ends_it() {
    let (wrong, client, mut ends) = wrong();
    let request = SubscribeRequest::default();
    let mut messages = BrokerClient::new(client.clone()).subscribe(request).await.unwrap();
    messages.next().await.unwrap().unwrap();
    // Other calls on the same connection go on; meanwhile what waits has found its bound.
    let mut before = usize::MAX;
    while before != wrong.sent.load(Ordering::Relaxed) {
        before = wrong.sent.load(Ordering::Relaxed);
        for _ in 0..50 {
            BrokerClient::new(client.clone()).publish(publish("ok")).await.unwrap();
        }
    }
    assert!(before <= 64, "{before} messages of 64 KiB wait");
    drop(messages);
    assert_eq!(timeout(PATIENCE, ends.recv()).await.unwrap(), Some("stream"));
}

/// A later version of `PublishRequest`, and of its answer.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "micro_sdk::prost")]
struct Later {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(string, tag = "90")]
    added: String,
}

/// One in which a field is of another type.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(prost_path = "micro_sdk::prost")]
struct Other {
    #[prost(uint64, tag = "1")]
    topic: u64,
}

#[tokio::test]
async fn two_versions_of_a_schema_understand_each_other() {
    let (_, client, _ends) = wrong();
    let request = Later { topic: "ok".to_owned(), added: "by a later version".to_owned() };
    let answer: Later = client.unary("Broker.Publish", &request).await.unwrap();
    assert_eq!(answer, Later::default(), "what an earlier one does not send is empty");
    let error = client.unary::<Other, Later>("Broker.Publish", &Other { topic: 7 }).await.unwrap_err();
    assert_eq!((error.kind(), error.id.as_str()), (Kind::BadRequest, "test.Broker.Publish"));
}
