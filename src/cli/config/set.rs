//! `micro config set`.

use anyhow::Context as _;
use clap::Args;
use micro_sdk::proto::config::{Options, SetRequest, Value as Wire};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{client, completion};
use crate::{
    cli::{self, context::Context, failure::Failure, given},
    json as notation,
};

/// Set the value of a key.
///
/// What is no JSON is taken as text, so `42` is a number, `"42"` and `hello` are texts. A number that
/// would not be printed as it was written, such as the version 3.10, is kept as text. A text that
/// begins with `@`, or is `-`, can be given in double quotes, as JSON. One newline at the end of a
/// file is left out.
#[derive(Args)]
pub(super) struct Set {
    /// The key; an empty one merges an object into the whole.
    #[arg(add = completion::keys())]
    key: String,
    /// JSON or text; `@FILE` reads it from a file, `-` from standard input.
    #[arg(allow_negative_numbers = true, add = cli::completion::contents())]
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

impl Set {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
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
        client(&connection).set(request).await?;
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
    let Some(place) = given::place(&given).map(str::to_owned) else { return Ok(given) };
    let name = given::name(&place);
    // Reading standard input blocks, and Ctrl-C must end it.
    let bytes = tokio::task::spawn_blocking(move || given::content(&place)).await?;
    let bytes = bytes.with_context(|| format!("cannot read {name}"))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::usage(format!("{name} is no UTF-8 text"))
            .hint("encode it first, for instance with `base64`, and decode it in the service")
    })?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.map_or(text.clone(), str::to_owned))
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
}
