//! `micro auth`: the accounts and the access rules of a namespace.

mod account;
mod audit;
mod key;
mod rule;
pub(super) mod secret;
mod token;

use clap::{Args, Subcommand};
use micro_sdk::proto::auth::Options;

use super::context::{Connection, Context};

/// Manage the accounts and the access rules of a namespace.
///
/// A rule allows or refuses calls. Of those that name a call, the one with the highest priority that
/// concerns the caller decides; where none does, the call is refused. A new namespace has the rule
/// `default`, which lets everybody make every call.
#[derive(Args)]
pub(super) struct Auth {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List accounts or rules.
    List {
        #[command(subcommand)]
        what: List,
    },
    /// Create an account, a rule or a token.
    Create {
        #[command(subcommand)]
        what: Create,
    },
    /// Delete an account or a rule.
    Delete {
        #[command(subcommand)]
        what: Delete,
    },
    /// Change the secret of an account.
    Update {
        #[command(subcommand)]
        what: Update,
    },
    Audit(audit::Audit),
    /// Replace the key that tokens are signed with.
    Rotate {
        #[command(subcommand)]
        what: Rotate,
    },
}

#[derive(Subcommand)]
enum Rotate {
    /// Sign new tokens with a new key; those signed with the old one count until they expire.
    Key,
}

#[derive(Subcommand)]
enum List {
    /// List the accounts of the namespace.
    Accounts,
    /// List the rules of the namespace, in the order in which they are asked.
    Rules,
}

#[derive(Subcommand)]
enum Create {
    Account(account::NewAccount),
    Rule(rule::NewRule),
    Token(token::NewToken),
}

#[derive(Subcommand)]
enum Delete {
    /// Delete an account; all that was issued for it ends at once.
    Account {
        /// Its id or name.
        id: String,
    },
    /// Delete a rule; one that is not there is no failure.
    Rule {
        /// Its id.
        id: String,
    },
}

#[derive(Subcommand)]
enum Update {
    Secret(secret::NewSecret),
}

impl Auth {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.action {
            Action::List { what: List::Accounts } => account::list(cx).await,
            Action::List { what: List::Rules } => rule::list(cx).await,
            Action::Create { what: Create::Account(account) } => account.create(cx).await,
            Action::Create { what: Create::Rule(rule) } => rule.create(cx).await,
            Action::Create { what: Create::Token(token) } => token.create(cx).await,
            Action::Delete { what: Delete::Account { id } } => account::delete(id, cx).await,
            Action::Delete { what: Delete::Rule { id } } => rule::delete(id, cx).await,
            Action::Update { what: Update::Secret(secret) } => secret.update(cx).await,
            Action::Audit(audit) => audit.run(cx).await,
            Action::Rotate { what: Rotate::Key } => key::rotate(cx).await,
        }
    }
}

/// A time in seconds, as RFC 3339.
fn time(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(|at| at.to_string())
}

/// The namespace the requests are about.
fn options(connection: &Connection) -> Options {
    Options { namespace: connection.namespace().to_owned() }
}
