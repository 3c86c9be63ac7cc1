//! `micro config get`.

use clap::Args;
use micro_sdk::proto::config::{GetRequest, Options};
use serde_json::Value;

use super::{client, completion, parsed};
use crate::cli::{
    context::Context,
    failure::{Failure, exit},
    ui::Output,
};

/// Print the value of a key: text as it is, all else as JSON.
#[derive(Args)]
pub(super) struct Get {
    /// The key.
    #[arg(add = completion::keys(), required_unless_present = "all")]
    key: Option<String>,
    /// Show secrets in clear.
    #[arg(short, long)]
    secret: bool,
    /// Print everything.
    #[arg(long, conflicts_with = "key")]
    all: bool,
}

impl Get {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let namespace = connection.namespace();
        let text = match &self.key {
            Some(key) => format!("Not found: nothing is set at `{key}` in namespace {namespace}"),
            None => format!("Not found: nothing is set in namespace {namespace}"),
        };
        let missing =
            || Failure::new(exit::NOT_FOUND, text).hint("see what there is with `micro config list`");
        let request = GetRequest {
            namespace: namespace.to_owned(),
            path: self.key.unwrap_or_default(),
            options: Some(Options { secret: self.secret }),
        };
        let answer = match client(&connection).get(request).await {
            Ok(answer) => answer,
            // Nothing was ever set in the namespace.
            Err(error) if error.code == 404 => return Err(missing().into()),
            Err(error) => return Err(error.into()),
        };
        // A server of Micro v4 says nothing of what it found: it answers `null` for nothing.
        let empty = answer.value.as_ref().is_none_or(|value| matches!(value.data.trim(), "" | "null"));
        if !answer.found && empty {
            return Err(missing().into());
        }
        let value = parsed(answer.value.as_ref())?;
        match (cx.ui.output, &value) {
            (Output::Json, _) => cx.ui.document(&value)?,
            (Output::Table | Output::Raw, Value::String(text)) => cx.ui.line(text)?,
            (Output::Table | Output::Raw | Output::Jsonl, _) => cx.ui.line(&value)?,
        }
        Ok(())
    }
}
