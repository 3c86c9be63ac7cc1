//! `micro user token`.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use micro_sdk::{blocks::auth::AuthClient, proto::auth::LocalRequest};

use super::not_logged_in;
use crate::{
    cli::{context::Context, duration},
    config::{Credentials, Identity},
};

/// Print a new access token, for curl and other programs.
#[derive(Args)]
pub(super) struct NewToken {
    /// How long it lives; 24 hours at most.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = life)]
    expires: Duration,
}

impl NewToken {
    pub(super) async fn create(self, cx: &Context) -> anyhow::Result<()> {
        let (environment, _) = cx.environment()?;
        let credentials: Credentials = cx.stored_credentials().read()?;
        let token = match credentials.identity(&environment, &cx.namespace()?) {
            Identity::Owner => {
                let auth: AuthClient = cx.connect().await?.block("auth");
                let token_expiry = i64::try_from(self.expires.as_secs())?;
                let request = LocalRequest { token_expiry, ..LocalRequest::default() };
                auth.local(request).await?.token.context("the server made no token")?.access_token
            }
            Identity::Nobody => return Err(not_logged_in(&environment)),
            Identity::Account { .. } => cx.fresh_token(self.expires).await?,
        };
        Ok(cx.ui.text(&token)?)
    }
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
