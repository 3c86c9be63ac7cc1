//! `micro auth create|list|delete` for accounts.

use anyhow::Context as _;
use clap::Args;
use micro_sdk::{
    blocks::auth::{AccountsClient, AuthClient},
    proto::auth::{Account, DeleteAccountRequest, GenerateRequest, ListAccountsRequest},
};
use serde_json::{Value, json};

use super::{options, time};
use crate::cli::{
    context::Context,
    failure::{Failure, exit},
};

/// Create an account; the only time its secret is shown.
#[derive(Args)]
pub(super) struct NewAccount {
    /// Its id.
    id: String,
    /// Its secret; a random one if none is given, `-` reads it from standard input.
    #[arg(long)]
    secret: Option<String>,
    /// What it may do, as rules name it; `admin` manages the namespace. Repeated or with commas.
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<String>,
    /// What it is: `user` or `service`.
    #[arg(long = "type", default_value = "user", value_name = "TYPE", hide_possible_values = true)]
    #[arg(value_parser = ["user", "service"])]
    kind: String,
    /// A second name to log in with.
    #[arg(long)]
    name: Option<String>,
}

impl NewAccount {
    pub(super) async fn create(self, cx: &Context) -> anyhow::Result<()> {
        let given = match self.secret {
            Some(given) if given == "-" => cx.ui.line_of_input().await?,
            Some(given) if given.is_empty() => return Err(Failure::usage("--secret is empty").into()),
            given => given.unwrap_or_default(),
        };
        let connection = cx.connect().await?;
        let auth: AuthClient = connection.block("auth");
        let request = GenerateRequest {
            id: self.id,
            name: self.name.unwrap_or_default(),
            r#type: self.kind,
            secret: given,
            scopes: self.scopes,
            options: Some(options(&connection)),
            ..GenerateRequest::default()
        };
        let account = auth.generate(request).await?.account.context("the server made no account")?;
        let mut shown = record(&account);
        shown["secret"] = account.secret.into();
        let printed = cx.ui.done(format_args!("Account created: {shown}"), &shown);
        let lost = || format!("account {} was created, but its secret could not be printed", account.id);
        printed.with_context(lost).map_err(|error| {
            let hint = format!("give it another one with `micro auth update secret {}`", account.id);
            Failure::new(exit::FAILED, format!("{error:#}")).hint(hint).into()
        })
    }
}

pub(super) async fn list(cx: &Context) -> anyhow::Result<()> {
    let connection = cx.connect().await?;
    let accounts: AccountsClient = connection.block("auth");
    let request = ListAccountsRequest { options: Some(options(&connection)) };
    let mut accounts = accounts.list(request).await?.accounts;
    accounts.sort_by(|a, b| a.id.cmp(&b.id));
    let records: Vec<Value> = accounts.iter().map(record).collect();
    let or_none = |text: String| if text.is_empty() { "n/a".to_owned() } else { text };
    let joined = |value: &Value| {
        let parts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        or_none(parts.collect::<Vec<_>>().join(", "))
    };
    cx.ui.records(&records, &["ID", "NAME", "TYPE", "SCOPES", "METADATA"], |record| {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let pairs = record["metadata"].as_object().into_iter().flatten();
        let pairs: Vec<String> =
            pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
        vec![text("id"), text("name"), text("type"), joined(&record["scopes"]), or_none(pairs.join(", "))]
    })
}

pub(super) async fn delete(id: String, cx: &Context) -> anyhow::Result<()> {
    let connection = cx.connect().await?;
    let accounts: AccountsClient = connection.block("auth");
    accounts.delete(DeleteAccountRequest { id, options: Some(options(&connection)) }).await?;
    Ok(())
}

fn record(account: &Account) -> Value {
    let metadata: std::collections::BTreeMap<_, _> = account.metadata.iter().collect();
    // In the metadata it stands in seconds, as Micro v4 has it.
    let created = account.metadata.get("created").and_then(|seconds| seconds.parse().ok());
    json!({
        "id": account.id, "name": account.name, "type": account.r#type, "scopes": account.scopes,
        "issuer": account.issuer, "created": created.and_then(time), "metadata": metadata,
    })
}
