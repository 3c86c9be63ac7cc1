//! What the service does: one function for each method of `proto/catalog.proto`.

use micro_sdk::{
    Context, Error, Receiver, Result, Sender, Setting,
    serde::Deserialize,
    store::Table,
    tokio::{select, sync::broadcast},
};

use crate::proto::catalog::{
    self, GetRequest, ImportResponse, ListRequest, ListResponse, Product, TakeRequest, WatchRequest,
};

/// How many changes a slow watcher may be behind.
const BEHIND: usize = 64;

/// What stands at `catalog` in the config.
#[derive(Debug, Deserialize)]
#[serde(crate = "micro_sdk::serde", default)]
pub struct Settings {
    /// How many products a page has.
    page: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { page: 20 }
    }
}

/// The handler.
pub struct Catalog {
    settings: Setting<Settings>,
    changes: broadcast::Sender<Product>,
}

impl Catalog {
    /// A catalog that looks at these settings with each call.
    pub fn new(settings: Setting<Settings>) -> Self {
        Self { settings, changes: broadcast::Sender::new(BEHIND) }
    }
}

/// The products, by their ids.
fn products(cx: &Context) -> Table<Product> {
    cx.store().messages("products")
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("there is no product `{id}`"))
}

impl catalog::Catalog for Catalog {
    async fn import(&self, cx: Context, mut requests: Receiver<Product>) -> Result<ImportResponse> {
        cx.require_scope("shop").await?;
        let products = products(&cx);
        let mut count = 0;
        // An upload that breaks off ends here, with an error.
        while let Some(product) = requests.next().await? {
            if product.id.is_empty() {
                return Err(Error::bad_request("a product needs an id"));
            }
            products.put(&product.id, &product).await?;
            count += 1;
            // Nobody may be watching.
            let _ = self.changes.send(product);
        }
        Ok(ImportResponse { count })
    }

    async fn get(&self, cx: Context, request: GetRequest) -> Result<Product> {
        products(&cx).get(&request.id).await?.ok_or_else(|| missing(&request.id))
    }

    async fn list(&self, cx: Context, request: ListRequest) -> Result<ListResponse> {
        let most = self.settings.get().page;
        let page = products(&cx).list("").after(&request.after).limit(most).collect().await?;
        let is_full = page.len() as u64 == most;
        let next = page.last().filter(|_| is_full).map(|entry| entry.key.clone()).unwrap_or_default();
        Ok(ListResponse { products: page.into_iter().map(|entry| entry.value).collect(), next })
    }

    async fn take(&self, cx: Context, request: TakeRequest) -> Result<Product> {
        let TakeRequest { id, count } = request;
        let products = products(&cx);
        loop {
            let entry = products.entry(&id).await?.ok_or_else(|| missing(&id))?;
            let mut product = entry.value;
            let stock = product.stock;
            product.stock = stock
                .checked_sub(count)
                .ok_or_else(|| Error::conflict(format!("there are {stock} of `{id}` left, not {count}")))?;
            if products.compare_and_set(&id, Some(entry.version), &product).await?.is_some() {
                return Ok(product);
            }
            // Somebody was faster: what is there now decides.
        }
    }

    async fn watch(&self, cx: Context, _: WatchRequest, replies: Sender<Product>) -> Result<()> {
        let mut changes = self.changes.subscribe();
        loop {
            select! {
                change = changes.recv() => match change {
                    Ok(product) => replies.send(product).await?,
                    Err(_) => return Err(Error::unavailable("too far behind: list, then watch again")),
                },
                () = cx.stopping() => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use micro_sdk::{testing::Harness, tokio};

    use super::*;
    use crate::proto::{catalog::CatalogClient, shop::Money};

    fn harness() -> Harness {
        Harness::new().name("catalog").account("jane", ["shop"])
    }

    fn client(harness: &Harness) -> CatalogClient {
        CatalogClient::new(harness.run(crate::service))
    }

    fn product(id: &str, stock: u32) -> Product {
        let price = Some(Money { currency: "EUR".to_owned(), cents: 750 });
        Product { id: id.to_owned(), name: id.to_uppercase(), price, stock }
    }

    async fn import(client: &CatalogClient, products: &[(&str, u32)]) -> Result<u32> {
        let mut upload = client.import();
        for (id, stock) in products {
            upload.send(product(id, *stock)).await?;
        }
        Ok(upload.finish().await?.count)
    }

    #[tokio::test]
    async fn what_was_imported_is_listed_page_by_page() -> Result<()> {
        let harness = harness();
        harness.set("catalog.page", 2);
        let client = client(&harness);
        assert_eq!(import(&client, &[("tea", 3), ("cup", 1), ("pot", 1)]).await?, 3);
        let first = client.list(ListRequest::default()).await?;
        assert_eq!(first.products.iter().map(|product| &*product.id).collect::<Vec<_>>(), ["cup", "pot"]);
        let rest = client.list(ListRequest { after: first.next }).await?;
        assert_eq!((rest.products, rest.next.as_str()), (vec![product("tea", 3)], ""));
        Ok(())
    }

    #[tokio::test]
    async fn who_imports_needs_the_scope() -> Result<()> {
        let harness = harness();
        let client = client(&harness);
        let visitor = client.with(|client| client.with_token(&harness.token("bob", [])));
        assert_eq!(import(&visitor, &[("tea", 1)]).await.unwrap_err().code, 403);
        Ok(())
    }

    #[tokio::test]
    async fn many_who_take_at_once_get_what_there_is_and_no_more() -> Result<()> {
        let client = client(&harness());
        import(&client, &[("tea", 5)]).await?;
        let take = |count| client.take(TakeRequest { id: "tea".to_owned(), count });
        let (a, b, c, d) = tokio::join!(take(2), take(2), take(2), take(2));
        let taken = [a, b, c, d].iter().filter(|taken| taken.is_ok()).count();
        assert_eq!(taken, 2);
        assert_eq!(client.get(GetRequest { id: "tea".to_owned() }).await?.stock, 1);
        Ok(())
    }

    #[tokio::test]
    async fn watchers_see_what_is_imported() -> Result<()> {
        let client = client(&harness());
        let mut watch = client.watch(WatchRequest {}).await?;
        import(&client, &[("tea", 1)]).await?;
        assert_eq!(watch.next().await?, Some(product("tea", 1)));
        Ok(())
    }
}
