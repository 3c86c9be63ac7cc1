//! `micro auth audit`.

use clap::Args;
use micro_sdk::{
    blocks::auth::AuthClient,
    proto::auth::{AuditRecord, AuditRequest, Options},
};
use serde_json::{Value, json};

use super::options;
use crate::cli::{
    context::Context,
    failure::{Failure, exit},
    ui::{Output, harmless},
};

/// Print what was noted of logins, refusals, and changes of accounts, rules and keys.
///
/// What is repeated within a minute is noted once, and then with how often it was repeated.
#[derive(Args)]
pub(super) struct Audit {
    /// How many of the last records.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    count: u64,
    /// Go on with what is noted later.
    #[arg(short, long)]
    follow: bool,
    /// Of every namespace; for administrators of `micro`.
    #[arg(long)]
    all_namespaces: bool,
}

impl Audit {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        if self.count == 0 {
            return Err(Failure::usage("--count is at least 1").into());
        }
        let connection = cx.connect().await?;
        let auth: AuthClient = connection.block("auth");
        let options =
            if self.all_namespaces { Options { namespace: "*".to_owned() } } else { options(&connection) };
        let request = AuditRequest { options: Some(options), count: self.count, follow: self.follow };
        let mut records = auth.audit(request).await?;
        let mut all = Vec::new();
        let printing = async {
            while let Some(record) = records.next().await? {
                match cx.ui.output {
                    // One document, which has an end.
                    Output::Json if !self.follow => all.push(document(&record)?),
                    Output::Table => cx.ui.line(line(&record)?)?,
                    _ => cx.ui.line(document(&record)?)?,
                }
            }
            if self.follow {
                return Err(Failure::new(exit::UNREACHABLE, "the server has stopped").into());
            }
            Ok(())
        };
        cx.ui.while_read(printing).await?;
        if cx.ui.output == Output::Json {
            cx.ui.line(format_args!("{:#}", Value::from(all)))?;
        }
        Ok(())
    }
}

fn document(record: &AuditRecord) -> anyhow::Result<Value> {
    Ok(json!({
        "time": jiff::Timestamp::from_millisecond(record.timestamp)?.to_string(),
        "action": record.action,
        "granted": record.granted,
        "account": record.account,
        "issuer": record.issuer,
        "subject": record.subject,
        "peer": record.peer,
        "detail": record.detail,
        "count": record.count,
    }))
}

fn line(record: &AuditRecord) -> anyhow::Result<String> {
    let time = jiff::Timestamp::from_millisecond(record.timestamp)?;
    let decision = if record.granted { "granted" } else { "refused" };
    let mut line = format!("{time:.3} {decision} {}", record.action);
    if !record.subject.is_empty() {
        line += &format!(" {}", record.subject);
    }
    let who = match (record.account.as_str(), record.issuer.as_str()) {
        ("", _) => "nobody".to_owned(),
        (account, issuer) => format!("{account} of {issuer}"),
    };
    line += &format!(" by {who}, {}", record.peer);
    if !record.detail.is_empty() {
        line += &format!(": {}", record.detail);
    }
    if record.count > 1 {
        line += &format!(" ({} times)", record.count);
    }
    // An account or a peer chooses some of these words.
    Ok(harmless::line(&line).into_owned())
}
