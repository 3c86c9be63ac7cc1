mod audit;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use micro_sdk::{
    blocks::auth::{AccountsClient, AuthClient, RulesClient},
    proto::auth::{
        Access, Account, ChangeSecretRequest, CreateRequest, DeleteAccountRequest, DeleteRequest,
        GenerateRequest, ListAccountsRequest, ListRequest, Options, Resource, RotateKeyRequest, Rule,
        TokenRequest,
    },
};
use serde_json::{Value, json};

use super::{
    context::{Connection, Context, TOKEN_LIFE},
    failure::{Failure, exit},
    login,
};

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
    Account(NewAccount),
    Rule(NewRule),
    Token(NewToken),
}

/// Create an account; the only time its secret is shown.
#[derive(Args)]
struct NewAccount {
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

/// Create a rule.
///
/// For example, to let only accounts with the scope `staff` call the service `orders`:
/// micro auth create rule --scope=staff --resource=service:orders:* --priority=1 staff-only
#[derive(Args)]
struct NewRule {
    /// Its id.
    id: String,
    /// Whom it concerns: accounts with this scope, `*` for any account of the namespace, `+` for any
    /// account at all; everybody if none is given.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    scope: String,
    /// What it is about, TYPE:NAME:ENDPOINT, such as `service:helloworld:Helloworld.Call`; each part
    /// may be `*`.
    #[arg(long, default_value = "*:*:*")]
    resource: String,
    /// What it does.
    #[arg(long, value_enum, default_value = "granted")]
    access: Decision,
    /// Rules of higher priority are asked first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Decision {
    Granted,
    Denied,
}

/// Create a token of an account, for a program that cannot log in.
#[derive(Args)]
struct NewToken {
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
    /// Change the secret of an account; every login of it ends.
    Secret {
        /// Its id or name.
        id: String,
        /// The present secret; not needed for the accounts of others.
        #[arg(long, visible_alias = "old_secret", value_name = "SECRET")]
        old_secret: Option<String>,
        /// The secret from now on; `-` reads it from standard input.
        #[arg(long, visible_alias = "new_secret", value_name = "SECRET")]
        new_secret: Option<String>,
    },
}

impl Auth {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.action {
            Action::List { what: List::Accounts } => list_accounts(cx).await,
            Action::List { what: List::Rules } => list_rules(cx).await,
            Action::Create { what: Create::Account(account) } => account.create(cx).await,
            Action::Create { what: Create::Rule(rule) } => rule.create(cx).await,
            Action::Create { what: Create::Token(token) } => token.create(cx).await,
            Action::Delete { what: Delete::Account { id } } => {
                let connection = cx.connect().await?;
                let accounts: AccountsClient = connection.block("auth")?;
                accounts.delete(DeleteAccountRequest { id, options: Some(options(&connection)) }).await?;
                Ok(())
            }
            Action::Delete { what: Delete::Rule { id } } => {
                let connection = cx.connect().await?;
                let rules: RulesClient = connection.block("auth")?;
                let request = DeleteRequest { id: id.clone(), options: Some(options(&connection)) };
                if !rules.delete(request).await?.missing {
                    return Ok(cx.ui.done("Rule deleted", &json!({ "id": id }))?);
                }
                // As Micro v4: no failure.
                let namespace = connection.namespace();
                cx.ui.warn(format_args!("there was no rule {id} in namespace {namespace}"));
                Ok(())
            }
            Action::Audit(audit) => audit.run(cx).await,
            Action::Rotate { what: Rotate::Key } => rotate_key(cx).await,
            Action::Update { what: Update::Secret { id, old_secret, new_secret } } => {
                let new_secret = secret(new_secret, "Enter the new secret", "--new-secret", cx).await?;
                change_secret(&id, old_secret.unwrap_or_default(), new_secret, &cx.connect().await?).await?;
                Ok(cx.ui.done("Account updated", &json!({ "id": id }))?)
            }
        }
    }
}

async fn rotate_key(cx: &Context) -> anyhow::Result<()> {
    let connection = cx.connect().await?;
    let auth: AuthClient = connection.block("auth")?;
    let rotated = auth.rotate_key(RotateKeyRequest {}).await?;
    let until = jiff::Timestamp::from_second(rotated.old_key_until)?;
    let record = json!({ "kid": rotated.kid, "old_key_until": until.to_string() });
    let words = format!("New key {}; the old one counts until {until}", rotated.kid);
    Ok(cx.ui.done(words, &record)?)
}

/// A time in seconds, as RFC 3339.
fn time(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(|at| at.to_string())
}

