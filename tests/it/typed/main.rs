//! Echoes well-known types; the rest of `proto` only has to compile.

#![deny(warnings)]

mod proto;

use std::time::{Duration, SystemTime};

use micro_sdk::prost_types::{self, Any, Timestamp, Value};
use micro_sdk::{Context, Error, Receiver, Result, Sender, Service, tokio};
use proto::google::protobuf::FieldDescriptorProto;
use proto::prelude::Option as Message;
use proto::typed::{Everything, Typed, TypedServer};

struct Handler;

fn later(time: Timestamp) -> Result<Timestamp> {
    let time = SystemTime::try_from(time).map_err(|e| Error::bad_request(e.to_string()))?;
    Ok((time + Duration::from_secs(3600)).into())
}

fn length(duration: prost_types::Duration) -> Result<Duration> {
    Duration::try_from(duration).map_err(|e| Error::bad_request(e.to_string()))
}

fn converted(duration: Duration) -> Result<prost_types::Duration> {
    duration.try_into().map_err(|e: prost_types::DurationError| Error::bad_request(e.to_string()))
}

impl Typed for Handler {
    async fn echo(&self, _: Context, mut request: Everything) -> Result<Everything> {
        request.at = request.at.map(|at| SystemTime::try_from(at).map(Timestamp::from)).transpose()
            .map_err(|e| Error::bad_request(e.to_string()))?;
        request.wait = request.wait.map(|wait| converted(length(wait)?)).transpose()?;
        Ok(request)
    }

    async fn later(&self, _: Context, request: Timestamp) -> Result<Timestamp> {
        later(request)
    }

    async fn tick(&self, _: Context, request: i32, replies: Sender<Timestamp>) -> Result<()> {
        for second in 0..request {
            replies.send(Timestamp { seconds: second.into(), nanos: 0 }).await?;
        }
        Ok(())
    }

    async fn sum(&self, _: Context, mut requests: Receiver<prost_types::Duration>) -> Result<prost_types::Duration> {
        let mut sum = Duration::ZERO;
        while let Some(duration) = requests.next().await? {
            sum += length(duration)?;
        }
        converted(sum)
    }

    async fn nothing(&self, _: Context, (): ()) -> Result<()> {
        Ok(())
    }

    async fn free(&self, _: Context, request: prost_types::Struct) -> Result<Value> {
        Ok(Value::from(request.fields))
    }

    async fn file(
        &self,
        _: Context,
        request: FieldDescriptorProto,
    ) -> Result<FieldDescriptorProto> {
        Ok(request)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let message = Message { some: "thing".to_owned(), ..Message::default() };
    let any = Any::from_msg(&message).map_err(|e| Error::internal(e.to_string()))?;
    assert_eq!(any.type_url, "type.googleapis.com/prelude.Option");
    assert_eq!(any.to_msg::<Message>().ok(), Some(message));
    Service::new("typed").handle(TypedServer::new(Handler)).run().await
}
