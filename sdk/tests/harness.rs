//! The harness: what it has in common with a server, and what a test can do with it.

mod scenario;

use std::time::Duration;

use micro_sdk::{
    Context, Error, Result, Sender, Service, Setting,
    blocks::broker::{Broker, BrokerClient, BrokerServer},
    proto::broker::{Empty, Message, PublishRequest, SubscribeRequest},
    testing::Harness,
};

#[tokio::test]
async fn the_store_and_the_settings_are_those_of_a_server() {
    scenario::run(&Harness::new().name("helloworld").context()).await.unwrap();
}

#[tokio::test]
async fn what_has_a_time_to_live_goes_when_it_is_over() {
    let harness = Harness::new();
    let table = harness.context().store().table::<u32>("t");
    table.put_with("a", &1, micro_sdk::store::Put::new().ttl(Duration::from_mins(1))).await.unwrap();
    harness.advance(Duration::from_secs(59));
    let entry = table.entry("a").await.unwrap().unwrap();
    assert!(entry.expires_in.unwrap() <= Duration::from_secs(1));
    harness.advance(Duration::from_secs(1));
    assert_eq!(table.get("a").await.unwrap(), None);
}

/// Says the setting it is given.
struct Says(Setting<String>);

impl Broker for Says {
    async fn publish(&self, _: Context, _: PublishRequest) -> Result<Empty> {
        Err(Error::conflict(self.0.get().as_str()))
    }

    async fn subscribe(&self, cx: Context, _: SubscribeRequest, _: Sender<Message>) -> Result<()> {
        cx.stopping().await;
        Ok(())
    }
}

/// As the `main` of a program would have it.
fn build(service: Service) -> Service {
    let setting = service.setting("test.word");
    service.handle(BrokerServer::new(Says(setting)))
}

#[tokio::test]
async fn a_setting_is_followed_and_keeps_its_last_good_value() {
    let harness = Harness::new();
    harness.set("test.word", "first");
    let says = BrokerClient::new(harness.run(build));
    let said = async || says.publish(PublishRequest::default()).await.unwrap_err().detail;
    assert_eq!(said().await, "first", "a call waits for the settings of its service");
    let follow = async |expected: &str| {
        let waiting = async {
            while said().await != expected {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), waiting)
            .await
            .unwrap_or_else(|_| panic!("no {expected}"));
    };
    harness.set("test.word", "second");
    follow("second").await;
    harness.set("test.word", 7);
    harness.set("test.other", 7);
    assert_eq!(said().await, "second", "a number is no text");
    harness.set("test.word", "third");
    follow("third").await;
    assert!(harness.context().config().delete("test.word").await.unwrap());
    follow("").await;
}

#[tokio::test]
#[should_panic(expected = "there is a service `other` already")]
async fn two_services_of_one_name_are_refused() {
    let says = || BrokerServer::new(Says(Harness::new().context().config().setting("x")));
    drop(Harness::new().service("other", says()).service("other", says()));
}
