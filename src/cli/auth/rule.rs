//! `micro auth create|list|delete` for rules.

use clap::{Args, ValueEnum};
use micro_sdk::{
    blocks::auth::RulesClient,
    proto::auth::{Access, CreateRequest, DeleteRequest, ListRequest, Resource, Rule},
};
use serde_json::{Value, json};

use super::options;
use crate::cli::{context::Context, failure::Failure};

/// Create a rule.
///
/// For example, to let only accounts with the scope `staff` call the service `orders`:
/// micro auth create rule --scope=staff --resource=service:orders:* --priority=1 staff-only
#[derive(Args)]
pub(super) struct NewRule {
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

impl NewRule {
    pub(super) async fn create(self, cx: &Context) -> anyhow::Result<()> {
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
        let rules: RulesClient = connection.block("auth");
        let record = record(&rule);
        rules.create(CreateRequest { rule: Some(rule), options: Some(options(&connection)) }).await?;
        Ok(cx.ui.done("Rule created", &record)?)
    }
}

pub(super) async fn list(cx: &Context) -> anyhow::Result<()> {
    let connection = cx.connect().await?;
    let rules: RulesClient = connection.block("auth");
    let rules = rules.list(ListRequest { options: Some(options(&connection)) }).await?.rules;
    let records: Vec<Value> = rules.iter().map(record).collect();
    cx.ui.records(&records, &["ID", "SCOPE", "ACCESS", "RESOURCE", "PRIORITY"], |record| {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let scope = text("scope");
        let scope = if scope.is_empty() { "<public>".to_owned() } else { scope };
        vec![text("id"), scope, text("access"), text("resource"), record["priority"].to_string()]
    })
}

pub(super) async fn delete(id: String, cx: &Context) -> anyhow::Result<()> {
    let connection = cx.connect().await?;
    let rules: RulesClient = connection.block("auth");
    let request = DeleteRequest { id: id.clone(), options: Some(options(&connection)) };
    if !rules.delete(request).await?.missing {
        return Ok(cx.ui.done("Rule deleted", &json!({ "id": id }))?);
    }
    // As Micro v4: no failure.
    let namespace = connection.namespace();
    cx.ui.warn(format_args!("there was no rule {id} in namespace {namespace}"));
    Ok(())
}

fn record(rule: &Rule) -> Value {
    let resource = rule.resource.clone().unwrap_or_default();
    json!({
        "id": rule.id, "scope": rule.scope, "access": rule.access().as_str_name(),
        "resource": format!("{}:{}:{}", resource.r#type, resource.name, resource.endpoint),
        "priority": rule.priority,
    })
}
