//! `micro user set password`.

use clap::Args;

use super::not_logged_in;
use crate::{
    cli::{auth, context::Context, failure::Failure, given, login},
    config::{Credentials, Identity},
    names,
};

/// Change your password; every other login of yours ends, and this one goes on.
#[derive(Args)]
pub(super) struct Password {
    /// The present password; `-` reads it from standard input.
    #[arg(long, visible_alias = "old_password", value_name = "SECRET")]
    old_password: Option<String>,
    /// The password from now on.
    #[arg(long, visible_alias = "new_password", value_name = "SECRET")]
    new_password: Option<String>,
}

impl Password {
    pub(super) async fn set(self, cx: &Context) -> anyhow::Result<()> {
        let (environment, _) = cx.environment()?;
        let namespace = cx.namespace()?;
        let credentials: Credentials = cx.stored_credentials().read()?;
        let (id, is_owner) = match credentials.identity(&environment, &namespace) {
            Identity::Account { id, .. } => (id.to_owned(), false),
            // The owner of the home sets the password of its administrator.
            Identity::Owner => (names::ADMINISTRATOR.to_owned(), true),
            Identity::Nobody => return Err(not_logged_in(&environment)),
        };
        let old = match self.old_password {
            None if is_owner => String::new(),
            old => given::secret(old, "Enter current password", "--old-password", cx).await?,
        };
        let asked = self.new_password.is_none();
        let new = given::secret(self.new_password, "Enter a new password", "--new-password", cx).await?;
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
}
