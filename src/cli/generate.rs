//! `micro gen`: code from .proto files.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    completion,
    context::Context,
    discover,
    failure::{Failure, exit},
    source,
};
use crate::{
    names::BLOCKS,
    scaffold::{generate, patch, sdk},
};

/// Generate the Rust code of a service's .proto files.
///
/// Reads the .proto files below `proto/` of a service and writes `src/proto/`. `micro run` does it by
/// itself.
#[derive(Args)]
pub(super) struct Gen {
    /// The folder of the service.
    #[arg(default_value = ".", add = completion::folders())]
    folder: PathBuf,
    /// Also generate a client of this running service, from what it registered; may be repeated.
    #[arg(long, value_name = "SERVICE", add = completion::described_services())]
    from: Vec<String>,
    /// Write nothing, and fail if something would be written: for checks of what is committed.
    #[arg(long, conflicts_with = "from")]
    check: bool,
}

impl Gen {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let has_sources = self.folder.join("proto").is_dir();
        if !has_sources && (self.from.is_empty() || !self.folder.join("Cargo.toml").is_file()) {
            return Err(Failure::new(
                exit::FAILED,
                format!("there is no folder `{}`", self.folder.join("proto").display()),
            )
            .hint(source::above(&self.folder, "gen").unwrap_or_else(|| {
                "run it in the folder of a service; make one with `micro new NAME`".to_owned()
            }))
            .into());
        }
        if self.check {
            return check(&self.folder);
        }
        let mut fetched = Vec::new();
        for service in &self.from {
            fetched.push(fetch(cx, service).await?);
        }
        let changed = generate::generate_with(&self.folder, &fetched)?;
        let shown = |path: &PathBuf| path.strip_prefix(".").unwrap_or(path).display().to_string();
        let paths: Vec<String> = changed.iter().map(shown).collect();
        cx.ui.names(&paths)?;
        if changed.is_empty() {
            cx.ui.say("everything is up to date");
        }
        if patch::is_needed(&self.folder)? {
            patch::ensure_patch(&self.folder, &sdk::unpack(&cx.home.data)?)?;
        }
        Ok(())
    }
}

/// Fails where the generated code is not that of the .proto files.
fn check(folder: &Path) -> anyhow::Result<()> {
    let outdated = generate::outdated(folder)?;
    if outdated.is_empty() {
        return Ok(());
    }
    let shown = |path: &PathBuf| format!("`{}`", path.strip_prefix(".").unwrap_or(path).display());
    let paths: Vec<String> = outdated.iter().map(shown).collect();
    Err(Failure::new(exit::FAILED, format!("the generated code is not up to date: {}", paths.join(", ")))
        .hint("run `micro gen`, and commit what it writes")
        .into())
}

/// The descriptors of a registered service, and their path in the project.
async fn fetch(cx: &Context, service: &str) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    if BLOCKS.contains(&service) {
        return Err(Failure::usage(format!("`{service}` is a building block, whose client the SDK has"))
            .hint("see `Context` of micro-sdk, and its module `blocks`")
            .into());
    }
    let connection = cx.connect().await?;
    let registered = discover::registered(&connection, service).await?;
    if registered.descriptor_hash.is_empty() {
        return Err(Failure::new(exit::FAILED, format!("`{service}` has registered no descriptors"))
            .hint("copy its .proto files into `proto/`, then run `micro gen`")
            .into());
    }
    let descriptors =
        discover::descriptors(cx, &connection, &registered.descriptor_hash, connection.namespace()).await?;
    let endpoints = registered.endpoints.iter();
    let handlers: HashSet<&str> =
        endpoints.filter_map(|endpoint| Some(endpoint.name.rsplit_once('.')?.0)).collect();
    if handlers.is_empty() {
        return Err(Failure::new(exit::FAILED, format!("`{service}` has no methods to call")).into());
    }
    generate::fetched(service, &handlers, &descriptors)
}
