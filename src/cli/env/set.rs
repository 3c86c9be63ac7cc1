//! `micro env set`.

use clap::Args;

use super::check_known;
use crate::{
    cli::{completion, context::Context},
    config::Config,
};

/// Choose the environment for all later commands.
#[derive(Args)]
pub(super) struct Set {
    /// The name of an environment.
    #[arg(add = completion::environments())]
    name: String,
}

impl Set {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        choose(Some(self.name), cx)
    }
}

/// Chooses the environment for all later commands; none goes back to the default.
///
/// # Errors
/// There is no such environment.
pub(in crate::cli) fn choose(name: Option<String>, cx: &Context) -> anyhow::Result<()> {
    cx.stored_config().change(|config: &mut Config| {
        name.iter().try_for_each(|name| check_known(config, name))?;
        config.environment = name;
        Ok(())
    })
}
