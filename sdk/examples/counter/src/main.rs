//! A service that counts in its store, together with all other instances of it: a record is changed only where
//! nobody has changed it since it was read.
//!
//! ```sh
//! micro run . --instances 3
//! micro store read --table counter runs/total
//! ```

use std::time::Duration;

use micro_sdk::{Context, Service, tokio};

#[tokio::main]
async fn main() -> micro_sdk::Result<()> {
    let service = Service::new("counter");
    // What is done beside answering calls is a task of its own; it ends with `run`.
    tokio::spawn(count(service.context()));
    service.run().await
}

/// Counts on once a second. What fails is tried again: the server may be away for a while.
async fn count(cx: Context) {
    loop {
        match increment(&cx, "total").await {
            Ok(total) => println!("counted to {total}"),
            Err(error) => println!("cannot count: {error}"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Adds one to a number, and returns the sum. No number is lost, however many do so at once.
async fn increment(cx: &Context, key: &str) -> micro_sdk::Result<u64> {
    let runs = cx.store().table::<u64>("runs");
    loop {
        let entry = runs.entry(key).await?;
        let (before, version) = entry.map_or((0, None), |entry| (entry.value, Some(entry.version)));
        // None: somebody was faster, so their number is read first.
        if runs.compare_and_set(key, version, &(before + 1)).await?.is_some() {
            return Ok(before + 1);
        }
    }
}
