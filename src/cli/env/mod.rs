//! `micro env`: the servers that commands go to, by name.

mod add;
mod del;
mod list;
mod set;

use clap::{Args, Subcommand};

pub(super) use set::choose;

use super::{
    context::Context,
    failure::{Failure, exit},
};
use crate::config::{Config, Credentials, LOCAL};

/// Show and choose the environments commands go to.
///
/// The environment `local` is always there: the server of this home, which is started when it is
/// needed.
#[derive(Args)]
pub(super) struct Env {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// List the environments; the current one is marked.
    List,
    /// Print the name of the current environment.
    Get,
    Set(set::Set),
    Add(add::Add),
    Del(del::Del),
}

impl Env {
    pub(super) fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.action {
            None | Some(Action::List) => list::run(cx),
            Some(Action::Get) => Ok(cx.ui.text(&cx.environment()?.0)?),
            Some(Action::Set(set)) => set.run(cx),
            Some(Action::Add(add)) => add.run(cx),
            Some(Action::Del(del)) => del.run(cx),
        }
    }
}

/// Refuses an environment that is not configured.
fn check_known(config: &Config, name: &str) -> anyhow::Result<()> {
    if name == LOCAL || config.environments.contains_key(name) {
        return Ok(());
    }
    Err(Failure::new(exit::NOT_FOUND, format!("there is no environment `{name}`"))
        .hint("list them with `micro env`, add one with `micro env add NAME HOST:PORT`")
        .into())
}

/// Deletes the logins of an environment: a token of one server is not shown to the next one of that name.
fn forget_logins(environment: &str, cx: &Context) -> anyhow::Result<()> {
    cx.stored_credentials().change(|credentials: &mut Credentials| {
        credentials.forget(environment);
        Ok(())
    })
}
