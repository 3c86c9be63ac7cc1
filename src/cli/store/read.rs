//! `micro store read`.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::Args;
use jiff::Timestamp;
use micro_sdk::{
    proto::store::{ReadOptions, ReadRequest, Record},
    store::Records,
};
use serde::Serialize;
use serde_json::Value;

use super::{Part, Place, completion, message::Messages};
use crate::cli::{
    context::Context,
    failure::{Failure, exit},
    ui::Output,
};

/// Bytes that are shown of a value that is no text.
const SHOWN: usize = 20;

/// Print the value of a record, or of several
///
/// A value that a service has written as a message is shown as JSON while the service is registered. With
/// -v, print a table of keys, values and when they expire. `-o raw` prints the bytes of the values as they
/// are, `-o json` all there is to know, the values in base64.
#[derive(Args)]
pub(super) struct Read {
    /// The key; with --prefix or --suffix, its beginning or end.
    #[arg(required_unless_present_any = ["prefix", "suffix"], add = completion::keys())]
    key: Option<String>,
    /// Every record whose key begins with KEY.
    #[arg(short, long)]
    prefix: bool,
    /// Every record whose key ends with KEY.
    #[arg(short, long)]
    suffix: bool,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    place: Place,
}

/// A record as JSON shows it.
#[derive(Serialize)]
struct Shown {
    key: String,
    /// In base64.
    value: String,
    /// The message that the value is.
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
    metadata: BTreeMap<String, String>,
    version: u64,
    /// Nanoseconds from now, as Micro v4 says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry: Option<u64>,
    /// The same as a time, by the clock of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

impl Read {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let connection = cx.connect().await?;
        let key = self.key.unwrap_or_default();
        let table = self.place.table;
        let database = self.place.database.name(&connection);
        let options = ReadOptions {
            database: database.clone(),
            table: table.clone(),
            prefix: self.prefix,
            suffix: self.suffix,
            limit: self.part.limit,
            offset: self.part.offset,
            order: self.part.order.name(),
            after: String::new(),
        };
        let request = ReadRequest { key: key.clone(), options: Some(options) };
        let mut records = Records::new(connection.block("store"), request);
        let missing = |error: micro_sdk::Error| match error.code {
            404 => {
                let text = format!("Not found: table {table} of database {database} has no record `{key}`");
                let hint = format!("see its keys with `micro store list -d {database} -t {table}`");
                anyhow::Error::from(Failure::new(exit::NOT_FOUND, text).hint(hint))
            }
            _ => error.into(),
        };
        let (mut rows, mut shown) =
            (vec![["KEY", "VALUE", "EXPIRY"].map(str::to_owned).to_vec()], Vec::new());
        let mut messages = Messages::Unasked;
        while let Some(record) = records.next().await.map_err(missing)? {
            let json = match cx.ui.output {
                Output::Raw => None,
                _ => messages.json(&record, &database, &table, cx, &connection).await,
            };
            match cx.ui.output {
                Output::Table => {
                    let value = json.map_or(record.value, String::into_bytes);
                    if cx.ui.verbose {
                        rows.push(vec![record.key, printable(&value), expiry(record.expiry)]);
                    } else {
                        cx.ui.piece([&value[..], b"\n"].concat()).await?;
                    }
                }
                Output::Raw => cx.ui.piece(record.value).await?,
                Output::Json => shown.push(Shown::of(record, json)),
                Output::Jsonl => cx.ui.line(serde_json::to_string(&Shown::of(record, json))?)?,
            }
        }
        match cx.ui.output {
            Output::Table if rows.len() > 1 => Ok(cx.ui.columns(&rows)?),
            Output::Json => cx.ui.records(&shown, &[], |_| Vec::new()),
            Output::Table | Output::Raw | Output::Jsonl => Ok(()),
        }
    }
}

impl Shown {
    fn of(record: Record, json: Option<String>) -> Self {
        // A server of Micro v4 says it in seconds alone.
        let left = if record.expiry_ms > 0 { record.expiry_ms } else { record.expiry.saturating_mul(1000) };
        let expiry = u64::try_from(left).ok().filter(|left| *left > 0);
        Self {
            key: record.key,
            value: BASE64_STANDARD.encode(record.value),
            json: json.and_then(|json| serde_json::from_str(&json).ok()),
            metadata: record.metadata.into_iter().map(|(name, field)| (name, field.value)).collect(),
            version: record.version,
            expiry: expiry.map(|left| left.saturating_mul(1_000_000)),
            expires: expiry.and_then(|left| {
                let at = Timestamp::now().checked_add(Duration::from_millis(left)).ok()?;
                Some(format!("{at:.3}"))
            }),
        }
    }
}

/// Text as it is, and the first bytes of anything else.
fn printable(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => format!("0x{}", hex::encode(&value[..value.len().min(SHOWN)])),
    }
}

/// When something is gone, in the largest unit that fits, as Micro v4 says it.
fn expiry(seconds: i64) -> String {
    const UNITS: [(i64, &str); 7] = [
        (365 * 86_400, "year"),
        (30 * 86_400, "month"),
        (7 * 86_400, "week"),
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let Some((length, unit)) = UNITS.iter().find(|(length, _)| seconds >= *length) else {
        return "None".to_owned();
    };
    let count = seconds / length;
    format!("{count} {unit}{} from now", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_shown_by_its_first_bytes() {
        for (value, shown) in [
            (&b"val1"[..], "val1"),
            ("käse".as_bytes(), "käse"),
            (b"", ""),
            (b"\xff\x00", "0xff00"),
            (b"a\nb", "0x610a62"),
            (&[7; 30], "0x0707070707070707070707070707070707070707"),
        ] {
            assert_eq!(printable(value), shown);
        }
    }

    #[test]
    fn an_expiry_is_said_in_the_largest_unit_that_fits() {
        for (seconds, said) in [
            (0, "None"),
            (1, "1 second from now"),
            (59, "59 seconds from now"),
            (60, "1 minute from now"),
            (3599, "59 minutes from now"),
            (7200, "2 hours from now"),
            (86_400, "1 day from now"),
            (8 * 86_400, "1 week from now"),
            (700 * 86_400, "1 year from now"),
        ] {
            assert_eq!(expiry(seconds), said);
        }
    }
}