/// The namespace the requests are about.
fn options(connection: &Connection) -> Options {
    Options { namespace: connection.namespace().to_owned() }
}

/// A secret that was given, stands on standard input, or is asked for.
pub(super) async fn secret(
    given: Option<String>,
    prompt: &'static str,
    flag: &str,
    cx: &Context,
) -> anyhow::Result<String> {
    match given {
        Some(given) if given == "-" => cx.ui.line_of_input().await,
        Some(given) => Ok(given),
        None => cx.ui.ask_secret(prompt, flag).await,
    }
}

/// Changes the secret of an account.
///
/// # Errors
/// The old one is not right, or the account may not change it.
pub(super) async fn change_secret(
    id: &str,
    old_secret: String,
    new_secret: String,
    connection: &Connection,
) -> anyhow::Result<()> {
    let accounts: AccountsClient = connection.block("auth")?;
    let options = Some(options(connection));
    accounts
        .change_secret(ChangeSecretRequest { id: id.to_owned(), old_secret, new_secret, options })
        .await?;
    Ok(())
}

async fn list_accounts(cx: &Context) -> anyhow::Result<()> {
    let connection = cx.connect().await?;
    let accounts: AccountsClient = connection.block("auth")?;
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

fn record(account: &Account) -> Value {
    let metadata: std::collections::BTreeMap<_, _> = account.metadata.iter().collect();
    // In the metadata it stands in seconds, as Micro v4 has it.
    let created = account.metadata.get("created").and_then(|seconds| seconds.parse().ok());
    json!({
        "id": account.id, "name": account.name, "type": account.r#type, "scopes": account.scopes,
        "issuer": account.issuer, "created": created.and_then(time), "metadata": metadata,
    })
}

async fn list_rules(cx: &Context) -> anyhow::Result<()> {
    let connection = cx.connect().await?;
    let rules: RulesClient = connection.block("auth")?;
    let rules = rules.list(ListRequest { options: Some(options(&connection)) }).await?.rules;
    let records: Vec<Value> = rules.iter().map(record_of_rule).collect();
    cx.ui.records(&records, &["ID", "SCOPE", "ACCESS", "RESOURCE", "PRIORITY"], |record| {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let scope = text("scope");
        let scope = if scope.is_empty() { "<public>".to_owned() } else { scope };
        vec![text("id"), scope, text("access"), text("resource"), record["priority"].to_string()]
    })
}

fn record_of_rule(rule: &Rule) -> Value {
    let resource = rule.resource.clone().unwrap_or_default();
    json!({
        "id": rule.id, "scope": rule.scope, "access": rule.access().as_str_name(),
        "resource": format!("{}:{}:{}", resource.r#type, resource.name, resource.endpoint),
        "priority": rule.priority,
    })
}

impl NewAccount {
    async fn create(self, cx: &Context) -> anyhow::Result<()> {
        let given = match self.secret {
            Some(given) if given == "-" => cx.ui.line_of_input().await?,
            Some(given) if given.is_empty() => return Err(Failure::usage("--secret is empty").into()),
            given => given.unwrap_or_default(),
        };
        let connection = cx.connect().await?;
        let auth: AuthClient = connection.block("auth")?;
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

impl NewRule {
    async fn create(self, cx: &Context) -> anyhow::Result<()> {
        let mut parts = self.resource.splitn(3, ':').map(str::to_owned);
        let (Some(r#type), Some(name), Some(endpoint)) = (parts.next(), parts.next(), parts.next()) else {
            let text = format!("`{}` is no resource of the form TYPE:NAME:ENDPOINT", self.resource);
            return Err(Failure::usage(text)
                .hint("such as `service:helloworld:*`, or `*:*:*` for all")
                .into());
        };
        let access = match self.access {
            Decision::Granted => Access::Granted,
            Decision::Denied => Access::Denied,
        };
        let rule = Rule {
            id: self.id,
            scope: self.scope,
            resource: Some(Resource { name, r#type, endpoint }),
            access: access.into(),
            priority: self.priority,
        };
        let connection = cx.connect().await?;
        let rules: RulesClient = connection.block("auth")?;
        let record = record_of_rule(&rule);
        rules.create(CreateRequest { rule: Some(rule), options: Some(options(&connection)) }).await?;
        Ok(cx.ui.done("Rule created", &record)?)
    }
}

impl NewToken {
    async fn create(self, cx: &Context) -> anyhow::Result<()> {
        let given = secret(self.secret, "Enter its secret", "--secret", cx).await?;
        let connection = cx.connect_anonymously().await?;
        let auth: AuthClient = connection.block("auth")?;
        let request = TokenRequest {
            id: self.id,
            secret: given,
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
