//! The service `catalog`.

mod handler;
pub mod proto;

use micro_sdk::Service;

pub use crate::handler::Catalog;
use crate::proto::catalog::CatalogServer;

/// Adds what this service does; the program and the tests run the same.
pub fn service(service: Service) -> Service {
    let catalog = Catalog::new(service.setting("catalog"));
    service.handle(CatalogServer::new(catalog))
}
