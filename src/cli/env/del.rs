//! `micro env del`.

use clap::Args;

use super::{check_known, forget_logins};
use crate::{
    cli::{
        completion,
        context::Context,
        failure::{Failure, exit},
    },
    config::{Config, LOCAL},
};

/// Remove an environment.
#[derive(Args)]
pub(super) struct Del {
    /// The name of an environment.
    #[arg(add = completion::environments())]
    name: String,
}

impl Del {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let name = self.name;
        cx.stored_config().change(|config: &mut Config| {
            check_known(config, &name)?;
            if name == LOCAL {
                return Err(Failure::usage("`local` is always there and cannot be removed").into());
            }
            if config.environment.as_ref() == Some(&name) {
                let text = format!("`{name}` is your current environment");
                return Err(Failure::new(exit::FAILED, text)
                    .hint("choose another one first, such as `micro env set local`")
                    .into());
            }
            config.environments.remove(&name);
            config.namespaces.remove(&name);
            Ok(())
        })?;
        forget_logins(&name, cx)
    }
}
