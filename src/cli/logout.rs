//! `micro logout`.

use clap::Args;
use micro_sdk::{
    blocks::auth::AuthClient,
    proto::auth::{Options, RevokeTokenRequest},
};

use super::context::Context;
use crate::config::{Credentials, LOCAL, Login};

/// Log out of the current environment and namespace.
///
/// Later commands are anonymous; `micro login` logs in again, `micro login --local` makes you the
/// owner of the local environment again.
#[derive(Args)]
pub(super) struct Logout {}

impl Logout {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let (environment, _) = cx.environment()?;
        let namespace = cx.namespace()?;
        // Made while the login is there, so that the server knows who ends it.
        let connection = match cx.connect_if_running().await {
            Ok(connection) => Ok(connection),
            Err(_) => cx.connect_anonymously_if_running().await,
        };
        let before = cx.stored_credentials().change(|credentials: &mut Credentials| {
            let before = credentials.get(&environment, &namespace).cloned();
            let after = (environment == LOCAL).then_some(Login::Anonymous);
            credentials.set(&environment, &namespace, after);
            Ok(before)
        })?;
        // The login is gone here in any case; a server that is away cannot be told.
        if let Some(Login::Account { refresh_token, .. }) = before
            && let Ok(connection) = connection
        {
            let auth: AuthClient = connection.block("auth");
            let options = Some(Options { namespace });
            if let Err(error) = auth.revoke(RevokeTokenRequest { refresh_token, options }).await {
                cx.ui.warn(format_args!("the server did not end the login: {error}"));
            }
        }
        Ok(())
    }
}
