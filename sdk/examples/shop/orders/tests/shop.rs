//! The shop on a real server, which is started in a temporary home: the program `micro` has to be in `PATH`, or
//! named by the variable `MICRO_PROGRAM`.

use micro_sdk::{Kind, Result, testing::Server, tokio};
use orders::proto::{
    catalog::{CatalogClient, Product},
    orders::{OrdersClient, PlaceRequest},
};

fn order(id: &str, count: u32) -> PlaceRequest {
    PlaceRequest { id: id.to_owned(), product: "tea".to_owned(), count }
}

#[tokio::test]
async fn what_is_ordered_is_taken_from_the_catalog() -> Result<()> {
    let server = Server::start().await?;
    server.run("orders", orders::service).await?;
    // The owner of the home is the administrator for services too.
    let orders: OrdersClient = server.client("orders");
    let early = orders.place(order("1", 2)).await.unwrap_err();
    assert_eq!(early.kind(), Kind::Unavailable, "the catalog does not run yet");

    server.run("catalog", catalog::service).await?;
    let catalog: CatalogClient = server.client("catalog");
    let mut import = catalog.import();
    import.send(Product { id: "tea".to_owned(), stock: 3, ..Product::default() }).await?;
    assert_eq!(import.finish().await?.count, 1);

    let placed = orders.place(order("1", 2)).await?;
    assert_eq!((placed.customer.as_str(), placed.product.map(|product| product.stock)), ("admin", Some(1)));
    let error = orders.place(order("2", 2)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");

    // What the services keep can be read as JSON.
    let output = server.micro(["store", "read", "-t", "catalog", "products/tea"]).await?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"id\":\"tea\",\"name\":\"\",\"stock\":1}\n");

    // And the services be called as from any shell.
    let output = server.micro(["catalog", "get", "--id=tea", "-o", "jsonl"]).await?;
    assert!(String::from_utf8_lossy(&output.stdout).contains("tea"), "{output:?}");

    server.stop().await
}

#[tokio::test]
async fn a_catalog_that_ends_ends_its_streams_cleanly() -> Result<()> {
    let server = Server::start().await?;
    server.run("catalog", catalog::service).await?;
    let catalog: CatalogClient = server.client("catalog");
    let mut watch = catalog.watch(Default::default()).await?;
    let waiting = tokio::spawn(async move { watch.next().await });
    server.stop().await?;
    assert_eq!(waiting.await.expect("no panic")?, None);
    Ok(())
}
