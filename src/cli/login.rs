//! `micro login`.

use clap::Args;
use micro_sdk::{
    blocks::auth::AuthClient,
    proto::auth::{InspectRequest, Options, TokenRequest},
};
use serde_json::json;

use super::{
    context::{Context, TOKEN_LIFE},
    failure::{Failure, exit},
    given,
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
        let id = match self.username {
            Some(id) => id,
            None => cx.ui.ask("Enter username", "--username").await?,
        };
        let secret = given::secret(self.password, "Enter password", "--password", cx).await?;
        if secret.is_empty() {
            return Err(Failure::usage("--password is empty").into());
        }
        let id = log_in(id, secret, cx).await?;
        let record = json!({ "account": id, "namespace": namespace, "environment": environment });
        Ok(cx.ui.done("Successfully logged in.", &record)?)
    }
}

/// What is said of credentials that are not right, whatever code the server gives that.
pub(super) fn refused(error: micro_sdk::Error, hint: Option<&str>) -> anyhow::Error {
    match error.code {
        400 | 401 => {
            let hint = hint.map(str::to_owned);
            Failure { code: exit::NOT_ALLOWED, message: error.detail, hint }.into()
        }
        _ => error.into(),
    }
}

/// Logs in, and keeps the login for the environment and namespace of the command; returns the account's id.
///
/// # Errors
/// The account or its secret is not right; then nothing is changed.
pub(super) async fn log_in(id: String, secret: String, cx: &Context) -> anyhow::Result<String> {
    let (environment, _) = cx.environment()?;
    let namespace = cx.namespace()?;
    let connection = cx.connect_anonymously().await?;
    let auth: AuthClient = connection.block("auth");
    let request = TokenRequest {
        id,
        secret,
        token_expiry: TOKEN_LIFE,
        options: Some(Options { namespace: namespace.clone() }),
        ..TokenRequest::default()
    };
    // Nothing is changed before the new login is good.
    let unchanged = "nothing was changed: you are still who you were (see `micro user`)";
    let token = auth.token(request).await.map_err(|error| refused(error, Some(unchanged)))?;
    let token = token.token.unwrap_or_default();
    // On a server that is locked, only who is known may ask.
    let auth: AuthClient = connection.with_token(&token.access_token).block("auth");
    let inspected = auth.inspect(InspectRequest { token: token.access_token.clone(), options: None }).await?;
    let id = inspected.account.unwrap_or_default().id;
    cx.remember(&environment, &namespace, &id, &token)?;
    Ok(id)
}
