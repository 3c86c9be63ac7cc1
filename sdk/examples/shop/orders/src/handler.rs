//! What the service does: one function for each method of `proto/orders.proto`.

use std::time::Duration;

use micro_sdk::{
    Context, Error, Kind, Result,
    store::{Put, Table},
};

use crate::proto::{
    catalog::{CatalogClient, TakeRequest},
    orders::{self, GetRequest, Order, PlaceRequest},
};

/// How long the catalog may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The handler.
pub struct Orders;

/// The orders, by customer and id.
fn all(cx: &Context) -> Table<Order> {
    cx.store().messages("orders")
}

impl orders::Orders for Orders {
    async fn place(&self, cx: Context, request: PlaceRequest) -> Result<Order> {
        let PlaceRequest { id, product, count } = request;
        if id.is_empty() || count == 0 {
            return Err(Error::bad_request("an order has an id, and a count of 1 or more"));
        }
        let customer = cx.caller().await?.id;
        let (orders, key) = (all(&cx), format!("{customer}/{id}"));
        let mut order = Order { id, customer, product: None, count };
        // The order comes first: of two requests with one id, one makes it, and the other finds it.
        match orders.put_with(&key, &order, Put::new().if_absent()).await {
            Ok(_) => {}
            Err(error) if error.kind() == Kind::Precondition => {
                let known = orders.get(&key).await?.filter(|known| known.product.is_some());
                return known.ok_or_else(|| Error::conflict("this order is being placed"));
            }
            Err(error) => return Err(error),
        }
        let catalog = cx.client::<CatalogClient>("catalog").timeout(PATIENCE);
        match catalog.take(TakeRequest { id: product, count }).await {
            Ok(taken) => {
                order.product = Some(taken);
                orders.put(&key, &order).await?;
                Ok(order)
            }
            Err(error) => {
                orders.delete(&key).await?;
                Err(match error.kind() {
                    // What the catalog says of its products is for the customer.
                    Kind::NotFound | Kind::Conflict => error,
                    Kind::Unreachable | Kind::Unavailable | Kind::Deadline => {
                        Error::unavailable("the catalog does not answer; order again later")
                            .with_retry_after(5)
                    }
                    _ => error,
                })
            }
        }
    }

    async fn get(&self, cx: Context, request: GetRequest) -> Result<Order> {
        let customer = cx.caller().await?.id;
        let order = all(&cx).get(&format!("{customer}/{}", request.id)).await?;
        order.ok_or_else(|| Error::not_found(format!("you have no order `{}`", request.id)))
    }
}

#[cfg(test)]
mod tests {
    use micro_sdk::{testing::Harness, tokio};

    use super::*;
    use crate::proto::{
        catalog::{Catalog, CatalogServer, Product},
        orders::OrdersClient,
    };

    /// A catalog with nothing but `tea`; its other methods answer 501 by themselves.
    struct Tea;

    impl Catalog for Tea {
        async fn take(&self, _: Context, request: TakeRequest) -> Result<Product> {
            match request.id.as_str() {
                "tea" => Ok(Product { id: request.id, stock: 1, ..Product::default() }),
                "silence" => std::future::pending().await,
                other => Err(Error::not_found(format!("there is no product `{other}`"))),
            }
        }
    }

    fn client() -> OrdersClient {
        let harness = Harness::new().account("jane", []).service("catalog", CatalogServer::new(Tea));
        OrdersClient::new(harness.run(crate::service))
    }

    fn order(id: &str, product: &str) -> PlaceRequest {
        PlaceRequest { id: id.to_owned(), product: product.to_owned(), count: 2 }
    }

    #[tokio::test]
    async fn an_order_is_placed_once_however_often_it_is_said() -> Result<()> {
        let client = client();
        let placed = client.place(order("1", "tea")).await?;
        assert_eq!((placed.customer.as_str(), placed.count), ("jane", 2));
        assert_eq!(client.place(order("1", "tea")).await?, placed);
        assert_eq!(client.get(GetRequest { id: "1".to_owned() }).await?, placed);
        Ok(())
    }

    #[tokio::test]
    async fn an_order_that_cannot_be_filled_leaves_nothing() {
        let client = client();
        let error = client.place(order("1", "cup")).await.unwrap_err();
        assert_eq!((error.kind(), error.detail.as_str()), (Kind::NotFound, "there is no product `cup`"));
        let error = client.place(order("1", "silence")).await.unwrap_err();
        assert_eq!((error.kind(), error.retry_after), (Kind::Unavailable, Some(5)));
        client.place(order("1", "tea")).await.unwrap();
    }

    #[tokio::test]
    async fn without_a_catalog_customers_are_told_to_come_back() {
        let harness = Harness::new().account("jane", []);
        let client = OrdersClient::new(harness.run(crate::service));
        assert_eq!(client.place(order("1", "tea")).await.unwrap_err().kind(), Kind::Unavailable);
        let nobody = OrdersClient::new(Harness::new().run(crate::service));
        assert_eq!(nobody.place(order("1", "tea")).await.unwrap_err().kind(), Kind::Unauthorized);
    }
}
