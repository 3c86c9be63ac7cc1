//! What a subscriber of `tracing` is told of a call. By itself, since there is one subscriber a process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use micro_sdk::{
    Context, Error, Result, Sender,
    blocks::broker::{Broker, BrokerClient, BrokerServer},
    proto::broker::{Empty, Message, PublishRequest, SubscribeRequest},
    testing::Harness,
    tracing,
};

struct Says;

impl Broker for Says {
    async fn publish(&self, _: Context, _: PublishRequest) -> Result<Empty> {
        Err(Error::conflict("no"))
    }

    async fn subscribe(&self, _: Context, _: SubscribeRequest, _: Sender<Message>) -> Result<()> {
        Ok(())
    }
}

/// Notes the spans that are opened, with their fields.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Spans {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.name() == "call"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        self.0.lock().unwrap().push(format!("{values:?}"));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &tracing::span::Id) {
        self.0.lock().unwrap().push("enter".to_owned());
    }

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn a_call_runs_in_a_span_with_the_id_of_its_request() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let harness = Harness::new();
    let says = BrokerClient::new(harness.serve(BrokerServer::new(Says))).header("x-request-id", "7f");
    says.publish(PublishRequest::default()).await.unwrap_err();
    let seen = spans.0.lock().unwrap().clone();
    assert!(seen[0].contains("7f") && seen[1] == "enter", "{seen:?}");
}
