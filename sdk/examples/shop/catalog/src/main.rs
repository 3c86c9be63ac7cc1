//! The program: runs the service on the server that started it, or on the one of this home.

use micro_sdk::{Service, tokio};

#[tokio::main]
async fn main() -> micro_sdk::Result<()> {
    let service = catalog::service(Service::new("catalog"));
    service.run().await
}
