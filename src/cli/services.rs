//! `micro services`.

use clap::Args;

use super::{context::Context, discover, known};
use crate::names::{BLOCKS, DEFAULT_NAMESPACE};

/// List the services in the registry.
#[derive(Args)]
pub(super) struct Services {}

impl Services {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let services = discover::list_briefly(&connection, connection.namespace()).await?;
        let mut names: Vec<String> = services.iter().map(|service| service.name.clone()).collect();
        names.dedup();
        if connection.namespace() != DEFAULT_NAMESPACE {
            // The building blocks serve every namespace.
            names.extend(BLOCKS.iter().map(|&name| name.to_owned()));
            names.sort();
            names.dedup();
        }
        cx.ui.names(&names)?;
        // Completion knows them from now on; if not, only that is lost.
        drop(known::learn(cx, &connection, services).await);
        Ok(())
    }
}
