//! `micro user namespace`.

use clap::Subcommand;

use crate::{
    cli::{context::Context, failure::Failure},
    config::Config,
    names,
};

#[derive(Subcommand)]
pub(super) enum Action {
    /// Choose the namespace for all later commands.
    Set {
        /// Its name.
        name: String,
    },
}

/// Chooses a namespace, or prints the current one.
pub(super) fn run(action: Option<Action>, cx: &Context) -> anyhow::Result<()> {
    match action {
        None => Ok(cx.ui.text(&cx.namespace()?)?),
        Some(Action::Set { name }) => choose(Some(name), cx),
    }
}

/// Keeps the namespace of the current environment; none goes back to the default.
pub(super) fn choose(name: Option<String>, cx: &Context) -> anyhow::Result<()> {
    if let Some(name) = &name {
        names::check_namespace(name).map_err(|e| Failure::usage(e.to_string()))?;
    }
    let (environment, _) = cx.environment()?;
    cx.stored_config().change(|config: &mut Config| {
        match name {
            Some(name) => config.namespaces.insert(environment, name),
            None => config.namespaces.remove(&environment),
        };
        Ok(())
    })
}
