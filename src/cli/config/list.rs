//! `micro config list`.

use clap::Args;
use micro_sdk::proto::config::Entry;
use serde_json::{Value, json};

use super::{completion, parsed};
use crate::cli::{context::Context, ui::Output};

/// Characters of a value that a table shows.
const WIDTH: usize = 60;

/// List the keys that have a value, with the revision of their last change.
#[derive(Args)]
pub(super) struct List {
    /// Only what is at or below this key.
    #[arg(add = completion::keys())]
    prefix: Option<String>,
    /// Show secrets in clear.
    #[arg(short, long)]
    secret: bool,
}

impl List {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let entries = super::list(&connection, self.prefix.unwrap_or_default(), self.secret).await?;
        if entries.is_empty() && cx.ui.output == Output::Table {
            cx.ui.say("nothing is set; set something with `micro config set KEY VALUE`");
        }
        let records = entries.iter().map(record).collect::<anyhow::Result<Vec<_>>>()?;
        cx.ui.records(&records, &["PATH", "VALUE", "REVISION"], |record| {
            let hidden = record["secret"] == true && !self.secret;
            let text = if hidden { "[secret]".to_owned() } else { record["value"].to_string() };
            let path = record["path"].as_str().unwrap_or_default().to_owned();
            vec![path, short(&text), record["revision"].to_string()]
        })
    }
}

fn record(entry: &Entry) -> anyhow::Result<Value> {
    Ok(json!({
        "path": entry.path,
        "value": parsed(entry.value.as_ref())?,
        "secret": entry.secret,
        "revision": entry.revision,
    }))
}

/// A text that fits in a column.
fn short(text: &str) -> String {
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_in_tables_between_characters() {
        assert_eq!(short("äöü"), "äöü");
        assert_eq!(short(&"ä".repeat(100)).chars().count(), WIDTH + 1);
    }
}
