//! What a service can rely on of its store and its settings, in the harness as with a real server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use micro_sdk::{
    Context, Error, Result,
    prost::{Message, Name},
    store::{Put, Table},
};

/// A value of a .proto file.
#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "micro_sdk::prost")]
struct Product {
    #[prost(string, tag = "1")]
    name: String,
}

impl Name for Product {
    const NAME: &'static str = "Product";
    const PACKAGE: &'static str = "shop";
}

/// Uses all of it. The tables and settings it uses must be empty.
///
/// # Errors
/// What one of them answers that should not.
pub(crate) async fn run(cx: &Context) -> Result<()> {
    records(cx).await?;
    pages(cx).await?;
    messages(cx).await?;
    batches(cx).await?;
    blobs(cx).await?;
    settings(cx).await
}

fn code<T>(result: Result<T>) -> i32 {
    result.map_or_else(|error: Error| error.code, |_| 200)
}

async fn records(cx: &Context) -> Result<()> {
    let table = cx.store().table::<String>("scenario-records");
    assert_eq!(table.get("a").await?, None);
    let first = table.put("a", &"one".to_owned()).await?;
    let second = table.put("a", &"two".to_owned()).await?;
    assert!(second > first);
    assert_eq!(table.entry("a").await?.unwrap().version, second);
    assert_eq!(table.compare_and_set("a", Some(first), &"three".to_owned()).await?, None);
    assert!(table.compare_and_set("a", Some(second), &"three".to_owned()).await?.is_some());
    assert_eq!(table.compare_and_set("a", None, &"four".to_owned()).await?, None);
    assert!(table.compare_and_set("b", None, &"four".to_owned()).await?.is_some());
    let put = Put::new().ttl(Duration::from_mins(1)).metadata("colour", "red");
    table.put_with("c", &"five".to_owned(), put).await?;
    let entry = table.entry("c").await?.unwrap();
    assert!(entry.expires_in.is_some_and(|left| left <= Duration::from_mins(1)));
    assert_eq!(entry.metadata["colour"], "red");
    assert!(table.delete("a").await?);
    assert!(!table.delete("a").await?);
    assert_eq!(code(cx.store().table::<u32>("scenario-records").get("b").await), 500, "a text is no number");
    Ok(())
}

async fn keys(entries: micro_sdk::store::Entries<u32>) -> Result<Vec<String>> {
    Ok(entries.collect().await?.into_iter().map(|entry| entry.key).collect())
}

async fn pages(cx: &Context) -> Result<()> {
    let table: Table<u32> = cx.store().table("scenario-pages");
    for (number, key) in ["a", "b/1", "b/2", "b/3", "c"].into_iter().enumerate() {
        table.put(key, &(number as u32)).await?;
    }
    assert_eq!(keys(table.list("")).await?, ["a", "b/1", "b/2", "b/3", "c"]);
    assert_eq!(keys(table.list("b/")).await?, ["b/1", "b/2", "b/3"]);
    assert_eq!(keys(table.list("b/").descending().limit(2)).await?, ["b/3", "b/2"]);
    assert_eq!(keys(table.range("b/2", "c")).await?, ["b/2", "b/3"]);
    assert_eq!(keys(table.range("b", "c").descending()).await?, ["b/3", "b/2", "b/1"]);
    assert_eq!(keys(table.range("c", "b")).await?, [""; 0]);
    // From page to page, by the last key of the one before, though it was deleted meanwhile.
    let first = keys(table.list("").limit(2)).await?;
    table.delete(&first[1]).await?;
    assert_eq!(keys(table.list("").after(&first[1]).limit(2)).await?, ["b/2", "b/3"]);
    assert_eq!(keys(table.list("").after("")).await?.len(), 4);
    assert_eq!(keys(table.list("").after("c")).await?, [""; 0]);
    assert_eq!(keys(table.list("").descending().after("b/3")).await?, ["b/2", "a"]);
    assert_eq!(keys(table.range("b", "c").after("b/2")).await?, ["b/3"]);
    assert_eq!(keys(table.range("b", "c").after("a")).await?, ["b/2", "b/3"], "before its begin");
    assert_eq!(keys(table.range("b/2", "c").after("b/2")).await?, ["b/3"]);
    assert_eq!(keys(table.range("b", "c").descending().after("b/3")).await?, ["b/2"]);
    assert_eq!(keys(table.range("b", "c").descending().after("z")).await?, ["b/3", "b/2"], "behind its end");
    Ok(())
}

async fn messages(cx: &Context) -> Result<()> {
    let products = cx.store().messages::<Product>("scenario-products");
    let tea = Product { name: "Assam".to_owned() };
    products.put("tea", &tea).await?;
    let entry = products.entry("tea").await?.unwrap();
    assert_eq!(entry.value, tea);
    assert_eq!(entry.metadata[micro_sdk::store::MESSAGE], "shop.Product");
    cx.store().bytes("scenario-products").put("broken", &vec![0xff]).await?;
    let error = products.get("broken").await.unwrap_err();
    assert!(error.code == 500 && error.detail.contains("shop.Product"), "{error}");
    Ok(())
}

async fn batches(cx: &Context) -> Result<()> {
    let table = cx.store().table::<u32>("scenario-batches");
    let version = cx.store().batch().put(&table, "a", &1).put(&table, "b", &2).commit().await?;
    assert_eq!(table.entry("a").await?.unwrap().version, version);
    let stale = cx.store().batch().put(&table, "a", &3).delete_version(&table, "b", version + 1);
    assert_eq!(code(stale.commit().await), 412);
    assert_eq!(table.get("a").await?, Some(1), "all or none");
    cx.store().batch().delete(&table, "a").put(&table, "c", &4).commit().await?;
    assert_eq!(keys(table.list("")).await?, ["b", "c"]);
    Ok(())
}

async fn blobs(cx: &Context) -> Result<()> {
    let blobs = cx.store().blobs();
    assert_eq!(blobs.get("scenario/logo").await?, None);
    let info = blobs.put("scenario/logo", vec![7; 200_000]).await?;
    assert_eq!((info.size, info.digest.len()), (200_000, 64));
    assert_eq!(blobs.get("scenario/logo").await?.unwrap().len(), 200_000);
    drop(blobs.write("scenario/half"));
    assert_eq!(blobs.list("scenario/", "").await?.len(), 1);
    assert!(blobs.delete("scenario/logo").await?);
    assert!(!blobs.delete("scenario/logo").await?);
    Ok(())
}

async fn settings(cx: &Context) -> Result<()> {
    let config = cx.config();
    assert_eq!(config.get::<u32>("helloworld.most").await?, None);
    config.set("helloworld", &std::collections::BTreeMap::from([("most", 3)])).await?;
    config.set("helloworld.least", &1).await?;
    assert_eq!(config.get_or("helloworld.most", 9).await?, 3, "an object is merged with what is there");
    assert_eq!(code(config.get::<String>("helloworld.most").await), 500);
    let mut watch = config.watch::<u32>("helloworld.most");
    assert_eq!(watch.next().await?, Some(3));
    config.set("helloworld.most", &4).await?;
    assert_eq!(watch.next().await?, Some(4));
    assert!(config.delete("helloworld.most").await?);
    assert_eq!(watch.next().await?, None);
    assert!(!config.delete("helloworld.most").await?);
    Ok(())
}
