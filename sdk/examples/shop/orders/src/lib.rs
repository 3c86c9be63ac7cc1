//! The service `orders`.

mod handler;
pub mod proto;

use micro_sdk::Service;

pub use crate::handler::Orders;
use crate::proto::orders::OrdersServer;

/// Adds what this service does; the program and the tests run the same.
pub fn service(service: Service) -> Service {
    service.handle(OrdersServer::new(Orders))
}
