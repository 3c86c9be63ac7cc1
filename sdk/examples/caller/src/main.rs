//! A service without methods of its own: once a second it calls another one, `helloworld`.
//!
//! The client is generated from `proto/helloworld.proto`, a copy of the other service's file. In a project
//! of your own, `micro gen --from helloworld` fetches what the running service has registered instead.

mod proto;

use std::time::Duration;

use micro_sdk::{Context, Service, tokio};
use proto::helloworld::{CallRequest, HelloworldClient};

#[tokio::main]
async fn main() -> micro_sdk::Result<()> {
    let service = Service::new("caller");
    // What is done beside answering calls is a task of its own; it ends with `run`.
    tokio::spawn(call(service.context()));
    service.run().await
}

/// Calls for ever. The other service may start later, be updated or be gone for a while: a call says so by
/// its error, and the next one finds it again. What is printed is the service's log: `micro logs caller`.
async fn call(cx: Context) {
    let helloworld: HelloworldClient = cx.client("helloworld");
    loop {
        let request = CallRequest { name: "Jane".to_owned() };
        match helloworld.call(request).await {
            Ok(response) => println!("{}", response.msg),
            Err(error) => println!("cannot call helloworld: {} {error}", error.code),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
