//! The end of a service, as its handlers and what it does beside them see it.

use std::{
    future::pending,
    sync::{Arc, LazyLock},
};

use tokio::sync::watch;

use crate::Error;

/// The end, for who brings it about.
#[derive(Clone, Debug)]
pub(crate) struct End(Arc<Phases>);

#[derive(Debug)]
struct Phases {
    /// The service was asked to end: it takes no new calls.
    asked: watch::Sender<bool>,
    /// The calls that are still under way end now.
    over: watch::Sender<bool>,
}

impl End {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Phases { asked: watch::Sender::new(false), over: watch::Sender::new(false) }))
    }

    /// Of what serves without one.
    pub(crate) fn never() -> Self {
        static NEVER: LazyLock<End> = LazyLock::new(End::new);
        NEVER.clone()
    }

    /// Asks the service to end.
    pub(crate) fn ask(&self) {
        self.0.asked.send_replace(true);
    }

    /// Ends the calls that are still under way.
    pub(crate) fn cut(&self) {
        self.0.over.send_replace(true);
    }

    /// Becomes true when the service is asked to end.
    pub(crate) fn asked(&self) -> watch::Receiver<bool> {
        self.0.asked.subscribe()
    }

    pub(crate) fn is_asked(&self) -> bool {
        *self.0.asked.borrow()
    }

    /// Waits until the calls that are under way have to end; returns what they end with.
    pub(crate) async fn cutting(&self) -> Error {
        wait(self.0.over.subscribe()).await;
        Error::unavailable("the service ended before the call did; the same call may succeed now")
            .with_retry_after(1)
    }

    /// Waits until the service is asked to end.
    pub(crate) async fn asking(&self) {
        wait(self.asked()).await;
    }
}

async fn wait(mut phase: watch::Receiver<bool>) {
    if phase.wait_for(|reached| *reached).await.is_err() {
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use micro_proto::broker::{Empty, Message, PublishRequest, SubscribeRequest};
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        Address, Channel, Client, Context, Kind, Result, Sender, Service,
        blocks::broker::{Broker, BrokerClient, BrokerServer},
        listen,
    };

    /// Publishes for ever, and says when it begins; subscriptions end when the service is asked to, or never.
    struct Endless(mpsc::UnboundedSender<()>);

    impl Broker for Endless {
        async fn publish(&self, _: Context, _: PublishRequest) -> Result<Empty> {
            self.0.send(()).expect("the test waits");
            pending().await
        }

        async fn subscribe(&self, cx: Context, request: SubscribeRequest, to: Sender<Message>) -> Result<()> {
            to.send(Message::default()).await?;
            assert!(!cx.is_stopping());
            if request.topic == "polite" {
                cx.stopping().await;
            } else {
                pending::<()>().await;
            }
            assert!(cx.is_stopping());
            Ok(())
        }
    }

    #[tokio::test]
    async fn calls_end_when_they_like_and_at_last_with_an_error() {
        let end = End::new();
        let (begins, mut begun) = mpsc::unbounded_channel();
        let service = Service::new("test").handle(BrokerServer::new(Endless(begins)));
        let router = service.router_until(None, end.clone()).unwrap();
        let (sender, mut pipes) = mpsc::unbounded_channel();
        let asked = end.asked();
        tokio::spawn(async move {
            let pipe = pipes.recv().await.expect("a connection");
            let serve = move |request| {
                let router = router.clone();
                async move { router.serve(request).await }
            };
            listen::connection(pipe, serve, asked).await;
        });
        let client = BrokerClient::new(Client::new(Channel::new(Address::Pipe(sender)), "test"));
        let subscribe = async |topic: &str| {
            let request = SubscribeRequest { topic: topic.to_owned(), ..SubscribeRequest::default() };
            let mut messages = client.subscribe(request).await.unwrap();
            assert!(messages.next().await.unwrap().is_some());
            messages
        };
        let (mut polite, mut stuck) = (subscribe("polite").await, subscribe("stuck").await);
        let publishing = tokio::spawn({
            let client = client.clone();
            async move { client.publish(PublishRequest::default()).await }
        });
        begun.recv().await.unwrap();
        end.ask();
        assert_eq!(polite.next().await.unwrap(), None);
        end.cut();
        let error = stuck.next().await.unwrap_err();
        assert_eq!((error.code, error.kind(), error.retry_after), (503, Kind::Unavailable, Some(1)));
        assert_eq!(publishing.await.unwrap().unwrap_err().code, 503);
    }
}
