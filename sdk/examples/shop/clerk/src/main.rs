//! A service without methods: it fills the catalog and orders from it, until it is stopped.
//!
//! ```sh
//! micro run clerk --scopes shop
//! micro logs clerk
//! ```

use std::time::Duration;

use micro_sdk::{Context, Result, Service, tokio};
use orders::proto::{
    catalog::{CatalogClient, Product},
    orders::{OrdersClient, PlaceRequest},
    shop::Money,
};

/// Between two orders.
const PAUSE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    let service = Service::new("clerk");
    tokio::spawn(work(service.context()));
    service.run().await
}

/// Orders again and again; what fails is said, and tried again with the next one.
async fn work(cx: Context) {
    for number in 1_u64.. {
        match once(&cx, number).await {
            Ok(left) => println!("order {number} is placed; {left} are left"),
            Err(error) => println!("order {number} failed: {error:?}"),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = cx.stopping() => return,
        }
    }
}

async fn once(cx: &Context, number: u64) -> Result<u32> {
    let mut import = cx.client::<CatalogClient>("catalog").import();
    let price = Some(Money { currency: "EUR".to_owned(), cents: 750 });
    import.send(Product { id: "tea".to_owned(), name: "Assam".to_owned(), price, stock: 10 }).await?;
    import.finish().await?;

    let orders: OrdersClient = cx.client("orders");
    let request = PlaceRequest { id: number.to_string(), product: "tea".to_owned(), count: 2 };
    let order = orders.place(request).await?;
    Ok(order.product.unwrap_or_default().stock)
}
