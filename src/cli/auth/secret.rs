//! `micro auth update secret`.

use clap::Args;
use micro_sdk::{blocks::auth::AccountsClient, proto::auth::ChangeSecretRequest};
use serde_json::json;

use super::options;
use crate::cli::{
    context::{Connection, Context},
    given,
};

/// Change the secret of an account; every login of it ends.
#[derive(Args)]
pub(super) struct NewSecret {
    /// Its id or name.
    id: String,
    /// The present secret; not needed for the accounts of others.
    #[arg(long, visible_alias = "old_secret", value_name = "SECRET")]
    old_secret: Option<String>,
    /// The secret from now on; `-` reads it from standard input.
    #[arg(long, visible_alias = "new_secret", value_name = "SECRET")]
    new_secret: Option<String>,
}

impl NewSecret {
    pub(super) async fn update(self, cx: &Context) -> anyhow::Result<()> {
        let Self { id, old_secret, new_secret } = self;
        let new_secret = given::secret(new_secret, "Enter the new secret", "--new-secret", cx).await?;
        change(&id, old_secret.unwrap_or_default(), new_secret, &cx.connect().await?).await?;
        Ok(cx.ui.done("Account updated", &json!({ "id": id }))?)
    }
}

/// Changes the secret of an account.
///
/// # Errors
/// The old one is not right, or the account may not change it.
pub(in crate::cli) async fn change(
    id: &str,
    old_secret: String,
    new_secret: String,
    connection: &Connection,
) -> anyhow::Result<()> {
    let accounts: AccountsClient = connection.block("auth");
    let options = Some(options(connection));
    accounts
        .change_secret(ChangeSecretRequest { id: id.to_owned(), old_secret, new_secret, options })
        .await?;
    Ok(())
}
