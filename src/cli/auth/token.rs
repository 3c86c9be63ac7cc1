//! `micro auth create token`.

use anyhow::Context as _;
use clap::Args;
use micro_sdk::{blocks::auth::AuthClient, proto::auth::TokenRequest};
use serde_json::json;

use super::{options, time};
use crate::cli::{
    context::{Context, TOKEN_LIFE},
    given, login,
};

/// Create a token of an account, for a program that cannot log in.
#[derive(Args)]
pub(super) struct NewToken {
    /// The id or name of the account.
    #[arg(long)]
    id: String,
    /// Its secret; `-` reads it from standard input.
    #[arg(long)]
    secret: Option<String>,
    /// How long the access token lives, in seconds; 24 hours at most.
    #[arg(long, value_name = "SECONDS", default_value_t = TOKEN_LIFE)]
    #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(1..))]
    expiry: i64,
}

impl NewToken {
    pub(super) async fn create(self, cx: &Context) -> anyhow::Result<()> {
        let secret = given::secret(self.secret, "Enter its secret", "--secret", cx).await?;
        let connection = cx.connect_anonymously().await?;
        let auth: AuthClient = connection.block("auth");
        let request = TokenRequest {
            id: self.id,
            secret,
            token_expiry: self.expiry,
            options: Some(options(&connection)),
            ..TokenRequest::default()
        };
        let token = auth.token(request).await.map_err(|error| login::refused(error, None))?;
        let token = token.token.context("the server made no token")?;
        let shown = json!({
            "access_token": token.access_token, "refresh_token": token.refresh_token,
            "created": time(token.created), "expiry": time(token.expiry),
        });
        Ok(cx.ui.done(format_args!("Token created: {shown}"), &shown)?)
    }
}
