use std::{
    fs,
    io::{self, Read as _},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use micro_sdk::{
    blocks::config::ConfigClient,
    proto::config::{
        DeleteRequest, Entry, GetRequest, ListRequest, Options, SetRequest, Value as Wire, WatchRequest,
        WatchResponse,
    },
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{
    completion,
    context::{Connection, Context, within},
    failure::{Failure, exit},
    ui::Output,
};
use crate::json as notation;

/// Characters of a value that a table shows.
const WIDTH: usize = 60;

/// Get and set the settings of a namespace, secrets among them.
///
/// A key is a path such as `payment.currency`. An object that is set is merged with what is there,
/// all else replaces it. Services see a change at once.
#[derive(Args)]
pub(super) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Get(Get),
    Set(Set),
    Del(Del),
    List(List),
    Watch(Watch),
}

/// Print the value of a key: text as it is, all else as JSON.
#[derive(Args)]
struct Get {
    /// The key.
    #[arg(add = completion::config_keys(), required_unless_present = "all")]
    key: Option<String>,
    /// Show secrets in clear.
    #[arg(short, long)]
    secret: bool,
    /// Print everything.
    #[arg(long, conflicts_with = "key")]
    all: bool,
}

/// Set the value of a key.
///
/// What is no JSON is taken as text, so `42` is a number, `"42"` and `hello` are texts. A number that
/// would not be printed as it was written, such as the version 3.10, is kept as text. A text that
/// begins with `@`, or is `-`, can be given in double quotes, as JSON. One newline at the end of a
/// file is left out.
#[derive(Args)]
struct Set {
    /// The key; an empty one merges an object into the whole.
    #[arg(add = completion::config_keys())]
    key: String,
    /// JSON or text; `@FILE` reads it from a file, `-` from standard input.
    #[arg(allow_negative_numbers = true, add = completion::contents())]
    value: String,
    /// Keep it encrypted, and show it to nobody who does not ask for it. What is a secret stays one,
    /// unless `--secret=false` says otherwise.
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true)]
    secret: Option<bool>,
    /// Only if the key is at this revision (see `micro config list`); 0 means that it has no value.
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
}

/// Delete a key, with all below it.
#[derive(Args)]
struct Del {
    /// The key.
    #[arg(add = completion::config_keys())]
    key: String,
    /// Only if the key is at this revision.
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
}

/// List the keys that have a value, with the revision of their last change.
#[derive(Args)]
struct List {
    /// Only what is at or below this key.
    #[arg(add = completion::config_keys())]
    prefix: Option<String>,
    /// Show secrets in clear.
    #[arg(short, long)]
    secret: bool,
}

/// Print the value of a key, then again each time it changes, one JSON document a line.
#[derive(Args)]
struct Watch {
    /// The key; without one, everything is watched.
    #[arg(add = completion::config_keys())]
    key: Option<String>,
    /// Show secrets in clear.
    #[arg(short, long)]
    secret: bool,
    /// Go on after this revision: what happened since comes first.
    #[arg(long, value_name = "REVISION")]
    after_revision: Option<u64>,
}

impl Config {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.action {
            Action::Get(command) => command.run(cx).await,
            Action::Set(command) => command.run(cx).await,
            Action::Del(command) => command.run(cx).await,
            Action::List(command) => command.run(cx).await,
            Action::Watch(command) => command.run(cx).await,
        }
    }
}

fn client(connection: &Connection) -> anyhow::Result<ConfigClient> {
    connection.block("config")
}

