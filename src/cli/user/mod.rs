//! `micro user`: who the caller is, with what settings and in what namespace.

mod config;
mod namespace;
mod password;
mod token;

use clap::{Args, Subcommand};
use micro_sdk::{blocks::auth::AuthClient, proto::auth::InspectRequest};

use super::{
    context::Context,
    failure::{Failure, exit},
};
use crate::{
    config::{Credentials, Identity, LOCAL},
    names,
};

/// Print who you are in the current environment; `micro user config` prints all that is in effect.
#[derive(Args)]
pub(super) struct User {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Change something of yours.
    Set {
        #[command(subcommand)]
        what: Set,
    },
    Token(token::NewToken),
    /// Print the settings in effect, each with where it comes from; or keep one.
    Config {
        #[command(subcommand)]
        action: Option<config::Action>,
    },
    /// Print or choose the namespace for the current environment.
    Namespace {
        #[command(subcommand)]
        action: Option<namespace::Action>,
    },
}

#[derive(Subcommand)]
enum Set {
    Password(password::Password),
}

impl User {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.action {
            None => whoami(cx).await,
            Some(Action::Set { what: Set::Password(password) }) => password.set(cx).await,
            Some(Action::Token(token)) => token.create(cx).await,
            Some(Action::Config { action }) => config::run(action, cx),
            Some(Action::Namespace { action }) => namespace::run(action, cx),
        }
    }
}

async fn whoami(cx: &Context) -> anyhow::Result<()> {
    let (environment, _) = cx.environment()?;
    let credentials: Credentials = cx.stored_credentials().read()?;
    match credentials.identity(&environment, &cx.namespace()?) {
        // Also when no server runs.
        Identity::Owner => Ok(cx.ui.text(names::ADMINISTRATOR)?),
        Identity::Nobody => Err(not_logged_in(&environment)),
        Identity::Account { .. } => {
            let connection = cx.connect().await?;
            let auth: AuthClient = connection.block("auth");
            let token = connection.token().unwrap_or_default().to_owned();
            let account =
                auth.inspect(InspectRequest { token, options: None }).await?.account.unwrap_or_default();
            Ok(cx.ui.text(if account.name.is_empty() { &account.id } else { &account.name })?)
        }
    }
}

fn not_logged_in(environment: &str) -> anyhow::Error {
    let owner = if environment == LOCAL { ", or be the owner again with `micro login --local`" } else { "" };
    Failure::new(exit::NOT_ALLOWED, "not logged in").hint(format!("log in with `micro login`{owner}")).into()
}
