mod config;

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use micro_sdk::{
    blocks::auth::AuthClient,
    proto::auth::{InspectRequest, LocalRequest},
};

use crate::{
    cli::{
        auth,
        context::Context,
        duration,
        failure::{Failure, exit},
        given, login,
    },
    config::{Config, Credentials, Identity, LOCAL},
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
    /// Print a new access token, for curl and other programs.
    Token {
        /// How long it lives; 24 hours at most.
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = life)]
        expires: Duration,
    },
    /// Print the settings in effect, each with where it comes from; or keep one.
    Config {
        #[command(subcommand)]
        action: Option<config::Action>,
    },
    /// Print or choose the namespace for the current environment.
    Namespace {
        #[command(subcommand)]
        action: Option<Namespace>,
    },
}

#[derive(Subcommand)]
enum Set {
    /// Change your password; every other login of yours ends, and this one goes on.
    Password {
        /// The present password; `-` reads it from standard input.
        #[arg(long, visible_alias = "old_password", value_name = "SECRET")]
        old_password: Option<String>,
        /// The password from now on.
        #[arg(long, visible_alias = "new_password", value_name = "SECRET")]
        new_password: Option<String>,
    },
}

#[derive(Subcommand)]
enum Namespace {
    /// Choose the namespace for all later commands.
    Set {
        /// Its name.
        name: String,
    },
}

impl User {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.action {
            None => whoami(cx).await,
            Some(Action::Set { what: Set::Password { old_password, new_password } }) => {
                set_password(old_password, new_password, cx).await
            }
            Some(Action::Token { expires }) => token(expires, cx).await,
            Some(Action::Config { action }) => config::run(action, cx),
            Some(Action::Namespace { action: None }) => Ok(cx.ui.text(&cx.namespace()?)?),
            Some(Action::Namespace { action: Some(Namespace::Set { name }) }) => {
                set_namespace(Some(name), cx)
            }
        }
    }
}

/// Keeps the namespace of the current environment; none goes back to the default.
fn set_namespace(name: Option<String>, cx: &Context) -> anyhow::Result<()> {
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

async fn whoami(cx: &Context) -> anyhow::Result<()> {
    let (environment, _) = cx.environment()?;
    let credentials: Credentials = cx.stored_credentials().read()?;
    match credentials.identity(&environment, &cx.namespace()?) {
        // Also when no server runs.
        Identity::Owner => Ok(cx.ui.text(names::ADMINISTRATOR)?),
        Identity::Nobody => Err(not_logged_in(&environment)),
        Identity::Account { .. } => {
            let connection = cx.connect().await?;
            let auth: AuthClient = connection.block("auth")?;
            let token = connection.token().unwrap_or_default().to_owned();
            let account =
                auth.inspect(InspectRequest { token, options: None }).await?.account.unwrap_or_default();
            Ok(cx.ui.text(if account.name.is_empty() { &account.id } else { &account.name })?)
        }
    }
}

async fn set_password(old: Option<String>, new: Option<String>, cx: &Context) -> anyhow::Result<()> {
    let (environment, _) = cx.environment()?;
    let namespace = cx.namespace()?;
    let credentials: Credentials = cx.stored_credentials().read()?;
    let (id, is_owner) = match credentials.identity(&environment, &namespace) {
        Identity::Account { id, .. } => (id.to_owned(), false),
        // The owner of the home sets the password of its administrator.
        Identity::Owner => (names::ADMINISTRATOR.to_owned(), true),
        Identity::Nobody => return Err(not_logged_in(&environment)),
    };
    let old = match old {
        None if is_owner => String::new(),
        old => given::secret(old, "Enter current password", "--old-password", cx).await?,
    };
    let asked = new.is_none();
    let new = given::secret(new, "Enter a new password", "--new-password", cx).await?;
    if asked && cx.ui.ask_secret("Verify your password", "--new-password").await? != new {
        return Err(Failure::usage("the passwords do not match: nothing was changed").into());
    }
    auth::secret::change(&id, old, new.clone(), &cx.connect().await?).await?;
    if !is_owner {
        // The change has ended this login with all others.
        login::log_in(id, new, cx).await?;
    }
    Ok(())
}

/// The life of a token, at least a second.
fn life(text: &str) -> Result<Duration, String> {
    let life = duration(text)?;
    match life.as_secs() {
        0 => Err("it must be a second or more".to_owned()),
        1..=86_400 => Ok(life),
        _ => Err("it must be 24h or less".to_owned()),
    }
}

async fn token(life: Duration, cx: &Context) -> anyhow::Result<()> {
    let (environment, _) = cx.environment()?;
    let credentials: Credentials = cx.stored_credentials().read()?;
    let token = match credentials.identity(&environment, &cx.namespace()?) {
        Identity::Owner => {
            let auth: AuthClient = cx.connect().await?.block("auth")?;
            let token_expiry = i64::try_from(life.as_secs())?;
            let request = LocalRequest { token_expiry, ..LocalRequest::default() };
            auth.local(request).await?.token.context("the server made no token")?.access_token
        }
        Identity::Nobody => return Err(not_logged_in(&environment)),
        Identity::Account { .. } => cx.fresh_token(life).await?,
    };
    Ok(cx.ui.text(&token)?)
}

fn not_logged_in(environment: &str) -> anyhow::Error {
    let owner = if environment == LOCAL { ", or be the owner again with `micro login --local`" } else { "" };
    Failure::new(exit::NOT_ALLOWED, "not logged in").hint(format!("log in with `micro login`{owner}")).into()
}