impl Get {
    async fn run(self, cx: &Context) -> anyhow::Result<()> {
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
        let answer = match client(&connection)?.get(request).await {
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

/// A value as it came, with the keys of its objects in order.
fn parsed(value: Option<&Wire>) -> anyhow::Result<Value> {
    let text = value.map_or("null", |value| &value.data);
    let mut value: Value = serde_json::from_str(text).context("the server sent what is no JSON")?;
    value.sort_all_objects();
    Ok(value)
}

impl Set {
    async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let text = content(self.value).await?;
        // JSON goes as it was written: numbers are the server's to judge.
        let data = match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => match other_when_printed(&text) {
                Other::Nothing => text,
                Other::Whole => {
                    cx.ui.say("note: the value is kept as text, since as JSON it would not be printed as it was written");
                    Value::from(text).to_string()
                }
                Other::Deep(why) => {
                    return Err(Failure::usage(format!("the value cannot be kept: {why}")).into());
                }
                Other::Number(number) => {
                    let text =
                        format!("the number {number} within the value would not be kept as it is written");
                    let quoted = format!("write it as a text, `\"{number}\"`, or as it would be kept");
                    return Err(Failure::usage(text).hint(quoted).into());
                }
            },
            Err(error) => {
                if text.trim_start().starts_with(['{', '[', '"']) {
                    cx.ui.warn(format_args!("the value is no JSON ({error}), so it is kept as text"));
                }
                Value::from(text).to_string()
            }
        };
        let connection = cx.connect().await?;
        let request = SetRequest {
            namespace: connection.namespace().to_owned(),
            path: self.key,
            value: Some(Wire { data, format: String::new() }),
            options: Some(Options { secret: self.secret == Some(true) }),
            if_revision: self.if_revision,
            reveal: self.secret == Some(false),
        };
        client(&connection)?.set(request).await?;
        Ok(())
    }
}

/// What of a JSON text reads otherwise when it is printed again.
#[derive(Debug, PartialEq)]
enum Other<'t> {
    Nothing,
    /// All of it: it is a number, or a word such as `true`.
    Whole,
    /// A number within an array or an object.
    Number(&'t str),
    /// It cannot be read: it nests deeper than the limit, as this says.
    Deep(String),
}

fn other_when_printed(text: &str) -> Other<'_> {
    match serde_json::from_str(text) {
        Ok(Value::String(_)) => Other::Nothing,
        Ok(Value::Object(_) | Value::Array(_)) => changed_number(text).map_or(Other::Nothing, Other::Number),
        Ok(plain) if prints_as(&plain, text) => Other::Nothing,
        Err(error) if notation::is_too_deep(&error) => Other::Deep(notation::fault(&error)),
        // JSON, but with a number that cannot be held.
        Err(_) if text.trim_start().starts_with(['{', '[']) => {
            changed_number(text).map_or(Other::Whole, Other::Number)
        }
        Ok(_) | Err(_) => Other::Whole,
    }
}

fn prints_as(value: &Value, text: &str) -> bool {
    let printed = value.to_string();
    printed == text
}

/// The first number in a JSON text, outside of its strings, that reads otherwise when it is printed again.
fn changed_number(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        rest = &rest[at..];
        if let Some(string) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = string.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })?;
            rest = &string[end + 1..];
            continue;
        }
        let is_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
        let kept = serde_json::from_str::<Value>(number).is_ok_and(|value| prints_as(&value, number));
        if !kept {
            return Some(number);
        }
        rest = after;
    }
    None
}

/// What was given, or what stands in the file that was named.
async fn content(given: String) -> anyhow::Result<String> {
    let file = given.strip_prefix('@').map(str::to_owned);
    let (bytes, place) = match file {
        Some(file) => {
            let bytes = fs::read(&file);
            (bytes.with_context(|| format!("cannot read `{file}`"))?, format!("`{file}`"))
        }
        None if given == "-" => {
            // Reading standard input blocks, and Ctrl-C must end it.
            let read = || {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
            };
            let bytes = tokio::task::spawn_blocking(read).await?;
            (bytes.context("cannot read standard input")?, "standard input".to_owned())
        }
        None => return Ok(given),
    };
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::usage(format!("{place} is no UTF-8 text"))
            .hint("encode it first, for instance with `base64`, and decode it in the service")
    })?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.map_or(text.clone(), str::to_owned))
}

