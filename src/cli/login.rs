use std::io;

use clap::Args;
use dialoguer::{Input, Password};
use micro_sdk::{
    blocks::auth::AuthClient,
    proto::auth::{InspectRequest, Options, TokenRequest},
};

use super::{
    context::{Context, TOKEN_LIFE},
    failure::{Failure, exit},
};
use crate::config::{Credentials, LOCAL};

/// Log in to the current environment and namespace.
///
/// A fresh server has the account `admin` with the password `micro`. The local environment needs
/// no login: without one, commands run as the owner of this home.
#[derive(Args)]
pub(super) struct Login {
    /// The name or id of the account.
    #[arg(long, visible_alias = "email", value_name = "NAME")]
    username: Option<String>,
    /// Its password; `-` reads it from standard input.
    #[arg(long, value_name = "SECRET")]
    password: Option<String>,
    /// Forget the login to the local environment and be its owner again.
    #[arg(long, conflicts_with_all = ["username", "password"])]
    local: bool,
}

impl Login {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let (environment, _) = cx.environment()?;
        let namespace = cx.namespace()?;
        if self.local {
            if environment != LOCAL {
                return Err(Failure::usage(format!(
                    "--local is for the environment `local`, not `{environment}`"
                ))
                .into());
            }
            cx.stored_credentials().change(|credentials: &mut Credentials| {
                credentials.set(LOCAL, &namespace, None);
                Ok(())
            })?;
            cx.ui.say("you are the owner of the local environment again");
            return Ok(());
        }
        let id = answer(cx, self.username, "--username", || {
            Ok(Input::new().with_prompt("Enter username").interact_text()?)
        })?;
        let secret = match self.password.as_deref() {
            Some("-") => {
                let mut line = String::new();
                io::stdin().read_line(&mut line)?;
                line.trim_end_matches(['\r', '\n']).to_owned()
            }
            _ => answer(cx, self.password, "--password", || {
                Ok(Password::new().with_prompt("Enter password").interact()?)
            })?,
        };
        let connection = cx.connect_anonymously().await?;
        let auth: AuthClient = connection.block("auth")?;
        let request = TokenRequest {
            id,
            secret,
            token_expiry: TOKEN_LIFE,
            options: Some(Options { namespace: namespace.clone() }),
            ..TokenRequest::default()
        };
        // Nothing is changed before the new login is good.
        let token = auth.token(request).await.map_err(|error| match error.code {
            400 | 401 => anyhow::Error::from(
                Failure::new(exit::NOT_ALLOWED, error.detail)
                    .hint("nothing was changed: you are still who you were (see `micro user`)"),
            ),
            _ => error.into(),
        })?;
        let token = token.token.unwrap_or_default();
        let inspected =
            auth.inspect(InspectRequest { token: token.access_token.clone(), options: None }).await?;
        cx.remember(&environment, &namespace, &inspected.account.unwrap_or_default().id, &token)?;
        Ok(cx.ui.line("Successfully logged in.")?)
    }
}

/// What was given, or what a person answers; where nobody can be asked the flag is missing.
fn answer(
    cx: &Context,
    given: Option<String>,
    flag: &str,
    ask: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    match given {
        Some(given) => Ok(given),
        None if cx.ui.can_ask() => ask(),
        None => Err(Failure::usage(format!("{flag} is missing, and nobody can be asked")).into()),
    }
}