impl Del {
    async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let request = DeleteRequest {
            namespace: connection.namespace().to_owned(),
            path: self.key.clone(),
            if_revision: self.if_revision,
        };
        let deleted = client(&connection)?.delete(request).await?;
        // A server of Micro v4 counts no revisions, and does not say what was there.
        if !deleted.existed && deleted.revision > 0 {
            cx.ui.say(format_args!("there was nothing at {}", self.key));
        }
        Ok(())
    }
}

impl List {
    async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let entries = list(&connection, self.prefix.unwrap_or_default(), self.secret).await?;
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

/// What has a value at or below a path.
///
/// # Errors
/// What the server answers.
pub(super) async fn list(connection: &Connection, path: String, secret: bool) -> anyhow::Result<Vec<Entry>> {
    let namespace = connection.namespace().to_owned();
    let request = ListRequest { namespace, path, options: Some(Options { secret }) };
    Ok(client(connection)?.list(request).await?.entries)
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

impl Watch {
    async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let path = self.key.unwrap_or_default();
        let request = WatchRequest {
            namespace: connection.namespace().to_owned(),
            path: path.clone(),
            options: Some(Options { secret: self.secret }),
            after_revision: self.after_revision,
        };
        let mut last = self.after_revision;
        let mut changes = client(&connection)?.watch(request).await?;
        let printing = async {
            let ended = loop {
                match changes.next().await {
                    Ok(Some(change)) => {
                        last = Some(change.revision);
                        cx.ui.line(seen(&path, &change)?)?;
                    }
                    Ok(None) => break "the server has stopped".to_owned(),
                    // What the server itself says is the reason; all else is a connection that broke.
                    Err(error) if !error.id.is_empty() => return Err(error.into()),
                    Err(error) => break format!("the connection to the server broke: {error}"),
                }
            };
            let after = last.map(|revision| format!(" --after-revision {revision}")).unwrap_or_default();
            let key = if path.is_empty() { path } else { format!(" {path}") };
            Err(Failure::new(exit::UNREACHABLE, ended)
                .hint(format!("go on with `micro config watch{key}{after}`"))
                .into())
        };
        cx.ui.while_read(within(cx.limit, printing)).await
    }
}

fn seen(path: &str, change: &WatchResponse) -> anyhow::Result<Value> {
    Ok(json!({
        "path": path,
        "value": parsed(change.value.as_ref())?,
        "revision": change.revision,
        "found": change.found,
        "changed": change.changed,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_print_the_same_again_is_found() {
        for text in
            ["3.10", "1234e56", "1e3", "1E3", "-0", "1e999", "98765432109876543210", " 5", "5\n", "1.50"]
        {
            assert_eq!(other_when_printed(text), Other::Whole, "{text}");
        }
        for text in
            ["42", "-42", "3.1", "1.0", "true", "null", "18446744073709551615", "\"3.10\"", "[3.1]", "{}"]
        {
            assert_eq!(other_when_printed(text), Other::Nothing, "{text}");
        }
        for (text, number) in [
            ("[1.0,2.50]", "2.50"),
            (r#"{"python":3.10}"#, "3.10"),
            ("[1e5]", "1e5"),
            (r#"{"a":{"b":[-0, 1]}}"#, "-0"),
            ("[1, 1e999]", "1e999"),
        ] {
            assert_eq!(other_when_printed(text), Other::Number(number), "{text}");
        }
        for text in [r#"["3.10", "a\\", -1.5]"#, r#"{"1.50\"2.50": 7}"#, "[ 1,\n 2.5 ]"] {
            assert_eq!(other_when_printed(text), Other::Nothing, "{text}");
        }
    }

    #[test]
    fn long_values_are_cut_in_tables_between_characters() {
        assert_eq!(short("äöü"), "äöü");
        assert_eq!(short(&"ä".repeat(100)).chars().count(), WIDTH + 1);
    }
}
